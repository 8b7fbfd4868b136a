//! Go's time layouts: a layout is the text that the reference time, Mon Jan 2 15:04:05 MST 2006, would have. Text flows in
//! and becomes a list of elements, from which a point in time is written as Go's `time.Format` does. Any text is a
//! layout; what is no element stands for itself.

use std::fmt::{self, Write as _};

use jiff::Zoned;
use jiff::tz::Offset;

/// A layout, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    items: Vec<Item>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Item {
    Element(Element),
    Literal(String),
}

/// What a part of the layout stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Element {
    /// The two digits of the year in its century.
    ShortYear,
    LongYear,
    /// A number, with an initial zero or without.
    Month(Pad),
    ShortMonthName,
    LongMonthName,
    ShortWeekday,
    LongWeekday,
    Day(Pad),
    /// 1 to 366.
    DayOfYear(Pad),
    /// 0 to 23, always two digits.
    Hour,
    /// 1 to 12.
    Hour12(Pad),
    /// `AM` and `PM`, or `am` and `pm`.
    HalfOfDay {
        upper: bool,
    },
    Minute(Pad),
    Second(Pad),
    /// Parts of a second, with the separator before them.
    Fraction {
        separator: char,
        digits: usize,
        /// Written with nines: without zeros at the end, and without anything if there are only zeros.
        trimmed: bool,
    },
    ZoneAbbreviation,
    ZoneOffset(OffsetStyle),
}

/// What fills a number up to its usual width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pad {
    Nothing,
    Space,
    Zero,
}

/// How the distance from UTC is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OffsetStyle {
    /// Whether UTC itself is `Z`.
    zulu: bool,
    colons: bool,
    smallest: OffsetUnit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum OffsetUnit {
    Hours,
    Minutes,
    Seconds,
}

impl Layout {
    /// Takes a layout apart.
    pub(super) fn parse(text: &str) -> Self {
        let mut items = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            if let Some((element, length)) = element_at(rest) {
                if !literal.is_empty() {
                    items.push(Item::Literal(std::mem::take(&mut literal)));
                }
                items.push(Item::Element(element));
                rest = &rest[length..];
                continue;
            }
            literal.push(first);
            rest = &rest[first.len_utf8()..];
        }
        if !literal.is_empty() {
            items.push(Item::Literal(literal));
        }
        Self { items }
    }

    /// Writes a point in time, as its own zone's clock shows it.
    pub(super) fn format(&self, at: &Zoned) -> String {
        let mut text = String::new();
        for item in &self.items {
            match item {
                Item::Literal(literal) => text.push_str(literal),
                Item::Element(element) => element
                    .write(at, &mut text)
                    .expect("writing to a string cannot fail"),
            }
        }
        text
    }

    /// The elements in the order of the text.
    pub(super) fn elements(&self) -> impl Iterator<Item = Element> {
        self.items.iter().filter_map(|item| match item {
            Item::Element(element) => Some(*element),
            Item::Literal(_) => None,
        })
    }
}

/// Elements that stand wherever their text does. Where one is the beginning of another, the longer one is first.
const ELEMENTS: [(&str, Element); 31] = [
    ("January", Element::LongMonthName),
    ("Monday", Element::LongWeekday),
    ("MST", Element::ZoneAbbreviation),
    ("01", Element::Month(Pad::Zero)),
    ("02", Element::Day(Pad::Zero)),
    ("03", Element::Hour12(Pad::Zero)),
    ("04", Element::Minute(Pad::Zero)),
    ("05", Element::Second(Pad::Zero)),
    ("06", Element::ShortYear),
    ("002", Element::DayOfYear(Pad::Zero)),
    ("15", Element::Hour),
    ("1", Element::Month(Pad::Nothing)),
    ("2006", Element::LongYear),
    ("2", Element::Day(Pad::Nothing)),
    ("__2", Element::DayOfYear(Pad::Space)),
    ("_2", Element::Day(Pad::Space)),
    ("3", Element::Hour12(Pad::Nothing)),
    ("4", Element::Minute(Pad::Nothing)),
    ("5", Element::Second(Pad::Nothing)),
    ("PM", Element::HalfOfDay { upper: true }),
    ("pm", Element::HalfOfDay { upper: false }),
    ("-070000", offset(false, false, OffsetUnit::Seconds)),
    ("-07:00:00", offset(false, true, OffsetUnit::Seconds)),
    ("-0700", offset(false, false, OffsetUnit::Minutes)),
    ("-07:00", offset(false, true, OffsetUnit::Minutes)),
    ("-07", offset(false, false, OffsetUnit::Hours)),
    ("Z070000", offset(true, false, OffsetUnit::Seconds)),
    ("Z07:00:00", offset(true, true, OffsetUnit::Seconds)),
    ("Z0700", offset(true, false, OffsetUnit::Minutes)),
    ("Z07:00", offset(true, true, OffsetUnit::Minutes)),
    ("Z07", offset(true, false, OffsetUnit::Hours)),
];

/// Short names are elements only if no lower-case letter follows: there is none in `Janet`.
const NAMES: [(&str, Element); 2] = [
    ("Jan", Element::ShortMonthName),
    ("Mon", Element::ShortWeekday),
];

const fn offset(zulu: bool, colons: bool, smallest: OffsetUnit) -> Element {
    Element::ZoneOffset(OffsetStyle {
        zulu,
        colons,
        smallest,
    })
}

/// The element that the text begins with, and its length in bytes.
fn element_at(text: &str) -> Option<(Element, usize)> {
    // The underscore before a year is no padding.
    if text.starts_with("_2006") {
        return None;
    }
    let stands_here = |(name, _): &&(&str, Element)| text.starts_with(name);
    let name_ends = |(name, _): &&(&str, Element)| {
        let next = text.strip_prefix(name).and_then(|rest| rest.chars().next());
        !next.is_some_and(|next| next.is_ascii_lowercase())
    };
    let found = ELEMENTS.iter().find(stands_here);
    let found = found.or_else(|| NAMES.iter().filter(stands_here).find(name_ends));
    match found {
        Some((name, element)) => Some((*element, name.len())),
        None => fraction_at(text),
    }
}

/// `.000` or `.999`, with as many digits as one likes, or with a comma; no other digit may follow.
fn fraction_at(text: &str) -> Option<(Element, usize)> {
    let separator = text.chars().next().filter(|c| matches!(c, '.' | ','))?;
    let all = &text[1..];
    let digit = all.chars().next().filter(|c| matches!(c, '0' | '9'))?;
    let after = all.trim_start_matches(digit);
    if after.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let digits = all.len() - after.len();
    let fraction = Element::Fraction {
        separator,
        digits,
        trimmed: digit == '9',
    };
    Some((fraction, 1 + digits))
}

impl Element {
    fn write(self, at: &Zoned, text: &mut String) -> fmt::Result {
        let hour12 = match at.hour() % 12 {
            0 => 12,
            hour => hour,
        };
        let month = MONTHS[usize::from(at.month().unsigned_abs()) - 1];
        let weekday = usize::from(at.weekday().to_sunday_zero_offset().unsigned_abs());
        let weekday = WEEKDAYS[weekday];
        match self {
            Self::ShortYear => write!(text, "{:02}", at.year().max(0) % 100),
            Self::LongYear => match at.year() {
                year @ 0.. => write!(text, "{year:04}"),
                year => write!(text, "-{:04}", year.unsigned_abs()),
            },
            Self::Month(pad) => pad.write(at.month().into(), 2, text),
            Self::ShortMonthName => text.write_str(&month[..3]),
            Self::LongMonthName => text.write_str(month),
            Self::ShortWeekday => text.write_str(&weekday[..3]),
            Self::LongWeekday => text.write_str(weekday),
            Self::Day(pad) => pad.write(at.day().into(), 2, text),
            Self::DayOfYear(pad) => pad.write(at.day_of_year(), 3, text),
            Self::Hour => Pad::Zero.write(at.hour().into(), 2, text),
            Self::Hour12(pad) => pad.write(hour12.into(), 2, text),
            Self::HalfOfDay { upper } => text.write_str(match (at.hour(), upper) {
                (0..12, true) => "AM",
                (_, true) => "PM",
                (0..12, false) => "am",
                (_, false) => "pm",
            }),
            Self::Minute(pad) => pad.write(at.minute().into(), 2, text),
            Self::Second(pad) => pad.write(at.second().into(), 2, text),
            Self::Fraction {
                separator,
                digits,
                trimmed,
            } => {
                let all = format!("{:09}", at.subsec_nanosecond());
                let shown = &all[..digits.min(all.len())];
                match trimmed.then(|| shown.trim_end_matches('0')) {
                    Some("") => Ok(()),
                    Some(shown) => write!(text, "{separator}{shown}"),
                    None => write!(text, "{separator}{shown}"),
                }
            }
            Self::ZoneAbbreviation => {
                let info = at.time_zone().to_offset_info(at.timestamp());
                text.write_str(info.abbreviation())
            }
            Self::ZoneOffset(style) => style.write(at.offset(), text),
        }
    }
}

impl Pad {
    fn write(self, number: i16, width: usize, text: &mut String) -> fmt::Result {
        match self {
            Self::Nothing => write!(text, "{number}"),
            Self::Space => write!(text, "{number:width$}"),
            Self::Zero => write!(text, "{number:0width$}"),
        }
    }
}

impl OffsetStyle {
    fn write(self, offset: Offset, text: &mut String) -> fmt::Result {
        if self.zulu && offset.is_zero() {
            return text.write_char('Z');
        }
        let seconds = offset.seconds();
        let sign = if seconds < 0 { '-' } else { '+' };
        let seconds = seconds.unsigned_abs();
        write!(text, "{sign}{:02}", seconds / 3600)?;
        let colon = if self.colons { ":" } else { "" };
        if self.smallest >= OffsetUnit::Minutes {
            write!(text, "{colon}{:02}", seconds / 60 % 60)?;
        }
        if self.smallest >= OffsetUnit::Seconds {
            write!(text, "{colon}{:02}", seconds % 60)?;
        }
        Ok(())
    }
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

const WEEKDAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn format(layout: &str, at: &str) -> String {
        Layout::parse(layout).format(&at.parse().unwrap())
    }

    #[test]
    fn writes_every_element_as_go_does() {
        const MORNING: &str = "2009-02-04T05:06:07.089012345+00:00[UTC]";
        const EVENING: &str = "2023-10-11T21:08:07.120+02:00[Europe/Berlin]";
        for (layout, at, text) in [
            ("2006", MORNING, "2009"),
            ("06", MORNING, "09"),
            ("01 1 Jan January", MORNING, "02 2 Feb February"),
            ("02 2 _2", MORNING, "04 4  4"),
            ("02 2 _2", EVENING, "11 11 11"),
            ("002 __2", MORNING, "035  35"),
            ("002 __2", EVENING, "284 284"),
            ("002 __2", "2024-01-05T00:00:00+00:00[UTC]", "005   5"),
            ("002", "2024-12-31T00:00:00+00:00[UTC]", "366"),
            ("Mon Monday", MORNING, "Wed Wednesday"),
            ("15 03 3 PM pm", MORNING, "05 05 5 AM am"),
            ("15 03 3 PM pm", EVENING, "21 09 9 PM pm"),
            (
                "15 03 3 PM",
                "2024-01-05T00:30:00+00:00[UTC]",
                "00 12 12 AM",
            ),
            (
                "15 03 3 PM",
                "2024-01-05T12:30:00+00:00[UTC]",
                "12 12 12 PM",
            ),
            ("04 4 05 5", MORNING, "06 6 07 7"),
            ("05.000 05,000", MORNING, "07.089 07,089"),
            ("5.0 5.00000000000", MORNING, "7.0 7.089012345"),
            ("5.999 5.999999999 5,99", MORNING, "7.089 7.089012345 7,08"),
            ("5.999", EVENING, "7.12"),
            ("5.9", MORNING, "7"),
            ("5.999x", "2024-01-05T12:30:00+00:00[UTC]", "0x"),
            ("MST", MORNING, "UTC"),
            ("MST", EVENING, "CEST"),
            (
                "-0700 -07:00 -07 -070000 -07:00:00",
                MORNING,
                "+0000 +00:00 +00 +000000 +00:00:00",
            ),
            (
                "-0700 -07:00 -07 -070000 -07:00:00",
                EVENING,
                "+0200 +02:00 +02 +020000 +02:00:00",
            ),
            ("Z0700 Z07:00 Z07 Z070000 Z07:00:00", MORNING, "Z Z Z Z Z"),
            (
                "Z0700 Z07:00 Z07 Z070000 Z07:00:00",
                EVENING,
                "+0200 +02:00 +02 +020000 +02:00:00",
            ),
            (
                "Z0700 -07:00",
                "2009-02-04T05:06:07-03:30[America/St_Johns]",
                "-0330 -03:30",
            ),
            (
                "Z07:00:00 MST",
                "1880-01-01T00:00:00+00:53:28[Europe/Berlin]",
                "+00:53:28 LMT",
            ),
            ("MST", "2009-02-04T05:06:07-02:00[America/Sao_Paulo]", "-02"),
            // Go's predefined layouts.
            (
                "Mon Jan _2 15:04:05 2006",
                MORNING,
                "Wed Feb  4 05:06:07 2009",
            ),
            (
                "Mon Jan 02 15:04:05 -0700 2006",
                MORNING,
                "Wed Feb 04 05:06:07 +0000 2009",
            ),
            ("02 Jan 06 15:04 MST", MORNING, "04 Feb 09 05:06 UTC"),
            (
                "Monday, 02-Jan-06 15:04:05 MST",
                MORNING,
                "Wednesday, 04-Feb-09 05:06:07 UTC",
            ),
            (
                "2006-01-02T15:04:05.999999999Z07:00",
                EVENING,
                "2023-10-11T21:08:07.12+02:00",
            ),
            ("3:04PM", MORNING, "5:06AM"),
            // zrepl's own.
            ("20060102_150405_000", MORNING, "20090204_050607_000"),
            ("2006-01-02_15:04:05", MORNING, "2009-02-04_05:06:07"),
            (
                "2006-01-02T15:04:05.000Z0700",
                EVENING,
                "2023-10-11T21:08:07.120+0200",
            ),
            (
                "2006-01-02T15:04:05.000Z",
                MORNING,
                "2009-02-04T05:06:07.089Z",
            ),
        ] {
            assert_eq!(format(layout, at), text, "{layout} {at}");
        }
    }

    #[test]
    fn what_is_no_element_stands_for_itself() {
        const AT: &str = "2009-02-04T05:06:07+00:00[UTC]";
        for (layout, text) in [
            ("", ""),
            ("zrepl_", "zrepl_"),
            ("größe", "größe"),
            ("_2006", "_2009"),
            // Space-padded day of the year, then 006.
            ("__2006", " 35009"),
            ("_20060102", "_20090204"),
            ("_2_2006", " 4_2009"),
            ("Janet", "Janet"),
            ("JanET", "FebET"),
            ("Januaryx", "Februaryx"),
            ("Janä", "Febä"),
            ("Month", "Month"),
            ("Mon_", "Wed_"),
            ("Pm", "Pm"),
            ("Z", "Z"),
            ("Z06", "Z09"),
            ("-08", "-08"),
            ("00", "00"),
            ("000", "000"),
            ("0", "0"),
            ("07", "07"),
            ("7890", "7890"),
            (".0001", ".0002"),
            (".01", ".02"),
            (".", "."),
            (",", ","),
            (".9990", ".9990"),
            ("MSTx", "UTCx"),
            // The first match counts, not the longest.
            ("1504", "0506"),
            ("11", "22"),
            ("22006", "42009"),
            ("012", "024"),
        ] {
            assert_eq!(format(layout, AT), text, "{layout}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_layout(text: String, seconds in 0..4_000_000_000_i64) {
            let at = jiff::Timestamp::from_second(seconds).unwrap();
            Layout::parse(&text).format(&at.to_zoned(jiff::tz::TimeZone::UTC));
        }

        #[test]
        fn text_without_elements_is_unchanged(text in "[a-zA-IK-LN-OQ-Y6-8_/:]{0,30}") {
            prop_assume!(!text.contains("pm"));
            prop_assert_eq!(format(&text, "2009-02-04T05:06:07+00:00[UTC]"), text);
        }
    }
}
