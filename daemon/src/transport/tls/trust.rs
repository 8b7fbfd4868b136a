//! Whether a certificate is vouched for by a `ca` file, by the rules of Go's `crypto/x509` as zrepl 0.7.0 uses it.
//!
//! webpki refuses three kinds of certificate that users have, because zrepl's documentation or the tools it names make them:
//! a self-signed one that is its own `ca` file (it says `CA:TRUE`), one without subject alternative names, and X.509 version 1
//! (`openssl x509 -req` without extensions). Go accepts them; so do we, and nothing that it refuses. (Which names a
//! server must have is another matter: see `server_name`.)

use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore};
use std::sync::Arc;
use webpki::{EndEntityCert, KeyUsage, RawPublicKeyEntity};
use x509_parser::asn1_rs::FromDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::x509::X509Version;

/// What a certificate is shown for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// To be connected to.
    Server,
    /// To connect.
    Client,
}

/// The certificates of a `ca` file: each may have signed the other side's, or be it.
#[derive(Debug)]
pub struct Trust {
    listed: Vec<CertificateDer<'static>>,
    anchors: RootCertStore,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Trust {
    /// Trusts these certificates.
    pub fn new(listed: Vec<CertificateDer<'static>>, provider: &CryptoProvider) -> Self {
        let mut anchors = RootCertStore::empty();
        // Version 1 cannot be an anchor; such a certificate is still the peer's own if it is equal.
        anchors.add_parsable_certificates(listed.iter().cloned());
        Self {
            listed,
            anchors,
            algorithms: provider.signature_verification_algorithms,
        }
    }

    /// Whether the certificate may be used now for this role. Names are not looked at.
    pub fn check(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        role: Role,
    ) -> Result<(), Error> {
        let parsed = parse(certificate)?;
        if self.listed.iter().any(|listed| listed == certificate) {
            check_validity(&parsed, now)?;
            return check_usage(&parsed, role);
        }
        if parsed.version() == X509Version::V1 {
            check_validity(&parsed, now)?;
            return self.check_version_1(certificate, &parsed, now);
        }
        let usage = match role {
            Role::Server => KeyUsage::server_auth(),
            Role::Client => KeyUsage::client_auth(),
        };
        let algorithms = self.algorithms.all;
        let anchors = &self.anchors.roots;
        EndEntityCert::try_from(certificate)
            .and_then(|end| {
                end.verify_for_usage(algorithms, anchors, intermediates, now, usage, None, None)
                    .map(drop)
            })
            .map_err(certificate_error)
    }

    /// Version 1 has no extensions: no usage and no chain, only the signature of a listed authority.
    fn check_version_1(
        &self,
        certificate: &CertificateDer<'_>,
        parsed: &X509Certificate<'_>,
        now: UnixTime,
    ) -> Result<(), Error> {
        let signed = Signed::of(certificate).ok_or(CertificateError::BadEncoding)?;
        for listed in &self.listed {
            let issuer = parse(listed)?;
            let is_issuer = issuer.subject().as_raw() == parsed.issuer().as_raw() && issuer.is_ca();
            if !is_issuer || check_validity(&issuer, now).is_err() {
                continue;
            }
            let key = SubjectPublicKeyInfoDer::from(issuer.public_key().raw);
            let Ok(key) = RawPublicKeyEntity::try_from(&key) else {
                continue;
            };
            let by_this = self.algorithms.all.iter().any(|algorithm| {
                algorithm.signature_alg_id().as_ref() == signed.algorithm
                    && key
                        .verify_signature(*algorithm, signed.content, signed.signature)
                        .is_ok()
            });
            if by_this {
                return Ok(());
            }
        }
        Err(CertificateError::UnknownIssuer.into())
    }

    /// Checks that whoever shows the certificate has its key.
    pub(crate) fn check_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, Error> {
        // Straight from the key: webpki would not look into version 1.
        let parsed = parse(certificate)?;
        let key = SubjectPublicKeyInfoDer::from(parsed.public_key().raw);
        verify_tls13_signature_with_raw_key(message, &key, signature, &self.algorithms)
    }

    /// The signatures that can be checked.
    pub(crate) fn schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.algorithms.supported_schemes()
    }

    /// The same, for rustls' own checks.
    #[cfg(feature = "hook-postgres")]
    pub(crate) fn algorithms(&self) -> &WebPkiSupportedAlgorithms {
        &self.algorithms
    }
}

/// The three parts of a certificate, as they are signed.
struct Signed<'a> {
    content: &'a [u8],
    algorithm: &'a [u8],
    signature: &'a [u8],
}

impl<'a> Signed<'a> {
    fn of(certificate: &'a CertificateDer<'_>) -> Option<Self> {
        const SEQUENCE: u8 = 0x30;
        const BIT_STRING: u8 = 0x03;
        let outer = Element::first(certificate.as_ref(), SEQUENCE)?;
        let content = Element::first(outer.content, SEQUENCE)?;
        let algorithm = Element::first(content.rest, SEQUENCE)?;
        let signature = Element::first(algorithm.rest, BIT_STRING)?;
        Some(Self {
            content: content.whole,
            algorithm: algorithm.content,
            // The first byte counts unused bits: none.
            signature: signature.content.strip_prefix(&[0])?,
        })
    }
}

/// An element of DER: tag, length, content.
struct Element<'a> {
    whole: &'a [u8],
    content: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Element<'a> {
    /// The element with which `bytes` begin, if it has this tag.
    fn first(bytes: &'a [u8], tag: u8) -> Option<Self> {
        let (&first, after_tag) = bytes.split_first()?;
        let (&short, after_length) = after_tag.split_first()?;
        if first != tag {
            return None;
        }
        let (length, header) = if short < 0x80 {
            (usize::from(short), 2)
        } else {
            let digits = after_length.get(..usize::from(short & 0x7f))?;
            let length = digits.iter().try_fold(0_usize, |length, digit| {
                length.checked_mul(256)?.checked_add(usize::from(*digit))
            })?;
            (length, 2 + digits.len())
        };
        let end = header.checked_add(length)?;
        Some(Self {
            whole: bytes.get(..end)?,
            content: bytes.get(header..end)?,
            rest: bytes.get(end..)?,
        })
    }
}

/// Reads a certificate of any version.
pub(super) fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, Error> {
    match X509Certificate::from_der(certificate.as_ref()) {
        Ok(([], parsed)) => Ok(parsed),
        _ => Err(CertificateError::BadEncoding.into()),
    }
}

fn check_validity(certificate: &X509Certificate<'_>, now: UnixTime) -> Result<(), Error> {
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let validity = certificate.validity();
    if now > validity.not_after.timestamp() {
        return Err(CertificateError::Expired.into());
    }
    if now < validity.not_before.timestamp() {
        return Err(CertificateError::NotValidYet.into());
    }
    Ok(())
}

/// What a certificate says it may be used for; one that says nothing may be used for all.
fn check_usage(certificate: &X509Certificate<'_>, role: Role) -> Result<(), Error> {
    let malformed = |_| Error::from(CertificateError::BadEncoding);
    let Some(usage) = certificate.extended_key_usage().map_err(malformed)? else {
        return Ok(());
    };
    let allowed = match role {
        Role::Server => usage.value.server_auth,
        Role::Client => usage.value.client_auth,
    };
    if allowed || usage.value.any {
        Ok(())
    } else {
        Err(CertificateError::InvalidPurpose.into())
    }
}

/// webpki's errors by the names that rustls has for them, for the alerts that the other side gets.
fn certificate_error(error: webpki::Error) -> Error {
    let known = match error {
        webpki::Error::BadDer => CertificateError::BadEncoding,
        webpki::Error::CertExpired { .. } => CertificateError::Expired,
        webpki::Error::CertNotValidYet { .. } => CertificateError::NotValidYet,
        webpki::Error::UnknownIssuer => CertificateError::UnknownIssuer,
        webpki::Error::RequiredEkuNotFoundContext(_) => CertificateError::InvalidPurpose,
        other => CertificateError::Other(OtherError(Arc::new(other))),
    };
    known.into()
}
