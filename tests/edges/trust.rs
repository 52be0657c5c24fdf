//! Whose certificates count, and for what.

use std::fs;
use std::path::Path;

use rcgen::{DnType, ExtendedKeyUsagePurpose, date_time_ymd};
use sandbox::{Config, Document, ProxyConfig, ProxyKind, Sandbox};

use crate::support::{self, Io, Plugin, process_answer};
use crate::trust_support::{Authority, Gateway, Handshake, can_replace_roots, with_roots};

/// A file of this directory.
fn write(directory: &Path, name: &str, text: &str) -> String {
    let file = directory.join(name);
    fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

#[test]
fn a_certificate_counts_for_its_names_its_time_and_its_purpose() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new("Good Authority");
    let bundle = write(directory.path(), "ca.pem", &authority.pem());
    let localhost = ["localhost"];
    let cases = [
        (authority.sign(&localhost, |_| ()), None),
        (authority.sign(&["*.localhost", "localhost"], |_| ()), None),
        (
            authority.sign(&["elsewhere.example"], |_| ()),
            Some("hostname mismatch"),
        ),
        (
            authority.sign(&localhost, |certificate| {
                certificate.not_before = date_time_ymd(2020, 1, 1);
                certificate.not_after = date_time_ymd(2021, 1, 1);
            }),
            Some("certificate has expired"),
        ),
        (
            authority.sign(&localhost, |certificate| {
                certificate.not_before = date_time_ymd(2090, 1, 1);
                certificate.not_after = date_time_ymd(2091, 1, 1);
            }),
            Some("certificate is not yet valid"),
        ),
        (
            authority.sign(&localhost, |certificate| {
                certificate.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            }),
            Some("unsuitable certificate purpose"),
        ),
        (
            authority.sign(&localhost, |certificate| {
                certificate.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            }),
            None,
        ),
        (
            Authority::new("Somebody Else").sign(&localhost, |_| ()),
            Some("unable to get local issuer certificate"),
        ),
        (
            // The same name, another key.
            Authority::new("Good Authority").sign(&localhost, |_| ()),
            Some("its certificate is not accepted"),
        ),
    ];
    for (identity, refusal) in cases {
        let gateway = Gateway::start(&identity);
        let finished = gateway.call("localhost", |plugin| plugin.env("AWS_CA_BUNDLE", &bundle));
        match refusal {
            None => gateway.assert_trusted(&finished),
            Some(reason) => {
                let told =
                    format!("TLS with localhost failed: its certificate is not accepted: {reason}");
                let told = if reason.starts_with("its certificate") {
                    reason
                } else {
                    &told
                };
                gateway.assert_refused(&finished, told);
                // The next step is the right one.
                let is_about_time = reason.contains("expired") || reason.contains("not yet valid");
                assert_eq!(
                    (
                        finished.stderr.contains("clock right?"),
                        finished.stderr.contains("AWS_CA_BUNDLE")
                    ),
                    (is_about_time, !is_about_time),
                    "{finished:?}"
                );
            }
        }
    }
}

#[test]
fn an_address_counts_only_as_an_address() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new("Good Authority");
    let bundle = write(directory.path(), "ca.pem", &authority.pem());
    for (names, refusal) in [
        (&["127.0.0.1"][..], None),
        (&["127.0.0.2"], Some("IP address mismatch")),
        (&["localhost"], Some("IP address mismatch")),
    ] {
        let gateway = Gateway::start(&authority.sign(names, |_| ()));
        let finished = gateway.call("127.0.0.1", |plugin| plugin.env("AWS_CA_BUNDLE", &bundle));
        match refusal {
            None => gateway.assert_trusted(&finished),
            Some(reason) => gateway.assert_refused(&finished, reason),
        }
    }
}

#[test]
fn p91_a_common_name_does_not_count() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new("Good Authority");
    let bundle = write(directory.path(), "ca.pem", &authority.pem());
    // No alternative name at all; one that is an address, which lets OpenSSL look at the common name, too.
    for names in [&[][..], &["127.0.0.1"]] {
        let identity = authority.sign(names, |certificate| {
            certificate
                .distinguished_name
                .push(DnType::CommonName, "localhost");
        });
        let gateway = Gateway::start(&identity);
        let finished = gateway.call("localhost", |plugin| plugin.env("AWS_CA_BUNDLE", &bundle));
        gateway.assert_refused(&finished, "its certificate is not accepted");
    }
}

#[test]
fn p91_a_host_that_begins_with_a_dot_is_refused() {
    let sandbox = Sandbox::start(Config {
        certificate_names: vec!["one.gateway.invalid".to_owned()],
        ..Config::default()
    })
    .unwrap();
    let gateway = sandbox.gateway_host().replace("localhost", "127.0.0.1");
    let works = |host: &str| {
        let proxy = ProxyConfig {
            names: vec![(host.to_owned(), gateway.parse().unwrap())],
            ..ProxyConfig::new(ProxyKind::Connect)
        };
        let proxy = sandbox.start_proxy(proxy).unwrap();
        let started = sandbox.start_session(Document::command("echo it works"));
        let mut response = started.response();
        let url = response["StreamUrl"].as_str().unwrap();
        let path = url.splitn(4, '/').nth(3).unwrap();
        response["StreamUrl"] = format!("wss://{host}/{path}").into();
        let finished = Plugin::new(&sandbox, &started)
            .env("AWS_SSM_START_SESSION_RESPONSE", response.to_string())
            .env("SSM_PLUGIN_ALLOW_STREAM_HOST", host)
            .env("HTTPS_PROXY", format!("http://{proxy}"))
            .stdin(Io::Null)
            .run(b"");
        (finished.stdout.contains("it works"), finished)
    };
    let (good, finished) = works("one.gateway.invalid");
    assert!(good, "{finished:?}");
    for host in [".gateway.invalid", ".invalid", "one..gateway.invalid"] {
        let (good, finished) = works(host);
        assert!(!good && finished.code() == 1, "{host}: {finished:?}");
        assert!(finished.stdout.contains(host), "{host}: {finished:?}");
    }
}

#[test]
fn programs_that_are_called_get_the_environment_as_it_was() {
    let sandbox = Sandbox::start(Config::strict()).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let seen = directory.path().join("seen");
    let printed = process_answer(sandbox.credentials());
    let script = format!("env > {}\necho '{printed}'\n", seen.display());
    let process = write(directory.path(), "process.sh", &script);
    let config = write(
        directory.path(),
        "config",
        &format!("[default]\nregion = eu-central-1\ncredential_process = /bin/sh {process}\n"),
    );
    let authority = sandbox.ca_file();
    let run = |configuration: Option<&str>| {
        let mut plugin = Plugin::bare([
            "exec",
            "--target",
            "i-0123456789abcdef0",
            "--",
            "echo",
            "it works",
        ])
        .env("SSM_PLUGIN_ALLOW_STREAM_HOST", sandbox.gateway_host())
        .env("AWS_ENDPOINT_URL", sandbox.api_url())
        .env("AWS_CONFIG_FILE", &config)
        .env("SSL_CERT_FILE", &authority);
        if let Some(value) = configuration {
            plugin = plugin.env("OPENSSL_CONF", value);
        }
        let finished = plugin.run(b"");
        assert!(finished.stdout.contains("it works"), "{finished:?}");
        fs::read_to_string(&seen).unwrap()
    };
    let environment = run(Some("/some/openssl.cnf"));
    let lines: Vec<&str> = environment.lines().collect();
    assert!(
        lines.contains(&"OPENSSL_CONF=/some/openssl.cnf"),
        "{lines:?}"
    );
    let expected = format!("SSL_CERT_FILE={}", authority.display());
    assert!(lines.contains(&expected.as_str()), "{lines:?}");
    assert!(!run(None).contains("OPENSSL_CONF"));
}

#[test]
fn a_server_of_tls_1_1_is_refused() {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, answers) = crossbeam_channel::unbounded();
    std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut hello = [0; 4096];
        assert!(socket.read(&mut hello).unwrap() > 0);
        // ServerHello: version 1.1, 32 random bytes, no session, TLS_RSA_WITH_AES_128_CBC_SHA, no compression.
        let mut answer = vec![22, 3, 2, 0, 42, 2, 0, 0, 38, 3, 2];
        answer.extend_from_slice(&[7; 32]);
        answer.extend_from_slice(&[0, 0, 0x2f, 0]);
        socket.write_all(&answer).unwrap();
        let mut rest = Vec::new();
        let _ = socket.read_to_end(&mut rest);
        sender.send(rest).unwrap();
    });
    let authority = Authority::new("Good Authority");
    let directory = tempfile::tempdir().unwrap();
    let bundle = write(directory.path(), "ca.pem", &authority.pem());
    let mut gateway = Gateway::start(&authority.sign(&["localhost"], |_| ()));
    gateway.port = port;
    let finished = gateway.call("localhost", |plugin| plugin.env("AWS_CA_BUNDLE", &bundle));
    gateway.assert_refused(&finished, "TLS with localhost failed: unsupported protocol");
    // A fatal alert, protocol_version (RFC 8446, section 6.2).
    let answer = answers.recv_timeout(support::TIMEOUT).unwrap();
    assert_eq!((answer[0], &answer[3..]), (21, &[0, 2, 2, 70][..]));
}

#[test]
fn p25_a_server_that_breaks_the_handshake_off_or_has_no_tls_is_told() {
    use std::io::{Read, Write};
    let authority = Authority::new("Good Authority");
    let directory = tempfile::tempdir().unwrap();
    let bundle = write(directory.path(), "ca.pem", &authority.pem());
    // Nothing; an alert, handshake_failure; a protocol that is none.
    for (answer, expected) in [
        (
            &b""[..],
            "the connection was closed in the middle of the handshake",
        ),
        (&[21, 3, 3, 0, 2, 2, 40], "handshake failure"),
        (
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            "TLS with localhost failed: ",
        ),
    ] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut gateway = Gateway::start(&authority.sign(&["localhost"], |_| ()));
        gateway.port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                let mut socket = socket.unwrap();
                let mut hello = [0; 4096];
                assert!(socket.read(&mut hello).unwrap() > 0);
                socket.write_all(answer).unwrap();
                socket.shutdown(std::net::Shutdown::Write).unwrap();
                let _ = socket.read(&mut hello);
            }
        });
        let finished = gateway.call("localhost", |plugin| plugin.env("AWS_CA_BUNDLE", &bundle));
        gateway.assert_refused(&finished, expected);
        for noise in ["error:", "SSL routines", ".c:", "os error"] {
            assert!(!finished.stderr.contains(noise), "{finished:?}");
        }
    }
}

#[test]
fn one_handshake_is_enough_where_the_first_is_good() {
    if !can_replace_roots() {
        return;
    }
    let good = Authority::new("Good Authority");
    let gateway = Gateway::start(&good.sign(&["localhost"], |_| ()));
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), &good.hashed_name(), &good.pem());
    write(directory.path(), "ca-certificates.crt", &good.pem());
    let finished = gateway.call("localhost", |plugin| with_roots(plugin, directory.path()));
    assert!(
        matches!(gateway.next(), Handshake::Trusted(_)),
        "{finished:?}"
    );
}
