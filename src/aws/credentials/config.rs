//! The files `~/.aws/config` and `~/.aws/credentials`.
//!
//! Read here rather than by an INI library: none that was looked at has nested properties (`s3 =` with indented lines below), keeps
//! backslashes and quotes as they are, merges sections that come twice, and knows `[profile x]`.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::CredentialsError;
use crate::files;
use crate::sanitise;
use crate::settings::Environment;

/// A section's settings by their names in lower case, nested ones as `parent.name`. Values may be secrets.
#[derive(Clone, Default)]
pub(in crate::aws) struct Section(HashMap<String, Zeroizing<String>>);

impl Section {
    /// A setting; one that is empty counts as not set.
    pub(in crate::aws) fn get(&self, name: &str) -> Option<&str> {
        let value = self.0.get(name).map(|value| value.as_str());
        value.filter(|value| !value.is_empty())
    }
}

// By hand: values may be secrets.
impl std::fmt::Debug for Section {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_set().entries(self.0.keys()).finish()
    }
}

/// All that both files say of profiles.
#[derive(Default)]
pub(in crate::aws) struct Profiles {
    profiles: HashMap<String, Section>,
    sso_sessions: HashMap<String, Section>,
    services: HashMap<String, Section>,
    /// Which files were looked at, in words.
    places: String,
    /// Which of them may not be read, in words.
    unreadable: String,
}

impl Profiles {
    /// Reads both files; one that is not there, or not for us to read, or a directory, is as if empty. What the credentials file says goes
    /// first.
    pub(in crate::aws) fn load(environment: &Environment) -> Result<Self, CredentialsError> {
        let mut all = Self::default();
        let [config, credentials] = files_of(environment);
        for (name, section) in sections(&all.read(&config)?) {
            let (kind, rest) = name.split_once(char::is_whitespace).unwrap_or((&name, ""));
            let named = unquoted(rest.trim());
            let (target, name, goes_first) = match kind {
                "default" => (&mut all.profiles, "default", false),
                "profile" => (&mut all.profiles, named, true),
                "sso-session" => (&mut all.sso_sessions, named, true),
                "services" => (&mut all.services, named, true),
                _ => continue,
            };
            merge(target, name, section, goes_first);
        }
        for (name, section) in sections(&all.read(&credentials)?) {
            merge(&mut all.profiles, &name, section, true);
        }
        all.places = format!("{} or {}", config.display(), credentials.display());
        if !all.unreadable.is_empty() {
            all.places.push_str(&format!(" ({})", all.unreadable));
        }
        Ok(all)
    }

    fn read(&mut self, path: &Path) -> Result<Zeroizing<String>, CredentialsError> {
        let error = match files::read_text(path) {
            Ok(text) => return Ok(text),
            Err(error) => error,
        };
        let reason = || format!("{} cannot be read: {error}", path.display());
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {}
            // As in botocore: another user's file, or the directory that Docker makes where there was none to mount. It is named where
            // something is missing.
            io::ErrorKind::PermissionDenied | io::ErrorKind::IsADirectory => {
                log::warn!("{}", reason());
                if !self.unreadable.is_empty() {
                    self.unreadable.push_str(", ");
                }
                self.unreadable.push_str(&reason());
            }
            _ => return Err(CredentialsError::Failed(reason())),
        }
        Ok(Zeroizing::default())
    }

    /// Which files were looked at, in words.
    pub(super) fn places(&self) -> &str {
        &self.places
    }

    /// What to tell of a profile that is not there.
    pub(in crate::aws) fn no_such(&self, name: &str) -> String {
        format!(
            "there is no profile {} in {}: `aws configure list-profiles` shows those that are there",
            sanitise::line(name),
            self.places
        )
    }

    /// Which files may not be read, in words; empty if there are none.
    pub(super) fn unreadable(&self) -> &str {
        &self.unreadable
    }

    pub(in crate::aws) fn profile(&self, name: &str) -> Option<&Section> {
        self.profiles.get(name)
    }

    pub(super) fn sso_session(&self, name: &str) -> Option<&Section> {
        self.sso_sessions.get(name)
    }

    /// The endpoints that profiles may share.
    pub(in crate::aws) fn services(&self, name: &str) -> Option<&Section> {
        self.services.get(name)
    }
}

/// Adds a section; `goes_first` says whose value counts where both have one.
fn merge(target: &mut HashMap<String, Section>, name: &str, section: Section, goes_first: bool) {
    let known = target.entry(name.to_owned()).or_default();
    for (key, value) in section.0 {
        if goes_first {
            known.0.insert(key, value);
        } else {
            known.0.entry(key).or_insert(value);
        }
    }
}

fn unquoted(name: &str) -> &str {
    let strip = |quote| name.strip_prefix(quote)?.strip_suffix(quote);
    strip('"').or_else(|| strip('\'')).unwrap_or(name)
}

/// The configuration and the credentials file: where their variables say, else in `~/.aws`.
fn files_of(environment: &Environment) -> [PathBuf; 2] {
    let file = |variable, name| {
        let standard = || aws_directory(environment).join(name);
        environment.path(variable).unwrap_or_else(standard)
    };
    [
        file("AWS_CONFIG_FILE", "config"),
        file("AWS_SHARED_CREDENTIALS_FILE", "credentials"),
    ]
}

/// The profile that the caller named, or else the environment, if they did.
pub(in crate::aws) fn named_profile<'a>(
    environment: &'a Environment,
    named: Option<&'a str>,
) -> Option<&'a str> {
    named
        .filter(|name| !name.is_empty())
        .or_else(|| environment.get("AWS_PROFILE"))
        .or_else(|| environment.get("AWS_DEFAULT_PROFILE"))
}

/// `~/.aws`.
pub(super) fn aws_directory(environment: &Environment) -> PathBuf {
    environment.expand_home("~/.aws")
}

/// The sections of a file, in their order.
fn sections(text: &str) -> Vec<(String, Section)> {
    let mut sections: Vec<(String, Section)> = Vec::new();
    let mut parent = String::new();
    for line in text.lines() {
        let is_nested = line.starts_with([' ', '\t']);
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(header) = line.strip_prefix('[') {
            let name = header.split(']').next().unwrap_or_default().trim();
            sections.push((name.to_owned(), Section::default()));
            parent.clear();
            continue;
        }
        let (Some((_, section)), Some((name, value))) = (sections.last_mut(), line.split_once('='))
        else {
            continue;
        };
        let name = name.trim().to_ascii_lowercase();
        let name = if is_nested {
            format!("{parent}.{name}")
        } else {
            parent.clone_from(&name);
            name
        };
        let value = without_comment(value).trim();
        section.0.insert(name, Zeroizing::new(value.to_owned()));
    }
    sections
}

/// A comment within a line begins after white space.
fn without_comment(value: &str) -> &str {
    let comment = [" #", " ;", "\t#", "\t;"]
        .into_iter()
        .filter_map(|mark| value.find(mark))
        .min();
    comment.map_or(value, |at| &value[..at])
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;

    fn load(config: &str, credentials: &str) -> Profiles {
        let directory = tempfile::tempdir().unwrap();
        let aws = directory.path().join(".aws");
        fs::create_dir(&aws).unwrap();
        fs::write(aws.join("config"), config).unwrap();
        fs::write(aws.join("credentials"), credentials).unwrap();
        let home = directory.path().to_str().unwrap();
        Profiles::load(&Environment::from([("HOME", home)])).unwrap()
    }

    fn value(profiles: &Profiles, profile: &str, name: &str) -> String {
        let section = profiles.profile(profile).unwrap();
        section.get(name).unwrap_or("none").to_owned()
    }

    #[test]
    fn everything_aws_writes() {
        let profiles = load(
            "# comment\n[default]\nregion = eu-west-1 # here\n\n[profile dev]\r\nRegion=us-east-1\r\ns3 =\n  region = wrong\n  max = 1\n\
             output = json\n\
             credential_process = \"/a b/c\" --x='y' \\z\n; another\n[profile \"two words\"]\nregion = a\n\
             [sso-session corp]\nsso_region = b\n\
             [services x]\nssm =\n  endpoint_url = u\nregion = no\n[plain]\nregion = no\n",
            "[default]\naws_access_key_id = AKID\naws_secret_access_key=a/b+c=#;d\n[dev]\nregion = us-east-2\n",
        );
        assert_eq!(value(&profiles, "default", "region"), "eu-west-1");
        assert_eq!(
            value(&profiles, "default", "aws_secret_access_key"),
            "a/b+c=#;d"
        );
        // The credentials file goes first.
        assert_eq!(value(&profiles, "dev", "region"), "us-east-2");
        assert_eq!(value(&profiles, "dev", "output"), "json");
        assert_eq!(value(&profiles, "dev", "s3"), "none");
        assert_eq!(value(&profiles, "dev", "max"), "none");
        assert_eq!(value(&profiles, "dev", "s3.region"), "wrong");
        let services = profiles.services("x").unwrap();
        assert_eq!(services.get("ssm.endpoint_url"), Some("u"));
        assert_eq!(
            value(&profiles, "dev", "credential_process"),
            "\"/a b/c\" --x='y' \\z"
        );
        assert_eq!(value(&profiles, "two words", "region"), "a");
        assert_eq!(
            profiles.sso_session("corp").unwrap().get("sso_region"),
            Some("b")
        );
        assert!(profiles.profile("plain").is_none() && profiles.profile("corp").is_none());
    }

    #[test]
    fn sections_that_come_twice_are_one() {
        let profiles = load(
            "[profile a]\nx=1\ny=1\n[profile a]\ny=2\n[profile default]\nx=2\n[default]\nx=1\ny=1\n",
            "",
        );
        assert_eq!(value(&profiles, "a", "x"), "1");
        assert_eq!(value(&profiles, "a", "y"), "2");
        assert_eq!(value(&profiles, "default", "x"), "2");
        assert_eq!(value(&profiles, "default", "y"), "1");
    }

    #[test]
    fn files_elsewhere_and_nowhere() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mine");
        fs::write(&path, "[profile x]\nregion=r\n").unwrap();
        let environment = Environment::from([("AWS_CONFIG_FILE", path.to_str().unwrap())]);
        assert_eq!(
            value(&Profiles::load(&environment).unwrap(), "x", "region"),
            "r"
        );
        let home = directory.path().to_str().unwrap();
        let environment = Environment::from([("AWS_CONFIG_FILE", "~/mine"), ("HOME", home)]);
        assert_eq!(
            value(&Profiles::load(&environment).unwrap(), "x", "region"),
            "r"
        );
        let nowhere = Environment::from([("AWS_CONFIG_FILE", "/no/such/file")]);
        assert!(Profiles::load(&nowhere).unwrap().profile("x").is_none());
        let unreadable = Environment::from([("AWS_CONFIG_FILE", home)]);
        let profiles = Profiles::load(&unreadable).unwrap();
        assert!(
            profiles.unreadable().contains(home) && profiles.no_such("x").contains("directory")
        );
        let device = Environment::from([("AWS_CONFIG_FILE", "/dev/zero")]);
        assert!(Profiles::load(&device).is_err());
    }

    proptest! {
        #[test]
        fn no_file_panics(text in "(\\PC|\n|\\[|=){0,200}") {
            sections(&text);
        }
    }
}
