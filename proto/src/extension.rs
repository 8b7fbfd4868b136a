//! What zrepl daemons of this implementation tell each other beyond protocol 7: extension lines of the banner.
//!
//! A line is `vendor.feature/VERSION`, optionally followed by ` key=value` pairs, in printable ASCII. Go 0.7.0 sends none and
//! ignores those that it receives. What holds on a connection is what both sides announced, in the highest version that both
//! announced; [`negotiate`] gives both sides the same features and versions whichever of them asks. It holds for that one
//! connection: the daemon behind an address may be another one next time.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// One announced feature in one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension {
    name: String,
    version: u16,
    parameters: Vec<(String, String)>,
}

/// A line that is not an extension in our sense. In a received banner such lines are ignored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "extension {line:?}: {what}, expected vendor.feature/VERSION and then \" key=value\" pairs"
)]
pub struct ExtensionError {
    line: String,
    what: &'static str,
}

/// The extensions that one side announces, in its order. A feature may be announced in several versions; of two lines with
/// the same feature and version the first counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extensions(Vec<Extension>);

/// What both sides announced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Agreement(BTreeMap<String, Agreed>);

/// A feature that both sides announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// The highest version that both announced.
    pub version: u16,
    /// Our line of that version.
    pub ours: Extension,
    /// The peer's line of that version.
    pub theirs: Extension,
}

/// What holds on a connection on which these two banners were exchanged.
pub fn negotiate(ours: &Extensions, theirs: &Extensions) -> Agreement {
    let mut agreement = BTreeMap::new();
    for our in ours.iter() {
        let Some(their) = theirs.find(&our.name, our.version) else {
            continue;
        };
        let better = agreement
            .get(&our.name)
            .is_none_or(|agreed: &Agreed| agreed.version < our.version);
        if better {
            let agreed = Agreed {
                version: our.version,
                ours: our.clone(),
                theirs: their.clone(),
            };
            agreement.insert(our.name.clone(), agreed);
        }
    }
    Agreement(agreement)
}

impl Agreement {
    /// The version of a feature in force, if it is.
    pub fn version(&self, name: &str) -> Option<u16> {
        self.0.get(name).map(|agreed| agreed.version)
    }

    /// Both lines of a feature in force.
    pub fn feature(&self, name: &str) -> Option<&Agreed> {
        self.0.get(name)
    }

    /// Names and versions of all features in force, by name.
    pub fn versions(&self) -> impl Iterator<Item = (&str, u16)> {
        self.0
            .iter()
            .map(|(name, agreed)| (name.as_str(), agreed.version))
    }

    /// Whether the connection is plain protocol 7, as with every Go peer.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Extensions {
    /// These extensions, in this order.
    pub fn new(mut extensions: Vec<Extension>) -> Self {
        let mut seen = BTreeSet::new();
        extensions.retain(|extension| seen.insert((extension.name.clone(), extension.version)));
        Self(extensions)
    }

    /// What the lines of a received banner announce. Lines that are no extensions in our sense are ignored.
    pub fn from_lines<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let extensions = lines
            .into_iter()
            .filter_map(|line| Extension::parse(std::str::from_utf8(line).ok()?).ok());
        Self::new(extensions.collect())
    }

    /// The extensions, in the order of their lines.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Extension> {
        self.0.iter()
    }

    /// The line that announces this version of a feature.
    pub fn find(&self, name: &str, version: u16) -> Option<&Extension> {
        self.iter()
            .find(|extension| extension.name == name && extension.version == version)
    }
}

impl Extension {
    /// Reads a line, without its line feed.
    pub fn parse(line: &str) -> Result<Self, ExtensionError> {
        let error = |what| ExtensionError {
            line: line.to_owned(),
            what,
        };
        let mut words = line.split(' ');
        let feature = words.next().unwrap_or_default();
        let (name, version) = feature.split_once('/').ok_or_else(|| error("no version"))?;
        if !is_feature_name(name) {
            return Err(error("bad name"));
        }
        let version = parse_version(version).ok_or_else(|| error("bad version"))?;
        let mut parameters = Vec::new();
        for word in words {
            let (key, value) = word
                .split_once('=')
                .ok_or_else(|| error("parameter without value"))?;
            let value_is_printable = value.bytes().all(|byte| byte.is_ascii_graphic());
            if !is_word(key) || !value_is_printable {
                return Err(error("bad parameter"));
            }
            parameters.push((key.to_owned(), value.to_owned()));
        }
        Ok(Self {
            name: name.to_owned(),
            version,
            parameters,
        })
    }

    /// Vendor and feature, such as `zrepl-rs.parallel`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Version of the feature, at least 1.
    pub fn version(&self) -> u16 {
        self.version
    }

    /// The value of a parameter; of several with the same key the first.
    pub fn parameter(&self, key: &str) -> Option<&str> {
        let found = self.parameters.iter().find(|(name, _)| name == key);
        found.map(|(_, value)| value.as_str())
    }
}

/// The line as sent, without its line feed.
impl fmt::Display for Extension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.name, self.version)?;
        for (key, value) in &self.parameters {
            write!(f, " {key}={value}")?;
        }
        Ok(())
    }
}

fn is_feature_name(name: &str) -> bool {
    name.contains('.') && name.split('.').all(is_word)
}

fn is_word(word: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    !word.is_empty() && word.bytes().all(allowed)
}

/// Only the one form that we send: no sign, no leading zero.
fn parse_version(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    if digits && !text.starts_with('0') {
        text.parse().ok()
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn extensions(lines: &[&str]) -> Extensions {
        Extensions::from_lines(lines.iter().map(|line| line.as_bytes()))
    }

    fn versions(agreement: &Agreement) -> Vec<(&str, u16)> {
        agreement.versions().collect()
    }

    #[test]
    fn a_line_reads_back() {
        for line in ["a.b/1", "zrepl-rs.raw_stream/65535 chunk=4194304 x= y=a=b"] {
            assert_eq!(Extension::parse(line).unwrap().to_string(), line);
        }
        let extension = Extension::parse("a.b/12 k=v k=w empty=").unwrap();
        assert_eq!(extension.name(), "a.b");
        assert_eq!(extension.version(), 12);
        assert_eq!(extension.parameter("k"), Some("v"));
        assert_eq!(extension.parameter("empty"), Some(""));
        assert_eq!(extension.parameter("nosuch"), None);
    }

    #[test]
    fn other_lines_are_no_extensions() {
        let lines = [
            "",
            "a",
            "a.b",
            "a.b/",
            "/1",
            "a/1",
            "a./1",
            ".b/1",
            "a.b/0",
            "a.b/01",
            "a.b/+1",
            "a.b/65536",
            "a.b/1 ",
            "a.b/1  k=v",
            "a.b/1 k",
            "a.b/1 =v",
            "a.b/1\tk=v",
            "a b.c/1",
            "a.b/1 k=\u{7f}",
            "a.b/1 k=\u{e4}",
            "a.b/1 k=v\n",
            " a.b/1",
        ];
        for line in lines {
            assert!(Extension::parse(line).is_err(), "{line:?}");
        }
        let error = Extension::parse("no-dot/1").unwrap_err().to_string();
        assert!(
            error.contains("no-dot/1") && error.contains("vendor.feature/VERSION"),
            "{error}"
        );
    }

    #[test]
    fn a_peer_without_extensions_means_plain_protocol_7() {
        let ours = extensions(&["a.b/1"]);
        assert!(negotiate(&ours, &Extensions::default()).is_empty());
        assert!(negotiate(&Extensions::default(), &ours).is_empty());
    }

    #[test]
    fn unknown_lines_do_not_disturb_known_ones() {
        let theirs =
            Extensions::from_lines([&b"\xff\xfe"[..], b"", b"what is this", b"a.b/1", b"x.y/9"]);
        let agreement = negotiate(&extensions(&["a.b/1"]), &theirs);
        assert_eq!(versions(&agreement), [("a.b", 1)]);
    }

    #[test]
    fn the_highest_common_version_holds_whatever_the_order() {
        let ours = extensions(&["a.b/3", "a.b/1", "a.b/2", "c.d/1"]);
        let theirs = extensions(&["c.d/2", "a.b/1 k=theirs", "a.b/2 k=theirs", "a.b/4"]);
        let agreement = negotiate(&ours, &theirs);
        assert_eq!(versions(&agreement), [("a.b", 2)]);
        assert_eq!(agreement.version("a.b"), Some(2));
        assert_eq!(agreement.version("c.d"), None);
        let agreed = agreement.feature("a.b").unwrap();
        assert_eq!(agreed.theirs.parameter("k"), Some("theirs"));
        assert_eq!(agreed.ours.parameter("k"), None);
    }

    #[test]
    fn the_first_of_two_equal_versions_counts() {
        let twice = extensions(&["a.b/1 k=1", "a.b/1 k=2"]);
        assert_eq!(twice.iter().len(), 1);
        assert_eq!(twice.find("a.b", 1).unwrap().parameter("k"), Some("1"));
    }

    fn some_extensions() -> impl Strategy<Value = Extensions> {
        let line =
            ("[ab]\\.[cd]", 1_u16..5).prop_map(|(name, version)| format!("{name}/{version}"));
        prop::collection::vec(line, 0..8).prop_map(|lines| {
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            extensions(&lines)
        })
    }

    proptest! {
        #[test]
        fn both_sides_come_to_the_same_result(a in some_extensions(), b in some_extensions()) {
            let (left, right) = (negotiate(&a, &b), negotiate(&b, &a));
            prop_assert_eq!(versions(&left), versions(&right));
            for (name, version) in versions(&left) {
                prop_assert!(a.find(name, version).is_some() && b.find(name, version).is_some());
            }
        }

        #[test]
        fn what_is_read_prints_as_it_was(
            line in "\\PC{0,40}|[a-z]{1,3}\\.[a-z]{1,3}/[0-9]{1,6}( [a-z]{0,2}=?[!-~]{0,3}){0,2}",
        ) {
            if let Ok(extension) = Extension::parse(&line) {
                prop_assert_eq!(extension.to_string(), line);
            }
        }

        #[test]
        fn no_bytes_upset_it(lines in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..10)) {
            let _ = Extensions::from_lines(lines.iter().map(Vec::as_slice));
        }
    }
}
