//! The input is the start of a stream: the record, then its payload.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zfs_safe::begin_record::{BeginRecord, BeginRecordError};
use zfs_safe::nvlist::NvList;

fuzz_target!(|input: &[u8]| {
    let mut stream = input;
    match BeginRecord::read(&mut stream) {
        Ok(record) => {
            assert_eq!(record.bytes, input[..BeginRecord::LEN]);
            assert_eq!(
                BeginRecord::parse(&record.bytes).expect("parses again"),
                record
            );
            let _ = record.feature_flags.to_string();
            let _ = NvList::decode(stream);
        }
        Err(BeginRecordError::ShortRead { read }) => assert_eq!(read, input.len()),
        Err(error) => {
            let _ = error.to_string();
        }
    }
});
