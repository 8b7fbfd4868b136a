//! Names as the kernel accepts them: text goes in, a type that cannot hold an invalid name comes out.
//!
//! The rules are those of the kernel's own name check (`zfs_namecheck.c`): at most 255 bytes in all, components of
//! `[A-Za-z0-9-_.: ]` that are neither empty nor `.` nor `..`, one `@` or `#` at most, and that in the last component.
//! `%` is left to the kernel, which keeps it for hidden datasets such as `pool/fs/%recv`.

use std::fmt;
use std::str::FromStr;

/// Longest name of a dataset, snapshot or bookmark in bytes: `ZFS_MAX_DATASET_NAME_LEN` less its NUL.
pub const MAX_NAME_LEN: usize = 255;

/// Longest hold tag in bytes: a ZAP key (`ZAP_MAXNAMELEN`) less its NUL.
pub const MAX_TAG_LEN: usize = 255;

/// Why a text is not a name of the wanted kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {text:?} is not valid: {problem}")]
pub struct NameError {
    /// What the text was meant to be: `dataset name`, `snapshot name`, …
    pub kind: &'static str,
    /// The text, shortened when it is very long.
    pub text: String,
    /// The first rule it breaks.
    pub problem: NameProblem,
}

/// The rule that a text breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameProblem {
    /// Nothing there.
    #[error("it is empty")]
    Empty,
    /// Longer than the kernel's limit.
    #[error("it has {length} bytes, at most {limit} are allowed")]
    TooLong {
        /// Bytes found.
        length: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// An empty component: leading, trailing or doubled `/`, or nothing before or after `@` or `#`.
    #[error("a component is empty")]
    EmptyComponent,
    /// A component `.` or `..`.
    #[error("a component is '.' or '..'")]
    DotComponent,
    /// A character outside the allowed set.
    #[error("the character {0:?} is not allowed")]
    Character(char),
    /// A `@` or `#` where this kind of name has none, or a second one.
    #[error("{0:?} is not allowed here")]
    Delimiter(char),
    /// No `@` in a snapshot name or no `#` in a bookmark name.
    #[error("{0:?} is missing")]
    MissingDelimiter(char),
    /// zfs(8) keeps tags that start with a dot for itself.
    #[error("it starts with '.'")]
    LeadingDot,
}

/// Name of a pool: the first component of each of its datasets.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PoolName(String);

/// Full name of a filesystem or volume, such as `tank/home/ann`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DatasetPath(String);

/// Full name of a snapshot, such as `tank/home@monday`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SnapshotName {
    full: String,
    at: usize,
}

/// Full name of a bookmark, such as `tank/home#monday`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BookmarkName {
    full: String,
    hash: usize,
}

/// Tag of a user hold.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HoldTag(String);

/// A snapshot or a bookmark: a point in a dataset's history, usable as the base of an incremental send.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum VersionName {
    /// `dataset@name`
    Snapshot(SnapshotName),
    /// `dataset#name`
    Bookmark(BookmarkName),
}

/// Anything that has a name in a pool.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EntityName {
    /// A filesystem or volume.
    Dataset(DatasetPath),
    /// A snapshot.
    Snapshot(SnapshotName),
    /// A bookmark.
    Bookmark(BookmarkName),
}

impl PoolName {
    /// Checks `text`: one component.
    pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
        let text = text.into();
        check_whole(&text)
            .and_then(|()| check_component(&text))
            .map_err(|problem| NameError::new("pool name", &text, problem))?;
        Ok(Self(text))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl DatasetPath {
    /// Checks `text` against the kernel's rules for dataset names.
    pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
        let text = text.into();
        check_whole(&text)
            .and_then(|()| check_path(&text))
            .map_err(|problem| NameError::new("dataset name", &text, problem))?;
        Ok(Self(text))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The pool that the dataset lives in.
    pub fn pool(&self) -> PoolName {
        PoolName(first_component(&self.0).to_owned())
    }

    /// Components from the pool down.
    pub fn components(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }

    /// The dataset that contains this one; none for a pool's root.
    pub fn parent(&self) -> Option<Self> {
        self.0
            .rsplit_once('/')
            .map(|(parent, _)| Self(parent.to_owned()))
    }

    /// Is this `root` itself or a dataset below it?
    pub fn is_within(&self, root: &Self) -> bool {
        self.0
            .strip_prefix(&root.0)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// The dataset `suffix` (one or more components) below this one.
    pub fn join(&self, suffix: &str) -> Result<Self, NameError> {
        Self::new(format!("{}/{suffix}", self.0))
    }

    /// The snapshot `name` of this dataset.
    pub fn snapshot(&self, name: &str) -> Result<SnapshotName, NameError> {
        SnapshotName::new(format!("{}@{name}", self.0))
    }

    /// The bookmark `name` of this dataset.
    pub fn bookmark(&self, name: &str) -> Result<BookmarkName, NameError> {
        BookmarkName::new(format!("{}#{name}", self.0))
    }
}

impl SnapshotName {
    /// Checks a full name, `dataset@name`.
    pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
        let full = text.into();
        match check_version(&full, '@', '#') {
            Ok(at) => Ok(Self { full, at }),
            Err(problem) => Err(NameError::new("snapshot name", &full, problem)),
        }
    }

    /// The full name as text.
    pub fn as_str(&self) -> &str {
        &self.full
    }

    /// The dataset that the snapshot belongs to.
    pub fn dataset(&self) -> DatasetPath {
        DatasetPath(self.full[..self.at].to_owned())
    }

    /// The part after `@`.
    pub fn name(&self) -> &str {
        &self.full[self.at + 1..]
    }

    /// The pool that the snapshot lives in.
    pub fn pool(&self) -> PoolName {
        PoolName(first_component(&self.full[..self.at]).to_owned())
    }
}

impl BookmarkName {
    /// Checks a full name, `dataset#name`.
    pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
        let full = text.into();
        match check_version(&full, '#', '@') {
            Ok(hash) => Ok(Self { full, hash }),
            Err(problem) => Err(NameError::new("bookmark name", &full, problem)),
        }
    }

    /// The full name as text.
    pub fn as_str(&self) -> &str {
        &self.full
    }

    /// The dataset that the bookmark belongs to.
    pub fn dataset(&self) -> DatasetPath {
        DatasetPath(self.full[..self.hash].to_owned())
    }

    /// The part after `#`.
    pub fn name(&self) -> &str {
        &self.full[self.hash + 1..]
    }

    /// The pool that the bookmark lives in.
    pub fn pool(&self) -> PoolName {
        PoolName(first_component(&self.full[..self.hash]).to_owned())
    }
}

impl HoldTag {
    /// Checks a tag: 1 to [`MAX_TAG_LEN`] bytes, no NUL, and no leading dot, which zfs(8) refuses.
    pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
        let text = text.into();
        let problem = if text.is_empty() {
            NameProblem::Empty
        } else if text.len() > MAX_TAG_LEN {
            NameProblem::TooLong {
                length: text.len(),
                limit: MAX_TAG_LEN,
            }
        } else if text.starts_with('.') {
            NameProblem::LeadingDot
        } else if text.contains('\0') {
            NameProblem::Character('\0')
        } else {
            return Ok(Self(text));
        };
        Err(NameError::new("hold tag", &text, problem))
    }

    /// A tag that the kernel reported. Other programs may have set tags that zfs(8) would not, so no rule applies.
    pub(crate) fn from_kernel(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The tag as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl VersionName {
    /// Checks a full name with `@` or `#`.
    pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
        let text = text.into();
        if text.contains('#') && !text.contains('@') {
            BookmarkName::new(text).map(Self::Bookmark)
        } else {
            SnapshotName::new(text).map(Self::Snapshot)
        }
    }

    /// The full name as text.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Snapshot(name) => name.as_str(),
            Self::Bookmark(name) => name.as_str(),
        }
    }

    /// The dataset that the version belongs to.
    pub fn dataset(&self) -> DatasetPath {
        match self {
            Self::Snapshot(name) => name.dataset(),
            Self::Bookmark(name) => name.dataset(),
        }
    }

    /// The part after `@` or `#`.
    pub fn name(&self) -> &str {
        match self {
            Self::Snapshot(name) => name.name(),
            Self::Bookmark(name) => name.name(),
        }
    }
}

impl EntityName {
    /// Checks a full name of any kind.
    pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
        let text = text.into();
        match VersionName::new(text.clone()) {
            Ok(VersionName::Snapshot(name)) => Ok(Self::Snapshot(name)),
            Ok(VersionName::Bookmark(name)) => Ok(Self::Bookmark(name)),
            Err(error) if text.contains(['@', '#']) => Err(error),
            Err(_) => DatasetPath::new(text).map(Self::Dataset),
        }
    }

    /// The full name as text.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Dataset(name) => name.as_str(),
            Self::Snapshot(name) => name.as_str(),
            Self::Bookmark(name) => name.as_str(),
        }
    }
}

impl From<DatasetPath> for EntityName {
    fn from(name: DatasetPath) -> Self {
        Self::Dataset(name)
    }
}

impl From<SnapshotName> for EntityName {
    fn from(name: SnapshotName) -> Self {
        Self::Snapshot(name)
    }
}

impl From<VersionName> for EntityName {
    fn from(name: VersionName) -> Self {
        match name {
            VersionName::Snapshot(name) => Self::Snapshot(name),
            VersionName::Bookmark(name) => Self::Bookmark(name),
        }
    }
}

impl From<SnapshotName> for VersionName {
    fn from(name: SnapshotName) -> Self {
        Self::Snapshot(name)
    }
}

impl From<BookmarkName> for VersionName {
    fn from(name: BookmarkName) -> Self {
        Self::Bookmark(name)
    }
}

impl NameError {
    fn new(kind: &'static str, text: &str, problem: NameProblem) -> Self {
        // A log line need not repeat a megabyte.
        const SHOWN: usize = 300;
        let mut shown: String = text.chars().take(SHOWN).collect();
        if shown.len() < text.len() {
            shown.push('…');
        }
        Self {
            kind,
            text: shown,
            problem,
        }
    }
}

macro_rules! text_conversions {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }
    )*};
}

text_conversions!(
    PoolName,
    DatasetPath,
    SnapshotName,
    BookmarkName,
    HoldTag,
    VersionName,
    EntityName
);

fn first_component(path: &str) -> &str {
    path.split('/').next().unwrap_or(path)
}

fn check_whole(text: &str) -> Result<(), NameProblem> {
    if text.is_empty() {
        return Err(NameProblem::Empty);
    }
    if text.len() > MAX_NAME_LEN {
        return Err(NameProblem::TooLong {
            length: text.len(),
            limit: MAX_NAME_LEN,
        });
    }
    Ok(())
}

fn check_path(path: &str) -> Result<(), NameProblem> {
    path.split('/').try_for_each(|component| {
        check_component(component)?;
        match component {
            "." | ".." => Err(NameProblem::DotComponent),
            _ => Ok(()),
        }
    })
}

/// Characters of one component, and that there are any.
fn check_component(component: &str) -> Result<(), NameProblem> {
    for character in component.chars() {
        match character {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' | '.' | ':' | ' ' => {}
            '@' | '#' => return Err(NameProblem::Delimiter(character)),
            '/' => return Err(NameProblem::EmptyComponent),
            other => return Err(NameProblem::Character(other)),
        }
    }
    if component.is_empty() {
        Err(NameProblem::EmptyComponent)
    } else {
        Ok(())
    }
}

/// Checks `dataset` + `delimiter` + name and returns where the delimiter is.
fn check_version(text: &str, delimiter: char, other: char) -> Result<usize, NameProblem> {
    check_whole(text)?;
    let Some(position) = text.find(delimiter) else {
        return Err(NameProblem::MissingDelimiter(delimiter));
    };
    if text[..position].contains(other) {
        return Err(NameProblem::Delimiter(other));
    }
    check_path(&text[..position])?;
    let name = &text[position + 1..];
    if let Some(slash) = name.chars().find(|&c| c == '/') {
        return Err(NameProblem::Character(slash));
    }
    check_component(name)?;
    Ok(position)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_the_kernel_accepts() {
        for name in [
            "tank",
            "tank/a",
            "tank/a b",
            "tank/a.b:c-d_e",
            "tank/...",
            "t/1",
        ] {
            assert_eq!(DatasetPath::new(name).expect(name).as_str(), name);
        }
        let longest = format!("p/{}", "x".repeat(MAX_NAME_LEN - 2));
        assert!(DatasetPath::new(longest.as_str()).is_ok());
        for name in ["tank@a", "tank/a@.", "tank/a@x y:z", "tank/a@.."] {
            assert_eq!(SnapshotName::new(name).expect(name).as_str(), name);
        }
    }

    #[test]
    fn refuses_what_the_kernel_refuses_and_says_why() {
        use NameProblem as P;
        let long = "x".repeat(300);
        let cases: &[(&str, P)] = &[
            ("", P::Empty),
            (
                &long,
                P::TooLong {
                    length: 300,
                    limit: 255,
                },
            ),
            ("/tank", P::EmptyComponent),
            ("tank/", P::EmptyComponent),
            ("tank//a", P::EmptyComponent),
            ("tank/.", P::DotComponent),
            ("tank/../a", P::DotComponent),
            ("tank/%recv", P::Character('%')),
            ("tank/ä", P::Character('ä')),
            ("tank/a\0", P::Character('\0')),
            ("tank/a@b", P::Delimiter('@')),
            ("tank/a#b", P::Delimiter('#')),
        ];
        for (text, problem) in cases {
            assert_eq!(
                DatasetPath::new(*text).expect_err(text).problem,
                *problem,
                "{text}"
            );
        }
        let cases: &[(&str, P)] = &[
            ("tank", P::MissingDelimiter('@')),
            ("tank#a", P::MissingDelimiter('@')),
            ("@a", P::EmptyComponent),
            ("tank@", P::EmptyComponent),
            ("tank@a@b", P::Delimiter('@')),
            ("tank#a@b", P::Delimiter('#')),
            ("tank@a#b", P::Delimiter('#')),
            ("tank@a/b", P::Character('/')),
            ("ta@nk/a", P::Character('/')),
        ];
        for (text, problem) in cases {
            assert_eq!(
                SnapshotName::new(*text).expect_err(text).problem,
                *problem,
                "{text}"
            );
        }
    }

    #[test]
    fn error_names_kind_text_and_rule_and_shortens_long_texts() {
        let error = DatasetPath::new("tank/a@b").expect_err("has @");
        assert_eq!(
            error.to_string(),
            "dataset name \"tank/a@b\" is not valid: '@' is not allowed here"
        );
        let error = DatasetPath::new("x".repeat(1 << 20)).expect_err("too long");
        assert!(error.to_string().len() < 500);
    }

    #[test]
    fn splits_into_parts() {
        let snapshot = SnapshotName::new("tank/a/b@s").expect("valid");
        assert_eq!(snapshot.dataset().as_str(), "tank/a/b");
        assert_eq!(snapshot.name(), "s");
        assert_eq!(snapshot.pool().as_str(), "tank");
        let dataset = snapshot.dataset();
        assert_eq!(dataset.parent().expect("has parent").as_str(), "tank/a");
        let root = DatasetPath::new("tank/a").expect("valid");
        assert!(dataset.is_within(&root) && root.is_within(&root));
        assert!(!DatasetPath::new("tank/ab").expect("valid").is_within(&root));
        assert_eq!(root.join("c/d").expect("valid").as_str(), "tank/a/c/d");
    }

    #[test]
    fn entity_kind_follows_the_delimiter() {
        assert!(matches!(EntityName::new("a/b"), Ok(EntityName::Dataset(_))));
        assert!(matches!(
            EntityName::new("a/b@c"),
            Ok(EntityName::Snapshot(_))
        ));
        assert!(matches!(
            EntityName::new("a/b#c"),
            Ok(EntityName::Bookmark(_))
        ));
        assert!(EntityName::new("a@b#c").is_err());
    }

    #[test]
    fn hold_tags_may_hold_anything_but_nul_and_a_leading_dot() {
        assert!(HoldTag::new("zrepl_STEP_J_job #1 / ü").is_ok());
        for text in ["", ".x", "a\0b"] {
            assert!(HoldTag::new(text).is_err(), "{text:?}");
        }
        assert!(HoldTag::new("x".repeat(255)).is_ok());
        assert!(HoldTag::new("x".repeat(256)).is_err());
    }
}
