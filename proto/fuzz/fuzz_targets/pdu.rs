//! The input is a protobuf message. What decodes can be checked and encoded, and is then the same message.
#![no_main]

use libfuzzer_sys::fuzz_target;
use prost::Message;
use zrepl_proto::pdu::{
    Check, DestroySnapshotsReq, DestroySnapshotsRes, ListFilesystemRes, ListFilesystemVersionsReq,
    ListFilesystemVersionsRes, PingReq, Protection, ReceiveReq, ReplicationCursorRes,
    SendCompletedReq, SendReq, SendRes, fits_go_peer,
};

fuzz_target!(|input: &[u8]| {
    let Some((&kind, input)) = input.split_first() else {
        return;
    };
    match kind % 10 {
        0 => same::<PingReq>(input),
        1 => same::<ListFilesystemRes>(input),
        2 => same::<ListFilesystemVersionsReq>(input),
        3 => same::<DestroySnapshotsReq>(input),
        4 => same::<DestroySnapshotsRes>(input),
        5 => same::<SendRes>(input),
        6 => same::<SendCompletedReq>(input),
        7 => {
            same::<ReplicationCursorRes>(input);
            if let Ok(answer) = ReplicationCursorRes::decode(input) {
                let _ = answer.cursor();
            }
        }
        8 => {
            same::<ListFilesystemVersionsRes>(input);
            for version in ListFilesystemVersionsRes::decode(input)
                .unwrap_or_default()
                .versions
            {
                let _ = (version.version_type(), version.created());
            }
        }
        _ => {
            same::<SendReq>(input);
            same::<ReceiveReq>(input);
            if let Ok(request) = SendReq::decode(input)
                && let Some(config) = request.replication_config
            {
                let _ = Protection::try_from(&config);
            }
        }
    }
});

fn same<T: Check + Default + PartialEq + std::fmt::Debug>(input: &[u8]) {
    let Ok(message) = T::decode(input) else {
        return;
    };
    let _ = message.check();
    let encoded = message.encode_to_vec();
    assert!(fits_go_peer(&message) || encoded.len() > 4 << 20);
    assert_eq!(T::decode(&*encoded).expect("our own"), message);
}
