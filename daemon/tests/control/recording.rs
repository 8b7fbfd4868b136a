//! The files of `proto/tests/control`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::frame::{Frame, PREFACE, split};

/// One control connection, from the HTTP/2 preface on.
pub(crate) struct Recording {
    pub(crate) name: String,
    pub(crate) client: Vec<Frame>,
    pub(crate) server: Vec<Frame>,
    /// By stream, in the order in which they were made.
    pub(crate) requests: BTreeMap<u32, Asked>,
    pub(crate) answers: BTreeMap<u32, Result<Vec<u8>, (u64, String)>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) message: Vec<u8>,
}

/// Those of Go clients.
pub(crate) fn of_go_clients() -> Vec<Recording> {
    load(|name| name.contains(".conn"), 48)
}

/// Those written by hand; the server is Go's, too.
pub(crate) fn crafted() -> Vec<Recording> {
    load(|name| !name.contains(".conn"), 12)
}

fn load(is_wanted: fn(&str) -> bool, expected: usize) -> Vec<Recording> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto/tests/control");
    let mut names: Vec<String> = fs::read_dir(&folder)
        .expect("folder of recordings")
        .map(|entry| entry.expect("entry").file_name().into_string())
        .filter_map(|name| Some(name.ok()?.strip_suffix(".jsonl")?.to_owned()))
        .filter(|name| is_wanted(name))
        .collect();
    names.sort();
    assert_eq!(names.len(), expected, "{names:?}");
    names
        .into_iter()
        .map(|name| Recording::load(&folder, name))
        .collect()
}

impl Recording {
    fn load(folder: &Path, name: String) -> Self {
        let read =
            |suffix: &str| fs::read(folder.join(format!("{name}.{suffix}"))).expect("recording");
        let (client, server) = (read("c2s"), read("s2c"));
        let index = String::from_utf8(read("jsonl")).expect("text");
        let mut requests = BTreeMap::new();
        let mut answers = BTreeMap::new();
        for line in index.lines().filter(|line| !line.is_empty()) {
            let entry: Value = serde_json::from_str(line).expect("JSON");
            let number = |key: &str| entry[key].as_u64().expect("number");
            let at = |key: &str| usize::try_from(number(key)).expect("small");
            let is_request = entry["dir"] == "c2s";
            let file = if is_request { &client } else { &server };
            let frame = split(&file[at("off")..][..at("len")]).0.remove(0);
            if let Some(text) = entry.get("text") {
                let text = percent_decoded(text.as_str().expect("text"));
                answers.insert(frame.stream, Err((number("status"), text)));
                continue;
            }
            let message = frame.payload[5..].to_vec();
            if is_request {
                let method = entry["method"].as_str().expect("text").to_owned();
                requests.insert(frame.stream, Asked { method, message });
            } else {
                answers.insert(frame.stream, Ok(message));
            }
        }
        Self {
            client: split(&client[PREFACE.len()..]).0,
            server: split(&server).0,
            name,
            requests,
            answers,
        }
    }
}

fn percent_decoded(text: &str) -> String {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (code, rest) = part.split_at(2);
        bytes.push(u8::from_str_radix(code, 16).expect("two digits"));
        bytes.extend(rest.bytes());
    }
    String::from_utf8(bytes).expect("UTF-8")
}
