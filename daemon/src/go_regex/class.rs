//! Sets of characters: `[…]`, `\d`, `\pL` and their like.

use super::Problem;
use super::escape::escape;
use super::translate::Parser;

impl<'a> Parser<'a> {
    /// `\d`, `\pL` and their like, also inside a class.
    pub(super) fn class_escape(
        &mut self,
        text: &'a str,
    ) -> Result<Option<(String, &'a str)>, Problem> {
        let class = match text.get(..2) {
            Some(r"\d") => "[0-9]",
            Some(r"\D") => "[^0-9]",
            Some(r"\s") => r"[\t\n\f\r\x20]",
            Some(r"\S") => r"[^\t\n\f\r\x20]",
            Some(r"\w") => "[0-9A-Za-z_]",
            Some(r"\W") => "[^0-9A-Za-z_]",
            Some(r"\p" | r"\P") => return self.unicode_class(text).map(Some),
            _ => return Ok(None),
        };
        Ok(Some((class.to_owned(), &text[2..])))
    }

    fn unicode_class(&mut self, text: &'a str) -> Result<(String, &'a str), Problem> {
        let mut negated = text.starts_with(r"\P");
        let after = &text[2..];
        let (name, rest) = if let Some(inner) = after.strip_prefix('{') {
            inner
                .split_once('}')
                .ok_or_else(|| Problem::new("invalid character class range", text))?
        } else {
            let length = after.chars().next().map_or(0, char::len_utf8);
            after.split_at(length)
        };
        let bare = name.strip_prefix('^').unwrap_or(name);
        negated ^= bare.len() < name.len();
        let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ' ' | '-');
        if bare.is_empty() || !bare.chars().all(valid) {
            let snippet = &text[..text.len() - rest.len()];
            return Err(Problem::new("invalid character class range", snippet));
        }
        self.unicode = true;
        let letter = if negated { 'P' } else { 'p' };
        Ok((format!("\\{letter}{{{bare}}}"), rest))
    }

    /// `[…]`. In Go a `[` inside is a literal unless `[:name:]` follows, and there are no set operators.
    pub(super) fn class(&mut self) -> Result<(), Problem> {
        let whole = self.rest;
        let mut rest = &whole[1..];
        let mut class = String::from("[");
        if let Some(after) = rest.strip_prefix('^') {
            class.push('^');
            rest = after;
        }
        let mut first = true;
        while first || !rest.starts_with(']') {
            first = false;
            if let Some((named, after)) = named_class(rest)? {
                class.push_str(named);
                rest = after;
                continue;
            }
            if let Some((inner, after)) = self.class_escape(rest)? {
                class.push_str(&inner);
                rest = after;
                continue;
            }
            let start = rest;
            let (low, after) = class_character(rest, whole)?;
            rest = after;
            self.write_character(&mut class, low);
            if rest.starts_with('-') && rest.len() >= 2 && !rest.starts_with("-]") {
                let (high, after) = class_character(&rest[1..], whole)?;
                if high < low {
                    let snippet = &start[..start.len() - after.len()];
                    return Err(Problem::new("invalid character class range", snippet));
                }
                rest = after;
                class.push('-');
                self.write_character(&mut class, high);
            }
        }
        class.push(']');
        self.rest = &rest[1..];
        self.push_class(class);
        Ok(())
    }
}

/// `[:alpha:]` and its like.
fn named_class(text: &str) -> Result<Option<(&str, &str)>, Problem> {
    const NAMES: [&str; 14] = [
        "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct",
        "space", "upper", "word", "xdigit",
    ];
    let Some(length) = text.strip_prefix("[:").and_then(|inner| inner.find(":]")) else {
        return Ok(None);
    };
    let name = &text[2..2 + length];
    let (class, rest) = text.split_at(length + 4);
    if NAMES.contains(&name.strip_prefix('^').unwrap_or(name)) {
        Ok(Some((class, rest)))
    } else {
        Err(Problem::new("invalid character class range", class))
    }
}

fn class_character<'t>(text: &'t str, whole: &str) -> Result<(char, &'t str), Problem> {
    if text.starts_with('\\') {
        return escape(text);
    }
    let mut characters = text.chars();
    let Some(character) = characters.next() else {
        return Err(Problem::new("missing closing ]", whole));
    };
    Ok((character, characters.as_str()))
}
