//! What ssh says on standard error: its bytes come in for as long as it runs, the last 32 KiB of them are kept for messages.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio_util::sync::CancellationToken;

/// As much as zrepl 0.7.0 keeps.
const KEPT: usize = 32 << 10;

/// What was said last. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct LastWords {
    said: Arc<Mutex<VecDeque<u8>>>,
    /// Nothing more will be said, or nobody listens any more.
    over: CancellationToken,
}

impl LastWords {
    /// Listens from now on.
    pub(super) fn of(mut source: impl AsyncRead + Send + Unpin + 'static) -> Self {
        let words = Self::default();
        let kept = words.clone();
        tokio::spawn(async move {
            let _over = kept.over.clone().drop_guard();
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = source.read(&mut bytes).await {
                kept.keep(&bytes[..count]);
            }
        });
        words
    }

    /// Ends when nothing more will come.
    pub(super) async fn over(&self) {
        self.over.cancelled().await;
    }

    /// Will nothing more come?
    pub(super) fn is_over(&self) -> bool {
        self.over.is_cancelled()
    }

    pub(super) fn keep(&self, bytes: &[u8]) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.extend(bytes);
        let surplus = said.len().saturating_sub(KEPT);
        said.drain(..surplus);
    }

    /// For the end of a message: what ssh said, or that it said nothing.
    pub(super) fn quote(&self) -> String {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = String::from_utf8_lossy(said.make_contiguous());
        let lines: Vec<String> = lines
            .lines()
            .map(|line| printable(line.trim()))
            .filter(|line| !line.is_empty())
            .collect();
        if lines.is_empty() {
            "ssh says nothing".to_owned()
        } else {
            format!("ssh says: {}", lines.join("; "))
        }
    }

    /// Has anything been said?
    pub(super) fn is_empty(&self) -> bool {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.iter().all(u8::is_ascii_whitespace)
    }
}

/// A foreign text as part of a message: nothing in it can move a cursor or start a line.
fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for char in text.chars() {
        if matches!(char, '"' | '\'' | '\\') {
            shown.push(char);
        } else {
            shown.extend(char.escape_debug());
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_one_line_that_cannot_disturb_a_terminal() {
        let words = LastWords::default();
        assert_eq!(words.quote(), "ssh says nothing");
        assert!(words.is_empty());
        words.keep(b"Warning: \"x\" \x1b[31m\r\n\r\n  it's \xff C:\\ f\xc3\xbcr\n");
        assert_eq!(
            words.quote(),
            "ssh says: Warning: \"x\" \\u{1b}[31m; it's \u{fffd} C:\\ für"
        );
        assert!(!words.is_empty());
    }

    #[test]
    fn is_the_end_of_what_was_said() {
        let words = LastWords::default();
        for number in 0..100_000 {
            words.keep(format!("{number}\n").as_bytes());
        }
        let quote = words.quote();
        assert!(quote.ends_with("; 99998; 99999"), "{}", quote.len());
        assert!(quote.len() < 2 * KEPT);
        assert_eq!(words.said.lock().unwrap().len(), KEPT);
    }
}
