//! The environment, read once, and the paths in it.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::sync::Arc;

use nix::unistd::{Uid, User};

use crate::error::Error;

/// How the names of variables end whose values are paths, or lists of them: any bytes.
const PATHS: [&str; 5] = ["_FILE", "_DIR", "_DIRECTORY", "_PATH", "_BUNDLE"];
/// How the names of the others begin that decide something (section 4 of the contract): text.
const TEXTS: [&str; 2] = ["AWS_", "SSM_PLUGIN_"];
/// The variables of proxies, which are text as well.
const PROXIES: [&str; 6] = [
    "HTTPS_PROXY",
    "https_proxy",
    "ALL_PROXY",
    "all_proxy",
    "NO_PROXY",
    "no_proxy",
];

/// A snapshot of the environment's variables, which clones share: there are secrets among them. Everything that depends on a variable reads
/// it from here, so that tests can give their own.
#[derive(Clone, Default)]
pub struct Environment(Arc<HashMap<OsString, OsString>>);

impl Environment {
    /// Takes the process's variables.
    pub fn capture() -> Self {
        Self(Arc::new(std::env::vars_os().collect()))
    }

    /// Refuses what cannot be used, so that nothing is left out without a word.
    ///
    /// # Errors
    /// A variable that should be text and is not UTF-8, by its name.
    pub fn check(&self) -> Result<(), Error> {
        let is_text = |name: &str| {
            let begins = TEXTS.iter().any(|beginning| name.starts_with(beginning));
            let is_path = PATHS.iter().any(|end| name.ends_with(end));
            (begins && !is_path) || PROXIES.contains(&name)
        };
        let mut wrong: Vec<&str> = self
            .0
            .iter()
            .filter(|(_, value)| value.to_str().is_none())
            .filter_map(|(name, _)| name.to_str())
            .filter(|name| is_text(name))
            .collect();
        wrong.sort_unstable();
        match wrong.first() {
            Some(name) => Err(not_text(name)),
            None => Ok(()),
        }
    }

    /// A variable's text; one that is set but empty counts as not set, as in the AWS SDKs.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.bytes(name)?.to_str()
    }

    /// The path in a variable, with variables and `~` in it replaced.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.bytes(name).map(|path| self.expand(path))
    }

    /// The paths in a variable, separated by colons; those that are empty are left out.
    pub fn paths(&self, name: &str) -> Vec<PathBuf> {
        let list = self.bytes(name).unwrap_or_default();
        std::env::split_paths(list)
            .filter(|path| !path.as_os_str().is_empty())
            .map(|path| self.expand(path.as_os_str()))
            .collect()
    }

    /// A variable's bytes, as they are.
    pub fn bytes(&self, name: &str) -> Option<&OsStr> {
        let value = self.0.get(OsStr::new(name))?;
        (!value.is_empty()).then_some(value.as_os_str())
    }

    /// All variables, for a child.
    pub fn iter(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_os_str(), value.as_os_str()))
    }

    /// Takes a variable out, and hands its text over.
    ///
    /// # Errors
    /// When it is not UTF-8.
    pub fn take(&mut self, name: &str) -> Result<Option<String>, Error> {
        let value = Arc::make_mut(&mut self.0).remove(OsStr::new(name));
        value
            .map(|value| value.into_string().map_err(|_| not_text(name)))
            .transpose()
    }

    /// A path as botocore reads it: first variables are replaced, then a leading `~`.
    pub fn expand(&self, path: impl AsRef<OsStr>) -> PathBuf {
        self.expand_home(self.expand_variables(path.as_ref()))
    }

    /// Replaces `$NAME` and `${NAME}` where there is such a variable, as Python's `expandvars`.
    pub fn expand_variables(&self, path: &OsStr) -> OsString {
        let mut expanded = Vec::with_capacity(path.len());
        let mut rest = path.as_bytes();
        while let Some(at) = rest.iter().position(|byte| *byte == b'$') {
            let (before, after) = (&rest[..at], &rest[at + 1..]);
            let (name, length) = variable(after);
            expanded.extend_from_slice(before);
            match self.0.get(OsStr::from_bytes(name)) {
                Some(value) if length > 0 => expanded.extend_from_slice(value.as_bytes()),
                _ => expanded.extend_from_slice(&rest[at..=at + length]),
            }
            rest = &after[length..];
        }
        expanded.extend_from_slice(rest);
        OsString::from_vec(expanded)
    }

    /// Replaces a leading `~` or `~user`, as Python's `expanduser`; without `HOME` by the system's list of users.
    pub fn expand_home(&self, path: impl AsRef<OsStr>) -> PathBuf {
        let path = path.as_ref();
        let Some(rest) = path.as_bytes().strip_prefix(b"~") else {
            return path.into();
        };
        let end = rest.iter().position(|byte| *byte == b'/');
        let (user, rest) = rest.split_at(end.unwrap_or(rest.len()));
        let home = match (user, self.0.get(OsStr::new("HOME"))) {
            ([], Some(home)) => Some(home.clone()),
            ([], None) => home_of(User::from_uid(Uid::current())),
            (user, _) => std::str::from_utf8(user)
                .ok()
                .and_then(|user| home_of(User::from_name(user))),
        };
        let Some(home) = home else {
            return path.into();
        };
        let mut home = home.into_vec();
        while home.last() == Some(&b'/') {
            home.pop();
        }
        home.extend_from_slice(rest);
        if home.is_empty() {
            home.push(b'/');
        }
        OsString::from_vec(home).into()
    }
}

fn not_text(name: &str) -> Error {
    Error::Start(format!(
        "the environment variable {name} is not UTF-8 text: correct it, or unset it"
    ))
}

fn home_of(user: nix::Result<Option<User>>) -> Option<OsString> {
    user.ok()?.map(|user| user.dir.into_os_string())
}

/// The name of the variable that a path goes on with after a `$`, and how many bytes stand for it; 0 if there is none.
fn variable(after: &[u8]) -> (&[u8], usize) {
    let Some(braced) = after.strip_prefix(b"{") else {
        let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        let end = after.iter().position(|byte| !is_word(byte));
        let name = &after[..end.unwrap_or(after.len())];
        return (name, name.len());
    };
    match braced.iter().position(|byte| *byte == b'}') {
        Some(end) => (&braced[..end], end + 2),
        None => (&[], 0),
    }
}

impl FromIterator<(OsString, OsString)> for Environment {
    fn from_iter<I: IntoIterator<Item = (OsString, OsString)>>(variables: I) -> Self {
        Self(Arc::new(variables.into_iter().collect()))
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for Environment {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a str)>>(variables: I) -> Self {
        let owned = |(name, value): (&str, &str)| (name.into(), value.into());
        Self(Arc::new(variables.into_iter().map(owned).collect()))
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Environment {
    fn from(variables: [(&str, &str); N]) -> Self {
        variables.into_iter().collect()
    }
}

// By hand: values may be secrets.
impl std::fmt::Debug for Environment {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Environment({} variables)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_bytes(name: &str, value: &[u8]) -> Environment {
        let value = OsString::from_vec(value.to_vec());
        [(OsString::from(name), value)].into_iter().collect()
    }

    #[test]
    fn p86_text_that_is_none_is_refused_by_its_name_and_paths_are_any_bytes() {
        for name in [
            "AWS_PROFILE",
            "AWS_ENDPOINT_URL_SSM",
            "HTTPS_PROXY",
            "https_proxy",
            "no_proxy",
            "SSM_PLUGIN_QUIET",
        ] {
            let error = with_bytes(name, b"\xff").check().unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
        }
        for name in [
            "AWS_CA_BUNDLE",
            "AWS_CONFIG_FILE",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
            "AWS_DATA_PATH",
            "AWS_LOGIN_CACHE_DIRECTORY",
            "AWS_SHARED_CREDENTIALS_FILE",
            "AWS_WEB_IDENTITY_TOKEN_FILE",
            "SSL_CERT_DIR",
            "SSL_CERT_FILE",
            "SSM_PLUGIN_LOG_FILE",
        ] {
            let environment = with_bytes(name, b"/a/\xff");
            assert_eq!(environment.check(), Ok(()));
            let path = environment.path(name).unwrap();
            assert_eq!(path.as_os_str().as_bytes(), b"/a/\xff");
        }
        for name in ["LESSOPEN", "PATH", "HOME", "AWSOME"] {
            assert_eq!(with_bytes(name, b"\xff").check(), Ok(()), "{name}");
        }
        assert!(with_bytes("X", b"\xff").take("X").is_err());
        assert_eq!(with_bytes("X", b"x").take("X"), Ok(Some("x".to_owned())));
        assert_eq!(with_bytes("X", b"x").take("Y"), Ok(None));
    }

    #[test]
    fn lists_of_paths() {
        let environment = Environment::from([("SSL_CERT_DIR", ":/a::$B/c:"), ("B", "/b")]);
        let expected: Vec<PathBuf> = vec!["/a".into(), "/b/c".into()];
        assert_eq!(environment.paths("SSL_CERT_DIR"), expected);
        assert!(environment.paths("SSL_CERT_FILE").is_empty());
    }
}
