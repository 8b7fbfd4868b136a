//! Settings that are not in the configuration but in the environment, under the names that they have for zrepl 0.7.0. A value that
//! cannot be read is an error at the start; zrepl 0.7.0 panics when it first needs it.

use std::ffi::OsString;
use std::time::Duration;

use crate::go_duration::GoDuration;
use crate::rpc::{client, connectivity, server};

/// The client's limit for the exchange of banners.
pub const CLIENT_HANDSHAKE: &str = "ZREPL_RPC_CLIENT_VERSIONHANDSHAKE_TIMEOUT";
/// The server's limit for the exchange of banners.
pub const SERVER_HANDSHAKE: &str = "ZREPL_RPC_SERVER_VERSIONHANDSHAKE_TIMEOUT";
/// The server's limit for the label.
pub const LABEL: &str = "ZREPL_TRANSPORT_DEMUX_TIMEOUT";
/// The pause between two pings on the data plane.
pub const PING_PAUSE: &str = "ZREPL_RPC_DATACONN_PING_SLEEP";
/// How long a client waits for a server to come back.
pub const RECONNECT: &str = "ZREPL_REPLICATION_RECONNECT_HARD_FAIL_TIMEOUT";

/// A variable that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{variable} is {value:?}; it must be a duration above zero, such as \"10s\"")]
pub struct EnvironmentError {
    /// Which one.
    pub variable: &'static str,
    /// What it holds.
    pub value: String,
}

/// Variables by name: those of this process are [`std::env::var_os`].
pub type Variables<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// What the environment changes of a client.
pub fn client_settings(variables: Variables<'_>) -> Result<client::Settings, EnvironmentError> {
    let mut settings = client::Settings::default();
    set(
        variables,
        CLIENT_HANDSHAKE,
        &mut settings.handshake.banner_limit,
    )?;
    let connectivity::Limits { limit, pause } = &mut settings.connectivity;
    set(variables, RECONNECT, limit)?;
    set(variables, PING_PAUSE, pause)?;
    Ok(settings)
}

/// What the environment changes of a job's server.
pub fn server_settings(
    variables: Variables<'_>,
    job: &str,
) -> Result<server::Settings, EnvironmentError> {
    let mut settings = server::Settings::new(job);
    set(
        variables,
        SERVER_HANDSHAKE,
        &mut settings.handshake.banner_limit,
    )?;
    set(variables, LABEL, &mut settings.handshake.label_limit)?;
    Ok(settings)
}

/// An empty variable counts as not set.
fn set(
    variables: Variables<'_>,
    variable: &'static str,
    setting: &mut Duration,
) -> Result<(), EnvironmentError> {
    let Some(value) = variables(variable).filter(|value| !value.is_empty()) else {
        return Ok(());
    };
    let value = value.to_string_lossy().into_owned();
    let duration: Option<GoDuration> = value.parse().ok();
    match duration.and_then(|duration| u64::try_from(duration.nanoseconds()).ok()) {
        Some(nanoseconds) if nanoseconds > 0 => {
            *setting = Duration::from_nanos(nanoseconds);
            Ok(())
        }
        _ => Err(EnvironmentError { variable, value }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(variable: &'static str, value: &'static str) -> impl Fn(&str) -> Option<OsString> {
        move |asked| (asked == variable).then(|| value.into())
    }

    #[test]
    fn nothing_set_is_as_zrepl_0_7_0() {
        let client = client_settings(&|_| None).expect("nothing wrong");
        assert_eq!(client.handshake.banner_limit, Duration::from_secs(10));
        assert_eq!(client.connectivity.limit, Duration::from_secs(600));
        assert_eq!(client.connectivity.pause, Duration::from_secs(1));
        let server = server_settings(&|_| Some(OsString::new()), "sink").expect("nothing wrong");
        assert_eq!(server.job, "sink");
        assert_eq!(server.handshake.banner_limit, Duration::from_secs(10));
        assert_eq!(server.handshake.label_limit, Duration::from_secs(10));
    }

    #[test]
    fn each_variable_changes_one_setting() {
        let client = |variable| client_settings(&one(variable, "1m30s")).expect("a duration");
        let server = |variable| server_settings(&one(variable, "250ms"), "j").expect("a duration");
        let long = Duration::from_secs(90);
        let short = Duration::from_millis(250);
        assert_eq!(client(CLIENT_HANDSHAKE).handshake.banner_limit, long);
        assert_eq!(client(RECONNECT).connectivity.limit, long);
        assert_eq!(client(PING_PAUSE).connectivity.pause, long);
        assert_eq!(
            client(SERVER_HANDSHAKE).handshake.banner_limit,
            Duration::from_secs(10)
        );
        assert_eq!(server(SERVER_HANDSHAKE).handshake.banner_limit, short);
        assert_eq!(server(LABEL).handshake.label_limit, short);
        assert_eq!(
            server(CLIENT_HANDSHAKE).handshake.banner_limit,
            Duration::from_secs(10)
        );
    }

    #[test]
    fn what_is_no_duration_is_an_error_that_names_the_variable() {
        for value in ["ten seconds", "10", "0s", "-1s", "1e9h"] {
            let error = client_settings(&one(RECONNECT, value)).expect_err(value);
            assert_eq!(
                error.to_string(),
                format!(
                    "{RECONNECT} is {value:?}; it must be a duration above zero, such as \"10s\""
                )
            );
        }
    }
}
