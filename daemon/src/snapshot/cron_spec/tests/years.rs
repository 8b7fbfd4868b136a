//! The search against a clock that ticks through whole years, minute by minute, and asks each of them. The clock does its own
//! arithmetic of dates; of the zone it only knows the offset from UTC, each quarter of an hour. All offsets of today are whole
//! quarters, so a quarter lies within one hour.

use super::*;

const FIRST_YEAR: i64 = 2023;
const YEARS: i64 = 3;

/// 2023-01-01T00:00:00Z, a Sunday.
const START: i64 = 1_672_531_200;
const QUARTER: i64 = 15 * 60;
const DAY: i64 = 24 * 3600;

#[derive(Clone, Copy)]
struct Day {
    month: u32,
    number: u32,
    weekday: u32,
}

/// The days from the last of the year before on, and one more.
fn calendar() -> Vec<Day> {
    let mut days = vec![Day {
        month: 12,
        number: 31,
        weekday: 6,
    }];
    for year in FIRST_YEAR..=FIRST_YEAR + YEARS {
        let february = if year % 4 == 0 { 29 } else { 28 };
        let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        for (length, month) in lengths.into_iter().zip(1..) {
            for number in 1..=length {
                let weekday = u32::try_from((days.len() - 1) % 7).unwrap();
                days.push(Day {
                    month,
                    number,
                    weekday,
                });
            }
        }
    }
    days
}

/// All minutes of these years that match, in order.
fn matches(zone: &TimeZone, fields: &[FieldText; 5]) -> Vec<i64> {
    let [minutes, hours, days_of_month, months, days_of_week] = fields;
    let numbers = |field: &FieldText| -> Vec<bool> {
        (0..60).map(|number| field.1.contains(&number)).collect()
    };
    let [minute_matches, hour_matches, month_matches] = [minutes, hours, months].map(numbers);
    let has = |field: &FieldText, number: u32| field.1.contains(&number);
    let either = days_of_month.0 != "*" && days_of_week.0 != "*";
    let calendar = calendar();
    let day_matches: Vec<bool> = calendar
        .iter()
        .map(|day| {
            let of_month = has(days_of_month, day.number);
            let of_week = has(days_of_week, day.weekday);
            let day_matches = if either {
                of_month || of_week
            } else {
                of_month && of_week
            };
            day_matches && month_matches[day.month as usize]
        })
        .collect();
    let mut found = Vec::new();
    for quarter in 0..YEARS * 365 * DAY / QUARTER {
        let from = START + quarter * QUARTER;
        let offset = zone.to_offset(Timestamp::from_second(from).unwrap());
        let shown = from - START + i64::from(offset.seconds());
        let day = usize::try_from(shown.div_euclid(DAY) + 1).unwrap();
        let minute_of_day = usize::try_from(shown.rem_euclid(DAY) / 60).unwrap();
        if !day_matches[day] || !hour_matches[minute_of_day / 60] {
            continue;
        }
        for (minute, at) in (minute_of_day % 60..60).zip((from..from + QUARTER).step_by(60)) {
            if minute_matches[minute] {
                found.push(at);
            }
        }
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn whole_years_have_the_matches_that_a_ticking_clock_finds(
        // Rarely every minute: there would be little to search for.
        minute in prop_oneof![8 => (0..60_u32).prop_map(|n| (n.to_string(), vec![n])), 1 => field(0, 59)],
        hour in field(0, 23),
        day_of_month in field(1, 31),
        month in prop_oneof![4 => Just(("*".to_owned(), (1..=12).collect())), 1 => field(1, 12)],
        day_of_week in field(0, 6),
        name in prop::sample::select(vec![
            "UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "Africa/Cairo",
            "America/Asuncion", "Pacific/Chatham", "Asia/Kathmandu",
        ]),
    ) {
        let fields = [minute, hour, day_of_month, month, day_of_week];
        let text = fields.each_ref().map(|(text, _)| text.as_str()).join(" ");
        let Ok(spec) = text.parse::<CronSpec>() else {
            return Ok(());
        };
        let zone = zone(name);
        let expected = matches(&zone, &fields);
        let before = START - 1;
        let all: Vec<i64> = std::iter::once(before).chain(expected.iter().copied()).collect();
        // A specification with very many matches is asked at some of them.
        for index in (0..expected.len()).step_by(expected.len() / 10_000 + 1) {
            let found = spec.next(Timestamp::from_second(all[index]).unwrap(), &zone);
            prop_assert_eq!(found.map(Timestamp::as_second), Some(all[index + 1]), "{} in {}", text, name);
        }
        let end = START + YEARS * 365 * DAY;
        let last = Timestamp::from_second(*all.last().unwrap()).unwrap();
        prop_assert!(spec.next(last, &zone).is_none_or(|next| next.as_second() >= end), "{text} in {name}");
    }
}

#[test]
fn every_transition_is_crossed_as_by_a_ticking_clock() {
    let every = || ("*".to_owned(), (0..=59).collect::<Vec<u32>>());
    for name in [
        "Europe/Berlin",
        "America/New_York",
        "Australia/Lord_Howe",
        "Africa/Cairo",
        "Africa/Casablanca",
    ] {
        let zone = zone(name);
        let half_hours = ("*/30".to_owned(), vec![0, 30]);
        let fields = [half_hours, every(), every(), every(), every()];
        let expected = matches(&zone, &fields);
        let spec = spec("*/30 * * * *");
        let transitions: Vec<i64> = zone
            .following(Timestamp::from_second(START).unwrap())
            .map(|transition| transition.timestamp().as_second())
            .take_while(|at| *at < START + YEARS * 365 * DAY - DAY)
            .collect();
        assert!(transitions.len() > 4, "{name}");
        for transition in transitions {
            let near = expected.partition_point(|at| *at < transition - DAY);
            for pair in expected[near..].windows(2).take(100) {
                let next = spec.next(Timestamp::from_second(pair[0]).unwrap(), &zone);
                assert_eq!(next.map(Timestamp::as_second), Some(pair[1]), "{name}");
            }
        }
    }
}
