//! What the tests of this part of the house share: versions, random histories, and a receiver that takes steps as ZFS does.

use proptest::prelude::*;
use zfs_safe::begin_record::ByteOrder;
use zfs_safe::guid::Guid;
use zfs_safe::resume_token::ResumeToken;
use zfs_safe::version::Txg;
use zrepl_proto::pdu::{Creation, VersionType};

use super::step::Step;
use super::version::Version;

pub(super) fn snapshot(name: &str, guid: u64, txg: u64) -> Version {
    version(VersionType::Snapshot, name, guid, txg)
}

pub(super) fn bookmark(name: &str, guid: u64, txg: u64) -> Version {
    version(VersionType::Bookmark, name, guid, txg)
}

/// Created that many seconds into 2024 as the txg says.
fn version(kind: VersionType, name: &str, guid: u64, txg: u64) -> Version {
    let at = jiff::Timestamp::from_second(1_704_067_200 + i64::try_from(txg).expect("small"));
    let creation: Creation = at.expect("a time").to_string().parse().expect("RFC 3339");
    Version::new(kind, name, Guid::new(guid), Txg::new(txg), creation).expect(name)
}

/// What the receiver has of one filesystem.
#[derive(Clone, Debug, Default)]
pub(super) struct ReceiverModel {
    /// Guids of its snapshots, oldest first.
    pub(super) snapshots: Vec<Guid>,
}

impl ReceiverModel {
    /// Takes a stream without rolling back or destroying anything, or says why ZFS would not.
    pub(super) fn receive(&mut self, step: &Step) -> Result<(), String> {
        let newest = self.snapshots.last().copied();
        match (&step.from, newest) {
            (None, None) => {}
            (None, Some(_)) => return Err(format!("{} in full: filesystem exists", step.to)),
            (Some(from), newest) if newest == Some(from.guid()) => {}
            (Some(from), newest) => {
                return Err(format!("{} from {from}: newest is {newest:?}", step.to));
            }
        }
        if self.snapshots.contains(&step.to.guid()) {
            return Err(format!("{} exists", step.to));
        }
        self.snapshots.push(step.to.guid());
        Ok(())
    }
}

/// Both sides of a filesystem as pools could list them: names say nothing, txgs differ, anything may have been destroyed.
#[derive(Clone, Debug)]
pub(super) struct TwoSides {
    pub(super) sender: Vec<Version>,
    pub(super) receiver: Vec<Version>,
}

pub(super) fn two_sides() -> impl Strategy<Value = TwoSides> {
    // For each moment of the sender's history: is there a snapshot, are there bookmarks of it, does the receiver have it?
    let moments = prop::collection::vec((any::<bool>(), 0..3u8, any::<bool>()), 0..8);
    let foreign = prop_oneof![4 => Just(0), 1 => 1..3u64];
    (moments, foreign, 0..100u64, any::<u64>()).prop_map(|(moments, foreign, offset, turn)| {
        let mut sender = Vec::new();
        let mut receiver = Vec::new();
        for (number, (has_snapshot, bookmarks, received)) in (1..).zip(moments) {
            if has_snapshot {
                sender.push(snapshot(&name(number, turn), number, number * 10));
            }
            for mark in 0..bookmarks {
                sender.push(bookmark(&format!("m{number}_{mark}"), number, number * 10));
            }
            if received {
                let name = name(number, turn.rotate_left(8));
                receiver.push(snapshot(&name, number, offset + number));
            }
        }
        for number in 0..foreign {
            let guid = 1000 + number;
            receiver.push(snapshot(&name(guid, turn), guid, offset + 100 + number));
        }
        receiver.push(bookmark("r", 1, offset + 1));
        rotate(&mut sender, turn);
        rotate(&mut receiver, turn);
        TwoSides { sender, receiver }
    })
}

/// Few names for many snapshots, so that they coincide by chance on both sides.
fn name(number: u64, turn: u64) -> String {
    format!("n{}", number.wrapping_mul(turn | 1) % 5)
}

fn rotate(versions: &mut [Version], turn: u64) {
    if !versions.is_empty() {
        let by = usize::try_from(turn % versions.len() as u64).expect("small");
        versions.rotate_left(by);
    }
}

/// Listings that no pool gives: guids and txgs repeat and contradict each other.
pub(super) fn nonsense() -> impl Strategy<Value = Vec<Version>> {
    let any_version = (any::<bool>(), 0..6u64, 0..6u64, "[ab]{1,2}").prop_map(
        |(is_snapshot, guid, txg, name)| {
            if is_snapshot {
                snapshot(&name, guid, txg)
            } else {
                bookmark(&name, guid, txg)
            }
        },
    );
    prop::collection::vec(any_version, 0..8)
}

/// A token of an interrupted receive of the snapshot `s…` with the guid `to`.
pub(super) fn token(filesystem: &str, from: Option<u64>, to: u64) -> String {
    token_with(filesystem, from, to, false)
}

/// The same, of a stream that may be raw.
pub(super) fn token_with(filesystem: &str, from: Option<u64>, to: u64, raw: bool) -> String {
    let token = ResumeToken {
        to_guid: Guid::new(to),
        from_guid: from.map(Guid::new),
        object: 1,
        offset: 0,
        bytes: 4096,
        to_name: format!("{filesystem}@s{to}"),
        large_block: false,
        embed: false,
        compress: raw,
        raw,
        saved: false,
        redact_snaps: None,
        book_redact_snaps: None,
        text: String::new(),
    };
    token.encode(ByteOrder::Little).expect("no NUL")
}
