//! The first record of a stream that `zfs send` makes.
//!
//! Its 312 bytes flow in from the network, what they say flows out, and they are kept to be handed to the kernel, which
//! wants to see them before the rest of the stream. A record that is returned is one the kernel can at least read; whether
//! the stream can be received is for the caller to decide, by its features.

use std::fmt;
use std::io::{self, Read};
use std::ops::BitOr;

pub use crate::byte_order::ByteOrder;
use crate::guid::Guid;

/// The BEGIN record of a stream of one snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BeginRecord {
    /// The record as it was received.
    pub bytes: [u8; Self::LEN],
    /// The byte order of the machine that sends.
    pub byte_order: ByteOrder,
    /// The snapshot that the stream makes.
    pub to_guid: Guid,
    /// The snapshot or bookmark that the stream starts from, if it is incremental.
    pub from_guid: Option<Guid>,
    /// Name of the snapshot on the sender.
    pub to_name: String,
    /// Whether the stream makes a filesystem or a volume.
    pub objset_type: ObjsetType,
    /// Properties of the stream that need no support by the receiver; the constants beginning with `FLAG_` name them.
    pub flags: u32,
    /// What the receiver has to support.
    pub feature_flags: FeatureFlags,
    /// Bytes between this record and the next one: a packed list, in the native encoding of the sender. As stated by
    /// the sender, so up to 4 GiB.
    pub payload_len: u32,
    /// When the snapshot was made, in seconds since 1970.
    pub creation: u64,
}

/// What kind of dataset a stream makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjsetType {
    /// A filesystem.
    Filesystem,
    /// A volume.
    Volume,
    /// A kind that no stream is made of, by its number.
    Other(u32),
}

/// Why bytes are not the BEGIN record of a stream of one snapshot.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BeginRecordError {
    /// The stream ends within the record.
    #[error("stream ends after {read} bytes, within its first record")]
    ShortRead {
        /// Bytes that were there.
        read: usize,
    },
    /// The stream cannot be read.
    #[error("cannot read the first record of the stream")]
    Io(#[source] io::Error),
    /// The bytes are no BEGIN record, in whichever byte order.
    #[error("not a zfs stream (magic {magic:#x})")]
    Magic {
        /// What is in the place of the magic number, in the byte order of this machine.
        magic: u64,
    },
    /// The magic number is right, but the record has another type.
    #[error("stream begins with a record of type {record_type}")]
    NotBegin {
        /// Number of the type.
        record_type: u32,
    },
    /// The stream is a package of streams, as `zfs send` makes with `-R` and `-p`.
    ///
    /// The kernel does not take one; `zfs receive` unpacks it, and needs the record that was read from it.
    #[error("stream is a package of streams")]
    Compound {
        /// The record.
        bytes: Box<[u8; BeginRecord::LEN]>,
    },
    /// The stream is neither that of a snapshot nor a package.
    #[error("unknown kind {header_type} of stream")]
    HeaderType {
        /// Number of the kind.
        header_type: u8,
    },
    /// The name of the snapshot has no end, or is not UTF-8.
    #[error("invalid name of the snapshot in the first record of the stream")]
    Name,
}

impl BeginRecord {
    /// Bytes of a record.
    pub const LEN: usize = 312;

    /// The receiver must have the origin.
    pub const FLAG_CLONE: u32 = 1 << 0;
    /// Names are compared without regard to case.
    pub const FLAG_CI_DATA: u32 = 1 << 1;
    /// A full stream can be received as a clone.
    pub const FLAG_FREERECORDS: u32 = 1 << 2;
    /// Spill blocks are marked.
    pub const FLAG_SPILL_BLOCK: u32 = 1 << 3;

    /// Reads the record from the start of a stream, and not a byte more.
    pub fn read(stream: &mut impl Read) -> Result<Self, BeginRecordError> {
        let mut bytes = [0; Self::LEN];
        let mut read = 0;
        while read < bytes.len() {
            match stream.read(&mut bytes[read..]) {
                Ok(0) => return Err(BeginRecordError::ShortRead { read }),
                Ok(count) => read += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(BeginRecordError::Io(error)),
            }
        }
        Self::parse(&bytes)
    }

    /// Takes the record apart.
    pub fn parse(bytes: &[u8; Self::LEN]) -> Result<Self, BeginRecordError> {
        let byte_order = match u64::from_le_bytes(field(bytes, MAGIC_AT)) {
            MAGIC => ByteOrder::Little,
            swapped if swapped == MAGIC.swap_bytes() => ByteOrder::Big,
            _ => {
                let magic = u64::from_ne_bytes(field(bytes, MAGIC_AT));
                return Err(BeginRecordError::Magic { magic });
            }
        };
        let u32_at = |at| byte_order.u32(field(bytes, at));
        let u64_at = |at| byte_order.u64(field(bytes, at));

        let record_type = u32_at(TYPE_AT);
        if record_type != 0 {
            return Err(BeginRecordError::NotBegin { record_type });
        }
        let version_info = u64_at(VERSION_INFO_AT);
        match version_info & 3 {
            1 => {}
            2 => {
                let bytes = Box::new(*bytes);
                return Err(BeginRecordError::Compound { bytes });
            }
            kind => {
                let header_type = u8::from(kind == 3) * 3;
                return Err(BeginRecordError::HeaderType { header_type });
            }
        }
        let name = bytes[TO_NAME_AT..]
            .split(|&byte| byte == 0)
            .next()
            .filter(|name| TO_NAME_AT + name.len() < Self::LEN)
            .and_then(|name| str::from_utf8(name).ok())
            .ok_or(BeginRecordError::Name)?;
        Ok(Self {
            bytes: *bytes,
            byte_order,
            to_guid: Guid::new(u64_at(TO_GUID_AT)),
            from_guid: match u64_at(FROM_GUID_AT) {
                0 => None,
                guid => Some(Guid::new(guid)),
            },
            to_name: name.to_owned(),
            objset_type: match u32_at(OBJSET_TYPE_AT) {
                2 => ObjsetType::Filesystem,
                3 => ObjsetType::Volume,
                other => ObjsetType::Other(other),
            },
            flags: u32_at(FLAGS_AT),
            feature_flags: FeatureFlags::of_version_info(version_info),
            payload_len: u32_at(PAYLOAD_LEN_AT),
            creation: u64_at(CREATION_AT),
        })
    }

    /// Whether blocks are sent as they are on disk, encrypted ones without being decrypted.
    pub fn is_raw(&self) -> bool {
        self.feature_flags.contains(FeatureFlags::RAW)
    }

    /// Whether the stream continues an interrupted one.
    pub fn is_resuming(&self) -> bool {
        self.feature_flags.contains(FeatureFlags::RESUMING)
    }

    /// Whether the stream needs a snapshot that the receiver has.
    pub fn is_incremental(&self) -> bool {
        self.from_guid.is_some()
    }

    /// Whether the stream is of a clone, whose origin the receiver must have.
    pub fn is_clone(&self) -> bool {
        self.flags & Self::FLAG_CLONE != 0
    }

    /// Whether the stream makes a volume.
    pub fn is_zvol(&self) -> bool {
        self.objset_type == ObjsetType::Volume
    }
}

const MAGIC: u64 = 0x2_f5ba_cbac;

const TYPE_AT: usize = 0;
const PAYLOAD_LEN_AT: usize = 4;
const MAGIC_AT: usize = 8;
const VERSION_INFO_AT: usize = 16;
const CREATION_AT: usize = 24;
const OBJSET_TYPE_AT: usize = 32;
const FLAGS_AT: usize = 36;
const TO_GUID_AT: usize = 40;
const FROM_GUID_AT: usize = 48;
const TO_NAME_AT: usize = 56;

/// Copies one of the fields above, all of which are within the record.
fn field<const N: usize>(bytes: &[u8; BeginRecord::LEN], at: usize) -> [u8; N] {
    std::array::from_fn(|i| bytes[at + i])
}

/// What a receiver has to support to receive a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FeatureFlags(u64);

impl FeatureFlags {
    /// Blocks are sent once; no longer supported since OpenZFS 2.0.
    pub const DEDUP: Self = Self(1 << 0);
    /// Blocks are identified by their checksums; no longer supported since OpenZFS 2.0.
    pub const DEDUPPROPS: Self = Self(1 << 1);
    /// Files have spill blocks.
    pub const SA_SPILL: Self = Self(1 << 2);
    /// Small blocks are embedded.
    pub const EMBED_DATA: Self = Self(1 << 16);
    /// Embedded or compressed blocks use LZ4.
    pub const LZ4: Self = Self(1 << 17);
    /// Blocks are larger than 128 KiB.
    pub const LARGE_BLOCKS: Self = Self(1 << 19);
    /// The stream continues an interrupted one.
    pub const RESUMING: Self = Self(1 << 20);
    /// The stream is redacted.
    pub const REDACTED: Self = Self(1 << 21);
    /// Blocks are compressed.
    pub const COMPRESSED: Self = Self(1 << 22);
    /// Dnodes are larger than 512 bytes.
    pub const LARGE_DNODE: Self = Self(1 << 23);
    /// Blocks are sent as they are on disk.
    pub const RAW: Self = Self(1 << 24);
    /// Blocks are compressed with Zstandard.
    pub const ZSTD: Self = Self(1 << 25);
    /// The stream has holds; only in packages of streams.
    pub const HOLDS: Self = Self(1 << 26);
    /// The receiver may switch to large blocks; not set by any version so far.
    pub const SWITCH_TO_LARGE_BLOCKS: Self = Self(1 << 27);
    /// File names are longer than 255 bytes (OpenZFS 2.3).
    pub const LONGNAME: Self = Self(1 << 28);
    /// Directories are micro ZAPs larger than 128 KiB (OpenZFS 2.3).
    pub const LARGE_MICROZAP: Self = Self(1 << 29);

    /// The flags whose bits are set in `bits`; bit 0 is the lowest flag, not the lowest bit of `drr_versioninfo`.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The flags as a number.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Whether all of `others` are set.
    pub const fn contains(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }

    /// The flags that are not set in `others`.
    #[must_use]
    pub const fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    /// Whether no flag is set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The flags that have no name here; no released version can receive a stream that has one.
    #[must_use]
    pub fn unknown(self) -> Self {
        NAMES
            .iter()
            .fold(self, |rest, (flag, _)| rest.without(*flag))
    }

    /// Bits 2 to 57 of `drr_versioninfo`; the bits above are reserved, and ZFS does not look at them.
    fn of_version_info(version_info: u64) -> Self {
        Self((version_info >> 2) & ((1 << 56) - 1))
    }
}

impl BitOr for FeatureFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Display for FeatureFlags {
    /// The names, lowest first, then the rest as a number: `lz4,raw,0x40000000`; `none` if there is none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names: Vec<String> = NAMES
            .iter()
            .filter(|(flag, _)| self.contains(*flag))
            .map(|(_, name)| (*name).to_owned())
            .collect();
        let unknown = self.unknown();
        if !unknown.is_empty() {
            names.push(format!("{:#x}", unknown.0));
        }
        if names.is_empty() {
            names.push("none".to_owned());
        }
        f.pad(&names.join(","))
    }
}

const NAMES: [(FeatureFlags, &str); 16] = [
    (FeatureFlags::DEDUP, "dedup"),
    (FeatureFlags::DEDUPPROPS, "dedupprops"),
    (FeatureFlags::SA_SPILL, "sa_spill"),
    (FeatureFlags::EMBED_DATA, "embed_data"),
    (FeatureFlags::LZ4, "lz4"),
    (FeatureFlags::LARGE_BLOCKS, "large_blocks"),
    (FeatureFlags::RESUMING, "resuming"),
    (FeatureFlags::REDACTED, "redacted"),
    (FeatureFlags::COMPRESSED, "compressed"),
    (FeatureFlags::LARGE_DNODE, "large_dnode"),
    (FeatureFlags::RAW, "raw"),
    (FeatureFlags::ZSTD, "zstd"),
    (FeatureFlags::HOLDS, "holds"),
    (
        FeatureFlags::SWITCH_TO_LARGE_BLOCKS,
        "switch_to_large_blocks",
    ),
    (FeatureFlags::LONGNAME, "longname"),
    (FeatureFlags::LARGE_MICROZAP, "large_microzap"),
];

#[cfg(test)]
mod tests;
