//! Makes requests of zrepl's Go clients acceptable to the h2 crate: bytes of a control connection from client to server
//! flow in, the same bytes flow out, but for the `:authority` of requests.
//!
//! zrepl 0.7.0 sends an empty `:authority`, versions 0.6.x send `doesn't matter done by dialer`. Neither is an authority, and
//! h2 resets every such request. The first is taken out, because an absent authority is fine; it is one byte that refers to
//! HPACK's static table, so nothing else depends on it. The second enters HPACK's dynamic table: there its blanks become
//! hyphens, which take as much room in every encoding, so that later references and evictions stay in step.
//!
//! [`AuthorityFilter`] refuses nothing. What it cannot understand it passes on unchanged, for h2 to answer: malformed HPACK,
//! frames and header blocks above its limits, a header block that is interrupted by other frames. None of these comes
//! from a zrepl, and h2 ends the connection for each, or the request if just its authority is wrong.

mod hpack;

use std::ops::Range;

/// Bytes of the client's preface (RFC 9113, section 3.4).
const PREFACE_LEN: usize = 24;
/// Bytes of a frame's head (RFC 9113, section 4.1).
const HEAD_LEN: usize = 9;
/// The longest frame without SETTINGS_MAX_FRAME_SIZE, which a server behind this filter must not raise.
const MAX_FRAME_LEN: usize = 16_384;
/// The longest header block that is looked at, with the heads of its frames. h2 as tonic uses it takes 16 KiB of headers.
const MAX_BLOCK_LEN: usize = 65_536;

const HEADERS: u8 = 0x1;
const CONTINUATION: u8 = 0x9;

const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;
/// Bytes of stream dependency and weight.
const PRIORITY_LEN: usize = 5;

/// Corrects the `:authority` in what one client sends on one connection, from the HTTP/2 preface on.
///
/// Holds back at most one header block and one frame head; everything else leaves with the call that brought it.
#[derive(Debug)]
pub struct AuthorityFilter {
    /// Frames of the open header block, and the next frame's head as far as it is here.
    held: Vec<u8>,
    block: Option<Block>,
    step: Step,
}

/// What comes next.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Bytes that are of no interest.
    Pass { left: usize },
    /// The frame head at this place in `held`.
    Head { start: usize },
    /// The payload of the frame at this place in `held`.
    Payload { start: usize, head: Head },
}

/// A header block that has begun and not ended.
#[derive(Debug)]
struct Block {
    stream: u32,
    fragments: Vec<Fragment>,
}

/// The part of a header block that lies in one frame; places in `held`.
#[derive(Debug)]
struct Fragment {
    head: usize,
    bytes: Range<usize>,
}

#[derive(Clone, Copy, Debug)]
struct Head {
    len: usize,
    kind: u8,
    flags: u8,
    stream: u32,
}

impl Default for AuthorityFilter {
    fn default() -> Self {
        Self::new()
    }
}

impl AuthorityFilter {
    /// A filter for a connection on which the client has not sent its preface yet.
    pub fn new() -> Self {
        Self {
            held: Vec::new(),
            block: None,
            step: Step::Pass { left: PREFACE_LEN },
        }
    }

    /// Takes the next bytes of the client and appends to `output` what the server may see of them.
    pub fn feed(&mut self, mut input: &[u8], output: &mut Vec<u8>) {
        while !input.is_empty() {
            match self.step {
                Step::Pass { left } => {
                    let passed = take(&mut input, left, output);
                    self.step = if passed < left {
                        Step::Pass {
                            left: left - passed,
                        }
                    } else {
                        Step::Head { start: 0 }
                    };
                }
                Step::Head { start } => {
                    let missing = start + HEAD_LEN - self.held.len();
                    take(&mut input, missing, &mut self.held);
                    if let Some(head) = Head::read(&self.held[start..]) {
                        self.head_complete(start, head, output);
                    }
                }
                Step::Payload { start, head } => {
                    let missing = start + HEAD_LEN + head.len - self.held.len();
                    if take(&mut input, missing, &mut self.held) == missing {
                        self.payload_complete(start, head, output);
                    }
                }
            }
        }
    }

    /// The client sends no more: gives out what was held back, so that the server sees where the connection broke off.
    pub fn finish(mut self, output: &mut Vec<u8>) {
        output.append(&mut self.held);
    }

    fn head_complete(&mut self, start: usize, head: Head, output: &mut Vec<u8>) {
        let expected = match &self.block {
            None => head.kind == HEADERS,
            Some(block) => head.kind == CONTINUATION && head.stream == block.stream,
        };
        if !expected || head.len > MAX_FRAME_LEN || start + HEAD_LEN + head.len > MAX_BLOCK_LEN {
            self.pass_on(head.len, output);
        } else if head.len == 0 {
            self.payload_complete(start, head, output);
        } else {
            self.step = Step::Payload { start, head };
        }
    }

    fn payload_complete(&mut self, start: usize, head: Head, output: &mut Vec<u8>) {
        let payload = start + HEAD_LEN;
        let Some(bytes) = head.fragment(&self.held[payload..]) else {
            return self.pass_on(0, output);
        };
        let block = self.block.get_or_insert_with(|| Block {
            stream: head.stream,
            fragments: Vec::new(),
        });
        block.fragments.push(Fragment {
            head: start,
            bytes: payload + bytes.start..payload + bytes.end,
        });
        if head.flags & END_HEADERS != 0 {
            block.correct(&mut self.held);
            self.pass_on(0, output);
        } else {
            self.step = Step::Head {
                start: self.held.len(),
            };
        }
    }

    /// Lets go of everything held, and of the next `left` bytes.
    fn pass_on(&mut self, left: usize, output: &mut Vec<u8>) {
        output.append(&mut self.held);
        self.block = None;
        self.step = Step::Pass { left };
    }
}

impl Block {
    /// Changes the complete block, which lies in `held`.
    fn correct(&self, held: &mut Vec<u8>) {
        let block = self
            .fragments
            .iter()
            .flat_map(|fragment| &held[fragment.bytes.clone()])
            .copied()
            .collect::<Vec<u8>>();
        let Some(found) = hpack::find_authority(&block) else {
            return;
        };
        if let Some((text, replacement)) = found.old_text {
            for (place, &byte) in (text..).zip(replacement) {
                if let Some((_, at)) = self.locate(place) {
                    held[at] = byte;
                }
            }
        }
        if let Some((head, at)) = found.empty.and_then(|place| self.locate(place)) {
            held.remove(at);
            shorten(&mut held[head..]);
        }
    }

    /// Where in `held` a byte of the block lies, and the head of its frame.
    fn locate(&self, mut place: usize) -> Option<(usize, usize)> {
        for Fragment { head, bytes } in &self.fragments {
            if place < bytes.len() {
                return Some((*head, bytes.start + place));
            }
            place -= bytes.len();
        }
        None
    }
}

impl Head {
    fn read(bytes: &[u8]) -> Option<Self> {
        let &[l0, l1, l2, kind, flags, s0, s1, s2, s3] = bytes.first_chunk::<HEAD_LEN>()?;
        Some(Self {
            len: usize::from(l0) << 16 | usize::from(l1) << 8 | usize::from(l2),
            kind,
            flags,
            // The highest bit is reserved.
            stream: u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]),
        })
    }

    /// The part of the frame's payload that belongs to the header block; none if the payload is malformed.
    fn fragment(self, payload: &[u8]) -> Option<Range<usize>> {
        if self.kind == CONTINUATION {
            return Some(0..payload.len());
        }
        let (mut start, mut padding) = (0, 0);
        if self.flags & PADDED != 0 {
            padding = usize::from(*payload.first()?);
            start = 1;
        }
        if self.flags & PRIORITY != 0 {
            start += PRIORITY_LEN;
        }
        let end = payload.len().checked_sub(padding)?;
        (start <= end).then_some(start..end)
    }
}

/// Moves up to `limit` bytes from the front of `input` to `output`; tells how many.
fn take(input: &mut &[u8], limit: usize, output: &mut Vec<u8>) -> usize {
    let (taken, rest) = input.split_at(limit.min(input.len()));
    output.extend_from_slice(taken);
    *input = rest;
    taken.len()
}

/// Takes one from the length in a frame's head.
fn shorten(head: &mut [u8]) {
    for byte in head[..3].iter_mut().rev() {
        let (less, borrowed) = byte.overflowing_sub(1);
        *byte = less;
        if !borrowed {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
