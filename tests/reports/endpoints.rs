//! Where the program calls AWS: the same hosts as botocore, whose table comes with the AWS CLI.

use std::path::Path;
use std::process::Command;

use session_manager_plugin::internals::aws::standard_host;
use session_manager_plugin::internals::communicator::StreamUrl;
use session_manager_plugin::internals::settings::Settings;

use crate::support::api::Script;
use crate::support::{Plugin, aws_cli, sandbox, wait_until};

/// What the script beside this file prints.
fn table() -> Vec<Vec<String>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reports/endpoints.py");
    let output = Command::new(aws_cli::python())
        .arg(script)
        .output()
        .expect("to run");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines()
        .map(|line| line.split(' ').map(str::to_owned).collect())
        .collect()
}

#[test]
fn p114_every_endpoint_is_botocores() {
    let (mut compared, mut suffixes) = (0, 0);
    for line in table() {
        match &line.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["suffix", suffix] => {
                let url = format!("wss://ssmmessages.eu-west-1.{suffix}/v1/data-channel/s");
                StreamUrl::parse(&url, &Settings::default()).expect(suffix);
                suffixes += 1;
            }
            [service, region, fips, dual_stack, host] => {
                let ours = standard_host(service, region, *fips == "1", *dual_stack == "1");
                let case = format!("{service} in {region}, FIPS {fips}, dual stack {dual_stack}");
                assert_eq!(ours.as_deref(), Some(*host), "{case}");
                compared += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    println!("{compared} hosts and {suffixes} suffixes compared");
    assert!(compared > 1000 && suffixes > 10, "{compared}, {suffixes}");
}

/// The program itself, through a proxy that hears which host it wants.
#[test]
fn p114_the_program_calls_where_botocore_would() {
    let table = table();
    for region in [
        "eu-central-1",
        "us-gov-west-1",
        "cn-north-1",
        "us-iso-east-1",
        "eusc-de-east-1",
    ] {
        for (fips, dual_stack) in [("0", "0"), ("1", "0"), ("0", "1"), ("1", "1")] {
            let host_of = |service: &str| {
                let line = table
                    .iter()
                    .find(|line| line[..line.len() - 1] == [service, region, fips, dual_stack]);
                line.expect("a line")[4].clone()
            };
            let on = |digit| if digit == "1" { "true" } else { "false" };
            let proxy = Script::fixed("HTTP/1.1 502 No\r\n\r\n");
            let plugin = |arguments: &[&str]| {
                Plugin::bare(arguments)
                    .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
                    .env("AWS_SECRET_ACCESS_KEY", "secret")
                    .env("AWS_REGION", region)
                    .env("AWS_USE_FIPS_ENDPOINT", on(fips))
                    .env("AWS_USE_DUALSTACK_ENDPOINT", on(dual_stack))
                    .env("HTTPS_PROXY", proxy.url())
                    .spawn()
            };
            let own = plugin(&["exec", "--target", "i-1", "--", "true"]);
            wait_until("a call", || !proxy.asked().is_empty());
            drop(own);
            let asked = proxy.asked()[0].clone();
            let expected = format!("CONNECT {}:443 ", host_of("ssm"));
            assert!(asked.starts_with(&expected), "{expected} is not {asked}");
        }
    }
}

#[test]
fn p111_no_region_is_said_with_where_it_can_be_set() {
    let api = Script::fixed("HTTP/1.1 500 No\r\n\r\n");
    let run = |arguments: &[&str], region: Option<&str>| {
        let mut plugin = Plugin::bare(arguments)
            .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
            .env("AWS_SECRET_ACCESS_KEY", "secret")
            .env("AWS_ENDPOINT_URL", api.url());
        if let Some(region) = region {
            plugin = plugin.env("AWS_REGION", region);
        }
        plugin.run(b"")
    };
    let own = ["exec", "--target", "i-1", "--", "true"];
    for region in [None, Some("")] {
        let finished = run(&own, region);
        assert_eq!(finished.code(), 1);
        assert!(
            finished.stderr.contains("no region") && finished.stderr.contains("AWS_REGION"),
            "{finished:?}"
        );
    }
    assert_eq!(api.asked(), [""; 0], "nothing is signed for no region");
}

#[test]
fn p111_a_call_without_region_goes_on_and_says_what_it_lacks() {
    let sandbox = sandbox();
    let started = sandbox.start_session(sandbox::Document::command("echo done"));
    let arguments = ["{}", "", "StartSession", "", "", ""];
    let finished = Plugin::new(&sandbox, &started)
        .arguments(&started, &arguments)
        .run(b"");
    assert_eq!(finished.code(), 0, "{finished:?}");
    assert!(finished.stdout.contains("done"), "{finished:?}");
    assert!(finished.stderr.contains("no region"), "{finished:?}");
}
