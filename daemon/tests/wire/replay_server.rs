//! Our server against the clients that were recorded with zrepl 0.7.0: it gets their bytes, whole and in odd pieces, an endpoint
//! gives the recorded answers, and it has to say what Go's server said. Where the recording was cut, or Go's daemon died, ours
//! has to end in order, and must not take a part of a stream for all of it.

use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use zrepl_daemon::rpc::data::Patience;
use zrepl_daemon::rpc::data::server::Served;
use zrepl_proto::pdu::{ReceiveRes, SendRes};

use crate::peer::{Ending, RST, Said, Speaker, frame, served, short_steps};
use crate::recordings::{Recording, recordings};
use crate::scripted::{Script, Scripted, Taken, Then};

/// How the client behaves after its last byte, if Go's server did not answer to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Afterwards {
    Closes,
    StaysSilent,
}

/// What our server made of it.
struct Played {
    said: Said,
    served: Served,
    taken: Vec<Taken>,
}

fn endpoint(recording: &Recording) -> Scripted {
    let (client, server) = (recording.client(), recording.server());
    let mut parts = server.parts.iter();
    let Some(header) = parts.next() else {
        return Scripted::refusing("nothing was recorded");
    };
    if !header.body.starts_with(b"HANDLER OK\n") {
        let text = server.refusal().unwrap_or_default();
        let mut endpoint = Scripted::refusing(&text);
        if let Some(stream) = client.stream()
            && stream.ending == Ending::Missing
        {
            // It failed before the stream had ended.
            endpoint.takes = stream.body.len();
        }
        return endpoint;
    }
    let body = parts.next().map_or(&[][..], |part| part.body.as_slice());
    let mut endpoint = Scripted::receiver();
    if recording.sends() {
        let script = match parts.next() {
            None => Script::new(&[], Then::Hang),
            Some(stream) => {
                let then = match &stream.ending {
                    Ending::End => Then::End,
                    Ending::Failed(text) => Then::Fail(text.clone()),
                    Ending::Missing => Then::Hang,
                };
                Script::new(&stream.body, then)
            }
        };
        endpoint.sending = Ok((SendRes::decode(body).expect("Go encoded it"), script));
    } else if recording.path() == "/v1/recv" {
        endpoint.receiving = Ok(ReceiveRes::decode(body).expect("Go encoded it"));
    }
    endpoint
}

async fn play(recording: &Recording, cut: usize, afterwards: Afterwards) -> Played {
    let rst = frame(RST, &[]);
    let endpoint = endpoint(recording).shared();
    let (mut peer, task) = served(Arc::clone(&endpoint), Patience::default(), 64 << 10);
    let (bytes, last) = match recording.client.strip_suffix(&rst[..]) {
        Some(bytes) => (bytes, &rst[..]),
        None => (&recording.client[..], &[][..]),
    };
    let answered = recording.server().is_whole_answer(recording.sends());
    let mut writer = peer.writer;
    let heard = {
        let talking = async {
            for piece in bytes.chunks(cut) {
                if tokio::io::AsyncWriteExt::write_all(&mut writer, piece)
                    .await
                    .is_err()
                {
                    return;
                }
                tokio::task::yield_now().await;
            }
            if answered {
                return;
            }
            // All of the recorded answer has arrived by then.
            tokio::time::sleep(Duration::from_secs(3)).await;
            if !last.is_empty() || afterwards == Afterwards::Closes {
                let _ = tokio::io::AsyncWriteExt::write_all(&mut writer, last).await;
                let _ = tokio::io::AsyncWriteExt::shutdown(&mut writer).await;
            }
        };
        let mut heard = Vec::new();
        let hearing = tokio::io::AsyncReadExt::read_to_end(&mut peer.reader, &mut heard);
        let ((), result) = tokio::join!(talking, hearing);
        result.expect("in memory");
        heard
    };
    if answered {
        let _ = tokio::io::AsyncWriteExt::write_all(&mut writer, last).await;
        let _ = tokio::io::AsyncWriteExt::shutdown(&mut writer).await;
    }
    let speaker = Speaker::Server {
        sends: recording.sends(),
    };
    Played {
        said: Said::decode(&heard, speaker),
        served: task.await.expect("it does not panic"),
        taken: endpoint.taken(),
    }
}

/// One line for the list of what was replayed.
fn line(recording: &Recording, played: &Played) -> String {
    let client = recording.client();
    let bytes = |said: &Said| said.stream().map_or(0, |stream| stream.body.len());
    let outcome = match &played.served.result {
        Ok(()) => "done".to_owned(),
        Err(error) => zrepl_daemon::causes::chain(error).replace('\n', " "),
    };
    format!(
        "server {:45} {:10} in {:>8} out {:>8}  {outcome:.100}",
        recording.id,
        recording.path(),
        bytes(&client),
        bytes(&played.said),
    )
}

fn check(recording: &Recording, played: &Played, context: &str) {
    let (client, server) = (recording.client(), recording.server());
    let said = &played.said;
    assert_eq!(said.lone, 0, "{context}");
    if server.is_whole_answer(recording.sends()) {
        assert_eq!(said.parts, server.parts, "{context}");
        assert!(said.rst && !said.torn, "{context}");
    } else {
        for (ours, theirs) in said.parts.iter().zip(&server.parts) {
            // Two bytes are held back while more may come.
            let enough = ours.body.len() + 2 >= theirs.body.len();
            let same = theirs.body.starts_with(&ours.body);
            assert!(enough && same, "{context}: {ours:?} {theirs:?}");
            if theirs.ending == Ending::Missing {
                assert_eq!(ours.ending, Ending::Missing, "{context}");
            }
        }
    }
    // What arrived is what was sent, and it is whole only if it ended so.
    for taken in &played.taken {
        let sent = client.stream().expect("a stream was taken");
        assert!(sent.body == taken.bytes, "{context}");
        assert_eq!(taken.whole, sent.ending == Ending::End, "{context}");
    }
    if client.parts.len() < 2 || client.parts[1].ending == Ending::Missing {
        assert!(played.served.result.is_err(), "{context}");
    }
}

/// Sizes of pieces for a conversation of so many bytes.
fn cuts(len: usize) -> Vec<usize> {
    let mut cuts = vec![64 << 10];
    if len < 64 << 10 {
        cuts.push(7);
    }
    if len < 4 << 10 {
        cuts.push(1);
    }
    if len > 64 << 10 {
        cuts.push(131_077);
    }
    cuts
}

#[tokio::test(start_paused = true)]
async fn our_server_answers_recorded_clients_as_go_did() {
    short_steps(Duration::from_millis(1));
    let (mut whole, mut cut_off) = (0, 0);
    for recording in recordings() {
        let answered = recording.server().is_whole_answer(recording.sends());
        for cut in cuts(recording.client.len()) {
            for afterwards in [Afterwards::Closes, Afterwards::StaysSilent] {
                if answered && afterwards == Afterwards::StaysSilent {
                    continue;
                }
                let played = play(&recording, cut, afterwards).await;
                let context = format!("{} in pieces of {cut}, {afterwards:?}", recording.id);
                check(&recording, &played, &context);
                if cut == 64 << 10 {
                    println!("{}", line(&recording, &played));
                }
            }
        }
        if answered {
            whole += 1;
        } else {
            cut_off += 1;
        }
    }
    println!("server {whole} conversations, {cut_off} cut off");
    assert!(whole >= 10 && cut_off >= 3, "{whole}, {cut_off}");
}
