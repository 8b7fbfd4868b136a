//! Connections built field by field, so that the right output is known without walking.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// A byte of a connection, and what the server is to see of it.
type Byte = (u8, Option<u8>);

#[derive(Clone, Debug)]
enum Field {
    EmptyAuthority,
    OldAuthority {
        first: u8,
        name: u8,
        huffman: bool,
    },
    Indexed(usize),
    SizeUpdate(usize),
    Literal {
        first: u8,
        name: Result<usize, Vec<u8>>,
        huffman: bool,
        value: Vec<u8>,
    },
}

/// A prefix-coded integer (RFC 7541, section 5.1).
fn integer(first: u8, prefix: u32, mut value: usize) -> Vec<u8> {
    let full = (1_usize << prefix) - 1;
    let byte = |value: usize| u8::try_from(value).expect("a byte");
    if value < full {
        return vec![first | byte(value)];
    }
    value -= full;
    let mut bytes = vec![first | byte(full)];
    while value >= 0x80 {
        bytes.push(byte(value % 0x80) | 0x80);
        value /= 0x80;
    }
    bytes.push(byte(value));
    bytes
}

fn string(huffman: bool, text: &[u8]) -> Vec<u8> {
    let mut bytes = integer(u8::from(huffman) << 7, 7, text.len());
    bytes.extend(text);
    bytes
}

fn prefix(first: u8) -> u32 {
    if first == 0x40 { 6 } else { 4 }
}

impl Field {
    fn encode(&self) -> Vec<u8> {
        match self {
            Self::EmptyAuthority => vec![0x81],
            Self::OldAuthority {
                first,
                name,
                huffman,
            } => {
                let mut bytes = match name {
                    0 => integer(*first, prefix(*first), 1),
                    1 => [&[*first][..], &string(false, b":authority")].concat(),
                    _ => [&[*first][..], b"\x88\xb8\x3b\x53\x39\xec\x32\x7d\x7f"].concat(),
                };
                let text = if *huffman {
                    OLD_HUFFMAN.as_slice()
                } else {
                    OLD.as_bytes()
                };
                bytes.extend(string(*huffman, text));
                bytes
            }
            Self::Indexed(index) => integer(0x80, 7, *index),
            Self::SizeUpdate(size) => integer(0x20, 5, *size),
            Self::Literal {
                first,
                name,
                huffman,
                value,
            } => {
                let mut bytes = match name {
                    Ok(index) => integer(*first, prefix(*first), *index),
                    Err(name) => [&[*first][..], &string(*huffman, name)].concat(),
                };
                bytes.extend(string(*huffman, value));
                bytes
            }
        }
    }
}

/// A block and what is to become of it: the first of each authority is corrected.
fn block_bytes(fields: &[Field]) -> Vec<Byte> {
    let (mut empty, mut old) = (false, false);
    let mut bytes = Vec::new();
    for field in fields {
        let encoded = field.encode();
        let mut pairs: Vec<Byte> = encoded.iter().map(|&byte| (byte, Some(byte))).collect();
        match field {
            Field::EmptyAuthority if !empty => {
                empty = true;
                pairs[0].1 = None;
            }
            Field::OldAuthority { huffman, .. } if !old => {
                old = true;
                let text = if *huffman {
                    NEW_HUFFMAN.as_slice()
                } else {
                    NEW.as_bytes()
                };
                let start = pairs.len() - text.len();
                for (pair, byte) in pairs[start..].iter_mut().zip(text) {
                    pair.1 = Some(*byte);
                }
            }
            _ => {}
        }
        bytes.extend(pairs);
    }
    bytes
}

#[derive(Clone, Debug)]
struct BlockFrames {
    fields: Vec<Field>,
    /// Where the block is cut into frames.
    cuts: Vec<prop::sample::Index>,
    padding: Option<u8>,
    priority: Option<[u8; 5]>,
    stream: u32,
}

impl BlockFrames {
    /// The frames as sent and as they are to be seen.
    fn encode(&self) -> (Vec<u8>, Vec<u8>) {
        let bytes = block_bytes(&self.fields);
        let mut cuts: Vec<usize> = self
            .cuts
            .iter()
            .map(|cut| cut.index(bytes.len() + 1))
            .collect();
        cuts.push(bytes.len());
        cuts.sort_unstable();
        let (mut sent, mut seen) = (Vec::new(), Vec::new());
        let mut start = 0;
        for (number, &end) in cuts.iter().enumerate() {
            let fragment = &bytes[start..end];
            start = end;
            let mut flags = if number + 1 == cuts.len() {
                END_HEADERS
            } else {
                0
            };
            let (mut before, mut after) = (Vec::new(), Vec::new());
            let mut kind = CONTINUATION;
            if number == 0 {
                kind = HEADERS;
                if let Some(padding) = self.padding {
                    flags |= PADDED;
                    before.push(padding);
                    after = vec![0x81; padding.into()];
                }
                if let Some(priority) = self.priority {
                    flags |= PRIORITY;
                    before.extend(priority);
                }
            }
            let whole = |fragment: Vec<u8>| {
                frame(
                    kind,
                    flags,
                    self.stream,
                    &[&before[..], &fragment, &after].concat(),
                )
            };
            sent.extend(whole(fragment.iter().map(|pair| pair.0).collect()));
            seen.extend(whole(fragment.iter().filter_map(|pair| pair.1).collect()));
        }
        (sent, seen)
    }
}

fn field() -> impl Strategy<Value = Field> {
    let first = || prop::sample::select(vec![0x00, 0x10, 0x40]);
    let bytes = |max| vec(prop_oneof![any::<u8>(), Just(0x81)], 0..max);
    let name = prop_oneof![(1..70_usize).prop_map(Ok), bytes(20).prop_map(Err),];
    prop_oneof![
        Just(Field::EmptyAuthority),
        (first(), 0..3_u8, any::<bool>()).prop_map(|(first, name, huffman)| Field::OldAuthority {
            first,
            name,
            huffman
        }),
        (2..300_usize).prop_map(Field::Indexed),
        (0..5000_usize).prop_map(Field::SizeUpdate),
        (first(), name, any::<bool>(), bytes(400)).prop_map(|(first, name, huffman, value)| {
            Field::Literal {
                first,
                name,
                huffman,
                value,
            }
        }),
    ]
}

fn block_frames() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    (
        vec(field(), 0..8),
        vec(any::<prop::sample::Index>(), 0..4),
        any::<Option<u8>>(),
        any::<Option<[u8; 5]>>(),
        1..0x8000_0000_u32,
    )
        .prop_map(|(fields, cuts, padding, priority, stream)| {
            BlockFrames {
                fields,
                cuts,
                padding,
                priority,
                stream,
            }
            .encode()
        })
}

fn other_frame() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let kind = prop::sample::select(vec![0x0, 0x2, 0x3, 0x4, 0x5, 0x6, 0x7, 0x8, 0xa, 0xff]);
    let payload = vec(prop_oneof![any::<u8>(), Just(0x81)], 0..300);
    (kind, any::<u8>(), any::<u32>(), payload).prop_map(|(kind, flags, stream, payload)| {
        let bytes = frame(kind, flags, stream, &payload);
        (bytes.clone(), bytes)
    })
}

/// The frames of a connection, as sent and as they are to be seen.
fn connection() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    vec(prop_oneof![block_frames(), other_frame()], 0..8).prop_map(|frames| {
        let (sent, seen): (Vec<_>, Vec<_>) = frames.into_iter().unzip();
        (sent.concat(), seen.concat())
    })
}

proptest! {
    #[test]
    fn nothing_but_the_authority_changes((sent, seen) in connection()) {
        prop_assert_eq!(filtered(&sent), seen);
    }

    #[test]
    fn segments_make_no_difference(
        (sent, seen) in connection(),
        cuts in vec(1..40_usize, 1..40),
    ) {
        let mut filter = AuthorityFilter::new();
        let mut output = Vec::new();
        let whole = [PREFACE, &sent].concat();
        let mut rest = whole.as_slice();
        for &cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (segment, after) = rest.split_at(cut.min(rest.len()));
            filter.feed(segment, &mut output);
            rest = after;
        }
        filter.finish(&mut output);
        prop_assert_eq!(&output[PREFACE.len()..], seen);
    }

    #[test]
    fn any_bytes_come_out_with_at_most_one_missing_per_block(
        bytes in vec(prop_oneof![
            any::<u8>(),
            prop::sample::select(vec![0x00, 0x01, 0x04, 0x09, 0x41, 0x81, 0x95]),
        ], 0..600),
    ) {
        let output = filtered(&bytes);
        prop_assert!(output.len() <= bytes.len());
        prop_assert!(output.len() >= bytes.len() - bytes.len() / 10);
    }

    #[test]
    fn any_block_passes_or_loses_one_byte(
        block in vec(prop_oneof![any::<u8>(), Just(0x81)], 1..200),
        with_text in any::<bool>(),
    ) {
        let text = [b"\x41\x95".as_slice(), &OLD_HUFFMAN].concat();
        let block = if with_text { [text, block].concat() } else { block };
        let output = filtered(&headers(&block));
        prop_assert!([block.len(), block.len() - 1].contains(&(output.len() - HEAD_LEN)));
    }
}
