//! TLS on TCP, for who has no proxy in front: a chain of certificates and its key, read at the start and at every reload.
//! What is spoken inside, HTTP/1.1 or HTTP/2, is agreed on by ALPN (RFC 7301). Clients are known by tokens, not by
//! certificates of their own.

use std::{path::PathBuf, sync::Arc};

use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self, ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

use crate::{
    config::TlsFiles,
    private_file::{self, PrivateFileError},
};

/// More is no certificate and no key.
const MAX_BYTES: u64 = 1 << 20;

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("server.tls_certificate: {path}: {reason}")]
    Certificate { path: PathBuf, reason: String },
    #[error("server.tls_key: {path}: {source}")]
    PrivateFile { path: PathBuf, source: PrivateFileError },
    #[error("server.tls_key: {path}: there is no private key in it (PEM: PKCS #8, PKCS #1 or SEC 1)")]
    NoKey { path: PathBuf },
    #[error("server.tls_key: {path}: {reason}")]
    Key { path: PathBuf, reason: rustls::Error },
}

/// What new connections are taken in with.
///
/// # Errors
/// What is wrong with which file; also when key and certificate do not belong together.
pub fn load(files: &TlsFiles) -> Result<TlsAcceptor, TlsError> {
    let chain = certificates(files)?;
    let path = &files.key;
    let text = private_file::read(path, MAX_BYTES)
        .map_err(|source| TlsError::PrivateFile { path: path.clone(), source })?;
    let key = PrivateKeyDer::from_pem_slice(&text).map_err(|_| TlsError::NoKey { path: path.clone() })?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|reason| TlsError::Key { path: path.clone(), reason })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn certificates(files: &TlsFiles) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |reason| TlsError::Certificate { path: files.certificate.clone(), reason };
    let text = std::fs::read(&files.certificate).map_err(|error| failed(error.to_string()))?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let chain = chain.map_err(|error| failed(error.to_string()))?;
    if chain.is_empty() {
        return Err(failed("there is no certificate in it (PEM)".to_owned()));
    }
    Ok(chain)
}
