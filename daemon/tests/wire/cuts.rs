//! A connection that ends, falls silent or is reset after every byte of a conversation: either side always comes to an end, and
//! never takes a part for the whole.

use std::time::Duration;

use tokio::time::Instant;
use zrepl_daemon::rpc::data::server::Served;

use crate::conversation::{Asked, Asks, BYTES, ask, serve};
use crate::peer::{Peer, RST, STREAM, Said, Speaker, dialled, frame, message};
use crate::timing::{PATIENCE, SECOND};

/// What happens after the last byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// The peer says that no more comes, and hears.
    Ends,
    /// The peer neither speaks nor hears.
    Vanishes,
    /// Both directions are closed at once.
    Closes,
    /// RST, and then it ends.
    Resets,
}

const ALL: [Then; 4] = [Then::Ends, Then::Vanishes, Then::Closes, Then::Resets];

/// Longer than any limit for silence, with the orderly end.
const LIMIT: Duration = Duration::from_secs(22);

/// Whether a frame ends there. Elsewhere RST is not RST, but part of another frame.
fn is_border(bytes: &[u8], at: usize) -> bool {
    !Said::decode(&bytes[..at], Speaker::Client).torn
}

async fn say(mut peer: Peer, bytes: &[u8], then: Then) -> Vec<u8> {
    peer.say(bytes).await;
    match then {
        Then::Ends => peer.half_close().await,
        Then::Vanishes => {
            tokio::time::sleep(LIMIT).await;
            return Vec::new();
        }
        Then::Closes => return Vec::new(),
        Then::Resets => {
            peer.say(&frame(RST, &[])).await;
            peer.half_close().await;
        }
    }
    peer.hear_all().await
}

async fn server_after(asks: Asks, bytes: &[u8], then: Then) -> (Served, Vec<u8>, bool, Vec<u8>) {
    let (endpoint, peer, task) = serve(64 << 10);
    let begun = Instant::now();
    let (served, heard) = tokio::join!(task, say(peer, bytes, then));
    assert!(begun.elapsed() <= LIMIT, "{asks:?} {then:?}");
    let taken = endpoint.taken().pop().unwrap_or_default();
    let served = served.expect("it does not panic");
    (served, heard, taken.whole, taken.bytes)
}

#[tokio::test(start_paused = true)]
async fn a_server_takes_nothing_for_whole_whose_end_it_has_not_seen() {
    let mut conversations = 0;
    for asks in Asks::ALL {
        let request = asks.request();
        for cut in 0..request.len() {
            for then in ALL {
                if then == Then::Resets && !is_border(&request, cut) {
                    continue;
                }
                let context = format!("{asks:?} after {cut} bytes, {then:?}");
                let (served, heard, whole, bytes) = server_after(asks, &request[..cut], then).await;
                assert!(served.result.is_err(), "{context}");
                assert!(!whole && BYTES.starts_with(&bytes), "{context}");
                let said = Said::decode(&heard, Speaker::Server { sends: true });
                let refused = said.parts.is_empty() || said.refusal().is_some();
                assert!(refused && !said.torn, "{context}: {said:?}");
                conversations += 1;
            }
        }
        let (served, heard, whole, bytes) = server_after(asks, &request, Then::Ends).await;
        if asks == Asks::Send {
            // Its client has said that it closes, before it could get the stream.
            assert!(served.result.is_err());
            continue;
        }
        assert!(served.result.is_ok(), "{asks:?}: {served:?}");
        assert!(heard.starts_with(&asks.answer()));
        assert_eq!(
            (whole, &bytes[..]),
            if asks == Asks::Receive {
                (true, BYTES)
            } else {
                (false, &[][..])
            }
        );
    }
    assert!(conversations > 800, "{conversations}");
}

async fn client_after(asks: Asks, bytes: &[u8], then: Then) -> Asked {
    let (peer, connection, dialled) = dialled(PATIENCE, 64 << 10);
    let begun = Instant::now();
    let bytes = bytes.to_vec();
    let peer = tokio::spawn(async move {
        let mut peer = peer;
        if then == Then::Closes {
            // Once it is closed, nothing can be asked.
            peer.hear_request().await;
        }
        say(peer, &bytes, then).await
    });
    let asked = ask(asks, connection, dialled).await;
    assert!(begun.elapsed() <= LIMIT, "{asks:?} {then:?}");
    peer.await.expect("it does not panic");
    asked
}

#[tokio::test(start_paused = true)]
async fn a_client_takes_nothing_for_whole_whose_end_it_has_not_seen() {
    crate::peer::short_steps(SECOND / 100);
    for asks in Asks::ALL {
        let answer = asks.answer();
        for cut in 0..answer.len() {
            for then in ALL {
                if then == Then::Resets && !is_border(&answer, cut) {
                    continue;
                }
                let context = format!("{asks:?} after {cut} bytes, {then:?}");
                let asked = client_after(asks, &answer[..cut], then).await;
                assert!(!asked.believes(), "{context}");
                assert!(!asked.why().is_empty(), "{context}");
                if let Some(taken) = &asked.taken {
                    assert!(BYTES.starts_with(&taken.bytes), "{context}");
                }
                if let Err(error) = &asked.result {
                    assert!(error.is_temporary(), "{context}");
                }
            }
        }
        for then in [Then::Ends, Then::Closes, Then::Resets] {
            let asked = client_after(asks, &answer, then).await;
            // A confirmation may overtake the stream only if the peer is broken, as this one is that answers at once.
            let early = asked.why().contains("before it had the whole stream");
            assert!(asked.believes() || early, "{asks:?} {then:?}: {asked:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_reported_although_the_rest_of_the_stream_is_missing() {
    let trailer = [
        frame(STREAM, b"ab"),
        frame(crate::peer::TRAILER, b"disk is gone"),
    ]
    .concat();
    // Without its end, the trailer is not one.
    let request = [&Asks::Receive.request()[..], &[]].concat();
    let upto = request.len() - (8 + 6 + 8 + 10 + 8);
    let cut = [&request[..upto], &trailer].concat();
    let (served, _, whole, _) = server_after(Asks::Receive, &cut, Then::Ends).await;
    assert!(!whole && served.result.is_err());
    let all = [cut, message(STREAM, b"")].concat();
    let (served, heard, whole, bytes) = server_after(Asks::Receive, &all, Then::Ends).await;
    assert!(!whole && served.result.is_err());
    assert_eq!(bytes, b"ab");
    let said = Said::decode(&heard, Speaker::Server { sends: false });
    assert_eq!(said.refusal().unwrap(), "sender failed: disk is gone");
}
