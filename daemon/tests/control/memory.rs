//! What an idle connection costs.

use std::time::Duration;

use crate::double::{Double, Host};
use crate::frame::ping;
use crate::raw::Raw;

const CONNECTIONS: usize = 1000;

/// Bytes of this process in memory.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

#[test]
fn an_idle_connection_takes_at_most_64_kib() {
    // Alone in its process: other tests would be measured as well.
    const CHILD: &str = "CONTROL_MEMORY_CHILD";
    if std::env::var_os(CHILD).is_none() {
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "memory::an_idle_connection_takes_at_most_64_kib",
                "--nocapture",
            ])
            .env(CHILD, "1")
            .status()
            .unwrap();
        assert!(status.success());
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let host = Host::new(Double::failing());
        let mut clients = vec![used(&host).await];
        let before = resident();
        for _ in 0..CONNECTIONS {
            clients.push(used(&host).await);
        }
        let each = (resident() - before) / CONNECTIONS;
        println!("{each} bytes per idle connection, its other end in this process included");
        assert!(each <= 64 << 10, "{each}");
        assert_eq!(host.server.connections(), clients.len());
    });
}

/// A connection on which there has been a request.
async fn used(host: &Host) -> Raw {
    let mut client = Raw::client(host).await;
    client.send(&ping(1)).await;
    client
        .until(|frame| frame.stream == 1 && frame.is_last())
        .await;
    client.during(Duration::from_millis(1)).await;
    client
}
