//! Which certificate authorities are trusted.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::connect::ConnectError;
use super::limit::Limit;
use super::stream::Stream;
use super::tls::Connector;
use crate::error::Error;
use crate::settings::Environment;

/// The roots that certificates must lead to. There is no way to do without.
///
/// Cheap to clone; the roots are read once, when TLS is first needed.
#[derive(Clone)]
pub struct Trust(Arc<Shared>);

struct Shared {
    roots: Roots,
    connector: OnceLock<Connector>,
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

/// Files to read now, and directories in which OpenSSL looks names up by their hash when it needs one.
#[derive(Default)]
struct Paths {
    files: Vec<PathBuf>,
    hashed_directories: Vec<PathBuf>,
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
        Ok(Self(Arc::new(Shared {
            roots,
            connector: OnceLock::new(),
        })))
    }

    /// Speaks TLS (1.2 or later) with `host` over a stream.
    ///
    /// # Errors
    /// No roots, a certificate that does not lead to one or is not for `host`, or a failure of the connection.
    pub fn handshake(
        &self,
        host: &str,
        stream: Stream,
        limit: &Limit,
    ) -> Result<Stream, ConnectError> {
        let connector = match self.0.connector.get() {
            Some(connector) => connector,
            None => {
                let connector = self.0.roots.connector().map_err(ConnectError::Trust)?;
                // Two threads may come here at once: one of their connectors is kept, both are good.
                self.0.connector.get_or_init(|| connector)
            }
        };
        connector.handshake(host, stream, limit)
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
    fn connector(&self) -> Result<Connector, String> {
        let build = |paths: &Paths| {
            Connector::new(
                paths.files.iter().map(PathBuf::as_path),
                paths.hashed_directories.iter().map(PathBuf::as_path),
            )
        };
        match self {
            Self::Named { variables, paths } => {
                if paths.is_empty() {
                    return Err(format!("there is no certificate in what {variables} names"));
                }
                build(paths).map_err(|error| format!("{variables} cannot be used: {error}"))
            }
            Self::System => build(&system_paths()?),
        }
    }
}

impl Paths {
    fn is_empty(&self) -> bool {
        self.files.is_empty() && self.hashed_directories.is_empty()
    }

    fn add(&mut self, path: &Path) -> std::io::Result<()> {
        if !fs::metadata(path)?.is_dir() {
            fs::File::open(path)?;
            self.files.push(path.to_owned());
        } else if cfg!(not(target_vendor = "apple")) && is_hashed(path) {
            self.hashed_directories.push(path.to_owned());
        } else {
            let entries = fs::read_dir(path)?.filter_map(Result::ok);
            let files = entries.map(|entry| entry.path()).filter(|path| {
                let ending = path.extension().and_then(|ending| ending.to_str());
                ending.is_some_and(|ending| ["pem", "crt", "cer"].contains(&ending))
            });
            self.files.extend(files);
        }
        Ok(())
    }
}

/// Whether a directory has entries such as `5443e9e3.0`: names that OpenSSL finds by themselves.
fn is_hashed(directory: &Path) -> bool {
    let is_hash = |name: &str| {
        let parts = name.split_once('.');
        parts.is_some_and(|(hash, number)| {
            hash.len() == 8
                && hash.bytes().all(|byte| byte.is_ascii_hexdigit())
                && number.parse::<u8>().is_ok()
        })
    };
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .into_iter()
        .any(|entry| entry.file_name().to_str().is_some_and(is_hash))
}

/// On Apple's systems the library itself knows the roots.
#[cfg(target_vendor = "apple")]
fn system_paths() -> Result<Paths, String> {
    Ok(Paths::default())
}

/// A hashed directory if there is one, as only what is needed is read from it; else a bundle.
#[cfg(not(target_vendor = "apple"))]
fn system_paths() -> Result<Paths, String> {
    let mut paths = Paths::default();
    let mut directories = openssl_probe::candidate_cert_dirs();
    if let Some(directory) = directories.find(|directory| is_hashed(directory)) {
        paths.hashed_directories.push(directory.to_owned());
    } else if let Some(file) = openssl_probe::probe().cert_file {
        paths.files.push(file);
    }
    if paths.is_empty() {
        return Err(
            "no certificate authorities were found on this machine, so no server can be trusted: install them \
             (the package is called ca-certificates), or name a PEM file in AWS_CA_BUNDLE or SSL_CERT_FILE, \
             or a directory in SSL_CERT_DIR"
                .to_owned(),
        );
    }
    Ok(paths)
}
