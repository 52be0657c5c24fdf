//! Which certificate authorities are trusted.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::{Arc, OnceLock};

use native_tls::Certificate;

use super::authorities;
use super::connect::ConnectError;
use super::limit::Limit;
use super::stream::NetworkStream;
use super::tls::{BuiltIn, Connector};
use crate::error::Error;
use crate::files;
use crate::settings::Environment;

/// Directories in which OpenSSL, as `native-tls` sets it up, looks authorities up by the hash of their name.
const DIRECTORIES: &[&str] = &[
    "/etc/ssl/certs",
    "/etc/pki/tls/certs",
    "/etc/security/certificates",
    // FreeBSD, NetBSD.
    "/usr/local/share/certs",
    "/etc/openssl/certs",
];
/// Files in which systems keep all authorities; the first that holds one counts.
const BUNDLES: &[&str] = &[
    // Debian, Ubuntu, Gentoo, Arch, Alpine.
    "/etc/ssl/certs/ca-certificates.crt",
    // Fedora, RHEL and Amazon Linux, the older ones last.
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    // openSUSE.
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    // Alpine, OpenBSD.
    "/etc/ssl/cert.pem",
    // Entware, OpenHarmony.
    "/opt/etc/ssl/certs/ca-certificates.crt",
    "/etc/ssl/certs/cacert.pem",
    // FreeBSD, DragonFly, NetBSD.
    "/usr/local/etc/ssl/cert.pem",
    "/usr/local/share/certs/ca-root-nss.crt",
    "/etc/openssl/certs/ca-certificates.crt",
];

/// The roots that certificates must lead to. There is no way to do without.
///
/// Cheap to clone; the roots are read once, when TLS is first needed.
#[derive(Clone)]
pub struct Trust(Arc<TrustState>);

struct TrustState {
    roots: Roots,
    /// Made for the first connection; the text says why there is none.
    connector: OnceLock<Result<Connector, String>>,
    /// One that has read what the first one leaves to the library. Made when that has refused a certificate, if ever.
    complete: OnceLock<Option<Connector>>,
}

/// Where the roots are.
enum Roots {
    /// The user named them; these alone count.
    Named {
        variables: &'static str,
        paths: Paths,
    },
    /// Where systems keep them.
    System,
}

/// Files and directories of certificates.
#[derive(Default)]
struct Paths {
    files: Vec<PathBuf>,
    directories: Vec<PathBuf>,
}

impl Trust {
    /// `AWS_CA_BUNDLE`; else `SSL_CERT_FILE` and `SSL_CERT_DIR`; else the profile's `ca_bundle`; else what the system trusts.
    ///
    /// # Errors
    /// A file or directory that a variable names and that is not there, by the variable's name. Certificates are read later.
    pub fn new(environment: &Environment, ca_bundle: Option<&Path>) -> Result<Self, Error> {
        let mut paths = Paths::default();
        let mut add = |variable: &str, path: &Path| {
            paths.add(path).map_err(|error| {
                Error::Start(format!(
                    "{variable} names {}, which cannot be read: {error}; correct it, or unset it to trust what the system trusts",
                    path.display()
                ))
            })
        };
        let mut variables = None;
        if let Some(path) = environment.path("AWS_CA_BUNDLE") {
            add("AWS_CA_BUNDLE", &path)?;
            variables = Some("AWS_CA_BUNDLE");
        } else {
            if let Some(path) = environment.path("SSL_CERT_FILE") {
                add("SSL_CERT_FILE", &path)?;
                variables = Some("SSL_CERT_FILE");
            }
            for path in environment.paths("SSL_CERT_DIR") {
                add("SSL_CERT_DIR", &path)?;
                variables =
                    Some(variables.map_or("SSL_CERT_DIR", |_| "SSL_CERT_FILE and SSL_CERT_DIR"));
            }
        }
        if let (None, Some(path)) = (variables, ca_bundle) {
            add("ca_bundle of the profile", path)?;
            variables = Some("ca_bundle of the profile");
        }
        let roots = match variables {
            Some(variables) => Roots::Named { variables, paths },
            None => Roots::System,
        };
        Ok(Self(Arc::new(TrustState {
            roots,
            connector: OnceLock::new(),
            complete: OnceLock::new(),
        })))
    }

    /// Connects, and speaks TLS (1.2 or later) with `host`.
    ///
    /// A second connection is made where the system's directories of authorities, in which the library looks names up, do not have
    /// what the certificate needs, and there is more to be read: to read it for every session would take 15 ms (P76).
    ///
    /// # Errors
    /// Those of `connect`; no roots, a certificate that does not lead to one or is not for `host`, or a failure of the connection.
    pub(super) fn secure(
        &self,
        host: &str,
        connect: impl Fn() -> Result<NetworkStream, ConnectError>,
        limit: &Limit,
    ) -> Result<NetworkStream, ConnectError> {
        let connector = self.connector()?;
        let result = connector.handshake(host, connect()?, limit);
        let Err(ConnectError::Certificate { .. }) = &result else {
            return result;
        };
        let Some(complete) = self.complete_after(connector) else {
            return result;
        };
        complete.handshake(host, connect()?, limit)
    }

    fn connector(&self) -> Result<&Connector, ConnectError> {
        if let Some(Some(complete)) = self.0.complete.get() {
            return Ok(complete);
        }
        let connector = self.0.connector.get_or_init(|| self.0.roots.connector());
        connector
            .as_ref()
            .map_err(|reason| ConnectError::Trust(reason.clone()))
    }

    /// A connector that trusts more than the one that has refused a certificate, if there can be one.
    fn complete_after(&self, refused_by: &Connector) -> Option<&Connector> {
        let connector = self.0.complete.get_or_init(|| {
            let connector = self.0.roots.complete()?;
            log::info!("a certificate was refused: all authorities are read now");
            Some(connector)
        });
        let connector = connector.as_ref()?;
        (!ptr::eq(connector, refused_by)).then_some(connector)
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match &self.0.roots {
            Roots::Named { variables, .. } => variables,
            Roots::System => "the system's",
        };
        write!(formatter, "Trust({what})")
    }
}

impl Roots {
    /// For the first connection: with nothing read that the library looks up by itself.
    fn connector(&self) -> Result<Connector, String> {
        match self {
            Self::Named { variables, paths } => {
                let (built_in, read) = if paths.have_the_systems() {
                    (BuiltIn::Trusted, Reading::WhatIsNotLookedUp)
                } else {
                    (BuiltIn::Ignored, Reading::Everything)
                };
                let roots = paths.certificates(read);
                let roots =
                    roots.map_err(|error| format!("{variables} cannot be used: {error}"))?;
                Connector::new(built_in, roots)
            }
            Self::System if cfg!(target_vendor = "apple") || has_hashed_directory() => {
                Connector::new(BuiltIn::Trusted, Vec::new())
            }
            Self::System => {
                let roots = bundle();
                if roots.is_empty() {
                    return Err(
                        "no certificate authorities were found on this machine, so no server can be trusted: install them \
                         (the package is called ca-certificates), or name a PEM file in AWS_CA_BUNDLE or SSL_CERT_FILE, \
                         or a directory in SSL_CERT_DIR"
                            .to_owned(),
                    );
                }
                Connector::new(BuiltIn::Trusted, roots)
            }
        }
    }

    /// With everything read, where [`Self::connector`] leaves something to the library.
    fn complete(&self) -> Option<Connector> {
        match self {
            Self::Named { paths, .. } if paths.have_the_systems() => {
                let roots = paths.certificates(Reading::Everything).ok()?;
                Connector::new(BuiltIn::Ignored, roots).ok()
            }
            Self::System if !cfg!(target_vendor = "apple") && has_hashed_directory() => {
                let roots = bundle();
                (!roots.is_empty()).then(|| Connector::new(BuiltIn::Trusted, roots).ok())?
            }
            _ => None,
        }
    }
}

/// What of the paths that somebody named is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    Everything,
    /// All but the system's own directories.
    WhatIsNotLookedUp,
}

impl Paths {
    fn add(&mut self, path: &Path) -> std::io::Result<()> {
        if fs::metadata(path)?.is_dir() {
            fs::read_dir(path)?;
            self.directories.push(path.to_owned());
        } else {
            files::check(path)?;
            self.files.push(path.to_owned());
        }
        Ok(())
    }

    fn certificates(&self, read: Reading) -> Result<Vec<Certificate>, String> {
        let mut all = Vec::new();
        for file in &self.files {
            all.append(&mut authorities::of_file(file)?);
        }
        for directory in &self.directories {
            if read == Reading::WhatIsNotLookedUp && is_the_systems(directory) {
                continue;
            }
            all.append(&mut authorities::of_directory(directory)?);
        }
        Ok(all)
    }

    /// Whether the system's own directories are named, all that there are, and names can be looked up there: then the library may do
    /// it, without trusting more than what is named.
    fn have_the_systems(&self) -> bool {
        let is_named = |directory: &Path| {
            let mut named = self.directories.iter();
            named.any(|named| is_same(named, directory))
        };
        !cfg!(target_vendor = "apple")
            && has_hashed_directory()
            && directories().all(|directory| !directory.exists() || is_named(directory))
    }
}

fn directories() -> impl Iterator<Item = &'static Path> {
    DIRECTORIES.iter().map(Path::new)
}

fn is_the_systems(directory: &Path) -> bool {
    directories().any(|other| is_same(other, directory))
}

fn is_same(one: &Path, other: &Path) -> bool {
    one == other
        || matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

fn has_hashed_directory() -> bool {
    directories().any(authorities::is_hashed)
}

/// What the system's bundle holds; nothing if there is none.
fn bundle() -> Vec<Certificate> {
    let bundles = BUNDLES.iter().map(Path::new);
    let mut found = bundles
        .filter(|path| path.exists())
        .map(authorities::of_bundle);
    found.find(|roots| !roots.is_empty()).unwrap_or_default()
}
