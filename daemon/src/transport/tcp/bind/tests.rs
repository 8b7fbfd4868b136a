use super::*;
use crate::causes::chain;

fn bind(address: &str, freebind: bool) -> Result<ListeningSocket, String> {
    let address: HostPort = address.parse().expect("an address");
    ListeningSocket::bind(&address, freebind).map_err(|error| chain(&error))
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn freebind_listens_on_addresses_that_this_machine_does_not_have() {
    // Reserved for documentation.
    for host in ["198.51.100.17", "[2001:db8::17]"] {
        let address = format!("{host}:0");
        let error = bind(&address, false).expect_err("not ours");
        let expected = format!(
            "cannot listen on {address}: this machine does not have the address; with listen_freebind: true it need not \
             have it yet: Cannot assign requested address (os error 99)"
        );
        assert_eq!(error, expected);
        let socket = bind(&address, true).unwrap_or_else(|error| panic!("{error}"));
        assert!(socket.local_addr().to_string().starts_with(host));
    }
}

#[tokio::test]
async fn hosts_may_be_names() {
    let socket = bind("localhost:0", false).unwrap_or_else(|error| panic!("{error}"));
    assert!(socket.local_addr().ip().is_loopback());
    assert!(bind("no.such.host.invalid:0", false).is_err());
    assert!(bind("127.0.0.1:nosuchservice", false).is_err());
}

#[tokio::test]
async fn an_address_is_listened_on_once_and_again_when_its_listener_has_gone() {
    let first = bind("127.0.0.1:0", false).unwrap_or_else(|error| panic!("{error}"));
    let address = first.local_addr();
    let error = bind(&address.to_string(), false).expect_err("in use");
    assert!(
        error.contains("another program, or another job, listens there already"),
        "{error}"
    );
    // The side that closes first keeps the port busy for a while.
    let mut client = TcpStream::connect(address).await.expect("somebody listens");
    drop(first.accept().await.expect("it is there"));
    tokio::io::AsyncReadExt::read(&mut client, &mut [0])
        .await
        .expect("closed in order");
    drop((client, first));
    bind(&address.to_string(), false).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn only_what_concerns_the_listener_ends_an_accept() {
    for (errno, is_passed_over) in [
        (Errno::CONNABORTED, true),
        (Errno::CONNRESET, true),
        (Errno::PROTO, true),
        (Errno::NETUNREACH, true),
        (Errno::INTR, true),
        (Errno::MFILE, false),
        (Errno::NFILE, false),
        (Errno::NOBUFS, false),
        (Errno::NOMEM, false),
        (Errno::BADF, false),
        (Errno::INVAL, false),
    ] {
        assert_eq!(
            is_of_one_connection(&errno.into()),
            is_passed_over,
            "{errno}"
        );
    }
}

#[tokio::test]
async fn an_accept_that_is_cancelled_loses_nobody() {
    let socket = bind("127.0.0.1:0", false).unwrap_or_else(|error| panic!("{error}"));
    {
        let mut accept = std::pin::pin!(socket.accept());
        let pending = std::future::poll_fn(|cx| {
            std::task::Poll::Ready(accept.as_mut().poll(cx).is_pending())
        });
        assert!(pending.await);
    }
    let client = TcpStream::connect(socket.local_addr())
        .await
        .expect("somebody listens");
    let (_, peer) = socket.accept().await.expect("it is there");
    assert_eq!(
        peer.to_string(),
        client.local_addr().expect("connected").to_string()
    );
}
