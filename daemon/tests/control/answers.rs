//! What is answered, and what comes of it on the other side.

use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use zrepl_daemon::causes::chain;
use zrepl_daemon::endpoint::EndpointError;
use zrepl_daemon::rpc::control::client::ControlClient;
use zrepl_daemon::rpc::handshake::Settings;
use zrepl_proto::extension::Extensions;
use zrepl_proto::pdu::{
    CursorResult, DestroySnapshotRes, DestroySnapshotsReq, DestroySnapshotsRes, Filesystem,
    FilesystemVersion, ListFilesystemReq, ListFilesystemRes, ListFilesystemVersionsReq,
    ListFilesystemVersionsRes, ReplicationCursorReq, ReplicationCursorRes, SendCompletedReq,
    SendReq, SendRes,
};

use crate::ask::ask_list;
use crate::double::{Double, Host, Network};
use crate::frame::{Frame, data, ping, request_block};
use crate::raw::Raw;

fn ours() -> Settings {
    Settings {
        extensions: Extensions::from_lines([&b"zrepl-rs.test/1"[..]]),
        ..Settings::default()
    }
}

fn version(kind: i32, name: &str, creation: &str) -> FilesystemVersion {
    FilesystemVersion {
        r#type: kind,
        name: name.to_owned(),
        guid: 1,
        create_txg: 1,
        creation: creation.to_owned(),
    }
}

fn filesystems_of(bytes: usize) -> Vec<u8> {
    let filesystem = |path: String| Filesystem {
        path,
        resume_token: String::new(),
        is_placeholder: false,
    };
    let filesystems = (0..=bytes / 1000).map(|_| filesystem("p".repeat(1000)));
    ListFilesystemRes {
        filesystems: filesystems.collect(),
    }
    .encode_to_vec()
}

/// What this host answers to a request with these headers.
async fn answer_to(host: &Host, block: &[u8], message: &[u8]) -> Vec<Frame> {
    let mut client = Raw::client(host).await;
    let headers = Frame::new(Frame::HEADERS, Frame::END_HEADERS, 1, block);
    client.send(&[headers, data(1, message)]).await;
    let wanted = |frame: &Frame| frame.stream == 1 && frame.is_last();
    client.until(wanted).await
}

/// What our client makes of this answer.
async fn understood(answer: &[Frame]) -> Result<Vec<u8>, EndpointError> {
    let (network, mut pipes) = Network::new();
    let client = ControlClient::new(Arc::new(network), Settings::default());
    let mut answer = answer.to_vec();
    answer.retain(|frame| frame.stream == 1);
    tokio::spawn(async move {
        let mut server = Raw::server(pipes.recv().await.unwrap()).await;
        server.request(1).await;
        server.send(&answer).await;
        server.during(Duration::from_secs(60)).await;
    });
    ask_list(&client).await
}

/// The text of the error in this answer.
async fn shown(answer: &[Frame]) -> String {
    match understood(answer).await {
        Err(EndpointError::Failed(text)) => text,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn the_client_is_known_to_the_endpoint() {
    let host = Host::announcing(Double::failing(), ours());
    let client = host.client();
    ask_list(&client).await.unwrap_err();
    ask_list(&client).await.unwrap_err();
    let clients = host.clients();
    assert_eq!(clients.len(), 1);
    assert_eq!(clients[0].identity.as_str(), "client1");
    assert_eq!(clients[0].peer, "192.0.2.7:41234");
    assert_eq!(clients[0].agreement.version("zrepl-rs.test"), Some(1));
}

#[tokio::test(start_paused = true)]
async fn a_ping_comes_back() {
    let client = Host::new(Double::failing()).client();
    for message in ["", "hello", "h\u{e4}\n"] {
        let echo = client.ping(message, Duration::from_secs(1)).await.unwrap();
        assert_eq!(echo, message);
    }
}

#[tokio::test(start_paused = true)]
async fn trap_11_5a_texts_of_errors_arrive_whole() {
    let texts = [
        String::new(),
        "zfs exited with error: exit status 1\nstderr:\ncannot open\n".to_owned(),
        "\u{e4}\u{1f600}\u{fffd} 100 %".to_owned(),
        "x".repeat(20_000),
        "\n\u{e4}".repeat(10_000),
    ];
    for text in texts {
        let answer = text.clone();
        let double = Double::new(move |_| Err(EndpointError::Failed(answer.clone())));
        let error = ask_list(&Host::new(double).client()).await.unwrap_err();
        assert!(
            matches!(&error, EndpointError::Failed(got) if *got == text),
            "{error:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn longer_texts_are_cut() {
    let double = Double::new(|_| Err(EndpointError::Failed("\u{e4}".repeat(500_000))));
    let error = ask_list(&Host::new(double).client()).await.unwrap_err();
    assert!(matches!(error, EndpointError::Failed(text) if text.len() == 32 << 10));
}

#[tokio::test(start_paused = true)]
async fn trap_11_15_no_error_of_an_endpoint_asks_for_another_attempt() {
    let errors: [fn() -> EndpointError; 3] = [
        || EndpointError::Failed("no".to_owned()),
        || EndpointError::Unreachable {
            context: "no".to_owned(),
            source: "route".into(),
        },
        || EndpointError::Protocol {
            context: "no".to_owned(),
            source: "sense".into(),
        },
    ];
    for (make, text) in errors.into_iter().zip(["no", "no: route", "no: sense"]) {
        let client = Host::new(Double::new(move |_| Err(make()))).client();
        let error = ask_list(&client).await.unwrap_err();
        assert!(
            matches!(&error, EndpointError::Failed(got) if got == text),
            "{error:?}"
        );
        assert!(!error.is_temporary());
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_panics_fails_its_request_alone() {
    let double = Double::new(|asked| match asked.method.as_str() {
        "ListFilesystems" => panic!("oh"),
        _ => Ok(Vec::new()),
    });
    let host = Host::new(double);
    let client = host.client();
    for _ in 0..2 {
        let error = ask_list(&client).await.unwrap_err().to_string();
        assert!(error.contains("/Replication/ListFilesystems"), "{error}");
        client.ping("!", Duration::from_secs(1)).await.unwrap();
    }
    assert_eq!(host.clients().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn trap_11_10_answers_that_would_end_a_go_client_are_not_sent() {
    let bad = [
        version(2, "s", "2024-01-02T03:04:05Z"),
        version(0, "s", "yesterday"),
    ];
    for version in bad {
        let answer = ListFilesystemVersionsRes {
            versions: vec![version],
        };
        let double = Double::new(move |_| Ok(answer.encode_to_vec()));
        let request = ListFilesystemVersionsReq {
            filesystem: "p".to_owned(),
        };
        let error = Host::new(double).client();
        let error = error.list_filesystem_versions(request).await.unwrap_err();
        assert!(
            error.to_string().starts_with("answer is not sent: "),
            "{error:?}"
        );
    }
    let answer = DestroySnapshotsRes {
        results: vec![DestroySnapshotRes {
            snapshot: None,
            error: String::new(),
        }],
    };
    let client = Host::new(Double::new(move |_| Ok(answer.encode_to_vec()))).client();
    let request = DestroySnapshotsReq {
        filesystem: "p".to_owned(),
        snapshots: Vec::new(),
    };
    let error = client.destroy_snapshots(request).await.unwrap_err();
    assert!(error.to_string().contains("has no Snapshot"), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn trap_11_10_requests_that_would_end_a_go_server_are_not_sent() {
    let host = Host::new(Double::new(|_| panic!("asked")));
    let network = host.network();
    let client = ControlClient::new(Arc::new(network.clone()), Settings::default());
    let request = SendReq {
        filesystem: "p".to_owned(),
        to: Some(version(2, "s", "2024-01-02T03:04:05Z")),
        ..SendReq::default()
    };
    let error = client.send_dry(request.clone()).await.unwrap_err();
    assert!(
        chain(&error).ends_with("version type 2 is unknown"),
        "{error:?}"
    );
    assert!(matches!(error, EndpointError::Protocol { .. }));
    let without_config = SendReq {
        to: Some(version(0, "s", "2024-01-02T03:04:05Z")),
        ..request
    };
    let error = client
        .send_completed(SendCompletedReq::new(without_config))
        .await
        .unwrap_err();
    assert!(
        chain(&error).ends_with("has no ReplicationConfig"),
        "{error:?}"
    );
    assert_eq!(network.dials(), 0);
}

#[tokio::test(start_paused = true)]
async fn trap_11_10_our_server_survives_them() {
    let host = Host::new(Double::new(|_| Ok(Vec::new())));
    let bad = SendReq {
        filesystem: "p".to_owned(),
        to: Some(version(2, "s", "2024-01-02T03:04:05Z")),
        ..SendReq::default()
    };
    let bookmark = DestroySnapshotsReq {
        filesystem: "p".to_owned(),
        snapshots: vec![version(1, "bm", "2024-01-02T03:04:05Z")],
    };
    let requests = [
        ("SendDry", bad.encode_to_vec(), "version type 2 is unknown"),
        (
            "SendCompleted",
            SendCompletedReq::new(bad).encode_to_vec(),
            "version type 2 is unknown",
        ),
        (
            "SendCompleted",
            SendCompletedReq::default().encode_to_vec(),
            "empty filesystem not allowed",
        ),
        (
            "DestroySnapshots",
            bookmark.encode_to_vec(),
            "version \"bm\" is not a snapshot",
        ),
    ];
    for (method, message, expected) in requests {
        let path = format!("/Replication/{method}");
        let block = request_block(&path, "application/grpc", b"\x81");
        let answer = answer_to(&host, &block, &message).await;
        assert_eq!(shown(&answer).await, expected);
    }
    // Go's asks for no config when nothing is sent.
    let without_config = SendReq {
        filesystem: "p".to_owned(),
        ..SendReq::default()
    };
    let block = request_block("/Replication/SendDry", "application/grpc", b"\x81");
    let answer = answer_to(&host, &block, &without_config.encode_to_vec()).await;
    assert_eq!(understood(&answer).await.unwrap(), b"");
}

#[tokio::test(start_paused = true)]
async fn trap_11_11_paths_have_no_package_and_defaults_take_no_bytes() {
    let (network, mut pipes) = Network::new();
    let client = ControlClient::new(Arc::new(network), Settings::default());
    let peer = tokio::spawn(async move {
        let mut server = Raw::server(pipes.recv().await.unwrap()).await;
        let frames = server.until(Frame::is_last).await;
        frames.into_iter().find(|frame| frame.kind == Frame::DATA)
    });
    let error = client.list_filesystems(ListFilesystemReq {}).await;
    assert!(error.unwrap_err().is_temporary());
    assert_eq!(peer.await.unwrap().unwrap().payload, [0; 5]);
    let host = Host::new(Double::new(|_| Ok(SendRes::default().encode_to_vec())));
    let answer = host.client().send_completed(completed()).await;
    assert_eq!(answer.unwrap().encoded_len(), 0);
}

fn completed() -> SendCompletedReq {
    use zrepl_proto::pdu::{ReplicationConfig, ReplicationConfigProtection};
    SendCompletedReq::new(SendReq {
        filesystem: "p".to_owned(),
        to: Some(version(0, "s", "2024-01-02T03:04:05Z")),
        replication_config: Some(ReplicationConfig {
            protection: Some(ReplicationConfigProtection {
                initial: 1,
                incremental: 2,
            }),
        }),
        ..SendReq::default()
    })
}

#[tokio::test(start_paused = true)]
async fn a_cursor_of_zero_is_a_cursor() {
    let answer = ReplicationCursorRes {
        result: Some(CursorResult::Guid(0)),
    };
    let double = Double::new(move |_| Ok(answer.encode_to_vec()));
    let request = ReplicationCursorReq {
        filesystem: "p".to_owned(),
    };
    let answer = Host::new(double).client().replication_cursor(request).await;
    assert_eq!(answer.unwrap().cursor(), Ok(Some(0)));
}

#[tokio::test(start_paused = true)]
async fn trap_11_5d_answers_longer_than_go_takes_are_errors_that_say_so() {
    const MIB: usize = 1 << 20;
    let sizes = [
        (Settings::default(), 3 * MIB, None),
        (Settings::default(), 5 * MIB, Some("4194304")),
        (ours(), 20 * MIB, None),
        (ours(), 65 * MIB, Some("67108864")),
    ];
    for (settings, size, limit) in sizes {
        let double = Double::new(move |_| Ok(filesystems_of(size)));
        let client = Host::announcing(double, settings).client();
        match (client.list_filesystems(ListFilesystemReq {}).await, limit) {
            (Ok(answer), None) => assert!(answer.encoded_len() > size),
            (Err(EndpointError::Failed(text)), Some(limit)) => {
                assert!(text.contains(limit), "{text}");
            }
            other => panic!("{:?}", other.0.map(|answer| answer.encoded_len())),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn requests_longer_than_the_peer_takes_are_not_sent() {
    let client = Host::new(Double::new(|_| Ok(Vec::new()))).client();
    let request = DestroySnapshotsReq {
        filesystem: "p".repeat(5 << 20),
        snapshots: Vec::new(),
    };
    let error = client.destroy_snapshots(request).await.unwrap_err();
    assert!(matches!(error, EndpointError::Protocol { .. }));
    assert!(chain(&error).contains("at most 4194304"), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_no_request_is_refused_as_by_go() {
    let host = Host::new(Double::new(|_| Ok(Vec::new())));
    let block = request_block("/Replication/Ping", "text/plain", b"\x81");
    let frames = answer_to(&host, &block, b"").await;
    let headers = frames.iter().find(|frame| frame.kind == Frame::HEADERS);
    // a literal with indexed name :status, and then 415
    assert_eq!(headers.unwrap().payload[0], 0x48);
    for (path, content_type, text) in [
        (
            "/nosuch.Service/Ping",
            "application/grpc",
            "Unimplemented: unknown service nosuch.Service",
        ),
        (
            "/Replication/NoSuchMethod",
            "application/grpc",
            "Unimplemented: unknown method NoSuchMethod for service Replication",
        ),
        (
            "/Replication",
            "application/grpc;x",
            "Unimplemented: malformed method name: \"Replication\"",
        ),
        (
            "/Replication/Ping",
            "application/grpcx",
            "InvalidArgument: invalid gRPC request content-type \"application/grpcx\"",
        ),
    ] {
        let block = request_block(path, content_type, b"\x81");
        assert_eq!(shown(&answer_to(&host, &block, b"").await).await, text);
    }
    let proto = request_block("/Replication/Ping", "application/grpc+proto", b"");
    let frames = answer_to(&host, &proto, b"").await;
    assert!(frames.iter().any(|frame| frame.kind == Frame::DATA));
}

#[tokio::test(start_paused = true)]
async fn trap_11_1_empty_and_odd_authorities_do_no_harm() {
    let host = Host::new(Double::failing());
    let odd = b"\x41\x1ddoesn't matter done by dialer";
    for authority in [&b""[..], b"\x81", odd, b"\x41\x01x"] {
        let block = request_block("/Replication/Ping", "application/grpc", authority);
        let frames = answer_to(&host, &block, b"\x0a\x01!").await;
        let answer = frames.iter().find(|frame| frame.kind == Frame::DATA);
        assert_eq!(answer.unwrap().payload, b"\0\0\0\0\x03\x0a\x01!");
    }
    let mut client = Raw::client(&host).await;
    for stream in [1, 3, 5] {
        client.send(&ping(stream)).await;
        let frames = client.until(Frame::is_last).await;
        assert!(frames.iter().any(|frame| frame.kind == Frame::DATA));
    }
}

#[tokio::test(start_paused = true)]
async fn answers_that_cannot_be_read_are_no_answers() {
    // :status 200 and content-type; trailers with grpc-status 0
    let headers = Frame::new(
        Frame::HEADERS,
        Frame::END_HEADERS,
        1,
        b"\x88\x0f\x10\x10application/grpc",
    );
    let trailers = Frame::new(
        Frame::HEADERS,
        Frame::END_HEADERS | Frame::END_STREAM,
        1,
        b"\x00\x0bgrpc-status\x010",
    );
    let message = |bytes: &[u8]| Frame {
        flags: 0,
        ..data(1, bytes)
    };
    let answers = [
        // not protobuf
        vec![headers.clone(), message(b"\xff\xff"), trailers.clone()],
        // no message at all
        vec![headers.clone(), trailers.clone()],
        // compressed, which nobody asked for
        vec![
            headers.clone(),
            Frame::new(Frame::DATA, 0, 1, b"\x01\0\0\0\0"),
            trailers.clone(),
        ],
        // longer than anybody takes
        vec![headers, Frame::new(Frame::DATA, 0, 1, b"\0\x10\0\0\0")],
    ];
    for answer in answers {
        let error = understood(&answer).await.unwrap_err();
        assert!(
            matches!(error, EndpointError::Protocol { .. }),
            "{answer:?} {error:?}"
        );
    }
}
