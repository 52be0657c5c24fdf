//! The whole way to a server: TLS, its roots, and proxies that do and do not do as asked.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use super::*;

fn limit() -> Limit {
    Limit::within(Duration::from_secs(30))
}

/// Serves each connection on a loopback port by a function, and gives the port.
fn serve(serve: impl Fn(TcpStream) + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for socket in listener.incoming() {
            serve(socket.unwrap());
        }
    });
    port
}

fn network<const N: usize>(variables: [(&str, &str); N]) -> Network {
    Network::new(&Environment::from(variables), None).unwrap()
}

fn read_head(socket: &mut impl Read) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && socket.read(&mut byte).unwrap() == 1 {
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

fn echo(mut stream: impl Read + Write) {
    let mut bytes = [0; 5];
    if stream.read_exact(&mut bytes).is_ok() {
        let _ = stream.write_all(&bytes);
    }
}

fn echoes(stream: &mut NetworkStream) -> bool {
    let limit = limit();
    let mut stream = stream.waiting(&limit);
    let mut bytes = [0; 5];
    stream.write_all(b"hello").is_ok()
        && stream.read_exact(&mut bytes).is_ok()
        && &bytes == b"hello"
}

/// The host that tests ask proxies for: one that no test ever reaches directly.
const FAR: &str = "far.example";

#[test]
fn p55_connect_with_a_password() {
    let port = serve(|mut socket| {
        let head = read_head(&mut socket);
        assert!(
            head.starts_with("CONNECT far.example:443 HTTP/1.1\r\n"),
            "{head}"
        );
        assert!(head.contains("\r\nHost: far.example:443\r\n"), "{head}");
        // me:p@ss
        assert!(
            head.contains("\r\nProxy-Authorization: Basic bWU6cEBzcw==\r\n"),
            "{head}"
        );
        socket
            .write_all(b"HTTP/1.0 200 Connection established\r\nX: y\r\n\r\n")
            .unwrap();
        echo(socket);
    });
    let network = network([("HTTPS_PROXY", &format!("http://me:p%40ss@127.0.0.1:{port}"))]);
    let mut stream = network.connect(true, FAR, 443, &limit()).unwrap();
    assert!(echoes(&mut stream));
}

/// What the user is told when an http proxy answers so.
fn refusal(answer: &'static [u8], login: &str) -> String {
    let port = serve(move |mut socket| {
        read_head(&mut socket);
        socket.write_all(answer).unwrap();
    });
    let network = network([("HTTPS_PROXY", &format!("http://{login}127.0.0.1:{port}"))]);
    let error = network.connect(true, FAR, 443, &limit()).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("HTTPS_PROXY"), "{text}");
    assert!(!text.contains("secret"), "{text}");
    text
}

#[test]
fn p25_a_proxy_that_refuses_is_told() {
    let text = refusal(b"HTTP/1.1 403 Forbidden\r\n\r\n", "");
    assert!(
        text.contains("refused to connect us (status 403 Forbidden)"),
        "{text}"
    );
    let text = refusal(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "");
    assert!(text.contains("wants a user and a password"), "{text}");
    let text = refusal(b"HTTP/1.1 407 No\r\n\r\n", "me:secret@");
    assert!(
        text.contains("did not accept the user and password"),
        "{text}"
    );
    let text = refusal(b"SSH-2.0-OpenSSH_9.9\r\n", "");
    assert!(text.contains("is it a proxy?"), "{text}");
    let text = refusal(b"HTTP/1.1 200 OK\r\n\r\n<html>", "");
    assert!(text.contains("is it a proxy?"), "{text}");
    let text = refusal(b"", "");
    assert!(
        text.contains("closed the connection without an answer"),
        "{text}"
    );
    let text = refusal(&[b'x'; 20_000], "");
    assert!(text.contains("is it a proxy?"), "{text}");
}

#[test]
fn p25_a_proxy_that_hangs_ends_at_the_deadline() {
    let (keep, kept) = std::sync::mpsc::channel();
    let port = serve(move |socket| keep.send(socket).unwrap());
    let network = network([("HTTPS_PROXY", &format!("127.0.0.1:{port}"))]);
    let short = Limit::within(Duration::from_millis(50));
    let error = network.connect(true, FAR, 443, &short).unwrap_err();
    assert!(matches!(error, ConnectError::TimedOut { .. }), "{error}");

    let cancel = Cancel::new().unwrap();
    let cancelled = limit().or_cancelled(&cancel);
    let waiter = thread::spawn(move || network.connect(true, FAR, 443, &cancelled));
    let _sockets = [kept.recv().unwrap(), kept.recv().unwrap()];
    cancel.cancel();
    assert_eq!(waiter.join().unwrap().unwrap_err(), ConnectError::Cancelled);
}

#[test]
fn p25_a_proxy_that_is_not_there_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let network = network([("ALL_PROXY", &format!("socks5://127.0.0.1:{port}"))]);
    let error = network.connect(true, FAR, 443, &limit()).unwrap_err();
    let expected = format!(
        "the proxy socks5://127.0.0.1:{port} (ALL_PROXY) cannot be used: 127.0.0.1:{port} refused the connection"
    );
    assert_eq!(error.to_string(), expected);
}

fn socks_server(status: u8) -> u16 {
    serve(move |mut socket| {
        let mut methods = [0; 2];
        socket.read_exact(&mut methods).unwrap();
        let mut offered = vec![0; methods[1].into()];
        socket.read_exact(&mut offered).unwrap();
        if !offered.contains(&2) {
            socket.write_all(&[5, 0xff]).unwrap();
            return;
        }
        socket.write_all(&[5, 2]).unwrap();
        let mut login = [0; 11];
        socket.read_exact(&mut login).unwrap();
        let accepted = &login == b"\x01\x02me\x06secret";
        socket.write_all(&[1, u8::from(!accepted)]).unwrap();
        if !accepted {
            return;
        }
        let mut head = [0; 4];
        socket.read_exact(&mut head).unwrap();
        let expected: &[u8] = match head[3] {
            1 => &[203, 0, 113, 5, 1, 187],
            3 => b"\x0bfar.example\x01\xbb",
            other => panic!("address type {other}"),
        };
        let mut target = vec![0; expected.len()];
        socket.read_exact(&mut target).unwrap();
        assert_eq!(target, expected);
        socket
            .write_all(&[5, status, 0, 3, 2, b'x', b'y', 0, 0])
            .unwrap();
        echo(socket);
    })
}

#[test]
fn p55_socks_with_a_password() {
    let port = socks_server(0);
    let by_name = network([(
        "ALL_PROXY",
        &format!("socks5h://me:secret@127.0.0.1:{port}"),
    )]);
    assert!(echoes(
        &mut by_name.connect(true, FAR, 443, &limit()).unwrap()
    ));
    let by_address = network([(
        "HTTPS_PROXY",
        &format!("socks5://me:secret@127.0.0.1:{port}"),
    )]);
    assert!(echoes(
        &mut by_address
            .connect(true, "203.0.113.5", 443, &limit())
            .unwrap()
    ));
}

#[test]
fn p25_a_socks_proxy_that_refuses_is_told() {
    let port = socks_server(2);
    let told = |login: &str| {
        let network = network([("ALL_PROXY", &format!("socks5h://{login}127.0.0.1:{port}"))]);
        let error = network.connect(true, FAR, 443, &limit()).unwrap_err();
        error.to_string()
    };
    assert!(told("me:secret@").contains("its rules do not allow it"));
    assert!(told("me:secreT@").contains("did not accept the user and password"));
    assert!(told("").contains("wants a login"));
    let port = serve(|mut socket| socket.write_all(b"HTTP/1.1 400 Bad\r\n\r\n").unwrap());
    let network = network([("ALL_PROXY", &format!("socks5h://127.0.0.1:{port}"))]);
    let error = network.connect(true, FAR, 443, &limit()).unwrap_err();
    assert!(
        error.to_string().contains("does not speak SOCKS 5"),
        "{error}"
    );
}

#[test]
fn a_root_that_is_not_there_names_its_variable() {
    for variable in ["AWS_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"] {
        let environment = Environment::from([(variable, "/no/such/file")]);
        let error = Network::new(&environment, None).unwrap_err();
        assert!(error.to_string().contains(variable), "{error}");
    }
}

mod tls {
    use native_tls::{Identity, Protocol, TlsAcceptor, TlsStream};
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
    use rustix::event::{PollFd, PollFlags};

    use super::*;

    /// The certificate of a new authority, and what shows that a server has a name, signed by it.
    fn identity(name: &str) -> (String, Identity) {
        let authority_key = KeyPair::generate().unwrap();
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority
            .distinguished_name
            .push(DnType::CommonName, format!("The authority of {name}"));
        let root = authority.self_signed(&authority_key).unwrap().pem();
        let issuer = Issuer::new(authority, authority_key);
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new([name.to_owned()]).unwrap();
        let leaf = leaf.signed_by(&key, &issuer).unwrap().pem();
        let identity = Identity::from_pkcs8(leaf.as_bytes(), key.serialize_pem().as_bytes());
        (root, identity.unwrap())
    }

    struct Server {
        port: u16,
        bundle: PathBuf,
        _directory: tempfile::TempDir,
    }

    /// A TLS server for `name`, with an authority of its own.
    fn server(name: &str, newest: Protocol, serve_one: fn(TlsStream<TcpStream>)) -> Server {
        let (root, identity) = identity(name);
        let directory = tempfile::tempdir().unwrap();
        let bundle = directory.path().join("authority.pem");
        std::fs::write(&bundle, root).unwrap();
        let mut acceptor = TlsAcceptor::builder(identity);
        acceptor.max_protocol_version(Some(newest));
        let acceptor = acceptor.build().unwrap();
        let port = serve(move |socket| {
            if let Ok(stream) = acceptor.accept(socket) {
                serve_one(stream);
            }
        });
        Server {
            port,
            bundle,
            _directory: directory,
        }
    }

    fn trusting(server: &Server, variable: &'static str) -> Network {
        network([(variable, server.bundle.to_str().unwrap())])
    }

    #[test]
    fn p55_an_authority_that_only_the_variable_knows() {
        let server = server("localhost", Protocol::Tlsv13, echo);
        for variable in ["AWS_CA_BUNDLE", "SSL_CERT_FILE"] {
            let network = trusting(&server, variable);
            // Twice: the second uses the connector of the first.
            for _ in 0..2 {
                let mut stream = network
                    .open(true, "localhost", server.port, &limit())
                    .unwrap();
                assert!(echoes(&mut stream));
            }
        }
        let directory = server.bundle.parent().unwrap().to_str().unwrap();
        let network = network([("SSL_CERT_DIR", directory)]);
        assert!(
            network
                .open(true, "localhost", server.port, &limit())
                .is_ok()
        );
    }

    #[test]
    fn an_unknown_authority_or_another_name_is_refused() {
        let server = server("localhost", Protocol::Tlsv13, echo);
        let other = super::tls::server("localhost", Protocol::Tlsv13, echo);
        let error =
            trusting(&other, "AWS_CA_BUNDLE").open(true, "localhost", server.port, &limit());
        let text = error.unwrap_err().to_string();
        assert!(text.contains("its certificate is not accepted"), "{text}");
        assert!(text.contains("AWS_CA_BUNDLE"), "{text}");
        let error =
            trusting(&server, "AWS_CA_BUNDLE").open(true, "127.0.0.1", server.port, &limit());
        let text = error.unwrap_err().to_string();
        assert!(text.contains("IP address mismatch"), "{text}");
        let wrong = super::tls::server("elsewhere.example", Protocol::Tlsv13, echo);
        let error = trusting(&wrong, "AWS_CA_BUNDLE").open(true, "localhost", wrong.port, &limit());
        let text = error.unwrap_err().to_string();
        assert!(text.contains("hostname mismatch"), "{text}");
    }

    #[test]
    fn tls_1_2_is_enough() {
        let good = server("localhost", Protocol::Tlsv12, echo);
        let network = trusting(&good, "AWS_CA_BUNDLE");
        let mut stream = network
            .open(true, "localhost", good.port, &limit())
            .unwrap();
        assert!(echoes(&mut stream));
    }

    #[test]
    fn p25_a_server_without_tls_or_that_hangs_is_told() {
        let server = server("localhost", Protocol::Tlsv13, echo);
        let network = trusting(&server, "AWS_CA_BUNDLE");
        let plain = serve(|mut socket| {
            let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        });
        let error = network
            .open(true, "localhost", plain, &limit())
            .unwrap_err();
        assert!(matches!(error, ConnectError::Tls { .. }), "{error}");
        let (keep, _kept) = std::sync::mpsc::channel();
        let silent = serve(move |socket| keep.send(socket).unwrap());
        let short = Limit::within(Duration::from_millis(50));
        let error = network.open(true, "localhost", silent, &short).unwrap_err();
        assert!(matches!(error, ConnectError::TimedOut { .. }), "{error}");
    }

    #[test]
    fn a_bundle_without_certificates_names_its_variable() {
        let directory = tempfile::tempdir().unwrap();
        let bundle = directory.path().join("empty.pem");
        std::fs::write(&bundle, "nothing\n").unwrap();
        let port = serve(|_| ());
        let cases = [
            ("AWS_CA_BUNDLE", bundle.as_path()),
            ("SSL_CERT_DIR", directory.path()),
        ];
        for (variable, path) in cases {
            let network = network([(variable, path.to_str().unwrap())]);
            let error = network.open(true, "localhost", port, &limit()).unwrap_err();
            assert!(error.to_string().contains(variable), "{error}");
        }
    }

    #[test]
    fn p55_tls_inside_the_tls_of_an_https_proxy() {
        static TARGET: std::sync::OnceLock<u16> = std::sync::OnceLock::new();
        fn tunnel(mut outer: TlsStream<TcpStream>) {
            let head = read_head(&mut outer);
            assert!(head.starts_with("CONNECT far.example:443"), "{head}");
            outer.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            let mut inner = TcpStream::connect(("127.0.0.1", *TARGET.get().unwrap())).unwrap();
            outer.get_ref().set_nonblocking(true).unwrap();
            inner.set_nonblocking(true).unwrap();
            let mut buffer = [0; 8192];
            let limit = limit();
            loop {
                let mut pass = |from: &mut dyn Read, to: &mut dyn Write| loop {
                    match from.read(&mut buffer) {
                        Ok(0) => return false,
                        Ok(count) => to.write_all(&buffer[..count]).unwrap(),
                        Err(error) => return error.kind() == std::io::ErrorKind::WouldBlock,
                    }
                };
                if !pass(&mut outer, &mut inner) || !pass(&mut inner, &mut outer) {
                    return;
                }
                let sockets = [outer.get_ref(), &inner];
                let readable = |socket| PollFd::new(socket, PollFlags::IN);
                limit.poll(&mut sockets.map(readable).into(), None).unwrap();
            }
        }
        let target = server(FAR, Protocol::Tlsv13, echo);
        TARGET.set(target.port).unwrap();
        let proxy = server("localhost", Protocol::Tlsv13, tunnel);
        let both = target._directory.path().join("both.pem");
        let bundle =
            [&target.bundle, &proxy.bundle].map(|one| std::fs::read_to_string(one).unwrap());
        std::fs::write(&both, bundle.concat()).unwrap();
        let network = network([
            ("HTTPS_PROXY", &format!("https://localhost:{}", proxy.port)),
            ("AWS_CA_BUNDLE", both.to_str().unwrap()),
        ]);
        let mut stream = network.open(true, FAR, 443, &limit()).unwrap();
        assert!(echoes(&mut stream));
    }
}
