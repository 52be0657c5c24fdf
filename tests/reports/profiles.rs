//! Profiles that are in no file, callers that name no target, and paths with variables in them.

use std::fs;

use sandbox::{
    Check, Config, Credentials, Document, Event, Failure, KmsConfig, Sandbox, SessionConfig,
};
use serde_json::{Value, json};
use session_manager_plugin::internals::aws::{Api, ApiOptions, Configured};
use session_manager_plugin::internals::network::Network;
use session_manager_plugin::internals::settings::Environment;

use crate::python;
use crate::support::{Finished, Io, Plugin, strict_sandbox};

/// One whose gateway takes connections that are not signed.
fn without_signatures() -> Sandbox {
    let config = Config {
        upgrade_signatures: Check::IfPresent,
        ..Config::default()
    };
    Sandbox::start(config).expect("a sandbox")
}

/// How a profile is named.
const WAYS: [&str; 4] = [
    "argument 4",
    "--profile",
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
];

fn named(sandbox: &Sandbox, way: &str, profile: &str) -> Plugin {
    let own = ["exec", "--target", "i-1", "--", "echo", "it works"];
    let plugin = match way {
        "argument 4" => {
            let started = sandbox.start_session(Document::command("echo it works"));
            let plugin = Plugin::new(sandbox, &started);
            let request = r#"{"Target":"i-1"}"#;
            plugin.arguments(
                &started,
                &["{}", "eu-central-1", "StartSession", profile, request, ""],
            )
        }
        "--profile" => Plugin::bare([&["exec", "--profile", profile], &own[1..]].concat()),
        variable => Plugin::bare(own).env(variable, profile),
    };
    plugin.with_api(sandbox).stdin(Io::Null)
}

/// The lines of ours on stderr.
fn lines(finished: &Finished) -> Vec<&str> {
    let lines = finished.stderr.lines();
    lines
        .filter(|line| line.starts_with("session-manager-plugin: "))
        .collect()
}

#[test]
fn p105_a_profile_that_is_in_no_file_hides_no_credentials_of_the_environment() {
    let sandbox = strict_sandbox();
    for way in WAYS {
        for profile in ["default", "eu-west-1", "no such one"] {
            let finished = named(&sandbox, way, profile).run(b"");
            assert!(finished.stdout.contains("it works"), "{way}: {finished:?}");
            assert_eq!(finished.code(), 0, "{way}: {finished:?}");
            let lines = lines(&finished);
            assert_eq!(lines.len(), 1, "{way}: {finished:?}");
            assert!(lines[0].contains(profile), "{way}: {finished:?}");
            assert!(lines[0].contains("environment"), "{way}: {finished:?}");
        }
    }
}

#[test]
fn p105_without_credentials_the_text_names_the_profile_and_the_files() {
    let sandbox = strict_sandbox();
    let directory = tempfile::tempdir().unwrap();
    let [config, credentials] = ["config", "credentials"].map(|name| directory.path().join(name));
    fs::write(&config, "[profile other]\nregion=eu-central-1\n").unwrap();
    for way in ["--profile", "AWS_PROFILE"] {
        for profile in ["eu-west-1", "other"] {
            let finished = named(&sandbox, way, profile)
                .without_keys()
                .env("AWS_CONFIG_FILE", &config)
                .env("AWS_SHARED_CREDENTIALS_FILE", &credentials)
                .run(b"");
            assert_eq!(finished.code(), 1, "{way}: {finished:?}");
            for part in [
                profile,
                config.to_str().unwrap(),
                credentials.to_str().unwrap(),
            ] {
                assert!(finished.stderr.contains(part), "{way} {part}: {finished:?}");
            }
        }
    }
    let finished = named(&sandbox, "--profile", "default")
        .without_keys()
        .env("AWS_CONFIG_FILE", &config)
        .run(b"");
    assert!(finished.stderr.contains("profile default"), "{finished:?}");
    assert!(
        finished.stderr.contains(config.to_str().unwrap()),
        "{finished:?}"
    );
}

#[test]
fn p105_a_directory_in_place_of_a_file_is_passed_over_and_named_where_something_is_missing() {
    let sandbox = strict_sandbox();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    for way in ["argument 4", "AWS_PROFILE"] {
        let plugin = named(&sandbox, way, "").env("AWS_CONFIG_FILE", path);
        let finished = plugin.run(b"");
        assert!(finished.stdout.contains("it works"), "{way}: {finished:?}");
    }
    let finished = named(&sandbox, "AWS_PROFILE", "")
        .without_keys()
        .env("AWS_CONFIG_FILE", path)
        .run(b"");
    assert_eq!(finished.code(), 1, "{finished:?}");
    let named = finished.stderr.contains(path.to_str().unwrap());
    assert!(
        named && finished.stderr.contains("directory"),
        "{finished:?}"
    );
}

#[test]
fn p105_a_profile_that_is_in_no_file_is_the_reason_why_no_region_is_known() {
    let sandbox = strict_sandbox();
    let finished = named(&sandbox, "--profile", "eu-west-1")
        .without("AWS_REGION")
        .without("AWS_DEFAULT_REGION")
        .env("AWS_CONFIG_FILE", "/no/such/file")
        .run(b"");
    assert_eq!(finished.code(), 1, "{finished:?}");
    for part in ["eu-west-1", "/no/such/file", "region"] {
        assert!(finished.stderr.contains(part), "{part}: {finished:?}");
    }
}

#[test]
fn p105_a_profile_without_credentials_hides_none_and_one_with_them_counts() {
    let sandbox = strict_sandbox();
    let Credentials {
        access_key_id,
        secret_access_key,
        ..
    } = sandbox.credentials();
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("config");
    let text = format!(
        "[default]\nregion=eu-central-1\n[profile full]\naws_access_key_id={access_key_id}\naws_secret_access_key={secret_access_key}\n"
    );
    fs::write(&config, text).unwrap();
    for way in ["argument 4", "--profile"] {
        let plugin = named(&sandbox, way, "default").env("AWS_CONFIG_FILE", &config);
        let finished = plugin.run(b"");
        assert!(finished.stdout.contains("it works"), "{way}: {finished:?}");
        assert_eq!(lines(&finished).len(), 1, "{way}: {finished:?}");
        let finished = named(&sandbox, way, "full")
            .env("AWS_CONFIG_FILE", &config)
            .env("AWS_ACCESS_KEY_ID", "AKIAOTHER")
            .run(b"");
        assert!(finished.stdout.contains("it works"), "{way}: {finished:?}");
        assert_eq!(finished.stderr, "", "{way}: {finished:?}");
    }
}

/// A session that its agent encrypts, run by a caller that gives so many arguments; the fifth is this.
fn encrypted(sandbox: &Sandbox, count: usize, request: &str) -> (String, Plugin) {
    let mut config = SessionConfig::from(Document::Interactive {
        command: "read line; echo \"<$line>\"".to_owned(),
    });
    config.agent.kms = Some(KmsConfig::default());
    config.agent.instance_id = "mi-0fedcba9876543210".to_owned();
    let started = sandbox.start_session(config);
    let arguments = ["{}", "eu-central-1", "StartSession", "", request, ""];
    let plugin = Plugin::new(sandbox, &started)
        .with_api(sandbox)
        .arguments(&started, &arguments[..count]);
    (started.session.id().to_owned(), plugin)
}

fn described(sandbox: &Sandbox) -> Vec<Value> {
    let request = |event| match event {
        Event::Api {
            operation, request, ..
        } if operation == "ssm:DescribeSessions" => Some(request),
        _ => None,
    };
    sandbox.events().into_iter().filter_map(request).collect()
}

#[test]
fn p106_callers_that_name_no_target_have_encrypted_sessions() {
    for (count, request) in [
        (3, ""),
        (4, ""),
        (5, "{}"),
        (6, ""),
        (6, r#"{"Target":null}"#),
    ] {
        let sandbox = strict_sandbox();
        let (id, plugin) = encrypted(&sandbox, count, request);
        let finished = plugin.run(b"in secret\n");
        assert!(
            finished.stdout.contains("<in secret>"),
            "{count}: {finished:?}"
        );
        assert_eq!(finished.code(), 0, "{count}: {finished:?}");
        let expected = json!({"State": "Active", "Filters": [{"key": "SessionId", "value": id}]});
        assert_eq!(described(&sandbox), [expected]);
    }
    // Who names it is not asked about.
    let sandbox = strict_sandbox();
    let (_, plugin) = encrypted(&sandbox, 6, r#"{"Target":"mi-0fedcba9876543210"}"#);
    let finished = plugin.run(b"in secret\n");
    assert!(finished.stdout.contains("<in secret>"), "{finished:?}");
    assert_eq!(described(&sandbox), [json!(null); 0]);
}

#[test]
fn p106_where_that_is_denied_the_text_says_what_is_missing_and_which_action_helps() {
    for (count, request) in [(3, ""), (4, ""), (6, "{}")] {
        let sandbox = strict_sandbox();
        sandbox.fail_next("DescribeSessions", 1, Failure::access_denied());
        let (_, plugin) = encrypted(&sandbox, count, request);
        let finished = plugin.run(b"in secret\n");
        assert_eq!(finished.code(), 1, "{count}: {finished:?}");
        for part in ["Target", "argument 5", "ssm:DescribeSessions"] {
            assert!(
                finished.stderr.contains(part),
                "{count} {part}: {finished:?}"
            );
        }
    }
    let sandbox = strict_sandbox();
    sandbox.fail_next("GenerateDataKey", 1, Failure::access_denied());
    let (_, plugin) = encrypted(&sandbox, 3, "");
    let finished = plugin.run(b"in secret\n");
    assert_eq!(finished.code(), 1, "{finished:?}");
    assert!(
        finished.stderr.contains("kms:GenerateDataKey"),
        "{finished:?}"
    );
}

#[test]
fn p106_where_kms_cannot_be_asked_the_text_says_why() {
    let sandbox = without_signatures();
    let (_, plugin) = encrypted(&sandbox, 6, "{}");
    let name = "SSM_PLUGIN_SKIP_CLIENT_CONFIGURE";
    let finished = plugin.env(name, "true").run(b"");
    assert_eq!(finished.code(), 1, "{finished:?}");
    assert!(finished.stderr.contains(name), "{finished:?}");
}

#[test]
fn p106_the_old_refusal_is_what_is_left_without_credentials() {
    let sandbox = without_signatures();
    for (count, is_old) in [(3, true), (4, false)] {
        let mut config = SessionConfig::from(Document::Shell);
        config.agent.kms = Some(KmsConfig::default());
        let started = sandbox.start_session(config);
        let url = sandbox.api_url();
        let arguments = ["{}", "eu-central-1", "StartSession", ""];
        let plugin = Plugin::new(&sandbox, &started)
            .env("AWS_ENDPOINT_URL", url)
            .arguments(&started, &arguments[..count]);
        let finished = plugin.run(b"");
        let refusal =
            "Installed version of CLI does not support Session Manager encryption feature";
        assert_eq!(finished.code(), 1, "{count}: {finished:?}");
        assert_eq!(
            finished.stderr.contains(refusal),
            is_old,
            "{count}: {finished:?}"
        );
    }
}

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
    // Every file says where it is, also those whose names are not what was meant.
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
        // Without a region there is no client.
        let ours = region(&environment).unwrap_or_default();
        assert_eq!(ours, theirs.as_str().unwrap(), "{case}");
        found += usize::from(!ours.is_empty());
    }
    assert!(found > 15, "{found}");
}

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
    let Credentials {
        access_key_id,
        secret_access_key,
        ..
    } = sandbox.credentials();
    fs::create_dir(home.path().join("$NONE")).unwrap();
    fs::copy(sandbox.ca_file(), home.path().join("$NONE/ca.pem")).unwrap();
    fs::write(
        home.path().join("keys"),
        format!(
            "[p]\naws_access_key_id={access_key_id}\naws_secret_access_key={secret_access_key}\n"
        ),
    )
    .unwrap();
    fs::write(
        home.path().join("config"),
        "[profile p]\nca_bundle=$WHERE/$NONE/ca.pem\nregion=eu-central-1\n",
    )
    .unwrap();
    let plugin = || {
        let plugin = named(&sandbox, "--profile", "p").without_keys();
        plugin
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

/// What `aws login` leaves: a profile, and a file by SHA-256 of its session's name.
fn logged_in(plugin: &Plugin, sandbox: &Sandbox, expires: &str) {
    let keys = sandbox.credentials();
    let directory = plugin.home().join(".aws");
    let cache = directory.join("login/cache");
    fs::create_dir_all(&cache).expect("a folder");
    let session = "arn:aws:sts::111122223333:assumed-role/Admin/me";
    fs::write(
        directory.join("config"),
        format!("[profile P]\nlogin_session = {session}\n"),
    )
    .expect("a file");
    let token = json!({
        "accessToken": {
            "accessKeyId": keys.access_key_id, "secretAccessKey": keys.secret_access_key,
            "sessionToken": keys.session_token.as_deref().unwrap_or_default(), "expiresAt": expires,
        },
        "dpopKey": "geheim",
    });
    let file = "46f66c2f31010ce9cc081bfd94060fab8ad70f51b5ef005c364d71f1294360ad.json";
    fs::write(cache.join(file), token.to_string()).expect("a file");
}

#[test]
fn a_session_of_aws_login_is_used_renewed_by_the_aws_cli_and_told_when_it_is_over() {
    let (past, future) = ("2020-01-01T00:00:00Z", "2100-01-01T00:00:00Z");
    let sandbox = strict_sandbox();
    let keys = sandbox.credentials();
    let renew = format!(
        "[ \"$*\" = 'configure export-credentials --format process --profile P' ] || exit 9\n\
         echo '{}'",
        json!({
            "Version": 1, "AccessKeyId": keys.access_key_id, "SecretAccessKey": keys.secret_access_key,
            "SessionToken": keys.session_token.as_deref().unwrap_or_default(), "Expiration": future,
        })
    );
    let run = |expires: &str, aws: Option<&str>| {
        let own = [
            "exec",
            "--profile",
            "P",
            "--target",
            "i-1",
            "--",
            "echo",
            "it works",
        ];
        let mut plugin = Plugin::bare(own)
            .with_api(&sandbox)
            .without_keys()
            .stdin(Io::Null);
        logged_in(&plugin, &sandbox, expires);
        if let Some(script) = aws {
            let program = plugin.home().join("aws");
            fs::write(&program, format!("#!/bin/sh\n{script}\n")).expect("a file");
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            fs::set_permissions(&program, mode).expect("its mode");
            let path = format!("{}:/usr/bin:/bin", plugin.home().display());
            plugin = plugin.env("PATH", path);
        }
        plugin.run(b"")
    };
    for finished in [
        run(future, None),
        run(future, Some("exit 1")),
        run(past, Some(&renew)),
    ] {
        assert_eq!(
            (&*finished.stdout, finished.code()),
            ("it works\n", 0),
            "{finished:?}"
        );
        assert_eq!(finished.stderr, "");
    }
    let over = run(past, None);
    let failed = run(past, Some("printf 'Login \\033[31magain\\n' >&2; exit 255"));
    for (finished, words) in [
        (
            &over,
            "`aws configure export-credentials --profile P` renews them",
        ),
        (&failed, "exit status: 255: Login"),
    ] {
        assert_eq!(finished.code(), 1, "{finished:?}");
        assert!(
            finished.stderr.contains("run `aws login --profile P`"),
            "{finished:?}"
        );
        assert!(finished.stderr.contains(words), "{finished:?}");
        assert!(!finished.stderr.contains(['\u{1b}', '\r']), "{finished:?}");
        assert!(!format!("{finished:?}").contains("geheim"));
    }
}
