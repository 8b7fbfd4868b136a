//! The data connections that were recorded between two daemons of zrepl 0.7.0, or between one and a hand-made client: what
//! either side said after banner and label.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::peer::{Said, Speaker};

/// One connection.
#[derive(Debug)]
pub(crate) struct Recording {
    /// Scenario and connection.
    pub(crate) id: String,
    pub(crate) client: Vec<u8>,
    pub(crate) server: Vec<u8>,
}

impl Recording {
    pub(crate) fn client(&self) -> Said {
        Said::decode(&self.client, Speaker::Client)
    }

    pub(crate) fn server(&self) -> Said {
        let sends = self.sends();
        Said::decode(&self.server, Speaker::Server { sends })
    }

    /// Whether it asks for a stream.
    pub(crate) fn sends(&self) -> bool {
        self.path() == "/v1/send"
    }

    /// What is requested.
    pub(crate) fn path(&self) -> String {
        let said = self.client();
        let header = said.parts.first().map(|part| part.body.clone());
        String::from_utf8_lossy(&header.unwrap_or_default()).into()
    }

    /// Whether a client that somebody wrote for the purpose says what no daemon would say.
    pub(crate) fn is_hand_made(&self) -> bool {
        self.id.contains("-crafted/")
    }
}

/// Those of `proto/tests/vectors` that have both directions there; and, if `ZREPL_RECORDINGS` names a directory that
/// `proto/tests/vectors/import.py` has written, all of it.
pub(crate) fn recordings() -> Vec<Recording> {
    let small = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto/tests/vectors");
    let mut recordings = Vec::new();
    let all = std::env::var_os("ZREPL_RECORDINGS").map(PathBuf::from);
    let root = all.unwrap_or(small);
    for directory in entries(&root).iter().filter(|path| path.is_dir()) {
        let scenario = name(directory);
        for path in entries(directory) {
            let connection = name(&path);
            let Some(connection) = connection.strip_suffix(".c2s") else {
                continue;
            };
            let Ok(server) = fs::read(path.with_extension("s2c")) else {
                continue;
            };
            let client = fs::read(&path).expect("a recording");
            if let Some((client, server)) = without_prelude(&client, &server) {
                recordings.push(Recording {
                    id: format!("{scenario}/{connection}"),
                    client,
                    server,
                });
            }
        }
    }
    recordings
}

/// What follows greeting, banner and label, if it is a data connection.
fn without_prelude(client: &[u8], server: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let client = after_banner(after_greeting(client))?;
    let (label, client) = client.split_at_checked(64)?;
    let mut expected = [0; 64];
    expected[..10].copy_from_slice(b"zrepl_data");
    let server = after_banner(after_greeting(server))?;
    (label == expected).then(|| (client.to_vec(), server.to_vec()))
}

/// Of netssh: 31 bytes.
fn after_greeting(bytes: &[u8]) -> &[u8] {
    match bytes.split_at_checked(31) {
        Some((greeting, rest)) if greeting.starts_with(b"SSHCON_") => rest,
        _ => bytes,
    }
}

/// Ten digits, a blank and so many bytes.
fn after_banner(bytes: &[u8]) -> Option<&[u8]> {
    let digits = std::str::from_utf8(bytes.get(..10)?).ok()?;
    let len: usize = digits.parse().ok()?;
    bytes.get(11 + len..)
}

fn entries(directory: &Path) -> BTreeSet<PathBuf> {
    let entries = fs::read_dir(directory).expect("a directory");
    entries
        .map(|entry| entry.expect("an entry").path())
        .collect()
}

fn name(path: &Path) -> String {
    let name = path.file_name().and_then(|name| name.to_str());
    name.expect("ASCII names").to_owned()
}
