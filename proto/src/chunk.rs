//! How long the frames of a stream may be, so that none has exactly one payload byte.
//!
//! Such a frame ends a Go daemon (see [`frame`](crate::frame)), and a stream arrives from its producer in amounts that
//! nobody chose. It is not enough to avoid the length one in each frame: if everything available has been sent, one more byte
//! and then the end may follow, and if only one byte was held back, the end may follow at once. So **two bytes are held back
//! until the end is known**. Then at the end at least two are left, and they can be divided into frames. Go has no such rule;
//! it relies on what `zfs send` writes being a multiple of four.
//!
//! A stream that consists of one byte cannot be sent to a Go peer at all: there is no other chunk to join it to, and an empty
//! stream would be a different one. It ends as a failed stream, with the trailer [`LONE_BYTE`].
//!
//! [`next`] is a function of what is available now. What it does not put into a frame stays where it is, and counts as
//! available the next time. A pump that waits for a pipe to become readable has to take held-back bytes out of it (and send
//! them together with the next header), or it would wake up for them for ever.

use crate::frame::MAX_SENT_PAYLOAD;

/// What is held back while more may come.
pub const HELD_BACK: usize = 2;

/// Text of the trailer in place of a stream of one byte.
pub const LONE_BYTE: &str = "stream of one byte cannot be sent";

/// What a writer of a stream does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Send a frame of so many bytes, at least two and at most [`MAX_SENT_PAYLOAD`], and ask again.
    Frame(usize),
    /// Wait for more bytes, or for the end.
    Wait,
    /// Everything is sent: send the end.
    End,
    /// One byte is left and no more will come: send [`LONE_BYTE`] as a trailer. This happens only if the stream consists of
    /// one byte.
    LoneByte,
}

/// The next frame, given how many bytes are available and whether the producer has ended (so that no more will come).
pub fn next(available: usize, ended: bool) -> Next {
    next_up_to(MAX_SENT_PAYLOAD, available, ended)
}

/// The next frame, if frames are to be no longer than `longest`: at least three bytes, because three cannot be divided, and at
/// most [`MAX_SENT_PAYLOAD`].
pub fn next_up_to(longest: usize, available: usize, ended: bool) -> Next {
    let longest = longest.clamp(3, MAX_SENT_PAYLOAD);
    match (available, ended) {
        (0, true) => Next::End,
        (1, true) => Next::LoneByte,
        (_, true) if available <= longest => Next::Frame(available),
        // Here two bytes stay behind as well: a full frame must not leave one.
        _ => match available.saturating_sub(HELD_BACK).min(longest) {
            0 | 1 => Next::Wait,
            len => Next::Frame(len),
        },
    }
}

/// Frame lengths for something of which all bytes are there; `None` if it is one byte.
pub(crate) fn lengths(total: usize) -> Option<Vec<usize>> {
    let mut lengths = Vec::with_capacity(total / MAX_SENT_PAYLOAD + 1);
    let mut left = total;
    loop {
        match next(left, true) {
            Next::Frame(len) => {
                lengths.push(len);
                left -= len;
            }
            Next::End => return Some(lengths),
            Next::Wait | Next::LoneByte => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Frame lengths of a stream that arrives in these amounts, and the last word.
    fn send(amounts: &[usize]) -> (Vec<usize>, Next) {
        send_up_to(MAX_SENT_PAYLOAD, amounts)
    }

    fn send_up_to(longest: usize, amounts: &[usize]) -> (Vec<usize>, Next) {
        let next = |available, ended| next_up_to(longest, available, ended);
        let mut frames = Vec::new();
        let mut available = 0;
        for amount in amounts {
            available += amount;
            while let Next::Frame(len) = next(available, false) {
                frames.push(len);
                available -= len;
            }
            assert_eq!(next(available, false), Next::Wait);
            assert!(available < HELD_BACK + 2, "{available} bytes held back");
        }
        loop {
            match next(available, true) {
                Next::Frame(len) => {
                    frames.push(len);
                    available -= len;
                }
                last => return (frames, last),
            }
        }
    }

    #[test]
    fn whole_streams_are_cut_as_go_cuts_them() {
        const FULL: usize = 524_288;
        let table: [(usize, &[usize]); 7] = [
            (0, &[]),
            (2, &[2]),
            (45_264, &[45_264]),
            (FULL, &[FULL]),
            (FULL + 2, &[FULL, 2]),
            (3 * FULL + 344_608, &[FULL, FULL, FULL, 344_608]),
            (2 * FULL, &[FULL, FULL]),
        ];
        for (total, expected) in table {
            assert_eq!(lengths(total).unwrap(), expected, "{total}");
        }
    }

    #[test]
    fn a_last_chunk_of_one_byte_is_joined_by_one_of_the_chunk_before() {
        assert_eq!(lengths(524_289).unwrap(), [524_287, 2]);
        assert_eq!(lengths(2 * 524_288 + 1).unwrap(), [524_288, 524_287, 2]);
    }

    #[test]
    fn a_stream_of_one_byte_has_no_frames() {
        assert_eq!(lengths(1), None);
        assert_eq!(send(&[1]), (vec![], Next::LoneByte));
        assert_eq!(send(&[0, 1, 0]), (vec![], Next::LoneByte));
    }

    #[test]
    fn neither_a_late_byte_nor_a_late_end_leaves_one_byte() {
        assert_eq!(send(&[8]), (vec![6, 2], Next::End));
        assert_eq!(send(&[8, 1]), (vec![6, 3], Next::End));
        assert_eq!(send(&[1, 1]), (vec![2], Next::End));
        assert_eq!(send(&[1, 1, 1, 1, 1]), (vec![2, 3], Next::End));
        assert_eq!(send(&[524_290, 1]), (vec![524_288, 3], Next::End));
    }

    #[test]
    fn the_length_does_not_overflow() {
        assert_eq!(next(usize::MAX, true), Next::Frame(MAX_SENT_PAYLOAD));
        assert_eq!(next(usize::MAX, false), Next::Frame(MAX_SENT_PAYLOAD));
    }

    #[test]
    fn short_frames_are_no_shorter_than_two_bytes() {
        assert_eq!(send_up_to(2, &[3]), (vec![3], Next::End));
        assert_eq!(send_up_to(3, &[4]), (vec![2, 2], Next::End));
        assert_eq!(send_up_to(3, &[7]), (vec![3, 2, 2], Next::End));
    }

    proptest! {
        #[test]
        fn no_arrival_makes_a_frame_of_one_byte_however_short_frames_are(
            longest in 0_usize..20,
            amounts in prop::collection::vec(0_usize..30, 0..20),
        ) {
            let total: usize = amounts.iter().sum();
            let (frames, last) = send_up_to(longest, &amounts);
            prop_assert!(frames.iter().all(|len| (2..=longest.max(3)).contains(len)), "{:?}", frames);
            if total == 1 {
                prop_assert_eq!((frames, last), (vec![], Next::LoneByte));
            } else {
                prop_assert_eq!((frames.iter().sum::<usize>(), last), (total, Next::End));
            }
        }

        #[test]
        fn no_arrival_makes_a_frame_of_one_byte(
            amounts in prop::collection::vec(prop_oneof![0_usize..6, 524_280_usize..524_300, 0_usize..2_000_000], 0..20),
        ) {
            let total: usize = amounts.iter().sum();
            let (frames, last) = send(&amounts);
            prop_assert!(frames.iter().all(|len| (2..=MAX_SENT_PAYLOAD).contains(len)), "{:?}", frames);
            if total == 1 {
                prop_assert_eq!((frames, last), (vec![], Next::LoneByte));
            } else {
                prop_assert_eq!((frames.iter().sum::<usize>(), last), (total, Next::End));
            }
        }

        #[test]
        fn known_lengths_take_the_fewest_frames(total in 2_usize..3_000_000) {
            let frames = lengths(total).unwrap();
            prop_assert_eq!(frames.iter().sum::<usize>(), total);
            prop_assert_eq!(frames.len(), total.div_ceil(MAX_SENT_PAYLOAD));
            prop_assert!(frames.iter().all(|len| (2..=MAX_SENT_PAYLOAD).contains(len)));
        }
    }
}
