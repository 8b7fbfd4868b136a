//! TLS to a database, with the three strengths of lib/pq's `sslmode`: encrypted only, or the certificate is checked against
//! authorities (those of `sslrootcert`, else the system's), or its name as well.

use std::fmt;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::Socket;
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect};
use webpki::EndEntityCert;

use super::address::{AddressError, is_on};
use crate::transport::tls::files::{load_authorities, load_identity};
use crate::transport::tls::trust::{Role, Trust};

/// The protocol's name, which servers ask for if TLS comes first (`sslnegotiation=direct`).
const ALPN: &[u8] = b"postgresql";

/// Where systems keep the certificates of authorities: the files that Go looks into.
const SYSTEM_AUTHORITIES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/usr/local/etc/ssl/cert.pem",
];

/// How connections to one server are encrypted.
#[derive(Clone)]
pub(super) struct DatabaseTls {
    config: Arc<ClientConfig>,
    strength: Strength,
}

/// What is checked of the server's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Strength {
    /// Only that the server has its key.
    Encrypted,
    /// Who has signed it, too.
    Authority,
    /// And that it is for the host that was asked for.
    Name,
}

impl DatabaseTls {
    /// None if plain text is what the parameters say, or the server is `local`.
    pub(super) fn new(
        value: &dyn Fn(&str) -> Option<String>,
        local: bool,
    ) -> Result<Option<Self>, AddressError> {
        let root = value("sslrootcert").filter(|path| !path.is_empty());
        let mode = value("sslmode").unwrap_or_default();
        let strength = match (mode.as_str(), &root) {
            ("disable", _) => return Ok(None),
            _ if local => return Ok(None),
            // As libpq: whoever names authorities wants them asked.
            ("" | "require", None) => Strength::Encrypted,
            ("" | "require", Some(_)) | ("verify-ca", _) => Strength::Authority,
            ("verify-full", _) => Strength::Name,
            _ => {
                return Err(AddressError::Value {
                    key: "sslmode",
                    value: mode,
                });
            }
        };
        let authorities = match (strength, &root) {
            (Strength::Encrypted, _) => Vec::new(),
            (_, Some(path)) => load_authorities(Path::new(path))?,
            (_, None) => system_authorities()?,
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = Verifier {
            trust: Trust::new(authorities, &provider),
            strength,
        };
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match (value("sslcert"), value("sslkey")) {
            (None, None) => config.with_no_client_auth(),
            (Some(cert), Some(key)) => {
                let identity = load_identity(Path::new(&cert), Path::new(&key))?;
                let key = CertifiedKey::new(identity.chain, identity.key);
                config.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key)))
            }
            _ => return Err(AddressError::HalfIdentity),
        };
        config.resumption = Resumption::disabled();
        config.enable_sni = value("sslsni").is_none_or(|sni| is_on(&sni));
        if value("sslnegotiation").as_deref() == Some("direct") {
            config.alpn_protocols = vec![ALPN.to_vec()];
        }
        Ok(Some(Self {
            config: Arc::new(config),
            strength,
        }))
    }
}

impl fmt::Debug for DatabaseTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseTls({:?})", self.strength)
    }
}

fn system_authorities() -> Result<Vec<CertificateDer<'static>>, AddressError> {
    let mut files = SYSTEM_AUTHORITIES.iter().map(Path::new);
    let file = files.find(|file| file.exists());
    Ok(load_authorities(file.ok_or(AddressError::NoAuthorities)?)?)
}

/// Asked by rustls.
#[derive(Debug)]
struct Verifier {
    trust: Trust,
    strength: Strength,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.strength != Strength::Encrypted {
            self.trust
                .check(certificate, intermediates, now, Role::Server)?;
        }
        if self.strength == Strength::Name {
            let has_name = EndEntityCert::try_from(certificate)
                .is_ok_and(|parsed| parsed.verify_is_valid_for_subject_name(name).is_ok());
            if !has_name {
                return Err(CertificateError::NotValidForName.into());
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = self.trust.algorithms();
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.trust.check_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.trust.schemes()
    }
}

impl MakeTlsConnect<Socket> for DatabaseTls {
    type Stream = TlsStream;
    type TlsConnect = Handshake;
    type Error = InvalidDnsNameError;

    fn make_tls_connect(&mut self, host: &str) -> Result<Handshake, InvalidDnsNameError> {
        Ok(Handshake {
            config: Arc::clone(&self.config),
            name: ServerName::try_from(host.to_owned())?,
        })
    }
}

/// One connection's beginning.
#[derive(Debug)]
pub(super) struct Handshake {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl TlsConnect<Socket> for Handshake {
    type Stream = TlsStream;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TlsStream>> + Send>>;

    fn connect(self, socket: Socket) -> Self::Future {
        let connector = tokio_rustls::TlsConnector::from(self.config);
        Box::pin(async move { Ok(TlsStream(connector.connect(self.name, socket).await?)) })
    }
}

/// An encrypted connection.
pub(super) struct TlsStream(tokio_rustls::client::TlsStream<Socket>);

impl tokio_postgres::tls::TlsStream for TlsStream {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
