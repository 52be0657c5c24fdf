//! Proxies and certificate authorities, as the environment names them.

mod support;

use sandbox::{Config, Document, Event, ProxyBehaviour, ProxyConfig, ProxyKind, Sandbox, Started};
use support::{Finished, Io, Plugin};

/// A name that exists nowhere (RFC 6761); only the proxy knows it.
const GATEWAY: &str = "gateway.invalid";

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::start(Config {
        certificate_names: vec![GATEWAY.to_owned()],
        ..Config::default()
    });
    sandbox.unwrap()
}

fn proxy(sandbox: &Sandbox, kind: ProxyKind) -> ProxyConfig {
    let gateway = sandbox.gateway_host().replace("localhost", "127.0.0.1");
    ProxyConfig {
        login: Some(("me".to_owned(), "pass:word".to_owned())),
        names: vec![(GATEWAY.to_owned(), gateway.parse().unwrap())],
        ..ProxyConfig::new(kind)
    }
}

/// A call whose stream URL leads to the name.
fn plugin(sandbox: &Sandbox, started: &Started) -> Plugin {
    let mut response = started.response();
    let url = response["StreamUrl"].as_str().unwrap();
    let path = url.splitn(4, '/').nth(3).unwrap();
    response["StreamUrl"] = format!("wss://{GATEWAY}/{path}").into();
    Plugin::new(sandbox, started)
        .env("AWS_SSM_START_SESSION_RESPONSE", response.to_string())
        .env("SSM_PLUGIN_ALLOW_STREAM_HOST", GATEWAY)
        .stdin(Io::Null)
}

fn run(sandbox: &Sandbox, variables: &[(&str, String)]) -> Finished {
    let started = sandbox.start_session(Document::command("echo it works"));
    let plugin = plugin(sandbox, &started);
    let plugin = variables
        .iter()
        .fold(plugin, |plugin, (name, value)| plugin.env(name, value));
    plugin.run(b"")
}

#[test]
fn p55_through_every_kind_of_proxy_with_a_password() {
    let sandbox = sandbox();
    for (kind, scheme, variable) in [
        (ProxyKind::Connect, "http", "HTTPS_PROXY"),
        (ProxyKind::Connect, "http", "https_proxy"),
        (ProxyKind::ConnectOverTls, "https", "HTTPS_PROXY"),
        (ProxyKind::Socks5, "socks5h", "ALL_PROXY"),
    ] {
        let address = sandbox.start_proxy(proxy(&sandbox, kind)).unwrap();
        let url = format!("{scheme}://me:pass%3Aword@{address}");
        let finished = run(&sandbox, &[(variable, url)]);
        assert!(
            finished.stdout.contains("it works"),
            "{scheme}: {}",
            finished.stderr
        );
        assert_eq!(finished.code(), 0);
    }
    let users: Vec<_> = sandbox
        .events()
        .into_iter()
        .filter_map(|event| match event {
            Event::Proxy {
                user, destination, ..
            } => Some((user, destination)),
            _ => None,
        })
        .collect();
    assert_eq!(
        users,
        vec![(Some("me".to_owned()), format!("{GATEWAY}:443")); 4]
    );
}

#[test]
fn p25_a_proxy_that_does_not_work_is_named_at_once_and_its_password_is_not() {
    let sandbox = sandbox();
    let cases = [
        (
            ProxyBehaviour::Refuse,
            "http",
            "refused to connect us (status 403",
        ),
        (ProxyBehaviour::NotHttp, "http", "is it a proxy?"),
        (
            ProxyBehaviour::Close,
            "http",
            "closed the connection without an answer",
        ),
        (
            ProxyBehaviour::Refuse,
            "socks5h",
            "its rules do not allow it",
        ),
        (ProxyBehaviour::NotHttp, "socks5h", "does not speak SOCKS 5"),
    ];
    for (behaviour, scheme, expected) in cases {
        let kind = if scheme == "http" {
            ProxyKind::Connect
        } else {
            ProxyKind::Socks5
        };
        let proxy = ProxyConfig {
            behaviour,
            ..proxy(&sandbox, kind)
        };
        let address = sandbox.start_proxy(proxy).unwrap();
        let finished = run(
            &sandbox,
            &[(
                "HTTPS_PROXY",
                format!("{scheme}://me:pass%3Aword@{address}"),
            )],
        );
        assert_eq!(finished.code(), 1);
        let reason =
            format!("Cannot perform start session: the proxy {scheme}://{address} (HTTPS_PROXY) ");
        assert!(
            finished.stdout.contains(&reason),
            "{behaviour:?}: {}",
            finished.stdout
        );
        assert!(
            finished.stdout.contains(expected),
            "{behaviour:?}: {}",
            finished.stdout
        );
        assert!(!format!("{}{}", finished.stdout, finished.stderr).contains("word@"));
    }
    let address = sandbox
        .start_proxy(proxy(&sandbox, ProxyKind::Connect))
        .unwrap();
    let finished = run(
        &sandbox,
        &[("HTTPS_PROXY", format!("http://me:wrong@{address}"))],
    );
    assert!(
        finished
            .stdout
            .contains("did not accept the user and password"),
        "{}",
        finished.stdout
    );
    let finished = run(&sandbox, &[("HTTPS_PROXY", "gopher://x".to_owned())]);
    assert_eq!(finished.code(), 1);
    assert!(
        finished.stdout.contains("HTTPS_PROXY"),
        "{}",
        finished.stdout
    );
}

#[test]
fn p55_no_proxy_is_honoured() {
    let sandbox = sandbox();
    let address = sandbox
        .start_proxy(proxy(&sandbox, ProxyKind::Connect))
        .unwrap();
    let url = format!("http://me:pass%3Aword@{address}");
    for exempt in [
        "gateway.invalid",
        ".invalid",
        "*",
        "other,gateway.invalid:443",
    ] {
        let finished = run(
            &sandbox,
            &[
                ("HTTPS_PROXY", url.clone()),
                ("NO_PROXY", exempt.to_owned()),
            ],
        );
        assert_eq!(finished.code(), 1);
        assert!(
            finished
                .stdout
                .contains("no address was found for gateway.invalid"),
            "{exempt}: {}",
            finished.stdout
        );
    }
    let asked = |event: &Event| matches!(event, Event::Proxy { .. });
    assert!(!sandbox.events().iter().any(asked));
    // Loopback never goes through a proxy.
    let started = sandbox.start_session(Document::command("echo it works"));
    let finished = Plugin::new(&sandbox, &started)
        .env("HTTPS_PROXY", url)
        .stdin(Io::Null)
        .run(b"");
    assert!(finished.stdout.contains("it works"), "{}", finished.stderr);
    assert!(!sandbox.events().iter().any(asked));
}

#[test]
fn p55_an_authority_that_only_one_variable_knows() {
    let sandbox = support::sandbox();
    let authority = sandbox.ca_file();
    let run = |variable: Option<(&str, &str)>| {
        let started = sandbox.start_session(Document::command("echo it works"));
        let plugin = Plugin::new(&sandbox, &started)
            .without("AWS_CA_BUNDLE")
            .stdin(Io::Null);
        let plugin = match variable {
            Some((name, value)) => plugin.env(name, value),
            None => plugin,
        };
        plugin.run(b"")
    };
    let file = authority.to_str().unwrap();
    for variable in ["AWS_CA_BUNDLE", "SSL_CERT_FILE"] {
        let finished = run(Some((variable, file)));
        assert!(
            finished.stdout.contains("it works"),
            "{variable}: {}",
            finished.stderr
        );
    }
    let directory = tempfile::tempdir().unwrap();
    std::fs::copy(&authority, directory.path().join("authority.pem")).unwrap();
    let finished = run(Some(("SSL_CERT_DIR", directory.path().to_str().unwrap())));
    assert!(finished.stdout.contains("it works"), "{}", finished.stderr);

    let finished = run(None);
    assert_eq!(finished.code(), 1);
    assert!(
        finished.stdout.contains("AWS_CA_BUNDLE"),
        "{}",
        finished.stdout
    );
    for variable in ["AWS_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"] {
        let finished = run(Some((variable, "/no/such/place")));
        assert_eq!(finished.code(), 1);
        assert!(finished.stdout.contains(variable), "{}", finished.stdout);
    }
}

#[test]
fn a_configuration_file_alone_says_everything() {
    let sandbox = Sandbox::start(Config::strict()).unwrap();
    let variables = sandbox.environment();
    let value = |wanted| {
        let mut all = variables.iter();
        all.find(|(name, _)| *name == wanted)
            .map_or("", |(_, value)| value)
    };
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config");
    let write = |endpoint: &str, ca_bundle: &str| {
        let text = format!(
            "[profile work]\nregion = {}\naws_access_key_id = {}\naws_secret_access_key = {}\naws_session_token = {}\n\
             services = local\nca_bundle = {ca_bundle}\nendpoint_url = http://127.0.0.1:9\n\
             [services local]\nssm =\n  endpoint_url = {endpoint}\n",
            value("AWS_REGION"),
            value("AWS_ACCESS_KEY_ID"),
            value("AWS_SECRET_ACCESS_KEY"),
            value("AWS_SESSION_TOKEN"),
        );
        std::fs::write(&file, text).unwrap();
    };
    let plugin = || {
        let target = [
            "exec",
            "--profile",
            "work",
            "--target",
            "i-0123456789abcdef0",
        ];
        Plugin::bare(target.into_iter().chain(["--", "echo", "it works"]))
            .env("SSM_PLUGIN_ALLOW_STREAM_HOST", sandbox.gateway_host())
            .env("AWS_CONFIG_FILE", file.to_str().unwrap())
    };
    let run = || plugin().run(b"");
    let authority = value("AWS_CA_BUNDLE");
    write(value("AWS_ENDPOINT_URL"), authority);
    let finished = run();
    assert_eq!(
        (finished.stdout.as_str(), finished.code()),
        ("it works\n", 0),
        "{finished:?}"
    );

    write("nonsense", authority);
    let finished = run();
    assert!(
        finished.stderr.contains("the profile's endpoint_url"),
        "{finished:?}"
    );
    assert_eq!(finished.code(), 1);

    write(value("AWS_ENDPOINT_URL"), "/no/such/place");
    let finished = run();
    assert!(
        finished
            .stderr
            .contains("ca_bundle of the profile names /no/such/place"),
        "{finished:?}"
    );
    assert_eq!(finished.code(), 1);

    // Variables count before the profile.
    let finished = plugin().env("SSL_CERT_FILE", authority).run(b"");
    assert_eq!(finished.stdout, "it works\n", "{finished:?}");
}
