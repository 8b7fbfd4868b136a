use proptest::prelude::*;

use super::arbitrary::{lists, strings};
use super::*;

const ENCODINGS: [Encoding; 4] = [
    Encoding::Native,
    Encoding::NativeLittle,
    Encoding::NativeBig,
    Encoding::Xdr,
];

/// `{guid: u64 0x1122334455667788, rawok: boolean}`, as libnvpair 2.3.2 packs it on a little-endian machine.
const PACKED: &str = "00010000 00000000 01000000 \
    20000000 0500 0000 01000000 08000000 6775696400 000000 8877665544332211 \
    18000000 0600 0000 00000000 01000000 7261776f6b00 0000 \
    00000000";

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

fn example() -> NvList {
    let mut list = NvList::new();
    list.insert("guid", 0x1122_3344_5566_7788_u64);
    list.insert("rawok", Value::Boolean);
    list
}

#[test]
fn decodes_what_libnvpair_packed() {
    assert_eq!(NvList::decode(&unhex(PACKED)).unwrap(), example());
}

#[test]
fn encodes_as_libnvpair_packs() {
    assert_eq!(
        example().encode(Encoding::NativeLittle).unwrap(),
        unhex(PACKED)
    );
}

#[test]
fn ignores_what_follows_the_list() {
    for encoding in ENCODINGS {
        let mut packed = example().encode(encoding).unwrap();
        packed.extend([0xff; 100]);
        assert_eq!(NvList::decode(&packed).unwrap(), example(), "{encoding:?}");
    }
}

#[test]
fn looks_up_by_type() {
    let list: NvList = [
        ("set", Value::Boolean),
        ("true", true.into()),
        ("false", false.into()),
        ("number", 7_u64.into()),
        ("signed", (-7_i64).into()),
        ("errno", 2_i32.into()),
        ("small", 3_u32.into()),
        ("text", "tank/a".into()),
        ("latin1", Value::String(b"caf\xe9"[..].into())),
        ("bytes", Value::ByteArray(vec![1, 2])),
        ("octets", Value::UInt8Array(vec![3])),
        ("list", example().into()),
        ("lists", vec![example()].into()),
        ("numbers", vec![1, 2].into()),
        ("strings", vec![NvString::from("a")].into()),
    ]
    .into_iter()
    .collect();
    assert_eq!(list.len(), 15);
    assert!(list.boolean("set") && list.boolean("true"));
    assert!(!list.boolean("false") && !list.boolean("number") && !list.boolean("missing"));
    assert_eq!(list.u64("number"), Some(7));
    assert_eq!(list.u64("errno"), None);
    assert_eq!(list.i64("signed"), Some(-7));
    assert_eq!(list.i32("errno"), Some(2));
    assert_eq!(list.u32("small"), Some(3));
    assert_eq!(list.str("text"), Some("tank/a"));
    assert_eq!(list.str("latin1"), None);
    assert_eq!(list.string("latin1").unwrap().as_bytes(), b"caf\xe9");
    assert_eq!(list.string("latin1").unwrap().to_string(), "caf\u{fffd}");
    assert_eq!(list.bytes("bytes"), Some(&[1, 2][..]));
    assert_eq!(list.bytes("octets"), Some(&[3][..]));
    assert_eq!(list.list("list"), Some(&example()));
    assert_eq!(list.lists("lists").unwrap().len(), 1);
    assert_eq!(list.u64s("numbers"), Some(&[1, 2][..]));
    assert_eq!(list.strings("strings").unwrap()[0], "a");
}

#[test]
fn keeps_names_that_are_not_text() {
    let mut list = NvList::new();
    list.insert(&b"tag\xff"[..], 1_u64);
    let list = NvList::decode(&list.encode(Encoding::Native).unwrap()).unwrap();
    assert_eq!(list.u64(b"tag\xff"), Some(1));
    assert_eq!(list.iter().next().unwrap().0, "tag\u{fffd}");
    assert_eq!(list.iter_exact().next().unwrap().0.as_bytes(), b"tag\xff");
}

#[test]
fn replaces_a_name_in_place() {
    for count in [3, 100] {
        let name = |i: u64| format!("name{}", i * 7919 % 101);
        let mut list = NvList::new();
        for i in 0..count {
            list.insert(name(i), i);
        }
        list.insert(name(1), "new");
        assert_eq!(list.len() as u64, count);
        assert_eq!(list.iter().nth(1).unwrap(), (&*name(1), &"new".into()));
        for i in (0..count).filter(|i| *i != 1) {
            assert_eq!(list.u64(name(i)), Some(i));
        }
        assert_eq!(list.get("name"), None);
    }
}

#[test]
fn repeated_names_follow_the_rule_of_the_list() {
    for padding in [0, 20] {
        for (unique, left) in [
            (Unique::No, vec![1_u64.into(), 2_i32.into(), 3_u64.into()]),
            (Unique::Name, vec![Value::UInt64(3)]),
            (Unique::NameAndType, vec![2_i32.into(), 3_u64.into()]),
        ] {
            let mut repeating = NvList::from_pairs(Vec::new(), Unique::No);
            repeating.pairs = vec![
                Pair::new("a".into(), 1_u64.into()),
                Pair::new("a".into(), 2_i32.into()),
                Pair::new("a".into(), 3_u64.into()),
            ];
            for i in 0..padding {
                let name = format!("padding{i}");
                repeating.pairs.push(Pair::new(name.into(), true.into()));
            }
            repeating.unique = unique;
            for encoding in ENCODINGS {
                let list = NvList::decode(&repeating.encode(encoding).unwrap()).unwrap();
                let values: Vec<_> = list.iter().filter(|p| p.0 == "a").map(|p| p.1).collect();
                assert_eq!(values, left.iter().collect::<Vec<_>>(), "{unique:?}");
                assert_eq!(list.get("a"), Some(&Value::UInt64(3)), "{unique:?}");
            }
        }
    }
}

#[test]
fn refuses_to_encode_nul_and_long_names() {
    let cases: [(NvList, EncodeError); 4] = [
        (
            [("a\0b", true)].into_iter().collect(),
            EncodeError::NulInName {
                name: "a\0b".into(),
            },
        ),
        (
            [("a", "x\0")].into_iter().collect(),
            EncodeError::NulInString { name: "a".into() },
        ),
        (
            [("a", vec![NvString::from("x"), "\0".into()])]
                .into_iter()
                .collect(),
            EncodeError::NulInString { name: "a".into() },
        ),
        (
            [("n".repeat(0x7fff), true)].into_iter().collect(),
            EncodeError::NameTooLong { len: 0x7fff },
        ),
    ];
    for (list, error) in cases {
        for encoding in ENCODINGS {
            assert_eq!(list.encode(encoding), Err(error.clone()));
        }
    }
    let longest: NvList = [("n".repeat(0x7ffe), true)].into_iter().collect();
    for encoding in ENCODINGS {
        let packed = longest.encode(encoding).unwrap();
        assert_eq!(NvList::decode(&packed).unwrap(), longest);
    }
}

#[test]
fn limits_nesting() {
    let nested = |depth| {
        (0..depth).fold(NvList::new(), |inner, _| {
            [("list", inner)].into_iter().collect()
        })
    };
    for encoding in ENCODINGS {
        let deepest = nested(Limits::DEPTH).encode(encoding).unwrap();
        assert_eq!(NvList::decode(&deepest).unwrap(), nested(Limits::DEPTH));
        let limits = Limits {
            depth: Limits::DEPTH - 1,
            ..Limits::default()
        };
        assert!(matches!(
            NvList::decode_within(&deepest, limits),
            Err(DecodeError::TooDeep { .. })
        ));
        assert_eq!(
            nested(Limits::DEPTH + 1).encode(encoding),
            Err(EncodeError::TooDeep {
                name: "list".into()
            })
        );
    }
}

#[test]
fn limits_length() {
    let limits = Limits {
        bytes: 10,
        ..Limits::default()
    };
    assert_eq!(
        NvList::decode_within(&[0; 11], limits),
        Err(DecodeError::TooLong { len: 11, limit: 10 })
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_list_survives_every_encoding(list in lists()) {
        for encoding in ENCODINGS {
            let packed = list.encode(encoding).unwrap();
            prop_assert_eq!(&NvList::decode(&packed).unwrap(), &list);
            prop_assert_eq!(packed.len() % 4, 0);
        }
    }

    #[test]
    fn every_truncation_is_an_error(list in lists(), seed in any::<prop::sample::Index>()) {
        for encoding in ENCODINGS {
            let packed = list.encode(encoding).unwrap();
            let last = packed.len() - 1;
            for len in [seed.index(packed.len()), seed.index(packed.len().min(100)), last, 0] {
                prop_assert!(NvList::decode(&packed[..len]).is_err());
            }
        }
    }

    #[test]
    fn flipped_bits_do_no_harm(list in lists(), seed in any::<u64>()) {
        for encoding in ENCODINGS {
            let packed = list.encode(encoding).unwrap();
            for step in 0..8_u64 {
                let bits = packed.len() as u64 * 8;
                let bit = usize::try_from(seed.wrapping_mul(step * 2 + 1) % bits).unwrap();
                let mut flipped = packed.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                reencodes(&flipped);
            }
        }
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(
        head in prop::sample::select(vec![[0, 0], [0, 1], [1, 0], [1, 1]]),
        tail in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        reencodes(&tail);
        let input = [&head[..], &[0; 6], &[1, 0, 0, 0], &tail].concat();
        reencodes(&input);
    }

    #[test]
    fn the_last_value_of_a_name_counts(pairs in prop::collection::vec((strings(), any::<u64>()), 0..60)) {
        let mut inserted = NvList::new();
        for (name, value) in &pairs {
            inserted.insert(name.clone(), *value);
        }
        let collected: NvList = pairs.iter().cloned().collect();
        let expected: std::collections::BTreeMap<_, _> = pairs.iter().cloned().collect();
        for list in [inserted, collected] {
            prop_assert_eq!(list.len(), expected.len());
            for (name, value) in &expected {
                prop_assert_eq!(list.u64(name), Some(*value));
            }
        }
    }
}

/// What decodes at all can be encoded again and is then the same list.
fn reencodes(input: &[u8]) {
    if let Ok(list) = NvList::decode(input) {
        for encoding in ENCODINGS {
            let packed = list.encode(encoding).unwrap();
            let again = NvList::decode(&packed).unwrap();
            // The text of both, because NaN equals nothing.
            assert_eq!(format!("{again:?}"), format!("{list:?}"));
        }
    }
}
