//! A certificate authority of one's own, made anew at each start.

use std::io;
use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

/// The authority, and what the servers show.
pub(crate) struct Certificates {
    folder: tempfile::TempDir,
    acceptor: native_tls::TlsAcceptor,
}

fn other(error: impl std::fmt::Display) -> io::Error {
    io::Error::other(error.to_string())
}

impl Certificates {
    /// Makes an authority and a certificate for loopback and the names given.
    pub(crate) fn new(names: &[String]) -> io::Result<Self> {
        let authority_key = KeyPair::generate().map_err(other)?;
        let mut authority = CertificateParams::new(Vec::new()).map_err(other)?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        authority
            .distinguished_name
            .push(DnType::CommonName, "Sandbox Authority");
        let authority_certificate = authority.self_signed(&authority_key).map_err(other)?;
        let issuer = Issuer::new(authority, authority_key);

        let mut all = vec!["localhost".to_owned(), "127.0.0.1".into(), "::1".into()];
        all.extend_from_slice(names);
        let key = KeyPair::generate().map_err(other)?;
        let mut server = CertificateParams::new(all).map_err(other)?;
        server
            .distinguished_name
            .push(DnType::CommonName, "Sandbox Gateway");
        let certificate = server.signed_by(&key, &issuer).map_err(other)?;

        let folder = tempfile::Builder::new().prefix("sandbox").tempdir()?;
        std::fs::write(folder.path().join("ca.pem"), authority_certificate.pem())?;
        let identity = native_tls::Identity::from_pkcs8(
            certificate.pem().as_bytes(),
            key.serialize_pem().as_bytes(),
        )
        .map_err(other)?;
        let acceptor = native_tls::TlsAcceptor::new(identity).map_err(other)?;
        Ok(Self { folder, acceptor })
    }

    /// The authority's certificate, a PEM file that exists as long as the sandbox.
    pub(crate) fn authority_file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    pub(crate) fn acceptor(&self) -> native_tls::TlsAcceptor {
        self.acceptor.clone()
    }
}
