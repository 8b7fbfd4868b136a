use super::*;
use crate::nvlist::NvList;

/// Records of real streams, with their payloads.
const FULL: &[u8] = include_bytes!("../../testdata/begin-full.bin");
const INCREMENTAL: &[u8] = include_bytes!("../../testdata/begin-incremental.bin");
const ZVOL: &[u8] = include_bytes!("../../testdata/begin-zvol.bin");
const ZVOL_INCREMENTAL: &[u8] = include_bytes!("../../testdata/begin-zvol-incremental.bin");
const RAW: &[u8] = include_bytes!("../../testdata/begin-raw.bin");
const RAW_INCREMENTAL: &[u8] = include_bytes!("../../testdata/begin-raw-incremental.bin");
const RESUMING: &[u8] = include_bytes!("../../testdata/begin-resuming.bin");
const COMPOUND: &[u8] = include_bytes!("../../testdata/begin-compound.bin");

fn record(mut stream: &[u8]) -> BeginRecord {
    BeginRecord::read(&mut stream).unwrap()
}

fn bytes(stream: &[u8]) -> [u8; BeginRecord::LEN] {
    *stream.first_chunk().unwrap()
}

fn payload(mut stream: &[u8]) -> NvList {
    let record = BeginRecord::read(&mut stream).unwrap();
    assert_eq!(record.payload_len as usize, stream.len());
    NvList::decode(stream).unwrap()
}

#[test]
fn parses_recorded_records() {
    let raw = FeatureFlags::from_bits(0x0508_0011 >> 2);
    let table = [
        (
            FULL,
            4_242_318_697_076_076_924,
            0,
            "src/p/b@s1",
            2,
            4,
            0,
            1_795_228_595,
        ),
        (
            INCREMENTAL,
            5_425_271_676_543_821_600,
            10_310_132_704_861_359_261,
            "src/p/a@s3",
            2,
            4,
            0,
            1_795_228_632,
        ),
        (
            ZVOL,
            14_821_705_182_730_662_562,
            0,
            "src/q/v@p1",
            3,
            0,
            0,
            1_795_228_675,
        ),
        (
            ZVOL_INCREMENTAL,
            14_358_615_362_202_780_889,
            16_293_948_455_396_591_308,
            "src/q/v@p3",
            3,
            0,
            0,
            1_795_228_726,
        ),
        (
            RAW,
            6_989_407_174_034_938_197,
            0,
            "src/enc@x1",
            2,
            raw.bits(),
            1028,
            1_795_229_836,
        ),
        (
            RAW_INCREMENTAL,
            11_786_332_817_592_560_696,
            6_989_407_174_034_938_197,
            "src/enc@x2",
            2,
            raw.bits(),
            1028,
            1_795_229_854,
        ),
        (
            RESUMING,
            7_234_668_781_769_806_131,
            0,
            "src/big@b1",
            2,
            (FeatureFlags::RESUMING | FeatureFlags::SA_SPILL).bits(),
            96,
            1_795_229_003,
        ),
    ];
    for (stream, to, from, to_name, objset_type, features, payload_len, creation) in table {
        let expected = BeginRecord {
            bytes: bytes(stream),
            byte_order: ByteOrder::Little,
            to_guid: Guid::new(to),
            from_guid: (from != 0).then_some(Guid::new(from)),
            to_name: to_name.to_owned(),
            objset_type: match objset_type {
                2 => ObjsetType::Filesystem,
                _ => ObjsetType::Volume,
            },
            flags: BeginRecord::FLAG_FREERECORDS | BeginRecord::FLAG_SPILL_BLOCK,
            feature_flags: FeatureFlags::from_bits(features),
            payload_len,
            creation,
        };
        let record = record(stream);
        assert_eq!(record, expected);
        assert_eq!(record.is_incremental(), from != 0);
        assert_eq!(record.is_zvol(), objset_type == 3);
        assert_eq!(record.is_raw(), payload_len == 1028);
        assert_eq!(record.is_resuming(), payload_len == 96);
        assert!(!record.is_clone());
        assert!(record.feature_flags.unknown().is_empty());
    }
}

#[test]
fn payloads_are_lists() {
    let resuming = payload(RESUMING);
    assert_eq!(resuming.len(), 2);
    assert!(resuming.u64("resume_object").is_some());
    assert!(resuming.u64("resume_offset").is_some());

    let raw = payload(RAW);
    let keys = raw.list("crypt_keydata").unwrap();
    assert_eq!(keys.bytes("DSL_CRYPTO_MASTER_KEY_1").unwrap().len(), 32);
    assert_eq!(payload(RAW_INCREMENTAL).len(), raw.len());
}

#[test]
fn payload_of_a_package_is_a_list() {
    let list = NvList::decode(&COMPOUND[BeginRecord::LEN..]).unwrap();
    assert_eq!(list.str("tosnap"), Some("x1"));
    let (_, filesystem) = list.list("fss").unwrap().iter().next().unwrap();
    let crate::nvlist::Value::List(filesystem) = filesystem else {
        panic!("not a list: {filesystem:?}");
    };
    assert_eq!(filesystem.str("name"), Some("src/enc"));
    assert_eq!(
        filesystem.list("props").unwrap().str("mountpoint"),
        Some("/m/enc")
    );
}

#[test]
fn parses_the_other_byte_order() {
    let little = record(RAW_INCREMENTAL);
    let mut swapped = little.bytes;
    for (at, size) in [
        (0, 4),
        (4, 4),
        (8, 8),
        (16, 8),
        (24, 8),
        (32, 4),
        (36, 4),
        (40, 8),
        (48, 8),
    ] {
        swapped[at..at + size].reverse();
    }
    let big = BeginRecord::parse(&swapped).unwrap();
    assert_eq!(big.byte_order, ByteOrder::Big);
    let expected = BeginRecord {
        bytes: swapped,
        byte_order: ByteOrder::Big,
        ..little
    };
    assert_eq!(big, expected);
}

#[test]
fn rejects_what_the_kernel_cannot_receive() {
    let spoiled = |at: usize, byte: u8| {
        let mut bytes = bytes(FULL);
        bytes[at] = byte;
        BeginRecord::parse(&bytes)
    };
    assert!(matches!(
        spoiled(0, 3),
        Err(BeginRecordError::NotBegin { record_type: 3 })
    ));
    assert!(matches!(spoiled(8, 3), Err(BeginRecordError::Magic { .. })));
    assert!(matches!(
        spoiled(16, 0x10),
        Err(BeginRecordError::HeaderType { header_type: 0 })
    ));
    assert!(matches!(
        spoiled(16, 0x13),
        Err(BeginRecordError::HeaderType { header_type: 3 })
    ));
    assert!(matches!(spoiled(56, 0xff), Err(BeginRecordError::Name)));
    assert!(matches!(
        spoiled(32, 9).unwrap().objset_type,
        ObjsetType::Other(9)
    ));

    let mut unending = bytes(FULL);
    unending[56..].fill(b'a');
    assert!(matches!(
        BeginRecord::parse(&unending),
        Err(BeginRecordError::Name)
    ));
    unending[311] = 0;
    assert_eq!(BeginRecord::parse(&unending).unwrap().to_name.len(), 255);
}

#[test]
fn hands_back_the_record_of_a_package() {
    let Err(BeginRecordError::Compound { bytes: record }) = BeginRecord::read(&mut &*COMPOUND)
    else {
        panic!("a package is no stream of a snapshot");
    };
    assert_eq!(*record, bytes(COMPOUND));
}

#[test]
fn tells_how_short_the_stream_is() {
    for len in 0..BeginRecord::LEN {
        match BeginRecord::read(&mut &FULL[..len]) {
            Err(BeginRecordError::ShortRead { read }) => assert_eq!(read, len),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn reads_from_a_slow_and_interrupted_stream() {
    struct Slow(&'static [u8], bool);
    impl Read for Slow {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.1 = !self.1;
            if self.1 {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let len = buffer.len().min(7);
            self.0.read(&mut buffer[..len])
        }
    }
    let mut slow = Slow(RESUMING, false);
    assert_eq!(BeginRecord::read(&mut slow).unwrap(), record(RESUMING));
    assert_eq!(slow.0, &RESUMING[BeginRecord::LEN..]);
}

#[test]
fn names_features() {
    let table = [
        (0, "none"),
        (0x0508_0011 >> 2, "sa_spill,lz4,compressed,raw"),
        (1 << 30 | 1 << 24, "raw,0x40000000"),
        (1 << 55, "0x80000000000000"),
        (3, "dedup,dedupprops"),
    ];
    for (bits, text) in table {
        assert_eq!(FeatureFlags::from_bits(bits).to_string(), text);
    }
    let flags = FeatureFlags::from_bits(u64::MAX >> 8);
    assert_eq!(FeatureFlags::of_version_info(u64::MAX), flags);
    assert!(!flags.unknown().contains(FeatureFlags::LARGE_MICROZAP));
    assert_eq!(flags.unknown().without(flags), FeatureFlags::default());
}
