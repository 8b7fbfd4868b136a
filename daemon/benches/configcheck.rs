//! How long it takes to check a configuration of a thousand jobs, and how much memory: the target is 100 ms and 64 MiB.
//! `cargo bench -p zrepl-daemon --bench configcheck`; `--write FILE` writes the configuration instead, for other programs.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Instant;

use zrepl_daemon::config;

/// Jobs in the configuration.
const JOBS: usize = 1000;

fn main() -> ExitCode {
    let text = configuration();
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(place) = arguments.iter().position(|a| a == "--write") {
        let Some(file) = arguments.get(place + 1) else {
            eprintln!("--write needs a file");
            return ExitCode::FAILURE;
        };
        if let Err(error) = std::fs::write(file, text) {
            eprintln!("{file}: {error}");
            return ExitCode::FAILURE;
        }
        return ExitCode::SUCCESS;
    }
    println!("{JOBS} jobs, {} KiB of YAML", text.len() / 1024);
    let mut times = Vec::new();
    for _ in 0..10 {
        let start = Instant::now();
        let loaded = config::parse("bench.yml", &text);
        let time = start.elapsed();
        match loaded {
            Ok(loaded) => {
                assert_eq!(loaded.config.jobs.len(), JOBS);
                if times.is_empty() {
                    println!("first run: {time:?}, peak memory so far: {}", peak());
                }
            }
            Err(error) => {
                eprintln!("{error}");
                return ExitCode::FAILURE;
            }
        }
        times.push(time);
    }
    times.sort();
    println!("median of {}: {:?}", times.len(), times[times.len() / 2]);
    ExitCode::SUCCESS
}

/// Jobs of all five kinds, each with names, addresses and patterns of its own.
fn configuration() -> String {
    let mut text = "jobs:\n".to_owned();
    for n in 0..JOBS {
        let block = match n % 5 {
            0 => PUSH,
            1 => PULL,
            2 => SINK,
            3 => SOURCE,
            _ => SNAP,
        };
        let block = block.replace("{n}", &n.to_string());
        write!(text, "{block}").expect("memory suffices");
    }
    text
}

fn peak() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    line.unwrap_or("not known here").replace('\t', " ")
}

const PUSH: &str = r#"
- type: push
  name: push_{n}
  connect:
    type: tls
    address: "backup{n}.example.com:8888"
    ca: /etc/zrepl/ca{n}.crt
    cert: /etc/zrepl/host{n}.crt
    key: /etc/zrepl/host{n}.key
    server_cn: backup{n}.example.com
  filesystems:
    "tank/p{n}<": true
    "tank/p{n}/tmp<": false
  send:
    encrypted: true
    bandwidth_limit: {max: 10 MiB}
  snapshotting:
    type: periodic
    prefix: zrepl_{n}_
    interval: 10m
  pruning:
    keep_sender:
    - type: not_replicated
    - type: grid
      grid: 1x1h(keep=all) | 24x1h | 14x1d
      regex: "^zrepl_{n}_.*"
    - {type: regex, negate: true, regex: "^zrepl_{n}_(hourly|daily)"}
    keep_receiver:
    - type: grid
      grid: 1x1h(keep=all) | 24x1h | 35x1d | 6x30d
      regex: "^zrepl_{n}_"
    - {type: last_n, count: 5, regex: "^manual_{n}_[0-9]+$"}
"#;

const PULL: &str = r#"
- type: pull
  name: pull_{n}
  connect: {type: tcp, address: "10.0.0.1:{n}", dial_timeout: 5s}
  root_fs: pool/pulled{n}
  interval: 10m
  recv:
    properties:
      inherit: [mountpoint]
      override: {canmount: noauto, "org.example:n": "{n}"}
  pruning:
    keep_sender:
    - type: not_replicated
    - {type: last_n, count: 10}
    keep_receiver:
    - type: grid
      grid: 1x1h(keep=all) | 24x1h | 35x1d | 6x30d
      regex: "^zrepl_{n}_"
"#;

const SINK: &str = r#"
- type: sink
  name: sink_{n}
  serve:
    type: tcp
    listen: ":{n}"
    clients:
      10.0.0.1: a{n}
      10.1.0.0/16: "net-*"
      "fe80::/10%eth0": "link-*"
  root_fs: pool/sunk{n}
  recv: {placeholder: {encryption: inherit}}
"#;

const SOURCE: &str = r#"
- type: source
  name: source_{n}
  serve:
    type: stdinserver
    client_identities: [c{n}, d{n}]
  filesystems: {"tank/s{n}<": true, "tank/s{n}/cache": false}
  snapshotting:
    type: cron
    prefix: zrepl_{n}_
    cron: "*/15 * * * *"
    timestamp_format: human
"#;

const SNAP: &str = r#"
- type: snap
  name: snap_{n}
  filesystems: {"tank/l{n}<": true}
  snapshotting:
    type: periodic
    prefix: auto_{n}_
    interval: 1h
    hooks:
    - {type: command, path: /etc/zrepl/hook{n}.sh, timeout: 10s, err_is_fatal: true}
  pruning:
    keep:
    - type: grid
      grid: 24x1h | 14x1d | 12x30d
      regex: "^auto_{n}_"
    - {type: regex, negate: true, regex: "^auto_{n}_"}
"#;
