//! Other programs.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde_json::json;

use super::*;

#[test]
fn a_credential_process() {
    let user = User::new("");
    let answer = json!({
        "Version": 1, "AccessKeyId": "ASIAPROC", "SecretAccessKey": "SECRET", "SessionToken": "SECRET",
        "Expiration": in_an_hour()
    });
    user.write("answer", &answer.to_string());
    // Its own variables, no standard input, and its arguments as they were quoted.
    let script = r#"[ "$1" = "two words" ] && [ "$FROM" = snapshot ] && [ -z "$(cat)" ] && cat "$HOME/answer""#;
    let program = user.program("my process", script);
    let user = user.with("FROM", "snapshot").with("PATH", "/usr/bin:/bin");
    user.write(
        ".aws/config",
        &format!("[profile p]\ncredential_process='{program}' \"two words\"\n"),
    );
    let found = user.find(Some("p")).unwrap();
    assert_eq!(found.access_key_id, "ASIAPROC");
    assert!(found.expires.is_some());

    let error = |script: &str| {
        user.program("my process", script);
        user.error(Some("p"))
    };
    assert!(error("echo it is locked >&2; exit 3").contains("it is locked"));
    assert!(error("echo '{\"SecretAccessKey\": \"SECRET'").contains("printed no credentials"));
    assert!(
        error("echo '{\"Version\":2,\"AccessKeyId\":\"a\",\"SecretAccessKey\":\"SECRET\"}'")
            .contains("unknown version")
    );
    let old = "echo '{\"Version\":1,\"AccessKeyId\":\"a\",\"SecretAccessKey\":\"SECRET\",\"Expiration\":\"2020-01-01T00:00:00Z\"}'";
    assert!(error(old).contains("have expired"));
    assert!(error("yes SECRET").contains("prints too much"));
    user.write(
        ".aws/config",
        "[profile p]\ncredential_process=/no/such/program\n",
    );
    assert!(user.error(Some("p")).contains("cannot be run"));
    user.write(".aws/config", "[profile p]\ncredential_process='open\n");
    assert!(user.error(Some("p")).contains("quotes"));
}

#[test]
fn p26_a_credential_process_that_hangs_is_stopped() {
    let user = User::new("").with("PATH", "/usr/bin:/bin");
    let program = user.program("hang", "echo $$ > \"$HOME/pid\"; exec sleep 1000");
    user.write(
        ".aws/config",
        &format!("[profile p]\ncredential_process={program}\n"),
    );
    let error = call(
        Chain::look,
        &user.chain(Some("p")),
        &Limit::within(Duration::from_millis(500)),
    )
    .unwrap_err();
    assert!(error.to_string().contains("took too long"), "{error}");
    if let Ok(pid) = fs::read_to_string(user.path("pid")) {
        assert!(!PathBuf::from(format!("/proc/{}", pid.trim())).exists());
    }
}

#[test]
fn p26_a_process_that_leaves_another_behind_is_not_waited_for() {
    let user = User::new("").with("PATH", "/usr/bin:/bin");
    let answer = r#"{"Version":1,"AccessKeyId":"ASIAPROC","SecretAccessKey":"SECRET"}"#;
    for pipes in ["", "2>/dev/null", ">/dev/null"] {
        let script = format!("sleep 20 {pipes} & echo '{answer}'");
        let program = user.program("leaves", &script);
        user.write(
            ".aws/config",
            &format!("[profile p]\ncredential_process={program}\n"),
        );
        let limit = Limit::within(Duration::from_secs(10));
        let found = call(Chain::look, &user.chain(Some("p")), &limit);
        assert_eq!(key(found), "ASIAPROC", "{pipes}");
    }
}

#[test]
fn a_process_that_says_much_on_stderr_is_heard_and_bounded() {
    let user = User::new("").with("PATH", "/usr/bin:/bin");
    let answer = r#"{"Version":1,"AccessKeyId":"ASIAPROC","SecretAccessKey":"SECRET"}"#;
    let find = |script: &str| {
        let program = user.program("talks", script);
        user.write(
            ".aws/config",
            &format!("[profile p]\ncredential_process={program}\n"),
        );
        let limit = Limit::within(Duration::from_secs(10));
        call(Chain::look, &user.chain(Some("p")), &limit)
    };
    let much = "head -c 3000000 /dev/zero | tr '\\0' x >&2";
    assert_eq!(key(find(&format!("{much}; echo '{answer}'"))), "ASIAPROC");
    assert_eq!(
        key(find(&format!("echo '{answer}'; exec >&-; {much}"))),
        "ASIAPROC"
    );
    let error = find(&format!("{much}; exit 3")).unwrap_err().to_string();
    assert!(error.contains("exit status: 3: xxx"), "{error}");
    assert!(error.len() < 1000, "{error}");
    let error = find("kill -9 $$").unwrap_err().to_string();
    assert!(error.ends_with("signal: 9 (SIGKILL)"), "{error}");
}

#[test]
fn the_aws_cli_is_the_last_resort() {
    let user = User::new("[profile p]\nsource_of_the_future=x\n");
    let answer = r#"{"Version":1,"AccessKeyId":"ASIACLI","SecretAccessKey":"SECRET"}"#;
    user.program(
        "bin/aws",
        &format!("echo \"$@\" > \"$HOME/arguments\"; echo '{answer}'"),
    );
    let path = format!("/no/such/directory:{}", user.path("bin").to_str().unwrap());
    let user = user.with("PATH", &path);
    assert_eq!(key(user.find(Some("p"))), "ASIACLI");
    let arguments = || fs::read_to_string(user.path("arguments")).unwrap();
    assert_eq!(
        arguments(),
        "configure export-credentials --format process --profile p\n"
    );
    user.write("arguments", "");
    assert_eq!(user.find(None).unwrap_err(), CredentialsError::NotFound);
    assert_eq!(arguments(), "");
    user.program("bin/aws", "exit 255");
    assert!(user.error(Some("p")).contains("the profile p in "));
}

#[test]
fn p22_credentials_are_kept_while_they_last_and_fresh_when_asked_for() {
    let user = User::new("").with("PATH", "/usr/bin:/bin");
    let script = |left: u64| {
        let expires =
            humantime::format_rfc3339_seconds(SystemTime::now() + Duration::from_secs(left));
        let json = format!(
            r#"{{"Version":1,"AccessKeyId":"RUN'$(wc -c < "$HOME/runs")'","SecretAccessKey":"s","Expiration":"{expires}"}}"#
        );
        format!("printf x >> \"$HOME/runs\"; printf '%s' '{json}' | tr -d ' '")
    };
    let program = user.program("counter", &script(3600));
    user.write(
        ".aws/config",
        &format!("[default]\ncredential_process={program}\n"),
    );
    let chain = user.chain(None);
    assert_eq!(key(get(&chain)), "RUN1");
    assert_eq!(key(get(&chain)), "RUN1");
    assert_eq!(key(refresh(&chain)), "RUN2");
    assert_eq!(key(get(&chain)), "RUN2");
    // Those that end within minutes are replaced before they do.
    user.program("counter", &script(120));
    assert_eq!(key(refresh(&chain)), "RUN3");
    assert_eq!(key(get(&chain)), "RUN4");
    // What cannot be refreshed is used as long as it lasts.
    user.program("counter", "exit 1");
    assert_eq!(key(refresh(&chain)), "RUN4");
}
