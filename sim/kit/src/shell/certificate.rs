use std::path::Path;
use std::sync::Arc;

use rcgen::CertifiedKey;
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::ShellError;

/// A certificate for this run, for `localhost`, `127.0.0.1` and the given names; it is its own trust anchor.
pub(super) struct Certificate {
    pub(super) tls: Arc<ServerConfig>,
    pem: String,
}

impl Certificate {
    pub(super) fn generate(hosts: &[String]) -> Result<Self, ShellError> {
        let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        names.extend_from_slice(hosts);
        let CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(names)?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
        let tls = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)?;
        Ok(Self { tls: Arc::new(tls), pem: cert.pem() })
    }

    /// Leaves the certificate for clients: written aside, then renamed, so that nobody reads half of it.
    pub(super) fn write(&self, path: &Path) -> Result<(), ShellError> {
        let mut aside = path.as_os_str().to_owned();
        aside.push(format!(".{}", std::process::id()));
        std::fs::write(&aside, &self.pem)
            .and_then(|()| std::fs::rename(&aside, path))
            .map_err(|source| ShellError::CaFile { path: path.to_owned(), source })
    }
}
