//! The label by which a client says what a connection is for: 64 bytes, sent once, after the banner.
//!
//! Wire constants of zrepl 0.7.0 (`internal/rpc/transportmux`): ASCII text, padded with NUL bytes on the right, compared over
//! all 64 bytes. A server that does not know the label closes the connection without an answer.

/// Bytes of a label on the wire.
pub const LABEL_LEN: usize = 64;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Label {
    /// gRPC: planning, pruning, keepalive.
    Control,
    /// One request with a stream: send, receive, ping.
    Data,
}

/// A label that no zrepl sends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown connection label {0:?}")]
pub struct UnknownLabel(String);

impl Label {
    const fn text(self) -> &'static str {
        match self {
            Self::Control => "zrepl_control",
            Self::Data => "zrepl_data",
        }
    }

    /// The label as sent.
    pub fn encode(self) -> [u8; LABEL_LEN] {
        let mut bytes = [0; LABEL_LEN];
        let text = self.text().as_bytes();
        bytes[..text.len()].copy_from_slice(text);
        bytes
    }

    /// Reads a received label.
    pub fn decode(bytes: &[u8; LABEL_LEN]) -> Result<Self, UnknownLabel> {
        [Self::Control, Self::Data]
            .into_iter()
            .find(|label| label.encode() == *bytes)
            .ok_or_else(|| {
                let text = String::from_utf8_lossy(bytes);
                UnknownLabel(text.trim_end_matches('\0').to_owned())
            })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn labels_are_padded_with_nul() {
        let bytes = Label::Data.encode();
        assert_eq!(&bytes[..10], b"zrepl_data");
        assert!(bytes[10..].iter().all(|&byte| byte == 0));
    }

    #[test]
    fn both_labels_read_back() {
        for label in [Label::Control, Label::Data] {
            assert_eq!(Label::decode(&label.encode()), Ok(label));
        }
    }

    #[test]
    fn padding_and_case_count() {
        let mut bytes = Label::Control.encode();
        bytes[63] = b' ';
        assert!(Label::decode(&bytes).is_err());
        let mut bytes = Label::Control.encode();
        bytes[0] = b'Z';
        let error = Label::decode(&bytes).expect_err("upper case");
        assert_eq!(
            error.to_string(),
            "unknown connection label \"Zrepl_control\""
        );
    }

    proptest! {
        #[test]
        fn only_the_two_labels_are_accepted(bytes in any::<[u8; LABEL_LEN]>()) {
            let known = [Label::Control, Label::Data].iter().any(|label| label.encode() == bytes);
            prop_assert_eq!(Label::decode(&bytes).is_ok(), known);
        }
    }
}
