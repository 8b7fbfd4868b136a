//! The first byte chooses a notation, the rest is a text in it; where time matters, eight bytes of time come before the text.
//! What is accepted is read back from what it is written as.
#![no_main]

use std::fmt::{Debug, Display};
use std::net::IpAddr;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use libfuzzer_sys::fuzz_target;
use zrepl_daemon::config::transfer::{BucketCapacity, PropertyText, Rate};
use zrepl_daemon::config::value::data_size::DataSize;
use zrepl_daemon::config::value::host_port::HostPort;
use zrepl_daemon::filter::{FilesystemFilter, Pattern};
use zrepl_daemon::go_duration::{GoDuration, PositiveDuration, Timeout};
use zrepl_daemon::go_regex::GoRegex;
use zrepl_daemon::hook::dsn::{MysqlDsn, PostgresDsn};
use zrepl_daemon::interval::Interval;
use zrepl_daemon::name::job::JobName;
use zrepl_daemon::prune::grid::RetentionGrid;
use zrepl_daemon::snapshot::cron_spec::CronSpec;
use zrepl_daemon::snapshot::naming::SnapshotNaming;
use zrepl_daemon::transport::ip_map::{ClientMap, Entry};

fuzz_target!(|input: &[u8]| {
    let Some((&notation, input)) = input.split_first() else {
        return;
    };
    match notation {
        b'c' => timed(input, cron),
        b'n' => timed(input, naming),
        _ => {
            let Ok(text) = str::from_utf8(input) else {
                return;
            };
            match notation {
                b'C' => client_map(text),
                b'd' => read_back::<GoDuration>(text),
                b'D' => read_back::<Timeout>(text),
                b'e' => read_back::<PositiveDuration>(text),
                b'g' => read_back::<RetentionGrid>(text),
                b'h' => read_back::<HostPort>(text),
                b'i' => read_back::<Interval>(text),
                b'j' => read_back::<JobName>(text),
                b'm' => mysql(text),
                b'p' => postgres(text),
                b'P' => read_back::<PropertyText>(text),
                b'r' => regex(text),
                b's' => read_back::<DataSize>(text),
                b'S' => read_back::<Rate>(text),
                b't' => read_back::<BucketCapacity>(text),
                b'<' => filter(text),
                _ => {}
            }
        }
    }
});

fn parsed<T: FromStr>(text: &str) -> Option<T>
where
    T::Err: Display,
{
    text.parse()
        .inspect_err(|error: &T::Err| assert!(!error.to_string().is_empty()))
        .ok()
}

fn read_back<T>(text: &str)
where
    T: FromStr + Display + Debug + PartialEq,
    T::Err: Display + Debug,
{
    if let Some(value) = parsed::<T>(text) {
        let again: T = value.to_string().parse().expect("reads what it wrote");
        assert_eq!(again, value, "{value}");
    }
}

/// Splits off a time: any that there can be.
fn timed(input: &[u8], check: fn(Timestamp, &str)) {
    let Some((&time, text)) = input.split_first_chunk() else {
        return;
    };
    let (least, most) = (Timestamp::MIN.as_second(), Timestamp::MAX.as_second());
    let second = least + i64::from_le_bytes(time).rem_euclid(most - least + 1);
    let (Ok(time), Ok(text)) = (Timestamp::from_second(second), str::from_utf8(text)) else {
        return;
    };
    check(time, text);
}

fn cron(mut time: Timestamp, text: &str) {
    let Some(spec) = parsed::<CronSpec>(text) else {
        return;
    };
    assert_eq!(parsed(&spec.to_string()).as_ref(), Some(&spec));
    let zone = TimeZone::get("Europe/Berlin").unwrap_or(TimeZone::UTC);
    for _ in 0..8 {
        let Some(next) = spec.next(time, &zone) else {
            return;
        };
        assert!(
            next > time && next.subsec_nanosecond() == 0,
            "{time} {next}"
        );
        // Nothing was left out between the two.
        assert_eq!(
            spec.next(next - jiff::SignedDuration::from_secs(1), &zone),
            Some(next)
        );
        time = next;
    }
}

/// The text is prefix, format and location with line feeds between them.
fn naming(time: Timestamp, text: &str) {
    let mut parts = text.splitn(3, '\n');
    let mut part = || parts.next().unwrap_or_default();
    match SnapshotNaming::new(part(), part(), part()) {
        Err(error) => assert!(!error.to_string().is_empty()),
        Ok(naming) => {
            let name = naming.name_at(time);
            assert!(name.starts_with(naming.prefix()));
            assert!(!name.contains(['+', '/', '@', '#']), "{name}");
            let _ = naming.resolution();
        }
    }
}

fn regex(text: &str) {
    let Some(regex) = parsed::<GoRegex>(text) else {
        return;
    };
    for name in ["", "zrepl_20261121_120000_000", text] {
        let matches = regex.is_match(name);
        assert!(matches || name.is_empty() || name.contains('\n') || !regex.matches_everything());
    }
    assert_eq!(parsed::<GoRegex>(regex.as_str()), Some(regex));
}

fn filter(text: &str) {
    let mut filter = FilesystemFilter::default();
    for line in text.lines() {
        let (accept, pattern) = match line.strip_prefix('!') {
            Some(pattern) => (false, pattern),
            None => (true, line),
        };
        read_back::<Pattern>(pattern);
        if let Some(pattern) = parsed::<Pattern>(pattern) {
            let _ = filter.add(pattern, accept);
        }
    }
    for line in text.lines() {
        let verdict = filter.verdict(line);
        assert_eq!(verdict.accepted, filter.accepts(line));
        assert!(!verdict.accepted || verdict.decided_by.is_some());
    }
}

/// Each line is an address and, after a blank, an identity.
fn client_map(text: &str) {
    let mut entries = Vec::new();
    for line in text.lines() {
        let (key, identity) = line.split_once(' ').unwrap_or((line, ""));
        match Entry::new(key, identity) {
            Err(error) => assert!(!error.to_string().is_empty()),
            Ok(entry) => {
                assert_eq!((entry.key(), entry.identity()), (key, identity));
                entries.push(entry);
            }
        }
    }
    let keys: Vec<String> = entries.iter().map(|entry| entry.key().to_owned()).collect();
    let Ok(map) = ClientMap::from_entries(entries) else {
        return;
    };
    for key in keys {
        let (ip, zone) = key.split_once('%').unwrap_or((&key, ""));
        // Who is named with the own address is somebody.
        if let Ok(ip) = ip.parse::<IpAddr>() {
            assert!(map.identity(ip, Some(zone)).is_ok(), "{key}");
        }
    }
}

fn postgres(text: &str) {
    let Some(dsn) = parsed::<PostgresDsn>(text) else {
        return;
    };
    let written = dsn.to_string();
    let again: PostgresDsn = written.parse().expect("reads what it wrote");
    let secret = |key: &str| matches!(key, "password" | "sslpassword" | "sslkey");
    let shown = |dsn: &PostgresDsn| -> Vec<(String, String)> {
        let parameters = dsn.parameters().iter().filter(|(key, _)| !secret(key));
        parameters
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    };
    assert_eq!(shown(&again), shown(&dsn), "{written}");
    assert_eq!(again.to_string(), written);
}

fn mysql(text: &str) {
    let Some(dsn) = parsed::<MysqlDsn>(text) else {
        return;
    };
    let written = dsn.to_string();
    let again: MysqlDsn = written.parse().expect("reads what it wrote");
    assert_eq!(again.to_string(), written);
    for part in [
        MysqlDsn::user,
        MysqlDsn::net,
        MysqlDsn::address,
        MysqlDsn::database,
    ] {
        assert_eq!(part(&again), part(&dsn), "{written}");
    }
    assert_eq!(again.parameters(), dsn.parameters(), "{written}");
    assert_eq!(again.password().is_empty(), dsn.password().is_empty());
}
