//! Peers that say almost the right thing: valid conversations with bytes flipped, frames lost, doubled, exchanged and inserted, cut
//! anywhere and sent in pieces of any size. Either side ends in bounded time, and what it believes is what a lenient decoder of
//! the same bytes finds with a proper end. A failure names the seed and the number of the conversation; `ZREPL_SEED` adds a seed.

use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, sleep, timeout};
use zrepl_daemon::rpc::data::Patience;
use zrepl_proto::pdu::{PingRes, ReceiveRes, SendRes};

use crate::conversation::{Asks, BYTES, ask};
use crate::peer::{
    END, Ending, HEARTBEAT, Peer, RST, Said, Speaker, TRAILER, dialled, frame, served, short_steps,
};
use crate::scripted::{Script, Scripted, Then};
use crate::timing::SECOND;

const SEEDS: [u64; 4] = [1, 20_240_102, 0xdead_beef, 7_777_777];
const CONVERSATIONS: usize = 1000;

const SHORT: Patience = Patience {
    request: Duration::from_secs(15),
    stream: Duration::from_secs(20),
    answer: Duration::from_secs(25),
};

/// Heartbeats of a peer that lives on: for longer than any patience. It may not live for ever, because where a frame of a
/// stream has lost its end they are its bytes, and each one is progress.
const BEATS: usize = 12;

/// All patience together, each with its last silence, heartbeats that are taken for progress, and the orderly end.
const LIMIT: Duration = Duration::from_secs(15 + 20 + 25 + 15 + 4 * 12 + 4 * 10);

/// xorshift64*: the same everywhere, for ever.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(number).expect("31 bits") % limit.max(1)
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).expect("a byte")
    }
}

/// Cut at the borders of frames.
fn frames(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    while let Some(len) = bytes.get(7) {
        let (frame, rest) = bytes.split_at(8 + usize::from(*len));
        frames.push(frame.to_vec());
        bytes = rest;
    }
    frames
}

/// Something that can stand between two frames, and mostly must not.
fn intruder(random: &mut Random) -> Vec<u8> {
    match random.below(10) {
        0..4 => frame(HEARTBEAT, &[]),
        4 => frame(HEARTBEAT, b"x"),
        5 => frame(RST, &[]),
        6 => frame(END, b"zz"),
        7 => frame(TRAILER, b"disk is gone"),
        8 => frame(u32::from(random.byte()), &vec![7; random.below(40)]),
        _ => frame(u32::from(random.byte()) << 24, &[]),
    }
}

fn mutate_frames(random: &mut Random, frames: &mut Vec<Vec<u8>>) {
    let at = random.below(frames.len());
    match random.below(5) {
        0 => drop(frames.remove(at)),
        1 => frames.insert(at, frames[at].clone()),
        2 => {
            let other = random.below(frames.len());
            frames.swap(at, other);
        }
        _ => frames.insert(at, intruder(random)),
    }
}

fn mutate_bytes(random: &mut Random, bytes: &mut Vec<u8>) {
    if bytes.is_empty() {
        return;
    }
    let at = random.below(bytes.len());
    match random.below(6) {
        0 | 1 => bytes[at] ^= 1 << random.below(8),
        2 => bytes[at] = random.byte(),
        3 => {
            let end = (at + 1 + random.below(8)).min(bytes.len());
            bytes.drain(at..end);
        }
        4 => {
            let noise: Vec<u8> = (0..=random.below(8)).map(|_| random.byte()).collect();
            bytes.splice(at..at, noise);
        }
        _ => bytes.truncate(at),
    }
}

/// What the peer says, and how.
#[derive(Debug)]
struct Plan {
    asks: Asks,
    bytes: Vec<u8>,
    pristine: bool,
    longest_piece: usize,
    /// Between two pieces.
    pause: Duration,
    afterwards: Afterwards,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Afterwards {
    Ends,
    Vanishes,
    Closes,
    Lives,
}

impl Plan {
    fn new(random: &mut Random, conversation: fn(Asks) -> Vec<u8>) -> Self {
        let asks = Asks::ALL[random.below(3)];
        let mut frames = frames(&conversation(asks));
        let (of_frames, of_bytes) = (random.below(3), random.below(3));
        for _ in 0..of_frames {
            if !frames.is_empty() {
                mutate_frames(random, &mut frames);
            }
        }
        let mut bytes = frames.concat();
        for _ in 0..of_bytes {
            mutate_bytes(random, &mut bytes);
        }
        Self {
            asks,
            bytes,
            pristine: of_frames + of_bytes == 0,
            longest_piece: [1, 3, 9, 50, 5000][random.below(5)],
            pause: [Duration::ZERO, SECOND / 100][random.below(2)],
            afterwards: match random.below(4) {
                0 => Afterwards::Ends,
                1 => Afterwards::Vanishes,
                2 => Afterwards::Closes,
                _ => Afterwards::Lives,
            },
        }
    }

    /// All that it may say. The heartbeats complete a frame that was cut.
    fn all_bytes(&self) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        if self.afterwards == Afterwards::Lives {
            bytes.extend(frame(HEARTBEAT, &[]).repeat(BEATS));
        }
        bytes
    }

    /// Returns what was heard, once our side has ended.
    async fn perform(self, peer: Peer, mut random: Random) -> Vec<u8> {
        let Peer {
            mut reader,
            mut writer,
        } = peer;
        let afterwards = self.afterwards;
        let speaking = async move {
            let mut rest = &self.bytes[..];
            while !rest.is_empty() {
                let len = rest.len().min(1 + random.below(self.longest_piece));
                let (piece, after) = rest.split_at(len);
                if writer.write_all(piece).await.is_err() {
                    break;
                }
                sleep(self.pause).await;
                rest = after;
            }
            if afterwards == Afterwards::Ends {
                let _ = writer.shutdown().await;
            }
            for _ in 0..if afterwards == Afterwards::Lives {
                BEATS
            } else {
                0
            } {
                if writer.write_all(&frame(HEARTBEAT, &[])).await.is_err() {
                    break;
                }
                sleep(4 * SECOND).await;
            }
            writer
        };
        let mut heard = Vec::new();
        let hearing = reader.read_to_end(&mut heard);
        match afterwards {
            Afterwards::Vanishes => {
                let _open = speaking.await;
                sleep(2 * LIMIT).await;
            }
            Afterwards::Closes => {
                tokio::select! {
                    biased;
                    _ = hearing => {}
                    _ = speaking => {}
                }
            }
            Afterwards::Ends | Afterwards::Lives => {
                let _ = tokio::join!(hearing, speaking);
            }
        }
        heard
    }
}

fn random_of(seed: u64, number: usize) -> Random {
    let number = u64::try_from(number).expect("a small number");
    let mut random = Random((seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15)) | 1);
    // The first numbers of similar states are similar.
    for _ in 0..8 {
        random.below(1);
    }
    random
}

/// One conversation with our server; says whether it came to a good end.
async fn with_server(seed: u64, number: usize) -> bool {
    let mut random = random_of(seed, number);
    let plan = Plan::new(&mut random, Asks::request);
    let context = format!("seed {seed}, conversation {number}: {plan:?}");
    let endpoint = Scripted::sender(Script::new(BYTES, Then::End)).shared();
    let (peer, task) = served(Arc::clone(&endpoint), SHORT, 64 << 10);
    let (bytes, must_work) = (
        plan.all_bytes(),
        plan.pristine && plan.asks == Asks::Receive && plan.afterwards != Afterwards::Closes,
    );
    let begun = Instant::now();
    let peer = tokio::spawn(plan.perform(peer, random));
    let served = timeout(LIMIT, task).await;
    let served = served
        .unwrap_or_else(|_| panic!("for ever: {context}"))
        .unwrap_or_else(|error| panic!("{error}: {context}"));
    assert!(begun.elapsed() < LIMIT, "{context}");
    peer.abort();
    let said = Said::decode(&bytes, Speaker::Client);
    for taken in endpoint.taken() {
        assert!(taken.bytes.len() <= bytes.len(), "{context}");
        if taken.whole {
            let stream = said.parts.get(2).unwrap_or_else(|| panic!("{context}"));
            assert_eq!(stream.ending, Ending::End, "{context}");
            assert_eq!(stream.body, taken.bytes, "{context}");
        }
    }
    if let Err(error) = &served.result {
        let text = zrepl_daemon::causes::chain(error);
        assert!(!text.is_empty() && text.len() < 70_000, "{context}");
    }
    let whole = endpoint.taken().iter().any(|taken| taken.whole);
    assert!(!must_work || whole, "{context}: {served:?}");
    served.result.is_ok()
}

/// One conversation with our client; says whether it believes that all went well.
async fn with_client(seed: u64, number: usize) -> bool {
    let mut random = random_of(seed, number);
    let plan = Plan::new(&mut random, Asks::goodbye);
    let context = format!("seed {seed}, conversation {number}: {plan:?}");
    let (peer, connection, mut dialled) = dialled(SHORT, 64 << 10);
    dialled.patience = SHORT;
    let (asks, bytes) = (plan.asks, plan.all_bytes());
    let must_work = plan.pristine && asks == Asks::Send && plan.afterwards != Afterwards::Closes;
    let peer = tokio::spawn(plan.perform(peer, random));
    let asked = timeout(LIMIT, ask(asks, connection, dialled)).await;
    let asked = asked.unwrap_or_else(|_| panic!("for ever: {context}"));
    peer.abort();
    let sends = asks == Asks::Send;
    let said = Said::decode(&bytes, Speaker::Server { sends });
    if asked.believes() {
        // What comes behind it is not looked at.
        let ended = said.parts.iter().take(if sends { 3 } else { 2 });
        let ended = ended.filter(|part| part.ending == Ending::End).count();
        assert_eq!(ended, if sends { 3 } else { 2 }, "{context}");
        assert!(
            said.parts[0].body.starts_with(
                b"HANDLER OK
"
            ),
            "{context}"
        );
        let body = &said.parts[1].body[..];
        let body = match asks {
            Asks::Ping => PingRes::decode(body).map(|it| it.encode_to_vec()),
            Asks::Send => SendRes::decode(body).map(|it| it.encode_to_vec()),
            Asks::Receive => ReceiveRes::decode(body).map(|it| it.encode_to_vec()),
        };
        assert_eq!(body.ok().as_ref(), asked.result.as_ref().ok(), "{context}");
        if let Some(taken) = &asked.taken {
            assert_eq!(said.parts[2].ending, Ending::End, "{context}");
            assert_eq!(said.parts[2].body, taken.bytes, "{context}");
        }
    } else {
        let why = asked.why();
        assert!(!why.is_empty() && why.len() < 70_000, "{context}");
        assert!(!must_work, "{context}: {why}");
    }
    asked.believes()
}

fn seeds() -> Vec<u64> {
    let extra = std::env::var("ZREPL_SEED").ok();
    let extra = extra.map(|seed| seed.parse().expect("ZREPL_SEED is a number"));
    SEEDS.into_iter().chain(extra).collect()
}

#[tokio::test(start_paused = true)]
async fn our_server_survives_clients_that_are_almost_right() {
    short_steps(SECOND / 2);
    for seed in seeds() {
        let mut good = 0;
        for number in 0..CONVERSATIONS {
            good += usize::from(with_server(seed, number).await);
        }
        println!("seed {seed}: {good} of {CONVERSATIONS} requests were fulfilled");
        // Neither all nor none: it would test nothing.
        assert!((100..900).contains(&good), "seed {seed}: {good}");
    }
}

#[tokio::test(start_paused = true)]
async fn our_client_survives_servers_that_are_almost_right() {
    short_steps(SECOND / 2);
    for seed in seeds() {
        let mut good = 0;
        for number in 0..CONVERSATIONS {
            good += usize::from(with_client(seed, number).await);
        }
        println!("seed {seed}: {good} of {CONVERSATIONS} answers were believed");
        assert!((100..900).contains(&good), "seed {seed}: {good}");
    }
}
