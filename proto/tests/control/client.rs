//! A tonic client in this process, answered with the bytes of a server.

use std::future::{Ready, ready};
use std::io;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use prost::bytes::{Buf as _, BufMut as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::time::timeout;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::{Service, http};
use tonic::transport::Endpoint;
use tonic::{Request, Status};

use crate::server::{Frame, frames};

const PREFACE_LEN: usize = 24;
const PATIENCE: Duration = Duration::from_secs(30);

/// Makes this many requests at once, and answers when all of them are there, with these bytes and the end of the connection.
/// The results are in the order of their streams. What is asked does not matter to such a server.
pub(crate) async fn ask(server: &[u8], requests: usize) -> Vec<Result<Vec<u8>, Status>> {
    let (near, far) = tokio::io::duplex(1 << 20);
    let answers = frames(server)
        .iter()
        .filter(|frame| frame.kind != Frame::GOAWAY)
        .flat_map(Frame::encode)
        .collect::<Vec<u8>>();
    let server = tokio::spawn(answer(far, requests, answers));
    let dial = Dial(Arc::new(Mutex::new(Some(near))));
    let channel = Endpoint::from_static("http://zrepl.invalid").connect_with_connector_lazy(dial);
    let calls: Vec<_> = (0..requests)
        .map(|_| {
            let mut client = Grpc::new(channel.clone());
            tokio::spawn(async move {
                client.ready().await.expect("ready");
                let path = http::uri::PathAndQuery::from_static("/Replication/Ping");
                client.unary(Request::new(Vec::new()), path, Raw).await
            })
        })
        .collect();
    let mut results = Vec::new();
    for call in calls {
        let result = timeout(PATIENCE, call).await.expect("result in time");
        results.push(result.expect("call").map(tonic::Response::into_inner));
    }
    server.await.expect("server");
    results
}

async fn answer(mut client: DuplexStream, requests: usize, answers: Vec<u8>) {
    let mut seen = Vec::new();
    let is_request = |frame: &Frame| frame.kind == Frame::HEADERS;
    while seen.len() < PREFACE_LEN
        || frames(&seen[PREFACE_LEN..])
            .into_iter()
            .filter(is_request)
            .count()
            < requests
    {
        assert_ne!(client.read_buf(&mut seen).await.expect("requests"), 0);
    }
    client.write_all(&answers).await.expect("room");
    client.shutdown().await.expect("end");
    // an error: the client may have hung up
    let _ = client.read_to_end(&mut seen).await;
}

/// Opens the one connection there is.
#[derive(Clone)]
struct Dial(Arc<Mutex<Option<DuplexStream>>>);

impl Service<http::Uri> for Dial {
    type Response = TokioIo<DuplexStream>;
    type Error = io::Error;
    type Future = Ready<Result<Self::Response, io::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Uri) -> Self::Future {
        let stream = self.0.lock().expect("no panic").take();
        ready(
            stream
                .map(TokioIo::new)
                .ok_or(io::ErrorKind::ConnectionRefused.into()),
        )
    }
}

/// Messages as they are.
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, message: Vec<u8>, bytes: &mut EncodeBuf<'_>) -> Result<(), Status> {
        bytes.put_slice(&message);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        Ok(Some(bytes.copy_to_bytes(bytes.remaining()).to_vec()))
    }
}
