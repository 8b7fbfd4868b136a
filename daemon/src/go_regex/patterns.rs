//! The regular expressions of a configuration: each is compiled once, and all of them together take bounded time and memory.

use std::collections::HashMap;

use super::{GoRegex, GoRegexError, Matcher, Problem, SIZE_LIMIT, TOO_LARGE};

/// Most expressions that are compiled. A thousand jobs with two of their own each have 2000.
const MAX_COMPILED: usize = 3000;

/// What is compiled into more than this is large.
const LARGE: usize = 32 << 10;

/// Most large expressions, each of up to [`SIZE_LIMIT`]; those that turn out to be too large count, too.
const MAX_LARGE: usize = 8;

/// Expressions by their texts, with what came of them.
#[derive(Default)]
pub(crate) struct Patterns {
    known: HashMap<Box<str>, Result<GoRegex, GoRegexError>>,
    compiled: usize,
    large: usize,
}

impl Patterns {
    /// Compiles an expression, or returns what was compiled before.
    pub(crate) fn compile(&mut self, text: &str) -> Result<GoRegex, GoRegexError> {
        if let Some(known) = self.known.get(text) {
            return known.clone();
        }
        let result = self.first(text);
        self.known.insert(text.into(), result.clone());
        result
    }

    fn first(&mut self, text: &str) -> Result<GoRegex, GoRegexError> {
        if self.compiled >= MAX_COMPILED {
            let what = format!("more than {MAX_COMPILED} different expressions");
            return Err(refused(text, what));
        }
        let result = GoRegex::within(text, LARGE);
        let is_shape = |regex: &GoRegex| matches!(regex.0.matcher, Matcher::Shape(_));
        if !result.as_ref().is_ok_and(is_shape) {
            self.compiled += 1;
        }
        match result {
            Err(error) if error.problem.what == TOO_LARGE => {}
            result => return result,
        }
        if self.large >= MAX_LARGE {
            let what = format!("{TOO_LARGE}, as are {MAX_LARGE} others before it");
            return Err(refused(text, what));
        }
        self.large += 1;
        GoRegex::within(text, SIZE_LIMIT)
    }
}

fn refused(text: &str, what: String) -> GoRegexError {
    GoRegexError {
        text: text.to_owned(),
        problem: Problem::new(what, text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_many_are_compiled_and_fewer_large_ones() {
        let mut patterns = Patterns::default();
        for number in 0..MAX_LARGE {
            let large = format!(r"\pL{{9}}{number}");
            assert!(patterns.compile(&large).is_ok(), "{large}");
            assert!(patterns.compile(&large).is_ok(), "the same again");
        }
        let error = patterns.compile(r"\pL{9}x").expect_err("one too many");
        assert!(
            error
                .to_string()
                .contains("expression too large, as are 8 others")
        );
        for number in MAX_LARGE + 1..MAX_COMPILED {
            assert!(patterns.compile(&format!("a|{number}")).is_ok());
        }
        let error = patterns.compile("a|b").expect_err("one too many");
        assert!(
            error.to_string().contains("more than 3000 different"),
            "{error}"
        );
        assert!(patterns.compile("a|2999").is_ok(), "known");
    }

    #[test]
    fn what_needs_no_automaton_is_not_counted() {
        let mut patterns = Patterns::default();
        for number in 0..2 * MAX_COMPILED {
            assert!(patterns.compile(&format!("^job{number}_")).is_ok());
        }
    }
}
