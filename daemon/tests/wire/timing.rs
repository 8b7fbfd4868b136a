//! When either side sends heartbeats, how long it waits for what, and that a limit on bandwidth is kept: on wires in memory,
//! with paused time.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::time::Instant;
use zrepl_daemon::bandwidth::{Limit, TokenBucket};
use zrepl_daemon::causes::chain;
use zrepl_daemon::endpoint::EndpointError;
use zrepl_daemon::rpc::data::client;
use zrepl_daemon::rpc::data::server::Served;
use zrepl_daemon::rpc::data::{ConnectionError, Patience};
use zrepl_proto::pdu::{PingReq, PingRes, ReceiveRes, SendRes};

use crate::double::{receive_request, send_request};
use crate::peer::{
    END, Ending, HEARTBEAT, REQ_HEADER, REQ_STRUCTURED, RES_HEADER, RES_STRUCTURED, STREAM, Said,
    Speaker, dialled, frame, message, request, served, short_steps, yes,
};
use crate::scripted::{Script, Scripted, Then, take};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// Shorter than the real one, and all different.
pub(crate) const PATIENCE: Patience = Patience {
    request: Duration::from_secs(60),
    stream: Duration::from_secs(120),
    answer: Duration::from_secs(240),
};

pub(crate) async fn timed<T>(future: impl Future<Output = T>) -> (T, Duration) {
    let begun = Instant::now();
    let output = future.await;
    (output, begun.elapsed())
}

/// Within what timers and pipes may be late by.
#[track_caller]
pub(crate) fn assert_took(took: Duration, expected: Duration, late: Duration) {
    assert!(
        took >= expected && took <= expected + late,
        "{took:?}, expected {expected:?}"
    );
}

pub(crate) fn why(served: &Served) -> String {
    let error = served.result.as_ref().expect_err("it cannot be done");
    chain(error)
}

pub(crate) fn said_by_server(bytes: &[u8]) -> Said {
    Said::decode(bytes, Speaker::Server { sends: true })
}

fn ping() -> PingReq {
    PingReq {
        message: "are you there".into(),
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_client_gets_a_heartbeat_after_5_seconds_and_the_end_after_10() {
    let (mut peer, task) = served(Scripted::receiver().shared(), PATIENCE, 4096);
    let mut first = [0; 8];
    let ((), took) = timed(async {
        peer.reader.read_exact(&mut first).await.unwrap();
    })
    .await;
    assert_eq!(first[..], frame(HEARTBEAT, &[]));
    assert_took(took, 5 * SECOND, SECOND / 10);
    let (rest, took) = timed(peer.hear_all()).await;
    let said = said_by_server(&rest);
    // Whether there is a second heartbeat is a matter of luck with Go, too.
    assert!(said.rst && said.parts.is_empty() && said.heartbeats <= 1);
    assert_took(took, 5 * SECOND, SECOND / 10);
    peer.half_close().await;
    assert_eq!(why(&task.await.unwrap()), "nothing was received for 10s");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_silent_for_10_seconds_is_given_up_for_now() {
    for receiving in [false, true] {
        short_steps(SECOND / 100);
        let (mut peer, connection, dialled) = dialled(PATIENCE, 64 << 10);
        let hearing = tokio::spawn(async move { peer.hear_all().await });
        let (error, took) = timed(async {
            if receiving {
                let stream = Script::new(b"abcdefgh", Then::End).stream();
                let request = receive_request("pool/fs");
                client::receive(connection, &request, stream, &dialled)
                    .await
                    .unwrap_err()
            } else {
                client::ping(connection, &ping(), &dialled)
                    .await
                    .unwrap_err()
            }
        })
        .await;
        assert!(error.is_temporary());
        assert!(chain(&error).ends_with("nothing was received for 10s"));
        assert_took(took, 10 * SECOND, SECOND / 10);
        let said = Said::decode(&hearing.await.unwrap(), Speaker::Client);
        assert!(said.rst && said.heartbeats >= 1, "{said:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_that_is_blocked_delays_giving_up_by_nothing() {
    short_steps(SECOND / 100);
    // DISCREPANCIES B5: zrepl 0.7.0 needs 20 seconds.
    let (_peer, connection, dialled) = dialled(PATIENCE, 4096);
    let stream = Script::new(&vec![7; 1 << 20], Then::End).stream();
    let request = receive_request("pool/fs");
    let (result, took) = timed(client::receive(connection, &request, stream, &dialled)).await;
    assert!(result.unwrap_err().is_temporary());
    assert_took(took, 10 * SECOND, SECOND / 10);
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_grants_a_blocked_write_new_time() {
    short_steps(SECOND / 100);
    let (mut peer, connection, dialled) = dialled(PATIENCE, 4096);
    let stream = Script::new(&vec![7; 1 << 20], Then::End).stream();
    let moved = stream.moved.clone();
    let peer = tokio::spawn(async move {
        // It takes nothing, but lives.
        peer.live(100 * SECOND).await;
        let heard = peer.hear_request().await;
        peer.say(&yes(&ReceiveRes::default())).await;
        heard
    });
    let request = receive_request("pool/fs");
    client::receive(connection, &request, stream, &dialled)
        .await
        .unwrap();
    assert_eq!(moved.get(), 1 << 20);
    let said = Said::decode(&peer.await.unwrap(), Speaker::Client);
    assert_eq!(said.stream().unwrap().body, vec![7; 1 << 20]);
}

#[tokio::test(start_paused = true)]
async fn heartbeats_alone_are_no_request() {
    for said in [vec![], message(REQ_HEADER, b"/v1/ping")] {
        let (mut peer, task) = served(Scripted::receiver().shared(), PATIENCE, 4096);
        peer.say(&said).await;
        let (_, took) = timed(peer.live_and_hear()).await;
        assert_took(took, PATIENCE.request, SECOND);
        peer.half_close().await;
        let text = why(&task.await.unwrap());
        assert_eq!(
            text,
            "peer sends heartbeats at most, and nothing else for 60s"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn heartbeats_alone_are_no_stream() {
    let endpoint = Scripted::receiver().shared();
    let (mut peer, task) = served(Arc::clone(&endpoint), PATIENCE, 4096);
    peer.say(&request("/v1/recv", &receive_request("pool/fs")))
        .await;
    peer.say(&frame(STREAM, b"abcdefgh")).await;
    let (heard, took) = timed(peer.live_and_hear()).await;
    assert_took(took, PATIENCE.stream, 6 * SECOND);
    peer.half_close().await;
    task.await.unwrap().result.unwrap_err();
    let [taken] = &endpoint.taken()[..] else {
        panic!("one stream")
    };
    assert!(!taken.whole && taken.bytes == b"abcdefgh");
    // It is told.
    let refusal = said_by_server(&heard).refusal().unwrap();
    assert!(refusal.contains("nothing else for 120s"), "{refusal}");

    // The other way round.
    let (mut peer, connection, dialled) = dialled(PATIENCE, 4096);
    peer.say(&yes(&SendRes::default())).await;
    peer.say(&frame(STREAM, b"abcdefgh")).await;
    tokio::spawn(async move { peer.live_and_hear().await });
    let request = send_request("pool/fs");
    let (_, stream) = client::send(connection, &request, dialled).await.unwrap();
    let (taken, took) = timed(take(stream, usize::MAX)).await;
    assert_took(took, PATIENCE.stream, 6 * SECOND);
    assert!(!taken.whole && taken.bytes == b"abcdefgh");
    assert!(taken.failure.unwrap().contains("nothing else for 120s"));
}

#[tokio::test(start_paused = true)]
async fn heartbeats_alone_are_no_answer() {
    short_steps(SECOND / 10);
    for receiving in [false, true] {
        let (mut peer, connection, dialled) = dialled(PATIENCE, 4096);
        tokio::spawn(async move { peer.live_and_hear().await });
        let (error, took) = timed(async {
            if receiving {
                let stream = Script::new(b"abcdefgh", Then::End).stream();
                let request = receive_request("pool/fs");
                client::receive(connection, &request, stream, &dialled)
                    .await
                    .unwrap_err()
            } else {
                client::ping(connection, &ping(), &dialled)
                    .await
                    .unwrap_err()
            }
        })
        .await;
        assert_took(took, PATIENCE.answer, 2 * SECOND);
        assert!(chain(&error).contains("nothing else for 240s"), "{error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_lives_and_takes_nothing_is_given_up() {
    short_steps(SECOND / 10);
    let endpoint = Scripted::sender(Script::new(&vec![7; 1 << 20], Then::End)).shared();
    let (mut peer, task) = served(endpoint, PATIENCE, 4096);
    peer.say(&request("/v1/send", &send_request("pool/fs")))
        .await;
    let (served, took) = timed(async {
        tokio::select! {
            () = peer.live(1000 * SECOND) => panic!("for ever"),
            served = task => served.unwrap(),
        }
    })
    .await;
    assert_took(took, PATIENCE.stream, 2 * SECOND);
    assert!(why(&served).contains("has taken nothing for 120s"));

    let (mut peer, connection, dialled) = dialled(PATIENCE, 4096);
    let stream = Script::new(&vec![7; 1 << 20], Then::End).stream();
    let request = receive_request("pool/fs");
    let (error, took) = timed(async {
        tokio::select! {
            () = peer.live(1000 * SECOND) => panic!("for ever"),
            result = client::receive(connection, &request, stream, &dialled) => result.unwrap_err(),
        }
    })
    .await;
    // After its own limit it hears out for a moment what the peer may say about it.
    assert_took(took, PATIENCE.stream, 11 * SECOND);
    assert!(chain(&error).contains("has taken nothing for 120s"));
}

#[tokio::test(start_paused = true)]
async fn the_patience_for_an_answer_begins_when_the_stream_has_been_sent() {
    short_steps(SECOND / 10);
    let (peer, connection, dialled) = dialled(PATIENCE, 4096);
    let pieces = vec![vec![7; 10]; 10];
    // It takes longer than one would wait for an answer.
    let stream = Script::paced(pieces, 60 * SECOND, Then::End).stream();
    let moved = stream.moved.clone();
    let watch = tokio::spawn(async move {
        tokio::time::sleep(590 * SECOND).await;
        assert!(!moved.has_ended());
        tokio::time::sleep(20 * SECOND).await;
        // Whoever waits for more bytes need not wait any longer.
        assert!(moved.has_ended());
    });
    let peer = tokio::spawn(async move {
        let (mut reader, mut writer) = (peer.reader, peer.writer);
        let beating = tokio::spawn(async move {
            for _ in 0..200 {
                tokio::time::sleep(4 * SECOND).await;
                let heartbeat = frame(HEARTBEAT, &[]);
                tokio::io::AsyncWriteExt::write_all(&mut writer, &heartbeat)
                    .await
                    .unwrap();
            }
            let answer = yes(&ReceiveRes::default());
            tokio::io::AsyncWriteExt::write_all(&mut writer, &answer)
                .await
                .unwrap();
            writer
        });
        let mut heard = Vec::new();
        reader.read_to_end(&mut heard).await.unwrap();
        drop(beating.await.unwrap());
        heard
    });
    let request = receive_request("pool/fs");
    let (result, took) = timed(client::receive(connection, &request, stream, &dialled)).await;
    result.unwrap();
    assert_took(took, 800 * SECOND, SECOND);
    watch.await.unwrap();
    let said = Said::decode(&peer.await.unwrap(), Speaker::Client);
    assert_eq!(said.stream().unwrap().body, [7; 100]);
}

#[tokio::test(start_paused = true)]
async fn the_patience_for_a_stream_is_not_for_whoever_receives_it() {
    let mut endpoint = Scripted::receiver();
    // Busy for longer than one would wait for bytes, which are there.
    endpoint.delay = 3 * PATIENCE.stream;
    let endpoint = endpoint.shared();
    let (mut peer, task) = served(Arc::clone(&endpoint), PATIENCE, 64 << 10);
    peer.say(&request("/v1/recv", &receive_request("pool/fs")))
        .await;
    let heartbeat = frame(HEARTBEAT, &[]);
    peer.say(&heartbeat).await;
    peer.say(&frame(STREAM, b"abcd")).await;
    peer.say(&heartbeat).await;
    peer.say(&frame(STREAM, b"efgh")).await;
    peer.say(&message(STREAM, b"")).await;
    let heard = peer.live_and_hear().await;
    peer.half_close().await;
    task.await.unwrap().result.unwrap();
    assert!(said_by_server(&heard).is_whole_answer(false));
    assert_eq!(endpoint.taken()[0].bytes, b"abcdefgh");
}

#[tokio::test(start_paused = true)]
async fn a_stream_may_stall_in_its_pipe_while_heartbeats_go_both_ways() {
    short_steps(SECOND / 100);
    let pieces = vec![b"abcd".to_vec(), b"efgh".to_vec()];
    let script = Script::paced(pieces, 60 * SECOND, Then::End);
    let (mut peer, task) = served(Scripted::sender(script.clone()).shared(), PATIENCE, 4096);
    peer.say(&request("/v1/send", &send_request("pool/fs")))
        .await;
    let (heard, took) = timed(peer.live_and_hear()).await;
    assert_took(took, 120 * SECOND, SECOND);
    let said = said_by_server(&heard);
    assert_eq!(said.stream().unwrap().body, b"abcdefgh");
    assert_eq!(said.stream().unwrap().ending, Ending::End);
    assert!(said.heartbeats >= 22, "{}", said.heartbeats);
    peer.half_close().await;
    task.await.unwrap().result.unwrap();

    // Our client with our server, in both directions.
    let endpoint = Scripted::sender(script.clone()).shared();
    let (peer, task) = served(Arc::clone(&endpoint), PATIENCE, 4096);
    let (other, connection, dialled_send) = dialled(PATIENCE, 4096);
    let joined = tokio::spawn(join(peer, other));
    let request = send_request("pool/fs");
    let (_, stream) = client::send(connection, &request, dialled_send)
        .await
        .unwrap();
    let taken = take(stream, usize::MAX).await;
    assert!(taken.whole && taken.bytes == b"abcdefgh", "{taken:?}");
    task.await.unwrap().result.unwrap();
    joined.await.unwrap();
    let (peer, task) = served(Arc::clone(&endpoint), PATIENCE, 4096);
    let (other, connection, dialled) = dialled(PATIENCE, 4096);
    let joined = tokio::spawn(join(peer, other));
    let request = receive_request("pool/fs");
    client::receive(connection, &request, script.stream(), &dialled)
        .await
        .unwrap();
    assert_eq!(endpoint.taken()[0].bytes, b"abcdefgh");
    task.await.unwrap().result.unwrap();
    joined.await.unwrap();
}

/// Leads all that either says to the other.
async fn join(a: crate::peer::Peer, b: crate::peer::Peer) {
    let mut a = tokio::io::join(a.reader, a.writer);
    let mut b = tokio::io::join(b.reader, b.writer);
    tokio::io::copy_bidirectional(&mut a, &mut b)
        .await
        .expect("in memory");
}

fn limit(max: &str) -> Arc<Limit> {
    let yaml = format!(
        "jobs:\n- type: sink\n  name: s\n  root_fs: tank\n  serve: {{type: local, listener_name: l}}\n  recv: {{bandwidth_limit: {{max: {max}, bucket_capacity: 1 B}}}}\n"
    );
    let loaded = zrepl_daemon::config::parse("test.yml", &yaml).expect("good");
    let Some(zrepl_daemon::config::job::JobConfig::Sink(job)) = loaded.config.job("s") else {
        panic!("a sink")
    };
    let bucket = TokenBucket::new(&job.recv.bandwidth_limit).expect("a limit");
    Arc::new(Limit::from(bucket))
}

#[tokio::test(start_paused = true)]
async fn a_limited_stream_takes_its_time_and_sends_heartbeats() {
    short_steps(SECOND / 1000);
    let bytes = vec![7; 60_001];
    let mut script = Script::new(&bytes, Then::End);
    script.limits = vec![limit("1000 B")];
    let (mut peer, task) = served(Scripted::sender(script).shared(), PATIENCE, 4096);
    peer.say(&request("/v1/send", &send_request("pool/fs")))
        .await;
    let (heard, took) = timed(peer.live_and_hear()).await;
    // One byte is in the bucket.
    assert_took(took, 60 * SECOND, SECOND / 10);
    let said = said_by_server(&heard);
    assert_eq!(said.stream().unwrap().body, bytes);
    assert!(said.heartbeats >= 11, "{}", said.heartbeats);
    peer.half_close().await;
    task.await.unwrap().result.unwrap();

    let mut script = Script::new(&bytes, Then::End);
    script.limits = vec![limit("1000 B")];
    let (mut peer, connection, dialled) = dialled(PATIENCE, 4096);
    let peer = tokio::spawn(async move {
        let heard = {
            let (reader, mut writer) = (&mut peer.reader, &mut peer.writer);
            let beating = async {
                loop {
                    tokio::time::sleep(4 * SECOND).await;
                    let heartbeat = frame(HEARTBEAT, &[]);
                    let _ = tokio::io::AsyncWriteExt::write_all(&mut writer, &heartbeat).await;
                }
            };
            let mut heard = Vec::new();
            let hearing = async {
                // The last frame of the stream is its end.
                while !heard.ends_with(&frame(END, &[])) || heard.len() < 60_000 {
                    reader.read_buf(&mut heard).await.unwrap();
                }
            };
            tokio::select! { () = beating => {}, () = hearing => {} }
            heard
        };
        peer.say(&yes(&ReceiveRes::default())).await;
        heard
    });
    let request = receive_request("pool/fs");
    let stream = script.stream();
    let (result, took) = timed(client::receive(connection, &request, stream, &dialled)).await;
    result.unwrap();
    assert_took(took, 60 * SECOND, SECOND / 10);
    let said = Said::decode(&peer.await.unwrap(), Speaker::Client);
    assert!(said.heartbeats >= 11, "{}", said.heartbeats);
    assert_eq!(said.stream().unwrap().body, bytes);
}

/// End frames and heartbeats with payload, which nobody should send.
fn with_payloads(messages: &[(u32, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (code, body) in messages {
        bytes.extend(frame(HEARTBEAT, b"alive"));
        bytes.extend(frame(*code, body));
        bytes.extend(frame(HEARTBEAT, b"x"));
        bytes.extend(frame(END, b"and out"));
    }
    bytes
}

#[tokio::test(start_paused = true)]
async fn payload_of_end_and_heartbeat_means_nothing_and_delays_nothing() {
    let endpoint = Scripted::receiver().shared();
    let (mut peer, task) = served(Arc::clone(&endpoint), PATIENCE, 4096);
    let body = prost::Message::encode_to_vec(&receive_request("pool/fs"));
    let messages: [(u32, &[u8]); 3] = [
        (REQ_HEADER, b"/v1/recv"),
        (REQ_STRUCTURED, &body),
        (STREAM, b"abcdefgh"),
    ];
    peer.say(&with_payloads(&messages)).await;
    // DISCREPANCIES B7: zrepl 0.7.0 answers 10 seconds later.
    let (heard, took) = timed(peer.hear_and_close()).await;
    assert_took(took, Duration::ZERO, SECOND / 10);
    assert!(said_by_server(&heard).is_whole_answer(false));
    task.await.unwrap().result.unwrap();
    assert_eq!(endpoint.taken()[0].bytes, b"abcdefgh");

    let (mut peer, connection, dialled_ping) = dialled(PATIENCE, 4096);
    let answer = PingRes {
        echo: "are you there".into(),
    };
    let body = prost::Message::encode_to_vec(&answer);
    let messages: [(u32, &[u8]); 2] = [(RES_HEADER, b"HANDLER OK\n"), (RES_STRUCTURED, &body)];
    peer.say(&with_payloads(&messages)).await;
    let answered = client::ping(connection, &ping(), &dialled_ping).await;
    assert_eq!(answered.unwrap(), answer);

    let (mut peer, connection, dialled) = dialled(PATIENCE, 4096);
    let messages: [(u32, &[u8]); 3] = [
        (RES_HEADER, b"HANDLER OK\n"),
        (RES_STRUCTURED, b""),
        (STREAM, b"abcdefgh"),
    ];
    peer.say(&with_payloads(&messages)).await;
    let request = send_request("pool/fs");
    let (_, stream) = client::send(connection, &request, dialled).await.unwrap();
    let taken = take(stream, usize::MAX).await;
    assert!(taken.whole && taken.bytes == b"abcdefgh", "{taken:?}");
}

#[test]
fn silence_is_temporary_and_nonsense_is_not() {
    let temporary = |error: ConnectionError| error.into_endpoint_error(String::new());
    assert!(temporary(ConnectionError::Silent(SECOND)).is_temporary());
    assert!(matches!(
        temporary(ConnectionError::AnsweredEarly),
        EndpointError::Protocol { .. }
    ));
}
