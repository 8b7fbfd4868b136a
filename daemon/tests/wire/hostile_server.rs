//! Servers that break the protocol: our client gives up the request with an error that says why, in bounded time and memory, and
//! believes no answer and no stream that is not whole.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;
use zrepl_daemon::endpoint::EndpointError;
use zrepl_daemon::rpc::data::client;
use zrepl_proto::pdu::{ReceiveRes, SendRes};

use crate::conversation::{Asked, Asks, BYTES, ask};
use crate::double::{receive_request, send_request};
use crate::hostile::neighbour;
use crate::peer::{
    END, HEARTBEAT, RES_HEADER, RES_STRUCTURED, RST, STREAM, Said, Speaker, TRAILER, dialled,
    frame, message, no, short_steps, yes,
};
use crate::scripted::{Script, Then, take};
use crate::timing::{PATIENCE, SECOND, assert_took, timed};

/// What our client makes of a server that says the first at once, and then the second again and again.
async fn ask_hostile(asks: Asks, first: &[u8], again: &[u8], every: Duration) -> (Asked, Duration) {
    short_steps(SECOND / 10);
    let (peer, connection, dialled) = dialled(PATIENCE, 64 << 10);
    let (mut reader, mut writer) = (peer.reader, peer.writer);
    let (first, again) = (first.to_vec(), again.to_vec());
    let hearing = tokio::spawn(async move {
        let mut heard = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut reader, &mut heard)
            .await
            .expect("in memory");
        heard
    });
    let speaking = tokio::spawn(async move {
        let mut result = writer.write_all(&first).await;
        while result.is_ok() {
            result = writer.write_all(&again).await;
            tokio::time::sleep(every).await;
        }
    });
    let (asked, ()) = tokio::join!(timed(ask(asks, connection, dialled)), neighbour());
    let heard = hearing.await.expect("it does not panic");
    let said = Said::decode(&heard, Speaker::Client);
    assert!(said.rst || said.torn, "it says goodbye: {said:?}");
    speaking.abort();
    asked
}

/// The same for a server that lives afterwards.
async fn ask_alive(asks: Asks, bytes: &[u8]) -> Asked {
    let (asked, _) = ask_hostile(asks, bytes, &frame(HEARTBEAT, &[]), 4 * SECOND).await;
    asked
}

#[track_caller]
fn broken(asked: &Asked, part_of_why: &str) {
    assert!(!asked.believes());
    assert!(asked.why().contains(part_of_why), "{}", asked.why());
    if let Err(error) = &asked.result {
        assert!(matches!(error, EndpointError::Protocol { .. }), "{error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_no_answer_is_not_taken_for_one() {
    let table: [(&[u8], &str); 8] = [
        (
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            "payload bytes, at most",
        ),
        (&[0xff; 64], "has 4294967295 payload bytes"),
        (&frame(0x0200_0000, b"zz"), "unknown frame type 0x02000000"),
        (&frame(6, b"zz"), "unexpected frame type 0x00000006"),
        (
            &message(RES_HEADER, b"PERHAPS\n"),
            "response header \"PERHAPS",
        ),
        (&frame(END, &[]), "response header \"\""),
        (
            &[message(RES_HEADER, b"HANDLER OK\n"), message(STREAM, b"zz")].concat(),
            "unexpected frame type ZfsStream",
        ),
        (
            &[frame(TRAILER, b"disk is gone"), frame(END, &[])].concat(),
            "message failed: disk is gone",
        ),
    ];
    for asks in Asks::ALL {
        for (bytes, why) in table {
            broken(&ask_alive(asks, bytes).await, why);
        }
    }
    let bad = [
        message(RES_HEADER, b"HANDLER OK\n"),
        message(RES_STRUCTURED, &[0xff; 9]),
    ]
    .concat();
    for asks in Asks::ALL {
        broken(&ask_alive(asks, &bad).await, "cannot decode the answer");
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_text_may_have_a_mebibyte_but_not_more() {
    let longest = "x".repeat((1 << 20) - 15);
    let asked = ask_alive(Asks::Ping, &no(&longest)).await;
    assert_eq!(asked.why(), longest);
    let asked = ask_alive(Asks::Ping, &no(&"x".repeat((1 << 20) - 14))).await;
    broken(
        &asked,
        "ResHeader of at least 1048577 bytes, at most 1048576",
    );
    let ok = message(RES_HEADER, b"HANDLER OK\n");
    let long = frame(RES_STRUCTURED, &vec![0; 4 << 20]);
    let asked = ask_alive(Asks::Ping, &[&ok[..], &long, &long, &long].concat()).await;
    broken(
        &asked,
        "ResStructured of at least 12582912 bytes, at most 8388608",
    );
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_empty_frames_or_one_byte_in_nine_seconds_ends_after_the_patience() {
    for asks in Asks::ALL {
        let empty = frame(RES_HEADER, &[]);
        let (asked, took) = ask_hostile(asks, &[], &empty, SECOND / 100).await;
        assert!(asked.why().contains("nothing else for 240s"));
        assert_took(took, PATIENCE.answer, SECOND);
        let header = &frame(RES_HEADER, &[b'x'; 1000])[..8];
        let (asked, took) = ask_hostile(asks, header, b"H", 9 * SECOND).await;
        assert!(asked.why().contains("nothing else for 240s"));
        assert_took(took, PATIENCE.answer, SECOND);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_empty_frames_ends_after_the_patience() {
    let first = [yes(&SendRes::default()), frame(STREAM, BYTES)].concat();
    for (again, every) in [
        (frame(STREAM, &[]), SECOND / 100),
        (frame(TRAILER, b"xx"), 9 * SECOND),
        (frame(HEARTBEAT, b"xx"), SECOND),
    ] {
        let (asked, took) = ask_hostile(Asks::Send, &first, &again, every).await;
        assert!(asked.why().contains("nothing else for 120s"));
        assert_took(took, PATIENCE.stream, SECOND);
        assert_eq!(asked.taken.unwrap().bytes, BYTES);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_with_anything_else_in_it_is_broken() {
    let first = [yes(&SendRes::default()), frame(STREAM, BYTES)].concat();
    for (then, why) in [
        (frame(RES_STRUCTURED, b"zz"), "unexpected frame type"),
        (frame(0x0400_0000, b"zz"), "unknown frame type"),
        (frame(RST, &[]), "peer closes the connection"),
        (
            [frame(TRAILER, b"zz"), frame(STREAM, b"more")].concat(),
            "unexpected frame type ZfsStream",
        ),
        (
            vec![0, 0, 0, 5, 0xff, 0xff, 0xff, 0xff],
            "4294967295 payload bytes",
        ),
    ] {
        let asked = ask_alive(Asks::Send, &[&first[..], &then].concat()).await;
        assert!(
            !asked.believes() && asked.why().contains(why),
            "{}",
            asked.why()
        );
        assert_eq!(asked.taken.unwrap().bytes, BYTES);
    }
}

#[tokio::test(start_paused = true)]
async fn a_trailer_of_100_mib_is_kept_in_part() {
    let (mut peer, connection, dialled) = dialled(PATIENCE, 64 << 10);
    let speaking = tokio::spawn(async move {
        peer.say(&yes(&SendRes::default())).await;
        let piece = frame(TRAILER, &vec![b'x'; 4 << 20]);
        for _ in 0..25 {
            peer.say(&piece).await;
        }
        peer.say(&frame(END, &[])).await;
        peer.hear_and_close().await;
    });
    let asked = ask(Asks::Send, connection, dialled).await;
    assert!(!asked.believes());
    assert_eq!(asked.why().len(), "sender failed: ".len() + (64 << 10));
    speaking.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_nobody_takes_is_not_read() {
    let (mut peer, connection, dialled) = dialled(PATIENCE, 4096);
    peer.say(&yes(&SendRes::default())).await;
    let (_, stream) = client::send(connection, &send_request("pool/fs"), dialled)
        .await
        .unwrap();
    let flood = frame(STREAM, &[7; 4096]);
    let mut told = 0;
    while timeout(SECOND, peer.say(&flood)).await.is_ok() {
        told += flood.len();
    }
    assert!(told <= 64 << 10, "{told}");
    // Whoever takes it gets it. What was said in part is said to its end here.
    drop(stream);
}

#[tokio::test(start_paused = true)]
async fn a_confirmation_before_the_end_of_the_stream_is_not_believed() {
    short_steps(SECOND / 100);
    let (mut peer, connection, dialled) = dialled(PATIENCE, 64 << 10);
    peer.say(&yes(&ReceiveRes::default())).await;
    let stream = Script::new(BYTES, Then::Hang).stream();
    let request = receive_request("pool/fs");
    let error = client::receive(connection, &request, stream, &dialled)
        .await
        .unwrap_err();
    let text = zrepl_daemon::causes::chain(&error);
    assert!(text.contains("receiver answered before it had the whole stream"));
    assert!(!error.is_temporary());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_gives_up_a_stream_says_so_and_is_gone_after_10_seconds() {
    let (mut peer, connection, dialled) = dialled(PATIENCE, 64 << 10);
    peer.say(&[yes(&SendRes::default()), frame(STREAM, BYTES)].concat())
        .await;
    let (_, stream) = client::send(connection, &send_request("pool/fs"), dialled)
        .await
        .unwrap();
    let taken = take(stream, 4).await;
    assert_eq!(taken.bytes, BYTES);
    let said = Said::decode(&peer.hear_all().await, Speaker::Client);
    assert!(said.rst && !said.torn);
    // It hears what is still on its way, and then not any more.
    let flood = frame(STREAM, &[7; 4096]);
    let (_, took) = timed(peer.repeat(&flood, SECOND)).await;
    assert_took(took, 10 * SECOND, 2 * SECOND);
}
