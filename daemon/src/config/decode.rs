//! From YAML to typed values, by the rules of zrepl 0.7.0: keys that are unknown, written twice or missing are errors, and so
//! is a required key without a value. A failure is noted and reading goes on, so that one run finds them all; only the value
//! that contains it does not come into being.
//!
//! Text becomes a tree with places ([`node`]); sections open it key by key ([`section`]); values read what stands there
//! ([`value`]); all of them report to one [`Reading`]. [`declare`] writes sections from declarations, and with them their
//! JSON Schema ([`schema`]).

pub(crate) mod declare;
pub(crate) mod node;
mod reading;
pub(crate) mod schema;
mod section;
mod value;

pub(crate) use reading::{Marks, Reading};
pub(crate) use section::{Fields, read_section};
pub(crate) use value::{
    items, map_entries, parsed, read_type, read_word, text, type_text, unquoted,
};

use node::Node;
use schema::{Definitions, Json, Key};

/// A type that the configuration can hold.
pub(crate) trait Value: Sized {
    /// Reads it, or notes why not.
    fn read(node: &Node, cx: &mut Reading<'_>) -> Option<Self>;

    /// What zrepl 0.7.0 takes an optional key for that is there without a value: its zero value, which is not the default.
    /// `None` if that would be no valid value.
    fn null() -> Option<Self> {
        None
    }

    /// Its JSON Schema.
    fn schema(definitions: &mut Definitions) -> Json;
}

/// A part of the configuration with keys of its own. The macro `section!` writes the implementations.
pub(crate) trait Section: Sized {
    /// Name among the schema's definitions.
    const NAME: &'static str;
    /// What it is for.
    const DOC: &'static str;
    /// Its keys in the order in which the documentation lists them.
    const KEYS: &'static [&'static str];

    /// Reads each key.
    fn decode(fields: &Fields<'_>, cx: &mut Reading<'_>) -> Option<Self>;

    /// Each key with its schema.
    fn keys(definitions: &mut Definitions) -> Vec<Key>;
}

/// The key that chooses between kinds of section.
const TYPE: &str = "type";
