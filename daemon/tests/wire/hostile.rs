//! Clients that break the protocol, and what becomes of them: their connection alone ends, with an error that says why, in bounded
//! time and memory, while another connection goes on.

use std::time::Duration;

use prost::Message as _;
use zrepl_daemon::rpc::data::server::Served;

use crate::conversation::{Asks, BYTES, serve};
use crate::double::{receive_request, send_request};
use crate::peer::{
    END, HEARTBEAT, REQ_HEADER, REQ_STRUCTURED, RST, STREAM, Said, Speaker, TRAILER, frame,
    message, request, served, short_steps,
};
use crate::scripted::{Script, Scripted, Then};
use crate::timing::{PATIENCE, SECOND, assert_took, timed, why};

/// What a client heard, and what the log says.
struct Ended {
    said: Said,
    served: Served,
    /// What was handed on.
    taken: usize,
    took: Duration,
}

impl Ended {
    fn why(&self) -> String {
        why(&self.served)
    }

    /// The client has heard nothing but the end, soon.
    #[track_caller]
    fn at_once(&self, part_of_why: &str) {
        assert!(self.why().contains(part_of_why), "{}", self.why());
        assert!(self.said.parts.is_empty() && self.said.rst);
        assert!(self.took < SECOND, "{:?}", self.took);
    }

    /// Its request was answered with this.
    #[track_caller]
    fn told(&self, part_of_why: &str) {
        let refusal = self.said.refusal().expect("an answer");
        assert!(refusal.contains(part_of_why), "{refusal}");
        assert!(self.why().contains(part_of_why), "{}", self.why());
    }
}

/// Another client, that takes a minute for a stream.
pub(crate) async fn neighbour() {
    let (endpoint, mut peer, task) = serve(4096);
    peer.say(&request("/v1/recv", &receive_request("pool/fs")))
        .await;
    for byte in 0..15_u8 {
        tokio::time::sleep(4 * SECOND).await;
        peer.say(&frame(STREAM, &[byte; 100])).await;
    }
    peer.say(&message(STREAM, b"")).await;
    let ((), took) = timed(async {
        peer.hear_and_close().await;
    })
    .await;
    assert!(took < SECOND, "{took:?}");
    let served = task.await.expect("it does not panic");
    served.result.expect("it goes on");
    assert_eq!(endpoint.taken()[0].bytes.len(), 1500);
}

/// Serves a client that says this, and then the second again and again, beside another client.
async fn serve_hostile(first: &[u8], again: &[u8], every: Duration) -> Ended {
    short_steps(SECOND / 10);
    let (endpoint, peer, task) = serve(64 << 10);
    let (mut reader, mut writer) = (peer.reader, peer.writer);
    let (first, again) = (first.to_vec(), again.to_vec());
    let speaking = tokio::spawn(async move {
        use tokio::io::AsyncWriteExt as _;
        let mut result = writer.write_all(&first).await;
        while result.is_ok() {
            result = writer.write_all(&again).await;
            tokio::time::sleep(every).await;
        }
    });
    let hostile = timed(async move {
        let mut heard = Vec::new();
        let hearing = tokio::io::AsyncReadExt::read_to_end(&mut reader, &mut heard);
        hearing.await.expect("in memory");
        speaking.abort();
        heard
    });
    let ((heard, took), served, ()) = tokio::join!(hostile, task, neighbour());
    Ended {
        said: Said::decode(&heard, Speaker::Server { sends: true }),
        served: served.expect("it does not panic"),
        taken: endpoint.taken().iter().map(|it| it.bytes.len()).sum(),
        took,
    }
}

/// The same for a client that lives afterwards.
async fn serve_bytes(bytes: &[u8]) -> Ended {
    serve_hostile(bytes, &frame(HEARTBEAT, &[]), 4 * SECOND).await
}

fn receiving() -> Vec<u8> {
    request("/v1/recv", &receive_request("pool/fs"))
}

/// Type and length alone.
fn header(code: u32, len: u32) -> Vec<u8> {
    [code.to_be_bytes(), len.to_be_bytes()].concat()
}

#[tokio::test(start_paused = true)]
async fn garbage_is_no_request() {
    let ended = serve_bytes(b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n").await;
    ended.at_once("frame of type 0x47455420 has 790644820 payload bytes");
    let ended = serve_bytes(&[0; 64]).await;
    ended.at_once("unexpected frame type 0x00000000");
    let ended = serve_bytes(&[0xff; 64]).await;
    ended.at_once("has 4294967295 payload bytes");
}

#[tokio::test(start_paused = true)]
async fn a_frame_of_4_gib_is_refused_by_its_header() {
    serve_bytes(&header(REQ_HEADER, u32::MAX))
        .await
        .at_once("has 4294967295 payload bytes, at most 8388608");
    let bytes = [receiving(), header(STREAM, u32::MAX)].concat();
    let ended = serve_bytes(&bytes).await;
    ended.told("has 4294967295 payload bytes, at most 8388608");
    assert_eq!(ended.taken, 0);
}

#[tokio::test(start_paused = true)]
async fn frames_of_one_byte_are_taken() {
    let (endpoint, mut peer, task) = serve(64 << 10);
    let request = receive_request("pool/fs").encode_to_vec();
    let messages: [(u32, &[u8]); 3] = [
        (REQ_HEADER, b"/v1/recv"),
        (REQ_STRUCTURED, &request),
        (STREAM, BYTES),
    ];
    for (code, body) in messages {
        for byte in body {
            peer.say(&frame(code, &[*byte])).await;
            peer.say(&frame(HEARTBEAT, b"x")).await;
        }
        peer.say(&frame(END, &[])).await;
    }
    peer.hear_and_close().await;
    task.await.unwrap().result.unwrap();
    assert_eq!(endpoint.taken()[0].bytes, BYTES);
}

#[tokio::test(start_paused = true)]
async fn empty_frames_are_no_progress() {
    let ended = serve_hostile(&[], &frame(REQ_HEADER, &[]), SECOND / 100).await;
    assert!(ended.why().contains("nothing else for 60s"));
    assert_took(ended.took, PATIENCE.request, SECOND);
    let ended = serve_hostile(&receiving(), &frame(STREAM, &[]), SECOND / 100).await;
    ended.told("nothing else for 120s");
    assert_took(ended.took, PATIENCE.stream, SECOND);
}

#[tokio::test(start_paused = true)]
async fn unknown_and_misplaced_frames_end_the_connection() {
    let unknown = frame(0x0200_0000, b"zz");
    serve_bytes(&unknown)
        .await
        .at_once("unknown frame type 0x02000000");
    let ended = serve_bytes(&[receiving(), unknown.clone()].concat()).await;
    ended.told("unknown frame type 0x02000000");
    for code in [0, 6, REQ_STRUCTURED, 0x0003_0000] {
        let ended = serve_bytes(&frame(code, b"zz")).await;
        ended.at_once("unexpected frame type");
        let ended = serve_bytes(&[receiving(), frame(code, b"zz")].concat()).await;
        ended.told("unexpected frame type");
    }
    // A server that sends expects nothing at all, not even an end.
    for bytes in [unknown, frame(END, &[]), frame(STREAM, b"zz")] {
        let endpoint = Scripted::sender(Script::new(BYTES, Then::Hang)).shared();
        let (mut peer, task) = served(endpoint, PATIENCE, 64 << 10);
        peer.say(&request("/v1/send", &send_request("pool/fs")))
            .await;
        peer.say(&bytes).await;
        let heard = peer.hear_and_close().await;
        let said = Said::decode(&heard, Speaker::Server { sends: true });
        assert!(
            said.rst
                && said
                    .stream()
                    .is_none_or(|it| it.ending == crate::peer::Ending::Missing)
        );
        let why = why(&task.await.unwrap());
        assert!(why.contains("frame type"), "{why}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_end_in_the_wrong_place_is_an_empty_message() {
    let ended = serve_bytes(&[frame(END, &[]), frame(END, &[])].concat()).await;
    ended.told("requested endpoint does not exist");
    // After a whole request nobody listens any more.
    let (_, mut peer, task) = serve(64 << 10);
    peer.say(&[Asks::Ping.request(), frame(END, &[])].concat())
        .await;
    peer.hear_and_close().await;
    task.await.unwrap().result.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_may_carry_8_mib_of_nothing_but_not_more() {
    let (endpoint, mut peer, task) = serve(64 << 10);
    peer.say(&receiving()).await;
    peer.say(&frame(HEARTBEAT, &vec![7; 8 << 20])).await;
    peer.say(&message(STREAM, BYTES)).await;
    peer.hear_and_close().await;
    task.await.unwrap().result.unwrap();
    assert_eq!(endpoint.taken()[0].bytes, BYTES);
    let ended = serve_bytes(&header(HEARTBEAT, (8 << 20) + 1)).await;
    ended.at_once("has 8388609 payload bytes");
    // One byte of it after the other is no progress.
    let first = [receiving(), header(HEARTBEAT, 8 << 20)].concat();
    let ended = serve_hostile(&first, b"x", 9 * SECOND).await;
    ended.told("nothing else for 120s");
    assert_took(ended.took, PATIENCE.stream, SECOND);
}

#[tokio::test(start_paused = true)]
async fn protobuf_bombs_do_not_go_off() {
    let asking = |body: &[u8]| {
        let header = message(REQ_HEADER, b"/v1/recv");
        [header, message(REQ_STRUCTURED, body)].concat()
    };
    // Groups within groups: field 15, wire type 3.
    let ended = serve_bytes(&asking(&vec![0x7b; 1 << 20])).await;
    ended.at_once("recursion limit");
    // An empty `To`, two million times, is one.
    let (endpoint, mut peer, task) = serve(64 << 10);
    peer.say(&asking(&[0x12, 0].repeat(2 << 20))).await;
    peer.say(&message(STREAM, BYTES)).await;
    peer.hear_and_close().await;
    task.await.unwrap().result.unwrap();
    assert_eq!(endpoint.taken()[0].bytes, BYTES);
    // The same messages within each other.
    let mut nested = Vec::new();
    for _ in 0..10_000 {
        let len = u8::try_from(nested.len().min(100)).unwrap();
        nested.splice(0..0, [0x12, len]);
    }
    serve_bytes(&asking(&nested)).await.why();
    let ended = serve_bytes(&asking(&vec![0x12; (4 << 20) + 1])).await;
    ended.at_once("ReqStructured of at least 4194305 bytes, at most 4194304 are allowed");
    let ended = serve_bytes(&message(REQ_HEADER, &vec![b'x'; 32769])).await;
    ended.at_once("ReqHeader of at least 32769 bytes, at most 32768 are allowed");
}

#[tokio::test(start_paused = true)]
async fn many_small_frames_are_one_message_and_have_its_limit() {
    let bytes = frame(REQ_HEADER, b"xx").repeat(20_000);
    let ended = serve_bytes(&bytes).await;
    ended.at_once("ReqHeader of at least 32770 bytes");
}

#[tokio::test(start_paused = true)]
async fn a_trailer_of_100_mib_is_kept_in_part() {
    let (endpoint, mut peer, task) = serve(64 << 10);
    peer.say(&receiving()).await;
    peer.say(&frame(STREAM, BYTES)).await;
    let piece = frame(TRAILER, &vec![b'x'; 4 << 20]);
    for _ in 0..25 {
        peer.say(&piece).await;
    }
    peer.say(&frame(END, &[])).await;
    let heard = peer.hear_and_close().await;
    task.await.unwrap().result.unwrap_err();
    let taken = endpoint.taken().pop().unwrap();
    assert_eq!(taken.bytes, BYTES);
    let failure = taken.failure.unwrap();
    assert!(!taken.whole && failure.len() <= (64 << 10) + 100);
    // What is said of it fits Go.
    let said = Said::decode(&heard, Speaker::Server { sends: false });
    assert!(said.parts[0].body.len() <= 32768);
    // One that does not end is given up.
    let trickle = frame(TRAILER, b"xx");
    let ended = serve_hostile(&receiving(), &trickle, 9 * SECOND).await;
    ended.told("nothing else for 120s");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_hears_neither_stream_nor_answer_is_given_up_after_10_seconds() {
    short_steps(SECOND / 100);
    let endpoint = Scripted::sender(Script::new(&vec![7; 1 << 20], Then::End)).shared();
    let (mut peer, task) = served(endpoint, PATIENCE, 4096);
    peer.say(&request("/v1/send", &send_request("pool/fs")))
        .await;
    let (served, took) = timed(task).await;
    assert_took(took, 10 * SECOND, SECOND);
    assert!(why(&served.unwrap()).contains("for 10s"));

    let (_, mut peer, task) = serve(4096);
    let long = zrepl_proto::pdu::PingReq {
        message: "x".repeat(1 << 20),
    };
    peer.say(&request("/v1/ping", &long)).await;
    let (served, took) = timed(task).await;
    assert_took(took, 10 * SECOND, SECOND);
    assert!(why(&served.unwrap()).contains("nothing could be sent for 10s"));
}

#[tokio::test(start_paused = true)]
async fn one_byte_every_nine_seconds_is_not_enough_for_a_request() {
    let mut request = vec![header(REQ_HEADER, 8)];
    request.push(vec![b'/'; 100]);
    let ended = serve_hostile(&request.concat()[..8], b"/", 9 * SECOND).await;
    assert!(ended.why().contains("for 60s"), "{}", ended.why());
    assert_took(ended.took, PATIENCE.request, SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_vanishes_is_noticed_after_10_seconds() {
    let request = receiving();
    for bytes in [
        &[][..],
        &request[..20],
        &request,
        &[&request[..], &frame(STREAM, BYTES)].concat(),
    ] {
        let (_, mut peer, task) = serve(64 << 10);
        peer.say(bytes).await;
        let (served, took) = timed(task).await;
        // Then it has the time of an orderly end to hear why.
        assert_took(took, 10 * SECOND, 10 * SECOND + SECOND / 10);
        assert!(why(&served.unwrap()).contains("nothing was received for 10s"));
        drop(peer);
    }
}

#[tokio::test(start_paused = true)]
async fn what_nobody_takes_is_not_read() {
    let mut endpoint = Scripted::receiver();
    endpoint.delay = 600 * SECOND;
    endpoint.takes = 0;
    let (mut peer, task) = served(endpoint.shared(), PATIENCE, 4096);
    peer.say(&receiving()).await;
    let flood = frame(STREAM, &[7; 4096]);
    let mut told = 0;
    while tokio::time::timeout(100 * SECOND, peer.say(&flood))
        .await
        .is_ok()
    {
        told += flood.len();
    }
    assert!(told <= 64 << 10, "{told}");
    task.abort();
}

#[tokio::test(start_paused = true)]
async fn rst_at_any_time_is_the_end() {
    for bytes in [vec![], message(REQ_HEADER, b"/v1/ping"), receiving()] {
        let ended = serve_bytes(&[bytes, frame(RST, &[])].concat()).await;
        assert!(ended.why().contains("peer closes the connection"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_broken_stream_is_not_confirmed_even_if_its_receiver_is_content() {
    let mut endpoint = Scripted::receiver();
    endpoint.credulous = true;
    let (mut peer, task) = served(endpoint.shared(), PATIENCE, 64 << 10);
    let trailer = [frame(TRAILER, b"disk is gone"), frame(END, &[])].concat();
    peer.say(&[receiving(), frame(STREAM, BYTES), trailer].concat())
        .await;
    let heard = peer.hear_and_close().await;
    let said = Said::decode(&heard, Speaker::Server { sends: false });
    assert_eq!(said.refusal().unwrap(), "the stream was not complete");
    task.await.unwrap().result.unwrap_err();
}
