use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use tracing_subscriber::layer::SubscriberExt as _;

use super::entry::{Entry, Value};
use super::*;
use crate::config::global::{Format, Level};

fn entry() -> Entry {
    Entry {
        time: "2026-11-21T03:26:12.1250Z"
            .parse::<Timestamp>()
            .expect("a time"),
        level: Level::Info,
        message: "start <replication>".to_owned(),
        prefix: vec![
            ("job", Value::Text("to nas".to_owned())),
            ("subsystem", Value::Text("repl".to_owned())),
        ],
        fields: vec![
            ("fs", Value::Text("tank/a b".to_owned())),
            ("err", Value::Text("two\nlines & \"quotes\"".to_owned())),
            ("attempt_number", Value::Unsigned(3)),
            ("empty", Value::Text(String::new())),
        ],
    }
}

const EVERYTHING: Look = Look {
    time: true,
    level: true,
    color: false,
};

fn line(entry: &Entry, format: Format, look: Look) -> String {
    let zone = TimeZone::fixed(jiff::tz::offset(1));
    let writer = Writer { format, look, zone };
    writer.line(entry)
}

#[test]
fn human_is_as_zrepl_prints_it() {
    assert_eq!(
        line(&entry(), Format::Human, EVERYTHING),
        "2026-11-21T04:26:12+01:00 [INFO][to nas][repl]: start <replication> fs=\"tank/a b\" \
         err=\"two\\nlines & \\\"quotes\\\"\" attempt_number=\"3\" empty=\"\"\n"
    );
}

#[test]
fn human_leaves_out_what_is_not_there() {
    let mut entry = entry();
    entry.fields.clear();
    entry.prefix.clear();
    let look = Look {
        time: false,
        ..EVERYTHING
    };
    assert_eq!(
        line(&entry, Format::Human, look),
        "[INFO]: start <replication>\n"
    );
    let bare = Look {
        level: false,
        ..look
    };
    assert_eq!(line(&entry, Format::Human, bare), "start <replication>\n");
}

#[test]
fn colour_is_that_of_the_level() {
    let mut entry = entry();
    entry.fields.truncate(1);
    let look = Look {
        color: true,
        time: false,
        level: true,
    };
    let short = [("DEBG", 94), ("INFO", 92), ("WARN", 93), ("ERRO", 91)];
    let levels = [Level::Debug, Level::Info, Level::Warn, Level::Error];
    for (level, (word, color)) in levels.into_iter().zip(short) {
        entry.level = level;
        let colored = |text| format!("\u{1b}[{color}m{text}\u{1b}[0m");
        let expected = format!(
            "[{}][{}][{}]: start <replication> {}=\"tank/a b\"\n",
            colored(word),
            colored("to nas"),
            colored("repl"),
            colored("fs"),
        );
        assert_eq!(line(&entry, Format::Human, look), expected);
    }
}

#[test]
fn logfmt_is_as_zrepl_prints_it() {
    assert_eq!(
        line(&entry(), Format::Logfmt, EVERYTHING),
        "time=2026-11-21T04:26:12.125+01:00 level=info job=\"to nas\" subsystem=repl msg=\"start <replication>\" \
         fs=\"tank/a b\" err=\"two\\nlines & \\\"quotes\\\"\" attempt_number=3 empty=\n"
    );
}

#[test]
fn logfmt_without_a_job_has_the_subsystem_after_the_message() {
    let mut entry = entry();
    entry.prefix.remove(0);
    entry.fields.truncate(1);
    let look = Look {
        time: false,
        ..EVERYTHING
    };
    assert_eq!(
        line(&entry, Format::Logfmt, look),
        "level=info msg=\"start <replication>\" subsystem=repl fs=\"tank/a b\"\n"
    );
}

#[test]
fn json_is_as_zrepl_prints_it() {
    assert_eq!(
        line(&entry(), Format::Json, EVERYTHING),
        "{\"attempt_number\":3,\"empty\":\"\",\"err\":\"two\\nlines \\u0026 \\\"quotes\\\"\",\"fs\":\"tank/a b\",\
         \"job\":\"to nas\",\"level\":\"info\",\"msg\":\"start \\u003creplication\\u003e\",\"subsystem\":\"repl\",\
         \"time\":\"2026-11-21T04:26:12+01:00\"}\n"
    );
}

#[test]
fn an_entry_is_one_line_whatever_it_says() {
    let mut entry = entry();
    let evil = "x\n[ERRO]: forged\r\u{1b}[2J\u{2028}";
    entry.message = evil.to_owned();
    entry.prefix[0].1 = Value::Text(evil.to_owned());
    entry.fields[0].1 = Value::Text(evil.to_owned());
    for format in [Format::Human, Format::Logfmt, Format::Json] {
        let line = line(&entry, format, EVERYTHING);
        let inner = line.strip_suffix('\n').expect("ends with a line feed");
        assert!(!inner.contains(char::is_control), "{inner:?}");
    }
}

fn stdout(time: bool, color: bool) -> StdoutOutlet {
    let yaml = format!(
        "global: {{logging: [{{type: stdout, level: info, format: human, time: {time}, color: {color}}}]}}\njobs: []\n"
    );
    let loaded = crate::config::parse("test.yml", &yaml).expect("good");
    match &loaded.config.global.logging.outlets()[0] {
        Outlet::Stdout(outlet) => outlet.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn time_and_colour_depend_on_the_terminal() {
    let seen = |time, color, terminal, variable: Option<(&str, &str)>| {
        let variables =
            |name: &str| variable.and_then(|(set, value)| (set == name).then(|| value.into()));
        let look = look(&stdout(time, color), terminal, &variables);
        (look.time, look.color)
    };
    assert_eq!(seen(true, true, true, None), (true, true));
    assert_eq!(seen(false, false, true, None), (true, false));
    assert_eq!(seen(true, true, false, None), (true, false));
    assert_eq!(seen(false, true, false, None), (false, false));
    assert!(!seen(true, true, true, Some(("NO_COLOR", "1"))).1);
    assert!(!seen(true, true, true, Some(("TERM", "dumb"))).1);
    assert!(seen(true, true, true, Some(("TERM", "xterm"))).1);
}

#[derive(Clone, Debug, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("nobody panicked").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What is logged while `work` runs.
fn logged(lowest: Level, work: impl FnOnce()) -> String {
    let kept = Kept::default();
    let writer = Writer {
        format: Format::Human,
        look: Look {
            time: false,
            ..EVERYTHING
        },
        zone: TimeZone::UTC,
    };
    let lines = Lines::new(lowest, writer, kept.clone());
    let subscriber = tracing_subscriber::registry().with(lines);
    tracing::subscriber::with_default(subscriber, work);
    let bytes = kept.0.lock().expect("nobody panicked").clone();
    String::from_utf8(bytes).expect("text")
}

#[test]
fn fields_come_from_the_event_and_the_spans_around_it() {
    let text = logged(Level::Info, || {
        let _job = tracing::error_span!("job", job = "push", client = "outer").entered();
        let _client = tracing::error_span!("client", client = "inner").entered();
        let name = "tank";
        tracing::warn!(target: "zrepl_daemon::endpoint::sender", fs = %name, count = 2_u64, "no {}", "way");
        tracing::info!(target: "zrepl_daemon::job", job = "own", subsystem = "repl", "said");
    });
    assert_eq!(
        text,
        "[WARN][push][endpoint]: no way fs=\"tank\" count=\"2\" client=\"inner\"\n\
         [INFO][own][repl]: said client=\"inner\"\n"
    );
}

#[test]
fn the_level_bounds_what_is_shown_and_spans_stay() {
    let text = logged(Level::Warn, || {
        let _job = tracing::error_span!("job", job = "push").entered();
        tracing::debug!(target: "zrepl_daemon::job", "no");
        tracing::info!(target: "zrepl_daemon::job", "no");
        tracing::warn!(target: "zrepl_daemon::job", "yes");
        tracing::error!(target: "zrepl_daemon::service", "yes");
    });
    assert_eq!(text, "[WARN][push][job]: yes\n[ERRO][push]: yes\n");
    let text = logged(Level::Debug, || {
        tracing::trace!(target: "zrepl_daemon::job", "no");
        tracing::debug!(target: "zrepl_daemon::job", "yes");
    });
    assert_eq!(text, "[DEBG][job]: yes\n");
}

#[test]
fn libraries_are_heard_only_when_something_is_wrong() {
    let text = logged(Level::Debug, || {
        tracing::debug!(target: "h2::proto", "no");
        tracing::info!(target: "h2::proto", "no");
        tracing::warn!(target: "h2::proto", "yes");
    });
    assert_eq!(text, "[WARN]: yes\n");
}
