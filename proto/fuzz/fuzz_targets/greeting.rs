//! The input is what a peer says first: ssh greeting, banner, label, answer. However it is cut, a banner is the same; what it
//! announces can be announced again; and what two sides agree on does not depend on who is asked.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zrepl_proto::banner::{self, Banner, BannerError, Decoder, Next};
use zrepl_proto::extension::negotiate;
use zrepl_proto::label::{LABEL_LEN, Label};
use zrepl_proto::netssh::{self, MESSAGE_LEN, Message};
use zrepl_proto::response::{Endpoint, ResponseHeader};

fuzz_target!(|input: &[u8]| {
    let Some((&cut, input)) = input.split_first() else {
        return;
    };
    if let Some(label) = input.first_chunk::<LABEL_LEN>()
        && let Ok(known) = Label::decode(label)
    {
        assert_eq!(known.encode(), *label);
    }
    if let Some(message) = input.first_chunk::<MESSAGE_LEN>() {
        if let Some(known) = Message::decode(message) {
            assert_eq!(known.encode(), *message);
        }
        let _ = netssh::expect_helo(message);
    }
    if let Ok(endpoint) = Endpoint::decode(input) {
        assert_eq!(endpoint.path().as_bytes(), input);
    }
    if let Ok(header) = ResponseHeader::decode(input) {
        let encoded = header.encode();
        assert!(encoded.len() <= zrepl_proto::response::MAX_SENT_RES_HEADER);
        assert!(ResponseHeader::decode(&encoded).is_ok());
    }
    let whole = decode(input, input.len().max(1));
    let pieces = decode(input, usize::from(cut) + 1);
    assert_eq!(format!("{whole:?}"), format!("{pieces:?}"));
    let Some(Ok(banner)) = whole else {
        return;
    };
    let Ok(theirs) = banner.accept() else {
        return;
    };
    let ours = zrepl_proto::extension::Extensions::from_lines(banner.lines().skip(1));
    let one = negotiate(&ours, &theirs);
    let other = negotiate(&theirs, &ours);
    assert!(one.versions().eq(other.versions()));
    if let Ok(encoded) = banner::encode(&theirs) {
        let Some(Ok(again)) = decode(&encoded, encoded.len()) else {
            panic!("our own banner is not decoded");
        };
        assert_eq!(again.accept().expect("our own banner"), theirs);
    }
});

fn decode(mut input: &[u8], piece: usize) -> Option<Result<Banner, BannerError>> {
    let mut decoder = Decoder::new();
    loop {
        assert!(decoder.needed() > 0);
        let (now, later) = input.split_at(piece.min(input.len()).min(decoder.needed()));
        if now.is_empty() {
            return None;
        }
        input = later;
        match decoder.feed(now) {
            Ok(fed) => match fed.next {
                Next::Done(banner) => return Some(Ok(banner)),
                Next::More(more) => decoder = more,
            },
            Err(error) => return Some(Err(error)),
        }
    }
}
