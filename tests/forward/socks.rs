//! The SOCKS5 proxy, as curl, OpenSSH's nc and browsers ask it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};
use std::process::Command;

use sandbox::AgentConfig;

use crate::port_support::ssh::{Ssh, run};
use crate::port_support::{Server, connect, fast, read_all, reset};
use crate::{fast_sandbox, forward, only_port, sandbox_with, starts};

/// A server that answers any request with a page.
pub(crate) fn web() -> Server {
    Server::start(|mut stream| {
        let mut buffer = [0; 4096];
        let mut request = Vec::new();
        while !request.windows(4).any(|end| end == b"\r\n\r\n") {
            match stream.read(&mut buffer) {
                Ok(count @ 1..) => request.extend_from_slice(&buffer[..count]),
                _ => return,
            }
        }
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello");
    })
}

fn negotiated(port: u16, request: &[u8]) -> (TcpStream, [u8; 10]) {
    let mut stream = connect(port);
    stream.write_all(&[5, 2, 0, 2]).expect("to greet");
    let mut method = [0; 2];
    stream.read_exact(&mut method).expect("a method");
    assert_eq!(method, [5, 0]);
    stream.write_all(request).expect("to ask");
    let mut reply = [0; 10];
    stream.read_exact(&mut reply).expect("a reply");
    (stream, reply)
}

#[test]
fn curl_reaches_names_and_addresses() {
    let sandbox = fast_sandbox();
    let server = web();
    let plugin = forward(&sandbox, &["-D", "0"]).spawn();
    let proxy = format!("127.0.0.1:{}", only_port(&plugin));
    for (option, host) in [
        ("--socks5-hostname", "localhost"),
        ("--socks5", "127.0.0.1"),
        ("--socks5-hostname", "ip6-localhost"),
    ] {
        let url = format!("http://{host}:{}/", server.port());
        let output = Command::new("curl")
            .args(["-sS", "-m", "20", option, &proxy, &url])
            .output()
            .expect("curl");
        if host == "ip6-localhost" {
            // Nothing listens there: what the agent cannot reach is a failure.
            assert!(!output.status.success());
        } else {
            assert_eq!(
                String::from_utf8_lossy(&output.stdout),
                "hello",
                "{output:?}"
            );
        }
    }
    // One for the target itself, one for the other name.
    assert_eq!(starts(&sandbox), 2);
}

#[test]
fn ssh_goes_through_nc_as_its_proxy_command() {
    let ssh = Ssh::start();
    let plugin = forward(&ssh.sandbox, &["-D", "0"]).spawn();
    let proxy = format!("127.0.0.1:{}", only_port(&plugin));
    let config = ssh.plain("nc", &format!("ProxyCommand nc -X 5 -x {proxy} %h %p"));
    let port = ssh.port().to_string();
    // A name that is resolved over there, and an address.
    for host in ["localhost", "127.0.0.1"] {
        let output =
            run(ssh
                .command("ssh", &config)
                .args(["-p", &port, host, "printf '%s' there"]));
        assert_eq!(output.stdout, b"there", "{host}");
    }
}

#[test]
fn a_browser_asks_for_names_and_for_ipv6_and_for_many_at_once() {
    let Ok(listener) = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)) else {
        return;
    };
    let six = listener.local_addr().expect("its address").port();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let _ = stream.write_all(b"six");
        }
    });
    let sandbox = sandbox_with(AgentConfig {
        hosts: vec![("intranet.example".to_owned(), Ipv4Addr::LOCALHOST.into())],
        ..fast()
    });
    let server = web();
    let plugin = forward(&sandbox, &["-D", "0"]).spawn();
    let port = only_port(&plugin);
    // Firefox greets with one method, and gives names as they are where it is to resolve nothing itself.
    let browser = |kind: u8, address: &[u8], to: u16| {
        let mut stream = connect(port);
        stream.write_all(&[5, 1, 0]).expect("to greet");
        let mut method = [0; 2];
        stream.read_exact(&mut method).expect("a method");
        assert_eq!(method, [5, 0]);
        let request = [&[5, 1, 0, kind], address, &to.to_be_bytes()].concat();
        stream.write_all(&request).expect("to ask");
        let mut reply = [0; 10];
        stream.read_exact(&mut reply).expect("a reply");
        assert_eq!(reply[..4], [5, 0, 0, 1]);
        stream
    };
    let name = b"\x10intranet.example";
    let mut all: Vec<TcpStream> = (0..6).map(|_| browser(3, name, server.port())).collect();
    // Some are opened for what may come, and closed again.
    drop(all.split_off(4));
    for stream in &mut all {
        let request = b"GET / HTTP/1.1\r\nHost: intranet.example\r\n\r\n";
        stream.write_all(request).expect("to ask");
        assert!(read_all(stream).ends_with(b"\r\n\r\nhello"));
    }
    let stream = browser(4, &Ipv6Addr::LOCALHOST.octets(), six);
    assert_eq!(read_all(&stream), b"six");
    let url = format!("http://[::1]:{six}/");
    let proxy = format!("127.0.0.1:{port}");
    let output =
        run(Command::new("curl").args(["-sS", "--http0.9", "-m", "20", "--socks5", &proxy, &url]));
    assert_eq!(output.stdout, b"six");
    assert_eq!(starts(&sandbox), 2);
}

#[test]
fn data_right_behind_the_request_is_the_connection_s() {
    let sandbox = fast_sandbox();
    let server = Server::echo();
    let plugin = forward(&sandbox, &["-D", "0"]).spawn();
    let mut request = vec![5, 1, 0, 3, 9];
    request.extend_from_slice(b"localhost");
    request.extend_from_slice(&server.port().to_be_bytes());
    request.extend_from_slice(b"early");
    let (mut stream, reply) = negotiated(only_port(&plugin), &request);
    assert_eq!(reply[..2], [5, 0]);
    let mut bytes = [0; 5];
    stream.read_exact(&mut bytes).expect("an echo");
    assert_eq!(&bytes, b"early");
}

#[test]
fn what_cannot_be_done_is_refused() {
    let sandbox = fast_sandbox();
    let plugin = forward(&sandbox, &["-D", "0"]).spawn();
    let port = only_port(&plugin);
    let bind = [5, 2, 0, 1, 127, 0, 0, 1, 0, 80];
    assert_eq!(negotiated(port, &bind).1[1], 7);
    let strange = [5, 1, 0, 3, 3, b'a', b';', b'b', 0, 80];
    assert_eq!(negotiated(port, &strange).1[1], 4);
    let mut http = connect(port);
    http.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("to write");
    let mut rest = Vec::new();
    let _ = http.read_to_end(&mut rest);
    assert!(rest.is_empty());
    assert_eq!(starts(&sandbox), 0);
}

#[test]
fn at_most_twenty_destinations_have_a_session() {
    let sandbox = fast_sandbox();
    let plugin = forward(&sandbox, &["-D", "0"]).spawn();
    let port = only_port(&plugin);
    for number in 0..25_u16 {
        let server = Server::echo();
        let mut request = vec![5, 1, 0, 1, 127, 0, 0, 1];
        request.extend_from_slice(&server.port().to_be_bytes());
        let (mut stream, reply) = negotiated(port, &request);
        assert_eq!(reply[1], 0, "destination {number}");
        crate::echo_on(&mut stream).expect("an echo");
        // Gone at once: one that just ends may still want to read.
        reset(stream);
        assert!(
            sandbox.sessions().len() <= 21,
            "{}",
            sandbox.sessions().len()
        );
    }
    assert_eq!(starts(&sandbox), 25);
}
