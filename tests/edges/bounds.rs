//! The table of bounds (`src/datachannel/mod.rs`), row by row: a gateway pushes each bound to its limit, and the memory of the built
//! program stays small.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use session_manager_plugin::internals::message::{MessageType, PayloadType};

use crate::port_support::connect;
use crate::support::gateway::{BINARY, Gateway, PING, Peer, Sender, frame, stream};
use crate::support::{Io, Running, wait_until, wait_until_still};
use crate::usage::{assert_modest, watch};

/// How far a thread of the script has come, for the test to look at.
#[derive(Clone, Default)]
struct Progress(Arc<AtomicUsize>);

impl Progress {
    fn add(&self, count: usize) {
        self.0.fetch_add(count, Ordering::SeqCst);
    }

    fn total(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    /// Waits until nothing happens any more; something must have happened before. The total.
    fn wait_for_rest(&self) -> usize {
        wait_until_still("an end of the progress", || self.total() as u64);
        self.total()
    }
}

/// Writes what `next` makes, again and again, until the connection ends or `most` bytes are written.
fn flood(sender: &Sender, progress: &Progress, most: usize, mut next: impl FnMut() -> Vec<u8>) {
    let mut written = 0;
    while written < most {
        let bytes = next();
        if sender.raw(&bytes).is_err() {
            return;
        }
        written += bytes.len();
        progress.add(bytes.len());
    }
}

/// A port session for stdin and stdout, with payloads of this size and so many bytes of input.
fn piped(gateway: &Gateway, payload_size: &str, input: usize) -> Running {
    let plugin = gateway
        .plugin()
        .env("SSM_PLUGIN_PAYLOAD_SIZE", payload_size)
        .spawn();
    // Blocks when the program reads no more; ends with it.
    let mut sink = plugin.stdin_writer();
    std::thread::spawn(move || {
        let piece = vec![7; 64 << 10];
        for _ in 0..input / piece.len() {
            if sink.write_all(&piece).is_err() {
                return;
            }
        }
    });
    plugin
}

/// Reads messages until the connection ends, counts the different ones, and acknowledges those that `acknowledges` names.
fn take(
    peer: &mut Peer,
    progress: &Progress,
    mut acknowledges: impl FnMut(i64) -> bool,
) -> io::Result<()> {
    let mut seen = BTreeSet::new();
    loop {
        let message = peer.read_message()?;
        if message.message_type != MessageType::InputStreamData {
            continue;
        }
        if seen.insert(message.number) {
            progress.add(1);
        }
        if acknowledges(message.number) {
            peer.acknowledge(message.number)?;
        }
    }
}

#[test]
fn what_is_sent_and_never_acknowledged_stays_within_the_window() {
    // The window grows first, and then nothing is acknowledged any more.
    for (payload_size, acknowledged) in [("1024", 12_000), ("32768", 3_000)] {
        let progress = Progress::default();
        let counted = progress.clone();
        let gateway = Gateway::start(move |dial| {
            let mut peer = dial.accept()?;
            peer.start_port(None)?;
            take(&mut peer, &counted, |number| number < acknowledged)
        });
        let plugin = piped(&gateway, payload_size, 1 << 30);
        let total = progress.wait_for_rest();
        assert_modest("a full window", plugin.usage());
        let beyond = total as i64 - acknowledged;
        assert!((1..4096 + 100).contains(&beyond), "{beyond}");
    }
}

#[test]
fn numbers_run_ahead_of_a_missing_acknowledgement_by_a_bound() {
    let progress = Progress::default();
    let counted = progress.clone();
    let gateway = Gateway::start(move |dial| {
        let mut peer = dial.accept()?;
        peer.start_port(None)?;
        take(&mut peer, &counted, |number| number != 100)
    });
    let plugin = piped(&gateway, "1024", 1 << 30);
    let total = progress.wait_for_rest();
    assert_modest("one acknowledgement missing", plugin.usage());
    assert!((16_000..100 + 16_384 + 100).contains(&total), "{total}");
}

#[test]
fn a_socket_that_takes_nothing_holds_input_back() {
    let gateway = Gateway::start(move |dial| {
        let mut peer = dial.accept()?;
        peer.start_port(None)?;
        let mut count = 0;
        peer.serve_until(|_| {
            count += 1;
            count == 3_000
        })?;
        peer.output(b"paused")?;
        peer.pause_reading()
    });
    let plugin = piped(&gateway, "32768", 1 << 30);
    plugin.stdout.wait_for("paused");
    // Wake-ups are read too, eight bytes each: only pages count.
    wait_until_still("input to wait", || plugin.bytes_read() / 4096);
    assert_modest("a gateway that does not read", plugin.usage());
    gateway.stop();
}

#[test]
fn many_sizes_before_the_start_are_sent_as_few() {
    let sizes = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&sizes);
    let gateway = Gateway::start(move |dial| {
        let mut peer = dial.accept()?;
        peer.wait_for_test()?;
        peer.output(b"ready> ")?;
        peer.serve_until(|message| {
            if message.is(PayloadType::Size) {
                noted.lock().unwrap().push(message.json());
            }
            false
        })
    });
    let plugin = gateway.plugin().terminal().spawn();
    plugin.terminal.wait_for("Starting session");
    for columns in 100..400 {
        plugin.resize(columns, 50);
    }
    gateway.go_on();
    plugin.terminal.wait_for("ready> ");
    wait_until("the newest size", || {
        sizes
            .lock()
            .unwrap()
            .last()
            .is_some_and(|size| size["cols"] == 399)
    });
    let sizes = sizes.lock().unwrap();
    assert!(sizes.len() <= 3, "{sizes:?}");
}

#[test]
fn acknowledgements_that_nobody_takes_do_not_pile_up() {
    let progress = Progress::default();
    let counted = progress.clone();
    let gateway = Gateway::start(move |dial| {
        let peer = dial.accept()?;
        peer.output(b"$ ")?;
        // The same message again and again: each copy is to be acknowledged.
        let again = stream(0, PayloadType::Output, b"$ ").repeat(500);
        flood(&peer, &counted, 32 << 20, || again.clone());
        peer.output(b"flooded")?;
        peer.pause_reading()
    });
    let plugin = gateway.plugin().terminal().spawn();
    plugin.terminal.wait_for("flooded");
    assert_modest("acknowledgements that wait", plugin.usage());
    gateway.stop();
}

#[test]
fn what_comes_too_early_waits_within_a_bound_and_arrives() {
    for (size, count) in [(1, 24_000), (1024, 24_000), (32 << 10, 1_000)] {
        let acknowledged = Progress::default();
        let noted = acknowledged.clone();
        let payload = vec![b'x'; size];
        let gateway = Gateway::start(move |dial| {
            let mut peer = dial.accept()?;
            let sender = peer.sender();
            let payload = payload.clone();
            let test = peer.test();
            std::thread::spawn(move || {
                for number in 1..=count {
                    let message = stream(number, PayloadType::Output, &payload);
                    if sender.raw(&message).is_err() {
                        return;
                    }
                }
                if test.wait().is_ok() {
                    let _ = sender.stream_at(0, PayloadType::Output, b"!");
                }
            });
            loop {
                let message = peer.read_message()?;
                let is_early = message.message_type == MessageType::Acknowledge
                    && message.json()["AcknowledgedMessageSequenceNumber"] != 0;
                noted.add(usize::from(is_early));
            }
        });
        let plugin = gateway.plugin().spawn();
        let kept = acknowledged.wait_for_rest();
        assert_modest(
            &format!("{size} bytes too early, {kept} kept"),
            plugin.usage(),
        );
        assert!(kept > 100 && (kept as i64) < count, "{kept}");
        gateway.go_on();
        // A message that is kept while the acknowledge thread is behind is acknowledged only when it comes again.
        plugin
            .stdout
            .wait_until("all that was acknowledged", |shown| {
                let shown = shown.iter().filter(|byte| **byte == b'x').count();
                shown >= acknowledged.total() * size
            });
        assert_modest(&format!("{size} bytes, come at last"), plugin.usage());
    }
}

/// A shell whose output nobody takes, made of these.
fn untaken(what: &str, next: impl Fn(i64) -> Vec<u8> + Send + Sync + 'static) {
    let progress = Progress::default();
    let counted = progress.clone();
    let next = Arc::new(next);
    let gateway = Gateway::start(move |dial| {
        let mut peer = dial.accept()?;
        let sender = peer.sender();
        let counted = counted.clone();
        let next = Arc::clone(&next);
        std::thread::spawn(move || {
            let mut number = -1;
            flood(&sender, &counted, 48 << 20, || {
                let mut bytes = Vec::new();
                while bytes.len() < 64 << 10 {
                    number += 1;
                    bytes.extend(next(number));
                }
                bytes
            });
        });
        while peer.read_frame().is_ok() {}
        Ok(())
    });
    let plugin = gateway.plugin().stdout(Io::HeldPipe).spawn();
    let taken = progress.wait_for_rest();
    assert_modest(&format!("{what}: {} MB taken", taken >> 20), plugin.usage());
}

#[test]
fn output_that_nobody_takes_stops_the_reading() {
    untaken("full messages", |number| {
        stream(number, PayloadType::Output, &[b'x'; 1024])
    });
    untaken("single bytes", |number| {
        stream(number, PayloadType::Output, b"x")
    });
    untaken("a byte in a large frame", |number| {
        let mut message = stream(number, PayloadType::Output, b"x");
        // The header's length says where the payload begins: here far behind the header.
        let body = message.split_off(2);
        let mut long = vec![0; 200 << 10];
        long[..120].copy_from_slice(&body[..120]);
        let header = (long.len() - 5) as u32;
        long[..4].copy_from_slice(&header.to_be_bytes());
        // Without a length the digest is not looked at.
        long[116..120].fill(0);
        frame(BINARY, true, &long)
    });
    untaken("small messages between pings", |number| {
        let mut bytes = stream(number, PayloadType::Output, &[b'x'; 60]);
        for _ in 0..120 {
            bytes.extend(frame(PING, true, &[0; 125]));
        }
        bytes
    });
    untaken(
        "small messages between large frames that are no messages",
        |number| {
            let mut bytes = stream(number, PayloadType::Output, &[b'x'; 60]);
            bytes.extend(frame(BINARY, true, &vec![0; 1 << 20]));
            bytes
        },
    );
}

#[test]
fn a_frame_that_is_too_large_breaks_the_connection_before_it_is_kept() {
    for length in [(1 << 20) + 1, 1 << 32, u64::MAX >> 1, u64::MAX] {
        let gateway = Gateway::start(move |dial| {
            let number = dial.number;
            let mut peer = dial.accept()?;
            if number == 0 {
                peer.output(b"$ ")?;
                let mut head = vec![0x80 | BINARY, 127];
                head.extend_from_slice(&length.to_be_bytes());
                peer.raw(&head)?;
                flood(&peer, &Progress::default(), 64 << 20, || vec![0; 64 << 10]);
                return peer.serve();
            }
            peer.set_next(1);
            peer.output(b"again")?;
            peer.serve()
        });
        let plugin = gateway.plugin().terminal().spawn();
        plugin.terminal.wait_for("again");
        assert_modest(&format!("a frame of {length} bytes"), plugin.usage());
    }
}

#[test]
fn json_that_is_far_too_large_is_not_parsed() {
    for what in ["request", "complete", "closed", "acknowledge"] {
        let filling = "[1],".repeat(240_000);
        let json = format!(
            r#"{{"AgentVersion":"3.3.0.0","Output":"bye","RequestedClientActions":[{{"ActionType":"x","ActionParameters":[{filling}1]}}]}}"#
        );
        let gateway = Gateway::start(move |dial| {
            let mut peer = dial.accept()?;
            match what {
                "request" => drop(peer.stream(PayloadType::HandshakeRequest, json.as_bytes())?),
                "complete" => {
                    peer.request(&[Sender::session_type(
                        "Standard_Stream",
                        serde_json::Value::Null,
                    )])?;
                    peer.stream(PayloadType::HandshakeComplete, json.as_bytes())?;
                }
                "closed" => peer.control(MessageType::ChannelClosed, json.as_bytes())?,
                _ => {
                    for _ in 0..10 {
                        peer.control(MessageType::Acknowledge, json.as_bytes())?;
                    }
                    peer.output(b"$ ")?;
                    peer.channel_closed("")?;
                }
            }
            peer.serve()
        });
        let plugin = gateway.plugin().spawn();
        assert_modest(&format!("a large {what}"), watch(&plugin));
    }
}

#[test]
fn a_connection_that_nobody_reads_keeps_no_more_than_its_budget() {
    let progress = Progress::default();
    let counted = progress.clone();
    let gateway = Gateway::start(move |dial| {
        let mut peer = dial.accept()?;
        peer.start_port(Some(0))?;
        // Two connections: the first is never read, the other is.
        let mut opened = 0;
        peer.serve_until(|message| {
            opened += usize::from(message.payload.starts_with(&[1, 0]));
            opened == 2
        })?;
        let sender = peer.sender();
        let counted = counted.clone();
        std::thread::spawn(move || {
            let push = |id: u8, data: &[u8]| {
                let length = (data.len() as u16).to_le_bytes();
                let mut bytes = vec![1, 2, length[0], length[1], id, 0, 0, 0];
                bytes.extend_from_slice(data);
                bytes
            };
            let mut number = 0;
            // One message for the connection that is not read among many for the other.
            loop {
                let (id, size) = if number % 15 == 0 {
                    (3, 900)
                } else {
                    (5, 1016)
                };
                if sender.output(&push(id, &vec![b'x'; size])).is_err() {
                    return;
                }
                number += 1;
                counted.add(1);
            }
        });
        while peer.read_frame().is_ok() {}
        Ok(())
    });
    let plugin = gateway.plugin().spawn();
    let port = plugin.listening_port();
    let unread = connect(port);
    let mut read = connect(port);
    std::thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(1..) = read.read(&mut buffer) {}
    });
    progress.wait_for_rest();
    assert_modest("a connection that nobody reads", plugin.usage());
    drop(unread);
}
