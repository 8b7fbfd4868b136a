//! What a hook's program prints: bytes come in as fast as they like, lines go out to the log, and little is kept. Of a long line
//! the beginning is logged; of very much output the beginning and the last lines.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Child;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

/// How much of a line is logged.
const LINE: usize = 8 << 10;

/// How much of what would be too much is kept, to be logged if nothing follows: there the cause of a failure is.
const END: usize = 16 << 10;

/// The two outputs of a running program.
#[derive(Debug)]
pub(super) struct Listening {
    /// Dropping it stops the reading.
    tasks: JoinSet<()>,
    over: CancellationToken,
}

#[derive(Clone, Copy, Debug)]
enum Stream {
    Out,
    Err,
}

impl Listening {
    /// Logs lines until both pipes are closed. `limit` is how many bytes of each are logged at once.
    pub(super) fn start(child: &mut Child, command: &Path, limit: usize) -> Self {
        let mut tasks = JoinSet::new();
        let over = CancellationToken::new();
        let mut listen = |pipe: Option<Box<dyn AsyncRead + Send + Unpin>>, stream: Stream| {
            if let Some(pipe) = pipe {
                let command = command.display().to_string();
                let log = move |line: &str| stream.log(&command, line);
                let lines = Lines::new(limit);
                tasks.spawn(read(pipe, lines, over.clone(), log).in_current_span());
            }
        };
        let (out, err) = (child.stdout.take(), child.stderr.take());
        listen(out.map(|pipe| Box::new(pipe) as _), Stream::Out);
        listen(err.map(|pipe| Box::new(pipe) as _), Stream::Err);
        Self { tasks, over }
    }

    /// The program has ended: what it has printed is read, what others print who got its pipes is not waited for.
    pub(super) async fn end_within(mut self, grace: Duration) {
        let both = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(grace, both).await.is_err() {
            tracing::warn!(
                "the hook's program has ended, but a process that it started still holds its output; what that prints is lost \
                 (redirect its output in the program)"
            );
            self.over.cancel();
            while self.tasks.join_next().await.is_some() {}
        }
    }
}

impl Stream {
    fn log(self, command: &str, line: &str) {
        match self {
            Self::Out => tracing::info!(command, stdout = line, "hook output"),
            Self::Err => tracing::warn!(command, stderr = line, "hook output"),
        }
    }
}

async fn read(
    mut pipe: impl AsyncRead + Unpin,
    mut lines: Lines,
    over: CancellationToken,
    mut log: impl FnMut(&str),
) {
    let mut bytes = vec![0; 32 << 10];
    loop {
        let count = tokio::select! {
            biased;
            () = over.cancelled() => break,
            count = pipe.read(&mut bytes) => count,
        };
        match count {
            Ok(count @ 1..) => lines.feed(&bytes[..count], &mut log),
            Ok(0) | Err(_) => break,
        }
        // A pipe that is never empty must not keep others from this thread.
        tokio::task::yield_now().await;
    }
    lines.end(&mut log);
}

/// From bytes to lines.
#[derive(Debug)]
struct Lines {
    /// The line so far, up to [`LINE`].
    line: Vec<u8>,
    /// What of it does not fit.
    cut: u64,
    /// How many bytes may still be logged at once.
    left: usize,
    /// Lines after that, the last ones only.
    end: VecDeque<String>,
    end_bytes: usize,
    /// What has been neither logged nor kept.
    lost: u64,
    lost_bytes: u64,
}

impl Lines {
    fn new(limit: usize) -> Self {
        Self {
            line: Vec::new(),
            cut: 0,
            left: limit,
            end: VecDeque::new(),
            end_bytes: 0,
            lost: 0,
            lost_bytes: 0,
        }
    }

    fn feed(&mut self, mut bytes: &[u8], log: &mut impl FnMut(&str)) {
        while let Some(length) = bytes.iter().position(|byte| *byte == b'\n') {
            self.extend(&bytes[..length]);
            self.finish_line(log);
            bytes = &bytes[length + 1..];
        }
        self.extend(bytes);
    }

    /// Nothing more comes.
    fn end(&mut self, log: &mut impl FnMut(&str)) {
        if !self.line.is_empty() {
            self.finish_line(log);
        }
        if self.lost > 0 {
            let (lines, bytes) = (self.lost, self.lost_bytes);
            log(&format!(
                "[{lines} lines with {bytes} bytes are left out here]"
            ));
        }
        for line in self.end.drain(..) {
            log(&line);
        }
    }

    fn extend(&mut self, bytes: &[u8]) {
        let fits = bytes.len().min(LINE - self.line.len());
        self.line.extend_from_slice(&bytes[..fits]);
        self.cut += (bytes.len() - fits) as u64;
    }

    fn finish_line(&mut self, log: &mut impl FnMut(&str)) {
        let bytes = self.line.strip_suffix(b"\r").unwrap_or(&self.line);
        let mut text = String::from_utf8_lossy(bytes).into_owned();
        if self.cut > 0 {
            write!(text, " [{} bytes more]", self.cut).expect("strings take all text");
        }
        self.line.clear();
        self.cut = 0;
        if self.end.is_empty() && self.lost == 0 && weight(&text) <= self.left {
            self.left -= weight(&text);
            log(&text);
            return;
        }
        self.end_bytes += weight(&text);
        self.end.push_back(text);
        while self.end_bytes > END
            && self.end.len() > 1
            && let Some(first) = self.end.pop_front()
        {
            self.end_bytes -= weight(&first);
            self.lost += 1;
            self.lost_bytes += weight(&first) as u64;
        }
    }
}

/// An empty line takes space, too.
fn weight(line: &str) -> usize {
    line.len() + 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn logged(limit: usize, pieces: &[&[u8]]) -> Vec<String> {
        let mut lines = Lines::new(limit);
        let mut logged = Vec::new();
        let mut log = |line: &str| logged.push(line.to_owned());
        for piece in pieces {
            lines.feed(piece, &mut log);
        }
        lines.end(&mut log);
        logged
    }

    #[test]
    fn lines_are_put_together() {
        let pieces: [&[u8]; 4] = [b"a\nb", b"c\r\n\n", b"\xff\n", b"rest"];
        assert_eq!(logged(100, &pieces), ["a", "bc", "", "\u{fffd}", "rest"]);
        assert!(logged(100, &[]).is_empty());
    }

    #[test]
    fn a_flood_without_newline_is_one_line_with_a_count() {
        let mut lines = Lines::new(1 << 20);
        let mut logged = Vec::new();
        let piece = vec![b'x'; 1 << 20];
        for _ in 0..100 {
            lines.feed(&piece, &mut |line| logged.push(line.to_owned()));
            assert!(lines.line.capacity() <= 2 * LINE);
        }
        lines.end(&mut |line| logged.push(line.to_owned()));
        let expected = format!("{} [{} bytes more]", "x".repeat(LINE), (100 << 20) - LINE);
        assert_eq!(logged, [expected]);
    }

    #[test]
    fn of_a_flood_of_lines_the_beginning_and_the_end_are_logged() {
        let mut lines = Lines::new(1000);
        let mut logged = Vec::new();
        for number in 0..1_000_000 {
            let line = format!("{number}\n");
            lines.feed(line.as_bytes(), &mut |line| logged.push(line.to_owned()));
            assert!(lines.end_bytes <= END);
        }
        lines.end(&mut |line| logged.push(line.to_owned()));
        assert_eq!(logged[..2], ["0", "1"]);
        assert_eq!(logged.last().map(String::as_str), Some("999999"));
        let gap = logged.iter().position(|line| line.starts_with('['));
        let gap = gap.expect("a line that says so");
        let left_out = format!("[{} lines with ", 1_000_000 - (logged.len() - 1));
        assert!(logged[gap].starts_with(&left_out), "{}", logged[gap]);
        assert!(logged.len() < 5000, "{}", logged.len());
    }

    #[test]
    fn empty_lines_are_bounded_too() {
        let mut lines = Lines::new(1000);
        let mut logged = 0;
        for _ in 0..100 {
            lines.feed(&[b'\n'; 10_000], &mut |_| logged += 1);
            assert!(lines.end.len() <= END);
        }
        lines.end(&mut |_| logged += 1);
        assert_eq!(logged, 1000 + 1 + END);
    }

    proptest! {
        #[test]
        fn where_pieces_are_divided_does_not_matter(
            bytes in prop::collection::vec(prop_oneof![4 => Just(b'a'), 1 => Just(b'\n'), 1 => Just(b'\r')], 0..200),
            limit in 0_usize..100,
            size in 1_usize..20,
        ) {
            let pieces: Vec<&[u8]> = bytes.chunks(size).collect();
            let whole: &[u8] = &bytes;
            prop_assert_eq!(logged(limit, &pieces), logged(limit, &[whole]));
        }
    }
}
