//! Why a TLS connection did not come about, or ended: an error of rustls in, a sentence that tells the user what to change
//! out, with the error as its cause.

use std::error::Error;
use std::{fmt, io};

use rustls::{AlertDescription, CertificateError};

use super::trust::Role;

/// What went wrong between us and a peer.
#[derive(Debug)]
pub struct TlsFailure {
    peer: Role,
    problem: Problem,
    source: rustls::Error,
}

/// What the user has to know about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Problem {
    Expired,
    Name,
    NotTls,
    NotYetValid,
    OurCertificate,
    Purpose,
    Unshown,
    Version,
    Vouching,
    /// The cause says all there is to say.
    Other,
}

impl TlsFailure {
    /// The failure, if the error is one of TLS and not of what carries it.
    pub(super) fn of(error: io::Error, peer: Role) -> Result<Self, io::Error> {
        let source = error.downcast::<rustls::Error>()?;
        Ok(Self {
            peer,
            problem: Problem::of(&source),
            source,
        })
    }
}

impl Problem {
    fn of(error: &rustls::Error) -> Self {
        use rustls::Error as E;
        match error {
            E::AlertReceived(alert) => Self::of_alert(*alert),
            E::InvalidCertificate(error) => Self::of_certificate(error),
            E::InvalidMessage(_) => Self::NotTls,
            E::NoCertificatesPresented => Self::Unshown,
            E::PeerIncompatible(_) => Self::Version,
            _ => Self::Other,
        }
    }

    fn of_alert(alert: AlertDescription) -> Self {
        use AlertDescription as A;
        match alert {
            A::AccessDenied
            | A::BadCertificate
            | A::CertificateExpired
            | A::CertificateRequired
            | A::CertificateRevoked
            | A::CertificateUnknown
            | A::DecryptError
            | A::UnknownCA
            | A::UnsupportedCertificate => Self::OurCertificate,
            A::HandshakeFailure | A::ProtocolVersion => Self::Version,
            _ => Self::Other,
        }
    }

    fn of_certificate(error: &CertificateError) -> Self {
        use CertificateError as C;
        match error {
            C::Expired | C::ExpiredContext { .. } => Self::Expired,
            C::InvalidPurpose | C::InvalidPurposeContext { .. } => Self::Purpose,
            C::NotValidForName | C::NotValidForNameContext { .. } => Self::Name,
            C::NotValidYet | C::NotValidYetContext { .. } => Self::NotYetValid,
            _ => Self::Vouching,
        }
    }
}

impl fmt::Display for TlsFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (peer, usage) = match self.peer {
            Role::Client => ("client", "clientAuth"),
            Role::Server => ("server", "serverAuth"),
        };
        match self.problem {
            Problem::Expired => write!(
                f,
                "the {peer}'s certificate has expired: it needs a new one"
            ),
            Problem::Name => write!(
                f,
                "the {peer}'s certificate does not have the name that we expect: server_cn must be one of its subject alternative names (subjectAltName), its common name does not count"
            ),
            Problem::NotTls => write!(
                f,
                "the {peer} does not speak TLS: both sides must have the same transport type"
            ),
            Problem::NotYetValid => write!(
                f,
                "the {peer}'s certificate is not valid yet: compare the clocks of both machines"
            ),
            Problem::OurCertificate => write!(
                f,
                "the {peer} does not accept our certificate: it, or what signed it, must be in the {peer}'s ca file, and it must be valid now"
            ),
            Problem::Purpose => write!(
                f,
                "the {peer}'s certificate is for other purposes: its extendedKeyUsage lacks {usage}"
            ),
            Problem::Unshown => write!(
                f,
                "the {peer} shows no certificate: it may have none that it thinks we would accept"
            ),
            Problem::Version => write!(
                f,
                "the {peer} and we have no version of TLS in common: we speak 1.3"
            ),
            Problem::Vouching => write!(
                f,
                "nobody vouches for the {peer}'s certificate: it, or what signed it, must be in our ca file"
            ),
            Problem::Other => write!(f, "the {peer} or we have given up"),
        }
    }
}

impl Error for TlsFailure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.source)
    }
}

#[cfg(test)]
mod tests {
    use rustls::{Error as E, InvalidMessage, PeerIncompatible};

    use super::*;

    #[test]
    fn what_the_user_can_change_is_said_and_the_cause_is_kept() {
        for (error, problem) in [
            (CertificateError::Expired.into(), Problem::Expired),
            (CertificateError::NotValidYet.into(), Problem::NotYetValid),
            (CertificateError::NotValidForName.into(), Problem::Name),
            (CertificateError::InvalidPurpose.into(), Problem::Purpose),
            (CertificateError::UnknownIssuer.into(), Problem::Vouching),
            (
                E::AlertReceived(AlertDescription::UnknownCA),
                Problem::OurCertificate,
            ),
            (
                E::AlertReceived(AlertDescription::CertificateRequired),
                Problem::OurCertificate,
            ),
            (
                E::AlertReceived(AlertDescription::ProtocolVersion),
                Problem::Version,
            ),
            (E::NoCertificatesPresented, Problem::Unshown),
            (
                E::InvalidMessage(InvalidMessage::InvalidContentType),
                Problem::NotTls,
            ),
            (PeerIncompatible::Tls12NotOffered.into(), Problem::Version),
            (E::DecryptError, Problem::Other),
        ] {
            let cause = error.to_string();
            let failure = TlsFailure::of(io::Error::other(error), Role::Server).expect(&cause);
            assert_eq!(failure.problem, problem, "{cause}");
            assert_eq!(failure.source().expect("kept").to_string(), cause);
            assert!(failure.to_string().contains("the server"), "{failure}");
        }
        let reset = io::Error::from(io::ErrorKind::ConnectionReset);
        let error = TlsFailure::of(reset, Role::Server).expect_err("not of TLS");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
}
