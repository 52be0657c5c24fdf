//! The real AWS CLI beside `doctor`, on the same broken set-ups: its `start-session`, with the built program as its plugin, and a step of
//! ours tell the same error.

use sandbox::TargetState;

use super::*;
use crate::support::aws_cli::{self, service_error};

/// What the AWS CLI says to a call, in a set-up that `doctor` is to find wrong.
fn aws_at(
    sandbox: &Sandbox,
    url: &str,
    call: &str,
    change: impl FnOnce(Plugin) -> Plugin,
) -> Finished {
    let plugin = Plugin::bare([""; 0])
        .with_api(sandbox)
        .without("AWS_ENDPOINT_URL")
        .env("AWS_CA_BUNDLE", sandbox.ca_file())
        .env("AWS_MAX_ATTEMPTS", "1")
        .env("PATH", aws_cli::path())
        .before(&format!(
            "exec '{}' {call} --endpoint-url '{url}'",
            aws_cli::aws().display()
        ))
        .stdin(Io::Null);
    let finished = change(plugin).run(b"");
    assert_ne!(finished.code(), 0, "{finished:?}");
    finished
}

/// What it says to `ssm start-session` with this target.
fn aws(sandbox: &Sandbox, target: &str, change: impl FnOnce(Plugin) -> Plugin) -> Finished {
    let call = format!("ssm start-session --target {target}");
    aws_at(sandbox, &sandbox.api_url(), &call, change)
}

/// Asserts that a step tells what the AWS CLI does.
fn assert_same(sandbox: &Sandbox, target: &str, step: &str, change: impl Fn(Plugin) -> Plugin) {
    let theirs = aws(sandbox, target, &change);
    let (code, words) = service_error(&theirs);
    let ours = change(plugin(sandbox, &["--json", "--target", target]));
    expect(ours, 1, step, "problem", &[code, words]);
}

#[test]
fn a_target_that_is_offline_unknown_or_denied() {
    let sandbox = sandbox();
    let (id, same) = ("i-00000000000000001", |plugin| plugin);
    sandbox.change_target(id, |target| target.state = TargetState::ConnectionLost);
    assert_same(&sandbox, id, "session", same);
    sandbox.change_target(id, |target| {
        target.state = TargetState::Online;
        target.is_denied = true;
    });
    assert_same(&sandbox, id, "session", same);
    assert_same(&sandbox, "i-0123456789abcdef9", "session", same);
}

/// Who somebody is, is asked by STS, whose codes for the same trouble are not those of Systems Manager.
fn assert_same_identity(sandbox: &Sandbox, fail: &dyn Fn(), change: impl Fn(Plugin) -> Plugin) {
    let theirs = |call| {
        fail();
        aws_at(sandbox, &sandbox.api_url(), call, &change)
    };
    let of_ssm = theirs("ssm start-session --target i-00000000000000001");
    let of_sts = theirs("sts get-caller-identity");
    let (code, words) = service_error(&of_sts);
    assert_eq!(service_error(&of_ssm).1, words);
    fail();
    let ours = change(plugin(sandbox, &["--json"]));
    expect(ours, 1, "identity", "problem", &[code, words]);
}

#[test]
fn credentials_that_are_over_wrong_or_of_nobody() {
    for code in ["ExpiredTokenException", "UnrecognizedClientException"] {
        let sandbox = sandbox();
        let fail = || {
            for operation in ["StartSession", "GetCallerIdentity"] {
                let words = format!("Not good any more: {code}");
                sandbox.fail_next(operation, 1, Failure::error(400, code, &words));
            }
        };
        assert_same_identity(&sandbox, &fail, |plugin| plugin);
    }
    // The sandbox knows the key and not the secret, or not the key.
    let sandbox = sandbox();
    for variable in ["AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"] {
        assert_same_identity(&sandbox, &|| (), |plugin| plugin.env(variable, "AKIAOTHER"));
    }
}

#[test]
fn no_credentials_no_region_and_a_profile_that_is_not_there() {
    let sandbox = sandbox();
    let id = "i-00000000000000001";
    let theirs = aws(&sandbox, id, Plugin::without_keys);
    assert!(
        theirs.stderr.contains("Unable to locate credentials"),
        "{theirs:?}"
    );
    let ours = plugin(&sandbox, &["--json", "--target", id]).without_keys();
    expect(
        ours,
        1,
        "credentials",
        "problem",
        &["no AWS credentials were found", "aws configure"],
    );

    let nowhere = |plugin: Plugin| plugin.without("AWS_REGION").without("AWS_DEFAULT_REGION");
    let theirs = aws(&sandbox, id, nowhere);
    assert!(
        theirs.stderr.contains("You must specify a region"),
        "{theirs:?}"
    );
    expect(
        nowhere(plugin(&sandbox, &["--json"])),
        1,
        "region",
        "problem",
        &["no region"],
    );

    let gone = |plugin: Plugin| plugin.env("AWS_PROFILE", "gone").without_keys();
    let theirs = aws(&sandbox, id, gone);
    assert!(
        theirs.stderr.contains("profile (gone) could not be found"),
        "{theirs:?}"
    );
    expect(
        gone(plugin(&sandbox, &["--json"])),
        1,
        "files",
        "problem",
        &["gone", "profile"],
    );
}

#[test]
fn a_file_that_cannot_be_read_and_an_endpoint_that_nobody_listens_on() {
    let sandbox = sandbox();
    let id = "i-00000000000000001";
    let place = format!("127.0.0.1:{}", free_port());
    let url = format!("https://{place}");
    let call = format!("ssm start-session --target {id}");
    let theirs = aws_at(&sandbox, &url, &call, |plugin| plugin);
    assert!(theirs.stderr.contains(&place), "{theirs:?}");
    let ours = plugin(&sandbox, &["--json"]).env("AWS_ENDPOINT_URL_SSM", url);
    expect(ours, 1, "ssm", "problem", &[&place]);

    let bundle = sandbox.ca_file().with_file_name("no-such-bundle.pem");
    let untrusting = |plugin: Plugin| plugin.env("AWS_CA_BUNDLE", &bundle);
    let theirs = aws(&sandbox, id, untrusting);
    let words = "No such file or directory";
    assert!(theirs.stderr.contains(words), "{theirs:?}");
    let name = bundle.display().to_string();
    expect(
        untrusting(plugin(&sandbox, &["--json"])),
        1,
        "roots",
        "problem",
        &[&name, words],
    );
}
