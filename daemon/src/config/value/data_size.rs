//! Amounts of data, as bandwidth limits use them. Text flows in, a number of bits flows out; the arithmetic is exact, so
//! `2.3 Kb` is 2300 bits and not one less.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// An amount of data, written as a number and a unit: `10 MiB`, `1.5Gb`, `23 bit`.
///
/// `b` and `bit` are bits, `B` is bytes; K, M, G, T are powers of 1000 and Ki, Mi, Gi, Ti powers of 1024. Negative
/// amounts exist because `-1 B` is how zrepl writes "unlimited". Parts of a bit are dropped, except that an amount
/// other than zero never becomes zero: it keeps one bit and its sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DataSize {
    bits: i128,
}

impl DataSize {
    /// An amount of whole bytes.
    pub fn from_bytes(bytes: i64) -> Self {
        Self {
            bits: i128::from(bytes) * BYTE,
        }
    }

    /// The amount in bits.
    pub fn bits(self) -> i128 {
        self.bits
    }

    /// The amount in whole bytes, rounded toward zero: 0 for less than eight bits.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a size is constructed only within 64 bits of bytes"
    )]
    pub fn bytes(self) -> i64 {
        (self.bits / BYTE) as i64
    }
}

const BYTE: i128 = 8;

impl FromStr for DataSize {
    type Err = DataSizeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).map_err(|problem| DataSizeError {
            text: text.to_owned(),
            problem,
        })
    }
}

impl fmt::Display for DataSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (amount, unit) = match self.bits % BYTE {
            0 => (self.bits / BYTE, "B"),
            _ => (self.bits, "b"),
        };
        // The largest factor first; a binary one is larger than its decimal neighbour.
        let exact = PREFIXES
            .iter()
            .rev()
            .find(|(_, factor)| amount != 0 && amount % factor == 0);
        let (prefix, factor) = exact.unwrap_or(&("", 1));
        write!(f, "{} {prefix}{unit}", amount / factor)
    }
}

/// Why a text is no amount of data.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("cannot parse {text:?} using regex {GRAMMAR}: {problem}")]
pub struct DataSizeError {
    /// The text as written.
    pub text: String,
    /// What is wrong with it.
    pub problem: DataSizeProblem,
}

/// What is wrong with the text of an amount of data.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DataSizeProblem {
    /// Parts of a bit were asked for in so many words.
    #[error("unit bit must be an integer value")]
    FractionOfBit,
    /// The text begins with something else.
    #[error("it does not begin with a decimal number such as 10, 1.5 or -1")]
    NoNumber,
    /// The part before the unit is not a decimal number.
    #[error("{0:?} is not a decimal number such as 10, 1.5 or -1")]
    NotANumber(String),
    /// More than a signed 64-bit number of bytes.
    #[error("too large, less than 8388608 TiB are allowed")]
    TooLarge,
    /// There is no unit.
    #[error("the unit is missing ({UNITS})")]
    UnitMissing,
    /// The unit is not known.
    #[error("unknown unit {unit:?}{} ({UNITS})", hint(unit))]
    UnitUnknown {
        /// The unit as written.
        unit: String,
    },
}

/// zrepl's own words for the grammar, kept in the message.
const GRAMMAR: &str = r"^([-0-9\.]*)\s*(bit|(|K|Ki|M|Mi|G|Gi|T|Ti)([bB]))$";

const UNITS: &str = "allowed units: B for bytes and b for bits, each alone or after one of K, Ki, M, Mi, G, Gi, T, Ti, and bit";

/// In ascending order of the factor.
const PREFIXES: [(&str, i128); 8] = [
    ("K", 1_000),
    ("Ki", 1 << 10),
    ("M", 1_000_000),
    ("Mi", 1 << 20),
    ("G", 1_000_000_000),
    ("Gi", 1 << 30),
    ("T", 1_000_000_000_000),
    ("Ti", 1 << 40),
];

fn parse(text: &str) -> Result<DataSize, DataSizeProblem> {
    let is_mantissa = |c: char| c.is_ascii_digit() || matches!(c, '-' | '.');
    let end = text.find(|c| !is_mantissa(c)).unwrap_or(text.len());
    let (mantissa, rest) = text.split_at(end);
    if mantissa.is_empty() {
        return Err(DataSizeProblem::NoNumber);
    }
    // The blanks of Go's regular expressions.
    let unit = rest.trim_start_matches([' ', '\t', '\n', '\r', '\x0c']);
    let number =
        Decimal::of(mantissa).ok_or_else(|| DataSizeProblem::NotANumber(mantissa.to_owned()))?;
    let factor = bits_of(unit)?;
    if unit == "bit" && number.fraction.bytes().any(|digit| digit != b'0') {
        return Err(DataSizeProblem::FractionOfBit);
    }
    let bits = number.times(factor).ok_or(DataSizeProblem::TooLarge)?;
    i64::try_from(bits / BYTE).map_err(|_| DataSizeProblem::TooLarge)?;
    Ok(DataSize { bits })
}

/// How many bits one of this unit is.
fn bits_of(unit: &str) -> Result<i128, DataSizeProblem> {
    let unknown = || DataSizeProblem::UnitUnknown {
        unit: unit.to_owned(),
    };
    let (prefix, base) = match unit {
        "" => return Err(DataSizeProblem::UnitMissing),
        "bit" => return Ok(1),
        _ => match (unit.strip_suffix('B'), unit.strip_suffix('b')) {
            (Some(prefix), _) => (prefix, BYTE),
            (_, Some(prefix)) => (prefix, 1),
            (None, None) => return Err(unknown()),
        },
    };
    if prefix.is_empty() {
        return Ok(base);
    }
    let factor = PREFIXES.iter().find(|(name, _)| *name == prefix);
    factor.map(|(_, factor)| factor * base).ok_or_else(unknown)
}

/// A way out, for units that are nearly right.
fn hint(unit: &str) -> &'static str {
    match unit {
        "kB" | "kb" | "k" => ": kilo is written K, as in KB",
        "kiB" | "kib" | "KIB" | "ki" => ": kibi is written Ki, as in KiB",
        "K" | "Ki" | "M" | "Mi" | "G" | "Gi" | "T" | "Ti" => ": B or b is missing at its end",
        "bits" | "Bit" => ": bits are written bit or b",
        "byte" | "bytes" | "Byte" | "Bytes" => ": bytes are written B",
        _ if unit.starts_with(',') => ": fractions are written with a point",
        _ if unit.starts_with(['e', 'E']) => ": exponents are not allowed",
        _ if unit.ends_with("/s") || unit.ends_with("ps") => ": per second goes without saying",
        _ if unit.trim_end().len() < unit.len() => ": nothing may follow it",
        _ => "",
    }
}

/// The text of a decimal number, in pieces.
struct Decimal<'a> {
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
}

impl<'a> Decimal<'a> {
    fn of(text: &'a str) -> Option<Self> {
        let unsigned = text.strip_prefix('-').unwrap_or(text);
        let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
        let digits_only = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        let some_digit = !(whole.is_empty() && fraction.is_empty());
        (some_digit && digits_only(whole) && digits_only(fraction)).then_some(Self {
            negative: text.starts_with('-'),
            whole,
            fraction,
        })
    }

    /// This number of `factor`, toward zero but never to it; nothing when that is out of all proportion.
    fn times(&self, factor: i128) -> Option<i128> {
        /// No unit has 10^18 bits: later digits are less than one bit.
        const DIGITS: usize = 18;
        let whole = match self.whole.trim_start_matches('0') {
            "" => 0,
            digits if digits.len() > 24 => return None,
            digits => digits.parse::<i128>().ok()?,
        };
        let kept = &self.fraction[..self.fraction.len().min(DIGITS)];
        let fraction = format!("{kept:0<DIGITS$}").parse::<i128>().ok()?;
        let bits = whole * factor + fraction * factor / 10_i128.pow(18);
        let some_fraction = self.fraction.bytes().any(|digit| digit != b'0');
        let bits = if some_fraction { bits.max(1) } else { bits };
        Some(if self.negative { -bits } else { bits })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_and_units_make_bits() {
        for (text, bits) in [
            ("23 bit", 23),
            ("23bit", 23),
            ("1.0 bit", 1),
            ("1 b", 1),
            ("1 B", 8),
            ("-1 B", -8),
            ("0 B", 0),
            ("-0 B", 0),
            ("10MiB", 10 * (1 << 20) * 8),
            ("10 MiB", 10 * (1 << 20) * 8),
            ("10 \t MiB", 10 * (1 << 20) * 8),
            ("10.5 Kib", 10_752),
            ("2.3 Kb", 2_300),
            (".5 KB", 4_000),
            ("5. KB", 40_000),
            ("-.5KB", -4_000),
            ("1 Kb", 1_000),
            ("1 Kib", 1 << 10),
            ("1 Mb", 1_000_000),
            ("1 Mib", 1 << 20),
            ("1 Gb", 1_000_000_000),
            ("1 Gib", 1 << 30),
            ("1 Tb", 1_000_000_000_000),
            ("1 Tib", 1 << 40),
            ("128 KiB", 128 * 1024 * 8),
            ("000000000000000000000000000001 b", 1),
            ("0.0000000000000000000000000001 b", 1),
            ("-0.01 b", -1),
            ("0.1 B", 1),
            ("1.9 b", 1),
        ] {
            assert_eq!(text.parse::<DataSize>().unwrap().bits(), bits, "{text}");
        }
    }

    #[test]
    fn bytes_are_whole_and_toward_zero() {
        for (text, bytes) in [
            ("7 b", 0),
            ("15 b", 1),
            ("-15 b", -1),
            ("-1 B", -1),
            ("128 KiB", 131_072),
        ] {
            assert_eq!(text.parse::<DataSize>().unwrap().bytes(), bytes, "{text}");
        }
        assert_eq!(DataSize::from_bytes(-1), "-1 B".parse().unwrap());
    }

    #[test]
    fn errors_say_what_was_found_and_what_is_allowed() {
        for (text, message) in [
            (
                "10",
                r#"cannot parse "10" using regex ^([-0-9\.]*)\s*(bit|"#,
            ),
            (
                "10",
                "the unit is missing (allowed units: B for bytes and b for bits",
            ),
            ("", "does not begin with a decimal number"),
            ("10 kB", r#"unknown unit "kB": kilo is written K, as in KB"#),
            ("10 kiB", "kibi is written Ki"),
            ("10 M", "B or b is missing at its end"),
            ("10 bits", "bits are written bit or b"),
            ("10 bytes", "bytes are written B"),
            ("10 MB/s", "per second goes without saying"),
            ("10 PB", r#"unknown unit "PB" (allowed"#),
            ("10 Kbit", r#"unknown unit "Kbit" (allowed"#),
            ("1e3 B", "exponents are not allowed"),
            ("10 MB ", "nothing may follow it"),
            ("+1 B", "does not begin with a decimal number"),
            (" 1 B", "does not begin with a decimal number"),
            (
                "B",
                "does not begin with a decimal number such as 10, 1.5 or -1",
            ),
            ("- B", r#""-" is not a decimal number"#),
            (". B", r#""." is not a decimal number"#),
            ("1.2.3 MB", r#""1.2.3" is not a decimal number"#),
            ("1-2 MB", r#""1-2" is not a decimal number"#),
            ("--1 B", r#""--1" is not a decimal number"#),
            ("1.5 bit", "unit bit must be an integer value"),
            ("8388608 TiB", "too large"),
            ("99999999999999999999999999999999999999999 B", "too large"),
            ("manual", "does not begin with a decimal number"),
        ] {
            let error = text.parse::<DataSize>().unwrap_err().to_string();
            assert!(error.contains(message), "{text:?}: {error}");
        }
    }

    #[test]
    fn prints_the_largest_unit_that_divides() {
        for (text, printed) in [
            ("128 KiB", "128 KiB"),
            ("1024KiB", "1 MiB"),
            ("10MB", "10 MB"),
            ("80 Mb", "10 MB"),
            ("12 bit", "12 b"),
            ("2 Kib", "256 B"),
            ("1001 b", "1001 b"),
            ("-1 B", "-1 B"),
            ("0 Mb", "0 B"),
        ] {
            assert_eq!(text.parse::<DataSize>().unwrap().to_string(), printed);
        }
    }

    proptest! {
        #[test]
        fn printed_text_parses_to_the_same_size(
            mantissa in "-?[0-9]{1,6}(\\.[0-9]{0,4})?",
            unit in "(K|Ki|M|Mi|G|Gi|T|Ti)?[bB]",
        ) {
            let size: DataSize = format!("{mantissa} {unit}").parse().unwrap();
            prop_assert_eq!(size.to_string().parse(), Ok(size));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "[-.0-9]{0,50} ?[KMGTib]{0,3}") {
            let _ = text.parse::<DataSize>();
        }
    }
}
