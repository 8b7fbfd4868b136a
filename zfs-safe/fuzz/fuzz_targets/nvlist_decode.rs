//! Whatever decodes can be encoded in every encoding, and is then the same list.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zfs_safe::nvlist::{Encoding, NvList};

fuzz_target!(|input: &[u8]| {
    let Ok(list) = NvList::decode(input) else {
        return;
    };
    for encoding in [
        Encoding::Native,
        Encoding::NativeLittle,
        Encoding::NativeBig,
        Encoding::Xdr,
    ] {
        let packed = list.encode(encoding).expect("encodes what was decoded");
        let again = NvList::decode(&packed).expect("decodes what was encoded");
        // By their text, because NaN equals nothing.
        assert_eq!(format!("{list:?}"), format!("{again:?}"));
    }
});
