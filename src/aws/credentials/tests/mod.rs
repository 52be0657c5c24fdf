//! Every source once, and what goes wrong with it.

mod login;
mod machine;
mod process;
mod roles;
mod sso;
mod trouble;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tempfile::TempDir;

use super::chain::Chain;
use super::sts::sha1_hex;
use super::*;
use crate::aws::call::{ATTEMPTS, ApiCaller};
use crate::aws::clock::Clock;
use crate::aws::configured::Configured;
use crate::aws::endpoint::Endpoints;
use crate::network::{Limit, Network};
use crate::remarks::Remarks;
use crate::settings::Environment;

type Result<T = Arc<Credentials>> = std::result::Result<T, CredentialsError>;

/// A user with a home of its own, on a machine without metadata.
struct User {
    home: TempDir,
    variables: Vec<(String, String)>,
}

impl User {
    fn new(config: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let user = Self {
            variables: vec![
                ("HOME".to_owned(), home.path().to_str().unwrap().to_owned()),
                ("AWS_EC2_METADATA_DISABLED".to_owned(), "true".to_owned()),
            ],
            home,
        };
        user.write(".aws/config", config);
        user
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.retain(|(known, _)| known != name);
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A program in the user's home.
    fn program(&self, name: &str, script: &str) -> String {
        self.write(name, &format!("#!/bin/sh\n{script}\n"));
        let path = self.path(name);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn environment(&self) -> Environment {
        self.variables
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect()
    }

    fn chain(&self, profile: Option<&str>) -> Chain {
        let environment = self.environment();
        let endpoints = Endpoints::new(&environment, &Configured::default(), None, None, None);
        Chain::new(
            &environment,
            profile.map(str::to_owned),
            endpoints,
            Remarks::default(),
        )
    }

    fn find(&self, profile: Option<&str>) -> Result {
        refresh(&self.chain(profile))
    }

    fn error(&self, profile: Option<&str>) -> String {
        let text = self.find(profile).unwrap_err().to_string();
        let shown = text.replace("AWS_SECRET_ACCESS_KEY", "");
        assert!(!shown.contains("SECRET"), "{shown}");
        text
    }
}

fn call(
    of: impl Fn(&Chain, &str, ApiCaller<'_>, &Limit) -> Result,
    chain: &Chain,
    limit: &Limit,
) -> Result {
    let network = Network::new(&Environment::default(), None).unwrap();
    let clock = Clock::default();
    let caller = ApiCaller {
        network: &network,
        clock: &clock,
        attempts: ATTEMPTS,
    };
    of(chain, "eu-west-1", caller, limit)
}

fn refresh(chain: &Chain) -> Result {
    call(Chain::look, chain, &Limit::within(Duration::from_secs(30)))
}

fn get(chain: &Chain) -> Result {
    call(
        |chain, region, caller, limit| chain.get(false, region, caller, limit),
        chain,
        &Limit::within(Duration::from_secs(30)),
    )
}

fn key(found: Result) -> String {
    found.unwrap().access_key_id.clone()
}

fn in_an_hour() -> String {
    let time = SystemTime::now() + Duration::from_secs(3600);
    humantime::format_rfc3339_seconds(time).to_string()
}

const KEYS: &str = "aws_access_key_id=AKIDFILE\naws_secret_access_key=SECRETfile\n";

#[test]
fn variables_go_first_unless_a_profile_is_named() {
    let config = format!(
        "[default]\n{KEYS}[profile other]\naws_access_key_id=OTHER\naws_secret_access_key=SECRET\n"
    );
    let user = User::new(&config)
        .with("AWS_ACCESS_KEY_ID", "AKIDENV")
        .with("AWS_SECRET_ACCESS_KEY", "SECRETenv")
        .with("AWS_SESSION_TOKEN", "SECRETtoken")
        .with("AWS_PROFILE", "other");
    let found = user.find(None).unwrap();
    assert_eq!(found.access_key_id, "AKIDENV");
    assert_eq!(
        found.session_token.as_ref().unwrap().expose(),
        "SECRETtoken"
    );
    assert_eq!(key(user.find(Some("default"))), "AKIDFILE");
    assert_eq!(key(user.find(Some(""))), "AKIDENV");
    let user = user
        .with("AWS_ACCESS_KEY_ID", "")
        .with("AWS_SECRET_ACCESS_KEY", "");
    assert_eq!(key(user.find(None)), "OTHER");
    let user = user.with("AWS_ACCESS_KEY_ID", "AKIDENV");
    assert!(user.error(None).contains("AWS_SECRET_ACCESS_KEY is not"));
}

#[test]
fn a_profile_that_is_named_and_not_there_is_told() {
    let user = User::new(&format!("[default]\n{KEYS}"));
    assert!(user.error(Some("dev")).contains("there is no profile dev"));
    let user = user.with("AWS_PROFILE", "prod");
    assert!(user.error(None).contains("there is no profile prod"));
}

#[test]
fn p26_nothing_anywhere_is_told_at_once() {
    let user = User::new("");
    let begin = Instant::now();
    assert_eq!(user.find(None).unwrap_err(), CredentialsError::NotFound);
    assert!(begin.elapsed() < Duration::from_secs(2));
    assert!(user.error(None).contains("AWS_PROFILE"));
    let half = User::new("[default]\naws_access_key_id=AKID\n");
    assert!(half.error(None).contains("only one of"));
}

#[test]
fn the_region_of_the_environment_or_the_profile() {
    let user = User::new("[default]\nregion=a\n[profile p]\nregion=b\n");
    assert_eq!(user.chain(None).region().as_deref(), Some("a"));
    assert_eq!(user.chain(Some("p")).region().as_deref(), Some("b"));
    let user = user.with("AWS_DEFAULT_REGION", "c");
    assert_eq!(user.chain(Some("p")).region().as_deref(), Some("c"));
    let user = user.with("AWS_REGION", "d");
    assert_eq!(user.chain(Some("p")).region().as_deref(), Some("d"));
}

#[test]
fn p48_no_secret_in_debug_output() {
    let user = User::new(&format!("[default]\n{KEYS}"));
    let found = user.find(None).unwrap();
    let shown = format!("{found:?} {:?}", user.environment());
    assert!(!shown.contains("SECRET"), "{shown}");
}

#[test]
fn p26_that_there_are_none_is_remembered_until_a_resume() {
    let user = User::new("");
    let chain = user.chain(None);
    assert_eq!(get(&chain).unwrap_err(), CredentialsError::NotFound);
    user.write(".aws/credentials", &format!("[default]\n{KEYS}"));
    assert_eq!(get(&chain).unwrap_err(), CredentialsError::NotFound);
    assert_eq!(key(refresh(&chain)), "AKIDFILE");
    assert_eq!(key(get(&chain)), "AKIDFILE");
}
