//! The HTTP request that becomes a websocket: path, signature, and what a test wants to go wrong.

use std::io::Write;
use std::sync::{Arc, mpsc};

use tungstenite::handshake::derive_accept_key;

use super::Socket;
use crate::api::http_date;
use crate::config::{Check, Upgrade};
use crate::http::{Request, Response, read_request};
use crate::record::Event;
use crate::sandbox::Shared;
use crate::session::Session;
use crate::signature;
use crate::threads::{Threads, reset};

const PATH: &str = "/v1/data-channel/";

/// An open websocket, of a session that exists.
pub(super) struct Accepted {
    pub(super) socket: Socket,
    /// Bytes that came behind the request.
    pub(super) rest: Vec<u8>,
    pub(super) session: Arc<Session>,
    pub(super) frozen: bool,
}

/// Reads the request and answers it.
pub(super) fn upgrade(mut socket: Socket, shared: &Shared, threads: &Threads) -> Option<Accepted> {
    let (request, rest) = read_request(&mut socket).ok()??;
    let id = request.path().strip_prefix(PATH).unwrap_or_default();
    let session = shared.session(id);
    let signed = signature::verify_upgrade(&request, shared);
    let (answer, reason) = match (&session, &signed) {
        (None, _) => (Upgrade::Status(404), "no such session".to_owned()),
        (Some(_), Err(error)) => (Upgrade::Status(403), error.message.clone()),
        (Some(_), Ok(None)) if shared.config.upgrade_signatures == Check::Required => {
            (Upgrade::Status(403), "not signed".into())
        }
        (Some(session), Ok(_)) => match plain_errors(&request) {
            Some(error) => (Upgrade::Status(400), error),
            None => (session.next_upgrade(), "as the test wants it".into()),
        },
    };
    let status = match &answer {
        Upgrade::Accept | Upgrade::AcceptAndFreeze => 101,
        Upgrade::Status(status) => *status,
        Upgrade::Raw(_) | Upgrade::Hang | Upgrade::Reset => 0,
    };
    shared.journal.note(Event::Upgrade {
        session: id.to_owned(),
        target: request.target.clone(),
        headers: request.headers.clone(),
        signed_by: signed.ok().flatten(),
        status,
        reason: if status == 101 {
            String::new()
        } else {
            reason.clone()
        },
    });
    match answer {
        Upgrade::Accept | Upgrade::AcceptAndFreeze => {
            let key = request.header("sec-websocket-key").unwrap_or_default();
            let accept = derive_accept_key(key.as_bytes());
            let head = format!(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
            );
            socket.write_all(head.as_bytes()).ok()?;
            socket.flush().ok()?;
            Some(Accepted {
                socket,
                rest,
                session: session?,
                frozen: answer == Upgrade::AcceptAndFreeze,
            })
        }
        Upgrade::Status(status) => {
            let mut response = Response::new(status, "text/plain", reason);
            // By it, who was refused for a signature's time learns the right one.
            response
                .headers
                .push(("Date".into(), http_date(shared.now())));
            let _ = response.write(&mut socket);
            None
        }
        Upgrade::Raw(bytes) => {
            let _ = socket.write_all(&bytes);
            let _ = socket.flush();
            None
        }
        Upgrade::Hang => {
            wait_for_the_end(threads);
            None
        }
        Upgrade::Reset => {
            reset(socket.tcp());
            None
        }
    }
}

/// Sleeps until everything ends.
fn wait_for_the_end(threads: &Threads) {
    let (sender, receiver) = mpsc::channel();
    let _hook = threads.on_stop(move || {
        let _ = sender.send(());
    });
    let _ = receiver.recv();
}

fn plain_errors(request: &Request) -> Option<String> {
    let is = |name: &str, wanted: &str| {
        request
            .header(name)
            .is_some_and(|value| value.to_ascii_lowercase().contains(wanted))
    };
    if request.method != "GET" || !is("connection", "upgrade") || !is("upgrade", "websocket") {
        return Some("not a websocket upgrade".into());
    }
    if !is("sec-websocket-version", "13") || request.header("sec-websocket-key").is_none() {
        return Some("bad websocket version or key".into());
    }
    if request.query_value("role").as_deref() != Some("publish_subscribe") {
        return Some("role is not publish_subscribe".into());
    }
    None
}
