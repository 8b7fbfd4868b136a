use jiff::{SignedDuration, Zoned};
use proptest::prelude::*;

use super::*;

mod years;

fn spec(text: &str) -> CronSpec {
    text.parse()
        .unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap()
}

/// The next match after a time of the clock in UTC, as such.
fn next_in_utc(text: &str, after: &str) -> String {
    let after: DateTime = after.parse().unwrap();
    let next = spec(text).next(TimeZone::UTC.to_timestamp(after).unwrap(), &TimeZone::UTC);
    next.map_or(String::new(), |next| {
        TimeZone::UTC.to_datetime(next).to_string()
    })
}

#[test]
fn times_match_or_do_not() {
    for (time, text, matches) in [
        ("2012-07-09T15:00", "0/15 * * * *", true),
        ("2012-07-09T15:45", "0/15 * * * *", true),
        ("2012-07-09T15:40", "0/15 * * * *", false),
        ("2012-07-09T15:05", "5/15 * * * *", true),
        ("2012-07-09T15:20", "5/15 * * * *", true),
        ("2012-07-09T15:50", "5/15 * * * *", true),
        ("2012-07-15T15:00", "0/15 * * Jul *", true),
        ("2012-07-15T15:00", "0/15 * * Jun *", false),
        ("2012-07-15T08:30", "30 08 ? Jul Sun", true),
        ("2012-07-15T08:30", "30 08 15 Jul ?", true),
        ("2012-07-16T08:30", "30 08 ? Jul Sun", false),
        ("2012-07-16T08:30", "30 08 15 Jul ?", false),
        // Both restricted: one is enough.
        ("2012-07-15T00:00", "* * 1,15 * Sun", true),
        ("2012-06-15T00:00", "* * 1,15 * Sun", true),
        ("2012-08-01T00:00", "* * 1,15 * Sun", true),
        ("2012-07-15T00:00", "* * */10 * Sun", true),
        ("2012-07-16T00:00", "* * 1,15 * Sun", false),
        // A star in one of them: both are needed.
        ("2012-07-15T00:00", "* * * * Mon", false),
        ("2012-07-09T00:00", "* * 1,15 * *", false),
        ("2012-07-15T00:00", "* * 1,15 * *", true),
        ("2012-07-15T00:00", "* * */2 * Sun", true),
    ] {
        let time: DateTime = time.parse().unwrap();
        let time = TimeZone::UTC.to_timestamp(time).unwrap();
        let just_before = time - SignedDuration::from_secs(1);
        let next = spec(text).next(just_before, &TimeZone::UTC);
        assert_eq!(next == Some(time), matches, "{time} {text}");
    }
}

#[test]
fn the_next_time_wraps_every_field() {
    for (after, text, next) in [
        ("2012-07-09T14:45", "0 0/15 * * * *", "2012-07-09T15:00:00"),
        ("2012-07-09T14:59", "0 0/15 * * * *", "2012-07-09T15:00:00"),
        (
            "2012-07-09T14:59:59",
            "0 0/15 * * * *",
            "2012-07-09T15:00:00",
        ),
        (
            "2012-07-09T14:59:59.999",
            "0 0/15 * * * *",
            "2012-07-09T15:00:00",
        ),
        (
            "2012-07-09T15:00:00",
            "0 0/15 * * * *",
            "2012-07-09T15:15:00",
        ),
        (
            "2012-07-09T15:45",
            "0 20-35/15 * * * *",
            "2012-07-09T16:20:00",
        ),
        ("2012-07-09T23:46", "0 */15 * * * *", "2012-07-10T00:00:00"),
        (
            "2012-07-09T23:45",
            "0 20-35/15 * * * *",
            "2012-07-10T00:20:00",
        ),
        (
            "2012-07-09T23:35:51",
            "15/35 20-35/15 * * * *",
            "2012-07-10T00:20:15",
        ),
        (
            "2012-07-09T23:35:51",
            "15/35 20-35/15 1/2 * * *",
            "2012-07-10T01:20:15",
        ),
        (
            "2012-07-09T23:35:51",
            "15/35 20-35/15 10-12 * * *",
            "2012-07-10T10:20:15",
        ),
        (
            "2012-07-09T23:35:51",
            "15/35 20-35/15 1/2 */2 * *",
            "2012-07-11T01:20:15",
        ),
        (
            "2012-07-09T23:35:51",
            "15/35 20-35/15 * 9-20 * *",
            "2012-07-10T00:20:15",
        ),
        (
            "2012-07-09T23:35:51",
            "15/35 20-35/15 * 9-20 Jul *",
            "2012-07-10T00:20:15",
        ),
        (
            "2012-07-09T23:35",
            "0 0 0 9 Apr-Oct ?",
            "2012-08-09T00:00:00",
        ),
        (
            "2012-07-09T23:35",
            "0 0 0 */5 Apr,Aug,Oct Mon",
            "2012-08-01T00:00:00",
        ),
        (
            "2012-07-09T23:35",
            "0 0 0 */5 Oct Mon",
            "2012-10-01T00:00:00",
        ),
        ("2012-07-09T23:35", "0 0 0 * Feb Mon", "2013-02-04T00:00:00"),
        (
            "2012-07-09T23:35",
            "0 0 0 * Feb Mon/2",
            "2013-02-01T00:00:00",
        ),
        ("2012-12-31T23:59:45", "0 * * * * *", "2013-01-01T00:00:00"),
        ("2012-07-09T23:35", "0 0 0 29 Feb ?", "2016-02-29T00:00:00"),
        ("2026-11-18T10:00:30", "5/15 * * * *", "2026-11-18T10:05:00"),
        ("2026-11-18T10:00:30", "0 0 * * 0", "2026-11-22T00:00:00"),
        ("2026-11-18T10:00:30", "0 0 1 * 1", "2026-11-23T00:00:00"),
        ("2026-11-18T10:00:30", "1,,2 * * * *", "2026-11-18T10:01:00"),
        (
            "2026-11-18T10:00:30",
            "CRON_TZ=Asia/Tokyo 0 3 * * *",
            "2026-11-18T18:00:00",
        ),
        (
            "1969-12-31T23:59:58.5",
            "* * * * * *",
            "1969-12-31T23:59:59",
        ),
    ] {
        assert_eq!(next_in_utc(text, after), next, "{after} {text}");
    }
}

#[test]
fn a_match_too_far_away_is_none() {
    assert_eq!(
        next_in_utc("0 0 29 2 *", "2096-02-28T00:00"),
        "2096-02-29T00:00:00"
    );
    assert_eq!(next_in_utc("0 0 29 2 *", "2096-03-01T00:00"), "");
    // The limit is the end of the fifth year after this one.
    assert_eq!(next_in_utc("0 0 29 2 *", "2098-12-31T00:00"), "");
    assert_eq!(
        next_in_utc("0 0 29 2 *", "2099-01-01T00:00"),
        "2104-02-29T00:00:00"
    );
    assert_eq!(spec("* * * * *").next(Timestamp::MAX, &TimeZone::UTC), None);
}

#[test]
fn changes_of_the_clock_skip_and_repeat_matches() {
    const NEW_YORK: &str = "America/New_York";
    const BERLIN: &str = "Europe/Berlin";
    for (local, after, text, next) in [
        // In spring, 02:00 to 03:00 does not exist.
        (
            NEW_YORK,
            "2012-03-11T00:00:00-05",
            "0 30 2 11 Mar ?",
            "2013-03-11T02:30:00-04",
        ),
        (
            NEW_YORK,
            "2012-03-11T00:00:00-05",
            "0 0 * * * ?",
            "2012-03-11T01:00:00-05",
        ),
        (
            NEW_YORK,
            "2012-03-11T01:00:00-05",
            "0 0 * * * ?",
            "2012-03-11T03:00:00-04",
        ),
        (
            NEW_YORK,
            "2012-03-11T03:00:00-04",
            "0 0 * * * ?",
            "2012-03-11T04:00:00-04",
        ),
        (
            NEW_YORK,
            "2012-03-11T04:00:00-04",
            "0 0 * * * ?",
            "2012-03-11T05:00:00-04",
        ),
        (
            NEW_YORK,
            "2012-03-11T00:00:00-05",
            "0 0 1 * * ?",
            "2012-03-11T01:00:00-05",
        ),
        (
            NEW_YORK,
            "2012-03-11T01:00:00-05",
            "0 0 1 * * ?",
            "2012-03-12T01:00:00-04",
        ),
        (
            NEW_YORK,
            "2012-03-11T00:00:00-05",
            "0 0 2 * * ?",
            "2012-03-12T02:00:00-04",
        ),
        (
            BERLIN,
            "2023-03-26T00:00:00+01",
            "30 2 * * *",
            "2023-03-27T02:30:00+02",
        ),
        (
            BERLIN,
            "2023-03-26T00:00:00+01",
            "0 3 * * *",
            "2023-03-26T03:00:00+02",
        ),
        (
            BERLIN,
            "2023-03-26T01:59:59+01",
            "*/30 * * * *",
            "2023-03-26T03:00:00+02",
        ),
        // In autumn, 01:00 to 02:00 (Berlin: 02:00 to 03:00) comes twice.
        (
            NEW_YORK,
            "2012-11-04T00:00:00-04",
            "0 30 2 04 Nov ?",
            "2012-11-04T02:30:00-05",
        ),
        (
            NEW_YORK,
            "2012-11-04T01:45:00-04",
            "0 30 1 04 Nov ?",
            "2012-11-04T01:30:00-05",
        ),
        (
            NEW_YORK,
            "2012-11-04T00:00:00-04",
            "0 0 * * * ?",
            "2012-11-04T01:00:00-04",
        ),
        (
            NEW_YORK,
            "2012-11-04T01:00:00-04",
            "0 0 * * * ?",
            "2012-11-04T01:00:00-05",
        ),
        (
            NEW_YORK,
            "2012-11-04T01:00:00-05",
            "0 0 * * * ?",
            "2012-11-04T02:00:00-05",
        ),
        (
            NEW_YORK,
            "2012-11-04T00:00:00-04",
            "0 0 1 * * ?",
            "2012-11-04T01:00:00-04",
        ),
        (
            NEW_YORK,
            "2012-11-04T01:00:00-04",
            "0 0 1 * * ?",
            "2012-11-04T01:00:00-05",
        ),
        (
            NEW_YORK,
            "2012-11-04T01:00:00-05",
            "0 0 1 * * ?",
            "2012-11-05T01:00:00-05",
        ),
        (
            NEW_YORK,
            "2012-11-04T00:00:00-04",
            "0 0 2 * * ?",
            "2012-11-04T02:00:00-05",
        ),
        (
            NEW_YORK,
            "2012-11-04T02:00:00-05",
            "0 0 2 * * ?",
            "2012-11-05T02:00:00-05",
        ),
        (
            NEW_YORK,
            "2012-11-04T00:00:00-04",
            "0 0 3 * * ?",
            "2012-11-04T03:00:00-05",
        ),
        (
            NEW_YORK,
            "2012-11-04T03:00:00-05",
            "0 0 3 * * ?",
            "2012-11-05T03:00:00-05",
        ),
        (
            NEW_YORK,
            "2012-11-04T00:00:00-04",
            "0 0 3 3 * ?",
            "2012-12-03T03:00:00-05",
        ),
        (
            BERLIN,
            "2023-10-29T00:00:00+02",
            "30 2 * * *",
            "2023-10-29T02:30:00+02",
        ),
        (
            BERLIN,
            "2023-10-29T02:30:00+02",
            "30 2 * * *",
            "2023-10-29T02:30:00+01",
        ),
        (
            BERLIN,
            "2023-10-29T02:30:00+01",
            "30 2 * * *",
            "2023-10-30T02:30:00+01",
        ),
        // The clock is the specification's own, whatever the local one shows.
        (
            BERLIN,
            "2012-03-11T01:00:00-05",
            "TZ=America/New_York 0 0 * * * ?",
            "2012-03-11T03:00:00-04",
        ),
        (
            BERLIN,
            "2012-03-11T01:00:00-05",
            "CRON_TZ=America/New_York 0 0 * * * ?",
            "2012-03-11T03:00:00-04",
        ),
        (
            BERLIN,
            "2023-07-01T00:00:00+00",
            "TZ=UTC 0 3 * * *",
            "2023-07-01T03:00:00+00",
        ),
        (
            BERLIN,
            "2023-07-01T00:00:00+00",
            "TZ= 0 3 * * *",
            "2023-07-01T03:00:00+00",
        ),
        (
            BERLIN,
            "2023-07-01T00:00:00+00",
            "TZ=Local 0 3 * * *",
            "2023-07-01T01:00:00+00",
        ),
        // A midnight that does not exist, and a clock that goes half an hour ahead.
        (
            NEW_YORK,
            "2018-10-17T05:00:00-04",
            "TZ=America/Sao_Paulo 0 0 9 10 * ?",
            "2018-11-10T06:00:00-05",
        ),
        (
            NEW_YORK,
            "2018-02-14T05:00:00-05",
            "TZ=America/Sao_Paulo 0 0 9 22 * ?",
            "2018-02-22T07:00:00-05",
        ),
        (
            "America/Sao_Paulo",
            "2018-11-03T12:00:00-03",
            "0 0 * * *",
            "2018-11-05T00:00:00-02",
        ),
        (
            "Australia/Lord_Howe",
            "2023-10-01T01:59:00+10:30",
            "*/15 2 * * *",
            "2023-10-01T02:30:00+11",
        ),
        // Far from the last transition that the zone's file lists.
        (
            BERLIN,
            "2080-07-01T00:00:00+02",
            "0 3 * * *",
            "2080-07-01T03:00:00+02",
        ),
    ] {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let found = spec(text).next(at(after), &zone(local));
        assert_eq!(found, Some(at(next)), "{local} {after} {text}");
    }
}

#[test]
fn errors_say_what_was_found_and_what_is_allowed() {
    for (text, message) in [
        ("", "cron syntax invalid: empty spec string"),
        (
            "   ",
            "cron syntax invalid: expected 5 to 6 fields, found 0: []",
        ),
        (
            "* * * *",
            "expected 5 to 6 fields, found 4: [* * * *] (minute, hour, day of month",
        ),
        ("* * * * * * *", "found 7"),
        (
            "@daily",
            "cron syntax invalid: parser does not accept descriptors: @daily",
        ),
        (
            "TZ=UTC @every 1h",
            "parser does not accept descriptors: @every 1h",
        ),
        ("TZ=Europe/Berlin", r#"after the time zone "Europe/Berlin""#),
        (
            "TZ=Europe/Atlantis 0 0 * * *",
            "provided bad location Europe/Atlantis: ",
        ),
        (
            "60 0 * * *",
            r#"cron syntax invalid: minute "60": end of range (60) above maximum (59)"#,
        ),
        (
            "0 60 * * *",
            r#"hour "60": end of range (60) above maximum (23) (allowed: 0-23)"#,
        ),
        (
            "0 0 0 * *",
            r#"day of month "0": beginning of range (0) below minimum (1)"#,
        ),
        (
            "0 0 * * XYZ",
            r#"day of week "XYZ": failed to parse int from "XYZ" (allowed: 0-6 or sun-sat)"#,
        ),
        ("0 0 * * 7", "end of range (7) above maximum (6)"),
        ("* 5 j * * *", "hour \"j\": failed to parse int from"),
        ("x 5 1 * * *", "second \"x\""),
        ("0 0 L * *", "day of month \"L\""),
        (
            "TZ=America/New_York 15/0 * * * *",
            "step of range should be a positive number",
        ),
    ] {
        let error = text.parse::<CronSpec>().unwrap_err().to_string();
        assert!(error.contains(message), "{text:?}: {error}");
    }
}

#[test]
fn days_that_no_month_has_are_refused() {
    for (text, satisfiable) in [
        ("0 0 30 2 *", false),
        ("0 0 0 30 Feb ?", false),
        ("0 0 31 4 *", false),
        ("0 0 31 feb,apr,jun,sep,nov *", false),
        ("0 0 30-31/1 2 ?", false),
        ("0 0 31 2 */1", false),
        ("0 0 29 2 *", true),
        ("0 0 31 4,5 *", true),
        ("0 0 28-31 2 *", true),
        // The day of the week helps out.
        ("0 0 31 2 1", true),
        ("0 0 31 2 */2", true),
        ("0 0 * 2 1", true),
    ] {
        let parsed = text.parse::<CronSpec>();
        assert_eq!(parsed.is_ok(), satisfiable, "{text}");
        if satisfiable {
            assert_ne!(next_in_utc(text, "2026-01-01T00:00"), "", "{text}");
        }
    }
    let error = "0 0 31 2,4 *".parse::<CronSpec>().unwrap_err().to_string();
    assert!(
        error.contains(r#"no month in "2,4" has a day in "31""#),
        "{error}"
    );
}

#[test]
fn prints_the_text_it_was_made_of() {
    for text in ["*/5 * * * *", "TZ=Asia/Tokyo  0 3 * *  mon "] {
        assert_eq!(spec(text).to_string(), text);
        assert_eq!(spec(text).to_string().parse(), Ok(spec(text)));
    }
}

/// A field's text and, by other means than the parser's, whether a number is in it.
fn field(min: u32, max: u32) -> impl Strategy<Value = (String, Vec<u32>)> {
    let range = move |step: u32, from: u32, to: u32| (from..=to).step_by(step as usize).collect();
    prop_oneof![
        Just(("*".to_owned(), (min..=max).collect())),
        (2..20u32).prop_map(move |n| (format!("*/{n}"), range(n, min, max))),
        (min..=max).prop_map(|n| (n.to_string(), vec![n])),
        (min..=max, 1..9u32).prop_map(move |(n, s)| (format!("{n}/{s}"), range(s, n, max))),
        (min..=max, min..=max).prop_map(move |(a, b)| {
            (
                format!("{}-{}", a.min(b), a.max(b)),
                range(1, a.min(b), a.max(b)),
            )
        }),
        (min..=max, min..=max).prop_map(|(a, b)| (format!("{a},{b}"), vec![a, b])),
    ]
}

type FieldText = (String, Vec<u32>);

fn naive_match(at: &Zoned, fields: &[FieldText; 5]) -> bool {
    let [minute, hour, day_of_month, month, day_of_week] = fields;
    let has = |(_, numbers): &FieldText, n: i8| numbers.contains(&n.unsigned_abs().into());
    let day = has(day_of_month, at.day());
    let weekday = has(day_of_week, at.weekday().to_sunday_zero_offset());
    let either = day_of_month.0 != "*" && day_of_week.0 != "*";
    has(minute, at.minute())
        && has(hour, at.hour())
        && has(month, at.month())
        && if either {
            day || weekday
        } else {
            day && weekday
        }
}

proptest! {
    #[test]
    fn finds_the_first_minute_that_matches(
        minute in field(0, 59),
        hour in field(0, 23),
        day_of_month in field(1, 31),
        month in prop_oneof![4 => Just(("*".to_owned(), (1..=12).collect())), 1 => field(1, 12)],
        day_of_week in field(0, 6),
        name in prop::sample::select(vec![
            "UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Sao_Paulo",
        ]),
        // Half of the searches start on a day on which one of the clocks changes.
        start in prop_oneof![
            1_500_000_000_i64..1_800_000_000,
            prop::sample::select(vec![
                1_679_788_800_i64, 1_698_537_600, 1_331_442_000, 1_352_001_600, 1_696_082_400, 1_541_260_800,
            ]).prop_flat_map(|day| day - 40_000..day + 40_000),
        ],
    ) {
        let fields = [minute, hour, day_of_month, month, day_of_week];
        let text = fields.each_ref().map(|(text, _)| text.as_str()).join(" ");
        let Ok(spec) = text.parse::<CronSpec>() else {
            return Ok(());
        };
        let (zone, start) = (zone(name), Timestamp::from_second(start).unwrap());
        let next = spec.next(start, &zone);
        if let Some(next) = next {
            prop_assert!(next > start);
            prop_assert!(naive_match(&next.to_zoned(zone.clone()), &fields), "{text} {next}");
            prop_assert_eq!(next.as_second() % 60, 0);
        }
        let first_minute = start.as_second().div_euclid(60) + 1;
        for minute in first_minute..first_minute + 26 * 60 {
            let at = Timestamp::from_second(minute * 60).unwrap();
            if next.is_some_and(|next| at >= next) {
                break;
            }
            prop_assert!(!naive_match(&at.to_zoned(zone.clone()), &fields), "{text} misses {at}");
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "((CRON_)?TZ=)?[-*?/,0-9a-z@ ]{0,40}") {
        let _ = text.parse::<CronSpec>();
    }
}
