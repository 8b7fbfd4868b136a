//! The values a name-value list can hold, and the facts of each type that both encodings share.

use std::borrow::Cow;
use std::fmt;

use super::NvList;

/// The value of one pair.
///
/// The variants are the data types of libnvpair; the kernel checks the type of its arguments, so `UInt64(1)` is not
/// accepted where it wants `Int32(1)`.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Present without a value: a flag that is set.
    Boolean,
    /// A flag that is set or cleared.
    BooleanValue(bool),
    /// One uninterpreted byte.
    Byte(u8),
    /// Signed, 8 bits.
    Int8(i8),
    /// Unsigned, 8 bits.
    UInt8(u8),
    /// Signed, 16 bits.
    Int16(i16),
    /// Unsigned, 16 bits.
    UInt16(u16),
    /// Signed, 32 bits; error numbers have this type.
    Int32(i32),
    /// Unsigned, 32 bits.
    UInt32(u32),
    /// Signed, 64 bits.
    Int64(i64),
    /// Unsigned, 64 bits; numeric properties have this type.
    UInt64(u64),
    /// Nanoseconds of a monotonic clock.
    HrTime(i64),
    /// A floating point number; refused by the kernel.
    Double(f64),
    /// A string without NUL.
    String(NvString),
    /// A nested list.
    List(NvList),
    /// Several [`BooleanValue`](Self::BooleanValue).
    BooleanArray(Vec<bool>),
    /// Uninterpreted bytes.
    ByteArray(Vec<u8>),
    /// Several [`Int8`](Self::Int8).
    Int8Array(Vec<i8>),
    /// Several [`UInt8`](Self::UInt8).
    UInt8Array(Vec<u8>),
    /// Several [`Int16`](Self::Int16).
    Int16Array(Vec<i16>),
    /// Several [`UInt16`](Self::UInt16).
    UInt16Array(Vec<u16>),
    /// Several [`Int32`](Self::Int32).
    Int32Array(Vec<i32>),
    /// Several [`UInt32`](Self::UInt32).
    UInt32Array(Vec<u32>),
    /// Several [`Int64`](Self::Int64).
    Int64Array(Vec<i64>),
    /// Several [`UInt64`](Self::UInt64).
    UInt64Array(Vec<u64>),
    /// Several [`String`](Self::String).
    StringArray(Vec<NvString>),
    /// Several [`List`](Self::List).
    ListArray(Vec<NvList>),
}

impl Value {
    /// The number of the type on the wire.
    pub(super) fn type_code(&self) -> i32 {
        match self {
            Self::Boolean => code::BOOLEAN,
            Self::BooleanValue(_) => code::BOOLEAN_VALUE,
            Self::Byte(_) => code::BYTE,
            Self::Int8(_) => code::INT8,
            Self::UInt8(_) => code::UINT8,
            Self::Int16(_) => code::INT16,
            Self::UInt16(_) => code::UINT16,
            Self::Int32(_) => code::INT32,
            Self::UInt32(_) => code::UINT32,
            Self::Int64(_) => code::INT64,
            Self::UInt64(_) => code::UINT64,
            Self::HrTime(_) => code::HRTIME,
            Self::Double(_) => code::DOUBLE,
            Self::String(_) => code::STRING,
            Self::List(_) => code::NVLIST,
            Self::BooleanArray(_) => code::BOOLEAN_ARRAY,
            Self::ByteArray(_) => code::BYTE_ARRAY,
            Self::Int8Array(_) => code::INT8_ARRAY,
            Self::UInt8Array(_) => code::UINT8_ARRAY,
            Self::Int16Array(_) => code::INT16_ARRAY,
            Self::UInt16Array(_) => code::UINT16_ARRAY,
            Self::Int32Array(_) => code::INT32_ARRAY,
            Self::UInt32Array(_) => code::UINT32_ARRAY,
            Self::Int64Array(_) => code::INT64_ARRAY,
            Self::UInt64Array(_) => code::UINT64_ARRAY,
            Self::StringArray(_) => code::STRING_ARRAY,
            Self::ListArray(_) => code::NVLIST_ARRAY,
        }
    }

    /// The `nelem` field of the wire format: 0 for a valueless boolean, 1 for a scalar, the length of an array.
    pub(super) fn element_count(&self) -> usize {
        match self {
            Self::Boolean => 0,
            Self::BooleanArray(v) => v.len(),
            Self::ByteArray(v) | Self::UInt8Array(v) => v.len(),
            Self::Int8Array(v) => v.len(),
            Self::Int16Array(v) => v.len(),
            Self::UInt16Array(v) => v.len(),
            Self::Int32Array(v) => v.len(),
            Self::UInt32Array(v) => v.len(),
            Self::Int64Array(v) => v.len(),
            Self::UInt64Array(v) => v.len(),
            Self::StringArray(v) => v.len(),
            Self::ListArray(v) => v.len(),
            _ => 1,
        }
    }

    /// Bytes of the value in the native encoding before padding, without the pairs of nested lists.
    ///
    /// The XDR encoding states this size too. No overflow: the sum is below a small multiple of the memory in use.
    pub(super) fn native_size(&self) -> usize {
        match self {
            Self::Boolean => 0,
            Self::Byte(_) | Self::Int8(_) | Self::UInt8(_) => 1,
            Self::Int16(_) | Self::UInt16(_) => 2,
            Self::BooleanValue(_) | Self::Int32(_) | Self::UInt32(_) => 4,
            Self::Int64(_) | Self::UInt64(_) | Self::HrTime(_) | Self::Double(_) => 8,
            Self::String(s) => s.as_bytes().len() + 1,
            Self::List(_) => LIST_SIZE,
            Self::ByteArray(v) | Self::UInt8Array(v) => v.len(),
            Self::Int8Array(v) => v.len(),
            Self::Int16Array(v) => 2 * v.len(),
            Self::UInt16Array(v) => 2 * v.len(),
            Self::BooleanArray(v) => 4 * v.len(),
            Self::Int32Array(v) => 4 * v.len(),
            Self::UInt32Array(v) => 4 * v.len(),
            Self::Int64Array(v) => 8 * v.len(),
            Self::UInt64Array(v) => 8 * v.len(),
            Self::StringArray(v) => v
                .iter()
                .map(|s| POINTER_SIZE + s.as_bytes().len() + 1)
                .sum(),
            Self::ListArray(v) => (POINTER_SIZE + LIST_SIZE) * v.len(),
        }
    }
}

macro_rules! value_from {
    ($($from:ty => $variant:ident),* $(,)?) => {$(
        impl From<$from> for Value {
            fn from(value: $from) -> Self {
                Self::$variant(value.into())
            }
        }
    )*};
}

value_from! {
    bool => BooleanValue,
    i32 => Int32,
    u32 => UInt32,
    i64 => Int64,
    u64 => UInt64,
    &str => String,
    String => String,
    NvString => String,
    NvList => List,
    Vec<u64> => UInt64Array,
    Vec<NvString> => StringArray,
    Vec<NvList> => ListArray,
}

/// A string as ZFS keeps it: any bytes but NUL.
///
/// A user property or a hold tag need not be UTF-8, so the bytes are kept as they are.
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NvString(Box<[u8]>);

impl NvString {
    /// The bytes without the terminating NUL.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text, if it is UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        str::from_utf8(&self.0).ok()
    }

    /// The text with U+FFFD in place of what is not UTF-8.
    pub fn to_string_lossy(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }
}

impl fmt::Display for NvString {
    /// Writes U+FFFD in place of what is not UTF-8.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.to_string_lossy())
    }
}

impl fmt::Debug for NvString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

impl AsRef<[u8]> for NvString {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl PartialEq<str> for NvString {
    fn eq(&self, other: &str) -> bool {
        *self.0 == *other.as_bytes()
    }
}

impl PartialEq<&str> for NvString {
    fn eq(&self, other: &&str) -> bool {
        *self == **other
    }
}

macro_rules! nv_string_from {
    ($($from:ty),*) => {$(
        impl From<$from> for NvString {
            /// Does not look for NUL; [`NvList::encode`] does.
            fn from(value: $from) -> Self {
                let bytes: &[u8] = value.as_ref();
                Self(bytes.into())
            }
        }
    )*};
}

nv_string_from!(&str, &String, &[u8]);

impl From<String> for NvString {
    /// Does not look for NUL; [`NvList::encode`] does.
    fn from(value: String) -> Self {
        Self(value.into_bytes().into())
    }
}

impl From<Vec<u8>> for NvString {
    /// Does not look for NUL; [`NvList::encode`] does.
    fn from(value: Vec<u8>) -> Self {
        Self(value.into())
    }
}

/// The in-memory head of a nested list, which the native encoding copies to the wire: version, flag, pointer and
/// eight unused bytes.
pub(super) const LIST_SIZE: usize = 24;

/// Room the native encoding leaves for a pointer in front of each string or list of an array.
pub(super) const POINTER_SIZE: usize = 8;

/// Bytes of a pair in the native encoding before its name.
pub(super) const PAIR_HEAD: usize = 16;

/// Where the value of a pair starts in the native encoding, from the start of the pair; `name_len` is without NUL.
pub(super) fn value_offset(name_len: usize) -> usize {
    align(PAIR_HEAD + name_len + 1, 8)
}

/// Rounds up to a multiple of `unit`. The lengths of things in memory leave room for that.
pub(super) fn align(len: usize, unit: usize) -> usize {
    len.next_multiple_of(unit)
}

/// Type numbers on the wire.
pub(super) mod code {
    pub(in super::super) const BOOLEAN: i32 = 1;
    pub(in super::super) const BYTE: i32 = 2;
    pub(in super::super) const INT16: i32 = 3;
    pub(in super::super) const UINT16: i32 = 4;
    pub(in super::super) const INT32: i32 = 5;
    pub(in super::super) const UINT32: i32 = 6;
    pub(in super::super) const INT64: i32 = 7;
    pub(in super::super) const UINT64: i32 = 8;
    pub(in super::super) const STRING: i32 = 9;
    pub(in super::super) const BYTE_ARRAY: i32 = 10;
    pub(in super::super) const INT16_ARRAY: i32 = 11;
    pub(in super::super) const UINT16_ARRAY: i32 = 12;
    pub(in super::super) const INT32_ARRAY: i32 = 13;
    pub(in super::super) const UINT32_ARRAY: i32 = 14;
    pub(in super::super) const INT64_ARRAY: i32 = 15;
    pub(in super::super) const UINT64_ARRAY: i32 = 16;
    pub(in super::super) const STRING_ARRAY: i32 = 17;
    pub(in super::super) const HRTIME: i32 = 18;
    pub(in super::super) const NVLIST: i32 = 19;
    pub(in super::super) const NVLIST_ARRAY: i32 = 20;
    pub(in super::super) const BOOLEAN_VALUE: i32 = 21;
    pub(in super::super) const INT8: i32 = 22;
    pub(in super::super) const UINT8: i32 = 23;
    pub(in super::super) const BOOLEAN_ARRAY: i32 = 24;
    pub(in super::super) const INT8_ARRAY: i32 = 25;
    pub(in super::super) const UINT8_ARRAY: i32 = 26;
    pub(in super::super) const DOUBLE: i32 = 27;
}
