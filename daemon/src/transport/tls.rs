//! TLS as both sides of a zrepl connection speak it: version 1.3 only, certificates on both sides, nothing resumed.
//!
//! Who is accepted is what Go's `crypto/x509` accepts, because the certificates are made for it: see [`trust`]. 1.2 is left out:
//! every peer of protocol version 7 is built with a Go that has 1.3, and of 1.2 an AES-GCM connection ends after 256 GiB, less
//! than many a first replication.

mod connect;
mod failure;
pub mod files;
pub mod key_log;
mod listen;
mod server_name;
mod stream;
pub mod trust;
mod verifier;

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::NoServerSessionStorage;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, KeyLog, ServerConfig};

pub use connect::TlsConnector;
pub use failure::TlsFailure;
use files::Identity;
pub use listen::TlsListener;
use trust::Trust;
use verifier::{ClientVerifier, ServerVerifier};

/// What the connecting side needs.
#[derive(Debug)]
pub struct Client {
    /// The configuration of its connections.
    pub config: Arc<ClientConfig>,
    /// The name for `server_name_indication`. It takes no part in the check of the server's certificate.
    pub sni: ServerName<'static>,
}

/// Prepares the connecting side: `authorities` are the certificates of the `ca` file, `server_cn` is the name that the
/// server's certificate must have.
pub fn client(
    authorities: Vec<CertificateDer<'static>>,
    identity: &Identity,
    server_cn: &str,
    key_log: Arc<dyn KeyLog>,
) -> Result<Client, rustls::Error> {
    let provider = provider();
    let verifier = ServerVerifier::new(Trust::new(authorities, &provider), server_cn.to_owned());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(resolver(identity));
    config.resumption = Resumption::disabled();
    config.key_log = key_log;
    // Go takes more names for `server_cn` than can be sent; then the server gets one that means nothing to it.
    let sni = ServerName::try_from(server_cn.to_owned())
        .or_else(|_| ServerName::try_from("zrepl.invalid"))
        .map_err(|error| rustls::Error::General(error.to_string()))?;
    Ok(Client {
        config: Arc::new(config),
        sni,
    })
}

/// Prepares the listening side: `authorities` are the certificates of the `ca` file, one of which must vouch for each client.
pub fn server(
    authorities: Vec<CertificateDer<'static>>,
    identity: &Identity,
    key_log: Arc<dyn KeyLog>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let provider = provider();
    let verifier = ClientVerifier::new(Trust::new(authorities, &provider));
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(resolver(identity));
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.key_log = key_log;
    Ok(Arc::new(config))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// Ours is shown whatever the other side asks for. That key and certificate fit was checked when they were read, in a way that
/// also understands X.509 version 1, which rustls' own check does not.
fn resolver(identity: &Identity) -> Arc<SingleCertAndKey> {
    let key = CertifiedKey::new(identity.chain.clone(), Arc::clone(&identity.key));
    Arc::new(SingleCertAndKey::from(key))
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod socket_tests;
