//! The rows of what Go's decoder accepts and rejects, and the exact bytes that we send.

use proptest::prelude::*;

use super::*;
use crate::extension::Extension;

const PLAIN: &[u8] = b"0000000056 ZREPL_ZFS_REPLICATION PROTOVERSION=0007 EXTENSIONS=0000\n";

fn extensions(lines: &[&str]) -> Extensions {
    Extensions::new(
        lines
            .iter()
            .map(|line| Extension::parse(line).unwrap())
            .collect(),
    )
}

/// A banner with a correct length around any body.
fn framed(body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    [format!("{:010} ", body.len()).as_bytes(), body].concat()
}

fn with_lines(count: usize, lines: impl AsRef<[u8]>) -> Vec<u8> {
    let header = format!("ZREPL_ZFS_REPLICATION PROTOVERSION=0007 EXTENSIONS={count:04}\n");
    framed([header.as_bytes(), lines.as_ref()].concat())
}

/// Decodes bytes that are one banner exactly.
fn decode(bytes: &[u8]) -> Result<Banner, BannerError> {
    let Fed { consumed, next } = Decoder::new().feed(bytes)?;
    assert_eq!(consumed, bytes.len());
    match next {
        Next::Done(banner) => Ok(banner),
        Next::More(decoder) => panic!("{} bytes missing", decoder.needed()),
    }
}

#[test]
fn without_extensions_the_banner_is_the_67_bytes_of_go() {
    let banner = encode(&Extensions::default()).unwrap();
    assert_eq!(banner.len(), 67);
    let golden: [u8; 67] = [
        0x30, 0x30, 0x30, 0x30, 0x30, 0x30, 0x30, 0x30, 0x35, 0x36, 0x20, 0x5a, 0x52, 0x45, 0x50,
        0x4c, 0x5f, 0x5a, 0x46, 0x53, 0x5f, 0x52, 0x45, 0x50, 0x4c, 0x49, 0x43, 0x41, 0x54, 0x49,
        0x4f, 0x4e, 0x20, 0x50, 0x52, 0x4f, 0x54, 0x4f, 0x56, 0x45, 0x52, 0x53, 0x49, 0x4f, 0x4e,
        0x3d, 0x30, 0x30, 0x30, 0x37, 0x20, 0x45, 0x58, 0x54, 0x45, 0x4e, 0x53, 0x49, 0x4f, 0x4e,
        0x53, 0x3d, 0x30, 0x30, 0x30, 0x30, 0x0a,
    ];
    assert_eq!(banner, golden);
    assert_eq!(banner, PLAIN);
}

#[test]
fn extensions_are_counted_and_read_back() {
    let ours = extensions(&["example.alpha/1 k=v", "example.beta/2"]);
    let banner = encode(&ours).unwrap();
    let expected = b"0000000091 ZREPL_ZFS_REPLICATION PROTOVERSION=0007 EXTENSIONS=0002\n\
                     example.alpha/1 k=v\nexample.beta/2\n";
    assert_eq!(banner, expected);
    assert_eq!(decode(&banner).unwrap().accept(), Ok(ours));
}

#[test]
fn a_banner_beyond_4_kib_is_not_sent() {
    let filler = |len: usize| extensions(&[&format!("a.b/1 k={}", "x".repeat(len))]);
    let room = MAX_SENT_LEN - PLAIN.len() - "a.b/1 k=\n".len();
    assert_eq!(encode(&filler(room)).unwrap().len(), MAX_SENT_LEN);
    assert_eq!(
        encode(&filler(room + 1)),
        Err(BannerTooLong(MAX_SENT_LEN + 1))
    );
}

#[test]
fn unknown_extensions_of_any_number_and_text_are_accepted() {
    let two = decode(&with_lines(2, "what is this?\n/// \u{e4}\n")).unwrap();
    assert_eq!(
        two.lines().collect::<Vec<_>>(),
        [&b"what is this?"[..], "/// \u{e4}".as_bytes()]
    );
    assert_eq!(two.accept(), Ok(Extensions::default()));
    let most = decode(&with_lines(9999, "x\n".repeat(9999))).unwrap();
    assert_eq!(most.lines().len(), 9999);
}

#[test]
fn a_body_of_exactly_65536_bytes_is_accepted() {
    let line = "x".repeat(MAX_BODY_LEN - 56 - 1) + "\n";
    let bytes = with_lines(1, line);
    assert_eq!(bytes.len(), PREFIX_LEN + MAX_BODY_LEN);
    assert_eq!(decode(&bytes).unwrap().lines().len(), 1);
}

#[test]
fn a_body_of_65537_bytes_is_rejected_before_it_is_read() {
    let error = Decoder::new().feed(b"0000065537 ").unwrap_err();
    assert_eq!(error, BannerError::Length(65537));
    assert_eq!(
        error.to_string(),
        "banner body has 65537 bytes, at most 65536 are allowed"
    );
    assert!(matches!(
        Decoder::new().feed(b"9999999999 "),
        Err(BannerError::Length(_))
    ));
}

#[test]
fn empty_and_non_utf8_extension_lines_are_accepted() {
    let banner = decode(&with_lines(3, b"\n\xff\xfe\na.b/1\n")).unwrap();
    assert_eq!(
        banner.lines().collect::<Vec<_>>(),
        [&b""[..], b"\xff\xfe", b"a.b/1"]
    );
    assert_eq!(banner.accept(), Ok(extensions(&["a.b/1"])));
}

#[test]
fn lines_other_than_announced_are_rejected() {
    let found = |found, announced| Err(BannerError::ExtensionCount { found, announced });
    assert_eq!(decode(&with_lines(1, "")), found(0, 1));
    assert_eq!(decode(&with_lines(1, "a\nb\n")), found(2, 1));
    assert_eq!(decode(&with_lines(2, "a\n")), found(1, 2));
    assert_eq!(decode(&with_lines(2, "a\nb")), found(1, 2));
    assert_eq!(
        decode(&with_lines(1, "a\nb")),
        Err(BannerError::TrailingBytes(1))
    );
    assert_eq!(
        decode(&with_lines(0, "x")),
        Err(BannerError::TrailingBytes(1))
    );
    assert_eq!(
        decode(&with_lines(0, "\n")),
        Err(BannerError::TrailingBytes(1))
    );
}

#[test]
fn another_version_decodes_but_is_not_accepted() {
    for version in [1, 6, 8, 9999] {
        let body = format!("ZREPL_ZFS_REPLICATION PROTOVERSION={version:04} EXTENSIONS=0000\n");
        let banner = decode(&framed(body)).unwrap();
        assert_eq!(banner.version(), version);
        let error = banner.accept().unwrap_err();
        let text = format!("protocol versions do not match: ours is 7, theirs is {version}");
        assert_eq!(error.to_string(), text);
    }
}

#[test]
fn unpadded_numbers_and_blanks_pass_as_with_scanf() {
    let body = "ZREPL_ZFS_REPLICATION PROTOVERSION=7 EXTENSIONS=0\n";
    assert_eq!(body.len(), 50);
    for prefix in [
        "        50 ",
        "50         ",
        "         50",
        "   0050    ",
        "0000000050 ",
    ] {
        let banner = decode(format!("{prefix}{body}").as_bytes());
        assert!(
            banner.and_then(|banner| banner.accept()).is_ok(),
            "{prefix:?}"
        );
    }
    let blanks = "ZREPL_ZFS_REPLICATION   PROTOVERSION=   7  EXTENSIONS= 1 \nx\n";
    assert_eq!(decode(&framed(blanks)).unwrap().lines().len(), 1);
}

#[test]
fn other_first_bytes_are_rejected() {
    let prefixes: [&[u8]; 7] = [
        b"HTTP/1.1 40",
        b"           ",
        b"00000000056",
        b"-000000056 ",
        b"56x        ",
        b"0x00000038 ",
        b"56 \xff      \xff",
    ];
    for prefix in prefixes {
        let error = Decoder::new().feed(prefix).unwrap_err();
        assert!(
            matches!(error, BannerError::Prefix(_)),
            "{prefix:?}: {error}"
        );
    }
    let error = Decoder::new().feed(b"HTTP/1.1 40").unwrap_err();
    assert!(error.to_string().contains("\"HTTP/1.1 40\""), "{error}");
}

#[test]
fn other_first_lines_are_rejected() {
    let bodies = [
        "",
        "\n",
        "ZREPL_ZFS_REPLICATION PROTOVERSION=0007 EXTENSIONS=0000",
        "zrepl_zfs_replication PROTOVERSION=0007 EXTENSIONS=0000\n",
        "ZREPL_ZFS_REPLICATIONPROTOVERSION=0007 EXTENSIONS=0000\n",
        "ZREPL_ZFS_REPLICATION PROTOVERSION=0007EXTENSIONS=0000\n",
        "ZREPL_ZFS_REPLICATION PROTOVERSION=0000 EXTENSIONS=0000\n",
        "ZREPL_ZFS_REPLICATION PROTOVERSION=-007 EXTENSIONS=0000\n",
        "ZREPL_ZFS_REPLICATION PROTOVERSION= EXTENSIONS=0000\n",
        "ZREPL_ZFS_REPLICATION PROTOVERSION=00007 EXTENSIONS=0000\n",
        "ZREPL_ZFS_REPLICATION PROTOVERSION=0007 EXTENSIONS=00000\n",
        "ZREPL_ZFS_REPLICATION PROTOVERSION=0007 EXTENSIONS=0000 more\n",
        "ZREPL_ZFS_REPLICATION PROTOVERSION=0007\n",
    ];
    for body in bodies {
        let error = decode(&framed(body)).unwrap_err();
        assert!(matches!(error, BannerError::Header(_)), "{body:?}: {error}");
    }
}

#[test]
fn asks_for_the_prefix_then_the_body_and_leaves_what_follows() {
    let decoder = Decoder::new();
    assert_eq!(decoder.needed(), 11);
    let Next::More(decoder) = decoder.feed(&PLAIN[..4]).unwrap().next else {
        panic!("four bytes are no banner")
    };
    assert_eq!(decoder.needed(), 7);
    let Next::More(decoder) = decoder.feed(&PLAIN[4..11]).unwrap().next else {
        panic!("the body is missing")
    };
    assert_eq!(decoder.needed(), 56);
    let rest = [&PLAIN[11..], b"zrepl_data"].concat();
    let Fed { consumed, next } = decoder.feed(&rest).unwrap();
    assert_eq!(consumed, 56);
    assert!(matches!(next, Next::Done(_)));
}

proptest! {
    #[test]
    fn no_bytes_upset_the_decoder(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Decoder::new().feed(&bytes);
        let _ = Decoder::new().feed(&framed(&bytes));
        let _ = Decoder::new().feed(&with_lines(bytes.len() % 7, &bytes));
    }

    #[test]
    fn segmentation_does_not_matter(count in 0_usize..4, lines in "([a-z./0-9 ]{0,9}\n){0,4}", cut in 1_usize..30) {
        let bytes = with_lines(count, lines);
        let whole = match Decoder::new().feed(&bytes) {
            Ok(Fed { next: Next::Done(banner), .. }) => Ok(banner),
            Ok(Fed { next: Next::More(_), .. }) => panic!("the banner is complete"),
            Err(error) => Err(error),
        };
        let mut decoder = Decoder::new();
        let mut pieces = bytes.chunks(cut);
        let pieced = loop {
            match decoder.feed(pieces.next().expect("ends with its last piece")) {
                Ok(Fed { next: Next::More(more), .. }) => decoder = more,
                Ok(Fed { next: Next::Done(banner), .. }) => break Ok(banner),
                Err(error) => break Err(error),
            }
            prop_assert!(decoder.needed() > 0);
        };
        prop_assert_eq!(whole, pieced);
    }
}
