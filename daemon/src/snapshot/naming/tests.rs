use proptest::prelude::*;

use super::*;

fn naming(format: &str, location: &str) -> SnapshotNaming {
    SnapshotNaming::new("zrepl_", format, location)
        .unwrap_or_else(|error| panic!("{format:?} {location:?}: {error}"))
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[test]
fn names_are_prefix_and_timestamp() {
    const AT: &str = "2023-10-11T09:08:07.123Z";
    for (format, location, timestamp) in [
        ("dense", "UTC", "20231011_090807_000"),
        ("DENSE", "", "20231011_090807_000"),
        ("human", "UTC", "2023-10-11_09:08:07"),
        ("Human", "UTC", "2023-10-11_09:08:07"),
        ("iso-8601", "UTC", "2023-10-11T09:08:07.123Z"),
        ("ISO-8601", "Europe/Berlin", "2023-10-11T11:08:07.123_0200"),
        (
            "iso-8601",
            "America/New_York",
            "2023-10-11T05:08:07.123-0400",
        ),
        ("iso-8601", "Europe/Lisbon", "2023-10-11T10:08:07.123_0100"),
        ("unix-seconds", "UTC", "1697015287"),
        ("Unix-Seconds", "UTC", "1697015287"),
        (
            "2006-01-02_15:04:05-07:00:00",
            "Europe/Berlin",
            "2023-10-11_11:08:07_02:00:00",
        ),
        ("06-Jan-02", "Asia/Tokyo", "23-Oct-11"),
        ("2006-01-02T15MST", "Europe/Berlin", "2023-10-11T11CEST"),
        ("2006-01-02T15-0700", "UTC", "2023-10-11T09_0000"),
        ("2006-01-02T15MST-07", "Asia/Dubai", "2023-10-11T13_04_04"),
        ("unix", "UTC", "unix"),
        ("", "UTC", ""),
    ] {
        let name = naming(format, location).name_at(at(AT));
        assert_eq!(name, format!("zrepl_{timestamp}"), "{format} {location}");
    }
}

#[test]
fn the_sign_of_an_offset_is_that_of_the_time_named() {
    let lisbon = naming("iso-8601", "Europe/Lisbon");
    for (time, name) in [
        ("2024-01-01T00:00:00Z", "zrepl_2024-01-01T00:00:00.000Z"),
        ("2024-07-01T00:00:00Z", "zrepl_2024-07-01T01:00:00.000_0100"),
    ] {
        assert_eq!(lisbon.name_at(at(time)), name);
    }
    // UTC in winter, although the layout never says Z.
    let layout = naming("2006-01-02T15-0700", "Europe/Lisbon");
    assert_eq!(
        layout.name_at(at("2024-01-01T00:00:00Z")),
        "zrepl_2024-01-01T00_0000"
    );
    // On either side of UTC.
    let azores = naming("2006-01-02T15-0700", "Atlantic/Azores");
    assert_eq!(
        azores.name_at(at("2024-01-01T02:00:00Z")),
        "zrepl_2024-01-01T01-0100"
    );
    assert_eq!(
        azores.name_at(at("2024-07-01T02:00:00Z")),
        "zrepl_2024-07-01T02_0000"
    );
}

#[test]
fn the_local_zone_is_no_utc_even_if_it_shows_the_same() {
    assert!(SnapshotNaming::new("p", "iso-8601", "Local").is_ok());
    for location in ["Local", "Etc/UTC", "Europe/Berlin"] {
        for format in ["dense", "human", "unix-seconds", "HUMAN"] {
            let error = SnapshotNaming::new("p", format, location).unwrap_err();
            assert_eq!(error.key(), NamingKey::TimestampLocation);
            let expected = format!(
                "build timestamp formatter: invalid format string {format:?} or location {location:?}: format string \
                 requires UTC location"
            );
            assert!(error.to_string().starts_with(&expected), "{error}");
        }
    }
}

#[test]
fn errors_blame_one_key() {
    let long = "x".repeat(240);
    let longer = "x".repeat(300);
    for (prefix, format, location, key, message) in [
        (
            "",
            "dense",
            "UTC",
            NamingKey::Prefix,
            "prefix must not be empty",
        ),
        (
            "zrepl@",
            "dense",
            "UTC",
            NamingKey::Prefix,
            "invalid snapshot name would result from `prefix+$timestamp`: must only contain alphanumeric chars and any in \
             \"-_.: \", found '@': \"zrepl@20200601_000000_000\"",
        ),
        ("a/b", "dense", "UTC", NamingKey::Prefix, "found '/'"),
        ("zrepl+", "dense", "UTC", NamingKey::Prefix, "found '+'"),
        (
            "zrépl_",
            "dense",
            "UTC",
            NamingKey::Prefix,
            "must be ASCII, found 'é'",
        ),
        (
            &long,
            "dense",
            "UTC",
            NamingKey::Prefix,
            "must not be longer than 255 chars, found 259",
        ),
        (&longer, "dense", "UTC", NamingKey::Prefix, "found 319"),
        (
            "p",
            &longer,
            "UTC",
            NamingKey::TimestampFormat,
            "must not be longer than 255 chars, found 301",
        ),
        (".", "", "UTC", NamingKey::Prefix, "must not be '.'"),
        (".", ".", "UTC", NamingKey::Prefix, "must not be '..'"),
        (
            "p",
            "2006/01/02",
            "UTC",
            NamingKey::TimestampFormat,
            "found '/': \"p2020/06/01\"",
        ),
        (
            "p",
            "2006年",
            "UTC",
            NamingKey::TimestampFormat,
            "must be ASCII, found '年'",
        ),
        (
            "p",
            "15:04+07",
            "UTC",
            NamingKey::TimestampFormat,
            "build timestamp formatter: invalid format string \"15:04+07\" or location \"UTC\": character '+' is not \
             allowed in ZFS snapshot names and has special handling",
        ),
        (
            "p",
            "dense",
            "Europe/Atlantis",
            NamingKey::TimestampLocation,
            "build timestamp formatter: load location from string \"Europe/Atlantis\": ",
        ),
        (
            "p",
            "dense",
            "utc+1",
            NamingKey::TimestampLocation,
            "load location from string",
        ),
    ] {
        let error = SnapshotNaming::new(prefix, format, location).unwrap_err();
        assert_eq!(error.key(), key, "{error}");
        assert!(error.to_string().contains(message), "{error}");
    }
    let most = "x".repeat(236);
    assert!(SnapshotNaming::new(&most, "dense", "UTC").is_ok());
}

#[test]
fn resolution_needs_all_coarser_units() {
    let fraction = |digits| Some(Resolution::Fraction { digits });
    for (format, location, resolution) in [
        ("dense", "UTC", Some(Resolution::Second)),
        ("human", "UTC", Some(Resolution::Second)),
        ("iso-8601", "UTC", fraction(3)),
        ("unix-seconds", "UTC", Some(Resolution::Second)),
        ("2006-01-02_15:04:05.000000", "UTC", fraction(6)),
        ("2006-01-02_15:04:05.99999999999", "UTC", fraction(9)),
        ("2006-01-02_15:04.000", "UTC", Some(Resolution::Minute)),
        ("2006-01-02_15:04", "UTC", Some(Resolution::Minute)),
        ("2006-01-02_15", "UTC", Some(Resolution::Hour)),
        ("2006-01-02_03PM", "UTC", Some(Resolution::Hour)),
        ("2006-01-02_03", "UTC", Some(Resolution::Day)),
        ("2006-01-02_04", "UTC", Some(Resolution::Day)),
        ("2006-01-02", "UTC", Some(Resolution::Day)),
        ("06.002", "UTC", Some(Resolution::Day)),
        ("Jan 2006", "UTC", Some(Resolution::Month)),
        ("2006-02_15", "UTC", Some(Resolution::Year)),
        ("2006", "UTC", Some(Resolution::Year)),
        ("01-02_15:04:05", "UTC", None),
        ("15:04", "Europe/Berlin", None),
        ("Mon", "UTC", None),
        ("daily", "UTC", None),
    ] {
        assert_eq!(
            naming(format, location).resolution(),
            resolution,
            "{format}"
        );
    }
}

#[test]
fn snapshots_one_unit_apart_are_distinguished() {
    for (format, shortest) in [
        ("iso-8601", Duration::from_millis(1)),
        ("dense", Duration::from_secs(1)),
        ("200601021504", Duration::from_secs(60)),
        ("20060102", Duration::from_secs(86_400)),
        ("200601", Duration::from_secs(31 * 86_400)),
    ] {
        let naming = naming(format, "UTC");
        assert!(naming.distinguishes(shortest), "{format}");
        let shorter = shortest.checked_sub(Duration::from_nanos(1)).unwrap();
        assert!(!naming.distinguishes(shorter), "{format}");
    }
    assert!(!naming("15:04", "UTC").distinguishes(Duration::MAX));
}

#[test]
fn keeps_what_was_written() {
    let naming = SnapshotNaming::new("zrepl_", "ISO-8601", "").unwrap();
    assert_eq!(naming.prefix(), "zrepl_");
    assert_eq!(naming.timestamp_format(), "ISO-8601");
    assert_eq!(naming.timestamp_location(), "");
}

proptest! {
    #[test]
    fn names_differ_at_the_resolution(
        format in prop::sample::select(vec![
            "dense", "human", "iso-8601", "unix-seconds", "2006-01-02_15:04", "06__2 3pm", "Jan 2, 2006", "1/06",
        ].into_iter().map(|f| f.replace('/', ".").replace(',', "")).collect::<Vec<_>>()),
        start in 0..4_000_000_000_i64,
        more in 0..10_000_000_u64,
    ) {
        let naming = naming(&format, "UTC");
        let start = Timestamp::from_second(start).unwrap();
        let apart = naming.resolution().unwrap().duration() + Duration::from_secs(more);
        prop_assert_ne!(naming.name_at(start), naming.name_at(start + apart));
    }

    #[test]
    fn names_are_legal_at_any_time(
        format in "[-_.: 0-9a-zA-Z]{0,30}",
        location in prop::sample::select(vec!["UTC", "Europe/Berlin", "America/New_York", "Atlantic/Azores"]),
        seconds in 0..4_000_000_000_i64,
    ) {
        let naming = naming(&format, location);
        let name = naming.name_at(Timestamp::from_second(seconds).unwrap());
        prop_assert_eq!(check_component(&name), Ok(()), "{}", name);
    }
}
