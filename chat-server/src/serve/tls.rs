//! TLS from files.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use super::StartError;
use crate::config::TlsFiles;

/// An acceptor for the certificate in `files`. Offers HTTP/2 and HTTP/1.1 (RFC 7301).
pub(super) fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor, StartError> {
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|e| {
        StartError::new(format!(
            "the TLS key {} can't be read: {e}",
            files.key.display()
        ))
    })?;
    let refused = |e: rustls::Error| {
        StartError::new(format!(
            "the certificate {} and the key {} can't be used for TLS: {e}",
            files.cert.display(),
            files.key.display()
        ))
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(refused)?
        .with_no_client_auth()
        .with_single_cert(chain(files)?, key)
        .map_err(refused)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// When the certificate in `files` ends, in seconds since 1970.
pub(super) fn expiry(files: &TlsFiles) -> Result<i64, StartError> {
    let chain = chain(files)?;
    let leaf = chain.first().map(AsRef::as_ref).unwrap_or_default();
    match x509_parser::parse_x509_certificate(leaf) {
        Ok((_, certificate)) => Ok(certificate.validity().not_after.timestamp()),
        Err(e) => Err(StartError::new(format!(
            "the TLS certificate {} can't be read: {e}",
            files.cert.display()
        ))),
    }
}

/// The certificates of `files`, the leaf first.
pub(crate) fn chain(files: &TlsFiles) -> Result<Vec<CertificateDer<'static>>, StartError> {
    let refused = |e: &dyn std::fmt::Display| {
        StartError::new(format!(
            "the TLS certificate {} can't be read: {e}",
            files.cert.display()
        ))
    };
    let chain = CertificateDer::pem_file_iter(&files.cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| refused(&e))?;
    if chain.is_empty() {
        return Err(refused(&"it holds no certificate"));
    }
    Ok(chain)
}
