//! Patterns that need no automaton: some text, at the start, at the end or anywhere.

use super::translate::Kind;

/// `head literal tail`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    head: Side,
    literal: Box<str>,
    tail: Side,
}

/// What may be on one side of the literal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    /// Nothing.
    Nothing,
    /// Anything but a line feed, up to the end: `.` does not match that.
    Line,
    /// Anything.
    Open,
}

impl Shape {
    /// The shape of a sequence, if it has one.
    pub(super) fn of(sequence: &[Kind]) -> Option<Self> {
        let (head, sequence) = match sequence {
            [Kind::Start, Kind::AnyText, rest @ ..] => (Side::Line, rest),
            [Kind::Start, rest @ ..] => (Side::Nothing, rest),
            [Kind::AnyText, rest @ ..] | rest => (Side::Open, rest),
        };
        let (tail, sequence) = match sequence {
            [rest @ .., Kind::AnyText, Kind::End] => (Side::Line, rest),
            [rest @ .., Kind::End] => (Side::Nothing, rest),
            [rest @ .., Kind::AnyText] | rest => (Side::Open, rest),
        };
        if head == Side::Line && tail == Side::Line {
            return None;
        }
        let mut literal = String::new();
        for kind in sequence {
            let Kind::Literal(character) = kind else {
                return None;
            };
            literal.push(*character);
        }
        Some(Self {
            head,
            literal: literal.into(),
            tail,
        })
    }

    pub(super) fn is_match(&self, name: &str) -> bool {
        let literal = &*self.literal;
        let is_line = |text: &str| !text.contains('\n');
        match (self.head, self.tail) {
            (Side::Nothing, Side::Nothing) => name == literal,
            (Side::Nothing, Side::Line) => name.strip_prefix(literal).is_some_and(is_line),
            (Side::Nothing, Side::Open) => name.starts_with(literal),
            (Side::Line, Side::Nothing) => name.strip_suffix(literal).is_some_and(is_line),
            (Side::Open, Side::Nothing) => name.ends_with(literal),
            (Side::Open, Side::Open) => name.contains(literal),
            // The first occurrence has least before it, the last one least after it.
            (Side::Line, _) => name.find(literal).is_some_and(|at| is_line(&name[..at])),
            (Side::Open, Side::Line) => name
                .rfind(literal)
                .is_some_and(|at| is_line(&name[at + literal.len()..])),
        }
    }
}

/// Does the sequence match every name? Names are neither empty nor do they contain line feeds.
pub(super) fn is_everything(sequence: &[Kind]) -> bool {
    let any = |kind: &Kind| matches!(kind, Kind::AnyText | Kind::AnyMore | Kind::AnyOne);
    let (anchored_start, rest) = match sequence {
        [Kind::Start, rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let (anchored_end, rest) = match rest {
        [rest @ .., Kind::End] => (true, rest),
        rest => (false, rest),
    };
    match rest {
        [] | [Kind::AnyOne] => !(anchored_start && anchored_end),
        [only] => any(only),
        several => several.iter().all(|kind| *kind == Kind::AnyText),
    }
}
