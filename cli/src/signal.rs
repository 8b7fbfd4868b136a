//! `zrepl signal`: wakes up a job of the running daemon, or resets it.

use anyhow::bail;
use serde::{Deserialize, Serialize};

use crate::socket::ControlSocket;

/// What the daemon is asked.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Question<'a> {
    name: &'a str,
    op: &'a str,
}

/// What it answers when it has done it: nothing.
#[derive(Debug, Deserialize)]
struct Done {}

/// Sends the signal that the words name. Which there are is known to the daemon.
pub(crate) fn run(
    words: &[String],
    socket: impl FnOnce() -> anyhow::Result<ControlSocket>,
) -> anyhow::Result<()> {
    let [op, name] = words else {
        bail!("Expected 2 arguments: [wakeup|reset] JOB");
    };
    let Done {} = socket()?.post("/signal", &Question { name, op })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::tests::{GO_NO_SUCH_JOB, GO_SIGNAL_DONE, Server};

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn two_words_are_needed() {
        for given in [&[][..], &["wakeup"], &["wakeup", "a", "b"]] {
            let error = run(&words(given), || panic!("asked for the daemon")).expect_err("refused");
            assert_eq!(
                error.to_string(),
                "Expected 2 arguments: [wakeup|reset] JOB"
            );
        }
    }

    #[test]
    fn the_daemons_words_are_the_error() {
        let server = Server::replay(GO_NO_SUCH_JOB);
        let error =
            run(&words(&["wakeup", "nosuch"]), || Ok(server.socket())).expect_err("refused");
        assert_eq!(error.to_string(), "Job nosuch does not exist");
    }

    #[test]
    fn nothing_is_said_when_it_is_done() {
        let server = Server::replay(GO_SIGNAL_DONE);
        run(&words(&["wakeup", "push_job"]), || Ok(server.socket())).expect("done");
    }
}
