//! What comes from outside, each thing as one function that takes any bytes and must neither panic nor hang. The fuzz targets call
//! them (`tests/fuzz`), and so do the tests here.
#![allow(dead_code, reason = "each fuzz target uses one of these")]

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::time::{Duration, Instant};

use bytes::Bytes;
use session_manager_plugin::cli::{Invocation, Own};
use session_manager_plugin::internals::aws;
use session_manager_plugin::internals::client::forward::negotiate;
use session_manager_plugin::internals::communicator::StreamUrl;
use session_manager_plugin::internals::datachannel::{GaveUp, Recovery, SequenceState};
use session_manager_plugin::internals::error::{Failure, Meaning};
use session_manager_plugin::internals::message::{Message, MessageType, PayloadType, number};
use session_manager_plugin::internals::network::judge_answers;
use session_manager_plugin::internals::settings::{Environment, Settings};
use session_manager_plugin::internals::smux::{self, Transmit};
use session_manager_plugin::internals::terminal::escape::{Escape, Escapes};

/// Cuts the input where it says itself: the first byte of each piece is its length.
fn pieces(mut data: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, rest) = data.split_first()?;
        let (piece, rest) = rest.split_at(rest.len().min(usize::from(*length)));
        data = rest;
        Some(piece)
    })
}

fn serve(sequence: &mut SequenceState, now: Instant) {
    sequence.handle_timeout(now);
    for _ in 0..1000 {
        let Some(frame) = sequence.poll_transmit(now) else {
            break;
        };
        Message::decode(&frame).expect("what we send is a message");
    }
    while sequence.poll_delivery().is_some() {}
    while sequence.poll_notice().is_some() {}
    sequence.poll_key_request();
    sequence.poll_received();
    sequence.poll_writable();
}

fn give(sequence: &mut SequenceState, frame: &Bytes, now: Instant) {
    match Message::decode(frame) {
        Ok(message) => {
            // What was read is what would be written, but for what is nowhere looked at.
            assert!(message.payload.len() <= frame.len());
            sequence.handle_message(&message, frame.slice_ref(message.payload), now);
        }
        Err(error) => sequence.handle_decode_failure(error, now),
    }
}

/// One frame from the network, at a channel that has just opened and at the same one again.
pub fn message(data: &[u8]) {
    let start = Instant::now();
    let mut sequence = SequenceState::new("1.2.896.0");
    sequence.connected(start);
    let frame = Bytes::copy_from_slice(data);
    for second in 0..3 {
        let now = start + Duration::from_secs(second);
        give(&mut sequence, &frame, now);
        serve(&mut sequence, now);
    }
}

/// Whole messages of the agent with any payloads: handshake requests, completions, challenges, output and acknowledgements.
pub fn handshake(data: &[u8]) {
    const TYPES: [PayloadType; 5] = [
        PayloadType::HandshakeRequest,
        PayloadType::HandshakeComplete,
        PayloadType::EncryptionChallengeRequest,
        PayloadType::Output,
        PayloadType::Flag,
    ];
    let start = Instant::now();
    let mut sequence = SequenceState::new("1.2.896.0");
    sequence.connected(start);
    // Most JSON is longer than a piece, so the first message is all there is, then come the pieces.
    let all = std::iter::once(data).chain(pieces(data));
    for (index, payload) in all.enumerate().take(64) {
        let now = start + Duration::from_millis(100 * index as u64);
        let kind = usize::from(payload.first().copied().unwrap_or(0)) % (TYPES.len() + 1);
        let kind = if index == 0 { 0 } else { kind };
        let mut frame = match TYPES.get(kind) {
            Some(kind) => Message::stream(MessageType::OutputStreamData, *kind, payload),
            None => Message::control(MessageType::Acknowledge, payload),
        }
        .encode();
        number(&mut frame, index as i64);
        give(&mut sequence, &Bytes::from(frame), now);
        serve(&mut sequence, now);
    }
}

/// The agent's multiplexed bytes, cut anywhere, while streams are opened, read, closed and forgotten.
pub fn smux(data: &[u8]) {
    let start = Instant::now();
    let mut session = smux::SmuxSession::new(data.len().is_multiple_of(2), start);
    for (index, piece) in pieces(data).enumerate().take(1000) {
        let now = start + Duration::from_millis(500 * index as u64);
        if index % 4 == 0 && session.len() < 50 && session.open(now).is_err() {
            return;
        }
        if session
            .handle_data(Bytes::copy_from_slice(piece), now)
            .is_err()
        {
            return;
        }
        while let Some(transmit) = session.poll_transmit() {
            if let Transmit::Data(id) = transmit {
                session.local_end(id, now);
            }
        }
        while let Some(event) = session.poll_event() {
            if let smux::SmuxEvent::Readable(id) = event {
                let unread = session.unread(id).map(<[u8]>::len).sum::<usize>();
                session.consume(id, unread / 2, now);
                session.request_send(id);
                if session.is_finished(id) {
                    session.close(id, now);
                }
            }
        }
        session.handle_timeout(now, index % 3 == 0);
    }
    session.reset(start);
    assert!(session.is_empty());
}

/// A client of SOCKS5, however its bytes are cut: the same is read, and what it wants is a host and a port.
pub fn socks(data: &[u8]) {
    let whole = negotiate(data, usize::MAX);
    for piece in [1, 2, 7] {
        assert_eq!(negotiate(data, piece), whole);
    }
    if let Some(destination) = whole {
        assert_ne!(destination.port(), 0);
        let host = destination.host().unwrap_or_default();
        assert!(host.len() <= 253 && host.bytes().all(|byte| byte.is_ascii_graphic()));
    }
}

/// Keys, however they come: nothing is made up, and cutting them differently changes nothing.
pub fn escapes(data: &[u8]) {
    let run = |reads: &mut dyn Iterator<Item = &[u8]>| {
        let mut escapes = Escapes::new(b'~');
        let mut forward = Vec::new();
        let mut reported = Vec::new();
        for read in reads {
            escapes.feed(read, &mut forward, |escape| reported.push(escape));
            if reported.contains(&Escape::Terminate) {
                break;
            }
        }
        (forward, reported)
    };
    let whole = run(&mut std::iter::once(data));
    let bytes = run(&mut data.chunks(1));
    assert_eq!(whole, bytes);
    assert!(whole.0.len() <= data.len());
}

/// The arguments of a call, the first of them the session as JSON; and those of our own subcommands.
pub fn arguments(data: &[u8]) {
    let mut parts = data.split(|byte| *byte == 0);
    let first = parts.next().unwrap_or_default();
    let text = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
    let profile = parts.next().unwrap_or_default();
    let parameters = parts.next().unwrap_or_default();
    let endpoint = parts.next().unwrap_or_default();
    let call = [
        first,
        b"eu-central-1",
        b"StartSession",
        profile,
        parameters,
        endpoint,
    ];
    let no_variables = || Environment::from([("HOME", "/nowhere")]);
    let _ = Invocation::parse(&call.map(text), &mut no_variables());
    let own = [
        &b"start-session"[..],
        b"--target",
        profile,
        b"--parameters",
        first,
    ];
    if let Ok(Invocation::Own(own)) = Invocation::parse(&own.map(text), &mut no_variables())
        && let Own::Session(command) = *own
    {
        let _ = command.start(&no_variables());
    }
    let any: Vec<OsString> = data.split(|byte| *byte == 0).map(text).collect();
    let _ = Invocation::parse(&any, &mut no_variables());
    if let Ok(session) = std::str::from_utf8(first) {
        let name = "AWS_SSM_START_SESSION_RESPONSE";
        let call = [name, "eu-central-1", "StartSession"].map(OsString::from);
        let _ = Invocation::parse(&call, &mut Environment::from([(name, session)]));
    }
}

/// A stream URL: what is taken leads to a host of AWS over TLS, and an error holds nothing of a query.
pub fn stream_url(data: &[u8]) {
    /// Made up, and like nothing in an error's own words.
    const SECRET: &str = "X-Amz-Signature=9f2c41d8e07ab35c";

    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let settings = Settings::from_environment(&Environment::from([("HOME", "/nowhere")]))
        .expect("nothing set");
    if let Ok(url) = StreamUrl::parse(text, &settings) {
        assert!(
            text.get(..3)
                .is_some_and(|scheme| scheme.eq_ignore_ascii_case("wss"))
        );
        assert!(
            url.host()
                .split('.')
                .any(|label| label.starts_with("ssmmessages"))
        );
        url.is_presigned();
    }
    if let Err(error) = StreamUrl::parse(&format!("{text}?{SECRET}"), &settings) {
        let error = error.to_string();
        assert!(
            !error.contains(SECRET) || text.contains(SECRET),
            "a query in an error: {error}"
        );
    }
}

/// What a proxy answers.
pub fn proxy_answers(data: &[u8]) {
    for is_socks in [false, true] {
        if let Err(reason) = judge_answers(is_socks, data) {
            assert!(reason.len() < 2000);
        }
    }
}

/// What an API answers: only what blames the request, and names its error, ends a session (P68), and what is shown is clean.
pub fn api_answers(data: &[u8]) {
    let Some((status, failure)) = aws::judge_answer(data) else {
        return;
    };
    if failure.meaning == Meaning::Gone {
        assert!((400..500).contains(&status), "{status} {failure:?}");
    }
    if status >= 500 {
        assert_eq!(failure.meaning, Meaning::Temporary, "{status} {failure:?}");
    }
    assert!(!failure.reason.chars().any(char::is_control), "{failure:?}");
    assert!(failure.reason.chars().count() < 3000, "{failure:?}");
}

/// One outage: each pair of bytes is a try, how it ends, and how long it takes. Whatever comes, dials keep their distance (P65), trying
/// ends in time (P66), and few lines are told, in turn (P70).
pub fn recovery(data: &[u8]) {
    let start = Instant::now();
    let mut now = start;
    let mut recovery = Recovery::default();
    let mut tries = Vec::new();
    let mut notices = 0;
    recovery.connected(now);
    let mut ended = recovery.disconnected(&failure(0), true, now);
    for pair in data.chunks_exact(2).take(400) {
        if ended.is_err() {
            break;
        }
        // Only one outage is looked at: what proves a connection ends it.
        let Some(end) = recovery.ends_at().filter(|end| *end == start + HOUR) else {
            return;
        };
        let at = recovery.next_try(f64::from(pair[1]) / 255.0, now);
        assert!(at <= end && at <= now + Duration::from_secs(25));
        now = now.max(at);
        recovery.handle_timeout(now);
        let Ok(time) = recovery.begin_try(now) else {
            assert!(now >= end);
            break;
        };
        tries.push(now - start);
        let took = time.min(Duration::from_millis(u64::from(pair[1]) * 100));
        ended = end_try(&mut recovery, pair[0], now, took);
        now += took;
        recovery.handle_timeout(now);
        while recovery.poll_notice().is_some() {
            notices += 1;
        }
    }
    let early = tries.iter().filter(|at| **at < Duration::from_secs(10));
    assert!(early.count() <= 5, "{tries:?}");
    for pair in tries.windows(2) {
        let is_late = pair[1] >= Duration::from_secs(60);
        assert!(
            !is_late || pair[1] - pair[0] >= Duration::from_secs(5),
            "{tries:?}"
        );
    }
    assert!(notices <= 4);
}

const HOUR: Duration = Duration::from_secs(60 * 60);

fn end_try(recovery: &mut Recovery, how: u8, now: Instant, took: Duration) -> Result<(), GaveUp> {
    if how & 0x10 != 0 {
        recovery.excuse_try();
    }
    match how % 3 {
        0 => recovery.resume_failed(&failure(how), now + took),
        1 => recovery.dial_failed(&failure(how), now + took),
        _ => {
            recovery.connected(now);
            if how & 0x20 != 0 {
                recovery.sign();
            }
            for _ in 0..how >> 6 {
                recovery.message();
            }
            recovery.disconnected(&failure(how), how & 0x08 != 0, now + took)
        }
    }
}

/// Mostly a temporary one.
fn failure(how: u8) -> Failure {
    Failure {
        meaning: match how & 0x0c {
            0x04 => Meaning::Denied,
            0x0c if how & 0xc0 == 0xc0 => Meaning::Gone,
            _ => Meaning::Temporary,
        },
        reason: "why".to_owned(),
        is_answer: how & 1 == 0,
    }
}
