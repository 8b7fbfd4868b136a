//! The files of `tests/control`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::server::{Frame, frames};

/// One control connection, from the HTTP/2 preface on.
pub(crate) struct Recording {
    pub(crate) name: String,
    pub(crate) client: Vec<u8>,
    pub(crate) server: Vec<u8>,
    index: Vec<Value>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    ToServer,
    ToClient,
}

/// A protobuf message and what the index says about it.
pub(crate) struct Message {
    direction: Direction,
    method: String,
    pub(crate) kind: String,
    stream: u32,
    pub(crate) bytes: Vec<u8>,
    pub(crate) value: Value,
}

/// What a server made of a request.
#[derive(Debug)]
pub(crate) enum Answer {
    Message(Vec<u8>),
    Error(i32, String),
}

impl Recording {
    /// All of them, by name.
    pub(crate) fn all() -> Vec<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/control");
        let mut names: Vec<String> = fs::read_dir(&folder)
            .expect("folder of recordings")
            .map(|entry| entry.expect("entry").file_name().into_string())
            .filter_map(|name| Some(name.ok()?.strip_suffix(".jsonl")?.to_owned()))
            .collect();
        names.sort();
        assert_eq!(names.len(), 60);
        let read = |name: &str, suffix: &str| {
            fs::read(folder.join(format!("{name}.{suffix}"))).expect("recording")
        };
        let load = |name: String| Self {
            client: read(&name, "c2s"),
            server: read(&name, "s2c"),
            index: String::from_utf8(read(&name, "jsonl"))
                .expect("text")
                .lines()
                .filter(|line| !line.is_empty())
                .map(|line| serde_json::from_str(line).expect("JSON"))
                .collect(),
            name,
        };
        names.into_iter().map(load).collect()
    }

    /// Those of Go clients.
    pub(crate) fn of_go_clients() -> Vec<Self> {
        let mut all = Self::all();
        all.retain(Self::is_of_go_client);
        all
    }

    /// Those written by hand. Their `:authority` is `x`.
    pub(crate) fn crafted() -> Vec<Self> {
        let mut all = Self::all();
        all.retain(|recording| !recording.is_of_go_client());
        all
    }

    fn is_of_go_client(&self) -> bool {
        self.name.contains(".conn")
    }

    pub(crate) fn messages(&self) -> impl Iterator<Item = Message> {
        let entries = self
            .index
            .iter()
            .filter(|entry| entry.get("message").is_some());
        entries.map(|entry| {
            let frame = self.frame(entry);
            Message {
                direction: direction(entry),
                method: text(entry, "method"),
                kind: text(entry, "message"),
                stream: frame.stream,
                // after the head of the gRPC message
                bytes: frame.payload[5..].to_vec(),
                value: entry["value"].clone(),
            }
        })
    }

    /// What the server answered, by stream.
    pub(crate) fn answers(&self) -> BTreeMap<u32, Answer> {
        let messages = self
            .messages()
            .filter(|message| message.direction == Direction::ToClient)
            .map(|message| (message.stream, Answer::Message(message.bytes)));
        let errors = self
            .index
            .iter()
            .filter(|entry| entry.get("status").is_some());
        let errors = errors.map(|entry| {
            let code = i32::try_from(number(entry, "status")).expect("small");
            let answer = Answer::Error(code, percent_decoded(&text(entry, "text")));
            (self.frame(entry).stream, answer)
        });
        messages.chain(errors).collect()
    }

    fn frame(&self, entry: &Value) -> Frame {
        let file = match direction(entry) {
            Direction::ToServer => &self.client,
            Direction::ToClient => &self.server,
        };
        let bytes = &file[number(entry, "off")..][..number(entry, "len")];
        frames(bytes).pop().expect("one frame")
    }

    /// Path and message of the requests.
    pub(crate) fn requests(&self) -> Vec<(String, Vec<u8>)> {
        self.messages()
            .filter(|message| message.direction == Direction::ToServer)
            .map(|message| (format!("/Replication/{}", message.method), message.bytes))
            .collect()
    }

    /// The streams on which the client asked for something.
    pub(crate) fn streams(&self) -> Vec<u32> {
        frames(&self.client[24..])
            .iter()
            .filter(|frame| frame.kind == Frame::HEADERS)
            .map(|frame| frame.stream)
            .collect()
    }
}

fn direction(entry: &Value) -> Direction {
    match text(entry, "dir").as_str() {
        "c2s" => Direction::ToServer,
        _ => Direction::ToClient,
    }
}

fn text(entry: &Value, key: &str) -> String {
    entry[key].as_str().expect("text").to_owned()
}

fn number(entry: &Value, key: &str) -> usize {
    let number = entry[key].as_u64().expect("number");
    usize::try_from(number).expect("small")
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
