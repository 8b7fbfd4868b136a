//! Every byte of the recordings in `vectors/`, which zrepl 0.7.0 or a hand-made client sent, goes through our decoders. What
//! comes out has to be what another decoder found (`expected.tsv`), and our encoders have to make the same bytes of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use zrepl_proto::label::Label;
use zrepl_proto::response::Endpoint;

use transcript::{Side, Transcript};

#[path = "replay/transcript.rs"]
mod transcript;

/// Hand-made bytes that our encoders cannot or must not produce.
const NOT_OURS: [(&str, &str); 7] = [
    // A frame of one byte.
    ("06b-crafted", "crash-onebyte.c2s"),
    ("06h-crafted", "crash-heartbeat1.c2s"),
    // A frame type that does not exist; messages in the wrong order.
    ("06b-crafted", "src-bad-frametype.c2s"),
    ("06b-crafted", "src-wrong-order.c2s"),
    // An end with payload.
    ("06b-crafted", "src-end-payload.c2s"),
    // A message in two frames with a heartbeat between them.
    ("06b-crafted", "src-hb-inside.c2s"),
    // Another version.
    ("06b-crafted", "src-version6.c2s"),
];

/// One recorded direction and what is expected of it.
struct Recording {
    scenario: String,
    name: String,
    bytes: Vec<u8>,
    /// The other direction, if it is here too.
    client: Option<Vec<u8>>,
    expected: Vec<(usize, usize, String)>,
}

impl Recording {
    fn id(&self) -> (&str, &str) {
        (&self.scenario, &self.name)
    }

    fn transcript(&self, cut: usize) -> Transcript {
        let ssh = self.scenario.starts_with("11");
        let side = match &self.client {
            _ if self.name.strip_suffix(".c2s").is_some() => Side::Client,
            Some(client) => {
                let client = Transcript::of(client, Side::Client, ssh, usize::MAX);
                Side::Server(client.label, client.endpoint)
            }
            // The client's bytes are too many to be kept here: it sent a stream.
            None => Side::Server(Some(Label::Data), Some(Endpoint::Recv)),
        };
        Transcript::of(&self.bytes, side, ssh, cut)
    }
}

fn recordings() -> Vec<Recording> {
    recordings_in(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors"))
}

fn recordings_in(root: &Path) -> Vec<Recording> {
    let mut recordings = Vec::new();
    for directory in entries(root) {
        if !directory.is_dir() {
            continue;
        }
        let expected = expected(&directory);
        for path in entries(&directory) {
            let name = file_name(&path);
            if name == "expected.tsv" {
                continue;
            }
            let client = fs::read(path.with_extension("c2s")).ok();
            recordings.push(Recording {
                scenario: file_name(&directory),
                bytes: fs::read(&path).expect("a recording"),
                client,
                expected: expected.get(&name).cloned().unwrap_or_default(),
                name,
            });
        }
    }
    recordings
}

fn expected(directory: &Path) -> BTreeMap<String, Vec<(usize, usize, String)>> {
    let index = fs::read_to_string(directory.join("expected.tsv")).expect("an index");
    let mut expected: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for line in index.lines() {
        let mut fields = line.splitn(4, '\t');
        let mut field = || fields.next().expect("four fields");
        let name = field().to_owned();
        let mut number = || field().parse().expect("a number");
        let (offset, len) = (number(), number());
        let row = (offset, len, field().to_owned());
        expected.entry(name).or_default().push(row);
    }
    expected
}

fn entries(directory: &Path) -> BTreeSet<PathBuf> {
    let entries = fs::read_dir(directory).expect("a directory");
    entries
        .map(|entry| entry.expect("an entry").path())
        .collect()
}

fn file_name(path: &Path) -> String {
    let name = path.file_name().and_then(|name| name.to_str());
    name.expect("ASCII names").to_owned()
}

#[test]
fn every_byte_decodes_to_what_the_other_decoder_found() {
    let (mut files, mut rows, mut messages) = (0, 0, 0);
    for recording in recordings() {
        let transcript = recording.transcript(usize::MAX);
        assert_eq!(transcript.rows, recording.expected, "{:?}", recording.id());
        let covered: usize = transcript.rows.iter().map(|(_, len, _)| len).sum();
        assert_eq!(covered, recording.bytes.len(), "{:?}", recording.id());
        files += 1;
        rows += transcript.rows.len();
        messages += transcript.messages;
    }
    // Nothing was lost on the way here.
    assert_eq!((files, rows, messages), (226, 1030, 275));
    // All recordings, with the large ones, if they are at hand: vectors/import.py SOURCE DIRECTORY.
    let Some(root) = std::env::var_os("ZREPL_RECORDINGS") else {
        return;
    };
    for recording in recordings_in(Path::new(&root)) {
        // A quarter of a frame of Go, and a bit.
        for cut in [usize::MAX, 131_077] {
            let rows = recording.transcript(cut).rows;
            assert_eq!(rows, recording.expected, "{:?}", recording.id());
        }
    }
}

#[test]
fn segmentation_does_not_matter() {
    for recording in recordings() {
        for cut in [1, 2, 7, 64, 1000] {
            let rows = recording.transcript(cut).rows;
            assert_eq!(
                rows,
                recording.expected,
                "{:?} in pieces of {cut}",
                recording.id()
            );
        }
    }
}

#[test]
fn our_encoders_make_the_recorded_bytes() {
    for recording in recordings() {
        let transcript = recording.transcript(usize::MAX);
        let encoded = [transcript.encoded, transcript.opaque].concat();
        let same = encoded == recording.bytes;
        assert_eq!(
            same,
            !NOT_OURS.contains(&recording.id()),
            "{:?}",
            recording.id()
        );
    }
}

#[test]
fn only_the_hand_made_banner_of_version_6_is_not_accepted() {
    let refused: Vec<_> = recordings()
        .into_iter()
        .filter(|recording| recording.transcript(usize::MAX).accepted == Some(false))
        .map(|recording| recording.name)
        .collect();
    assert_eq!(refused, ["src-version6.c2s"]);
}

#[test]
fn only_the_hand_made_label_is_unknown() {
    let (mut control, mut data, mut unknown) = (0, 0, Vec::new());
    for recording in recordings() {
        let transcript = recording.transcript(usize::MAX);
        match transcript.label {
            Some(Label::Control) => control += 1,
            Some(Label::Data) => data += 1,
            None if transcript
                .rows
                .iter()
                .any(|(_, _, what)| what.starts_with("label")) =>
            {
                unknown.push(recording.name);
            }
            None => {}
        }
    }
    assert_eq!((control, data), (31, 70));
    assert_eq!(unknown, ["src-unknown-label.c2s"]);
}
