//! What a text must be to serve as one component of a dataset's path: the rule that job names and client identities share.

/// Longest component in bytes.
pub const MAX_LEN: usize = 255;

/// Why a text cannot be a component.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ComponentError {
    /// A character outside the allowed set.
    #[error("must only contain alphanumeric chars and any in \"-_.: \", but it contains {found:?}")]
    Character {
        /// The first one.
        found: char,
    },
    /// `.` and `..` mean something else in paths.
    #[error("must not be '{text}'")]
    Dots {
        /// Which of them.
        text: &'static str,
    },
    /// Nothing there.
    #[error("must not be empty")]
    Empty,
    /// A character beyond ASCII.
    #[error("must be ASCII, but it contains {found:?}")]
    NotAscii {
        /// The first one.
        found: char,
    },
    /// More than ZFS allows for a whole name.
    #[error("must not be longer than {MAX_LEN} chars, but it has {length}")]
    TooLong {
        /// Bytes found.
        length: usize,
    },
}

/// Checks that `text` can be a component.
pub fn check(text: &str) -> Result<(), ComponentError> {
    if text.is_empty() {
        return Err(ComponentError::Empty);
    }
    if text.len() > MAX_LEN {
        return Err(ComponentError::TooLong { length: text.len() });
    }
    if let Some(found) = text.chars().find(|c| !c.is_ascii()) {
        return Err(ComponentError::NotAscii { found });
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.: ".contains(c);
    if let Some(found) = text.chars().find(|&c| !allowed(c)) {
        return Err(ComponentError::Character { found });
    }
    match text {
        "." => Err(ComponentError::Dots { text: "." }),
        ".." => Err(ComponentError::Dots { text: ".." }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_zfs_accepts() {
        let longest = "x".repeat(MAX_LEN);
        for text in ["a", "A-b_c.d:e f9", "...", " ", longest.as_str()] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn refuses_the_rest_and_says_what_was_found() {
        let long = "x".repeat(MAX_LEN + 1);
        let allowed = "must only contain alphanumeric chars and any in \"-_.: \", but it contains ";
        let cases: &[(&str, &str)] = &[
            ("", "must not be empty"),
            (&long, "must not be longer than 255 chars, but it has 256"),
            ("für", "must be ASCII, but it contains 'ü'"),
            ("a/b", &format!("{allowed}'/'")),
            ("a\tb", &format!("{allowed}'\\t'")),
            ("a\nb", &format!("{allowed}'\\n'")),
            ("a#", &format!("{allowed}'#'")),
            ("@a", &format!("{allowed}'@'")),
            ("a+b", &format!("{allowed}'+'")),
            ("a%", &format!("{allowed}'%'")),
            (".", "must not be '.'"),
            ("..", "must not be '..'"),
        ];
        for (text, expected) in cases {
            assert_eq!(check(text).expect_err(text).to_string(), *expected);
        }
    }
}
