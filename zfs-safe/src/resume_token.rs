//! Resume tokens: where an interrupted receive stopped and what its sender has to go on with.
//!
//! The text of the property `receive_resume_token` flows in, its fields flow out. A token comes from the peer, so it is
//! hostile until decoded: its size is bounded before anything is allocated, and nothing about it can cause a panic.

use std::str::FromStr;

use miniz_oxide::deflate::compress_to_vec_zlib;
use miniz_oxide::inflate::{TINFLStatus, decompress_to_vec_zlib_with_limit};

use crate::byte_order::ByteOrder;
use crate::guid::Guid;
use crate::nvlist::{DecodeError, EncodeError, Encoding, Limits, NvList, Value};

/// The state of an interrupted receive.
///
/// The flags are those of the interrupted stream; a stream that continues it has to be sent with the same ones. Nothing
/// in a token tells whether the stream carried properties.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a field of the token of its own"
)]
pub struct ResumeToken {
    /// The snapshot that was being received.
    pub to_guid: Guid,
    /// The snapshot or bookmark the stream starts from, if it is incremental.
    pub from_guid: Option<Guid>,
    /// The object to continue with; starts at 1.
    pub object: u64,
    /// Bytes into that object.
    pub offset: u64,
    /// Bytes of the stream that were received.
    pub bytes: u64,
    /// Name of the snapshot on the sender when the receive began; it may have been renamed since.
    pub to_name: String,
    /// The stream has blocks larger than 128 KiB (`zfs send -L`).
    pub large_block: bool,
    /// The stream has embedded blocks (`zfs send -e`).
    pub embed: bool,
    /// The stream has compressed blocks (`zfs send -c`).
    pub compress: bool,
    /// The stream has blocks as they are on disk, encrypted or not (`zfs send -w`).
    pub raw: bool,
    /// The stream is of a partially received dataset (`zfs send -S`). The kernel never says so, libzfs heeds it.
    pub saved: bool,
    /// Guids of the snapshots with respect to which the sent dataset is redacted.
    pub redact_snaps: Option<Vec<u64>>,
    /// Guids of the snapshots of the redaction bookmark that the stream was made with.
    pub book_redact_snaps: Option<Vec<u64>>,
    /// The token as given.
    pub text: String,
}

/// Why a text is not a resume token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResumeTokenError {
    /// The text is not four fields joined by `-`, of which the first three are numbers.
    #[error("resume token is not of the form VERSION-CHECKSUM-LENGTH-PAYLOAD")]
    Format,
    /// The version is not 1.
    #[error("unsupported version {version} of resume token")]
    Version {
        /// The version.
        version: u32,
    },
    /// The token claims or has more than 1 MiB of contents.
    #[error("contents of resume token exceed {MAX_LEN} bytes")]
    TooLong,
    /// The payload is not an even number of hexadecimal digits.
    #[error("payload of resume token is not hexadecimal")]
    Hex,
    /// The payload does not have the stated checksum.
    #[error("resume token has checksum {stated:x}, which does not match its payload")]
    Checksum {
        /// The stated checksum.
        stated: u64,
    },
    /// The payload is not a complete zlib stream.
    #[error("payload of resume token cannot be decompressed")]
    Compression,
    /// The decompressed payload does not have the stated length.
    #[error("decompressed payload of resume token is not {stated} bytes long")]
    Length {
        /// The stated length.
        stated: usize,
    },
    /// The payload is not a name-value list.
    #[error("payload of resume token is not a valid list")]
    List(#[source] DecodeError),
    /// A field that every token has is not there.
    #[error("resume token has no field {field}")]
    Missing {
        /// Name of the field.
        field: &'static str,
    },
    /// A field has a value of the wrong type.
    #[error("field {field} of resume token has the wrong type")]
    Type {
        /// Name of the field.
        field: &'static str,
    },
}

impl ResumeToken {
    /// Decodes the text of the property `receive_resume_token`.
    ///
    /// Tokens of machines of either byte order are understood, although ZFS itself only takes its own.
    pub fn decode(text: &str) -> Result<Self, ResumeTokenError> {
        let fields = Fields(decode_list(text)?);
        Ok(Self {
            to_guid: fields
                .number("toguid")
                .and_then(required("toguid"))
                .map(Guid::new)?,
            from_guid: fields
                .number("fromguid")?
                .filter(|&guid| guid != 0)
                .map(Guid::new),
            object: fields.number("object").and_then(required("object"))?,
            offset: fields.number("offset").and_then(required("offset"))?,
            bytes: fields.number("bytes").and_then(required("bytes"))?,
            to_name: fields.text("toname").and_then(required("toname"))?,
            large_block: fields.flag("largeblockok")?,
            embed: fields.flag("embedok")?,
            compress: fields.flag("compressok")?,
            raw: fields.flag("rawok")?,
            saved: fields.flag("savedok")?,
            redact_snaps: fields.numbers("redact_snaps")?,
            book_redact_snaps: fields.numbers("book_redact_snaps")?,
            text: text.to_owned(),
        })
    }

    /// Makes the text of a token with these fields, for tests; [`text`](Self::text) plays no part in it.
    ///
    /// The only error is a NUL in [`to_name`](Self::to_name), unless there are millions of redaction snapshots.
    pub fn encode(&self, order: ByteOrder) -> Result<String, EncodeError> {
        let mut list = NvList::new();
        if let Some(guid) = self.from_guid {
            list.insert("fromguid", guid.get());
        }
        list.insert("object", self.object);
        list.insert("offset", self.offset);
        list.insert("bytes", self.bytes);
        list.insert("toguid", self.to_guid.get());
        list.insert("toname", &*self.to_name);
        for (name, set) in [
            ("largeblockok", self.large_block),
            ("embedok", self.embed),
            ("compressok", self.compress),
            ("rawok", self.raw),
            ("savedok", self.saved),
        ] {
            if set {
                list.insert(name, Value::Boolean);
            }
        }
        for (name, guids) in [
            ("redact_snaps", &self.redact_snaps),
            ("book_redact_snaps", &self.book_redact_snaps),
        ] {
            if let Some(guids) = guids {
                list.insert(name, guids.clone());
            }
        }
        let packed = list.encode(match order {
            ByteOrder::Little => Encoding::NativeLittle,
            ByteOrder::Big => Encoding::NativeBig,
        })?;
        let compressed = compress_to_vec_zlib(&packed, 6);
        Ok(join(packed.len(), &compressed, order))
    }
}

impl FromStr for ResumeToken {
    type Err = ResumeTokenError;

    fn from_str(text: &str) -> Result<Self, ResumeTokenError> {
        Self::decode(text)
    }
}

/// What the contents of a token, packed or not, may take. Those of a token with every field take less than 1 KiB,
/// unless the dataset is redacted.
const MAX_LEN: usize = 1 << 20;

/// The only version of the format.
const VERSION: u32 = 1;

fn decode_list(text: &str) -> Result<NvList, ResumeTokenError> {
    let (version, stated_sum, stated_len, payload) = split(text).ok_or(ResumeTokenError::Format)?;
    if version != VERSION {
        return Err(ResumeTokenError::Version { version });
    }
    let stated = usize::try_from(stated_len)
        .ok()
        .filter(|&len| len <= MAX_LEN && payload.len() / 2 <= MAX_LEN)
        .ok_or(ResumeTokenError::TooLong)?;
    let payload = unhex(payload).ok_or(ResumeTokenError::Hex)?;

    // Which order the sum was taken in is said inside what it protects, so either order is good enough to go on.
    let mismatch = ResumeTokenError::Checksum { stated: stated_sum };
    let holds = |order| checksum(&payload, order) == stated_sum;
    if !holds(ByteOrder::Little) && !holds(ByteOrder::Big) {
        return Err(mismatch);
    }
    // ZFS stores what does not shrink as it is. A zlib stream never begins like a native list.
    let packed = if payload.len() == stated && payload.first() == Some(&0) {
        payload.clone()
    } else {
        inflate(&payload, stated)?
    };
    let order = match packed.get(1) {
        Some(0) => ByteOrder::Big,
        _ => ByteOrder::Little,
    };
    if !holds(order) {
        return Err(mismatch);
    }
    let limits = Limits {
        bytes: MAX_LEN,
        ..Limits::default()
    };
    NvList::decode_within(&packed, limits).map_err(ResumeTokenError::List)
}

fn split(text: &str) -> Option<(u32, u64, u64, &str)> {
    let mut fields = text.splitn(4, '-');
    let version = fields.next()?;
    let sum = fields.next()?;
    let len = fields.next()?;
    let payload = fields.next()?;
    // The parsers of numbers would take a sign as well.
    if [version, sum, len]
        .iter()
        .any(|field| field.starts_with('+'))
    {
        return None;
    }
    Some((
        version.parse().ok()?,
        u64::from_str_radix(sum, 16).ok()?,
        u64::from_str_radix(len, 16).ok()?,
        payload,
    ))
}

fn inflate(payload: &[u8], stated: usize) -> Result<Vec<u8>, ResumeTokenError> {
    let wrong_length = ResumeTokenError::Length { stated };
    match decompress_to_vec_zlib_with_limit(payload, stated) {
        Ok(packed) if packed.len() == stated => Ok(packed),
        Ok(_) => Err(wrong_length),
        Err(error) if error.status == TINFLStatus::HasMoreOutput => Err(wrong_length),
        Err(_) => Err(ResumeTokenError::Compression),
    }
}

/// The first word of Fletcher-4: the sum of all whole words of four bytes.
fn checksum(payload: &[u8], order: ByteOrder) -> u64 {
    let (words, _) = payload.as_chunks();
    words.iter().map(|&word| u64::from(order.u32(word))).sum()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|d| u8::try_from(d).ok())
    };
    let (pairs, []) = text.as_bytes().as_chunks() else {
        return None;
    };
    pairs
        .iter()
        .map(|&[high, low]| Some(digit(high)? << 4 | digit(low)?))
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|&byte| [byte >> 4, byte & 15]);
    digits
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

fn join(packed_len: usize, payload: &[u8], order: ByteOrder) -> String {
    let sum = checksum(payload, order);
    format!("{VERSION}-{sum:x}-{packed_len:x}-{}", hex(payload))
}

struct Fields(NvList);

impl Fields {
    fn number(&self, name: &'static str) -> Result<Option<u64>, ResumeTokenError> {
        self.typed(name, |value| match value {
            Value::UInt64(number) => Some(*number),
            _ => None,
        })
    }

    fn numbers(&self, name: &'static str) -> Result<Option<Vec<u64>>, ResumeTokenError> {
        self.typed(name, |value| match value {
            Value::UInt64Array(numbers) => Some(numbers.clone()),
            _ => None,
        })
    }

    fn text(&self, name: &'static str) -> Result<Option<String>, ResumeTokenError> {
        self.typed(name, |value| match value {
            Value::String(text) => text.as_str().map(str::to_owned),
            _ => None,
        })
    }

    fn flag(&self, name: &'static str) -> Result<bool, ResumeTokenError> {
        let set = self.typed(name, |value| match value {
            Value::Boolean => Some(true),
            _ => None,
        });
        Ok(set?.unwrap_or(false))
    }

    fn typed<T>(
        &self,
        field: &'static str,
        convert: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<Option<T>, ResumeTokenError> {
        let Some(value) = self.0.get(field) else {
            return Ok(None);
        };
        match convert(value) {
            Some(converted) => Ok(Some(converted)),
            None => Err(ResumeTokenError::Type { field }),
        }
    }
}

fn required<T>(field: &'static str) -> impl FnOnce(Option<T>) -> Result<T, ResumeTokenError> {
    move |value| value.ok_or(ResumeTokenError::Missing { field })
}

#[cfg(test)]
mod tests;
