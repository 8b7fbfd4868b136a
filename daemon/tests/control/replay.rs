//! Recordings of Go against both of our sides.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use zrepl_daemon::endpoint::EndpointError;
use zrepl_daemon::rpc::control::client::ControlClient;
use zrepl_daemon::rpc::handshake::Settings;

use crate::ask::ask;
use crate::double::{Double, Host, Network};
use crate::frame::{Frame, PREFACE, encode, split};
use crate::raw::{Raw, greeting};
use crate::recording::{Asked, Recording, crafted, of_go_clients};

/// Answers as recorded; equal questions in the order of their answers.
fn endpoint(recording: &Recording) -> Double {
    let mut answers: BTreeMap<Asked, VecDeque<Result<Vec<u8>, String>>> = BTreeMap::new();
    for (stream, asked) in &recording.requests {
        let answer = match recording.answers.get(stream) {
            Some(Ok(answer)) => Ok(answer.clone()),
            Some(Err((_, text))) => Err(text.clone()),
            // Go's daemon ended
            None => Err("panic".to_owned()),
        };
        answers.entry(asked.clone()).or_default().push_back(answer);
    }
    let answers = Mutex::new(answers);
    Double::new(move |asked| {
        let mut answers = answers.lock().unwrap();
        let queue = answers.get_mut(&asked).expect("recorded question");
        queue
            .pop_front()
            .expect("as many as recorded")
            .map_err(EndpointError::Failed)
    })
}

/// What our server sends to this client. Each request waits until the one before is answered.
async fn replay_to_server(recording: &Recording) -> Vec<Frame> {
    let host = Host::new(endpoint(recording));
    let (near, far) = tokio::io::duplex(1 << 20);
    let mut client = Raw::new(near.into());
    client.send_bytes(&greeting()).await;
    host.greet(far).await;
    let mut banner = [0; 67];
    client.wire.reader.read_exact(&mut banner).await.unwrap();
    client.send_bytes(PREFACE).await;
    let mut received = Vec::new();
    for frame in &recording.client {
        // The farewell comes without being waited for, and SETTINGS are confirmed by the scripted peer.
        if [Frame::GOAWAY, Frame::RST_STREAM].contains(&frame.kind) || is_ack(frame) {
            continue;
        }
        client.send(std::slice::from_ref(frame)).await;
        if frame.is_last() && frame.stream > 0 {
            let stream = frame.stream;
            let answer = client
                .until(|frame| frame.stream == stream && frame.is_last())
                .await;
            received.extend(answer);
        }
    }
    received
}

fn is_ack(frame: &Frame) -> bool {
    frame.kind == Frame::SETTINGS && frame.flags == Frame::ACK
}

/// What our client makes of these frames of a server, by stream. They are sent when all requests are there.
async fn replay_to_client(
    recording: &Recording,
    server: &[Frame],
) -> Vec<Result<Vec<u8>, EndpointError>> {
    let (network, mut pipes) = Network::new();
    let client = Arc::new(ControlClient::new(Arc::new(network), Settings::default()));
    let mut calls = Vec::new();
    let mut peer = None;
    for (stream, asked) in &recording.requests {
        let (client, asked) = (Arc::clone(&client), asked.clone());
        calls.push(tokio::spawn(async move { ask(&client, &asked).await }));
        if peer.is_none() {
            let pipe = pipes.recv().await.unwrap();
            peer = Some(Raw::server(pipe).await);
        }
        peer.as_mut().unwrap().request(*stream).await;
    }
    let frames: Vec<Frame> = server
        .iter()
        .filter(|frame| frame.kind != Frame::GOAWAY && !is_ack(frame))
        .cloned()
        .collect();
    let Some(mut peer) = peer else {
        return Vec::new();
    };
    peer.send(&frames).await;
    let _ = peer.wire.writer.shutdown().await;
    let mut results = Vec::new();
    for call in calls {
        results.push(call.await.unwrap());
    }
    results
}

fn compare(recording: &Recording, results: Vec<Result<Vec<u8>, EndpointError>>) -> (u32, u32) {
    let (mut messages, mut errors) = (0, 0);
    assert_eq!(results.len(), recording.requests.len());
    for (stream, result) in recording.requests.keys().zip(results) {
        match (&recording.answers[stream], result) {
            (Ok(expected), Ok(answer)) => {
                assert_eq!(answer, *expected, "{} {stream}", recording.name);
                messages += 1;
            }
            (Err((2, expected)), Err(EndpointError::Failed(text))) => {
                assert_eq!(text, *expected, "{} {stream}", recording.name);
                errors += 1;
            }
            (expected, result) => panic!(
                "{} stream {stream}: {expected:?}, {result:?}",
                recording.name
            ),
        }
    }
    (messages, errors)
}

#[tokio::test(start_paused = true)]
async fn go_clients_get_the_recorded_answers_from_our_server() {
    let (mut messages, mut errors) = (0, 0);
    for recording in of_go_clients() {
        let server = replay_to_server(&recording).await;
        let (ok, failed) = compare(&recording, replay_to_client(&recording, &server).await);
        (messages, errors) = (messages + ok, errors + failed);
    }
    assert_eq!((messages, errors), (393, 2));
}

#[tokio::test(start_paused = true)]
async fn our_client_understands_what_go_servers_answered() {
    let (mut messages, mut errors) = (0, 0);
    for recording in of_go_clients() {
        let results = replay_to_client(&recording, &recording.server).await;
        let (ok, failed) = compare(&recording, results);
        (messages, errors) = (messages + ok, errors + failed);
    }
    assert_eq!((messages, errors), (393, 2));
}

#[tokio::test(start_paused = true)]
async fn trap_11_1_banner_label_and_all_requests_of_a_go_client_in_one_segment_are_answered() {
    for recording in of_go_clients() {
        let host = Host::new(endpoint(&recording));
        let (mut near, far) = tokio::io::duplex(1 << 20);
        let frames: Vec<Frame> = recording
            .client
            .iter()
            .filter(|frame| {
                ![Frame::GOAWAY, Frame::RST_STREAM].contains(&frame.kind) && !is_ack(frame)
            })
            .cloned()
            .collect();
        let segment = [&greeting()[..], PREFACE, &encode(&frames)].concat();
        near.write_all(&segment).await.unwrap();
        host.greet(far).await;
        let mut banner = [0; 67];
        near.read_exact(&mut banner).await.unwrap();
        let mut client = Raw::new(near.into());
        let mut missing = recording.requests.len();
        while missing > 0 {
            let frame = client.next().await.expect("answer");
            assert_ne!(frame.kind, Frame::RST_STREAM, "{}", recording.name);
            missing -= usize::from(frame.is_last());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn hand_written_requests_end_as_with_go() {
    for recording in crafted() {
        let server = replay_to_server(&recording).await;
        let streams = |frames: &[Frame], kind: u8| -> Vec<u32> {
            let frames = frames.iter().filter(|frame| frame.kind == kind);
            let mut streams: Vec<u32> = frames.map(|frame| frame.stream).collect();
            streams.sort_unstable();
            streams.dedup();
            streams
        };
        // The same streams have an answer with a message, and the others have none.
        let mut expected = streams(&recording.server, Frame::DATA);
        expected.retain(|stream| *stream > 0);
        assert_eq!(
            streams(&server, Frame::DATA),
            expected,
            "{}",
            recording.name
        );
    }
}

#[test]
fn recordings_are_read_whole() {
    for recording in of_go_clients() {
        let (frames, len) = split(&encode(&recording.client));
        assert_eq!(frames, recording.client);
        assert_eq!(len, encode(&recording.client).len());
    }
}
