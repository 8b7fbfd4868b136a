//! The input is taken as a token, and as the payload of one whose checksum is right.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zfs_safe::begin_record::ByteOrder;
use zfs_safe::resume_token::ResumeToken;

fuzz_target!(|input: &[u8]| {
    if let Ok(text) = str::from_utf8(input) {
        check(text);
    }
    // The first two bytes are the stated length.
    if let Some((&[low, high], payload)) = input.split_first_chunk() {
        let (words, _) = payload.as_chunks();
        let sum: u64 = words
            .iter()
            .map(|&word| u64::from(u32::from_le_bytes(word)))
            .sum();
        let hex: String = payload.iter().map(|byte| format!("{byte:02x}")).collect();
        let stated = u16::from_le_bytes([low, high]);
        check(&format!("1-{sum:x}-{stated:x}-{hex}"));
    }
});

fn check(text: &str) {
    let Ok(token) = ResumeToken::decode(text) else {
        return;
    };
    for order in [ByteOrder::Little, ByteOrder::Big] {
        let text = token.encode(order).expect("encodes what was decoded");
        let again = ResumeToken::decode(&text).expect("decodes what was encoded");
        assert_eq!(
            again,
            ResumeToken {
                text,
                ..token.clone()
            }
        );
    }
}
