mod model;

use super::*;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const OLD: &str = "doesn't matter done by dialer";
const NEW: &str = "doesn't-matter-done-by-dialer";
/// By the code table of RFC 7541, appendix B; checked against h2 in `tests/control.rs`.
const OLD_HUFFMAN: [u8; 21] = [
    0x90, 0xe5, 0x45, 0x5f, 0xe9, 0x2a, 0x52, 0x34, 0xa4, 0xb6, 0x29, 0x21, 0xea, 0x2a, 0x91, 0xfa,
    0x52, 0x43, 0x0e, 0x82, 0xd9,
];
const NEW_HUFFMAN: [u8; 21] = [
    0x90, 0xe5, 0x45, 0x5f, 0xe9, 0x2b, 0x52, 0x34, 0xa4, 0xb6, 0x2d, 0x21, 0xea, 0x2a, 0xd1, 0xfa,
    0x5a, 0x43, 0x0e, 0x82, 0xd9,
];

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).expect("short").to_be_bytes();
    let mut frame = vec![len[1], len[2], len[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

fn headers(block: &[u8]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, 1, block)
}

/// What the filter makes of frames that follow the preface.
fn filtered(frames: &[u8]) -> Vec<u8> {
    let mut filter = AuthorityFilter::new();
    let mut output = Vec::new();
    filter.feed(PREFACE, &mut output);
    filter.feed(frames, &mut output);
    filter.finish(&mut output);
    output.split_off(PREFACE.len())
}

/// As `filtered`, byte by byte; tells also how many bytes of output there were after each.
fn bytewise(frames: &[u8]) -> Vec<usize> {
    let mut filter = AuthorityFilter::new();
    let mut output = Vec::new();
    filter.feed(PREFACE, &mut output);
    let step = |byte: &u8| {
        filter.feed(&[*byte], &mut output);
        output.len() - PREFACE.len()
    };
    frames.iter().map(step).collect()
}

#[test]
fn the_recorded_block_loses_one_byte() {
    let block = b"\x83\x86\x45\x8c\x63\x69\x6b\xa0\xc4\x1a\x4c\x7a\x98\xd6\x6a\xa6\x81\x5f\x8b\x1d\x75\xd0\x62\x0d\
        \x26\x3d\x4c\x4d\x65\x64\x7a\x8a\x9a\xca\xc8\xb4\xc7\x60\x2b\xba\xf2\xe0\x40\x02\x74\x65\x86\x4d\x83\x35\x05\
        \xb1\x1f";
    let mut without = block.to_vec();
    assert_eq!(without.remove(16), 0x81);
    assert_eq!(filtered(&headers(block)), headers(&without));
}

#[test]
fn bytes_like_it_inside_values_stay() {
    let block = [
        0x83, 0x86, 0x44, 0x03, b'/', 0x81, b'x', 0x81, 0x40, 0x01, 0x81, 0x01, 0x81, 0x3f, 0x81,
        0x00,
    ];
    let mut without = block.to_vec();
    without.remove(7);
    assert_eq!(filtered(&headers(&block)), headers(&without));
}

#[test]
fn only_the_first_of_two_is_taken_out() {
    let block = [0x83, 0x81, 0x86, 0x81];
    assert_eq!(filtered(&headers(&block)), headers(&[0x83, 0x86, 0x81]));
}

#[test]
fn the_old_text_keeps_its_length() {
    assert_eq!(OLD.len(), NEW.len());
    let forms = [
        (OLD.as_bytes(), NEW.as_bytes(), 0x1d),
        (OLD_HUFFMAN.as_slice(), NEW_HUFFMAN.as_slice(), 0x95),
    ];
    let names: [&[u8]; 6] = [
        b"\x41",
        b"\x01",
        b"\x11",
        b"\x40\x0a:authority",
        b"\x00\x88\xb8\x3b\x53\x39\xec\x32\x7d\x7f",
        b"\x10\x0a:authority",
    ];
    for (old, new, len) in forms {
        for name in names {
            let block = |text| [b"\x83", name, &[len], text, b"\x86"].concat();
            assert_eq!(filtered(&headers(&block(old))), headers(&block(new)));
        }
        for name in [b"\x42".as_slice(), b"\x40\x0a:authoritx"] {
            let block = headers(&[name, &[len], old].concat());
            assert_eq!(filtered(&block), block, "a field of another name");
        }
    }
    let other = headers(b"\x41\x1ddoesn't matter done by Dialer");
    assert_eq!(filtered(&other), other, "another text");
}

#[test]
fn padding_and_priority_are_no_fields() {
    // pad length 0x02, or dependency and weight of 0x81s, then the block, then padding of 0x81s
    let flags = END_HEADERS | PADDED;
    assert_eq!(
        filtered(&frame(HEADERS, flags, 1, &[2, 0x83, 0x81, 0x81, 0x81])),
        frame(HEADERS, flags, 1, &[2, 0x83, 0x81, 0x81])
    );
    let flags = END_HEADERS | PRIORITY;
    assert_eq!(
        filtered(&frame(
            HEADERS,
            flags,
            1,
            &[0x81, 0x81, 0x81, 0x81, 0x81, 0x83, 0x81]
        )),
        frame(HEADERS, flags, 1, &[0x81, 0x81, 0x81, 0x81, 0x81, 0x83])
    );
    let flags = END_HEADERS | PADDED | PRIORITY;
    assert_eq!(
        filtered(&frame(
            HEADERS,
            flags,
            1,
            &[1, 0x81, 0x81, 0x81, 0x81, 0x81, 0x81, 0x81]
        )),
        frame(HEADERS, flags, 1, &[1, 0x81, 0x81, 0x81, 0x81, 0x81, 0x81])
    );
}

#[test]
fn a_block_may_go_on_in_other_frames() {
    // cut inside the text; the last frame loses its only byte
    let text = [b"\x41\x1d".as_slice(), OLD.as_bytes()].concat();
    let (front, back) = text.split_at(12);
    let new = [b"\x41\x1d".as_slice(), NEW.as_bytes()].concat();
    let (new_front, new_back) = new.split_at(12);
    let frames = |front, back, last| {
        [
            frame(HEADERS, 0x1, 5, front),
            frame(CONTINUATION, 0, 5, b""),
            frame(CONTINUATION, 0, 5, back),
            frame(CONTINUATION, END_HEADERS, 5, last),
        ]
        .concat()
    };
    assert_eq!(
        filtered(&frames(front, back, b"\x81")),
        frames(new_front, new_back, b"")
    );
}

#[test]
fn streams_differ_in_31_bits() {
    let frames = |stream| {
        [
            frame(HEADERS, 0, 1, b"\x81"),
            frame(CONTINUATION, END_HEADERS, stream, b""),
        ]
        .concat()
    };
    for bit in 1..31 {
        let other = frames(1 | 1 << bit);
        assert_eq!(filtered(&other), other);
    }
    let reserved = frames(1 | 1 << 31);
    assert_eq!(filtered(&reserved).len(), reserved.len() - 1);
}

#[test]
fn lengths_above_255_are_shortened_too() {
    let value = vec![b'v'; 252];
    let block = [b"\x44\x7f\x7d".as_slice(), &value, b"\x81"].concat();
    assert_eq!(block.len(), 256);
    let output = filtered(&headers(&block));
    assert_eq!(output, headers(&block[..255]));
    assert_eq!(output[..3], [0, 0, 255]);
}

#[test]
fn what_h2_has_to_refuse_passes_unchanged() {
    let block = [0x83, 0x81, 0x86];
    let open = frame(HEADERS, 0, 1, &block);
    let end = frame(CONTINUATION, END_HEADERS, 1, b"");
    let long = [b"\x81\x44\x7f\x81\x7f".as_slice(), &[b'v'; 16_384]].concat();
    let cases: [(&str, Vec<u8>); 13] = [
        ("value beyond the block", headers(&[0x81, 0x44, 0x02, b'/'])),
        ("no value", headers(&[0x81, 0x44])),
        ("no name", headers(&[0x81, 0x40])),
        (
            "endless integer",
            headers(&[0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00]),
        ),
        (
            "huge length",
            headers(&[0x81, 0x44, 0x7f, 0xff, 0xff, 0xff, 0x7f]),
        ),
        ("endless size update", headers(&[0x81, 0x3f, 0x80])),
        (
            "more padding than payload",
            frame(HEADERS, END_HEADERS | PADDED, 1, &[3, 0x81, 0x81]),
        ),
        (
            "no padding length",
            frame(HEADERS, END_HEADERS | PADDED, 1, b""),
        ),
        (
            "no priority",
            frame(HEADERS, END_HEADERS | PRIORITY, 1, &[0x81; 4]),
        ),
        ("a frame above the limit", headers(&long)),
        (
            "a frame in between",
            [open.clone(), frame(0x6, 0, 0, &[0x81; 8]), end.clone()].concat(),
        ),
        (
            "another block in between",
            [open.clone(), headers(&[0x44]), end.clone()].concat(),
        ),
        (
            "going on elsewhere",
            [open, frame(CONTINUATION, END_HEADERS, 3, b"\x81"), end].concat(),
        ),
    ];
    for (case, frames) in cases {
        assert_eq!(filtered(&frames), frames, "{case}");
    }
}

#[test]
fn the_next_block_is_looked_at_again() {
    let bad = frame(HEADERS, END_HEADERS | PADDED, 1, &[3, 0x81, 0x81]);
    let frames = [bad.clone(), headers(&[0x83, 0x81])].concat();
    assert_eq!(filtered(&frames), [bad, headers(&[0x83])].concat());
}

#[test]
fn a_block_above_the_limit_passes_from_then_on() {
    let start = frame(HEADERS, 0, 1, &[0x81]);
    let more = frame(CONTINUATION, 0, 1, &[0x83; MAX_FRAME_LEN]);
    let end = frame(CONTINUATION, END_HEADERS, 1, &[0x81]);
    let fits = [&start[..], &more, &more, &more, &end].concat();
    assert_eq!(filtered(&fits).len(), fits.len() - 1);
    let exceeds = [&start[..], &more, &more, &more, &more, &end].concat();
    assert_eq!(filtered(&exceeds), exceeds);
}

#[test]
fn holds_no_more_than_a_block_and_no_data_at_all() {
    let mut filter = AuthorityFilter::new();
    let mut output = Vec::new();
    filter.feed(PREFACE, &mut output);
    // a DATA frame of the greatest length there is
    filter.feed(&[0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1], &mut output);
    let chunk = vec![0x81; 1 << 16];
    for _ in 0..255 {
        output.clear();
        filter.feed(&chunk, &mut output);
        assert_eq!(output, chunk);
    }
    assert!(filter.held.capacity() <= 64);
    filter.feed(&chunk[1..], &mut output);
    // header blocks without end
    let start = frame(HEADERS, 0, 1, b"");
    let more = frame(CONTINUATION, 0, 1, b"");
    for _ in 0..3 {
        filter.feed(&start, &mut output);
        for _ in 0..10_000 {
            filter.feed(&more, &mut output);
            assert!(filter.held.len() <= MAX_BLOCK_LEN);
        }
    }
    assert!(filter.held.capacity() <= 2 * MAX_BLOCK_LEN);
}

#[test]
fn holds_back_heads_and_blocks_only() {
    let ping = frame(0x6, 0, 0, &[7; 8]);
    let expected = (0..8).map(|_| 0).chain(9..=17).collect::<Vec<usize>>();
    assert_eq!(bytewise(&ping), expected);
    let block = headers(&[0x83, 0x81, 0x86]);
    let mut expected = vec![0; block.len()];
    *expected.last_mut().expect("not empty") = block.len() - 1;
    assert_eq!(bytewise(&block), expected);
}

#[test]
fn an_unfinished_end_is_given_out() {
    let frames = [frame(0x6, 0, 0, &[7; 8]), headers(&[0x83, 0x81, 0x86])].concat();
    for len in 0..frames.len() {
        assert_eq!(filtered(&frames[..len]), frames[..len]);
    }
    let mut output = Vec::new();
    AuthorityFilter::default().finish(&mut output);
    assert!(output.is_empty());
}
