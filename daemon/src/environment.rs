//! Settings that are not in the configuration but in the environment, under the names that they have for zrepl 0.7.0. A value that
//! cannot be read is an error at the start; zrepl 0.7.0 panics when it first needs it.

use std::ffi::OsString;
use std::num::NonZeroU32;
use std::time::Duration;

use crate::go_duration::GoDuration;
use crate::replication::attempt::DEFAULT_MAX_ATTEMPTS;
use crate::replication::driver;
use crate::rpc::{client, connectivity, server};
use crate::status::Setting;

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
/// How many attempts a run of replication has.
pub const MAX_ATTEMPTS: &str = "ZREPL_REPLICATION_MAX_ATTEMPTS";
/// How long a stream may stand still before it is cut, to be resumed. zrepl 0.7.0 does not have it.
pub const STALL: &str = "ZREPL_REPLICATION_STALL_TIMEOUT";
/// How many bytes of each output of a hook's program are logged at once.
pub const HOOK_LOG: &str = "ZREPL_MAX_HOOK_LOG_SIZE";
/// How long a client of the control socket may take to say what it wants.
pub const CONTROL_READ: &str = "ZREPL_DAEMON_CONTROL_SERVER_READ_TIMEOUT";
/// How long a client of the control socket may take to read the answer.
pub const CONTROL_WRITE: &str = "ZREPL_DAEMON_CONTROL_SERVER_WRITE_TIMEOUT";

const DEFAULT_HOOK_LOG: usize = 1 << 20;

const A_DURATION: &str = "a duration above zero, such as \"10s\"";
const A_NUMBER: &str = "a whole number above zero, such as \"3\"";

/// A variable that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{variable} is {value:?}; it must be {expected}")]
pub struct EnvironmentError {
    /// Which one.
    pub variable: &'static str,
    /// What it holds.
    pub value: String,
    /// What it should hold.
    pub expected: &'static str,
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

/// What the environment changes of a job's replication.
pub fn replication_settings(
    variables: Variables<'_>,
    settings: &mut driver::Settings,
) -> Result<(), EnvironmentError> {
    set(variables, RECONNECT, &mut settings.reconnect_limit)?;
    set(variables, STALL, &mut settings.stall_limit)?;
    if let Some(number) = max_attempts(variables)? {
        settings.max_attempts = number;
    }
    Ok(())
}

fn max_attempts(variables: Variables<'_>) -> Result<Option<NonZeroU32>, EnvironmentError> {
    read(variables, MAX_ATTEMPTS, A_NUMBER, |text| text.parse().ok())
}

/// How long a client of the control socket may take to say what it wants, and to read the answer.
pub fn control_limits(variables: Variables<'_>) -> Result<(Duration, Duration), EnvironmentError> {
    let (mut read, mut write) = (Duration::from_secs(1), Duration::from_secs(1));
    set(variables, CONTROL_READ, &mut read)?;
    set(variables, CONTROL_WRITE, &mut write)?;
    Ok((read, write))
}

/// How many bytes of each output of a hook's program are logged as they come; of what follows, only the end is.
pub fn hook_log_size(variables: Variables<'_>) -> Result<usize, EnvironmentError> {
    let number = read(variables, HOOK_LOG, A_NUMBER, |text| {
        text.parse().ok().filter(|number| *number > 0)
    })?;
    Ok(number.unwrap_or(DEFAULT_HOOK_LOG))
}

/// All of these settings as they are, for the status.
pub fn settings(variables: Variables<'_>) -> Result<Vec<Setting>, EnvironmentError> {
    let client = client_settings(variables)?;
    let server = server_settings(variables, "")?;
    let (read, write) = control_limits(variables)?;
    let mut stall = driver::DEFAULT_STALL_LIMIT;
    set(variables, STALL, &mut stall)?;
    let attempts = max_attempts(variables)?.unwrap_or(DEFAULT_MAX_ATTEMPTS);
    let durations = [
        (CONTROL_READ, read),
        (CONTROL_WRITE, write),
        (RECONNECT, client.connectivity.limit),
        (STALL, stall),
        (CLIENT_HANDSHAKE, client.handshake.banner_limit),
        (PING_PAUSE, client.connectivity.pause),
        (SERVER_HANDSHAKE, server.handshake.banner_limit),
        (LABEL, server.handshake.label_limit),
    ];
    let duration = |(variable, duration): (&str, Duration)| {
        let nanoseconds = i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
        Setting {
            var: variable.to_owned(),
            value: GoDuration::from_nanoseconds(nanoseconds).to_string(),
            value_go_type: "time.Duration".to_owned(),
        }
    };
    let number = |variable: &str, value: String| Setting {
        var: variable.to_owned(),
        value,
        value_go_type: "int".to_owned(),
    };
    let numbers = [
        number(HOOK_LOG, hook_log_size(variables)?.to_string()),
        number(MAX_ATTEMPTS, attempts.to_string()),
    ];
    Ok(durations.into_iter().map(duration).chain(numbers).collect())
}

fn set(
    variables: Variables<'_>,
    variable: &'static str,
    setting: &mut Duration,
) -> Result<(), EnvironmentError> {
    let duration = |text: &str| {
        let duration: GoDuration = text.parse().ok()?;
        let nanoseconds = u64::try_from(duration.nanoseconds()).ok()?;
        (nanoseconds > 0).then(|| Duration::from_nanos(nanoseconds))
    };
    if let Some(duration) = read(variables, variable, A_DURATION, duration)? {
        *setting = duration;
    }
    Ok(())
}

/// An empty variable counts as not set.
fn read<T>(
    variables: Variables<'_>,
    variable: &'static str,
    expected: &'static str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<Option<T>, EnvironmentError> {
    let Some(value) = variables(variable).filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    let value = value.to_string_lossy().into_owned();
    match parse(&value) {
        Some(parsed) => Ok(Some(parsed)),
        None => Err(EnvironmentError {
            variable,
            value,
            expected,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::transfer::{
        ConflictResolution, Guarantee, InitialReplication, Protection, Replication,
        ReplicationConcurrency,
    };
    use crate::config::value::integer::Concurrency;

    const REPLICATION: Replication = Replication {
        protection: Protection {
            initial: Guarantee::Resumability,
            incremental: Guarantee::Resumability,
        },
        concurrency: ReplicationConcurrency {
            steps: Concurrency::ONE,
            size_estimates: Concurrency::FOUR,
        },
    };
    const CONFLICTS: ConflictResolution = ConflictResolution {
        initial_replication: InitialReplication::Fail,
    };

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
    fn the_status_shows_what_holds_as_go_prints_it() {
        let shown = |variables: Variables<'_>, name: &str| {
            let settings = settings(variables).expect("nothing wrong");
            let found = settings.into_iter().find(|setting| setting.var == name);
            found.map(|setting| (setting.value, setting.value_go_type))
        };
        let duration = |text: &str| Some((text.to_owned(), "time.Duration".to_owned()));
        assert_eq!(shown(&|_| None, RECONNECT), duration("10m0s"));
        assert_eq!(shown(&one(LABEL, "1500ms"), LABEL), duration("1.5s"));
        assert_eq!(
            shown(&one(CONTROL_WRITE, "2s"), CONTROL_WRITE),
            duration("2s")
        );
        assert_eq!(
            shown(&one(CONTROL_WRITE, "2s"), CONTROL_READ),
            duration("1s")
        );
        let number = |text: &str| Some((text.to_owned(), "int".to_owned()));
        assert_eq!(shown(&one(MAX_ATTEMPTS, "5"), MAX_ATTEMPTS), number("5"));
        assert_eq!(shown(&|_| None, HOOK_LOG), number("1048576"));
        assert_eq!(shown(&one(HOOK_LOG, "99"), HOOK_LOG), number("99"));
        assert!(hook_log_size(&one(HOOK_LOG, "0")).is_err());
    }

    #[test]
    fn replication_is_as_configured() {
        let settings = driver::Settings::new(&REPLICATION, &CONFLICTS, None);
        assert_eq!(settings.steps.get(), 1);
        assert_eq!(settings.size_estimates.get(), 4);
        assert_eq!(
            settings.policy.initial_replication,
            InitialReplication::Fail
        );
    }

    #[test]
    fn replication_has_three_variables_of_its_own() {
        let changed = |variable, value| {
            let mut settings = driver::Settings::new(&REPLICATION, &CONFLICTS, None);
            let result = replication_settings(&one(variable, value), &mut settings);
            let driver::Settings {
                max_attempts,
                reconnect_limit,
                stall_limit,
                ..
            } = settings;
            result.map(|()| {
                let seconds = (reconnect_limit.as_secs(), stall_limit.as_secs());
                (max_attempts.get(), seconds)
            })
        };
        assert_eq!(changed("", ""), Ok((3, (600, 1800))));
        assert_eq!(changed(MAX_ATTEMPTS, "7"), Ok((7, (600, 1800))));
        assert_eq!(changed(RECONNECT, "1m"), Ok((3, (60, 1800))));
        assert_eq!(changed(STALL, "2h"), Ok((3, (600, 7200))));
        for value in ["0", "-1", "many", "3.5"] {
            let error = changed(MAX_ATTEMPTS, value).expect_err(value);
            assert_eq!(
                error.to_string(),
                format!(
                    "{MAX_ATTEMPTS} is {value:?}; it must be a whole number above zero, such as \"3\""
                )
            );
        }
        assert!(changed(STALL, "0s").is_err());
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
