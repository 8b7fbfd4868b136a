//! `zrepl status`: what the daemon does. So far only as the JSON that it answers with.

use std::io::Write;

use anyhow::bail;

use crate::args::{Mode, Status};
use crate::output::complain;
use crate::socket::ControlSocket;

/// Prints the daemon's status.
pub(crate) fn run(
    options: &Status,
    socket: impl FnOnce() -> anyhow::Result<ControlSocket>,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    if options.mode != Mode::Raw {
        bail!("this version of zrepl shows the status only as JSON: use zrepl status --mode raw");
    }
    for (option, given) in [("--job", &options.job), ("--delay", &options.delay)] {
        if given.is_some() {
            complain(format_args!("ignored with --mode raw: {option}"));
        }
    }
    let answer = socket()?.post_for_json("/status", &serde_json::Map::new())?;
    // As zrepl 0.7.0 prints it: as it came, without the line feed at its end.
    out.write_all(answer.trim_ascii_end())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::tests::{GO_STATUS, Server};

    fn options(mode: Mode) -> Status {
        Status {
            mode,
            job: None,
            delay: None,
        }
    }

    #[test]
    fn raw_is_what_the_daemon_said_to_the_byte() {
        let server = Server::replay(GO_STATUS);
        let mut out = Vec::new();
        run(&options(Mode::Raw), || Ok(server.socket()), &mut out).expect("answered");
        let text = String::from_utf8(out).expect("text");
        assert!(text.starts_with("{\"Jobs\":{\"_control\":") && text.ends_with("]}}"));
        let recorded = String::from_utf8(GO_STATUS.to_vec()).expect("text");
        assert!(recorded.contains(&text));
    }

    #[test]
    fn other_modes_say_which_there_is() {
        for mode in [Mode::Interactive, Mode::Dump, Mode::Legacy] {
            let error = run(
                &options(mode),
                || panic!("asked for the daemon"),
                &mut Vec::new(),
            );
            assert_eq!(
                error.expect_err("not there yet").to_string(),
                "this version of zrepl shows the status only as JSON: use zrepl status --mode raw"
            );
        }
    }
}
