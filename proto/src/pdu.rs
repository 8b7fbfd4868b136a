//! Messages of the control connection, and of requests on data connections: generated from `pdu.proto`, with the checks
//! that protobuf does not make. Bytes flow in and out through prost; which promises a message keeps is told here.
//!
//! - Before sending: [`Check::check`] refuses what would end a Go daemon, which does not survive a panic in a handler, and
//!   what no peer can act on.
//! - After receiving: [`FilesystemVersion::version_type`], [`FilesystemVersion::created`], [`Protection::try_from`] and
//!   [`ReplicationCursorRes::cursor`] read the fields for which the generated accessors would put a default.
//!
//! Wire constants of zrepl 0.7.0 (`internal/replication/logic/pdu`); the schema is the source of names and numbers.

mod check;
mod creation;
mod guarantee;
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    clippy::clone_on_ref_ptr,
    reason = "generated code; what it triggers depends on the version of the generator"
)]
mod generated {
    tonic::include_proto!("_");
}

pub use self::check::{Check, PduError};
pub use self::creation::{Creation, CreationError};
pub use self::generated::filesystem_version::VersionType;
pub use self::generated::replication_cursor_res::Result as CursorResult;
pub use self::generated::{
    DestroySnapshotRes, DestroySnapshotsReq, DestroySnapshotsRes, Filesystem, FilesystemVersion,
    ListFilesystemReq, ListFilesystemRes, ListFilesystemVersionsReq, ListFilesystemVersionsRes,
    PingReq, PingRes, Property, ReceiveReq, ReceiveRes, ReplicationConfig,
    ReplicationConfigProtection, ReplicationCursorReq, ReplicationCursorRes,
    ReplicationGuaranteeKind, SendCompletedReq, SendCompletedRes, SendReq, SendRes,
    replication_client, replication_server,
};
pub use self::guarantee::{GuaranteeError, GuaranteeKind, Protection};

/// The longest message that a Go peer receives: grpc-go's default, which zrepl also applies to requests on data
/// connections. Lists of some 45 000 versions exceed it.
pub const MAX_GO_MESSAGE_LEN: usize = 4 << 20;

/// Whether a Go peer takes a message of this length. It answers longer ones with RESOURCE_EXHAUSTED.
pub fn fits_go_peer(message: &impl prost::Message) -> bool {
    message.encoded_len() <= MAX_GO_MESSAGE_LEN
}

impl FilesystemVersion {
    /// A snapshot. The name is without filesystem and `@`.
    pub fn snapshot(
        name: impl Into<String>,
        guid: u64,
        create_txg: u64,
        creation: Creation,
    ) -> Self {
        Self::new(
            VersionType::Snapshot,
            name.into(),
            guid,
            create_txg,
            creation,
        )
    }

    /// A bookmark. The name is without filesystem and `#`.
    pub fn bookmark(
        name: impl Into<String>,
        guid: u64,
        create_txg: u64,
        creation: Creation,
    ) -> Self {
        Self::new(
            VersionType::Bookmark,
            name.into(),
            guid,
            create_txg,
            creation,
        )
    }

    fn new(
        kind: VersionType,
        name: String,
        guid: u64,
        create_txg: u64,
        creation: Creation,
    ) -> Self {
        Self {
            r#type: kind.into(),
            name,
            guid,
            create_txg,
            creation: creation.into(),
        }
    }

    /// Whether this is a snapshot or a bookmark. The generated `type()` takes unknown numbers for snapshots.
    pub fn version_type(&self) -> Result<VersionType, PduError> {
        VersionType::try_from(self.r#type).map_err(|_| PduError::VersionType(self.r#type))
    }

    /// The time of creation, if it is one.
    pub fn created(&self) -> Result<Creation, CreationError> {
        self.creation.parse()
    }
}

impl SendCompletedReq {
    /// Tells that the step of this request has arrived.
    pub fn new(original_req: SendReq) -> Self {
        Self {
            original_req: Some(original_req),
        }
    }
}

impl DestroySnapshotRes {
    /// The snapshot is destroyed.
    pub fn destroyed(snapshot: FilesystemVersion) -> Self {
        Self {
            snapshot: Some(snapshot),
            error: String::new(),
        }
    }

    /// The snapshot is still there. An error without text gets one, because an empty text says that all went well.
    pub fn failed(snapshot: FilesystemVersion, error: impl Into<String>) -> Self {
        let mut error = error.into();
        if error.is_empty() {
            error.push_str("unknown error");
        }
        Self {
            snapshot: Some(snapshot),
            error,
        }
    }
}

impl ReplicationCursorRes {
    /// The answer of a sender that has a cursor, or has none.
    pub fn new(cursor: Option<u64>) -> Self {
        Self {
            result: Some(cursor.map_or(CursorResult::Notexist(true), CursorResult::Guid)),
        }
    }

    /// The guid of the cursor; `None` if the sender has none.
    ///
    /// No zrepl leaves the result out or says that "does not exist" is false. zrepl reads both as guid 0; here they are
    /// errors, so that nobody prunes by them.
    pub fn cursor(&self) -> Result<Option<u64>, PduError> {
        match self.result {
            Some(CursorResult::Guid(guid)) => Ok(Some(guid)),
            Some(CursorResult::Notexist(true)) => Ok(None),
            Some(CursorResult::Notexist(false)) | None => Err(PduError::Missing {
                message: "ReplicationCursorRes",
                field: "Result",
            }),
        }
    }
}

impl From<PingReq> for PingRes {
    fn from(request: PingReq) -> Self {
        Self {
            echo: request.message,
        }
    }
}

/// The beginning of a text for an error message: a peer may send megabytes.
fn excerpt(text: &str) -> String {
    const MAX_CHARS: usize = 64;
    let mut short = text.chars().take(MAX_CHARS).collect::<String>();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests;
