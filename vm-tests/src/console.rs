//! The guest's serial console as QEMU logs it: where kernel messages and panics end up, and so what to show when a guest
//! stops answering.

use std::fs;
use std::path::PathBuf;

use crate::image;

#[derive(Clone, Debug)]
pub(crate) struct Console {
    path: PathBuf,
}

impl Console {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    pub(crate) fn text(&self) -> String {
        fs::read(&self.path).map_or_else(
            |_| String::new(),
            |bytes| String::from_utf8_lossy(&bytes).replace('\r', ""),
        )
    }

    /// The last lines, each marked, for a failure message.
    pub(crate) fn tail(&self, lines: usize) -> String {
        last_lines(&self.text(), lines)
    }

    /// Copies the log to where it outlives the guest, and says where that is.
    pub(crate) fn keep(&self, name: &str) -> PathBuf {
        let directory = image::cache_directory()
            .map_or_else(|_| std::env::temp_dir(), |cache| cache.join("logs"));
        let kept = directory.join(format!("{name}.console.log"));
        match fs::create_dir_all(&directory).and_then(|()| fs::copy(&self.path, &kept)) {
            Ok(_) => kept,
            Err(_) => self.path.clone(),
        }
    }
}

fn last_lines(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    let mut marked = String::new();
    for line in &all[all.len().saturating_sub(lines)..] {
        marked.push_str("console| ");
        marked.push_str(line);
        marked.push('\n');
    }
    marked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_the_last_lines_only() {
        assert_eq!(last_lines("a\nb\nc\n", 2), "console| b\nconsole| c\n");
        assert_eq!(last_lines("a", 5), "console| a\n");
        assert_eq!(last_lines("", 5), "");
    }
}
