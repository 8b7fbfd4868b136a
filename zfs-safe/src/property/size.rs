//! Numbers as zfs(8) reads them: `131072`, `128K`, `1.5T`, `10GiB`.

/// Parses a size in bytes, or a plain count.
///
/// Follows zfs(8): decimal digits, an optional fraction or exponent, then at most one suffix out
/// of `B K M G T P E Z` in either case, which may be followed by `B` or `iB` (but not after `B`).
/// Suffixes are powers of 1024 and a result with a fraction is rounded down. Signs, blanks and
/// hexadecimal are refused, and so is whatever exceeds 64 bits.
pub(super) fn parse_size(text: &str) -> Result<u64, SizeError> {
    if !text.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return Err(SizeError::NotANumber);
    }
    let digits = leading_digits(text);
    let whole = match &text[..digits] {
        "" => 0,
        whole => whole.parse::<u64>().map_err(|_| SizeError::TooLarge)?,
    };
    if text[digits..].starts_with('.') {
        fractional(text, digits)
    } else {
        let shift = shift_of(&text[digits..])?;
        // `Z` is 2^70: an integer with it is refused even when it is zero.
        if shift >= u64::BITS || (whole << shift) >> shift != whole {
            return Err(SizeError::TooLarge);
        }
        Ok(whole << shift)
    }
}

/// Why a text is not a size.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum SizeError {
    #[error("not a number")]
    NotANumber,
    #[error("bad suffix")]
    BadSuffix,
    #[error("too large")]
    TooLarge,
}

/// With a decimal point the arithmetic is in floating point, exponents included (`1.5e3`), as in
/// C's `strtod`.
fn fractional(text: &str, digits: usize) -> Result<u64, SizeError> {
    let fraction = leading_digits(&text[digits + 1..]);
    let mantissa = digits + 1 + fraction;
    if digits + fraction == 0 {
        return Err(SizeError::BadSuffix);
    }
    let end = mantissa + exponent(&text[mantissa..]);
    let value: f64 = text[..end].parse().map_err(|_| SizeError::NotANumber)?;
    let scaled = value * 2_f64.powi(shift_of(&text[end..])?.cast_signed());
    // 2^64 itself is the nearest double of u64::MAX.
    if scaled >= 2_f64.powi(64) {
        return Err(SizeError::TooLarge);
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked above to be below 2^64, never negative; rounding down is wanted"
    )]
    let bytes = scaled as u64;
    Ok(bytes)
}

/// Length of a complete exponent (`e3`, `E-2`), or 0: in `1.5E` the letter is a suffix.
fn exponent(text: &str) -> usize {
    let Some(rest) = text.strip_prefix(['e', 'E']) else {
        return 0;
    };
    let unsigned = rest.strip_prefix(['+', '-']).unwrap_or(rest);
    match leading_digits(unsigned) {
        0 => 0,
        digits => text.len() - unsigned.len() + digits,
    }
}

fn leading_digits(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

/// How many bits a suffix shifts by.
fn shift_of(suffix: &str) -> Result<u32, SizeError> {
    let mut chars = suffix.chars().map(|c| c.to_ascii_uppercase());
    let Some(unit) = chars.next() else {
        return Ok(0);
    };
    let power = "BKMGTPEZ".find(unit).ok_or(SizeError::BadSuffix)?;
    let rest: String = chars.collect();
    let known = match rest.as_str() {
        "" => true,
        "B" | "IB" => unit != 'B',
        _ => false,
    };
    match u32::try_from(power) {
        Ok(power) if known => Ok(10 * power),
        _ => Err(SizeError::BadSuffix),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_sizes_as_zfs_does() {
        let cases: &[(&str, u64)] = &[
            ("0", 0),
            ("512", 512),
            ("512B", 512),
            ("512b", 512),
            ("128K", 131_072),
            ("128k", 131_072),
            ("128KB", 131_072),
            ("128kib", 131_072),
            ("1M", 1 << 20),
            ("10G", 10 << 30),
            ("10GiB", 10 << 30),
            ("10gIB", 10 << 30),
            ("1T", 1 << 40),
            ("1P", 1 << 50),
            ("15E", 15 << 60),
            ("1.5T", 3 << 39),
            ("1.5", 1),
            ("1.", 1),
            (".5K", 512),
            ("0.0000001K", 0),
            ("1.5e3", 1500),
            ("1.5E3K", 1500 << 10),
            ("1.5e+1", 15),
            ("150.0e-1", 15),
            ("1.5E", 3 << 59),
            ("1.5EB", 3 << 59),
            ("0.001Z", 1_180_591_620_717_411_328),
            ("18446744073709551615", u64::MAX),
            ("007", 7),
        ];
        for (text, bytes) in cases {
            assert_eq!(parse_size(text), Ok(*bytes), "{text}");
        }
    }

    #[test]
    fn refuses_what_zfs_refuses() {
        use SizeError::{BadSuffix, NotANumber, TooLarge};
        let cases: &[(&str, SizeError)] = &[
            ("", NotANumber),
            ("-1", NotANumber),
            ("+1", NotANumber),
            (" 1", NotANumber),
            ("G", NotANumber),
            ("none", NotANumber),
            (".", BadSuffix),
            (".G", BadSuffix),
            ("1 G", BadSuffix),
            ("1G ", BadSuffix),
            ("1BB", BadSuffix),
            ("1BiB", BadSuffix),
            ("1GG", BadSuffix),
            ("1Gi", BadSuffix),
            ("1GiBs", BadSuffix),
            ("1Y", BadSuffix),
            ("0x10", BadSuffix),
            ("1e3", BadSuffix),
            ("1.5.5", BadSuffix),
            ("1,5", BadSuffix),
            ("1é", BadSuffix),
            ("18446744073709551616", TooLarge),
            ("99999999999999999999.5", TooLarge),
            ("16E", TooLarge),
            ("1Z", TooLarge),
            ("0Z", TooLarge),
            ("16.0E", TooLarge),
            ("1.5e999", TooLarge),
        ];
        for (text, error) in cases {
            assert_eq!(parse_size(text), Err(*error), "{text}");
        }
    }
}
