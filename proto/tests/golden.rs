//! Exchanges whose bytes are known from the description of the wire protocol, in full. Our encoders have to make them, and
//! our decoders have to take them apart again.

use zrepl_proto::frame::RST;
use zrepl_proto::label::Label;
use zrepl_proto::message::{self, Assembly, Event, Kind};
use zrepl_proto::reader::{FrameReader, Piece};
use zrepl_proto::response::{Endpoint, ResponseHeader};

/// `To`: snapshot `s1`, guid 1234567890123456789, txg 7, of 2024-01-02T03:04:05Z.
const TO: &str = "12027331 189582a6efc79e849111 2007 2a14323032342d30312d30325430333a30343a30355a";

fn unhex(hex: &str) -> Vec<u8> {
    let digits: Vec<u32> = hex.chars().filter_map(|c| c.to_digit(16)).collect();
    let byte = |pair: &[u32]| u8::try_from(pair[0] * 16 + pair[1]).expect("two digits");
    digits.chunks_exact(2).map(byte).collect()
}

fn sent(kind: Kind, body: &[u8]) -> Vec<u8> {
    message::encode(kind, body).expect("within the limits")
}

fn request(endpoint: Endpoint, body: &[u8]) -> Vec<u8> {
    let header = sent(Kind::ReqHeader, endpoint.path().as_bytes());
    [header, sent(Kind::ReqStructured, body)].concat()
}

fn response(header: &ResponseHeader) -> Vec<u8> {
    sent(Kind::ResHeader, &header.encode())
}

fn stream(bytes: &[u8]) -> Vec<u8> {
    sent(Kind::ZfsStream, bytes)
}

/// Takes messages of these kinds off the front, up to the first that failed; also gives what is left.
fn read<'a>(mut bytes: &'a [u8], kinds: &[Kind]) -> (Vec<Result<Vec<u8>, String>>, &'a [u8]) {
    let mut messages = Vec::new();
    let mut reader = FrameReader::new();
    for &kind in kinds {
        let mut assembly = Assembly::new(kind);
        let (mut stream, mut collect) = (Vec::new(), false);
        let failure = loop {
            match reader.next(&mut bytes).expect("short frames") {
                Some(Piece::Header(header)) => match assembly.header(header).expect("its frames") {
                    Event::End { .. } => break None,
                    Event::Failed { text, .. } => break Some(text),
                    event => collect = matches!(event, Event::Collect { .. }),
                },
                Some(Piece::Payload(payload)) if collect => {
                    assembly.collect(payload).expect("announced");
                }
                Some(Piece::Payload(payload)) => stream.extend_from_slice(payload),
                None => panic!("{kind:?} has no end"),
            }
        };
        if let Some(text) = failure {
            messages.push(Err(text));
            break;
        }
        let body = assembly.into_body().expect("it has ended");
        messages.push(Ok([body, stream].concat()));
    }
    (messages, bytes)
}

#[test]
fn labels_are_the_golden_bytes() {
    let padded = |hex, zeros| [unhex(hex), vec![0; zeros]].concat();
    let data = padded("7a7265706c5f64617461", 54);
    assert_eq!(Label::Data.encode().as_slice(), data);
    let control = padded("7a7265706c5f636f6e74726f6c", 51);
    assert_eq!(Label::Control.encode().as_slice(), control);
}

#[test]
fn a_send_request_is_the_golden_bytes() {
    let body = unhex(&format!("0a04736c6f77 1a26 {TO} 3206 0a04 0801 1001"));
    assert_eq!(body.len(), 54);
    let golden = format!(
        "00000001 00000008 2f76312f73656e64 00020000 00000000 00000002 00000036
         0a04736c6f77 1a26 {TO} 3206 0a04 0801 1001 00020000 00000000"
    );
    let golden = unhex(&golden);
    assert_eq!(request(Endpoint::Send, &body), golden);
    let (messages, rest) = read(&golden, &[Kind::ReqHeader, Kind::ReqStructured]);
    assert_eq!(messages, [Ok(b"/v1/send".to_vec()), Ok(body)]);
    assert!(rest.is_empty());
}

#[test]
fn a_receive_request_and_its_answer_are_the_golden_bytes() {
    let body = unhex(&format!("0a026f6b 1226 {TO} 1801 2206 0a0408011001"));
    let golden = format!(
        "00000001 00000008 2f76312f72656376 00020000 00000000 00000002 00000036
         0a026f6b 1226 {TO} 1801 2206 0a0408011001 00020000 00000000
         00000005 00000008 4142434445464748 00020000 00000000"
    );
    let golden = unhex(&golden);
    let own = [request(Endpoint::Recv, &body), stream(b"ABCDEFGH")].concat();
    assert_eq!(own, golden);
    let kinds = [Kind::ReqHeader, Kind::ReqStructured, Kind::ZfsStream];
    let (messages, _) = read(&golden, &kinds);
    assert_eq!(
        messages,
        [Ok(b"/v1/recv".to_vec()), Ok(body), Ok(b"ABCDEFGH".to_vec())]
    );

    let golden = unhex(
        "00000003 0000000b 48414e444c4552204f4b0a 00020000 00000000  00020000 00000000  10000000 00000000",
    );
    let ok = response(&ResponseHeader::Ok);
    let own = [ok, sent(Kind::ResStructured, &[]), RST.to_vec()].concat();
    assert_eq!(own, golden);
    let (messages, rest) = read(&golden, &[Kind::ResHeader, Kind::ResStructured]);
    assert_eq!(messages, [Ok(b"HANDLER OK\n".to_vec()), Ok(vec![])]);
    assert_eq!(rest, RST);
}

#[test]
fn a_ping_is_the_golden_bytes() {
    let echo: Vec<u8> = [&[0x0a, 0x24][..], b"0a1b2c3d-1111-2222-3333-444455556666"].concat();
    assert_eq!(echo.len(), 0x26);
    let golden = [
        &unhex("00000001 00000008 2f76312f70696e67 00020000 00000000 00000002 00000026")[..],
        &echo,
        &unhex("00020000 00000000"),
    ];
    assert_eq!(request(Endpoint::Ping, &echo), golden.concat());
    let golden = [
        &unhex("00000003 0000000b 48414e444c4552204f4b0a 00020000 00000000 00000004 00000026")[..],
        &echo,
        &unhex("00020000 00000000"),
    ];
    let own = [
        response(&ResponseHeader::Ok),
        sent(Kind::ResStructured, &echo),
    ]
    .concat();
    assert_eq!(own, golden.concat());
}

#[test]
fn an_answer_with_a_stream_is_the_golden_bytes() {
    let golden = unhex(
        "00000003 0000000b 48414e444c4552204f4b0a 00020000 00000000 00000004 00000002 0801 00020000 00000000
         00000005 0000000b 48454c4c4f53545245414d 00020000 00000000 10000000 00000000",
    );
    let structured = sent(Kind::ResStructured, &[8, 1]);
    let own = [
        response(&ResponseHeader::Ok),
        structured,
        stream(b"HELLOSTREAM"),
        RST.to_vec(),
    ];
    assert_eq!(own.concat(), golden);
    let kinds = [Kind::ResHeader, Kind::ResStructured, Kind::ZfsStream];
    let (messages, rest) = read(&golden, &kinds);
    assert_eq!(messages[1..], [Ok(vec![8, 1]), Ok(b"HELLOSTREAM".to_vec())]);
    assert_eq!(rest, RST);
}

#[test]
fn a_stream_whose_producer_failed_is_the_golden_bytes() {
    let golden = unhex(
        "00000005 00000007 5041525449414c 00010000 00000011 7a66732073656e64206578706c6f646564
         00020000 00000000 10000000 00000000",
    );
    let partial = stream(b"PARTIAL");
    let without_end = &partial[..partial.len() - 8];
    let failure = message::encode_failure("zfs send exploded");
    assert_eq!([without_end, &failure, &RST].concat(), golden);
    let (messages, rest) = read(&golden, &[Kind::ZfsStream]);
    assert_eq!(messages, [Err("zfs send exploded".to_owned())]);
    assert_eq!(rest, RST);
}

#[test]
fn a_handler_error_is_the_golden_bytes() {
    let golden = unhex(
        "00000003 0000001c 48414e444c4552204552524f523a0a 6e6f2073756368207468696e67
         00020000 00000000 10000000 00000000",
    );
    let header = ResponseHeader::HandlerError("no such thing".to_owned());
    assert_eq!([&response(&header)[..], &RST].concat(), golden);
    let (messages, _) = read(&golden, &[Kind::ResHeader]);
    let text = messages[0].as_ref().expect("a message");
    assert_eq!(ResponseHeader::decode(text), Ok(header));
}
