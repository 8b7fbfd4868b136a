//! Go's regular expression syntax in, the `regex` crate's out. Parses the way Go's own parser does, a stack of groups
//! whose last atom takes the repetition, so that whatever Go refuses is refused here and whatever Go reads as a literal
//! reaches the crate escaped. Every atom is written with the flags it needs, so the result has no flags of its own.

use std::fmt::Write as _;

use super::Problem;
use super::escape::escape;

/// Most copies that counted repetitions may make of anything, nested ones multiplied.
const MAX_REPEAT: u32 = 1000;

/// Deepest nesting of groups: less than Go's 1000, and what stays within the `regex` crate's own limit.
const MAX_DEPTH: usize = 50;

/// What one pattern became.
#[derive(Debug)]
pub(super) struct Translation {
    /// In the syntax of the `regex` crate.
    pub(super) pattern: String,
    /// Does it name characters beyond ASCII?
    pub(super) unicode: bool,
    /// The atoms in order, unless there are alternatives at the top.
    pub(super) sequence: Option<Vec<Kind>>,
}

/// The simple things that patterns for names consist of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `.`
    AnyOne,
    /// `.+`
    AnyMore,
    /// `.*`
    AnyText,
    /// `$` or `\z`
    End,
    /// Itself and nothing else.
    Literal(char),
    /// Anything not named here.
    Other,
    /// `^` or `\A`
    Start,
}

/// A piece of pattern that a repetition would apply to.
#[derive(Debug)]
struct Atom {
    text: String,
    kind: Kind,
    /// Copies that counted repetitions inside make.
    copies: u32,
    /// Must it be wrapped before it can be repeated?
    repeated: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Flags {
    fold_case: bool,
    multi_line: bool,
    dot_newline: bool,
}

/// An open group; the outermost one is the whole pattern.
#[derive(Debug, Default)]
struct Group {
    flags_before: Flags,
    finished: Vec<String>,
    finished_copies: u32,
    atoms: Vec<Atom>,
}

pub(super) struct Parser<'a> {
    pattern: &'a str,
    pub(super) rest: &'a str,
    flags: Flags,
    groups: Vec<Group>,
    whole: Group,
    pub(super) unicode: bool,
}

impl Atom {
    fn new(text: impl Into<String>, kind: Kind) -> Self {
        Self {
            text: text.into(),
            kind,
            copies: 1,
            repeated: false,
        }
    }
}

impl Group {
    fn end_alternative(&mut self) {
        let copies = self.atoms.iter().map(|atom| atom.copies).max();
        self.finished_copies = self.finished_copies.max(copies.unwrap_or(1));
        self.finished
            .push(self.atoms.drain(..).map(|atom| atom.text).collect());
    }

    /// The group as one atom.
    fn close(mut self) -> Atom {
        let kind = match self.atoms.as_slice() {
            [only] if self.finished.is_empty() => only.kind,
            _ => Kind::Other,
        };
        self.end_alternative();
        Atom {
            text: format!("(?:{})", self.finished.join("|")),
            kind,
            copies: self.finished_copies,
            repeated: false,
        }
    }
}

/// Translates a whole pattern.
pub(super) fn translate(pattern: &str) -> Result<Translation, Problem> {
    let mut parser = Parser {
        pattern,
        rest: pattern,
        flags: Flags::default(),
        groups: Vec::new(),
        whole: Group::default(),
        unicode: false,
    };
    let mut after_repetition: Option<&str> = None;
    while let Some(character) = parser.rest.chars().next() {
        after_repetition = parser.step(character, after_repetition)?;
    }
    if !parser.groups.is_empty() {
        return Err(Problem::new("missing closing )", pattern));
    }
    let mut whole = parser.whole;
    let sequence = whole
        .finished
        .is_empty()
        .then(|| whole.atoms.iter().map(|atom| atom.kind).collect());
    whole.end_alternative();
    Ok(Translation {
        pattern: whole.finished.join("|"),
        unicode: parser.unicode,
        sequence,
    })
}

impl<'a> Parser<'a> {
    /// Reads one item. Returns the text from the repetition operator on, if the item was one.
    fn step(
        &mut self,
        character: char,
        after_repetition: Option<&'a str>,
    ) -> Result<Option<&'a str>, Problem> {
        let before = self.rest;
        let multi_line = self.flags.multi_line;
        match character {
            '(' if before.starts_with("(?") => self.perl_group()?,
            '(' => {
                self.rest = &before[1..];
                self.open()?;
            }
            '|' => {
                self.rest = &before[1..];
                self.group().end_alternative();
            }
            ')' => {
                self.rest = &before[1..];
                let Some(group) = self.groups.pop() else {
                    return Err(Problem::new("unexpected )", self.pattern));
                };
                self.flags = group.flags_before;
                let atom = group.close();
                self.push(atom);
            }
            '^' if multi_line => self.take(1, "(?m:^)", Kind::Other),
            '^' => self.take(1, r"\A", Kind::Start),
            '$' if multi_line => self.take(1, "(?m:$)", Kind::Other),
            '$' => self.take(1, r"\z", Kind::End),
            '.' if self.flags.dot_newline => self.take(1, "(?s:.)", Kind::Other),
            '.' => self.take(1, ".", Kind::AnyOne),
            '[' => self.class()?,
            '*' | '+' | '?' => {
                self.rest = &before[1..];
                self.repeat(&before[..1], before, after_repetition, None)?;
                return Ok(Some(before));
            }
            '{' => {
                let Some((min, max, rest)) = counted(before) else {
                    self.rest = &before[1..];
                    self.literal('{');
                    return Ok(None);
                };
                let operator = &before[..before.len() - rest.len()];
                let counts = min.zip(max).filter(|&(min, max)| {
                    min <= MAX_REPEAT && max.is_none_or(|max| min <= max && max <= MAX_REPEAT)
                });
                if counts.is_none() {
                    return Err(Problem::new("invalid repeat count", operator));
                }
                self.rest = rest;
                self.repeat(operator, before, after_repetition, counts)?;
                return Ok(Some(before));
            }
            '\\' => self.backslash()?,
            other => {
                self.rest = &before[other.len_utf8()..];
                self.literal(other);
            }
        }
        Ok(None)
    }

    fn group(&mut self) -> &mut Group {
        self.groups.last_mut().unwrap_or(&mut self.whole)
    }

    fn open(&mut self) -> Result<(), Problem> {
        if self.groups.len() >= MAX_DEPTH {
            return Err(Problem::new("expression nests too deeply", self.pattern));
        }
        self.groups.push(Group {
            flags_before: self.flags,
            ..Group::default()
        });
        Ok(())
    }

    fn push(&mut self, atom: Atom) {
        self.group().atoms.push(atom);
    }

    fn take(&mut self, length: usize, text: &str, kind: Kind) {
        self.rest = &self.rest[length..];
        self.push(Atom::new(text, kind));
    }

    fn literal(&mut self, character: char) {
        let mut text = String::new();
        self.write_character(&mut text, character);
        let fold = self.flags.fold_case && (!character.is_ascii() || character.is_alphabetic());
        let atom = if fold {
            Atom::new(format!("(?i:{text})"), Kind::Other)
        } else {
            Atom::new(text, Kind::Literal(character))
        };
        self.push(atom);
    }

    /// Writes a character so that the crate takes it for nothing else, inside a class or outside.
    pub(super) fn write_character(&mut self, text: &mut String, character: char) {
        self.unicode |= !character.is_ascii();
        if character.is_ascii_alphanumeric() || character == '_' {
            text.push(character);
        } else {
            write!(text, "\\x{{{:X}}}", u32::from(character)).expect("strings take all text");
        }
    }

    pub(super) fn push_class(&mut self, class: String) {
        let class = if self.flags.fold_case {
            format!("(?i:{class})")
        } else {
            class
        };
        self.push(Atom::new(class, Kind::Other));
    }

    fn repeat(
        &mut self,
        operator: &str,
        before: &'a str,
        after_repetition: Option<&'a str>,
        counts: Option<(u32, Option<u32>)>,
    ) -> Result<(), Problem> {
        // Only whether there is a match is asked for, so greediness means nothing.
        self.rest = self.rest.strip_prefix('?').unwrap_or(self.rest);
        let rest_length = self.rest.len();
        if let Some(first) = after_repetition {
            return Err(Problem::new(
                "invalid nested repetition operator",
                &first[..first.len() - rest_length],
            ));
        }
        let snippet = &before[..before.len() - rest_length];
        let Some(mut atom) = self.group().atoms.pop() else {
            return Err(Problem::new(
                "missing argument to repetition operator",
                snippet,
            ));
        };
        if let Some((min, max)) = counts {
            atom.copies = match max {
                Some(0) => 1,
                most => atom.copies.saturating_mul(most.unwrap_or(min).max(1)),
            };
            if (min >= 2 || max.is_some_and(|max| max >= 2)) && atom.copies > MAX_REPEAT {
                return Err(Problem::new("invalid repeat count", snippet));
            }
        }
        atom.kind = match (operator, atom.kind) {
            ("*", Kind::AnyOne | Kind::AnyMore | Kind::AnyText) | ("+", Kind::AnyText) => {
                Kind::AnyText
            }
            ("+", Kind::AnyOne | Kind::AnyMore) => Kind::AnyMore,
            _ => Kind::Other,
        };
        if atom.repeated {
            atom.text = format!("(?:{})", atom.text);
        }
        atom.text.push_str(operator);
        atom.repeated = true;
        self.push(atom);
        Ok(())
    }

    /// `(?P<name>`, `(?<name>`, `(?flags)` or `(?flags:`.
    fn perl_group(&mut self) -> Result<(), Problem> {
        let before = self.rest;
        let name = before
            .strip_prefix("(?P<")
            .or_else(|| before.strip_prefix("(?<"));
        if let Some(name) = name {
            let Some(length) = name.find('>') else {
                return Err(Problem::new("invalid named capture", before));
            };
            let valid = |c: char| c == '_' || c.is_ascii_alphanumeric();
            if length == 0 || !name[..length].chars().all(valid) {
                let end = before.len() - name.len() + length + 1;
                return Err(Problem::new("invalid named capture", &before[..end]));
            }
            self.rest = &name[length + 1..];
            return self.open();
        }
        let mut flags = self.flags;
        let mut on = true;
        let mut seen = false;
        for (index, character) in before.char_indices().skip(2) {
            match character {
                'i' => flags.fold_case = on,
                'm' => flags.multi_line = on,
                's' => flags.dot_newline = on,
                'U' => {}
                '-' if on => on = false,
                ':' | ')' if on || seen => {
                    self.rest = &before[index + 1..];
                    if character == ':' {
                        self.open()?;
                    }
                    self.flags = flags;
                    return Ok(());
                }
                _ => {
                    let end = index + character.len_utf8();
                    return Err(Problem::new(
                        "invalid or unsupported Perl syntax",
                        &before[..end],
                    ));
                }
            }
            seen = character != '-';
        }
        Err(Problem::new("invalid or unsupported Perl syntax", before))
    }

    fn backslash(&mut self) -> Result<(), Problem> {
        let before = self.rest;
        match before[1..].chars().next() {
            Some('A') => self.take(2, r"\A", Kind::Start),
            Some('b') => self.take(2, r"(?-u:\b)", Kind::Other),
            Some('B') => self.take(2, r"(?-u:\B)", Kind::Other),
            Some('C') => {
                return Err(Problem::new(
                    "invalid escape sequence (single bytes cannot be matched)",
                    r"\C",
                ));
            }
            Some('Q') => {
                let (text, rest) = before[2..].split_once(r"\E").unwrap_or((&before[2..], ""));
                self.rest = rest;
                for character in text.chars() {
                    self.literal(character);
                }
            }
            Some('z') => self.take(2, r"\z", Kind::End),
            _ => {
                if let Some((class, rest)) = self.class_escape(before)? {
                    self.rest = rest;
                    self.push_class(class);
                } else {
                    let (character, rest) = escape(before)?;
                    self.rest = rest;
                    self.literal(character);
                }
            }
        }
        Ok(())
    }
}

/// `{n}`, `{n,}` or `{n,m}`; nothing else repeats. A number is absent if it is too long to matter.
#[expect(clippy::type_complexity, reason = "min, max and rest, read once")]
fn counted(text: &str) -> Option<(Option<u32>, Option<Option<u32>>, &str)> {
    fn number(text: &str) -> Option<(Option<u32>, &str)> {
        let length = text.bytes().take_while(u8::is_ascii_digit).count();
        let digits = &text[..length];
        let valid = !digits.is_empty() && (digits.len() == 1 || !digits.starts_with('0'));
        valid.then(|| (digits.parse().ok(), &text[length..]))
    }
    let (min, rest) = number(text.strip_prefix('{')?)?;
    if let Some(rest) = rest.strip_prefix('}') {
        return Some((min, Some(min), rest));
    }
    let rest = rest.strip_prefix(',')?;
    if let Some(rest) = rest.strip_prefix('}') {
        return Some((min, Some(None), rest));
    }
    let (max, rest) = number(rest)?;
    Some((min, max.map(Some), rest.strip_prefix('}')?))
}
