//! `zrepl version`: the line of this program, and that of the daemon as it tells it.

use std::io::Write;

use anyhow::{Context, anyhow};
use zrepl_daemon::version::Build;

use crate::args::Show;
use crate::output::complain;
use crate::socket::ControlSocket;

/// Prints the lines asked for. `daemon` is called only if the daemon has to be asked; its errors are the configuration's.
pub(crate) fn run(
    show: Show,
    daemon: impl FnOnce() -> anyhow::Result<ControlSocket>,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let client = Build::this();
    if show != Show::Daemon {
        writeln!(out, "client: {client}")?;
        // The daemon may take its time.
        out.flush()?;
    }
    if show == Show::Client {
        return Ok(());
    }
    let daemon: Build = daemon()
        .context("config parsing error")?
        .post("/version", &"")
        // The words of zrepl 0.7.0.
        .map_err(|error| anyhow!("server: error: {error}"))?;
    writeln!(out, "server: {daemon}")?;
    if show == Show::Both
        && let Some(warning) = warning(&client, &daemon)
    {
        complain(warning);
    }
    Ok(())
}

/// What to tell the user about two builds that work together, in the words of zrepl 0.7.0.
fn warning(client: &Build, daemon: &Build) -> Option<&'static str> {
    (client.version != daemon.version)
        .then_some("WARNING: client version != daemon version, restart zrepl daemon")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::tests::{GO_VERSION, Server};

    fn printed(
        show: Show,
        daemon: impl FnOnce() -> anyhow::Result<ControlSocket>,
    ) -> (String, anyhow::Result<()>) {
        let mut out = Vec::new();
        let result = run(show, daemon, &mut out);
        (String::from_utf8(out).expect("text"), result)
    }

    const GO: &str =
        "server: zrepl version=v0.7.0 go=go1.25.12 GOOS=linux GOARCH=amd64 Compiler=gc\n";

    #[test]
    fn a_daemon_of_0_7_0_is_shown_in_its_own_words() {
        let server = Server::replay(GO_VERSION);
        let (text, result) = printed(Show::Both, || Ok(server.socket()));
        result.expect("answered");
        assert_eq!(text, format!("client: {}\n{GO}", Build::this()));

        let server = Server::replay(GO_VERSION);
        let (text, result) = printed(Show::Daemon, || Ok(server.socket()));
        result.expect("answered");
        assert_eq!(text, GO);
    }

    #[test]
    fn the_client_alone_needs_no_configuration() {
        let (text, result) = printed(Show::Client, || panic!("asked for the configuration"));
        result.expect("nothing to fail");
        assert_eq!(text, format!("client: {}\n", Build::this()));
    }

    #[test]
    fn an_unusable_configuration_is_an_error_after_the_clients_line() {
        let (text, result) = printed(Show::Both, || Err(anyhow!("no such file")));
        assert_eq!(text, format!("client: {}\n", Build::this()));
        assert_eq!(
            format!("{:#}", result.expect_err("no socket")),
            "config parsing error: no such file"
        );
    }

    #[test]
    fn a_daemon_that_does_not_run_is_an_error_after_the_clients_line() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("control");
        let (text, result) = printed(Show::Both, || Ok(ControlSocket::new(&path)));
        assert_eq!(text, format!("client: {}\n", Build::this()));
        assert_eq!(
            format!("{:#}", result.expect_err("no daemon")),
            format!(
                "server: error: cannot connect to the zrepl daemon at {}: No such file or directory (os error 2); is the \
                 daemon running, and with the same `control.sockpath`?",
                path.display()
            )
        );
    }

    #[test]
    fn warns_of_another_version_only() {
        let client = Build::this();
        assert_eq!(warning(&client, &client), None);
        let mut daemon = client.clone();
        daemon.compiler = "gc".to_owned();
        assert_eq!(warning(&client, &daemon), None);
        daemon.version = "v0.7.0".to_owned();
        assert_eq!(
            warning(&client, &daemon),
            Some("WARNING: client version != daemon version, restart zrepl daemon")
        );
    }
}
