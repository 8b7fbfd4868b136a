//! An error with all its causes in one line, as logs, answers to the other side and findings about the configuration have it.

use std::error::Error;

/// The error's text, then that of each cause, with colons in between.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot open it")]
    struct Outer(#[source] std::num::ParseIntError);

    #[test]
    fn each_cause_follows_its_effect() {
        let inner = "x".parse::<u8>().expect_err("no number");
        assert_eq!(chain(&inner), "invalid digit found in string");
        assert_eq!(
            chain(&Outer(inner)),
            "cannot open it: invalid digit found in string"
        );
    }
}
