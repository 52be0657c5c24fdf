//! Authorities, certificates of every kind, and a gateway that shows one of them.
#![allow(dead_code, reason = "not every test needs all of it")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use crossbeam_channel::{Receiver, unbounded};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use serde_json::json;

use crate::support::{Finished, Io, Plugin, TIMEOUT};

/// A certificate authority.
pub struct Authority {
    name: String,
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// A root with a name of its own.
    pub fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        parameters.distinguished_name.push(DnType::CommonName, name);
        let certificate = parameters.self_signed(&key).unwrap();
        Self {
            name: name.to_owned(),
            certificate,
            issuer: Issuer::new(parameters, key),
        }
    }

    /// Its certificate.
    pub fn pem(&self) -> String {
        self.certificate.pem()
    }

    /// The name of its file in a hashed directory: of the subject, in OpenSSL's canonical form, the first four bytes of SHA-1 as a
    /// little-endian number.
    pub fn hashed_name(&self) -> String {
        use sha1::{Digest, Sha1};
        let text = self.name.to_lowercase();
        let length = u8::try_from(text.len()).unwrap();
        // SET { SEQUENCE { OBJECT IDENTIFIER commonName, UTF8String } }
        let mut der = vec![
            0x31,
            length + 9,
            0x30,
            length + 7,
            6,
            3,
            0x55,
            4,
            3,
            12,
            length,
        ];
        der.extend_from_slice(text.as_bytes());
        let digest = Sha1::digest(&der);
        let hash = u32::from_le_bytes([digest[0], digest[1], digest[2], digest[3]]);
        format!("{hash:08x}.0")
    }

    /// A certificate for these names and addresses; `change` has the last word on what is in it.
    pub fn sign(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::new(names).unwrap();
        change(&mut parameters);
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        Identity {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }
}

/// What a server shows.
pub struct Identity {
    certificate: String,
    key: String,
}

/// A gateway that speaks TLS and knows no session: it answers each upgrade with 404.
pub struct Gateway {
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    handshakes: Receiver<Handshake>,
}

/// What became of one connection.
#[derive(Debug, PartialEq, Eq)]
pub enum Handshake {
    /// The client trusted the certificate, and sent this.
    Trusted(String),
    /// The client broke off.
    Refused,
}

impl Gateway {
    pub fn start(identity: &Identity) -> Self {
        let identity = native_tls::Identity::from_pkcs8(
            identity.certificate.as_bytes(),
            identity.key.as_bytes(),
        )
        .unwrap();
        let acceptor = native_tls::TlsAcceptor::new(identity).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, handshakes) = unbounded();
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                if sender.send(serve(&acceptor, socket.unwrap())).is_err() {
                    return;
                }
            }
        });
        Self { port, handshakes }
    }

    /// What became of the next connection.
    pub fn next(&self) -> Handshake {
        self.handshakes.recv_timeout(TIMEOUT).expect("a connection")
    }

    /// Runs the program against this gateway, which it knows by `host`.
    pub fn call(&self, host: &str, prepare: impl FnOnce(Plugin) -> Plugin) -> Finished {
        let response = json!({
            "SessionId": "s-0123456789abcdef0",
            "TokenValue": "token",
            "StreamUrl": format!("wss://{host}:{}/v1/data-channel/s-0123456789abcdef0?role=publish_subscribe", self.port),
        });
        let plugin = Plugin::bare([
            "AWS_SSM_START_SESSION_RESPONSE",
            "eu-central-1",
            "StartSession",
            "",
            "{}",
            "",
        ])
        .env("AWS_SSM_START_SESSION_RESPONSE", response.to_string())
        .env("SSM_PLUGIN_ALLOW_STREAM_HOST", host)
        .env("SSM_PLUGIN_SKIP_CLIENT_CONFIGURE", "true")
        .stdin(Io::Null);
        prepare(plugin).run(b"")
    }

    /// The client trusts the gateway, whatever comes of it.
    pub fn assert_trusted(&self, finished: &Finished) {
        let last = std::iter::from_fn(|| self.handshakes.try_recv().ok()).last();
        assert!(
            matches!(&last, Some(Handshake::Trusted(head)) if head.starts_with("GET /v1/data-channel/")),
            "{last:?}, {finished:?}"
        );
    }

    /// The client does not trust the gateway, says why, and has sent nothing.
    pub fn assert_refused(&self, finished: &Finished, reason: &str) {
        let all: Vec<_> = self.handshakes.try_iter().collect();
        assert!(
            !all.iter().any(|one| matches!(one, Handshake::Trusted(_))),
            "{all:?}"
        );
        assert_eq!(finished.code(), 1, "{finished:?}");
        for output in [&finished.stdout, &finished.stderr] {
            assert!(output.contains(reason), "{reason}: {finished:?}");
        }
    }
}

fn serve(acceptor: &native_tls::TlsAcceptor, socket: TcpStream) -> Handshake {
    socket.set_read_timeout(Some(TIMEOUT)).unwrap();
    let Ok(mut stream) = acceptor.accept(socket) else {
        return Handshake::Refused;
    };
    let mut head = Vec::new();
    let mut piece = [0; 4096];
    // In TLS 1.3 the server is done before the client has judged its certificate.
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut piece) {
            Ok(count @ 1..) => head.extend_from_slice(&piece[..count]),
            _ if head.is_empty() => return Handshake::Refused,
            _ => break,
        }
    }
    let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    let _ = stream.shutdown();
    Handshake::Trusted(String::from_utf8_lossy(&head).into_owned())
}

/// Lets the program find a directory where the system's roots are, in a mount namespace of its own. False where that is not possible.
pub fn can_replace_roots() -> bool {
    let possible = Path::new("/etc/ssl/certs").is_dir()
        && std::process::Command::new("unshare")
            .args(["-rm", "mount", "--bind", "/tmp", "/etc/ssl/certs"])
            .output()
            .is_ok_and(|output| output.status.success());
    if !possible {
        eprintln!("skipped: no mount namespaces here");
    }
    possible
}

/// The program finds this directory as `/etc/ssl/certs`, and no variable names other roots.
pub fn with_roots(plugin: Plugin, directory: &Path) -> Plugin {
    let directory = directory.display();
    plugin.before(&format!(
        "[ \"$INSIDE\" ] || exec env INSIDE=1 unshare -rm /bin/sh -c \
         'mount --bind {directory} /etc/ssl/certs && unset INSIDE && exec \"$0\" \"$@\"' \"$0\" \"$@\""
    ))
}

/// Longer than a program that does not hang takes.
pub const SOON: Duration = Duration::from_secs(20);
