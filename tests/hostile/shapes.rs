//! What comes from outside, each thing as one function that takes any bytes and must neither panic nor hang. The fuzz targets call
//! them (`tests/fuzz`), and so do the tests here.
#![allow(dead_code, reason = "each fuzz target uses one of these")]

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::time::{Duration, Instant};

use bytes::Bytes;
use session_manager_plugin::cli::Invocation;
use session_manager_plugin::communicator::StreamUrl;
use session_manager_plugin::datachannel::SequenceState;
use session_manager_plugin::message::{Message, MessageType, PayloadType, number};
use session_manager_plugin::network::judge_answers;
use session_manager_plugin::settings::{Environment, Settings};
use session_manager_plugin::smux::{self, Transmit};
use session_manager_plugin::terminal::escape::{Escape, Escapes};

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
    let mut session = smux::Session::new(data.len().is_multiple_of(2), start);
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
            if let Transmit::Turn(id) = transmit {
                session.local_end(id, now);
            }
        }
        while let Some(event) = session.poll_event() {
            if let smux::Event::Readable(id) = event {
                let unread = session.unread(id).map(<[u8]>::len).sum::<usize>();
                session.consume(id, unread / 2, now);
                session.want_turn(id);
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
    if let Ok(Invocation::Own(own)) = Invocation::parse(&own.map(text), &mut no_variables()) {
        let _ = own.start(&no_variables());
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
