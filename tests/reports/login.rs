//! Sessions of `aws login`.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use sandbox::Sandbox;
use serde_json::json;

use crate::support::{Io, Plugin, strict_sandbox};

/// Puts into the home what `aws login` leaves there: a profile, and a file that is named by SHA-256 of the session's name.
fn log_in(plugin: &Plugin, sandbox: &Sandbox, expires: &str) {
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
        log_in(&plugin, &sandbox, expires);
        if let Some(script) = aws {
            let program = plugin.home().join("aws");
            fs::write(&program, format!("#!/bin/sh\n{script}\n")).expect("a file");
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("its mode");
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
