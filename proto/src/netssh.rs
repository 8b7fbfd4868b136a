//! The greeting of the ssh transport, before the banner: 31 bytes each way, ASCII padded with NUL on the right.
//!
//! Wire constants of go-netssh (commit 330ad6c, `dial.go`, `serve.go`), which zrepl 0.7.0 uses. The passive side speaks
//! first: HELO from the daemon, or PROXY_ERROR from `zrepl stdinserver` when it cannot reach the daemon. The active side
//! answers BEGIN, whose content Go does not check, so ours need not be checked either.

/// Bytes of each message.
pub const MESSAGE_LEN: usize = 31;

/// What is said before the banner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// Passive to active: the daemon has the connection.
    Helo,
    /// Active to passive: go on.
    Begin,
    /// `stdinserver` to active, in place of HELO: there is no daemon behind it.
    ProxyError,
}

/// Why the active side cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GreetingError {
    /// The remote `stdinserver` found no daemon. The text is Go's.
    #[error("proxy error, check remote configuration")]
    Proxy,
    /// Something else than a greeting, typically output of the remote login shell.
    #[error(
        "unknown ssh greeting {0:?}, expected \"SSHCON_HELO\": does the remote shell print something?"
    )]
    Unknown(String),
}

impl Message {
    const ALL: [Self; 3] = [Self::Helo, Self::Begin, Self::ProxyError];

    const fn text(self) -> &'static str {
        match self {
            Self::Helo => "SSHCON_HELO",
            Self::Begin => "SSHCON_BEGIN",
            Self::ProxyError => "SSHCON_PROXY_ERROR",
        }
    }

    /// The message as sent.
    pub fn encode(self) -> [u8; MESSAGE_LEN] {
        let mut bytes = [0; MESSAGE_LEN];
        let text = self.text().as_bytes();
        bytes[..text.len()].copy_from_slice(text);
        bytes
    }

    /// Reads a message; `None` if it is none of the three, compared over all bytes.
    pub fn decode(bytes: &[u8; MESSAGE_LEN]) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|message| message.encode() == *bytes)
    }
}

/// What the active side makes of the first bytes of the passive side: only HELO lets it go on.
pub fn expect_helo(bytes: &[u8; MESSAGE_LEN]) -> Result<(), GreetingError> {
    match Message::decode(bytes) {
        Some(Message::Helo) => Ok(()),
        Some(Message::ProxyError) => Err(GreetingError::Proxy),
        Some(Message::Begin) | None => {
            let text = String::from_utf8_lossy(bytes);
            Err(GreetingError::Unknown(
                text.trim_end_matches('\0').to_owned(),
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Golden bytes of the specification: text, and how many NUL bytes follow.
    const GOLDEN: [(Message, &[u8], usize); 3] = [
        (
            Message::Helo,
            &[
                0x53, 0x53, 0x48, 0x43, 0x4f, 0x4e, 0x5f, 0x48, 0x45, 0x4c, 0x4f,
            ],
            20,
        ),
        (
            Message::Begin,
            &[
                0x53, 0x53, 0x48, 0x43, 0x4f, 0x4e, 0x5f, 0x42, 0x45, 0x47, 0x49, 0x4e,
            ],
            19,
        ),
        (
            Message::ProxyError,
            &[
                0x53, 0x53, 0x48, 0x43, 0x4f, 0x4e, 0x5f, 0x50, 0x52, 0x4f, 0x58, 0x59, 0x5f, 0x45,
                0x52, 0x52, 0x4f, 0x52,
            ],
            13,
        ),
    ];

    #[test]
    fn messages_are_the_golden_bytes() {
        for (message, text, padding) in GOLDEN {
            let mut bytes = text.to_vec();
            bytes.resize(text.len() + padding, 0);
            assert_eq!(message.encode().as_slice(), bytes);
            assert_eq!(Message::decode(&message.encode()), Some(message));
        }
    }

    #[test]
    fn only_helo_lets_the_active_side_go_on() {
        assert_eq!(expect_helo(&Message::Helo.encode()), Ok(()));
        assert_eq!(
            expect_helo(&Message::ProxyError.encode()),
            Err(GreetingError::Proxy)
        );
        assert!(expect_helo(&Message::Begin.encode()).is_err());
        let motd = *b"Welcome to Debian GNU/Linux 13 ";
        let error = expect_helo(&motd).expect_err("a shell's greeting");
        assert!(error.to_string().contains("Welcome to Debian"), "{error}");
    }

    #[test]
    fn padding_counts() {
        let mut bytes = Message::Helo.encode();
        bytes[30] = b'\n';
        assert_eq!(Message::decode(&bytes), None);
    }

    proptest! {
        #[test]
        fn any_bytes_decode_to_what_encodes_them(bytes in any::<[u8; MESSAGE_LEN]>()) {
            if let Some(message) = Message::decode(&bytes) {
                prop_assert_eq!(message.encode(), bytes);
            }
            let _ = expect_helo(&bytes);
        }
    }
}
