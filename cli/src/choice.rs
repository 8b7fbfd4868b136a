//! Options that take one word of a few, refused in zrepl's own words, and still known to completions and man pages.

use std::ffi::OsStr;

use clap::builder::{PossibleValue, TypedValueParser};
use clap::error::ErrorKind;
use clap::{Arg, Command};

/// A parser for one word of a few.
#[derive(Clone, Copy)]
pub(crate) struct Choice<T: 'static> {
    /// Word, meaning and what completions and man pages say of it. A word without description is taken and not shown.
    pub(crate) words: &'static [(&'static str, T, &'static str)],
    /// The message for any other word.
    pub(crate) refusal: fn(&str) -> String,
}

impl<T: Clone + Send + Sync + 'static> TypedValueParser for Choice<T> {
    type Value = T;

    fn parse_ref(
        &self,
        command: &Command,
        _argument: Option<&Arg>,
        value: &OsStr,
    ) -> Result<T, clap::Error> {
        let value = value.to_string_lossy();
        let known = self.words.iter().find(|(word, ..)| *word == value);
        known.map(|(_, meaning, _)| meaning.clone()).ok_or_else(|| {
            let refusal = (self.refusal)(&value);
            // The clone is for the usage that follows the message.
            command.clone().error(ErrorKind::InvalidValue, refusal)
        })
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let shown = self.words.iter().filter(|(.., help)| !help.is_empty());
        Some(Box::new(shown.map(|(word, _, help)| {
            PossibleValue::new(*word).help(*help)
        })))
    }
}
