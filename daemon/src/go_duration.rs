//! Durations as the Go programming language writes them: timeouts and retry delays of the configuration. Text flows in, a
//! signed number of nanoseconds flows out, and is printed as Go prints it. What zrepl 0.7.0 silently took for
//! nanoseconds, a number without a unit, is refused.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

/// A span of time of either sign, within a signed 64-bit number of nanoseconds.
///
/// Written as numbers with units, largest first by custom: `10s`, `1h30m`, `1.5s`, `-100ms`; `0` needs no unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GoDuration {
    nanoseconds: i64,
}

impl GoDuration {
    /// This many seconds.
    pub fn from_secs(seconds: u32) -> Self {
        Self {
            nanoseconds: i64::from(seconds) * 1_000_000_000,
        }
    }

    /// The span in nanoseconds.
    pub fn from_nanoseconds(nanoseconds: i64) -> Self {
        Self { nanoseconds }
    }

    /// Nanoseconds.
    pub fn nanoseconds(self) -> i64 {
        self.nanoseconds
    }

    fn absolute(self) -> Duration {
        Duration::from_nanos(self.nanoseconds.unsigned_abs())
    }
}

impl FromStr for GoDuration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).map_err(|problem| DurationError::Malformed {
            text: text.to_owned(),
            problem,
        })
    }
}

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.nanoseconds < 0 { "-" } else { "" };
        let total = self.nanoseconds.unsigned_abs();
        if total == 0 {
            return f.write_str("0s");
        }
        // Below one second the unit follows the size, above it seconds carry the fraction.
        let (unit, name) = match total {
            0..1_000 => (1, "ns"),
            1_000..1_000_000 => (1_000, "µs"),
            1_000_000..NANOS_PER_SECOND => (1_000_000, "ms"),
            _ => (NANOS_PER_SECOND, "s"),
        };
        let (hours, minutes) = (total / HOUR, total / MINUTE);
        f.write_str(sign)?;
        if hours > 0 {
            write!(f, "{hours}h{}m", minutes % 60)?;
        } else if minutes > 0 {
            write!(f, "{minutes}m")?;
        }
        let rest = total % MINUTE;
        write!(f, "{}", rest / unit)?;
        let digits = unit.ilog10() as usize;
        if !rest.is_multiple_of(unit) {
            let fraction = format!("{:0digits$}", rest % unit);
            write!(f, ".{}", fraction.trim_end_matches('0'))?;
        }
        f.write_str(name)
    }
}

/// How long something may take; zero means as long as it likes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timeout(GoDuration);

impl Timeout {
    /// As long as it likes.
    pub const UNLIMITED: Self = Self(ZERO);

    /// This many seconds; none is no limit.
    pub fn from_secs(seconds: u32) -> Self {
        Self(GoDuration::from_secs(seconds))
    }

    /// The time allowed; zero means no limit.
    pub fn duration(self) -> Duration {
        self.0.absolute()
    }

    /// The time allowed, if it is limited.
    pub fn limit(self) -> Option<Duration> {
        Some(self.duration()).filter(|limit| !limit.is_zero())
    }
}

impl FromStr for Timeout {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse()? {
            duration if duration >= ZERO => Ok(Self(duration)),
            negative => Err(DurationError::Negative(negative)),
        }
    }
}

impl fmt::Display for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A span of time above zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PositiveDuration(GoDuration);

impl PositiveDuration {
    /// This many seconds, unless that is none.
    pub fn from_secs(seconds: u32) -> Option<Self> {
        (seconds > 0).then_some(Self(GoDuration::from_secs(seconds)))
    }

    /// The span of time, at least one nanosecond.
    pub fn duration(self) -> Duration {
        self.0.absolute()
    }
}

impl FromStr for PositiveDuration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse()? {
            duration if duration > ZERO => Ok(Self(duration)),
            other => Err(DurationError::NotPositive(other)),
        }
    }
}

impl fmt::Display for PositiveDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

const ZERO: GoDuration = GoDuration { nanoseconds: 0 };

/// Why a text is no duration, or not one that is allowed where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DurationError {
    /// The text does not follow the grammar, or its value is out of range.
    #[error("cannot unmarshal `{text}` into time.Duration: {problem}")]
    Malformed {
        /// The text as written.
        text: String,
        /// What is wrong with it.
        problem: DurationProblem,
    },
    /// Below zero.
    #[error("must be 0 or positive, got {0}")]
    Negative(GoDuration),
    /// Zero or below.
    #[error("must be positive, got {0}")]
    NotPositive(GoDuration),
}

/// What is wrong with the text of a duration.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DurationProblem {
    /// Nothing but a number. zrepl 0.7.0 read it as nanoseconds.
    #[error("missing unit (zrepl 0.7.0 took it for nanoseconds): write seconds as {0}s ({UNITS})")]
    BareNumber(String),
    /// Empty, or only a sign.
    #[error("there is no duration, write for example 10s, or 0 ({UNITS})")]
    Empty,
    /// A unit without a number in front.
    #[error("a number such as 10 or 1.5 is missing before {0:?}")]
    MissingNumber(String),
    /// A number, not the only one, without a unit.
    #[error("missing unit after {0} ({UNITS})")]
    MissingUnit(String),
    /// Beyond 64-bit nanoseconds.
    #[error("out of range, at most 2562047h47m16.854775807s (292 years) are allowed")]
    OutOfRange,
    /// A unit that Go does not have.
    #[error("unknown unit {unit:?}{} ({UNITS})", hint(number, unit))]
    UnknownUnit {
        /// The number before the unit.
        number: String,
        /// The unit as written.
        unit: String,
    },
}

const UNITS: &str = "allowed units: ns, us, ms, s, m, h";

/// A way out, for the units of intervals, which are not Go's.
fn hint(number: &str, unit: &str) -> String {
    let hours = match unit {
        "d" => 24,
        "w" => 7 * 24,
        _ if unit.starts_with(char::is_whitespace) || unit.ends_with(char::is_whitespace) => {
            return ": no blanks are allowed".to_owned();
        }
        _ => return String::new(),
    };
    let total = number
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(hours));
    match total {
        Some(total) => format!(": write {total}h instead of {number}{unit}"),
        None => format!(": one {unit} is {hours}h"),
    }
}

const NANOS_PER_SECOND: u64 = 1_000_000_000;
const MINUTE: u64 = 60 * NANOS_PER_SECOND;
const HOUR: u64 = 60 * MINUTE;

fn nanoseconds_of(unit: &str) -> Option<u64> {
    Some(match unit {
        "ns" => 1,
        // Both the micro sign and the Greek letter, as in Go.
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => NANOS_PER_SECOND,
        "m" => MINUTE,
        "h" => HOUR,
        _ => return None,
    })
}

fn parse(text: &str) -> Result<GoDuration, DurationProblem> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if unsigned == "0" {
        return Ok(ZERO);
    }
    if unsigned.is_empty() {
        return Err(DurationProblem::Empty);
    }
    if unsigned.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(DurationProblem::BareNumber(unsigned.to_owned()));
    }
    let mut total: u128 = 0;
    let mut rest = unsigned;
    while !rest.is_empty() {
        let element = Element::first_of(&mut rest)?;
        total = total
            .checked_add(element.nanoseconds()?)
            .ok_or(DurationProblem::OutOfRange)?;
    }
    let total = i128::try_from(total).map_err(|_| DurationProblem::OutOfRange)?;
    let signed = if text.starts_with('-') { -total } else { total };
    let nanoseconds = i64::try_from(signed).map_err(|_| DurationProblem::OutOfRange)?;
    Ok(GoDuration { nanoseconds })
}

/// One number with its unit.
struct Element<'a> {
    whole: &'a str,
    fraction: &'a str,
    /// In nanoseconds.
    unit: u64,
}

impl<'a> Element<'a> {
    /// Takes the first element off `rest`, which is not empty.
    fn first_of(rest: &mut &'a str) -> Result<Self, DurationProblem> {
        let is_numeric = |c: char| c.is_ascii_digit() || c == '.';
        let split = |text: &'a str, at: Option<usize>| text.split_at(at.unwrap_or(text.len()));
        let (whole, tail) = split(rest, rest.find(|c: char| !c.is_ascii_digit()));
        let (fraction, tail) = match tail.strip_prefix('.') {
            Some(tail) => split(tail, tail.find(|c: char| !c.is_ascii_digit())),
            None => ("", tail),
        };
        let number = &rest[..rest.len() - tail.len()];
        if whole.is_empty() && fraction.is_empty() {
            return Err(DurationProblem::MissingNumber((*rest).to_owned()));
        }
        let (unit, tail) = split(tail, tail.find(is_numeric));
        if unit.is_empty() {
            return Err(DurationProblem::MissingUnit(number.to_owned()));
        }
        *rest = tail;
        Ok(Self {
            whole,
            fraction,
            unit: nanoseconds_of(unit).ok_or_else(|| DurationProblem::UnknownUnit {
                number: number.to_owned(),
                unit: unit.to_owned(),
            })?,
        })
    }

    /// Parts of a nanosecond are dropped, as in Go.
    fn nanoseconds(&self) -> Result<u128, DurationProblem> {
        /// An hour has less than 10^18 nanoseconds: later digits do not count.
        const DIGITS: usize = 18;
        let whole = match self.whole {
            "" => 0,
            digits => digits
                .parse::<u64>()
                .map_err(|_| DurationProblem::OutOfRange)?,
        };
        let kept = &self.fraction[..self.fraction.len().min(DIGITS)];
        let fraction = kept
            .bytes()
            .fold(0_u128, |sum, digit| sum * 10 + u128::from(digit - b'0'));
        let scale = 10_u128.pow(u32::try_from(kept.len()).expect("at most 18"));
        let unit = u128::from(self.unit);
        Ok(u128::from(whole) * unit + fraction * unit / scale)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn go_durations_are_read_and_printed_as_in_go() {
        const S: i64 = 1_000_000_000;
        for (text, nanoseconds, printed) in [
            ("0", 0, "0s"),
            ("-0", 0, "0s"),
            ("+0", 0, "0s"),
            ("0s", 0, "0s"),
            ("5s", 5 * S, "5s"),
            ("+5s", 5 * S, "5s"),
            ("-5s", -5 * S, "-5s"),
            ("1478s", 1478 * S, "24m38s"),
            ("5.0s", 5 * S, "5s"),
            ("5.s", 5 * S, "5s"),
            (".5s", S / 2, "500ms"),
            ("-.5s", -S / 2, "-500ms"),
            ("1.5s", 1_500_000_000, "1.5s"),
            ("1.004s", 1_004_000_000, "1.004s"),
            ("10ns", 10, "10ns"),
            ("11us", 11_000, "11µs"),
            ("12µs", 12_000, "12µs"),
            ("12μs", 12_000, "12µs"),
            ("1.5us", 1_500, "1.5µs"),
            ("13ms", 13_000_000, "13ms"),
            ("2.25ms", 2_250_000, "2.25ms"),
            ("100ms", 100_000_000, "100ms"),
            ("10s", 10 * S, "10s"),
            ("60s", 60 * S, "1m0s"),
            ("1h", 3600 * S, "1h0m0s"),
            ("1h30m", 5400 * S, "1h30m0s"),
            ("10.5s4m", 250_500_000_000, "4m10.5s"),
            ("1h2m3s4ms5us6ns", 3_723_004_005_006, "1h2m3.004005006s"),
            ("39h9m14.425s", 140_954_425_000_000, "39h9m14.425s"),
            ("1.5h", 5400 * S, "1h30m0s"),
            (
                "0.3333333333333333333h",
                20 * 60 * S - 1,
                "19m59.999999999s",
            ),
            ("0.9ns", 0, "0s"),
            ("24h", 86_400 * S, "24h0m0s"),
            (
                "9223372036854775807ns",
                i64::MAX,
                "2562047h47m16.854775807s",
            ),
            (
                "-9223372036854775808ns",
                i64::MIN,
                "-2562047h47m16.854775808s",
            ),
        ] {
            let duration: GoDuration = text.parse().unwrap();
            assert_eq!(duration.nanoseconds(), nanoseconds, "{text}");
            assert_eq!(duration.to_string(), printed, "{text}");
        }
    }

    #[test]
    fn errors_say_what_was_found_and_what_is_allowed() {
        for (text, message) in [
            (
                "10",
                "cannot unmarshal `10` into time.Duration: missing unit (zrepl 0.7.0 took it for nanoseconds): \
                 write seconds as 10s (allowed units: ns, us, ms, s, m, h)",
            ),
            ("-10", "write seconds as 10s"),
            ("00", "took it for nanoseconds"),
            (
                "1d",
                r#"unknown unit "d": write 24h instead of 1d (allowed"#,
            ),
            ("2w", "write 336h instead of 2w"),
            ("1.5d", "one d is 24h"),
            ("1h2d", "write 48h instead of 2d"),
            ("10S", r#"unknown unit "S" (allowed"#),
            ("10 s", r#"unknown unit " s""#),
            (
                " 10s",
                r#"a number such as 10 or 1.5 is missing before " 10s""#,
            ),
            ("", "there is no duration, write for example 10s"),
            ("-", "there is no duration"),
            ("s", r#"is missing before "s""#),
            (".", r#"is missing before ".""#),
            (".s", "is missing before"),
            ("--5s", "is missing before"),
            ("1h-5s", r#"unknown unit "h-""#),
            ("1.5", "missing unit after 1.5"),
            ("1h30", "missing unit after 30"),
            ("1.2.3s", "missing unit after 1.2"),
            ("never", "is missing before"),
            ("9223372036854775808ns", "out of range"),
            ("2562048h", "out of range"),
            ("99999999999999999999h", "out of range"),
            ("18446744073709551615h18446744073709551615h", "out of range"),
        ] {
            let error = text.parse::<GoDuration>().unwrap_err().to_string();
            assert!(error.contains(message), "{text:?}: {error}");
        }
    }

    #[test]
    fn timeouts_are_zero_or_positive() {
        let timeout = |text: &str| text.parse::<Timeout>();
        assert_eq!(timeout("0").unwrap().limit(), None);
        assert_eq!(
            timeout("10s").unwrap().limit(),
            Some(Duration::from_secs(10))
        );
        assert_eq!(timeout("0").unwrap().duration(), Duration::ZERO);
        assert_eq!(
            timeout("-1s").unwrap_err().to_string(),
            "must be 0 or positive, got -1s"
        );
        assert!(timeout("5").is_err());
    }

    #[test]
    fn positive_durations_are_positive() {
        let positive = |text: &str| text.parse::<PositiveDuration>();
        assert_eq!(positive("1m").unwrap().duration(), Duration::from_secs(60));
        assert_eq!(positive("1m").unwrap().to_string(), "1m0s");
        for text in ["0", "0s", "-1ns"] {
            let error = positive(text).unwrap_err().to_string();
            assert!(error.starts_with("must be positive, got "), "{error}");
        }
    }

    proptest! {
        #[test]
        fn printed_text_parses_to_the_same_duration(nanoseconds: i64, shift in 0..63) {
            let duration = GoDuration { nanoseconds: nanoseconds >> shift };
            prop_assert_eq!(duration.to_string().parse(), Ok(duration));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "[-+]?[0-9.hmsunµ]{0,40}") {
            let _ = text.parse::<GoDuration>();
        }
    }
}
