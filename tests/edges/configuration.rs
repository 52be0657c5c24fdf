//! Variables and files that are not what they should be.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use sandbox::{Document, Sandbox};

use crate::support::{Finished, Io, Plugin, process_answer, profile_keys, strict_sandbox};
use crate::usage::watch;

/// A call as the AWS CLI makes it.
fn called(sandbox: &Sandbox) -> Plugin {
    let started = sandbox.start_session(Document::command("echo it works"));
    Plugin::new(sandbox, &started)
        .with_api(sandbox)
        .stdin(Io::Null)
}

/// Our own `exec`; its credentials are those of the files that a test names.
fn exec(sandbox: &Sandbox) -> Plugin {
    Plugin::bare(["exec", "--target", "i-1", "--", "echo", "it works"])
        .with_api(sandbox)
        .stdin(Io::Null)
}

fn bytes(text: &[u8]) -> OsString {
    OsStr::from_bytes(text).to_owned()
}

#[test]
fn p86_a_variable_that_is_not_text_is_an_error_that_names_it() {
    let sandbox = strict_sandbox();
    for name in [
        "AWS_PROFILE",
        "AWS_ENDPOINT_URL_SSM",
        "AWS_USE_FIPS_ENDPOINT",
        "AWS_SESSION_TOKEN",
        "HTTPS_PROXY",
        "all_proxy",
        "NO_PROXY",
        "SSM_PLUGIN_QUIET",
        "SSM_PLUGIN_STREAM_ENDPOINT",
    ] {
        for plugin in [called(&sandbox), exec(&sandbox)] {
            let finished = plugin.env(name, bytes(b"a\xffb")).run(b"");
            assert_eq!(finished.code(), 1, "{name}: {finished:?}");
            assert!(finished.stderr.contains(name), "{name}: {finished:?}");
        }
    }
    let response = called(&sandbox).env("AWS_SSM_START_SESSION_RESPONSE", bytes(b"{\xff}"));
    let finished = response.run(b"");
    assert_eq!(finished.code(), 1, "{finished:?}");
    assert!(finished.stderr.contains("not UTF-8"), "{finished:?}");
}

#[test]
fn p86_what_decides_nothing_may_be_any_bytes() {
    let sandbox = strict_sandbox();
    let finished = called(&sandbox)
        .env("LESSOPEN", bytes(b"\xff"))
        .env("PATH", bytes(b"/usr/bin:/bin:/\xff"))
        .run(b"");
    assert!(finished.stdout.contains("it works"), "{finished:?}");
    let finished = Plugin::bare(["--version"])
        .env("AWS_PROFILE", bytes(b"\xff"))
        .run(b"");
    assert_eq!(finished.code(), 0, "{finished:?}");
}

#[test]
fn p86_other_programs_get_every_variable_as_it_is() {
    let sandbox = strict_sandbox();
    let home = tempfile::tempdir().unwrap();
    let answer = process_answer(sandbox.credentials());
    fs::write(home.path().join("answer"), answer).unwrap();
    fs::write(
        home.path().join("config"),
        "[profile p]\ncredential_process=sh -c 'printf %s \"$ODD\" > ~/odd; cat ~/answer'\n",
    )
    .unwrap();
    let finished = exec(&sandbox)
        .without_keys()
        .env("HOME", home.path())
        .env("AWS_CONFIG_FILE", "~/config")
        .env("AWS_PROFILE", "p")
        .env("ODD", bytes(b"a\xffb"))
        .run(b"");
    assert_eq!(finished.stdout, "it works\n", "{finished:?}");
    assert_eq!(fs::read(home.path().join("odd")).unwrap(), b"a\xffb");
}

#[test]
fn p86_a_path_may_be_any_bytes() {
    let sandbox = strict_sandbox();
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join(OsStr::from_bytes(b"caf\xe9"));
    fs::create_dir(&directory).unwrap();
    fs::copy(sandbox.ca_file(), directory.join("ca.pem")).unwrap();
    let keys = format!("[default]\n{}", profile_keys(sandbox.credentials()));
    fs::write(directory.join("credentials"), &keys).unwrap();
    fs::write(directory.join("config"), &keys).unwrap();
    let plugin = |name, file: &str| {
        exec(&sandbox)
            .without_keys()
            .env(name, directory.join(file).into_os_string())
    };
    for plugin in [
        plugin("AWS_SHARED_CREDENTIALS_FILE", "credentials"),
        plugin("AWS_CONFIG_FILE", "config"),
        plugin("AWS_SHARED_CREDENTIALS_FILE", "credentials")
            .env("AWS_CA_BUNDLE", directory.join("ca.pem").into_os_string()),
        plugin("AWS_SHARED_CREDENTIALS_FILE", "credentials")
            .without("AWS_CA_BUNDLE")
            .env("SSL_CERT_FILE", directory.join("ca.pem").into_os_string()),
        plugin("AWS_SHARED_CREDENTIALS_FILE", "credentials")
            .env("SSM_PLUGIN_LOG", "info")
            .env(
                "SSM_PLUGIN_LOG_FILE",
                directory.join("log").into_os_string(),
            ),
    ] {
        let finished = plugin.run(b"");
        assert_eq!(finished.stdout, "it works\n", "{finished:?}");
    }
    assert!(directory.join("log").exists());
    fs::create_dir(directory.join(".aws")).unwrap();
    fs::write(directory.join(".aws/credentials"), &keys).unwrap();
    let finished = exec(&sandbox)
        .without_keys()
        .env("HOME", directory.clone().into_os_string())
        .run(b"");
    assert_eq!(finished.stdout, "it works\n", "{finished:?}");
    // Nothing is dropped: a bundle that is not there is an error also where its name is no text.
    let finished = exec(&sandbox)
        .env("AWS_CA_BUNDLE", directory.join("none").into_os_string())
        .run(b"");
    assert_eq!(finished.code(), 1, "{finished:?}");
    assert!(finished.stderr.contains("AWS_CA_BUNDLE"), "{finished:?}");
}

/// What should be a file, and is not one that can be read: its path.
fn not_files(directory: &Path) -> Vec<PathBuf> {
    let fifo = directory.join("fifo");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let large = directory.join("large");
    fs::write(&large, vec![b'#'; 4 * 1024 * 1024 + 1]).unwrap();
    let socket = directory.join("socket");
    drop(UnixListener::bind(&socket).unwrap());
    vec![fifo, "/dev/zero".into(), large, socket]
}

/// Runs a program to its end: it must not wait itself, nor use much memory.
fn finish(what: &str, plugin: Plugin) -> Finished {
    let begin = Instant::now();
    let plugin = plugin.spawn();
    watch(&plugin);
    assert!(begin.elapsed() < Duration::from_secs(20), "{what}");
    plugin.finish()
}

fn assert_refused(what: &str, path: &Path, finished: &Finished) {
    assert_eq!(finished.code(), 1, "{what}: {finished:?}");
    let path = path.to_str().unwrap();
    assert!(finished.stderr.contains(path), "{what}: {finished:?}");
}

#[test]
fn p99_what_is_no_regular_file_is_an_error_that_names_it() {
    let sandbox = strict_sandbox();
    let directory = tempfile::tempdir().unwrap();
    for path in not_files(directory.path()) {
        for name in [
            "AWS_CONFIG_FILE",
            "AWS_SHARED_CREDENTIALS_FILE",
            "AWS_WEB_IDENTITY_TOKEN_FILE",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
            "AWS_CA_BUNDLE",
            "SSL_CERT_FILE",
        ] {
            let mut plugin = exec(&sandbox).env(name, path.as_os_str());
            plugin = match name {
                "AWS_CA_BUNDLE" => plugin,
                "SSL_CERT_FILE" => plugin.without("AWS_CA_BUNDLE"),
                _ => plugin
                    .without_keys()
                    .env("AWS_ROLE_ARN", "arn:aws:iam::111122223333:role/x")
                    .env(
                        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
                        format!(
                            "{}{}",
                            sandbox.api_url(),
                            "/container-credentials-with-token"
                        ),
                    ),
            };
            let what = format!("{name}={}", path.display());
            assert_refused(&what, &path, &finish(&what, plugin));
        }
        // A call by the contract.
        let plugin = called(&sandbox).env("AWS_CONFIG_FILE", path.as_os_str());
        assert_refused("a call", &path, &finish("a call", plugin));
    }
}

#[test]
fn p99_what_stands_in_a_cache_or_a_profile_is_no_exception() {
    let sandbox = strict_sandbox();
    let sso = "[profile p]\nsso_session=corp\nsso_account_id=111122223333\nsso_role_name=Ops\n\
               [sso-session corp]\nsso_region=eu-central-1\nsso_start_url=https://corp.example/start\n";
    // SHA-1 of `corp`.
    let sso_cache = "sso/cache/ee0bfd2552fbd840c02cc48b6e823320543c450f.json";
    let role = "[profile p]\nrole_arn=arn:aws:iam::111122223333:role/x\n";
    // SHA-1 of what botocore calls AssumeRole with.
    let role_cache = "cli/cache/c4eb3987939760ba7cf40bd838ea7eaeee8665bf.json";
    for (config, file) in [
        (sso.to_owned(), sso_cache),
        (
            format!("{role}source_profile=p\nmfa_serial=arn:aws:iam::111122223333:mfa/me\n"),
            role_cache,
        ),
        (
            format!("{role}web_identity_token_file=~/.aws/token\n"),
            "token",
        ),
        (
            format!("{sso}ca_bundle=x\n")
                .replace("[sso-session", "ca_bundle=~/.aws/ca\n[sso-session"),
            "ca",
        ),
    ] {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join(".aws").join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(home.path().join(".aws/config"), config).unwrap();
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let plugin = exec(&sandbox)
            .without_keys()
            .env("HOME", home.path())
            .env("AWS_PROFILE", "p");
        let plugin = if file == "ca" {
            plugin.without("AWS_CA_BUNDLE")
        } else {
            plugin
        };
        assert_refused(file, &path, &finish(file, plugin));
    }
}

#[test]
fn p99_dev_null_is_no_configuration() {
    let sandbox = strict_sandbox();
    for plugin in [called(&sandbox), exec(&sandbox)] {
        let finished = plugin
            .env("AWS_CONFIG_FILE", "/dev/null")
            .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
            .run(b"");
        assert!(finished.stdout.contains("it works"), "{finished:?}");
        assert_eq!(finished.stderr, "", "{finished:?}");
    }
}

#[test]
fn p99_parameters_are_read_from_files_only() {
    let sandbox = strict_sandbox();
    let directory = tempfile::tempdir().unwrap();
    for path in not_files(directory.path()) {
        let file = format!("file://{}", path.display());
        let plugin = Plugin::bare(["start-session", "--target", "i-1", "--parameters", &file])
            .with_api(&sandbox);
        let finished = finish(&file, plugin);
        assert_eq!(finished.code(), 2, "{finished:?}");
        assert!(finished.stderr.contains(&file), "{finished:?}");
    }
}
