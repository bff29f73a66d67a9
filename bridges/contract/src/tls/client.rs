//! The rustls side: a configuration that reads the certificates anew for each handshake.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::{Identity, Tls};
use crate::SecretError;

/// Certificates that cannot be used.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// `ca` holds no certificate.
    #[error("`tls.ca` holds no certificate in PEM")]
    Authorities,
    /// `certificate` holds no certificate.
    #[error("`tls.certificate` holds no certificate in PEM")]
    Certificate,
    /// `key` holds no private key, or an encrypted one.
    #[error("`tls.key` holds no private key in PEM that is not encrypted")]
    Key,
    /// The machine has no authorities.
    #[error("this machine has no certificate authorities: install them, or set `tls.ca`")]
    Machine,
    /// The key is another certificate's, or of a kind that is not known.
    #[error("`tls.key` does not belong to `tls.certificate`, or is of an unknown kind")]
    Pair,
    /// A file or a variable is not there.
    #[error("{0}")]
    Secret(Arc<SecretError>),
    /// The library refused.
    #[error("TLS cannot be used: {0}")]
    Tls(Error),
}

impl Tls {
    /// Returns a configuration for connections to a broker, of which each reads the certificates
    /// as they are when it is made.
    ///
    /// # Errors
    ///
    /// The certificates cannot be used as they are now.
    pub fn client(&self) -> Result<ClientConfig, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let machine = match &self.ca {
            Some(_) => None,
            None => Some(Arc::new(machine()?)),
        };
        let certificates = Arc::new(Certificates { tls: self.clone(), machine, provider: provider.clone() });
        certificates.verifier()?;
        certificates.shown()?;
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Tls)?
            .dangerous()
            .with_custom_certificate_verifier(certificates.clone())
            .with_client_cert_resolver(certificates);
        // A resumed session would go on with the certificates of the one before.
        config.resumption = Resumption::disabled();
        Ok(config)
    }
}

/// The certificates behind a configuration. The checks themselves are the library's.
#[derive(Debug)]
struct Certificates {
    tls: Tls,
    /// The machine's authorities, where the configuration names none.
    machine: Option<Arc<RootCertStore>>,
    provider: Arc<CryptoProvider>,
}

impl Certificates {
    fn verifier(&self) -> Result<Arc<WebPkiServerVerifier>, TlsError> {
        let authorities = match &self.machine {
            Some(machine) => machine.clone(),
            None => {
                let pem = self.tls.read().map_err(secret)?;
                Arc::new(authorities(&pem.authorities.unwrap_or_default())?)
            }
        };
        WebPkiServerVerifier::builder_with_provider(authorities, self.provider.clone())
            .build()
            .map_err(|_| TlsError::Authorities)
    }

    fn shown(&self) -> Result<Option<Arc<CertifiedKey>>, TlsError> {
        let identity = self.tls.read().map_err(secret)?.identity;
        identity.map(|identity| pair(&identity, &self.provider)).transpose()
    }

    fn algorithms(&self) -> &WebPkiSupportedAlgorithms {
        &self.provider.signature_verification_algorithms
    }
}

impl ServerCertVerifier for Certificates {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verifier = self.verifier().map_err(|error| Error::General(error.to_string()))?;
        verifier.verify_server_cert(end_entity, intermediates, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, self.algorithms())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, self.algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms().supported_schemes()
    }
}

impl ResolvesClientCert for Certificates {
    fn resolve(&self, _authorities: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.shown().unwrap_or_else(|error| {
            tracing::warn!(%error, "no certificate is shown to the broker");
            None
        })
    }

    fn has_certs(&self) -> bool {
        self.tls.has_identity()
    }
}

fn authorities(pem: &str) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|_| TlsError::Authorities)?;
        store.add(certificate).map_err(|_| TlsError::Authorities)?;
    }
    if store.is_empty() { Err(TlsError::Authorities) } else { Ok(store) }
}

fn machine() -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if store.is_empty() { Err(TlsError::Machine) } else { Ok(store) }
}

fn pair(identity: &Identity, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, TlsError> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(identity.certificate.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|_| TlsError::Certificate)?;
    if chain.is_empty() {
        return Err(TlsError::Certificate);
    }
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).map_err(|_| TlsError::Key)?;
    let pair = CertifiedKey::from_der(chain, key, provider).map_err(|_| TlsError::Pair)?;
    Ok(Arc::new(pair))
}

fn secret(error: SecretError) -> TlsError {
    TlsError::Secret(Arc::new(error))
}

#[cfg(test)]
mod tests;
