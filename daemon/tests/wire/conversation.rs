//! The three requests, each with the bytes of a small valid conversation, and our client and our server doing their part of it.

use std::sync::Arc;

use prost::Message as _;
use tokio::task::JoinHandle;
use zrepl_daemon::causes::chain;
use zrepl_daemon::endpoint::EndpointError;
use zrepl_daemon::rpc::data::client::{self, Dialled};
use zrepl_daemon::rpc::data::connection::Connection;
use zrepl_daemon::rpc::data::server::Served;
use zrepl_proto::pdu::{PingReq, PingRes, ReceiveRes, SendRes};

use crate::double::{receive_request, send_request};
use crate::peer::{Peer, RST, STREAM, frame, message, request, served, yes};
use crate::scripted::{Script, Scripted, Taken, Then, take};
use crate::timing::PATIENCE;

/// The stream of all small conversations.
pub(crate) const BYTES: &[u8] = b"sixteen bytes...";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asks {
    Ping,
    Send,
    Receive,
}

impl Asks {
    pub(crate) const ALL: [Self; 3] = [Self::Ping, Self::Send, Self::Receive];

    /// What a client says before it hears anything.
    pub(crate) fn request(self) -> Vec<u8> {
        match self {
            Self::Ping => request("/v1/ping", &ping()),
            Self::Send => request("/v1/send", &send_request("pool/fs")),
            Self::Receive => {
                let request = request("/v1/recv", &receive_request("pool/fs"));
                [request, in_two_frames()].concat()
            }
        }
    }

    /// What a server answers.
    pub(crate) fn answer(self) -> Vec<u8> {
        match self {
            Self::Ping => yes(&PingRes::from(ping())),
            Self::Send => [yes(&send_answer()), in_two_frames()].concat(),
            Self::Receive => yes(&ReceiveRes::default()),
        }
    }

    /// The same, and the end of the connection.
    pub(crate) fn goodbye(self) -> Vec<u8> {
        [self.answer(), frame(RST, &[])].concat()
    }
}

fn in_two_frames() -> Vec<u8> {
    let (first, rest) = BYTES.split_at(6);
    [frame(STREAM, first), message(STREAM, rest)].concat()
}

pub(crate) fn ping() -> PingReq {
    PingReq {
        message: "are you there".into(),
    }
}

pub(crate) fn send_answer() -> SendRes {
    SendRes {
        used_resume_token: true,
        ..SendRes::default()
    }
}

/// What our client came to.
#[derive(Debug)]
pub(crate) struct Asked {
    /// The answer, encoded.
    pub(crate) result: Result<Vec<u8>, EndpointError>,
    pub(crate) taken: Option<Taken>,
}

impl Asked {
    /// Whether our client believes that all went well.
    pub(crate) fn believes(&self) -> bool {
        self.result.is_ok() && self.taken.as_ref().is_none_or(|taken| taken.whole)
    }

    /// Why it does not.
    pub(crate) fn why(&self) -> String {
        match (&self.result, &self.taken) {
            (Err(error), _) => chain(error),
            (Ok(_), Some(taken)) => taken.failure.clone().unwrap_or_default(),
            (Ok(_), None) => String::new(),
        }
    }
}

/// Our client asks, and takes the stream that it gets.
pub(crate) async fn ask(asks: Asks, connection: Connection, dialled: Dialled) -> Asked {
    let mut taken = None;
    let result = match asks {
        Asks::Ping => client::ping(connection, &ping(), &dialled)
            .await
            .map(|answer| answer.encode_to_vec()),
        Asks::Send => match client::send(connection, &send_request("pool/fs"), dialled).await {
            Ok((answer, stream)) => {
                taken = Some(take(stream, usize::MAX).await);
                Ok(answer.encode_to_vec())
            }
            Err(error) => Err(error),
        },
        Asks::Receive => {
            let stream = Script::new(BYTES, Then::End).stream();
            let request = receive_request("pool/fs");
            client::receive(connection, &request, stream, &dialled)
                .await
                .map(|answer| answer.encode_to_vec())
        }
    };
    Asked { result, taken }
}

/// Our server, which can send and receive.
pub(crate) fn serve(buffer: usize) -> (Arc<Scripted>, Peer, JoinHandle<Served>) {
    let mut endpoint = Scripted::sender(Script::new(BYTES, Then::End));
    if let Ok((answer, _)) = &mut endpoint.sending {
        *answer = send_answer();
    }
    let endpoint = endpoint.shared();
    let (peer, task) = served(Arc::clone(&endpoint), PATIENCE, buffer);
    (endpoint, peer, task)
}
