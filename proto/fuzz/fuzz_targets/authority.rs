//! The input is what a client sends on a control connection. However it is cut, the same comes out, and nothing is lost but
//! what the filter takes out on purpose: at most one byte in each header block.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zrepl_proto::authority::AuthorityFilter;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fuzz_target!(|input: &[u8]| {
    let Some((&cut, input)) = input.split_first() else {
        return;
    };
    let mut connection = PREFACE.to_vec();
    connection.extend_from_slice(input);
    let whole = filter(&connection, connection.len());
    let pieces = filter(&connection, usize::from(cut) + 1);
    assert_eq!(whole, pieces);
    assert!(whole.len() <= connection.len());
    // A frame head is nine bytes, so there cannot be more blocks than that.
    assert!(connection.len() - whole.len() <= input.len() / 9);
});

fn filter(input: &[u8], piece: usize) -> Vec<u8> {
    let mut filter = AuthorityFilter::new();
    let mut output = Vec::new();
    for bytes in input.chunks(piece) {
        filter.feed(bytes, &mut output);
    }
    filter.finish(&mut output);
    output
}
