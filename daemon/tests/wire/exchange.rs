//! Our client and our server, on a wire in memory.

use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use zrepl_daemon::endpoint::EndpointError;
use zrepl_daemon::rpc::data::Patience;
use zrepl_daemon::rpc::data::client::{self, Dialled};
use zrepl_daemon::rpc::data::connection::Connection;
use zrepl_daemon::rpc::data::server::{self, ServeError, Served, Serving};
use zrepl_daemon::rpc::metrics::Metrics;
use zrepl_daemon::transport::Wire;
use zrepl_proto::pdu::PingReq;

use crate::double::{
    Double, Receiving, Sending, receive_request, send_request, sha256, stream, take,
};

/// A client's end of a connection, and the server at the other end.
pub(crate) struct Pair {
    pub(crate) client: Connection,
    pub(crate) dialled: Dialled,
    pub(crate) server: JoinHandle<Served>,
    pub(crate) stop: CancellationToken,
}

pub(crate) fn pair(endpoint: Arc<Double>) -> Pair {
    let (ours, theirs) = tokio::io::duplex(64 << 10);
    let metrics = Metrics::new();
    let patience = Patience::default();
    let stop = CancellationToken::new();
    let connection = Connection::new(Wire::from(theirs), &patience, metrics.clone());
    let serving = Serving {
        patience,
        stop: stop.clone(),
    };
    let server =
        tokio::spawn(
            async move { server::serve(connection, "the client", endpoint, &serving).await },
        );
    Pair {
        client: Connection::new(Wire::from(ours), &patience, metrics.clone()),
        dialled: Dialled {
            peer: "the server".into(),
            patience,
            stop: CancellationToken::new(),
        },
        server,
        stop,
    }
}

fn failed(error: EndpointError) -> String {
    match error {
        EndpointError::Failed(text) => text,
        other => panic!("not the endpoint's own error: {other:?}"),
    }
}

#[tokio::test]
async fn a_ping_is_echoed() {
    let pair = pair(Double::receiver());
    let request = PingReq {
        message: "are you there".into(),
    };
    let answer = client::ping(pair.client, &request, &pair.dialled).await;
    assert_eq!(answer.unwrap().echo, "are you there");
    assert!(pair.server.await.unwrap().result.is_ok());
}

#[tokio::test]
async fn a_stream_arrives_as_it_was_sent() {
    let bytes: Vec<u8> = (0..3_000_001_u32).map(|at| (at % 251) as u8).collect();
    let endpoint = Double::sender(&[&bytes]);
    let pair = pair(endpoint);
    let (_, stream) = client::send(pair.client, &send_request("pool/fs"), pair.dialled)
        .await
        .unwrap();
    let received = take(stream).await;
    assert_eq!(received.failure, None);
    assert_eq!(
        (received.bytes, received.sha256),
        (3_000_001, sha256(&bytes))
    );
    assert!(pair.server.await.unwrap().result.is_ok());
}

#[tokio::test]
async fn a_stream_is_received_as_it_was_given() {
    let bytes: Vec<u8> = (0..3_000_001_u32).map(|at| (at % 241) as u8).collect();
    let endpoint = Double::receiver();
    let pair = pair(Arc::clone(&endpoint));
    let stream = stream(vec![bytes.clone()], Ok(()));
    let moved = stream.moved.clone();
    client::receive(
        pair.client,
        &receive_request("pool/fs"),
        stream,
        &pair.dialled,
    )
    .await
    .unwrap();
    let received = endpoint.last_received();
    assert_eq!(received.failure, None);
    assert_eq!(
        (received.bytes, received.sha256),
        (3_000_001, sha256(&bytes))
    );
    assert_eq!(moved.get(), 3_000_001);
    assert!(pair.server.await.unwrap().result.is_ok());
}

#[tokio::test]
async fn a_sender_that_fails_midway_is_not_believed() {
    let endpoint = Double::new(
        Sending::Breaks(vec![vec![7; 100_000]], "I/O error on disk".into()),
        Receiving::Whole,
    );
    let pair = pair(endpoint);
    let (_, stream) = client::send(pair.client, &send_request("pool/fs"), pair.dialled)
        .await
        .unwrap();
    let received = take(stream).await;
    assert_eq!(
        received.failure.as_deref(),
        Some("sender failed: I/O error on disk")
    );
    let served = pair.server.await.unwrap();
    assert!(
        matches!(served.result, Err(ServeError::Answered(_))),
        "{served:?}"
    );
}

#[tokio::test]
async fn the_cause_is_a_producer_that_failed_not_the_receiver_it_left_alone() {
    let endpoint = Double::receiver();
    let pair = pair(Arc::clone(&endpoint));
    let stream = stream(vec![vec![7; 100_000]], Err("snapshot is gone".into()));
    let error = client::receive(
        pair.client,
        &receive_request("pool/fs"),
        stream,
        &pair.dialled,
    )
    .await
    .unwrap_err();
    assert_eq!(failed(error), "snapshot is gone");
    assert_eq!(
        endpoint.last_received().failure.as_deref(),
        Some("sender failed: snapshot is gone")
    );
}

#[tokio::test]
async fn the_cause_is_a_receiver_that_failed_not_the_pipe_it_broke() {
    let text = "out of space";
    let endpoint = Double::new(
        Sending::Refuses(String::new()),
        Receiving::FailsAfter(10_000, text.into()),
    );
    let pair = pair(endpoint);
    let stream = stream(vec![vec![7; 10_000_000]], Ok(()));
    let error = client::receive(
        pair.client,
        &receive_request("pool/fs"),
        stream,
        &pair.dialled,
    )
    .await
    .unwrap_err();
    assert_eq!(failed(error), text);
    let served = pair.server.await.unwrap();
    assert!(
        matches!(served.result, Err(ServeError::Answered(_))),
        "{served:?}"
    );
}

#[tokio::test]
async fn a_refusal_is_an_answer() {
    let endpoint = Double::new(
        Sending::Refuses("no such snapshot".into()),
        Receiving::Whole,
    );
    let pair = pair(endpoint);
    let error = client::send(pair.client, &send_request("pool/fs"), pair.dialled)
        .await
        .unwrap_err();
    assert_eq!(failed(error), "no such snapshot");
}

#[tokio::test]
async fn a_panic_is_an_answer() {
    for receiving in [false, true] {
        let pair = pair(Double::new(Sending::Panics, Receiving::Panics));
        let error = if receiving {
            let stream = stream(vec![vec![1; 1000]], Ok(()));
            client::receive(
                pair.client,
                &receive_request("pool/fs"),
                stream,
                &pair.dialled,
            )
            .await
            .unwrap_err()
        } else {
            client::send(pair.client, &send_request("pool/fs"), pair.dialled)
                .await
                .unwrap_err()
        };
        assert_eq!(failed(error), "internal error, see the log of this host");
    }
}

#[tokio::test]
async fn a_confirmation_waits_until_the_stream_is_out_of_the_way() {
    let pair = pair(Double::new(Sending::Panics, Receiving::Ignores));
    let stream = stream(vec![vec![1; 5_000_000]], Ok(()));
    let moved = stream.moved.clone();
    client::receive(
        pair.client,
        &receive_request("pool/fs"),
        stream,
        &pair.dialled,
    )
    .await
    .unwrap();
    assert_eq!(moved.get(), 5_000_000);
}

#[tokio::test]
async fn a_stream_that_is_dropped_ends_the_send() {
    let pair = pair(Double::sender(&[&vec![7; 10_000_000]]));
    let (_, stream) = client::send(pair.client, &send_request("pool/fs"), pair.dialled)
        .await
        .unwrap();
    drop(stream);
    let served = pair.server.await.unwrap();
    assert!(
        matches!(served.result, Err(ServeError::Connection(_))),
        "{served:?}"
    );
}

#[tokio::test]
async fn a_daemon_that_stops_cuts_its_streams() {
    for receiving in [false, true] {
        let endpoint = Double::sender(&[&vec![7; 10_000_000]]);
        let pair = pair(Arc::clone(&endpoint));
        if receiving {
            let (reader, writer) = std::io::pipe().unwrap();
            let stream =
                zrepl_daemon::endpoint::stream::SendStream::local(reader.into(), Box::new(Endless))
                    .unwrap();
            let request = receive_request("pool/fs");
            let receiving = client::receive(pair.client, &request, stream, &pair.dialled);
            let (answer, ()) = tokio::join!(receiving, async {
                tokio::task::yield_now().await;
                pair.stop.cancel();
            });
            drop(writer);
            let error = failed(answer.unwrap_err());
            assert!(error.contains("this daemon is stopping"), "{error}");
        } else {
            let (_, stream) = client::send(pair.client, &send_request("pool/fs"), pair.dialled)
                .await
                .unwrap();
            pair.stop.cancel();
            let received = take(stream).await;
            assert!(received.failure.is_some());
        }
        assert!(pair.server.await.unwrap().result.is_err());
    }
}

/// Never writes, never ends.
#[derive(Debug)]
struct Endless;

impl zrepl_daemon::endpoint::stream::Producer for Endless {
    fn finish(
        self: Box<Self>,
        relay: std::io::Result<()>,
    ) -> zrepl_daemon::transport::BoxFuture<'static, Result<(), String>> {
        Box::pin(async move { relay.map_err(|error| error.to_string()) })
    }
}
