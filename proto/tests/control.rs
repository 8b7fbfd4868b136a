//! Recorded control connections (`tests/control`) against this crate: what Go clients sent reaches a tonic server through
//! the filter and not without it, and every message reads, writes and passes as it was recorded.

#[path = "control/client.rs"]
mod client;
#[path = "control/json.rs"]
mod json;
#[path = "control/recording.rs"]
mod recording;
#[path = "control/server.rs"]
mod server;

use std::collections::BTreeMap;

use zrepl_proto::authority::AuthorityFilter;

use self::recording::{Answer, Recording};
use self::server::{Frame, Request, frames, serve};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn filtered(client: &[u8]) -> Vec<u8> {
    let mut filter = AuthorityFilter::new();
    let mut output = Vec::new();
    // segments as odd as a network makes them
    for segment in client.chunks(7) {
        filter.feed(segment, &mut output);
    }
    filter.finish(&mut output);
    output
}

fn connection(frames: &[Vec<u8>]) -> Vec<u8> {
    let settings = frame(0x4, 0, 0, b"");
    [PREFACE, &settings, &frames.concat()].concat()
}

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).expect("short").to_be_bytes();
    let head = [len[1], len[2], len[3], kind, flags, 0, 0, 0, stream];
    [&head, payload].concat()
}

/// A Ping: its HEADERS with this block, and its message.
fn ping(stream: u8, block: &[u8]) -> [Vec<u8>; 2] {
    [
        frame(0x1, 0x4, stream, block),
        frame(0x0, 0x1, stream, b"\0\0\0\0\x03\x0a\x01!"),
    ]
}

/// `:method` POST, `:scheme` http, `:path` of Ping, `content-type`, `te`; without authority, by literals alone.
const FIELDS: &[u8] =
    b"\x83\x86\x04\x11/Replication/Ping\x0f\x10\x10application/grpc\x00\x02te\x08trailers";

fn block(authority: &[u8]) -> Vec<u8> {
    // pseudo fields come first
    let (pseudo, rest) = FIELDS.split_at(21);
    [pseudo, authority, rest].concat()
}

#[tokio::test]
async fn every_recorded_request_reaches_the_handler() {
    let mut requests = 0;
    for recording in Recording::of_go_clients() {
        let outcome = serve(&filtered(&recording.client)).await;
        let mut expected = recording.requests();
        let mut seen: Vec<(String, Vec<u8>)> = outcome
            .requests
            .iter()
            .map(|request| (request.path.clone(), request.message.clone()))
            .collect();
        expected.sort();
        seen.sort();
        assert_eq!(seen, expected, "{}", recording.name);
        assert!(outcome.requests.iter().all(|r| r.authority.is_none()));
        assert_eq!(outcome.resets(), [], "{}", recording.name);
        assert_eq!(outcome.goaway(), None, "{}", recording.name);
        requests += seen.len();
    }
    assert_eq!(requests, 395);
}

#[tokio::test]
async fn without_the_filter_none_does() {
    for recording in Recording::of_go_clients() {
        let outcome = serve(&recording.client).await;
        assert_eq!(outcome.requests, [], "{}", recording.name);
        let streams = recording.streams();
        assert!(!streams.is_empty(), "{}", recording.name);
        let protocol_error = |stream: &u32| (*stream, 1);
        assert_eq!(
            outcome.resets(),
            streams.iter().map(protocol_error).collect::<Vec<_>>(),
            "{}",
            recording.name
        );
    }
}

#[test]
fn clients_with_an_authority_are_left_alone() {
    for recording in Recording::crafted() {
        assert_eq!(filtered(&recording.client), recording.client);
    }
}

#[tokio::test]
async fn the_authority_of_old_clients_becomes_one() {
    let huffman = b"\x41\x95\x90\xe5\x45\x5f\xe9\x2a\x52\x34\xa4\xb6\x29\x21\xea\x2a\x91\xfa\x52\x43\x0e\x82\xd9";
    for first in [huffman.as_slice(), b"\x41\x1ddoesn't matter done by dialer"] {
        // the second and third request refer to the entry that the first made in the dynamic table
        let client = connection(
            &[
                ping(1, &block(first)),
                ping(3, &block(b"\xbe")),
                ping(5, &block(b"\xbe")),
            ]
            .concat(),
        );
        let request = Request {
            path: "/Replication/Ping".to_owned(),
            authority: Some("doesn't-matter-done-by-dialer".to_owned()),
            message: b"\x0a\x01!".to_vec(),
        };
        let outcome = serve(&filtered(&client)).await;
        assert_eq!(outcome.requests, vec![request; 3]);
        assert_eq!(outcome.resets(), []);
        let outcome = serve(&client).await;
        assert_eq!(outcome.requests, []);
        assert_eq!(outcome.resets(), [(1, 1), (3, 1), (5, 1)]);
    }
}

#[tokio::test]
async fn the_dynamic_table_stays_in_step() {
    // A table of 112 bytes holds the authority (71) and one entry of 41 (`a: 12345678`); the next insertion evicts the
    // authority. If the replacement were longer or shorter, the last two references would mean something else.
    let text = b"\x41\x1ddoesn't matter done by dialer";
    let update = b"\x3f\x51";
    let insert = |value: &[u8; 8]| [b"\x40\x01a\x08".as_slice(), value].concat();
    let first = [update, &block(text)[..], &insert(b"12345678")].concat();
    let second = [&block(b"\xbf")[..], b"\xbe"].concat();
    let third = [&block(b"\xbf")[..], &insert(b"abcdefgh")].concat();
    let fourth = [&block(b"")[..], b"\xbe\xbf"].concat();
    let client = connection(
        &[
            ping(1, &first),
            ping(3, &second),
            ping(5, &third),
            ping(7, &fourth),
        ]
        .concat(),
    );
    let outcome = serve(&filtered(&client)).await;
    assert_eq!(outcome.resets(), []);
    assert_eq!(outcome.goaway(), None);
    let authorities = outcome.requests.iter().map(|r| r.authority.is_some());
    assert_eq!(authorities.collect::<Vec<_>>(), [true, true, true, false]);
}

#[tokio::test]
async fn blocks_in_several_padded_frames_are_corrected() {
    let block = block(b"\x81");
    let (front, back) = block.split_at(22);
    let start = [b"\x03\x00\x00\x00\x00\x10", front, b"\x81\x81\x81"].concat();
    let client = connection(&[
        frame(0x1, 0x8 | 0x20, 1, &start),
        frame(0x9, 0, 1, b""),
        frame(0x9, 0x4, 1, back),
        frame(0x0, 0x1, 1, b"\0\0\0\0\x03\x0a\x01!"),
    ]);
    let outcome = serve(&filtered(&client)).await;
    assert_eq!(outcome.requests.len(), 1);
    assert_eq!(outcome.resets(), []);
    assert_eq!(serve(&client).await.requests, []);
}

#[tokio::test]
async fn integers_may_be_as_long_as_h2_takes_them() {
    let mut longest = 0;
    for more in 0..8 {
        // a table size of 31, with zeros in front
        let update = [b"\x3f".as_slice(), &vec![0x80; more], b"\0"].concat();
        let request = |authority: &[u8]| {
            let block = [&update[..], &block(authority)].concat();
            connection(&ping(1, &block))
        };
        let is_taken = serve(&request(b"")).await.requests.len() == 1;
        assert_eq!(filtered(&request(b"\x81")) == request(b""), is_taken);
        if is_taken {
            longest = update.len();
        }
    }
    assert_eq!(longest, 5);
}

#[tokio::test]
async fn what_the_filter_does_not_understand_is_answered_by_h2() {
    const PROTOCOL_ERROR: u32 = 0x1;
    const FRAME_SIZE_ERROR: u32 = 0x6;
    let unfinished = [&block(b"\x81")[..], b"\x40"].concat();
    let endless = [&block(b"\x81")[..], b"\xff\xff\xff\xff\xff\xff\0"].concat();
    let cases = [
        (vec![frame(0x1, 0x4, 1, &unfinished)], PROTOCOL_ERROR),
        (vec![frame(0x1, 0x4, 1, &endless)], PROTOCOL_ERROR),
        (
            vec![frame(0x1, 0x4, 1, &vec![0x81; 16_385])],
            FRAME_SIZE_ERROR,
        ),
        (vec![frame(0x1, 0x4 | 0x8, 1, &[9, 0x81])], PROTOCOL_ERROR),
        (
            vec![frame(0x1, 0, 1, &block(b"\x81")), frame(0x6, 0, 0, &[0; 8])],
            PROTOCOL_ERROR,
        ),
    ];
    for (frames, error) in cases {
        let client = connection(&frames);
        assert_eq!(filtered(&client), client);
        let outcome = serve(&client).await;
        assert_eq!(outcome.goaway(), Some(error));
        assert_eq!(outcome.requests, []);
    }
}

#[tokio::test]
async fn every_recorded_answer_reaches_a_tonic_client() {
    let (mut messages, mut errors, mut lost) = (0, 0, 0);
    for recording in Recording::all() {
        let streams = recording.streams();
        let results = client::ask(&recording.server, streams.len()).await;
        let answers = recording.answers();
        for (stream, result) in streams.iter().zip(results) {
            match (answers.get(stream), result) {
                (Some(Answer::Message(expected)), Ok(message)) => {
                    assert_eq!(message, *expected, "{}", recording.name);
                    messages += 1;
                }
                (Some(Answer::Error(code, text)), Err(status)) => {
                    assert_eq!(i32::from(status.code()), *code, "{}", recording.name);
                    assert_eq!(status.message(), text, "{}", recording.name);
                    errors += 1;
                }
                // a hand-made request that ended the daemon
                (None, Err(_)) => {
                    lost += 1;
                }
                (expected, result) => {
                    panic!(
                        "{} stream {stream}: {expected:?}, {result:?}",
                        recording.name
                    )
                }
            }
        }
    }
    assert_eq!((messages, errors, lost), (420, 24, 1));
}

#[test]
fn recorded_frames_lose_one_byte_in_each_headers_and_nothing_else() {
    for recording in Recording::of_go_clients() {
        let output = filtered(&recording.client);
        let before = frames(&recording.client[PREFACE.len()..]);
        let after = frames(&output[PREFACE.len()..]);
        assert_eq!(before.len(), after.len());
        for (before, after) in before.iter().zip(&after) {
            if before.kind == Frame::HEADERS {
                assert_eq!(before.payload.len(), after.payload.len() + 1);
            } else {
                assert_eq!(before, after, "{}", recording.name);
            }
        }
    }
}

#[test]
fn recorded_messages_read_as_in_the_index() {
    let mut counts = BTreeMap::new();
    for recording in Recording::all() {
        for message in recording.messages() {
            assert_eq!(
                json::read(&message.kind, &message.bytes),
                message.value,
                "{}: {}",
                recording.name,
                message.kind
            );
            *counts.entry(message.kind).or_insert(0) += 1;
        }
    }
    let counts: Vec<(&str, i32)> = counts.iter().map(|(kind, &n)| (kind.as_str(), n)).collect();
    assert_eq!(
        counts,
        [
            ("DestroySnapshotsReq", 150),
            ("DestroySnapshotsRes", 148),
            ("ListFilesystemReq", 115),
            ("ListFilesystemRes", 113),
            ("ListFilesystemVersionsReq", 98),
            ("ListFilesystemVersionsRes", 93),
            ("PingReq", 7),
            ("PingRes", 5),
            ("ReplicationCursorReq", 31),
            ("ReplicationCursorRes", 29),
            ("SendCompletedReq", 15),
            ("SendCompletedRes", 13),
            ("SendReq", 28),
            ("SendRes", 19),
        ]
    );
}

#[test]
fn recorded_messages_are_written_byte_for_byte() {
    for recording in Recording::all() {
        for message in recording.messages() {
            let (written, _) = json::rewrite(&message.kind, &message.bytes);
            assert_eq!(
                written, message.bytes,
                "{}: {}",
                recording.name, message.kind
            );
        }
    }
}

#[test]
fn what_daemons_sent_to_each_other_passes_the_check() {
    for recording in Recording::of_go_clients() {
        for message in recording.messages() {
            let (_, check) = json::rewrite(&message.kind, &message.bytes);
            assert_eq!(check, Ok(()), "{}: {}", recording.name, message.kind);
        }
    }
}
