//! The input is what arrives on a data connection. However it is cut, the same messages come out; none is longer than allowed;
//! what is planned for sending has no frame of one byte.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zrepl_proto::chunk::{self, Next};
use zrepl_proto::frame::MAX_SENT_PAYLOAD;
use zrepl_proto::message::{self, Assembly, Event, Kind, MAX_TRAILER_KEPT};
use zrepl_proto::reader::{FrameReader, Piece};

const KINDS: [Kind; 5] = [
    Kind::ReqHeader,
    Kind::ReqStructured,
    Kind::ResHeader,
    Kind::ResStructured,
    Kind::ZfsStream,
];

fuzz_target!(|input: &[u8]| {
    let Some((&[cut, kind], input)) = input.split_first_chunk() else {
        return;
    };
    let kind = KINDS[usize::from(kind) % KINDS.len()];
    let whole = read(input, input.len().max(1), kind);
    assert_eq!(whole, read(input, usize::from(cut) + 1, kind));
    if let Ok(encoded) = message::encode(kind, input) {
        let (said, outcome) = read(&encoded, encoded.len().max(1), kind);
        assert_eq!((said.as_slice(), outcome.as_str()), (input, "end"));
    }
    let text = String::from_utf8_lossy(input);
    let (_, outcome) = read(&message::encode_failure(&text), 7, kind);
    assert!(outcome.starts_with("failed"), "{outcome}");
    plan(input);
});

/// What was said, and how it ended.
fn read(input: &[u8], piece: usize, kind: Kind) -> (Vec<u8>, String) {
    let mut reader = FrameReader::new();
    let mut assembly = Assembly::new(kind);
    let (mut stream, mut collecting, mut streaming) = (Vec::new(), false, false);
    for mut bytes in input.chunks(piece) {
        loop {
            let header = match reader.next(&mut bytes) {
                Ok(None) => break,
                Ok(Some(Piece::Payload(payload))) => {
                    if collecting && let Err(error) = assembly.collect(payload) {
                        return (stream, error.to_string());
                    }
                    if streaming {
                        stream.extend_from_slice(payload);
                    }
                    continue;
                }
                Ok(Some(Piece::Header(header))) => header,
                Err(error) => return (stream, error.to_string()),
            };
            (collecting, streaming) = (false, false);
            match assembly.header(header) {
                Ok(Event::Payload { .. }) => streaming = true,
                Ok(Event::Collect { .. }) => collecting = true,
                Ok(Event::Heartbeat { .. }) => {}
                Ok(Event::Rst { .. }) => return (stream, "rst".to_owned()),
                Ok(Event::Failed { text, .. }) => {
                    assert!(text.len() <= 3 * MAX_TRAILER_KEPT);
                    return (stream, format!("failed: {text}"));
                }
                Ok(Event::End { .. }) => {
                    let body = assembly.into_body().expect("it has ended");
                    assert!(kind.max_received().is_none_or(|limit| body.len() <= limit));
                    let said = if kind == Kind::ZfsStream { stream } else { body };
                    return (said, "end".to_owned());
                }
                Err(error) => return (stream, error.to_string()),
            }
        }
    }
    (stream, format!("{:?}", reader.end()))
}

/// Each byte of the input is an amount that arrives.
fn plan(input: &[u8]) {
    let (mut available, mut total, mut sent) = (0, 0, 0);
    let longest = 3 + usize::from(input.first().copied().unwrap_or(0)) * 7;
    for amount in input {
        available += usize::from(*amount);
        total += usize::from(*amount);
        while let Next::Frame(len) = chunk::next_up_to(longest, available, false) {
            assert!((2..=longest.min(MAX_SENT_PAYLOAD)).contains(&len));
            available -= len;
            sent += len;
        }
    }
    loop {
        match chunk::next_up_to(longest, available, true) {
            Next::Frame(len) => {
                assert!((2..=longest.min(MAX_SENT_PAYLOAD)).contains(&len));
                available -= len;
                sent += len;
            }
            Next::End => return assert_eq!(sent, total),
            Next::LoneByte => return assert_eq!(total, 1),
            Next::Wait => panic!("there is nothing to wait for"),
        }
    }
}
