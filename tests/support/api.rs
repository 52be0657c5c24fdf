//! An API, a proxy or any other server whose behaviour is a script: each connection is answered by a function.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::lock;

/// A server on loopback, for as long as the test runs.
pub struct Script {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Script {
    /// `answer` gets the head of a request and its connection, a thread for each.
    pub fn new(answer: impl Fn(&str, &mut TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let keep = Arc::clone(&asked);
        let answer = Arc::new(answer);
        thread::spawn(move || {
            for socket in listener.incoming() {
                let (Ok(mut socket), answer, keep) =
                    (socket, Arc::clone(&answer), Arc::clone(&keep))
                else {
                    return;
                };
                thread::spawn(move || {
                    if let Some(head) = read_head(&mut socket) {
                        lock(&keep).push(head.clone());
                        answer(&head, &mut socket);
                    }
                });
            }
        });
        Self { address, asked }
    }

    /// Always the same answer, and then the end.
    pub fn fixed(answer: impl Into<String>) -> Self {
        let answer = answer.into();
        Self::new(move |_, socket| drop(socket.write_all(answer.as_bytes())))
    }

    /// One beginning, and then the same bytes as long as somebody takes them.
    pub fn flood(beginning: &'static str, again: String) -> Self {
        let again = again.repeat(1 + 64 * 1024 / again.len());
        Self::new(move |_, socket| {
            let _ = socket.write_all(beginning.as_bytes());
            while socket.write_all(again.as_bytes()).is_ok() {}
        })
    }

    /// An answer with a body of JSON.
    pub fn json(status: u16, body: &serde_json::Value) -> Self {
        let body = body.to_string();
        Self::fixed(format!(
            "HTTP/1.1 {status} Status\r\nContent-Type: application/x-amz-json-1.1\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The heads of all requests so far.
    pub fn asked(&self) -> Vec<String> {
        lock(&self.asked).clone()
    }
}

/// A request to its empty line, and what came with it.
fn read_head(socket: &mut TcpStream) -> Option<String> {
    socket
        .set_read_timeout(Some(Duration::from_secs(20)))
        .ok()?;
    let mut head = Vec::new();
    let mut piece = [0; 4096];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        match socket.read(&mut piece) {
            Ok(count @ 1..) => head.extend_from_slice(&piece[..count]),
            _ => return None,
        }
    }
    Some(String::from_utf8_lossy(&head).into_owned())
}
