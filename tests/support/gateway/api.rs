//! The API beside the gateway: it counts what is asked, and answers as a test wants.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use session_manager_plugin::internals::encryption::{DATA_KEY_SIZE, Encrypter};
use zeroize::Zeroizing;

use super::SESSION_ID;
use crate::support::{TIMEOUT, lock};

/// A call that came.
#[derive(Debug, Clone)]
pub struct ApiCall {
    /// `ResumeSession`, `TerminateSession`, `GenerateDataKey`, …
    pub operation: String,
    /// What was asked.
    pub body: Value,
    /// When.
    pub at: Instant,
    /// How many of this operation came before.
    pub before: usize,
}

/// What is answered.
#[derive(Debug, Clone)]
pub enum Answer {
    /// A status and a body.
    Json(u16, Value),
    /// Anything, as it is; the connection ends with it.
    Raw(Vec<u8>),
    /// Nothing, and the connection ends.
    Nothing,
}

impl Answer {
    /// A failure, as AWS tells it.
    pub fn error(status: u16, code: &str, message: &str) -> Self {
        Self::Json(status, json!({ "__type": code, "message": message }))
    }

    /// The one data key that this KMS makes, which is also [`agents_key`]'s.
    pub fn data_key(call: &ApiCall) -> Self {
        Self::Json(
            200,
            json!({
                "CiphertextBlob": BASE64_STANDARD.encode("the key under the key"),
                "KeyId": call.body["KeyId"],
                "Plaintext": BASE64_STANDARD.encode(data_key()),
            }),
        )
    }
}

type Rule = dyn Fn(&ApiCall) -> Answer + Send + Sync;

/// The API. By default it resumes and ends the session, and makes one and the same data key.
pub struct Api {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    stream_url: String,
    stopped: AtomicBool,
    calls: Mutex<Vec<ApiCall>>,
    called: Condvar,
    rules: Mutex<HashMap<String, Arc<Rule>>>,
}

impl Api {
    pub(super) fn start(stream_url: String) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("its address");
        let shared = Arc::new(Shared {
            stream_url,
            stopped: AtomicBool::new(false),
            calls: Mutex::default(),
            called: Condvar::new(),
            rules: Mutex::default(),
        });
        let serving = Arc::clone(&shared);
        thread::spawn(move || {
            while let Ok((socket, _)) = listener.accept() {
                if serving.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let shared = Arc::clone(&serving);
                // A caller that leaves early is part of some tests.
                thread::spawn(move || shared.serve(socket));
            }
        });
        Self { address, shared }
    }

    /// For `AWS_ENDPOINT_URL`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers an operation like this from now on.
    pub fn on(&self, operation: &str, answer: impl Fn(&ApiCall) -> Answer + Send + Sync + 'static) {
        lock(&self.shared.rules).insert(operation.to_owned(), Arc::new(answer));
    }

    /// The calls of an operation so far.
    pub fn calls(&self, operation: &str) -> Vec<ApiCall> {
        let calls = lock(&self.shared.calls);
        let of = calls.iter().filter(|call| call.operation == operation);
        of.cloned().collect()
    }

    /// How many calls of an operation came.
    pub fn count(&self, operation: &str) -> usize {
        self.calls(operation).len()
    }

    /// Waits until so many calls of an operation came.
    pub fn wait_for(&self, operation: &str, count: usize) {
        let is_short = |calls: &mut Vec<ApiCall>| {
            let of = calls.iter().filter(|call| call.operation == operation);
            of.count() < count
        };
        let waited =
            self.shared
                .called
                .wait_timeout_while(lock(&self.shared.calls), TIMEOUT, is_short);
        let (calls, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        assert!(
            !timeout.timed_out(),
            "waited in vain for {count} calls of {operation}: {calls:?}"
        );
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn serve(&self, mut socket: TcpStream) -> io::Result<()> {
        let (operation, body) = read_request(&socket)?;
        let call = {
            let mut calls = lock(&self.calls);
            let same = calls.iter().filter(|call| call.operation == operation);
            let before = same.count();
            let call = ApiCall {
                operation,
                body,
                at: Instant::now(),
                before,
            };
            calls.push(call.clone());
            self.called.notify_all();
            call
        };
        let rule = lock(&self.rules).get(&call.operation).cloned();
        match rule.map_or_else(|| self.answer(&call), |rule| rule(&call)) {
            Answer::Json(status, body) => {
                let body = body.to_string();
                let length = body.len();
                let head = "Content-Type: application/x-amz-json-1.1\r\nConnection: close";
                write!(
                    socket,
                    "HTTP/1.1 {status} X\r\n{head}\r\nContent-Length: {length}\r\n\r\n{body}"
                )
            }
            Answer::Raw(bytes) => socket.write_all(&bytes),
            Answer::Nothing => Ok(()),
        }
    }

    fn answer(&self, call: &ApiCall) -> Answer {
        match call.operation.as_str() {
            "ResumeSession" => Answer::Json(
                200,
                json!({
                    "SessionId": SESSION_ID,
                    "TokenValue": format!("token-of-resume-{}", call.before),
                    "StreamUrl": self.stream_url,
                }),
            ),
            "TerminateSession" => Answer::Json(200, json!({ "SessionId": SESSION_ID })),
            "GenerateDataKey" => Answer::data_key(call),
            _ => Answer::error(400, "UnknownOperationException", "nobody knows that here"),
        }
    }
}

/// The operation and the body of a request in the JSON dialect.
fn read_request(socket: &TcpStream) -> io::Result<(String, Value)> {
    let mut reader = BufReader::new(socket);
    let (mut operation, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? <= 2 {
            break;
        }
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        let value = value.trim();
        if name.eq_ignore_ascii_case("x-amz-target") {
            operation = value.rsplit('.').next().unwrap_or_default().to_owned();
        } else if name.eq_ignore_ascii_case("content-length") {
            length = value.parse().map_err(io::Error::other)?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok((operation, serde_json::from_slice(&body).unwrap_or_default()))
}

fn data_key() -> [u8; DATA_KEY_SIZE] {
    std::array::from_fn(|index| index as u8)
}

/// What an agent encrypts and decrypts with that has the data key.
pub fn agents_key() -> Encrypter {
    let mut key = data_key();
    key.rotate_left(DATA_KEY_SIZE / 2);
    Encrypter::new(&Zeroizing::new(key)).expect("random numbers")
}
