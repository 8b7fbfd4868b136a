//! The configurations of the table: a job and its counterpart for each way.

use std::fmt::Write as _;

/// Slow enough to be cut in the middle of the first round.
const LIMIT: &str = "bandwidth_limit: {max: 128 KiB, bucket_capacity: 32 KiB}";

const KEEP_ALL: &str = "pruning: {keep_sender: [{type: regex, regex: '.*'}], keep_receiver: [{type: regex, regex: '.*'}]}";

/// Where the stand-in for ssh is.
const SSH: &str = "/run/ssh";

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Direction {
    Push,
    Pull,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Transport {
    Local,
    Ssh,
    Tcp,
    Tls,
}

/// One way between two daemons. Its name is that of the active job.
#[derive(Clone, Debug)]
pub(super) struct Way {
    pub(super) name: String,
    pub(super) direction: Direction,
    pub(super) transport: Transport,
    /// The first of the ports that are its own.
    port: u16,
}

impl Way {
    pub(super) fn all() -> Vec<Self> {
        let mut ways = Vec::new();
        let mut port = 7000;
        for (direction, name) in [(Direction::Push, "push"), (Direction::Pull, "pull")] {
            for (transport, suffix) in [
                (Transport::Tcp, "tcp"),
                (Transport::Tls, "tls"),
                (Transport::Ssh, "ssh"),
                (Transport::Local, "local"),
            ] {
                ways.push(Self {
                    name: format!("{name}-{suffix}"),
                    direction,
                    transport,
                    port,
                });
                port += 2;
            }
        }
        ways
    }

    /// The sink or source at the other end. `suffix` tells the plain source from the raw one; sinks take both.
    pub(super) fn passive_job(&self, suffix: &str) -> String {
        format!("{}{suffix}-peer", self.name)
    }

    fn connect(&self, peer: &str, port: u16) -> String {
        match self.transport {
            Transport::Tcp => format!("{{type: tcp, address: '127.0.0.1:{port}'}}"),
            Transport::Tls => format!(
                "{{type: tls, address: '127.0.0.1:{port}', ca: /put/passive.crt, cert: /put/active.crt, key: /put/active.key, \
                 server_cn: passive}}"
            ),
            // Who the client is, is what the stand-in makes of the host's name.
            Transport::Ssh => format!(
                "{{type: ssh+stdinserver, host: '{peer}', user: root, port: 22, identity_file: /dev/null, ssh_command: {SSH}}}"
            ),
            Transport::Local => {
                format!("{{type: local, listener_name: '{peer}', client_identity: active}}")
            }
        }
    }

    fn serve(&self, peer: &str, port: u16) -> String {
        match self.transport {
            Transport::Tcp => {
                format!("{{type: tcp, listen: '127.0.0.1:{port}', clients: {{127.0.0.1: active}}}}")
            }
            Transport::Tls => format!(
                "{{type: tls, listen: '127.0.0.1:{port}', ca: /put/active.crt, cert: /put/passive.crt, key: /put/passive.key, \
                 client_cns: [active]}}"
            ),
            Transport::Ssh => format!(
                "{{type: stdinserver, client_identities: ['{}']}}",
                identity(peer)
            ),
            Transport::Local => format!("{{type: local, listener_name: '{peer}'}}"),
        }
    }
}

/// Sockets of stdinserver are named after the client, so jobs of one daemon need clients of different names; a sink files by name.
fn identity(peer: &str) -> &str {
    if peer.starts_with("push") {
        "active"
    } else {
        peer
    }
}

/// Jobs of the active daemon and of the passive one. Jobs that meet locally are all in the active one.
pub(super) fn both_daemons(ways: &[Way]) -> (String, String) {
    let (mut active, mut passive) = (String::new(), String::new());
    for way in ways {
        let mut peers = String::new();
        match way.direction {
            Direction::Push => {
                let peer = way.passive_job("");
                peers.push_str(&sink(&peer, &way.serve(&peer, way.port)));
                for raw in [false, true] {
                    active.push_str(&push(&job(way, raw), &way.connect(&peer, way.port), raw));
                }
            }
            Direction::Pull => {
                for (raw, port) in [(false, way.port), (true, way.port + 1)] {
                    let peer = way.passive_job(if raw { "-raw" } else { "" });
                    peers.push_str(&source(&peer, &job(way, raw), &way.serve(&peer, port), raw));
                    active.push_str(&pull(&job(way, raw), &way.connect(&peer, port)));
                }
            }
        }
        match way.transport {
            Transport::Local => active.push_str(&peers),
            Transport::Ssh | Transport::Tcp | Transport::Tls => passive.push_str(&peers),
        }
    }
    (active, passive)
}

/// A push to the peer and a sink for it.
pub(super) fn between_hosts(peer_address: &str, peer: &str) -> String {
    let connect = format!("{{type: tcp, address: '{peer_address}:7000'}}");
    let serve =
        format!("{{type: tcp, listen: '0.0.0.0:7000', clients: {{{peer_address}: {peer}}}}}");
    push("forth", &connect, false) + &push("forth-raw", &connect, true) + &sink("sink", &serve)
}

/// A program that is called as ssh is, and does what sshd would do here for the client that the host is named after.
pub(super) fn ssh_script(program: &str) -> String {
    format!(
        "cat >{SSH} <<'END'
#!/bin/sh
for last; do :; done
case ${{last#root@}} in
    push*) client=active ;;
    *) client=${{last#root@}} ;;
esac
exec {program} --config /run/zrepl-passive/zrepl.yml stdinserver $client
END
chmod +x {SSH}"
    )
}

fn job(way: &Way, raw: bool) -> String {
    format!("{}{}", way.name, if raw { "-raw" } else { "" })
}

fn send(raw: bool) -> String {
    if raw {
        "{encrypted: true}".to_owned()
    } else {
        format!("{{{LIMIT}}}")
    }
}

fn push(job: &str, connect: &str, raw: bool) -> String {
    let mut text = String::new();
    writeln!(
        text,
        "- name: {job}
  type: push
  connect: {connect}
  filesystems: {{'tank/{job}<': true, 'tank/{job}': false}}
  send: {}
  snapshotting: {{type: manual}}
  {KEEP_ALL}",
        send(raw)
    )
    // Writing to a string does not fail.
    .ok();
    text
}

fn pull(job: &str, connect: &str) -> String {
    format!(
        "- name: {job}
  type: pull
  connect: {connect}
  root_fs: backup/pulled
  interval: manual
  recv: {{placeholder: {{encryption: inherit}}}}
  {KEEP_ALL}
"
    )
}

fn sink(name: &str, serve: &str) -> String {
    format!(
        "- name: {name}
  type: sink
  root_fs: backup
  serve: {serve}
  recv: {{placeholder: {{encryption: inherit}}}}
"
    )
}

fn source(name: &str, tree: &str, serve: &str, raw: bool) -> String {
    format!(
        "- name: {name}
  type: source
  serve: {serve}
  filesystems: {{'tank/{tree}<': true, 'tank/{tree}': false}}
  send: {}
  snapshotting: {{type: manual}}
",
        send(raw)
    )
}
