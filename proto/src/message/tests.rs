//! Verified facts about messages and streams, each as a test.

use proptest::prelude::*;

use super::*;
use crate::frame::{HEARTBEAT, RST};
use crate::reader::{FrameReader, Piece};

/// What an assembly made of some bytes.
#[derive(Debug, PartialEq)]
enum Outcome {
    /// End, with the message or the bytes of the stream.
    Complete(Vec<u8>),
    Failed(String),
    Rst,
    Unfinished,
    Broken(MessageError),
}
use Outcome::{Broken, Complete, Failed, Unfinished};

/// Reads one message or stream that arrives in pieces of `cut` bytes; also says how many heartbeats there were.
fn assemble_cut(kind: Kind, bytes: &[u8], cut: usize) -> (Outcome, usize) {
    #[derive(Clone, Copy)]
    enum Use {
        Collect,
        Stream,
        Skip,
    }
    let mut reader = FrameReader::new();
    let mut assembly = Assembly::new(kind);
    let (mut stream, mut heartbeats) = (Vec::new(), 0);
    let mut payload_use = Use::Skip;
    for mut input in bytes.chunks(cut) {
        while let Some(piece) = reader.next(&mut input).expect("short frames") {
            let header = match (piece, payload_use) {
                (Piece::Header(header), _) => header,
                (Piece::Payload(bytes), Use::Collect) => {
                    assembly.collect(bytes).expect("announced");
                    continue;
                }
                (Piece::Payload(bytes), Use::Stream) => {
                    stream.extend_from_slice(bytes);
                    continue;
                }
                (Piece::Payload(_), Use::Skip) => continue,
            };
            payload_use = match assembly.header(header) {
                Ok(Event::Payload { .. }) => Use::Stream,
                Ok(Event::Collect { .. }) => Use::Collect,
                Ok(Event::Heartbeat { .. }) => {
                    heartbeats += 1;
                    Use::Skip
                }
                Ok(Event::Rst { .. }) => return (Outcome::Rst, heartbeats),
                Ok(Event::End { .. }) => {
                    assert_eq!(assembly.stream_bytes(), stream.len() as u64);
                    let body = assembly.into_body().expect("the end was read");
                    assert!(body.is_empty() || stream.is_empty());
                    return (Complete([body, stream].concat()), heartbeats);
                }
                Ok(Event::Failed { text, .. }) => {
                    assert_eq!(assembly.into_body(), None);
                    return (Failed(text), heartbeats);
                }
                Err(error) => return (Broken(error), heartbeats),
            };
        }
    }
    (Unfinished, heartbeats)
}

fn assemble(kind: Kind, bytes: &[u8]) -> Outcome {
    assemble_cut(kind, bytes, usize::MAX).0
}

/// A frame of any type and length, also one that cannot be sent.
fn frame(code: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap();
    [&code.to_be_bytes()[..], &len.to_be_bytes(), payload].concat()
}

fn bytes(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

const TRAILER: u32 = 0x1_0000;

const ALL: [Kind; 5] = [
    Kind::ReqHeader,
    Kind::ReqStructured,
    Kind::ResHeader,
    Kind::ResStructured,
    Kind::ZfsStream,
];

#[test]
fn an_empty_message_is_only_an_end() {
    assert_eq!(assemble(Kind::ResStructured, &END), Complete(vec![]));
    assert_eq!(encode(Kind::ResStructured, &[]).unwrap(), END);
}

#[test]
fn frames_are_joined_and_empty_ones_add_nothing() {
    let input = bytes(&[&frame(1, b"/v1"), &frame(1, b""), &frame(1, b"/send"), &END]);
    assert_eq!(
        assemble(Kind::ReqHeader, &input),
        Complete(b"/v1/send".to_vec())
    );
}

#[test]
fn heartbeats_may_stand_inside_a_message_with_or_without_payload() {
    let input = bytes(&[
        &HEARTBEAT,
        &frame(1, b"/v1/"),
        &frame(0x100_0000, b"x"),
        &frame(1, b"send"),
        &HEARTBEAT,
        &END,
    ]);
    let complete = Complete(b"/v1/send".to_vec());
    assert_eq!(assemble_cut(Kind::ReqHeader, &input, 3), (complete, 3));
}

#[test]
fn an_end_with_payload_ends_all_the_same() {
    let input = bytes(&[&frame(2, b"hello"), &frame(0x2_0000, b"xx")]);
    assert_eq!(
        assemble(Kind::ReqStructured, &input),
        Complete(b"hello".to_vec())
    );
    let mut assembly = Assembly::new(Kind::ReqStructured);
    let end = FrameHeader::with_payload(FrameType::End, 2).unwrap();
    assert_eq!(assembly.header(end), Ok(Event::End { skip: 2 }));
}

#[test]
fn one_byte_frames_kill_go_but_not_us() {
    let input = bytes(&[&frame(1, b"/"), &frame(1, b"v1/send"), &END]);
    assert_eq!(
        assemble(Kind::ReqHeader, &input),
        Complete(b"/v1/send".to_vec())
    );
}

#[test]
fn a_trailer_means_failure_and_its_frames_are_joined() {
    let input = bytes(&[
        &frame(5, b"PARTIAL"),
        &frame(TRAILER, b"zfs send exploded"),
        &END,
    ]);
    assert_eq!(
        assemble(Kind::ZfsStream, &input),
        Failed("zfs send exploded".to_owned())
    );
    let input = bytes(&[
        &frame(TRAILER, b"a"),
        &HEARTBEAT,
        &frame(TRAILER, b"\xffb"),
        &END,
    ]);
    assert_eq!(
        assemble(Kind::ZfsStream, &input),
        Failed("a\u{fffd}b".to_owned())
    );
    let input = bytes(&[&frame(TRAILER, b""), &END]);
    assert_eq!(assemble(Kind::ResStructured, &input), Failed(String::new()));
}

#[test]
fn nothing_follows_a_failure() {
    let mut assembly = Assembly::new(Kind::ResHeader);
    let trailer = FrameHeader::empty(FrameType::StreamErrTrailer);
    let end = FrameHeader::empty(FrameType::End);
    assert_eq!(assembly.header(trailer), Ok(Event::Collect { len: 0 }));
    assert!(matches!(assembly.header(end), Ok(Event::Failed { .. })));
    assert_eq!(assembly.header(end), Err(MessageError::Over));
    assert_eq!(assembly.into_body(), None);
}

#[test]
fn a_trailer_is_kept_up_to_64_kib() {
    let mut input = frame(5, b"PARTIAL");
    for _ in 0..3 {
        input.extend(frame(TRAILER, &vec![b'x'; 40_000]));
    }
    input.extend(END);
    assert_eq!(assemble(Kind::ZfsStream, &input), Failed("x".repeat(65536)));
}

#[test]
fn data_after_a_trailer_is_refused() {
    let input = bytes(&[&frame(TRAILER, b"broken"), &frame(5, b"more"), &END]);
    let error = MessageError::UnexpectedType {
        received: FrameType::ZfsStream,
        expected: FrameType::StreamErrTrailer,
    };
    assert_eq!(assemble(Kind::ZfsStream, &input), Broken(error));
}

#[test]
fn other_types_are_refused_by_name() {
    let text = |kind, code| match assemble(kind, &frame(code, b"xx")) {
        Broken(error) => error.to_string(),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        text(Kind::ReqHeader, 2),
        "unexpected frame type ReqStructured (0x00000002), expected ReqHeader (0x00000001)"
    );
    assert_eq!(
        text(Kind::ZfsStream, 0x0070_0006),
        "unexpected frame type 0x00700006, expected ZfsStream (0x00000005)"
    );
    for code in [0x0200_0000, 0x2000_0000, 0x1100_0000, 0x0100_0001] {
        assert!(
            text(Kind::ReqHeader, code).starts_with("unknown frame type 0x"),
            "{code:#x}"
        );
    }
}

#[test]
fn rst_shuts_down_wherever_it_stands() {
    for before in [vec![], frame(5, b"PARTIAL"), frame(TRAILER, b"why")] {
        let input = bytes(&[&before, &RST, &END]);
        assert_eq!(assemble(Kind::ZfsStream, &input), Outcome::Rst);
    }
    let mut assembly = Assembly::new(Kind::ZfsStream);
    let rst = FrameHeader::empty(FrameType::Rst);
    assert_eq!(assembly.header(rst), Ok(Event::Rst { skip: 0 }));
    for _ in 0..2 {
        let error = assembly
            .header(FrameHeader::empty(FrameType::End))
            .unwrap_err();
        assert_eq!(error.to_string(), "frameconn: shutting down");
    }
    assert_eq!(assembly.into_body(), None);
}

#[test]
fn exactly_the_limit_is_accepted_and_one_byte_more_refused_before_it_arrives() {
    let limits = [
        (Kind::ReqHeader, 32768),
        (Kind::ReqStructured, 4_194_304),
        (Kind::ResHeader, 1_048_576),
        (Kind::ResStructured, 8_388_608),
    ];
    for (kind, limit) in limits {
        assert_eq!(kind.max_received(), Some(limit));
        let mut assembly = Assembly::new(kind);
        let code = kind.frame_type().code().to_be_bytes();
        let announce = |len: usize| {
            let len = u32::try_from(len).unwrap().to_be_bytes();
            FrameHeader::decode([
                code[0], code[1], code[2], code[3], len[0], len[1], len[2], len[3],
            ])
            .unwrap()
        };
        assert!(assembly.header(announce(limit - 3)).is_ok());
        assembly.collect(&vec![0; limit - 3]).unwrap();
        let mut longer = assembly.clone();
        assert!(assembly.header(announce(3)).is_ok());
        let len = limit + 1;
        assert_eq!(
            longer.header(announce(4)),
            Err(MessageError::TooLong { kind, len, limit })
        );
    }
    assert_eq!(Kind::ZfsStream.max_received(), None);
}

#[test]
fn messages_are_sent_within_the_limits_of_go() {
    for (kind, limit) in [
        (Kind::ReqHeader, 32768),
        (Kind::ResHeader, 32768),
        (Kind::ReqStructured, 4_194_304),
    ] {
        assert!(encode(kind, &vec![b'x'; limit]).is_ok());
        assert_eq!(
            encode(kind, &vec![b'x'; limit + 1]),
            Err(UnsendableMessage {
                kind,
                len: limit + 1,
                limit
            })
        );
    }
    assert_eq!(Kind::ResStructured.max_sent(), Some(8_388_608));
}

#[test]
fn a_message_of_one_byte_cannot_be_sent() {
    let error = encode(Kind::ReqStructured, b"x").unwrap_err();
    assert_eq!(
        error.to_string(),
        "ReqStructured of 1 bytes cannot be sent, allowed are 0 and 2 to 4194304 bytes"
    );
}

#[test]
fn failures_are_never_empty_nor_one_byte() {
    let read = |text| assemble(Kind::ZfsStream, &encode_failure(text));
    assert_eq!(read(""), Failed("unspecified error".to_owned()));
    assert_eq!(read("x"), Failed("x ".to_owned()));
    assert_eq!(read("no"), Failed("no".to_owned()));
    let golden = b"\0\x01\0\0\0\0\0\x11zfs send exploded\0\x02\0\0\0\0\0\0";
    assert_eq!(encode_failure("zfs send exploded"), golden);
}

#[test]
fn misuse_is_an_error_and_not_a_panic() {
    let mut assembly = Assembly::new(Kind::ReqHeader);
    let part = FrameHeader::with_payload(FrameType::ReqHeader, 8).unwrap();
    assembly.header(part).unwrap();
    assembly.collect(b"/v1").unwrap();
    let mut early = assembly.clone();
    assert_eq!(early.header(part), Err(MessageError::PayloadMismatch(5)));
    assert_eq!(early.header(part), Err(MessageError::Over));
    assert_eq!(
        assembly.collect(b"/send!"),
        Err(MessageError::PayloadMismatch(5))
    );
    assert_eq!(assembly.into_body(), None);
    let mut ended = Assembly::new(Kind::ReqHeader);
    ended.header(FrameHeader::empty(FrameType::End)).unwrap();
    assert_eq!(ended.header(part), Err(MessageError::Over));
}

proptest! {
    #[test]
    fn no_frames_upset_it(
        kind in prop::sample::select(vec![Kind::ReqHeader, Kind::ResStructured, Kind::ZfsStream]),
        frames in prop::collection::vec((
            prop_oneof![prop::sample::select(FrameType::KNOWN.map(FrameType::code).to_vec()), any::<u32>()],
            prop::collection::vec(any::<u8>(), 0..10),
        ), 0..12),
        cut in 1_usize..30,
    ) {
        let input: Vec<u8> = frames.iter().flat_map(|(code, payload)| frame(*code, payload)).collect();
        prop_assert_eq!(assemble_cut(kind, &input, cut).0, assemble(kind, &input));
    }

    #[test]
    fn what_is_sent_is_read(
        kind in prop::sample::select(ALL.to_vec()),
        body in prop::collection::vec(any::<u8>(), 0..40),
        repeat in prop_oneof![Just(1_usize), Just(600)],
        cut in 1_usize..5000,
    ) {
        let body = body.repeat(repeat);
        match encode(kind, &body) {
            Ok(sent) => prop_assert_eq!(assemble_cut(kind, &sent, cut).0, Complete(body)),
            Err(error) => prop_assert_eq!(error.len, 1),
        }
    }

    #[test]
    fn failure_texts_are_read(text in "\\PC{2,30}", cut in 1_usize..9) {
        prop_assert_eq!(assemble_cut(Kind::ZfsStream, &encode_failure(&text), cut).0, Failed(text));
    }
}
