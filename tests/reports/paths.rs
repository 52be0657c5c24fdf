//! Variables and `~` in the paths of the environment and of the configuration (P113).

use std::fs;

use serde_json::{Value, json};
use session_manager_plugin::internals::aws::{Api, ApiOptions, Configured};
use session_manager_plugin::internals::network::Network;
use session_manager_plugin::internals::settings::Environment;

use crate::python;
use crate::support::{Io, Plugin, profile_keys, strict_sandbox};

/// What botocore takes for the region, for each of these environments.
const REGIONS: &str = r#"
import json, os, sys
import awscli, botocore.session
given = json.load(sys.stdin)
found = []
for case in given:
    os.environ.clear()
    os.environ.update(case)
    found.append(botocore.session.Session().get_config_variable('region') or '')
print(json.dumps(found))
"#;

#[test]
fn p113_paths_are_expanded_as_botocore_does() {
    let directory = tempfile::tempdir().unwrap();
    let home = directory.path();
    // The region in each file tells which file was read; some have the names that an expansion leaves as they are.
    for name in [
        ".aws/config",
        "cfg",
        "a b",
        "$NONE",
        "${}",
        "${HOME",
        "x$",
        "sub/cfg",
        "$$A",
        "~",
        "é",
        "${A B}x",
    ] {
        let path = home.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, format!("[default]\nregion={}\n", name.len())).unwrap();
    }
    let user = std::env::var("USER").unwrap_or_else(|_| "root".to_owned());
    let root = home.to_str().unwrap();
    let written = [
        "$HOME/cfg",
        "${HOME}/cfg",
        "~/cfg",
        "~/sub/../cfg",
        "~//cfg",
        "$TILDE/cfg",
        "$HOME/$NONE",
        "$HOME/${NONE}",
        "$HOME/${}",
        "$HOME/${HOME",
        "$HOME/x$",
        "$HOME/$A$B",
        "$HOME/${A}fg",
        "$HOME/$A",
        "$HOME/$$A",
        "$HOME/$Afg",
        "$HOME/a b",
        "$HOME/é",
        "$HOME/${A B}x",
        "$HOME/$NESTED",
        "$EMPTY$HOME/cfg",
        "$HOME$SLASH$A$B",
        "~",
        "~/~",
        "x~/cfg",
        "~nobody-of-this-name/cfg",
        "$HOME/none",
    ];
    let cases: Vec<Value> = written
        .iter()
        .map(|path| (*path).to_owned())
        .chain([format!("{root}/cfg"), format!("~{user}/cfg")])
        .map(|path| {
            json!({
                "HOME": root, "AWS_CONFIG_FILE": path, "AWS_EC2_METADATA_DISABLED": "true",
                "TILDE": "~", "A": "c", "B": "fg", "NESTED": "${A}fg", "EMPTY": "", "SLASH": "/",
            })
        })
        .chain([
            json!({"HOME": root}),
            json!({"HOME": format!("{root}//"), "AWS_CONFIG_FILE": "~/cfg"}),
        ])
        .collect();
    let theirs = python::run(REGIONS, &json!(cases));
    let mut found = 0;
    for (case, theirs) in cases.iter().zip(theirs.as_array().unwrap()) {
        let variables = case.as_object().unwrap().iter();
        let environment: Environment = variables
            .map(|(name, value)| (name.as_str(), value.as_str().unwrap()))
            .collect();
        let ours = region(&environment).unwrap_or_default();
        assert_eq!(ours, theirs.as_str().unwrap(), "{case}");
        found += usize::from(!ours.is_empty());
    }
    assert!(found > 15, "{found}");
}

/// The region of a client with this environment; none where there is no client.
fn region(environment: &Environment) -> Option<String> {
    let configured = Configured::load(environment, None).ok()?;
    let network = Network::new(environment, None).expect("a network");
    let client = Api::new(ApiOptions::default(), environment, &configured, network).ok()?;
    Some(client.region().to_owned())
}

#[test]
fn p113_every_path_is_expanded() {
    let sandbox = strict_sandbox();
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join("$NONE")).unwrap();
    fs::copy(sandbox.ca_file(), home.path().join("$NONE/ca.pem")).unwrap();
    let keys = format!("[p]\n{}", profile_keys(sandbox.credentials()));
    fs::write(home.path().join("keys"), keys).unwrap();
    fs::write(
        home.path().join("config"),
        "[profile p]\nca_bundle=$WHERE/$NONE/ca.pem\nregion=eu-central-1\n",
    )
    .unwrap();
    let plugin = || {
        let own = [
            "exec",
            "--profile",
            "p",
            "--target",
            "i-1",
            "--",
            "echo",
            "it works",
        ];
        Plugin::bare(own)
            .with_api(&sandbox)
            .without_keys()
            .stdin(Io::Null)
            .env("HOME", home.path())
            .env("WHERE", "~")
            .env("AWS_CONFIG_FILE", "~/config")
            .env("AWS_SHARED_CREDENTIALS_FILE", "${HOME}/keys")
    };
    for plugin in [
        plugin().without("AWS_CA_BUNDLE"),
        plugin().env("AWS_CA_BUNDLE", "$HOME/$NONE/ca.pem"),
        plugin()
            .without("AWS_CA_BUNDLE")
            .env("SSL_CERT_FILE", "~/$NONE/ca.pem"),
        plugin()
            .env("SSM_PLUGIN_LOG", "info")
            .env("SSM_PLUGIN_LOG_FILE", "~/log"),
    ] {
        let finished = plugin.run(b"");
        assert_eq!(finished.stdout, "it works\n", "{finished:?}");
    }
    assert!(home.path().join("log").exists());
}
