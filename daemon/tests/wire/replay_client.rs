//! Our client against the servers that were recorded with zrepl 0.7.0: it asks what Go's client asked, gets the recorded bytes
//! when it has asked everything, whole and in odd pieces, and has to come to the recorded result.

use std::time::Duration;

use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use zrepl_daemon::endpoint::EndpointError;
use zrepl_daemon::rpc::data::Patience;
use zrepl_daemon::rpc::data::client;
use zrepl_proto::pdu::{PingReq, ReceiveReq, SendReq};

use crate::peer::{Ending, Part, Peer, RST, Said, Speaker, dialled, frame, short_steps};
use crate::recordings::{Recording, recordings};
use crate::scripted::{Script, Taken, Then, take};

/// What became of a request.
#[derive(Debug)]
enum Outcome {
    /// Encoded, so that all answers look the same.
    Answer(Vec<u8>, Option<Taken>),
    Error(EndpointError),
}

/// What our client asks; not everything that a hand-made client says can be said with ours.
enum Request {
    Ping(PingReq),
    Send(SendReq),
    Receive(ReceiveReq, Script),
}

fn request(recording: &Recording) -> Option<Request> {
    let said = recording.client();
    let [header, body, rest @ ..] = said.parts.as_slice() else {
        return None;
    };
    if header.ending != Ending::End || body.ending != Ending::End {
        return None;
    }
    match header.body.as_slice() {
        b"/v1/ping" => PingReq::decode(&*body.body).ok().map(Request::Ping),
        b"/v1/send" => SendReq::decode(&*body.body).ok().map(Request::Send),
        b"/v1/recv" => {
            let then = match rest.first().map(|stream| &stream.ending) {
                Some(Ending::End) => Then::End,
                Some(Ending::Failed(text)) => Then::Fail(text.clone()),
                Some(Ending::Missing) | None => Then::Hang,
            };
            let bytes = rest.first().map_or(&[][..], |stream| &stream.body);
            let request = ReceiveReq::decode(&*body.body).ok()?;
            Some(Request::Receive(request, Script::new(bytes, then)))
        }
        _ => None,
    }
}

/// Looks only at the headers of frames.
#[derive(Debug, Default)]
struct Progress {
    at: usize,
    ends: usize,
    stream_bytes: usize,
    rst: bool,
}

impl Progress {
    fn look(&mut self, bytes: &[u8]) {
        while let Some(head) = bytes.get(self.at..self.at + 8) {
            let len = u32::from_be_bytes(head[4..].try_into().expect("four bytes")) as usize;
            if self.at + 8 + len > bytes.len() {
                return;
            }
            match head[..4] {
                [0, 2, 0, 0] => self.ends += 1,
                [0, 0, 0, 5] => self.stream_bytes += len,
                [0x10, 0, 0, 0] => self.rst = true,
                _ => {}
            }
            self.at += 8 + len;
        }
    }

    /// Whether all that Go's client said has been said. Two bytes of an unfinished stream are held back.
    fn has_said(&self, recorded: &[Part]) -> bool {
        let ends = recorded
            .iter()
            .filter(|part| part.ending != Ending::Missing)
            .count();
        let stream = recorded.get(2).map_or(0, |stream| stream.body.len());
        self.rst || self.ends >= ends && self.stream_bytes + 2 >= stream
    }
}

/// Says the recorded answer when the request is there; returns what our client said.
async fn answer(mut peer: Peer, recorded: Vec<Part>, answer: Vec<u8>, cut: usize) -> Vec<u8> {
    let (mut heard, mut progress) = (Vec::new(), Progress::default());
    while !progress.has_said(&recorded) {
        if peer.reader.read_buf(&mut heard).await.expect("in memory") == 0 {
            break;
        }
        progress.look(&heard);
    }
    let saying = async {
        for piece in answer.chunks(cut) {
            if peer.writer.write_all(piece).await.is_err() {
                break;
            }
            tokio::task::yield_now().await;
        }
        let _ = peer.writer.shutdown().await;
    };
    let (_, ()) = tokio::join!(peer.reader.read_to_end(&mut heard), saying);
    heard
}

async fn play(recording: &Recording, cut: usize) -> Option<(Said, Outcome)> {
    let request = request(recording)?;
    let (peer, connection, dialled) = dialled(Patience::default(), 64 << 10);
    let recorded = recording.client().parts;
    let peer = tokio::spawn(answer(peer, recorded, recording.server.clone(), cut));
    let outcome = match request {
        Request::Ping(request) => {
            let answer = client::ping(connection, &request, &dialled).await;
            answer.map(|answer| (answer.encode_to_vec(), None))
        }
        Request::Send(request) => match client::send(connection, &request, dialled).await {
            Ok((answer, stream)) => {
                let taken = take(stream, usize::MAX).await;
                Ok((answer.encode_to_vec(), Some(taken)))
            }
            Err(error) => Err(error),
        },
        Request::Receive(request, script) => {
            let stream = script.stream();
            let answer = client::receive(connection, &request, stream, &dialled).await;
            answer.map(|answer| (answer.encode_to_vec(), None))
        }
    };
    let heard = peer.await.expect("it does not panic");
    let outcome = outcome.map_or_else(Outcome::Error, |(answer, taken)| {
        Outcome::Answer(answer, taken)
    });
    Some((Said::decode(&heard, Speaker::Client), outcome))
}

fn check(recording: &Recording, said: &Said, outcome: &Outcome, context: &str) {
    let (client, server) = (recording.client(), recording.server());
    assert_eq!(said.lone, 0, "{context}");
    for (ours, theirs) in said.parts.iter().zip(&client.parts) {
        if theirs.ending == Ending::Missing {
            let enough = ours.body.len() + 2 >= theirs.body.len();
            assert!(enough && theirs.body.starts_with(&ours.body), "{context}");
            assert_eq!(ours.ending, Ending::Missing, "{context}");
        } else {
            assert_eq!(ours, theirs, "{context}");
        }
    }
    assert_eq!(said.parts.len(), client.parts.len(), "{context}");
    let failed = client.stream().and_then(|stream| match &stream.ending {
        Ending::Failed(text) => Some(text.clone()),
        _ => None,
    });
    match (failed.or_else(|| server.refusal()), outcome) {
        (Some(text), Outcome::Error(EndpointError::Failed(ours))) => {
            assert_eq!(*ours, text, "{context}");
        }
        (None, Outcome::Answer(body, taken)) => {
            assert_eq!(*body, server.parts[1].body, "{context}");
            let sent = server.stream();
            assert_eq!(taken.is_some(), recording.sends(), "{context}");
            if let Some(taken) = taken {
                let sent = sent.expect("a stream was recorded");
                assert!(taken.bytes == sent.body, "{context}");
                assert_eq!(taken.whole, sent.ending == Ending::End, "{context}");
                assert_eq!(
                    taken.failure.is_some(),
                    sent.ending != Ending::End,
                    "{context}"
                );
            }
        }
        (None, Outcome::Error(error)) => {
            assert!(error.is_temporary(), "{context}: {error:?}");
            assert!(!server.is_whole_answer(recording.sends()), "{context}");
        }
        (text, outcome) => panic!("{context}: {text:?} {outcome:?}"),
    }
    // It says goodbye, unless it was stopped within a frame.
    assert!(said.rst || said.torn, "{context}");
}

fn line(recording: &Recording, outcome: Option<&Outcome>) -> String {
    let outcome = match outcome {
        None => "not a request that our client can make".to_owned(),
        Some(Outcome::Answer(body, None)) => format!("answer of {} bytes", body.len()),
        Some(Outcome::Answer(body, Some(taken))) => format!(
            "answer of {} bytes, stream of {} bytes, {}",
            body.len(),
            taken.bytes.len(),
            taken.failure.as_deref().unwrap_or("whole"),
        ),
        Some(Outcome::Error(error)) => zrepl_daemon::causes::chain(error).replace('\n', " "),
    };
    format!(
        "client {:45} {:10} {outcome:.120}",
        recording.id,
        recording.path()
    )
}

#[tokio::test(start_paused = true)]
async fn our_client_takes_recorded_answers_as_go_did() {
    short_steps(Duration::from_millis(1));
    let (mut played, mut refused, mut left_out) = (0, 0, 0);
    for recording in recordings() {
        let len = recording.server.len();
        let mut cuts = vec![64 << 10];
        cuts.extend((len < 64 << 10).then_some(7));
        cuts.extend((len < 4 << 10).then_some(1));
        for (nth, cut) in cuts.into_iter().enumerate() {
            let result = play(&recording, cut).await;
            if nth == 0 {
                println!("{}", line(&recording, result.as_ref().map(|(_, it)| it)));
            }
            let Some((said, outcome)) = result else {
                assert!(recording.is_hand_made(), "{}", recording.id);
                left_out += usize::from(nth == 0);
                continue;
            };
            if let Outcome::Error(EndpointError::Protocol { context, .. }) = &outcome
                && context == "request is not sent"
            {
                // It would end a Go daemon, or mean nothing.
                assert!(recording.is_hand_made(), "{}", recording.id);
                assert!(said.parts.is_empty(), "{}", recording.id);
                refused += usize::from(nth == 0);
                continue;
            }
            let context = format!("{} in pieces of {cut}", recording.id);
            check(&recording, &said, &outcome, &context);
            played += usize::from(nth == 0);
        }
    }
    println!("client {played} conversations, {refused} refused, {left_out} left out");
    assert!(played >= 10 && refused >= 3, "{played}, {refused}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_was_cut_off_and_stays_silent_is_given_up() {
    short_steps(Duration::from_millis(1));
    for recording in recordings() {
        let server = recording.server();
        let Some(Request::Ping(request)) = request(&recording) else {
            continue;
        };
        if server.is_whole_answer(false) {
            continue;
        }
        let (mut peer, connection, dialled) = dialled(Patience::default(), 64 << 10);
        let bytes = recording.server.strip_suffix(&frame(RST, &[])[..]);
        peer.say(bytes.unwrap_or(&recording.server)).await;
        let begun = tokio::time::Instant::now();
        let error = client::ping(connection, &request, &dialled)
            .await
            .unwrap_err();
        assert!(error.is_temporary(), "{}: {error:?}", recording.id);
        assert!(
            begun.elapsed() < Duration::from_secs(11),
            "{}",
            recording.id
        );
    }
}
