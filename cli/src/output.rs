//! Standard output and standard error for commands: a reader that goes away ends a command quietly, as `head` does.

use std::fmt::Display;
use std::io::{self, Write};

/// Standard output that remembers whether its reader has gone.
#[derive(Debug)]
pub(crate) struct Output<W> {
    inner: W,
    closed: bool,
}

impl<W: Write> Output<W> {
    /// Writes to `inner` from now on.
    pub(crate) fn new(inner: W) -> Self {
        Self {
            inner,
            closed: false,
        }
    }

    /// Did a write fail because nobody reads any more?
    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    fn explain<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        result.map_err(|error| {
            // Buffers above retry on this one and need it as it is.
            if error.kind() == io::ErrorKind::Interrupted {
                return error;
            }
            self.closed |= error.kind() == io::ErrorKind::BrokenPipe;
            io::Error::new(
                error.kind(),
                format!("cannot write to standard output: {error}"),
            )
        })
    }
}

impl<W: Write> Write for Output<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let result = self.inner.write(bytes);
        self.explain(result)
    }

    fn flush(&mut self) -> io::Result<()> {
        let result = self.inner.flush();
        self.explain(result)
    }
}

/// Prints a line on standard error; unlike `eprintln!`, without a panic if that is closed.
pub(crate) fn complain(line: impl Display) {
    // Standard error has no buffer: one call of the system for all of it.
    let text = format!("{line}\n");
    io::stderr().write_all(text.as_bytes()).ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Broken(io::ErrorKind);

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_went_away_is_told_from_other_failures() {
        for (kind, closed) in [
            (io::ErrorKind::BrokenPipe, true),
            (io::ErrorKind::StorageFull, false),
        ] {
            let mut output = Output::new(Broken(kind));
            let error = output.write_all(b"x").expect_err("cannot be written");
            assert_eq!(output.is_closed(), closed, "{kind}");
            assert!(
                error
                    .to_string()
                    .starts_with("cannot write to standard output: "),
                "{error}"
            );
        }
    }
}
