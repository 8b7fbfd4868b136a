use proptest::prelude::*;

use super::*;

/// Tokens of real interrupted receives, with what was known about them.
const RECORDED: &str = include_str!("../../testdata/resume-tokens.tsv");

fn recorded() -> impl Iterator<Item = (&'static str, ResumeToken)> {
    RECORDED
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let columns: Vec<&str> = line.split('\t').collect();
            let [name, to, from, object, offset, bytes, to_name, flags, text] = columns[..] else {
                panic!("wrong number of columns: {line}");
            };
            let has = |flag| flags.split(',').any(|f| f == flag);
            let token = ResumeToken {
                to_guid: Guid::new(to.parse().unwrap()),
                from_guid: from.parse().ok().map(Guid::new),
                object: object.parse().unwrap(),
                offset: offset.parse().unwrap(),
                bytes: bytes.parse().unwrap(),
                to_name: to_name.to_owned(),
                large_block: has("largeblockok"),
                embed: has("embedok"),
                compress: has("compressok"),
                raw: has("rawok"),
                saved: has("savedok"),
                redact_snaps: None,
                book_redact_snaps: None,
                text: text.to_owned(),
            };
            (name, token)
        })
}

fn payload(text: &str) -> Vec<u8> {
    unhex(text.rsplit('-').next().unwrap()).unwrap()
}

/// A list with every required field, for tests to spoil.
fn complete() -> NvList {
    let numbers = ["toguid", "object", "offset", "bytes"].map(|name| (name, Value::UInt64(1)));
    let name = [("toname", Value::from("a@b"))];
    numbers.into_iter().chain(name).collect()
}

fn token_of(list: &NvList) -> String {
    let packed = list.encode(Encoding::NativeLittle).unwrap();
    join(
        packed.len(),
        &compress_to_vec_zlib(&packed, 6),
        ByteOrder::Little,
    )
}

#[test]
fn decodes_recorded_tokens() {
    for (name, expected) in recorded() {
        assert_eq!(expected.text.parse(), Ok(expected), "{name}");
    }
    assert_eq!(recorded().count(), 15);
}

#[test]
fn packs_what_the_kernel_packs() {
    for (name, token) in recorded() {
        let again = token.encode(ByteOrder::Little).unwrap();
        let contents =
            |text: &str| decompress_to_vec_zlib_with_limit(&payload(text), MAX_LEN).unwrap();
        assert_eq!(contents(&again), contents(&token.text), "{name}");
    }
}

#[test]
fn decodes_what_did_not_shrink() {
    let packed = complete().encode(Encoding::NativeBig).unwrap();
    let token = ResumeToken::decode(&join(packed.len(), &packed, ByteOrder::Big)).unwrap();
    assert_eq!(token.to_name, "a@b");
}

#[test]
fn every_failure_is_told_apart() {
    let (_, good) = recorded().next().unwrap();
    let digits = good.text.rsplit('-').next().unwrap();
    let head = good.text.strip_suffix(digits).unwrap();
    let (sum, len) = {
        let mut fields = head.split('-');
        (fields.nth(1).unwrap(), fields.next().unwrap())
    };
    let mut half = payload(&good.text);
    half.truncate(half.len() / 8 * 4);
    let mut extra = complete();
    extra.insert("rawok", 1_u64);
    let mut without = NvList::new();
    without.insert("toguid", 1_u64);
    let mut wrong = complete();
    wrong.insert("toname", 1_u64);
    let mut latin1 = complete();
    latin1.insert("toname", Value::String(b"caf\xe9@1"[..].into()));
    let junk = vec![0, 1, 0, 0, 1, 0, 0, 0];
    let length = |stated| ResumeTokenError::Length { stated };
    let checksum = ResumeTokenError::Checksum {
        stated: u64::from_str_radix(sum, 16).unwrap(),
    };
    let table = [
        (String::new(), ResumeTokenError::Format),
        ("-".to_owned(), ResumeTokenError::Format),
        (format!("1-{sum}-{len}"), ResumeTokenError::Format),
        (format!("1-+{sum}-{len}-{digits}"), ResumeTokenError::Format),
        (format!("1-{sum}-{len}g-{digits}"), ResumeTokenError::Format),
        (
            format!("1-1{:016x}-{len}-{digits}", 0),
            ResumeTokenError::Format,
        ),
        (
            format!("2-{sum}-{len}-{digits}"),
            ResumeTokenError::Version { version: 2 },
        ),
        (
            format!("1-{sum}-100001-{digits}"),
            ResumeTokenError::TooLong,
        ),
        (
            format!("1-{sum}-{len}-{}", "0".repeat(2 * MAX_LEN + 2)),
            ResumeTokenError::TooLong,
        ),
        (format!("{}0", good.text), ResumeTokenError::Hex),
        (format!("{}-00", good.text), ResumeTokenError::Hex),
        (format!("{}\u{e9}", good.text), ResumeTokenError::Hex),
        (format!("{}00000001", good.text), checksum),
        (
            good.text.replace("1-", "1-1"),
            ResumeTokenError::Checksum {
                stated: u64::from_str_radix(&format!("1{sum}"), 16).unwrap(),
            },
        ),
        (format!("1-{sum}-b7-{digits}"), length(0xb7)),
        (format!("1-{sum}-b9-{digits}"), length(0xb9)),
        (format!("1-{sum}-0-{digits}"), length(0)),
        (
            join(0xb8, &half, ByteOrder::Little),
            ResumeTokenError::Compression,
        ),
        (
            // Damage is found before the decompressor sees it.
            format!("1-1-b8-{}", hex(&half)),
            ResumeTokenError::Checksum { stated: 1 },
        ),
        (
            join(0, &[], ByteOrder::Little),
            ResumeTokenError::Compression,
        ),
        (
            join(8, &junk, ByteOrder::Little),
            ResumeTokenError::List(DecodeError::UnsupportedVersion {
                offset: 4,
                version: 1,
            }),
        ),
        (
            token_of(&without),
            ResumeTokenError::Missing { field: "object" },
        ),
        (token_of(&wrong), ResumeTokenError::Type { field: "toname" }),
        (
            token_of(&latin1),
            ResumeTokenError::Type { field: "toname" },
        ),
        (token_of(&extra), ResumeTokenError::Type { field: "rawok" }),
    ];
    for (text, error) in table {
        let shown: String = text.chars().take(40).collect();
        assert_eq!(ResumeToken::decode(&text), Err(error), "{shown}");
    }
}

#[test]
fn a_checksum_in_the_wrong_byte_order_does_not_match() {
    let packed = complete().encode(Encoding::NativeLittle).unwrap();
    let text = join(
        packed.len(),
        &compress_to_vec_zlib(&packed, 6),
        ByteOrder::Big,
    );
    assert!(matches!(
        ResumeToken::decode(&text),
        Err(ResumeTokenError::Checksum { .. })
    ));
}

#[test]
fn does_not_inflate_more_than_stated() {
    let bomb = compress_to_vec_zlib(&vec![0; 64 << 20], 9);
    assert!(bomb.len() < MAX_LEN);
    for stated in [1, MAX_LEN] {
        let text = join(stated, &bomb, ByteOrder::Little);
        assert_eq!(
            ResumeToken::decode(&text),
            Err(ResumeTokenError::Length { stated })
        );
    }
}

fn tokens() -> impl Strategy<Value = ResumeToken> {
    let guids = || prop::option::of(prop::collection::vec(any::<u64>(), 0..5));
    (
        any::<[u64; 5]>(),
        "[a-z/]{1,20}@[a-zé]{1,9}",
        any::<[bool; 5]>(),
        guids(),
        guids(),
    )
        .prop_map(
            |(numbers, to_name, flags, redact_snaps, book_redact_snaps)| {
                let [to_guid, from_guid, object, offset, bytes] = numbers;
                let [large_block, embed, compress, raw, saved] = flags;
                ResumeToken {
                    to_guid: Guid::new(to_guid),
                    from_guid: (from_guid % 2 == 1).then_some(Guid::new(from_guid)),
                    object,
                    offset,
                    bytes,
                    to_name,
                    large_block,
                    embed,
                    compress,
                    raw,
                    saved,
                    redact_snaps,
                    book_redact_snaps,
                    text: String::new(),
                }
            },
        )
}

proptest! {
    #[test]
    fn every_token_survives_both_byte_orders(mut token in tokens()) {
        for order in [ByteOrder::Little, ByteOrder::Big] {
            token.text = token.encode(order).unwrap();
            prop_assert_eq!(ResumeToken::decode(&token.text), Ok(token.clone()));
        }
    }

    #[test]
    fn a_changed_payload_is_an_error(token in tokens(), at in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let text = token.encode(ByteOrder::Little).unwrap();
        let (head, _) = text.rsplit_once('-').unwrap();
        let mut payload = payload(&text);
        let at = at.index(payload.len());
        payload[at] ^= 1 << bit;
        let changed = format!("{head}-{}", hex(&payload));
        prop_assert!(ResumeToken::decode(&changed).is_err());
    }

    #[test]
    fn a_truncated_token_is_an_error(token in tokens(), at in any::<prop::sample::Index>()) {
        let text = token.encode(ByteOrder::Big).unwrap();
        prop_assert!(ResumeToken::decode(&text[..at.index(text.len())]).is_err());
    }

    #[test]
    fn arbitrary_text_does_no_harm(text in any::<String>(), hex in "[0-9a-f]{0,40}") {
        for text in [format!("1-{hex}-{text}"), text] {
            prop_assert!(ResumeToken::decode(&text).is_err());
        }
    }

    #[test]
    fn arbitrary_contents_do_no_harm(
        stated in 0..200_usize,
        payload in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        // With the right checksum, so that the decompressor and the decoder of lists see them.
        let _ = ResumeToken::decode(&join(stated, &payload, ByteOrder::Little));
        let _ = ResumeToken::decode(&join(payload.len(), &compress_to_vec_zlib(&payload, 1), ByteOrder::Little));
        let packed = [&[0, 1, 0, 0], &payload[..]].concat();
        let _ = ResumeToken::decode(&join(packed.len(), &packed, ByteOrder::Little));
    }
}
