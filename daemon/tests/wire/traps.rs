//! The traps of the wire protocol (wire-protocol.md, section 11) that concern data connections, one test or more for each, named
//! by their numbers: what would hang, confuse or end a Go peer, and what a Go peer does that must not confuse us.

use std::time::Duration;

use proptest::test_runner::{Config, TestRunner};
use tokio::io::AsyncReadExt as _;
use zrepl_daemon::endpoint::EndpointError;
use zrepl_daemon::rpc::data::{ConnectionError, client};
use zrepl_proto::pdu::{FilesystemVersion, ReceiveReq, ReplicationConfig, SendReq};

use crate::conversation::{Asks, BYTES, ask, serve};
use crate::double::{receive_request, send_request};
use crate::peer::{
    Ending, HEARTBEAT, STREAM, Said, Speaker, dialled, frame, message, no, request, served,
    short_steps, yes,
};
use crate::scripted::{Script, Scripted, Then};
use crate::timing::{PATIENCE, SECOND, assert_took, said_by_server, timed, why};

/// The header of an answer to a request that fails with this text.
async fn refused_with(text: &str) -> Vec<u8> {
    let endpoint = Scripted::refusing(text).shared();
    let (mut peer, task) = served(endpoint, PATIENCE, 64 << 10);
    peer.say(&Asks::Send.request()).await;
    let said = said_by_server(&peer.hear_and_close().await);
    task.await
        .expect("it does not panic")
        .result
        .expect_err("refused");
    assert!(said.lone == 0 && said.rst && said.longest <= 32768);
    said.parts[0].body.clone()
}

#[tokio::test(start_paused = true)]
async fn trap_11_5b_an_error_text_never_exceeds_what_go_can_read() {
    assert_eq!(refused_with(&"x".repeat(40_015)).await.len(), 32768);
    // Cut between characters, of two bytes here.
    let header = refused_with(&"\u{e4}".repeat(40_000)).await;
    assert_eq!(header.len(), 32767);
    assert!(std::str::from_utf8(&header).is_ok());
}

#[tokio::test(start_paused = true)]
async fn trap_11_5c_a_long_error_text_of_go_is_read_whole_and_one_in_no_utf8_too() {
    let text = "x".repeat(40_015);
    let mut binary = b"HANDLER ERROR:\n\xff\xfe!".to_vec();
    binary.truncate(18);
    for (answer, expected) in [
        (no(&text), &text[..]),
        (message(3, &binary), "\u{fffd}\u{fffd}!"),
    ] {
        let (mut peer, connection, dialled) = dialled(PATIENCE, 64 << 10);
        peer.say(&answer).await;
        match ask(Asks::Ping, connection, dialled).await.result {
            Err(EndpointError::Failed(text)) => assert_eq!(text, expected),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn trap_11_6_the_stream_is_taken_to_its_end_before_it_is_confirmed() {
    let mut endpoint = Scripted::receiver();
    endpoint.takes = 0;
    let (mut peer, task) = served(endpoint.shared(), PATIENCE, 4096);
    peer.say(&request("/v1/recv", &receive_request("pool/fs")))
        .await;
    // The handler is satisfied long since.
    for _ in 0..10 {
        tokio::time::sleep(SECOND).await;
        peer.say(&frame(STREAM, &[7; 3000])).await;
        let mut byte = [0; 8];
        let early = tokio::time::timeout(SECOND, peer.reader.read_exact(&mut byte)).await;
        assert!(early.is_err() || byte == [1, 0, 0, 0, 0, 0, 0, 0]);
    }
    peer.say(&message(STREAM, b"")).await;
    let said = said_by_server(&peer.hear_and_close().await);
    assert!(said.is_whole_answer(false) && said.rst);
    task.await.unwrap().result.unwrap();
}

#[tokio::test(start_paused = true)]
async fn trap_11_7_every_payload_is_followed_by_a_header_and_the_last_frames_are_empty() {
    for asks in Asks::ALL {
        let (_, mut peer, task) = serve(64 << 10);
        peer.say(&asks.request()).await;
        let heard = peer.hear_and_close().await;
        // RST without payload at last, and before it an end without payload.
        let last = [0, 2, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0];
        assert!(heard.ends_with(&last), "{asks:?}");
        let _ = task.await.unwrap();
        empty_where_it_must_be(&heard);

        short_steps(SECOND / 100);
        let (mut peer, connection, dialled) = dialled(PATIENCE, 64 << 10);
        let peer = tokio::spawn(async move {
            let heard = peer.hear_request().await;
            peer.say(&asks.goodbye()).await;
            [heard, peer.hear_and_close().await].concat()
        });
        assert!(ask(asks, connection, dialled).await.believes());
        let heard = peer.await.unwrap();
        assert!(heard.ends_with(&last), "{asks:?}");
        empty_where_it_must_be(&heard);
    }
}

/// Ends, heartbeats and RST.
fn empty_where_it_must_be(mut bytes: &[u8]) {
    while let Some((head, rest)) = bytes.split_at_checked(8) {
        let number = |at: usize| u32::from_be_bytes(head[at..at + 4].try_into().expect("four"));
        let (code, len) = (number(0), number(4));
        assert!(code < 0x0002_0000 || len == 0, "{code:#x} of {len} bytes");
        bytes = &rest[len as usize..];
    }
    assert!(bytes.is_empty());
}

/// How many heartbeats come in so many seconds, if the peer sends its own.
async fn heartbeats(peer: &mut crate::peer::Peer, seconds: u32) -> usize {
    let mut bytes = Vec::new();
    let (reader, writer) = (&mut peer.reader, &mut peer.writer);
    let beating = async {
        loop {
            let heartbeat = frame(HEARTBEAT, &[]);
            let _ = tokio::io::AsyncWriteExt::write_all(writer, &heartbeat).await;
            tokio::time::sleep(4 * SECOND).await;
        }
    };
    let hearing = reader.read_to_end(&mut bytes);
    let both = async { tokio::join!(beating, hearing) };
    let _: Result<((), _), _> = tokio::time::timeout(seconds * SECOND, both).await;
    Said::decode(&bytes, Speaker::Server { sends: true }).heartbeats
}

#[tokio::test(start_paused = true)]
async fn trap_11_8_heartbeats_are_sent_while_a_handler_runs_and_before_the_first_byte() {
    for asks in [Asks::Send, Asks::Receive] {
        let mut endpoint = Scripted::sender(Script::new(BYTES, Then::End));
        endpoint.delay = 3600 * SECOND;
        let (mut peer, task) = served(endpoint.shared(), PATIENCE, 64 << 10);
        peer.say(&asks.request()).await;
        assert_eq!(heartbeats(&mut peer, 61).await, 12, "{asks:?}");
        task.abort();
    }
    // The client, while it waits for the answer, and while its stream comes to nothing.
    for asks in Asks::ALL {
        let (mut peer, connection, dialled) = dialled(PATIENCE, 64 << 10);
        let asking = tokio::spawn(ask(asks, connection, dialled));
        let count = heartbeats(&mut peer, 61).await;
        assert!((11..=12).contains(&count), "{asks:?}: {count}");
        asking.abort();
    }
    let (mut peer, connection, dialled) = dialled(PATIENCE, 64 << 10);
    peer.say(&yes(&crate::conversation::send_answer())).await;
    let asking = tokio::spawn(ask(Asks::Send, connection, dialled));
    assert_eq!(heartbeats(&mut peer, 61).await, 12);
    asking.abort();
}

#[tokio::test(start_paused = true)]
async fn trap_11_8_heartbeats_are_sent_by_whoever_is_blocked_by_its_own_back_pressure() {
    // Nobody takes the stream; the peer that sends it has to be told that we live.
    let mut endpoint = Scripted::receiver();
    endpoint.delay = 3600 * SECOND;
    let (mut peer, task) = served(endpoint.shared(), PATIENCE, 1 << 20);
    peer.say(&request("/v1/recv", &receive_request("pool/fs")))
        .await;
    peer.say(&frame(STREAM, &vec![7; 800 << 10])).await;
    assert_eq!(heartbeats(&mut peer, 61).await, 12);
    task.abort();

    let (mut peer, connection, dialled) = dialled(PATIENCE, 1 << 20);
    peer.say(&yes(&crate::conversation::send_answer())).await;
    peer.say(&frame(STREAM, &vec![7; 800 << 10])).await;
    let (_, stream) = client::send(connection, &send_request("pool/fs"), dialled)
        .await
        .unwrap();
    assert_eq!(heartbeats(&mut peer, 61).await, 12);
    drop(stream);
}

#[tokio::test(start_paused = true)]
async fn trap_11_8_what_the_peer_says_is_heard_while_a_write_is_blocked() {
    short_steps(SECOND / 100);
    // The receiver fails while our client is blocked by it.
    let (mut peer, connection, dialled) = dialled(PATIENCE, 4096);
    let stream = Script::new(&vec![7; 1 << 20], Then::End).stream();
    let refusing = async {
        tokio::time::sleep(3 * SECOND).await;
        peer.say(&no("out of space")).await;
    };
    let request_ = receive_request("pool/fs");
    let receiving = timed(client::receive(connection, &request_, stream, &dialled));
    let ((result, took), ()) = tokio::join!(receiving, refusing);
    assert_eq!(result.unwrap_err().to_string(), "out of space");
    assert_took(took, 3 * SECOND, SECOND / 10);
    // The client has enough while our server is blocked by it.
    let endpoint = Scripted::sender(Script::new(&vec![7; 1 << 20], Then::End)).shared();
    let (mut peer, task) = served(endpoint, PATIENCE, 4096);
    peer.say(&Asks::Send.request()).await;
    tokio::time::sleep(3 * SECOND).await;
    peer.say(&frame(0x1000_0000, &[])).await;
    let (served, took) = timed(task).await;
    assert!(took < SECOND, "{took:?}");
    assert!(why(&served.unwrap()).contains("peer closes the connection"));
}

#[tokio::test(start_paused = true)]
async fn trap_11_9_the_end_is_not_announced_within_a_frame() {
    short_steps(SECOND / 100);
    // The client is blocked within a frame when the receiver fails; RST would be eight bytes of the stream.
    let (mut peer, connection, dialled) = dialled(PATIENCE, 4096);
    let stream = Script::new(&vec![7; 1 << 20], Then::End).stream();
    let request = receive_request("pool/fs");
    let hearing = async {
        tokio::time::sleep(SECOND).await;
        peer.say(&no("out of space")).await;
        tokio::time::sleep(SECOND).await;
        let heard = peer.hear_all().await;
        peer.half_close().await;
        Said::decode(&heard, Speaker::Client)
    };
    let receiving = client::receive(connection, &request, stream, &dialled);
    let (result, said) = tokio::join!(receiving, hearing);
    assert_eq!(result.unwrap_err().to_string(), "out of space");
    assert!(said.torn && !said.rst);
    assert!(said.stream().unwrap().body.iter().all(|byte| *byte == 7));
}

#[tokio::test(start_paused = true)]
async fn trap_11_9_a_server_waits_10_seconds_for_a_client_that_never_closes() {
    // As Go's client after a send that was refused: it neither closes nor lives.
    let endpoint = Scripted::refusing("no such snapshot").shared();
    let (mut peer, task) = served(endpoint, PATIENCE, 64 << 10);
    peer.say(&Asks::Send.request()).await;
    let (served, took) = timed(task).await;
    assert_took(took, 10 * SECOND, SECOND / 10);
    served.unwrap().result.unwrap_err();
    assert!(said_by_server(&peer.hear_all().await).rst);
    // One that never ceases to speak gets no more.
    let (_, mut peer, task) = serve(4096);
    peer.say(&Asks::Ping.request()).await;
    let (_, took) = timed(peer.repeat(&[7; 4096], SECOND / 10)).await;
    assert_took(took, 10 * SECOND, SECOND / 2);
    task.await.unwrap().result.unwrap();
}

#[tokio::test(start_paused = true)]
async fn trap_11_10_what_ends_a_go_daemon_is_not_sent() {
    let version = |change: fn(&mut FilesystemVersion)| {
        let mut version = send_request("pool/fs").to.expect("there is one");
        change(&mut version);
        Some(version)
    };
    let versions = [
        None,
        version(|to| to.r#type = 2),
        version(|to| to.r#type = 1),
        version(|to| to.creation = "yesterday".into()),
        version(|to| to.name = "a/b".into()),
        version(|to| to.name = String::new()),
    ];
    let configs = [None, Some(ReplicationConfig::default())];
    let mut sends = Vec::new();
    let mut receives = Vec::new();
    for to in &versions {
        sends.push(SendReq {
            to: to.clone(),
            ..send_request("pool/fs")
        });
        receives.push(ReceiveReq {
            to: to.clone(),
            ..receive_request("pool/fs")
        });
    }
    for config in &configs {
        sends.push(SendReq {
            replication_config: *config,
            ..send_request("pool/fs")
        });
        receives.push(ReceiveReq {
            replication_config: *config,
            ..receive_request("pool/fs")
        });
    }
    for request in sends {
        let (mut peer, connection, dialled) = dialled(PATIENCE, 4096);
        let error = client::send(connection, &request, dialled)
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), "request is not sent", "{request:?}");
        assert!(!error.is_temporary());
        assert_eq!(peer.hear_all().await, b"");
    }
    for request in receives {
        let (mut peer, connection, dialled) = dialled(PATIENCE, 4096);
        let stream = Script::new(BYTES, Then::End).stream();
        let error = client::receive(connection, &request, stream, &dialled)
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), "request is not sent", "{request:?}");
        assert_eq!(peer.hear_all().await, b"");
    }
}

#[tokio::test(start_paused = true)]
async fn trap_11_14_the_borders_of_segments_mean_nothing() {
    short_steps(SECOND / 100);
    for cut in [1, 2, 3, 5, 7, 8, 9, 13, 4096] {
        for asks in Asks::ALL {
            let (endpoint, mut peer, task) = serve(64 << 10);
            peer.say_in_pieces(&asks.request(), cut).await.unwrap();
            let heard = peer.hear_and_close().await;
            assert_eq!(said_by_server(&heard).refusal(), None);
            let _ = task.await.unwrap();
            if asks == Asks::Receive {
                assert_eq!(endpoint.taken()[0].bytes, BYTES);
            }
            let (mut peer, connection, dialled) = dialled(PATIENCE, 64 << 10);
            tokio::spawn(async move {
                peer.hear_request().await;
                peer.say_in_pieces(&asks.goodbye(), cut).await.unwrap();
                peer.hear_and_close().await
            });
            let asked = ask(asks, connection, dialled).await;
            assert!(asked.believes(), "{asked:?}");
        }
    }
}

#[test]
fn trap_11_15_a_lost_connection_is_temporary_and_broken_rules_are_not() {
    use std::io::ErrorKind::ConnectionReset;
    let temporary = [
        ConnectionError::Silent(SECOND),
        ConnectionError::Stuck(SECOND),
        ConnectionError::NoProgress(SECOND),
        ConnectionError::NotTaken(SECOND),
        ConnectionError::Rst,
        ConnectionError::Closed,
        ConnectionError::Read(ConnectionReset.into()),
        ConnectionError::Write(ConnectionReset.into()),
        ConnectionError::Stopping,
    ];
    for error in temporary {
        let error = error.into_endpoint_error("send on host".into());
        assert!(error.is_temporary(), "{error:?}");
    }
    let for_good = [
        ConnectionError::FailedMessage("x".into()),
        ConnectionError::AnsweredEarly,
    ];
    for error in for_good {
        let error = error.into_endpoint_error("send on host".into());
        assert!(!error.is_temporary(), "{error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn trap_11_15_a_refusal_is_for_good() {
    let (mut peer, connection, dialled) = dialled(PATIENCE, 64 << 10);
    peer.say(&no("no such snapshot")).await;
    let asked = ask(Asks::Ping, connection, dialled).await;
    let Err(error) = asked.result else {
        panic!("refused")
    };
    assert!(!error.is_temporary() && matches!(error, EndpointError::Failed(_)));
}

#[tokio::test(start_paused = true)]
async fn trap_11_18_frames_of_8_mib_are_taken_and_longer_ones_not() {
    let most = vec![7; 8 << 20];
    let (endpoint, mut peer, task) = serve(64 << 10);
    let receiving = request("/v1/recv", &receive_request("pool/fs"));
    peer.say(&receiving).await;
    peer.say(&message(STREAM, &most)).await;
    peer.hear_and_close().await;
    task.await.unwrap().result.unwrap();
    assert!(endpoint.taken()[0].bytes == most);
    let (endpoint, mut peer, task) = serve(64 << 10);
    peer.say(&receiving).await;
    peer.say(&[0, 0, 0, 5, 0, 0x80, 0, 1]).await;
    peer.say(&[7; 100]).await;
    let said = said_by_server(&peer.hear_and_close().await);
    assert!(said.refusal().unwrap().contains("8388609 payload bytes"));
    task.await.unwrap().result.unwrap_err();
    assert!(endpoint.taken()[0].bytes.is_empty());
}

#[tokio::test(start_paused = true)]
async fn trap_11_19_short_texts_are_made_longer_and_empty_ones_are_not_success() {
    for text in ["", "x"] {
        let header = refused_with(text).await;
        assert!(header.starts_with(b"HANDLER ERROR:\n") && header.len() > 15);
        let script = Script::new(BYTES, Then::Fail(text.into()));
        let (mut peer, task) = served(Scripted::sender(script).shared(), PATIENCE, 4096);
        peer.say(&Asks::Send.request()).await;
        let said = said_by_server(&peer.hear_and_close().await);
        assert_eq!(said.lone, 0);
        match &said.stream().unwrap().ending {
            Ending::Failed(sent) => assert!(sent.len() >= 2 && sent.starts_with(text)),
            other => panic!("{other:?}"),
        }
        task.await.unwrap().result.unwrap_err();
    }
}

#[tokio::test(start_paused = true)]
async fn trap_11_19_a_stream_of_one_byte_fails_and_shorter_and_longer_ones_do_not() {
    short_steps(SECOND / 1000);
    for len in [
        0,
        1,
        2,
        3,
        (128 << 10) + 1,
        (128 << 10) + 3,
        (512 << 10) + 1,
    ] {
        let bytes = vec![7; len];
        let endpoint = Scripted::sender(Script::new(&bytes, Then::End)).shared();
        let (mut peer, task) = served(endpoint, PATIENCE, 64 << 10);
        peer.say(&Asks::Send.request()).await;
        let said = said_by_server(&peer.hear_and_close().await);
        let _ = task.await.unwrap();
        assert_eq!(said.lone, 0, "{len}");
        let stream = said.stream();
        if len == 1 {
            let text = "stream of one byte cannot be sent";
            let stream = stream.unwrap();
            assert_eq!(stream.ending, Ending::Failed(text.into()));
            assert!(stream.body.is_empty());
        } else {
            assert_eq!(stream.unwrap().ending, Ending::End);
            assert!(stream.unwrap().body == bytes);
        }
    }
}

/// Through the real pump, out of a real pipe.
#[test]
fn trap_11_19_no_arrival_of_bytes_makes_a_frame_of_one_byte() {
    use proptest::prelude::*;
    let piece = prop_oneof![
        4 => 0_usize..4,
        2 => 4_usize..200,
        1 => 4090_usize..4100,
        1 => 65_530_usize..65_540,
        1 => 131_066_usize..131_078,
    ];
    let pieces = prop::collection::vec(piece, 0..12);
    let mut runner = TestRunner::new(Config::with_cases(300));
    runner
        .run(
            &(pieces, any::<bool>(), 1_usize..5000),
            |(lens, slow, buffer)| {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .start_paused(true)
                    .build()
                    .expect("this machine can do that");
                let said = runtime.block_on(async {
                    short_steps(SECOND / 1000);
                    let pieces = lens.iter().map(|len| vec![7; *len]).collect();
                    let pause = if slow { SECOND / 100 } else { Duration::ZERO };
                    let script = Script::paced(pieces, pause, Then::End);
                    let endpoint = Scripted::sender(script).shared();
                    let (mut peer, task) = served(endpoint, PATIENCE, buffer);
                    peer.say(&Asks::Send.request()).await;
                    let heard = peer.hear_and_close().await;
                    let _ = task.await.expect("it does not panic");
                    said_by_server(&heard)
                });
                let total = lens.iter().sum::<usize>();
                prop_assert_eq!(said.lone, 0);
                let stream = said.stream().expect("a stream");
                if total == 1 {
                    prop_assert!(matches!(stream.ending, Ending::Failed(_)));
                } else {
                    prop_assert_eq!(&stream.ending, &Ending::End);
                    prop_assert_eq!(stream.body.len(), total);
                }
                Ok(())
            },
        )
        .expect("no frame of one byte");
}
