//! Clients that mean harm. Others go on, and what they make us keep has a limit.

use std::time::Duration;

use prost::Message;
use tokio::time::{sleep, timeout};
use zrepl_proto::pdu::PingReq;

use crate::double::{Double, Host};
use crate::frame::{Frame, data, ping, request, request_block};
use crate::raw::Raw;

fn host() -> Host {
    Host::new(Double::waiting(|_| Box::pin(std::future::pending())))
}

/// Another client is served in the meantime.
async fn others_go_on(host: &Host) {
    let client = host.client();
    client.ping("!", Duration::from_secs(1)).await.unwrap();
}

fn goaway(frames: &[Frame]) -> Option<u32> {
    let goaway = frames.iter().find(|frame| frame.kind == Frame::GOAWAY);
    goaway.map(Frame::code)
}

#[tokio::test(start_paused = true)]
async fn header_bombs_end_their_request_or_their_connection() {
    // a long entry of the dynamic table, and thousands of references to it
    let host = host();
    let mut block = request_block("/Replication/Ping", "application/grpc", b"\x81");
    block.extend(b"\x40\x01a\x7f\x81\x1e");
    block.extend([b'x'; 4000]);
    block.extend([0xbe; 8000]);
    let mut client = Raw::client(&host).await;
    client
        .send(&[
            Frame::new(Frame::HEADERS, Frame::END_HEADERS, 1, &block),
            data(1, b""),
        ])
        .await;
    let frames = client
        .until(|frame| frame.is_last() || frame.kind == Frame::GOAWAY)
        .await;
    assert!(
        frames.iter().all(|frame| frame.kind != Frame::DATA),
        "{frames:?}"
    );
    others_go_on(&host).await;
}

#[tokio::test(start_paused = true)]
async fn headers_without_end_end_the_connection() {
    let host = host();
    let mut client = Raw::client(&host).await;
    let block = request_block("/Replication/Ping", "application/grpc", b"\x81");
    client
        .send(&[Frame::new(Frame::HEADERS, 0, 1, &block)])
        .await;
    let more = Frame::new(Frame::CONTINUATION, 0, 1, b"\x00\x01a\x01b");
    for _ in 0..100_000 {
        if !client.try_send(std::slice::from_ref(&more)).await {
            break;
        }
    }
    client.during(Duration::from_secs(1)).await;
    assert_eq!(host.server.connections(), 0);
    others_go_on(&host).await;
}

#[tokio::test(start_paused = true)]
async fn rapid_resets_end_the_connection() {
    let host = host();
    let mut client = Raw::client(&host).await;
    for stream in (1..20_001).step_by(2) {
        let mut frames = request(stream, "/Replication/ListFilesystems", b"");
        frames.push(Frame::new(Frame::RST_STREAM, 0, stream, &[0, 0, 0, 8]));
        if !client.try_send(&frames).await {
            break;
        }
    }
    let frames = client.during(Duration::from_secs(1)).await;
    assert_eq!(goaway(&frames), Some(0xb), "ENHANCE_YOUR_CALM");
    assert_eq!(host.server.connections(), 0);
    others_go_on(&host).await;
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_streams_are_not_ten_thousand_requests() {
    let host = host();
    let mut client = Raw::client(&host).await;
    for stream in (1..20_001).step_by(2) {
        let frames = request(stream, "/Replication/ListFilesystems", b"");
        if !client.try_send(&frames).await {
            break;
        }
    }
    let frames = client.during(Duration::from_secs(1)).await;
    let refused = frames
        .iter()
        .filter(|frame| frame.kind == Frame::RST_STREAM);
    assert!(refused.count() > 0 || goaway(&frames).is_some_and(|code| code != 0));
    others_go_on(&host).await;
}

#[tokio::test(start_paused = true)]
async fn messages_over_the_limit_are_refused_by_their_length_alone() {
    let host = host();
    let mut client = Raw::client(&host).await;
    let block = request_block("/Replication/Ping", "application/grpc", b"\x81");
    client
        .send(&[
            Frame::new(Frame::HEADERS, Frame::END_HEADERS, 1, &block),
            Frame::new(Frame::DATA, 0, 1, b"\0\x00\x40\x00\x01"),
        ])
        .await;
    let answer = timeout(
        Duration::from_secs(1),
        client.until(|frame| frame.stream == 1 && frame.is_last()),
    );
    answer.await.expect("answer without the message");
    client.send(&ping(3)).await;
    client
        .until(|frame| frame.stream == 3 && frame.is_last())
        .await;
    others_go_on(&host).await;
}

#[tokio::test(start_paused = true)]
async fn messages_are_read_a_few_at_a_time() {
    let host = host();
    let mut client = Raw::client(&host).await;
    let block = request_block("/Replication/Ping", "application/grpc", b"\x81");
    for stream in (1..17).step_by(2) {
        // four MiB announced, and nothing of them
        let headers = Frame::new(Frame::HEADERS, Frame::END_HEADERS, stream, &block);
        let start = Frame::new(Frame::DATA, 0, stream, b"\0\x00\x40\x00\x00");
        client.send(&[headers, start]).await;
    }
    client.send(&ping(17)).await;
    let frames = client.during(Duration::from_secs(60)).await;
    assert!(frames.iter().all(|frame| frame.stream == 0), "{frames:?}");
    others_go_on(&host).await;
    let reset = Frame::new(Frame::RST_STREAM, 0, 1, &[0, 0, 0, 8]);
    client.send(&[reset]).await;
    let frames = client.until(|frame| frame.stream == 17).await;
    assert!(
        frames
            .last()
            .is_some_and(|frame| frame.kind == Frame::HEADERS)
    );
}

#[tokio::test(start_paused = true)]
async fn handlers_that_take_long_do_not_keep_others_from_being_read() {
    let host = host();
    let mut client = Raw::client(&host).await;
    for stream in (1..201).step_by(2) {
        let frames = request(stream, "/Replication/ListFilesystems", b"");
        client.send(&frames).await;
    }
    client.send(&ping(201)).await;
    let answer = client.until(|frame| frame.stream == 201);
    let frames = timeout(Duration::from_secs(60), answer).await.unwrap();
    assert!(
        frames
            .last()
            .is_some_and(|frame| frame.kind == Frame::HEADERS)
    );
}

#[tokio::test(start_paused = true)]
async fn broken_protobuf_fails_its_request_alone() {
    let host = host();
    let mut client = Raw::client(&host).await;
    client
        .send(&request(1, "/Replication/Ping", b"\xff\xff\xff"))
        .await;
    client
        .until(|frame| frame.stream == 1 && frame.is_last())
        .await;
    let message = PingReq {
        message: "x".repeat(9),
    }
    .encode_to_vec();
    client
        .send(&request(3, "/Replication/Ping", &message))
        .await;
    let frames = client
        .until(|frame| frame.stream == 3 && frame.is_last())
        .await;
    assert!(frames.iter().any(|frame| frame.kind == Frame::DATA));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_http2_ends_the_connection() {
    let host = host();
    let mut client = Raw::client(&host).await;
    client.send_bytes(&[0xff; 4096]).await;
    client.during(Duration::from_secs(1)).await;
    assert_eq!(host.server.connections(), 0);
    others_go_on(&host).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_nothing_is_given_up() {
    let host = host();
    let mut client = Raw::client(&host).await;
    client.is_alive = false;
    client.send(&ping(1)).await;
    sleep(Duration::from_secs(30)).await;
    assert_eq!(host.server.connections(), 0);
}
