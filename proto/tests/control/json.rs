//! Messages as the index of the recordings shows them: names of the schema, defaults left out.

use prost::Message;
use serde_json::{Map, Value, json};
use zrepl_proto::pdu::{self, Check, CursorResult, PduError};

/// Reads a message of this kind and shows it.
pub(crate) fn read(kind: &str, bytes: &[u8]) -> Value {
    fn decode<M: Message + Default>(bytes: &[u8], show: fn(&M) -> Value) -> Value {
        show(&M::decode(bytes).expect("recorded message"))
    }
    match kind {
        "PingReq" => decode(bytes, |m: &pdu::PingReq| {
            object([("Message", json!(m.message))])
        }),
        "PingRes" => decode(bytes, |m: &pdu::PingRes| object([("Echo", json!(m.echo))])),
        "ListFilesystemReq" => decode(bytes, |_: &pdu::ListFilesystemReq| object([])),
        "ListFilesystemRes" => decode(bytes, |m: &pdu::ListFilesystemRes| {
            object([("Filesystems", list(&m.filesystems, filesystem))])
        }),
        "ListFilesystemVersionsReq" => decode(bytes, |m: &pdu::ListFilesystemVersionsReq| {
            object([("Filesystem", json!(m.filesystem))])
        }),
        "ListFilesystemVersionsRes" => decode(bytes, |m: &pdu::ListFilesystemVersionsRes| {
            object([("Versions", list(&m.versions, version))])
        }),
        "DestroySnapshotsReq" => decode(bytes, |m: &pdu::DestroySnapshotsReq| {
            object([
                ("Filesystem", json!(m.filesystem)),
                ("Snapshots", list(&m.snapshots, version)),
            ])
        }),
        "DestroySnapshotsRes" => decode(bytes, |m: &pdu::DestroySnapshotsRes| {
            object([("Results", list(&m.results, destroyed))])
        }),
        "ReplicationCursorReq" => decode(bytes, |m: &pdu::ReplicationCursorReq| {
            object([("Filesystem", json!(m.filesystem))])
        }),
        "ReplicationCursorRes" => decode(bytes, |m: &pdu::ReplicationCursorRes| match m.result {
            Some(CursorResult::Guid(guid)) => json!({ "Guid": guid }),
            Some(CursorResult::Notexist(notexist)) => json!({ "Notexist": notexist }),
            None => object([]),
        }),
        "SendReq" => decode(bytes, send),
        "SendRes" => decode(bytes, |m: &pdu::SendRes| {
            object([
                ("UsedResumeToken", json!(m.used_resume_token)),
                ("ExpectedSize", json!(m.expected_size)),
            ])
        }),
        "SendCompletedReq" => decode(bytes, |m: &pdu::SendCompletedReq| {
            object([("OriginalReq", optional(m.original_req.as_ref(), send))])
        }),
        "SendCompletedRes" => decode(bytes, |_: &pdu::SendCompletedRes| object([])),
        _ => panic!("unknown message {kind}"),
    }
}

/// Reads a message of this kind, writes and checks it.
pub(crate) fn rewrite(kind: &str, bytes: &[u8]) -> (Vec<u8>, Result<(), PduError>) {
    fn both<M: Check + Default>(bytes: &[u8]) -> (Vec<u8>, Result<(), PduError>) {
        let message = M::decode(bytes).expect("recorded message");
        (message.encode_to_vec(), message.check())
    }
    match kind {
        "PingReq" => both::<pdu::PingReq>(bytes),
        "PingRes" => both::<pdu::PingRes>(bytes),
        "ListFilesystemReq" => both::<pdu::ListFilesystemReq>(bytes),
        "ListFilesystemRes" => both::<pdu::ListFilesystemRes>(bytes),
        "ListFilesystemVersionsReq" => both::<pdu::ListFilesystemVersionsReq>(bytes),
        "ListFilesystemVersionsRes" => both::<pdu::ListFilesystemVersionsRes>(bytes),
        "DestroySnapshotsReq" => both::<pdu::DestroySnapshotsReq>(bytes),
        "DestroySnapshotsRes" => both::<pdu::DestroySnapshotsRes>(bytes),
        "ReplicationCursorReq" => both::<pdu::ReplicationCursorReq>(bytes),
        "ReplicationCursorRes" => both::<pdu::ReplicationCursorRes>(bytes),
        "SendReq" => both::<pdu::SendReq>(bytes),
        "SendRes" => both::<pdu::SendRes>(bytes),
        "SendCompletedReq" => both::<pdu::SendCompletedReq>(bytes),
        "SendCompletedRes" => both::<pdu::SendCompletedRes>(bytes),
        _ => panic!("unknown message {kind}"),
    }
}

/// Leaves out what has its default. An empty message is not one.
fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    let is_default = |value: &Value| {
        *value == Value::Null
            || *value == false
            || *value == 0
            || *value == ""
            || *value == json!([])
    };
    let fields = fields.into_iter().filter(|(_, value)| !is_default(value));
    Value::Object(
        fields
            .map(|(name, value)| (name.to_owned(), value))
            .collect::<Map<_, _>>(),
    )
}

fn list<M>(messages: &[M], show: fn(&M) -> Value) -> Value {
    messages.iter().map(show).collect()
}

fn optional<M>(message: Option<&M>, show: fn(&M) -> Value) -> Value {
    message.map_or(Value::Null, show)
}

fn filesystem(m: &pdu::Filesystem) -> Value {
    object([
        ("Path", json!(m.path)),
        ("ResumeToken", json!(m.resume_token)),
        ("IsPlaceholder", json!(m.is_placeholder)),
    ])
}

fn version(m: &pdu::FilesystemVersion) -> Value {
    object([
        ("Type", json!(m.r#type)),
        ("Name", json!(m.name)),
        ("Guid", json!(m.guid)),
        ("CreateTXG", json!(m.create_txg)),
        ("Creation", json!(m.creation)),
    ])
}

fn destroyed(m: &pdu::DestroySnapshotRes) -> Value {
    object([
        ("Snapshot", optional(m.snapshot.as_ref(), version)),
        ("Error", json!(m.error)),
    ])
}

fn send(m: &pdu::SendReq) -> Value {
    object([
        ("Filesystem", json!(m.filesystem)),
        ("From", optional(m.from.as_ref(), version)),
        ("To", optional(m.to.as_ref(), version)),
        ("ResumeToken", json!(m.resume_token)),
        (
            "ReplicationConfig",
            optional(m.replication_config.as_ref(), config),
        ),
    ])
}

fn config(m: &pdu::ReplicationConfig) -> Value {
    let protection = m.protection.map_or(Value::Null, |protection| {
        object([
            ("Initial", json!(protection.initial)),
            ("Incremental", json!(protection.incremental)),
        ])
    });
    object([("protection", protection)])
}
