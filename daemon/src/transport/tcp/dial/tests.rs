use tokio::net::TcpListener;

use super::*;

/// An address that does not answer: its listener accepts nobody, and no more fit into its queue.
pub(in crate::transport) struct Silent {
    pub(in crate::transport) address: SocketAddr,
    _listener: socket2::Socket,
    _queued: Vec<TcpStream>,
}

impl Silent {
    pub(in crate::transport) async fn new() -> Self {
        let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)
            .expect("there is IPv4");
        let any: SocketAddr = (Ipv4Addr::LOCALHOST, 0).into();
        listener.bind(&any.into()).expect("some port is free");
        listener.listen(0).expect("it is bound");
        let address = listener.local_addr().expect("it is bound");
        let address = address.as_socket().expect("an address");
        let mut queued = Vec::new();
        let patience = Some(Duration::from_millis(100));
        while let Ok(socket) = within(patience, TcpStream::connect(address)).await {
            queued.push(socket.expect("it listens"));
        }
        Self {
            address,
            _listener: listener,
            _queued: queued,
        }
    }
}

/// An address that refuses: it is taken, but nobody listens, as long as the socket lives.
pub(in crate::transport) fn closed() -> (SocketAddr, tokio::net::TcpSocket) {
    let socket = tokio::net::TcpSocket::new_v4().expect("there is IPv4");
    let any = (Ipv4Addr::LOCALHOST, 0).into();
    socket.bind(any).expect("some port is free");
    (socket.local_addr().expect("it is bound"), socket)
}

fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
    texts
        .iter()
        .map(|text| text.parse().expect("an address"))
        .collect()
}

#[test]
fn families_take_turns_and_the_resolvers_first_is_first() {
    for (resolved, expected) in [
        (&[][..], &[][..]),
        (&["1.0.0.1:1"], &["1.0.0.1:1"]),
        (
            &["[::1]:1", "[::2]:1", "[::3]:1", "1.0.0.1:1", "1.0.0.2:1"],
            &["[::1]:1", "1.0.0.1:1", "[::2]:1", "1.0.0.2:1", "[::3]:1"],
        ),
        (
            &["1.0.0.1:1", "[::1]:1", "[::2]:1"],
            &["1.0.0.1:1", "[::1]:1", "[::2]:1"],
        ),
    ] {
        assert_eq!(alternating(addresses(resolved)), addresses(expected));
    }
}

#[tokio::test]
async fn an_address_that_fails_or_is_silent_does_not_hide_one_that_answers() {
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("some port is free");
    let good = listener.local_addr().expect("it is bound");
    let (closed, _socket) = closed();
    let silent = Silent::new().await;
    let socket = first_to_answer(vec![closed, silent.address, closed, good]).await;
    let peer = socket.map(|socket| socket.peer_addr().expect("connected"));
    assert_eq!(peer.map_err(|error| error.to_string()), Ok(good));
}

#[tokio::test]
async fn all_failures_are_told() {
    let (closed, _socket) = closed();
    let failed = first_to_answer(vec![closed, closed])
        .await
        .expect_err("closed");
    let refused = io::Error::from(rustix::io::Errno::CONNREFUSED);
    let one = format!("{closed}: {refused}");
    assert_eq!(failed.to_string(), format!("{one}, {one}"));
    let failed = first_to_answer(Vec::new()).await.expect_err("no addresses");
    assert_eq!(failed.to_string(), "the name has no addresses");
}

#[tokio::test]
async fn a_connection_to_itself_is_none() {
    // What happens by accident when the system gives the port that is connected to.
    let (own, socket) = closed();
    let socket = socket.connect(own).await.expect("as the system has it");
    let error = checked(&socket).expect_err("nobody listens");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    assert_eq!(error.to_string(), ConnectedToItself.to_string());
}
