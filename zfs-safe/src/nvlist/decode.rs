//! Unpacking of lists: header, limits, errors and the bounded reader that both encodings use.

use super::scalar::Scalar;
use super::{NvList, Unique};
use crate::byte_order::ByteOrder;

mod native;
mod xdr;

/// Bounds on what a list may ask of its decoder.
///
/// Memory needs no bound of its own: the decoded list takes at most a small constant times the input (at worst about
/// 15 times, for lists of pairs without name and value).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How many lists may be nested in each other, below the outermost.
    pub depth: usize,
    /// Bytes of input.
    pub bytes: usize,
}

impl Limits {
    /// The default depth. The kernel nests at most 20 lists.
    pub const DEPTH: usize = 32;
}

impl Default for Limits {
    /// [`DEPTH`](Self::DEPTH), and as many bytes as the format can express.
    fn default() -> Self {
        Self {
            depth: Self::DEPTH,
            bytes: i32::MAX as usize,
        }
    }
}

/// Why packed bytes are not a list. Offsets are in bytes from the start of the input.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The input has more bytes than the limit.
    #[error("packed list of {len} bytes exceeds the limit of {limit}")]
    TooLong {
        /// Bytes of input.
        len: usize,
        /// Allowed bytes.
        limit: usize,
    },
    /// The input, or the pair, ends before what must follow.
    #[error("packed list ends at offset {offset} where {needed} more bytes are needed")]
    Truncated {
        /// Where the missing bytes should begin.
        offset: usize,
        /// Bytes needed from there.
        needed: usize,
    },
    /// The first byte names an encoding that is neither native nor XDR.
    #[error("unknown encoding {encoding} of packed list")]
    UnknownEncoding {
        /// The first byte.
        encoding: u8,
    },
    /// The second byte of a native list names no byte order.
    #[error("unknown byte order {endian} of packed list")]
    UnknownByteOrder {
        /// The second byte.
        endian: u8,
    },
    /// A list has a version other than 0.
    #[error("unsupported list version {version} at offset {offset}")]
    UnsupportedVersion {
        /// Where the version is.
        offset: usize,
        /// The version.
        version: u32,
    },
    /// A list is nested more deeply than the limit.
    #[error("lists are nested too deeply at offset {offset}")]
    TooDeep {
        /// Where the pairs of the list, in XDR the list, should begin.
        offset: usize,
    },
    /// The stated size of a pair is impossible, or does not match its contents.
    #[error("pair at offset {offset} has wrong size {size}")]
    PairSize {
        /// Where the pair starts.
        offset: usize,
        /// The stated size.
        size: i32,
    },
    /// A name has an impossible length, or contains NUL before its end.
    #[error("invalid name at offset {offset}")]
    Name {
        /// Where the name is.
        offset: usize,
    },
    /// The type of a pair is not known.
    #[error("unknown type {code} of the pair at offset {offset}")]
    UnknownType {
        /// Where the pair starts.
        offset: usize,
        /// The number of the type.
        code: i32,
    },
    /// The number of elements is impossible for the type, or too large for the pair.
    #[error("wrong number of elements {count} of the pair at offset {offset}")]
    ElementCount {
        /// Where the pair starts.
        offset: usize,
        /// The stated number.
        count: i32,
    },
    /// A boolean value is neither 0 nor 1.
    #[error("boolean at offset {offset} has value {value}")]
    Boolean {
        /// Where the value is.
        offset: usize,
        /// The value.
        value: u32,
    },
    /// A string does not end, or contains NUL before its end.
    #[error("invalid string at offset {offset}")]
    Text {
        /// Where the string starts.
        offset: usize,
    },
}

/// First byte of a packed list: native encoding.
pub(super) const NATIVE: u8 = 0;
/// First byte of a packed list: XDR encoding.
pub(super) const XDR: u8 = 1;
/// Second byte of a packed list: most significant byte first.
pub(super) const BIG: u8 = 0;
/// Second byte of a packed list: least significant byte first.
pub(super) const LITTLE: u8 = 1;

pub(super) fn decode(packed: &[u8], limits: Limits) -> Result<NvList, DecodeError> {
    if packed.len() > limits.bytes {
        return Err(DecodeError::TooLong {
            len: packed.len(),
            limit: limits.bytes,
        });
    }
    let mut reader = Reader {
        input: packed,
        offset: 0,
        order: ByteOrder::Big,
    };
    // Two reserved bytes follow, which libnvpair does not look at either.
    let (encoding, endian) = match reader.take(4)? {
        [encoding, endian, ..] => (*encoding, *endian),
        _ => unreachable!("took four bytes"),
    };
    match encoding {
        NATIVE => {
            reader.order = match endian {
                BIG => ByteOrder::Big,
                LITTLE => ByteOrder::Little,
                _ => return Err(DecodeError::UnknownByteOrder { endian }),
            };
            native::list(reader, limits.depth)
        }
        // XDR has one byte order; the second byte only tells which machine packed the list.
        XDR => xdr::list(reader, limits.depth),
        _ => Err(DecodeError::UnknownEncoding { encoding }),
    }
}

/// A cursor that cannot leave its part of the input.
#[derive(Clone)]
struct Reader<'a> {
    /// The whole input up to where this reader ends.
    input: &'a [u8],
    /// At most `input.len()`.
    offset: usize,
    order: ByteOrder,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let taken = self.rest().get(..count).ok_or(DecodeError::Truncated {
            offset: self.offset,
            needed: count,
        })?;
        self.offset += count;
        Ok(taken)
    }

    /// Splits off a reader of the next `count` bytes.
    fn part(&mut self, count: usize) -> Result<Self, DecodeError> {
        let start = self.offset;
        self.take(count)?;
        Ok(Self {
            input: &self.input[..self.offset],
            offset: start,
            order: self.order,
        })
    }

    fn rest(&self) -> &'a [u8] {
        &self.input[self.offset..]
    }

    fn remaining(&self) -> usize {
        self.input.len() - self.offset
    }

    fn read<T: Scalar>(&mut self) -> Result<T, DecodeError> {
        let order = self.order;
        Ok(T::read(self.take(T::SIZE)?, order))
    }

    /// Reads version and flag, which both encodings have in the same place.
    fn list_head(&mut self) -> Result<Unique, DecodeError> {
        let offset = self.offset;
        let version: u32 = self.read()?;
        if version != 0 {
            return Err(DecodeError::UnsupportedVersion { offset, version });
        }
        Ok(Unique::from_flag(self.read()?))
    }

    fn boolean(&mut self) -> Result<bool, DecodeError> {
        let offset = self.offset;
        match self.read()? {
            0_u32 => Ok(false),
            1 => Ok(true),
            value => Err(DecodeError::Boolean { offset, value }),
        }
    }
}

/// What a pair says about itself before its value.
#[derive(Clone, Copy)]
struct PairHead {
    offset: usize,
    code: i32,
    count: i32,
}

impl PairHead {
    fn wrong_count(self) -> DecodeError {
        DecodeError::ElementCount {
            offset: self.offset,
            count: self.count,
        }
    }

    /// Requires the count that the type has when it is not an array.
    fn counts(self, expected: i32) -> Result<(), DecodeError> {
        if self.count == expected {
            Ok(())
        } else {
            Err(self.wrong_count())
        }
    }

    /// The number of elements of an array, each of which takes at least `size` of the bytes that are left.
    fn elements(self, size: usize, left: usize) -> Result<usize, DecodeError> {
        usize::try_from(self.count)
            .ok()
            .filter(|count| count.checked_mul(size).is_some_and(|needed| needed <= left))
            .ok_or_else(|| self.wrong_count())
    }
}

/// Decides whether one more level of nesting is allowed, and returns how many are left below it.
fn descend(depth: usize, offset: usize) -> Result<usize, DecodeError> {
    depth.checked_sub(1).ok_or(DecodeError::TooDeep { offset })
}
