//! Walks a header block (RFC 7541, section 6) without decoding it: in goes a whole block, out come the places of the two
//! authorities that Go clients send.

use std::ops::Range;

/// The indexed field of static table entry 1: `:authority` with an empty value.
const EMPTY_AUTHORITY: u8 = 0x81;
/// Static table entry 1 as the name of a literal.
const AUTHORITY_INDEX: usize = 1;

/// The name, plain and as Huffman code.
const AUTHORITY: Forms = Forms {
    plain: b":authority",
    huffman: &[0xb8, 0x3b, 0x53, 0x39, 0xec, 0x32, 0x7d, 0x7f],
};

/// What zrepl 0.6.x sends (`rpc/grpcclientidentity/grpchelper`).
const OLD_TEXT: Forms = Forms {
    plain: b"doesn't matter done by dialer",
    huffman: &[
        0x90, 0xe5, 0x45, 0x5f, 0xe9, 0x2a, 0x52, 0x34, 0xa4, 0xb6, 0x29, 0x21, 0xea, 0x2a, 0x91,
        0xfa, 0x52, 0x43, 0x0e, 0x82, 0xd9,
    ],
};

/// What the server reads instead. Blank and hyphen have codes of the same length.
const NEW_TEXT: Forms = Forms {
    plain: b"doesn't-matter-done-by-dialer",
    huffman: &[
        0x90, 0xe5, 0x45, 0x5f, 0xe9, 0x2b, 0x52, 0x34, 0xa4, 0xb6, 0x2d, 0x21, 0xea, 0x2a, 0xd1,
        0xfa, 0x5a, 0x43, 0x0e, 0x82, 0xd9,
    ],
};

/// A text as a string literal can hold it.
struct Forms {
    plain: &'static [u8],
    huffman: &'static [u8],
}

/// What a header block holds of authorities that h2 refuses. A second one of a kind is left to h2: it is an error anyway.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// The byte that stands for an empty authority.
    pub(super) empty: Option<usize>,
    /// Where the text of zrepl 0.6.x begins, and what is to replace it.
    pub(super) old_text: Option<(usize, &'static [u8])>,
}

/// Looks through a whole header block. None if it is malformed.
pub(super) fn find_authority(block: &[u8]) -> Option<Found> {
    let mut found = Found::default();
    let mut walk = Walk { block, at: 0 };
    while let Some(&first) = block.get(walk.at) {
        match first {
            EMPTY_AUTHORITY => {
                found.empty.get_or_insert(walk.at);
                walk.at += 1;
            }
            // indexed field
            0x80.. => {
                walk.integer(7)?;
            }
            // dynamic table size update
            0x20..0x40 => {
                walk.integer(5)?;
            }
            // literal with incremental indexing (0x40), never indexed (0x10), without indexing (0x00)
            _ => {
                let prefix = if first >= 0x40 { 6 } else { 4 };
                let is_authority = match walk.integer(prefix)? {
                    0 => walk.string()?.is(&AUTHORITY, block),
                    index => index == AUTHORITY_INDEX,
                };
                let value = walk.string()?;
                if is_authority && found.old_text.is_none() && value.is(&OLD_TEXT, block) {
                    found.old_text = Some((value.bytes.start, NEW_TEXT.form(value.is_huffman)));
                }
            }
        }
    }
    Some(found)
}

struct Walk<'a> {
    block: &'a [u8],
    at: usize,
}

/// A string literal; a place in the block.
struct Text {
    is_huffman: bool,
    bytes: Range<usize>,
}

impl Walk<'_> {
    fn next(&mut self) -> Option<u8> {
        let byte = *self.block.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    /// An integer that begins in the lowest `prefix` bits of the next byte. h2 takes no more than five bytes either.
    fn integer(&mut self, prefix: u32) -> Option<usize> {
        let full = (1 << prefix) - 1;
        let mut value = usize::from(self.next()?) & full;
        if value < full {
            return Some(value);
        }
        for shift in [0, 7, 14, 21] {
            let byte = self.next()?;
            value += usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn string(&mut self) -> Option<Text> {
        let is_huffman = self.block.get(self.at)? & 0x80 != 0;
        let len = self.integer(7)?;
        let start = self.at;
        self.at = start
            .checked_add(len)
            .filter(|&end| end <= self.block.len())?;
        Some(Text {
            is_huffman,
            bytes: start..self.at,
        })
    }
}

impl Text {
    fn is(&self, forms: &Forms, block: &[u8]) -> bool {
        block[self.bytes.clone()] == *forms.form(self.is_huffman)
    }
}

impl Forms {
    const fn form(&self, is_huffman: bool) -> &'static [u8] {
        if is_huffman { self.huffman } else { self.plain }
    }
}
