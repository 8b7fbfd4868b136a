//! Characters written with a backslash.

use std::iter::Peekable;
use std::str::Chars;

use super::Problem;

/// One escaped character: `text` starts with the backslash.
pub(super) fn escape(text: &str) -> Result<(char, &str), Problem> {
    let mut characters = text[1..].chars().peekable();
    let Some(character) = characters.next() else {
        return Err(Problem::new("trailing backslash at end of expression", ""));
    };
    let value = match character {
        'a' => Some('\x07'),
        'f' => Some('\x0C'),
        'n' => Some('\n'),
        'r' => Some('\r'),
        't' => Some('\t'),
        'v' => Some('\x0B'),
        'x' => hexadecimal(&mut characters),
        // A digit alone would be a back reference.
        '1'..='7' if !matches!(characters.peek(), Some('0'..='7')) => None,
        '0'..='7' => {
            let mut value = character.to_digit(8).unwrap_or(0);
            for _ in 0..2 {
                let Some(digit) = characters.peek().and_then(|c| c.to_digit(8)) else {
                    break;
                };
                value = value * 8 + digit;
                characters.next();
            }
            char::from_u32(value)
        }
        other if other.is_ascii() && !other.is_ascii_alphanumeric() => Some(other),
        _ => None,
    };
    let rest_length: usize = characters.map(char::len_utf8).sum();
    let (used, rest) = text.split_at(text.len() - rest_length);
    value
        .map(|value| (value, rest))
        .ok_or_else(|| Problem::new("invalid escape sequence", used))
}

/// What follows `\x`: two digits, or any number in braces.
fn hexadecimal(characters: &mut Peekable<Chars<'_>>) -> Option<char> {
    if characters.next_if_eq(&'{').is_none() {
        let high = characters.next()?.to_digit(16)?;
        let low = characters.next()?.to_digit(16)?;
        return char::from_u32(high * 16 + low);
    }
    let mut value: Option<u32> = None;
    loop {
        let character = characters.next()?;
        if character == '}' {
            return char::from_u32(value?);
        }
        value = Some(
            value
                .unwrap_or(0)
                .checked_mul(16)?
                .checked_add(character.to_digit(16)?)?,
        );
    }
}
