//! Which roots count: files and directories that are named, and those of the system.

use std::fs;
use std::path::Path;

use crate::trust_support::{Authority, Gateway, Handshake, can_replace_roots, with_roots};

/// A file of this directory.
fn write(directory: &Path, name: &str, text: &str) -> String {
    let file = directory.join(name);
    fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

#[test]
fn p76_a_directory_with_one_hashed_name_is_not_the_whole_trust() {
    type Files<'a> = &'a [(&'a str, &'a str)];
    if !can_replace_roots() {
        return;
    }
    let good = Authority::new("Good Authority");
    let other = Authority::new("Other Authority");
    let gateway = Gateway::start(&good.sign(&["localhost"], |_| ()));
    let both = format!("{}{}", other.pem(), good.pem());
    let good_name = good.hashed_name();
    let cases: [(&str, Files<'_>, bool); 7] = [
        (
            "another authority hashed",
            &[
                (&other.hashed_name(), &other.pem()),
                ("ca-certificates.crt", &good.pem()),
            ],
            true,
        ),
        (
            "nonsense hashed",
            &[("deadbeef.0", "nonsense"), ("ca-certificates.crt", &both)],
            true,
        ),
        ("a bundle alone", &[("ca-certificates.crt", &both)], true),
        ("a hashed name alone", &[(&good_name, &good.pem())], true),
        (
            "hashed, but not in the bundle",
            &[
                (&good_name, &good.pem()),
                ("ca-certificates.crt", &other.pem()),
            ],
            true,
        ),
        (
            "in neither",
            &[
                (&other.hashed_name(), &other.pem()),
                ("ca-certificates.crt", &other.pem()),
            ],
            false,
        ),
        (
            "a broken certificate before the good one",
            &[(
                "ca-certificates.crt",
                &format!(
                    "-----BEGIN CERTIFICATE-----\nbm90aGluZw==\n-----END CERTIFICATE-----\n{}",
                    good.pem()
                ),
            )],
            true,
        ),
    ];
    for (what, files, trusted) in cases {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            write(directory.path(), name, text);
        }
        let finished = gateway.call("localhost", |plugin| with_roots(plugin, directory.path()));
        if trusted {
            eprintln!("{what}");
            gateway.assert_trusted(&finished);
        } else {
            gateway.assert_refused(&finished, "unable to get local issuer certificate");
        }
    }
    let empty = tempfile::tempdir().unwrap();
    let finished = gateway.call("localhost", |plugin| with_roots(plugin, empty.path()));
    gateway.assert_refused(
        &finished,
        "no certificate authorities were found on this machine",
    );
}

#[test]
fn p76_other_files_beside_a_hashed_name_count_too() {
    let good = Authority::new("Good Authority");
    let other = Authority::new("Other Authority");
    let gateway = Gateway::start(&good.sign(&["localhost"], |_| ()));
    for good_name in ["corporate.pem", "corporate.crt", &good.hashed_name()] {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), &other.hashed_name(), &other.pem());
        write(directory.path(), good_name, &good.pem());
        let named = directory.path().to_str().unwrap();
        let finished = gateway.call("localhost", |plugin| plugin.env("SSL_CERT_DIR", named));
        gateway.assert_trusted(&finished);
    }
}

#[test]
fn p76_the_system_s_directory_counts_as_a_whole_when_it_is_named() {
    if !can_replace_roots() {
        return;
    }
    let good = Authority::new("Good Authority");
    let other = Authority::new("Other Authority");
    let gateway = Gateway::start(&good.sign(&["localhost"], |_| ()));
    let other_name = other.hashed_name();
    for (file, trusted_at_once) in [
        (good.hashed_name().as_str(), true),
        ("corporate.pem", false),
        ("ca-certificates.crt", false),
    ] {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), &other_name, &other.pem());
        write(directory.path(), file, &good.pem());
        let finished = gateway.call("localhost", |plugin| {
            with_roots(plugin, directory.path()).env("SSL_CERT_DIR", "/etc/ssl/certs/")
        });
        let first = gateway.next();
        assert_eq!(
            matches!(first, Handshake::Trusted(_)),
            trusted_at_once,
            "{file}"
        );
        if !trusted_at_once {
            gateway.assert_trusted(&finished);
        }
    }
    // The system's bundle elsewhere is not named.
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), &other_name, &other.pem());
    let finished = gateway.call("localhost", |plugin| {
        with_roots(plugin, directory.path()).env("SSL_CERT_DIR", "/etc/ssl/certs")
    });
    gateway.assert_refused(&finished, "unable to get local issuer certificate");
}

#[test]
fn named_roots_alone_count() {
    if !can_replace_roots() {
        return;
    }
    let good = Authority::new("Good Authority");
    let other = Authority::new("Other Authority");
    let gateway = Gateway::start(&good.sign(&["localhost"], |_| ()));
    let system = tempfile::tempdir().unwrap();
    write(system.path(), &good.hashed_name(), &good.pem());
    write(system.path(), "ca-certificates.crt", &good.pem());
    let named = tempfile::tempdir().unwrap();
    let file = write(named.path(), "other.pem", &other.pem());
    let named = named.path().to_str().unwrap();
    for (variable, value) in [
        ("AWS_CA_BUNDLE", file.as_str()),
        ("SSL_CERT_FILE", &file),
        ("SSL_CERT_DIR", named),
    ] {
        let finished = gateway.call("localhost", |plugin| {
            with_roots(plugin.env(variable, value), system.path())
        });
        gateway.assert_refused(&finished, "unable to get local issuer certificate");
    }
}

#[test]
fn p99_roots_are_read_from_regular_files_of_some_size_only() {
    let good = Authority::new("Good Authority");
    let gateway = Gateway::start(&good.sign(&["localhost"], |_| ()));
    let directory = tempfile::tempdir().unwrap();
    let fifo = directory.path().join("fifo.pem");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    let fifo = fifo.to_str().unwrap();
    let big = format!("{}{}", good.pem(), "\n".repeat(4 * 1024 * 1024));
    let big = write(directory.path(), "big.pem", &big);
    for variable in ["AWS_CA_BUNDLE", "SSL_CERT_FILE"] {
        for path in [fifo, "/dev/zero", &big] {
            let finished = gateway.call("localhost", |plugin| plugin.env(variable, path));
            gateway.assert_refused(&finished, variable);
            gateway.assert_refused(&finished, path);
        }
    }
    // In a directory they are passed over.
    write(directory.path(), "good.pem", &good.pem());
    let named = directory.path().to_str().unwrap();
    let finished = gateway.call("localhost", |plugin| plugin.env("SSL_CERT_DIR", named));
    gateway.assert_trusted(&finished);
}

#[test]
fn p101_the_configuration_of_openssl_does_not_count() {
    let good = Authority::new("Good Authority");
    let gateway = Gateway::start(&good.sign(&["localhost"], |_| ()));
    let directory = tempfile::tempdir().unwrap();
    let bundle = write(directory.path(), "ca.pem", &good.pem());
    // No certificate in use is strong enough for this level.
    let configuration = write(
        directory.path(),
        "openssl.cnf",
        "openssl_conf = first\n[first]\nssl_conf = second\n[second]\nsystem_default = third\n\
         [third]\nCipherString = DEFAULT:@SECLEVEL=5\n",
    );
    for value in [configuration.as_str(), "/no/such/file"] {
        let finished = gateway.call("localhost", |plugin| {
            plugin
                .env("AWS_CA_BUNDLE", &bundle)
                .env("OPENSSL_CONF", value)
        });
        gateway.assert_trusted(&finished);
    }
}
