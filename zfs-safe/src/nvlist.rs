//! Name-value lists, the language of the ZFS ioctls, of resume tokens and of the payload of a stream's first record.
//!
//! Packed bytes flow in and become an [`NvList`]; an [`NvList`] becomes packed bytes that the kernel and libnvpair
//! accept. Decoding never panics, never nests deeper than its limit, and takes time and memory in proportion to the
//! input, whatever the input is: lists come from the network inside streams and tokens. It is at least as strict as
//! libnvpair about every pair, and ignores what follows the end of the list, because the buffer of an ioctl is larger than
//! the list in it.

use std::collections::HashSet;
use std::fmt;
use std::ops::Range;

mod decode;
mod encode;
mod scalar;
mod value;

pub use decode::{DecodeError, Limits};
pub use encode::{EncodeError, Encoding};
pub use value::{NvString, Value};

/// A list of named values, in order.
///
/// A list made here has unique names. One that was decoded follows its own flag: the kernel makes lists with unique
/// names, but a list may also allow a name once per type, or any number of times.
///
/// ```
/// use zfs_safe::nvlist::{Encoding, NvList};
///
/// let mut arguments = NvList::new();
/// arguments.insert("defer", true);
/// let packed = arguments.encode(Encoding::Native)?;
/// assert_eq!(NvList::decode(&packed)?, arguments);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Default)]
pub struct NvList {
    pairs: Vec<Pair>,
    /// Positions of all pairs, by name and then position; empty while the list is short enough to be searched.
    by_name: Vec<usize>,
    unique: Unique,
}

impl NvList {
    /// An empty list with unique names.
    pub fn new() -> Self {
        Self::default()
    }

    /// Unpacks a list in either encoding and byte order, within the default [`Limits`].
    pub fn decode(packed: &[u8]) -> Result<Self, DecodeError> {
        Self::decode_within(packed, Limits::default())
    }

    /// Unpacks a list in either encoding and byte order.
    ///
    /// Bytes after the end of the list are ignored. Where the list's names are unique and one is repeated, the last
    /// pair counts.
    pub fn decode_within(packed: &[u8], limits: Limits) -> Result<Self, DecodeError> {
        decode::decode(packed, limits)
    }

    /// Packs the list.
    pub fn encode(&self, encoding: Encoding) -> Result<Vec<u8>, EncodeError> {
        encode::encode(self, encoding)
    }

    /// Adds a pair at the end, or replaces the value of the pair that [`get`](Self::get) finds.
    pub fn insert(&mut self, name: impl Into<NvString>, value: impl Into<Value>) {
        let (name, value) = (name.into(), value.into());
        if let Some(position) = self.position(name.as_bytes()) {
            self.pairs[position].value = value;
            return;
        }
        let position = self.pairs.len();
        if !self.by_name.is_empty() {
            let place = self.places(name.as_bytes()).end;
            self.by_name.insert(place, position);
        }
        self.pairs.push(Pair::new(name, value));
        if self.by_name.is_empty() {
            self.by_name = index(&self.pairs);
        }
    }

    /// The value of this name; the last one if the list allows repeated names.
    pub fn get(&self, name: impl AsRef<[u8]>) -> Option<&Value> {
        self.position(name.as_ref())
            .map(|position| &self.pairs[position].value)
    }

    /// The pairs in order.
    ///
    /// A name that is not UTF-8 comes with U+FFFD in place of what is not; [`iter_exact`](Self::iter_exact) has the
    /// bytes. Names of datasets and properties are ASCII, tags of holds are anything.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        self.pairs.iter().map(|pair| (pair.text(), &pair.value))
    }

    /// The pairs in order, with the exact bytes of their names.
    pub fn iter_exact(&self) -> impl ExactSizeIterator<Item = (&NvString, &Value)> {
        self.pairs.iter().map(|pair| (&pair.name, &pair.value))
    }

    /// Number of pairs.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether there is no pair.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    fn position(&self, name: &[u8]) -> Option<usize> {
        if self.by_name.is_empty() {
            return self
                .pairs
                .iter()
                .rposition(|pair| pair.name.as_bytes() == name);
        }
        self.by_name[self.places(name)].last().copied()
    }

    /// Where in `by_name` the pairs of this name are, or belong.
    fn places(&self, name: &[u8]) -> Range<usize> {
        let name_at = |&position: &usize| self.pairs[position].name.as_bytes();
        let start = self.by_name.partition_point(|p| name_at(p) < name);
        let same = self.by_name[start..].partition_point(|p| name_at(p) == name);
        start..start + same
    }

    /// Builds a list from decoded pairs, dropping all but the last of those that the list may have only once.
    fn from_pairs(mut pairs: Vec<Pair>, unique: Unique) -> Self {
        let mut by_name = index(&pairs);
        if unique != Unique::No && has_repeated_names(&pairs, &by_name) {
            drop_repeated(&mut pairs, unique);
            by_name = index(&pairs);
        }
        Self {
            pairs,
            by_name,
            unique,
        }
    }
}

/// Lookups of values of one type; a value of another type is as good as none.
impl NvList {
    /// Whether the flag is set: present without a value, or as a boolean value that is true.
    pub fn boolean(&self, name: impl AsRef<[u8]>) -> bool {
        matches!(
            self.get(name),
            Some(Value::Boolean | Value::BooleanValue(true))
        )
    }

    /// A [`Value::UInt64`].
    pub fn u64(&self, name: impl AsRef<[u8]>) -> Option<u64> {
        match self.get(name)? {
            Value::UInt64(value) => Some(*value),
            _ => None,
        }
    }

    /// A [`Value::Int64`].
    pub fn i64(&self, name: impl AsRef<[u8]>) -> Option<i64> {
        match self.get(name)? {
            Value::Int64(value) => Some(*value),
            _ => None,
        }
    }

    /// A [`Value::UInt32`].
    pub fn u32(&self, name: impl AsRef<[u8]>) -> Option<u32> {
        match self.get(name)? {
            Value::UInt32(value) => Some(*value),
            _ => None,
        }
    }

    /// A [`Value::Int32`].
    pub fn i32(&self, name: impl AsRef<[u8]>) -> Option<i32> {
        match self.get(name)? {
            Value::Int32(value) => Some(*value),
            _ => None,
        }
    }

    /// A [`Value::String`] that is UTF-8.
    pub fn str(&self, name: impl AsRef<[u8]>) -> Option<&str> {
        self.string(name)?.as_str()
    }

    /// A [`Value::String`].
    pub fn string(&self, name: impl AsRef<[u8]>) -> Option<&NvString> {
        match self.get(name)? {
            Value::String(value) => Some(value),
            _ => None,
        }
    }

    /// A [`Value::ByteArray`] or [`Value::UInt8Array`].
    pub fn bytes(&self, name: impl AsRef<[u8]>) -> Option<&[u8]> {
        match self.get(name)? {
            Value::ByteArray(value) | Value::UInt8Array(value) => Some(value),
            _ => None,
        }
    }

    /// A [`Value::List`].
    pub fn list(&self, name: impl AsRef<[u8]>) -> Option<&Self> {
        match self.get(name)? {
            Value::List(value) => Some(value),
            _ => None,
        }
    }

    /// A [`Value::UInt64Array`].
    pub fn u64s(&self, name: impl AsRef<[u8]>) -> Option<&[u64]> {
        match self.get(name)? {
            Value::UInt64Array(value) => Some(value),
            _ => None,
        }
    }

    /// A [`Value::StringArray`].
    pub fn strings(&self, name: impl AsRef<[u8]>) -> Option<&[NvString]> {
        match self.get(name)? {
            Value::StringArray(value) => Some(value),
            _ => None,
        }
    }

    /// A [`Value::ListArray`].
    pub fn lists(&self, name: impl AsRef<[u8]>) -> Option<&[Self]> {
        match self.get(name)? {
            Value::ListArray(value) => Some(value),
            _ => None,
        }
    }
}

impl PartialEq for NvList {
    /// Equal pairs in equal order, and the same rule for repeated names.
    fn eq(&self, other: &Self) -> bool {
        self.pairs == other.pairs && self.unique == other.unique
    }
}

impl fmt::Debug for NvList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter_exact()).finish()
    }
}

impl<N: Into<NvString>, V: Into<Value>> FromIterator<(N, V)> for NvList {
    /// A list with unique names; the last pair of a name counts.
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let pairs = pairs
            .into_iter()
            .map(|(name, value)| Pair::new(name.into(), value.into()))
            .collect();
        Self::from_pairs(pairs, Unique::Name)
    }
}

/// Up to this many pairs, looking at each is as fast as an index.
const SEARCHED: usize = 12;

#[derive(Clone, PartialEq)]
struct Pair {
    name: NvString,
    /// The name as text, where it is not UTF-8.
    lossy: Option<Box<str>>,
    value: Value,
}

impl Pair {
    fn new(name: NvString, value: Value) -> Self {
        let lossy = match name.as_str() {
            Some(_) => None,
            None => Some(name.to_string_lossy().into()),
        };
        Self { name, lossy, value }
    }

    fn text(&self) -> &str {
        self.lossy
            .as_deref()
            .or_else(|| self.name.as_str())
            .unwrap_or_default()
    }
}

/// Which pairs a list may have only once. The discriminants are the flag of the wire format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Unique {
    No = 0,
    #[default]
    Name = 1,
    NameAndType = 2,
}

impl Unique {
    fn from_flag(flag: u32) -> Self {
        match flag & 3 {
            0 => Self::No,
            1 => Self::Name,
            _ => Self::NameAndType,
        }
    }
}

/// The positions of all pairs, by name and then position; empty if the list is short enough to be searched.
fn index(pairs: &[Pair]) -> Vec<usize> {
    if pairs.len() <= SEARCHED {
        return Vec::new();
    }
    let mut positions: Vec<usize> = (0..pairs.len()).collect();
    positions.sort_unstable_by(|&a, &b| pairs[a].name.cmp(&pairs[b].name).then(a.cmp(&b)));
    positions
}

fn has_repeated_names(pairs: &[Pair], by_name: &[usize]) -> bool {
    if by_name.is_empty() {
        return pairs
            .iter()
            .enumerate()
            .any(|(i, pair)| pairs[..i].iter().any(|earlier| earlier.name == pair.name));
    }
    by_name
        .windows(2)
        .any(|two| pairs[two[0]].name == pairs[two[1]].name)
}

fn drop_repeated(pairs: &mut Vec<Pair>, unique: Unique) {
    let mut seen = HashSet::with_capacity(pairs.len());
    let mut last: Vec<bool> = pairs
        .iter()
        .rev()
        .map(|pair| {
            let kind = match unique {
                Unique::NameAndType => pair.value.type_code(),
                Unique::No | Unique::Name => 0,
            };
            seen.insert((&pair.name, kind))
        })
        .collect();
    // Visits the pairs from first to last, while the answers are from last to first.
    pairs.retain(|_| last.pop() == Some(true));
}

#[cfg(test)]
mod arbitrary;
#[cfg(all(test, feature = "native"))]
mod libnvpair_tests;
#[cfg(test)]
mod tests;
