//! The sections `send`, `recv`, `replication` and `conflict_resolution`: how data moves, and what is left behind for safety.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use super::decode::declare::{notation, section, words};
use super::decode::node::{Node, shortened};
use super::decode::schema::{self, Definitions, Json};
use super::decode::{Reading, Value, map_entries, parsed, text};
use super::value::data_size::{DataSize, DataSizeError};
use super::value::integer::Concurrency;

section! {
    /// How snapshots are sent. With none of the flags, streams are what `zfs send` makes without options.
    pub struct SendOptions {
        /// Refuses to send what is not encrypted, and sends what is as it is on disk (zfs send -w).
        encrypted: bool = default(false),
        /// Sends blocks as they are on disk (zfs send -w).
        raw: bool = default(false),
        /// Sends properties along (zfs send -p).
        send_properties: bool = default(false),
        /// Sends properties as they were received (zfs send -b).
        backup_properties: bool = default(false),
        /// Allows blocks larger than 128 KiB (zfs send -L).
        large_blocks: bool = default(false),
        /// Sends compressed blocks compressed (zfs send -c).
        compressed: bool = default(false),
        /// Sends tiny blocks inside their pointers (zfs send -e).
        embedded_data: bool = default(false),
        /// Sends what was received in part (zfs send -S).
        saved: bool = default(false),
        /// Bounds the speed.
        bandwidth_limit: BandwidthLimit = section,
    }
}

section! {
    /// How streams are received.
    pub struct ReceiveOptions {
        /// What becomes of properties.
        properties: ReceiveProperties = section,
        /// Bounds the speed.
        bandwidth_limit: BandwidthLimit = section,
        /// How parents of received filesystems are made.
        placeholder: Placeholder = section,
    }
}

section! {
    /// What becomes of properties of received filesystems.
    pub struct ReceiveProperties {
        /// Properties that are taken from the parent instead of the stream (zfs receive -x).
        inherit: Vec<PropertyText> = default(Vec::new()),
        /// Properties that are set to a value of ours (zfs receive -o).
        overrides ["override"]: Overrides = default(Overrides(Vec::new())),
    }
}

section! {
    /// How parents of received filesystems are made.
    pub struct Placeholder {
        /// Whether they are encrypted.
        encryption: PlaceholderEncryption = default(PlaceholderEncryption::Unspecified),
    }
}

words! {
    /// Whether filesystems that stand in for parents are encrypted.
    pub enum PlaceholderEncryption: "placeholder encryption value" {
        /// Nothing is said: an error as soon as one has to be made, except for the root of a client.
        Unspecified = "unspecified",
        /// As their parent.
        Inherit = "inherit",
        /// Not.
        Off = "off",
    }
}

section! {
    /// Bounds the speed of a job's streams, all taken together.
    pub struct BandwidthLimit {
        /// Bytes per second; negative is without limit.
        max: Rate = default(Rate::unlimited()),
        /// How much may pass at once after a pause.
        bucket_capacity: BucketCapacity = default(BucketCapacity::default()),
    }
}

/// What the configuration means that says nothing.
impl Default for SendOptions {
    fn default() -> Self {
        Self {
            encrypted: false,
            raw: false,
            send_properties: false,
            backup_properties: false,
            large_blocks: false,
            compressed: false,
            embedded_data: false,
            saved: false,
            bandwidth_limit: BandwidthLimit {
                max: Rate::unlimited(),
                bucket_capacity: BucketCapacity::default(),
            },
        }
    }
}

/// A speed: at least a byte per second, or without limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate(DataSize);

/// Why a size is no speed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RateError {
    /// Not a size at all.
    #[error(transparent)]
    Size(#[from] DataSizeError),
    /// 0.7.0 accepted it and crashed when a limiter was made of it.
    #[error(
        "bandwidth limit `max` is too small, must at least specify one byte; write a negative size, such as \"-1 B\", for no limit"
    )]
    TooSmall,
}

impl Rate {
    /// No limit.
    pub fn unlimited() -> Self {
        Self(DataSize::from_bytes(-1))
    }

    /// Bytes per second, if there is a limit.
    pub fn bytes_per_second(self) -> Option<u64> {
        u64::try_from(self.0.bytes()).ok()
    }
}

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        let size: DataSize = text.parse()?;
        if size.bits() < 0 || size.bytes() >= 1 {
            Ok(Self(size))
        } else {
            Err(RateError::TooSmall)
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

notation!(
    Rate,
    "Bytes (B) or bits (b) per second; negative is without limit.",
    ["10 MiB", "100 Mb", "-1 B"]
);

/// How much may pass at once after a pause: at least a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BucketCapacity(DataSize);

/// Why a size is no capacity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BucketCapacityError {
    /// Not a size at all.
    #[error(transparent)]
    Size(#[from] DataSizeError),
    /// 0.7.0 accepted negative ones and crashed when a limiter was made of them.
    #[error(
        "`BandwidthLimit` field invalid: BucketCapacity must not be zero, nor negative: at least one byte must fit"
    )]
    TooSmall,
}

impl BucketCapacity {
    /// Bytes.
    pub fn bytes(self) -> u64 {
        u64::try_from(self.0.bytes()).unwrap_or(1)
    }
}

impl Default for BucketCapacity {
    fn default() -> Self {
        Self(DataSize::from_bytes(128 * 1024))
    }
}

impl FromStr for BucketCapacity {
    type Err = BucketCapacityError;

    fn from_str(text: &str) -> Result<Self, BucketCapacityError> {
        let size: DataSize = text.parse()?;
        if size.bytes() >= 1 {
            Ok(Self(size))
        } else {
            Err(BucketCapacityError::TooSmall)
        }
    }
}

impl fmt::Display for BucketCapacity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

notation!(
    BucketCapacity,
    "Bytes (B) or bits (b).",
    ["128 KiB", "10 MiB"]
);

/// Name of a property as zrepl 0.7.0 accepts it. Whether ZFS knows it is seen when something is received.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PropertyText(String);

/// Why a text is no name of a property.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("property {:?}: {problem}", shortened(.name))]
pub struct PropertyTextError {
    name: String,
    problem: &'static str,
}

impl PropertyText {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PropertyText {
    type Err = PropertyTextError;

    fn from_str(name: &str) -> Result<Self, PropertyTextError> {
        // ZFS_MAXPROPLEN of zrepl 0.7.0.
        const MAX_LEN: usize = 256;
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
        let problem = if name.is_empty() {
            "property name cannot be empty"
        } else if name.len() > MAX_LEN {
            "property name is longer than 256 characters"
        } else if name.starts_with('-') {
            "property name cannot start with '-'"
        } else if !name.chars().all(allowed) {
            "property name must only contain alphanumeric chars and any in \"-_.:\""
        } else {
            return Ok(Self(name.to_owned()));
        };
        Err(PropertyTextError {
            name: name.to_owned(),
            problem,
        })
    }
}

impl fmt::Display for PropertyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

notation!(
    PropertyText,
    "Name of a ZFS property.",
    ["mountpoint", "canmount", "org.example:backup"]
);

/// Properties set on what is received, in the order in which they are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overrides(Vec<(PropertyText, String)>);

impl Overrides {
    /// Names and values.
    pub fn as_slice(&self) -> &[(PropertyText, String)] {
        &self.0
    }
}

impl Value for Overrides {
    fn read(node: &Node, cx: &mut Reading<'_>) -> Option<Self> {
        map_entries(node, cx, |name, entry, cx| {
            let value = cx.under(name, |cx| text(&entry.value, cx));
            let name = parsed(&entry.key, cx);
            Some((name?, value?))
        })
        .map(Self)
    }

    fn null() -> Option<Self> {
        Some(Self(Vec::new()))
    }

    fn schema(_: &mut Definitions) -> Json {
        let value = serde_json::json!({ "anyOf": [schema::any_text(), { "type": "null" }] });
        schema::map(&value, "From the property's name to its value.")
    }
}

impl Serialize for Overrides {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name.as_str(), value)))
    }
}

section! {
    /// What is done for safety, and how much at a time.
    pub struct Replication {
        /// What survives an interruption.
        protection: Protection = section,
        /// How much is done at a time.
        concurrency: ReplicationConcurrency = section,
    }
}

section! {
    /// What a replication can go on from after it was interrupted.
    pub struct Protection {
        /// For the first replication of a filesystem.
        initial: Guarantee = default(Guarantee::Resumability),
        /// For those that follow.
        incremental: Guarantee = default(Guarantee::Resumability),
    }
}

words! {
    /// What a replication can go on from after it was interrupted.
    pub enum Guarantee: "guarantee" {
        /// In the middle: holds keep the snapshots that are being sent.
        Resumability = "guarantee_resumability",
        /// At the snapshot before: a bookmark remembers it.
        Incremental = "guarantee_incremental",
        /// Nothing is kept for it.
        Nothing = "guarantee_nothing",
    }
}

section! {
    /// How much is done at a time.
    pub struct ReplicationConcurrency {
        /// Snapshots sent at the same time, each of another filesystem.
        steps: Concurrency = default(Concurrency::ONE),
        /// Sizes estimated at the same time.
        size_estimates: Concurrency = default(Concurrency::FOUR),
    }
}

section! {
    /// What is done where the two sides do not fit.
    pub struct ConflictResolution {
        /// What the first replication of a filesystem sends.
        initial_replication: InitialReplication = default(InitialReplication::MostRecent),
    }
}

words! {
    /// What the first replication of a filesystem sends.
    pub enum InitialReplication: "initial_replication" {
        /// The newest snapshot.
        MostRecent = "most_recent",
        /// All snapshots.
        All = "all",
        /// Nothing: it is an error.
        Fail = "fail",
    }
}
