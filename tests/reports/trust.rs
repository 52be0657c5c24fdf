//! Roots of which some are broken.

use std::fs;

use crate::trust_support::{Authority, Gateway};

const BROKEN: [(&str, &str); 3] = [
    (
        "no base64",
        "-----BEGIN CERTIFICATE-----\nMII!!!nothing of the kind!!!\n-----END CERTIFICATE-----\n",
    ),
    (
        "no certificate",
        "-----BEGIN CERTIFICATE-----\nbm90aGluZyBvZiB0aGUga2luZA==\n-----END CERTIFICATE-----\n",
    ),
    (
        "cut off",
        "-----BEGIN CERTIFICATE-----\nMIIBkTCCATegAwIBAgIUZ9ofk9b7\n",
    ),
];

#[test]
fn p109_bad_files_of_a_directory_are_passed_over() {
    let good = Authority::new("Good Authority");
    let gateway = Gateway::start(&good.sign(&["localhost"], |_| ()));
    for (what, broken) in BROKEN {
        for hashed in [false, true] {
            let directory = tempfile::tempdir().unwrap();
            let write =
                |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
            let (bad_name, good_name) = if hashed {
                ("00000000.0".to_owned(), good.hashed_name())
            } else {
                ("aaa.pem".to_owned(), "good.pem".to_owned())
            };
            write(&bad_name, broken);
            write("empty.pem", "");
            write(&good_name, &good.pem());
            fs::create_dir(directory.path().join("folder.pem")).unwrap();
            std::os::unix::fs::symlink("nowhere", directory.path().join("dangling.pem")).unwrap();
            let named = directory.path().to_str().unwrap();
            let finished = gateway.call("localhost", |plugin| {
                plugin
                    .env("SSL_CERT_DIR", named)
                    .env("SSM_PLUGIN_LOG", "warn")
            });
            gateway.assert_trusted(&finished);
            assert!(finished.stderr.contains(&bad_name), "{what}: {finished:?}");
        }
    }
}

#[test]
fn p109_the_certificate_that_is_broken_is_named() {
    let good = Authority::new("Good Authority").pem();
    let gateway = Gateway::start(&Authority::new("Other").sign(&["localhost"], |_| ()));
    let lines = good.lines().count();
    for (what, broken) in BROKEN {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("bundle.pem");
        fs::write(&file, format!("{good}{good}{broken}{good}")).unwrap();
        for variable in ["AWS_CA_BUNDLE", "SSL_CERT_FILE"] {
            let finished = gateway.call("localhost", |plugin| plugin.env(variable, &file));
            let expected = format!(
                "{variable} cannot be used: {}: certificate 3 of 4, from line {},",
                file.display(),
                2 * lines + 1
            );
            gateway.assert_refused(&finished, &expected);
            assert!(!finished.stderr.contains("holds no certificate"), "{what}");
        }
    }
    // A key is no certificate.
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("key.pem");
    fs::write(&file, rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap();
    let finished = gateway.call("localhost", |plugin| plugin.env("AWS_CA_BUNDLE", &file));
    gateway.assert_refused(&finished, "holds no certificate in PEM form");
}
