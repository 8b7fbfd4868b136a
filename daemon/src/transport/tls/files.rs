//! The files of the TLS transport: `ca`, `cert` and `key` of the configuration. Paths flow in, certificates and a key that
//! fit together flow out, with the facts about them that deserve a warning. What zrepl 0.7.0 could read, this reads too:
//! X.509 version 1, keys in PKCS#8, PKCS#1 and SEC1, text around the PEM blocks.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, SubjectPublicKeyInfoDer};
use rustls::sign::SigningKey;
use thiserror::Error;
use x509_parser::asn1_rs::FromDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::oid_registry::OID_X509_EXT_SUBJECT_ALT_NAME;
use x509_parser::x509::SubjectPublicKeyInfo;

/// Reads the certificates that the other side's certificate may be signed by, or be.
///
/// Like Go, and so zrepl 0.7.0, passes over blocks that are no certificate or cannot be understood, as long as one can.
pub fn load_authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFileError> {
    let failed = |problem| TlsFileError::Authorities {
        path: path.to_owned(),
        problem,
    };
    let bytes = read(path).map_err(failed)?;
    let mut certificates = certificates_of(&bytes);
    certificates.retain(|certificate| Facts::of(certificate).is_some());
    if certificates.is_empty() {
        return Err(failed(FileProblem::NoCertificate));
    }
    Ok(certificates)
}

/// Reads our own certificate, those between it and the authority, and its private key.
pub fn load_identity(cert_path: &Path, key_path: &Path) -> Result<Identity, TlsFileError> {
    let failed = |path: &Path, problem| TlsFileError::Identity {
        path: path.to_owned(),
        problem,
    };
    let bytes = read(cert_path).map_err(|problem| failed(cert_path, problem))?;
    let chain = certificates_of(&bytes);
    let leaf = chain
        .first()
        .ok_or_else(|| failed(cert_path, FileProblem::NoCertificate))?;
    let unreadable = |problem| failed(cert_path, FileProblem::BadCertificate(problem));
    let parsed = parse(leaf).map_err(unreadable)?;
    let facts = Facts::of_parsed(&parsed);
    let bytes = read(key_path).map_err(|problem| failed(key_path, problem))?;
    let key = key_of(&bytes).map_err(|problem| failed(key_path, problem))?;
    if !is_key_of(key.as_ref(), &parsed) {
        let certificate = cert_path.to_owned();
        return Err(failed(key_path, FileProblem::Mismatch { certificate }));
    }
    Ok(Identity { chain, key, facts })
}

/// Whether users other than the owner may read a private key: the permission bits if the file's group or everyone may.
pub fn key_readable_by_others(path: &Path) -> io::Result<Option<u32>> {
    const OTHERS_READ: u32 = 0o044;
    let mode = std::fs::metadata(path)?.permissions().mode() & 0o7777;
    Ok((mode & OTHERS_READ != 0).then_some(mode))
}

/// What we show the other side.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Our certificate, then those that lead from it to the authority.
    pub chain: Vec<CertificateDer<'static>>,
    /// The private key that belongs to the first certificate.
    pub key: Arc<dyn SigningKey>,
    /// What the first certificate says.
    pub facts: Facts,
}

/// What a certificate says, as far as users may have to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The first second of its validity.
    pub not_before: Timestamp,
    /// The last second of its validity. "Never expires" is written as the year 9999.
    pub not_after: Timestamp,
    /// The last common name of its subject, which is the one that zrepl takes for the client's identity.
    pub common_name: Option<String>,
    /// Whether it has subject alternative names. zrepl 0.7.0 refuses servers without one.
    pub has_san: bool,
}

impl Facts {
    /// Reads a certificate, if it is one.
    pub fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        parse(certificate)
            .ok()
            .map(|parsed| Self::of_parsed(&parsed))
    }

    fn of_parsed(certificate: &X509Certificate<'_>) -> Self {
        let validity = certificate.validity();
        let last_name = certificate.subject().iter_common_name().last();
        Self {
            not_before: saturated(validity.not_before.timestamp()),
            not_after: saturated(validity.not_after.timestamp()),
            common_name: last_name
                .and_then(|name| name.as_str().ok())
                .map(str::to_owned),
            has_san: certificate
                .extensions()
                .iter()
                .any(|extension| extension.oid == OID_X509_EXT_SUBJECT_ALT_NAME),
        }
    }
}

/// The last days of the year 9999 are beyond our calendar, but certificates have them.
fn saturated(seconds: i64) -> Timestamp {
    let limit = if seconds < 0 {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    };
    Timestamp::from_second(seconds).unwrap_or(limit)
}

/// Why a file of the TLS transport cannot be used.
#[derive(Debug, Error)]
pub enum TlsFileError {
    /// The certificates of the authorities.
    #[error("cannot parse ca file: {}: {problem}", path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: FileProblem,
    },
    /// Our own certificate or its key.
    #[error("cannot parse cert/key pair: {}: {problem}", path.display())]
    Identity {
        /// The file that is to blame.
        path: PathBuf,
        /// What is wrong with it.
        problem: FileProblem,
    },
}

impl TlsFileError {
    /// The file that is to blame.
    pub fn path(&self) -> &Path {
        let (Self::Authorities { path, .. } | Self::Identity { path, .. }) = self;
        path
    }

    /// What is wrong with the file.
    pub fn problem(&self) -> &FileProblem {
        let (Self::Authorities { problem, .. } | Self::Identity { problem, .. }) = self;
        problem
    }
}

/// What is wrong with a file of the TLS transport.
#[derive(Debug, Error)]
pub enum FileProblem {
    /// The first certificate cannot be understood.
    #[error("the certificate is malformed: {0}")]
    BadCertificate(String),
    /// There is a key, but none that can be used.
    #[error("the private key cannot be used: {0}")]
    BadKey(String),
    /// The key needs a passphrase, which a daemon does not have.
    #[error(
        "the private key is encrypted, write it without passphrase (openssl pkey -in FILE -out FILE)"
    )]
    EncryptedKey,
    /// The key is that of another certificate.
    #[error("private key does not match public key of {}", certificate.display())]
    Mismatch {
        /// The file of the certificate.
        certificate: PathBuf,
    },
    /// No block of the file is a certificate.
    #[error("PEM parsing error: there is no certificate in the file")]
    NoCertificate,
    /// No block of the file is a private key.
    #[error("PEM parsing error: there is no private key in the file")]
    NoKey,
    /// Something else than a file.
    #[error("it is not a regular file")]
    NotAFile,
    /// Larger than any such file.
    #[error("the file is larger than {LARGEST} bytes")]
    TooLarge,
    /// The system does not let us read the file.
    #[error("cannot read the file: {0}")]
    Unreadable(io::Error),
}

/// No bundle of certificates comes near: all the authorities of the web together take a quarter.
const LARGEST: u64 = 1 << 20;

fn read(path: &Path) -> Result<Vec<u8>, FileProblem> {
    // Look before opening: to open a FIFO is to wait for its other end.
    let metadata = std::fs::metadata(path).map_err(FileProblem::Unreadable)?;
    if !metadata.is_file() {
        return Err(FileProblem::NotAFile);
    }
    let file = File::open(path).map_err(FileProblem::Unreadable)?;
    let mut bytes = Vec::new();
    file.take(LARGEST + 1)
        .read_to_end(&mut bytes)
        .map_err(FileProblem::Unreadable)?;
    if bytes.len() as u64 > LARGEST {
        return Err(FileProblem::TooLarge);
    }
    Ok(bytes)
}

/// The certificates of a file; blocks that are no PEM are passed over, as in Go.
fn certificates_of(bytes: &[u8]) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(bytes)
        .filter_map(Result::ok)
        .collect()
}

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, String> {
    match X509Certificate::from_der(certificate) {
        Ok(([], parsed)) => Ok(parsed),
        Ok((rest, _)) => Err(format!("{} bytes follow it", rest.len())),
        Err(error) => Err(error.to_string()),
    }
}

/// The first private key of a file.
fn key_of(bytes: &[u8]) -> Result<Arc<dyn SigningKey>, FileProblem> {
    const ENCRYPTED: [&str; 2] = [
        "-----BEGIN ENCRYPTED PRIVATE KEY-----",
        "Proc-Type: 4,ENCRYPTED",
    ];
    let key = PrivateKeyDer::pem_slice_iter(bytes).find_map(Result::ok);
    let usable = key.map(|key| any_supported_type(&key));
    match usable {
        Some(Ok(key)) => Ok(key),
        _ if ENCRYPTED.iter().any(|mark| contains(bytes, mark)) => Err(FileProblem::EncryptedKey),
        Some(Err(error)) => Err(FileProblem::BadKey(error.to_string())),
        None => Err(FileProblem::NoKey),
    }
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes
        .windows(text.len())
        .any(|window| window == text.as_bytes())
}

/// Compares the public halves. The parameters of the algorithm are left out: some write a NULL where others write none.
fn is_key_of(key: &dyn SigningKey, certificate: &X509Certificate<'_>) -> bool {
    let Some(spki) = key.public_key() else {
        return false;
    };
    let spki: &SubjectPublicKeyInfoDer<'_> = &spki;
    let Ok((_, ours)) = SubjectPublicKeyInfo::from_der(spki) else {
        return false;
    };
    let theirs = certificate.public_key();
    ours.algorithm.algorithm == theirs.algorithm.algorithm
        && ours.subject_public_key == theirs.subject_public_key
}

#[cfg(test)]
mod tests;
