//! The hand-overs between senders, the connection thread, its timers and the receiver: the real channel over a real socket, many
//! threads, yields in between. Nobody waits with a time limit, so a wake-up that is lost shows as a hang.
//!
//! `THREADS_SECONDS` says for how long; one round is what runs otherwise. `make soak` runs it under ThreadSanitizer, too.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use sandbox::faults::Faults;
use sandbox::{AgentConfig, Config, Document, Sandbox, SessionConfig};
use session_manager_plugin::internals::communicator::{Dialer, StreamUrl};
use session_manager_plugin::internals::datachannel::{
    self, DataChannel, Delivery, Recipient, Reconnector, Urgency,
};
use session_manager_plugin::internals::message::content::Size;
use session_manager_plugin::internals::network::Network;
use session_manager_plugin::internals::remarks::Remarks;
use session_manager_plugin::internals::settings::{Environment, HostPort, Settings};
use session_manager_plugin::internals::waker::{WakeReceiver, Waker, waker};

const SENDERS: u8 = 8;
const RECORDS: u32 = 1000;
/// Bytes of a record: sender, number, and filling.
const RECORD: usize = 32;
/// A round takes a second; on a busy machine under a sanitizer more.
const HANG: Duration = Duration::from_secs(300);

/// What senders without room wait for.
#[derive(Default)]
struct Room {
    generation: Mutex<u64>,
    changed: Condvar,
}

fn maybe_yield(random: &mut fastrand::Rng) {
    for _ in 0..random.u8(..4) {
        thread::yield_now();
    }
}

fn wait(wake_receiver: &WakeReceiver) {
    let mut descriptors = [PollFd::new(wake_receiver, PollFlags::IN)];
    poll(&mut descriptors, None).expect("poll");
    wake_receiver.clear();
}

/// An agent of before the multiplexer, whose port sends back what it gets.
fn open(sandbox: &Sandbox) -> DataChannel {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        let (mut connection, _) = listener.accept().expect("a connection");
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = connection.read(&mut buffer) {
            if connection.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
    });
    let bad_line = Faults {
        lose: 0.001,
        duplicate: 0.01,
        reorder: 0.01,
        ..Faults::default()
    };
    let started = sandbox.start_session(SessionConfig {
        document: Document::Port {
            port,
            local_port: 0,
            host: None,
        },
        agent: AgentConfig {
            version: "3.0.100.0".to_owned(),
            paced: false,
            ..AgentConfig::default()
        },
        to_agent: bad_line,
        ..SessionConfig::default()
    });
    let settings = Settings {
        allow_stream_host: vec![HostPort::parse(&sandbox.gateway_host()).expect("a host")],
        ..Settings::default()
    };
    let response = started.response();
    let text = |key: &str| response[key].as_str().expect("a text").to_owned();
    let config = datachannel::Config {
        reconnector: Reconnector {
            stream_url: StreamUrl::parse(&text("StreamUrl"), &settings).expect("allowed"),
            token: text("TokenValue").into(),
            dialer: Dialer {
                network: Network::new(&Environment::from([("HOME", "/nowhere")]), None)
                    .expect("a network"),
                remarks: Remarks::default(),
            },
            sign: None,
            resume: Err("this is a test"),
        },
        payload_size: 1024,
        make_key: None,
        require_encryption: false,
    };
    DataChannel::open(config, crossbeam_channel::unbounded().0).expect("a thread")
}

fn send(channel: &DataChannel, room: &Room, sender: u8) {
    let mut random = fastrand::Rng::with_seed(sender.into());
    for number in 0..RECORDS {
        let mut record = [sender; RECORD];
        record[1..5].copy_from_slice(&number.to_be_bytes());
        let urgency = if random.bool() {
            Urgency::Bulk
        } else {
            Urgency::Interactive
        };
        loop {
            let before = *room.generation.lock().expect("no panic");
            let taken = if random.bool() {
                channel.send(&record, urgency)
            } else {
                channel.send_directly(&record, urgency)
            };
            if taken == Ok(RECORD) {
                break;
            }
            let mut now = room.generation.lock().expect("no panic");
            while *now == before {
                now = room.changed.wait(now).expect("no panic");
            }
        }
        maybe_yield(&mut random);
        if number % 64 == 0 {
            channel.resize(Size {
                cols: 80,
                rows: u16::from(sender),
            });
            channel.is_acknowledged();
        }
    }
}

/// Tells all senders whenever there is room.
fn announce(room: &Room, wake_receiver: &WakeReceiver, over: &AtomicBool) {
    while !over.load(Ordering::SeqCst) {
        wait(wake_receiver);
        *room.generation.lock().expect("no panic") += 1;
        room.changed.notify_all();
    }
}

/// Takes everything, and checks that each sender's records are whole, once and in order.
struct Receiver {
    channel: DataChannel,
    random: fastrand::Rng,
    next: [u32; SENDERS as usize],
    rest: Vec<u8>,
}

impl Receiver {
    fn new(channel: DataChannel) -> Self {
        Self {
            channel,
            random: fastrand::Rng::with_seed(99),
            next: [0; SENDERS as usize],
            rest: Vec::new(),
        }
    }

    /// Takes what is there; whether that was the last.
    fn receive(&mut self) -> bool {
        while let Some(delivery) = self.channel.try_receive() {
            match delivery {
                Delivery::Started(_) => {}
                Delivery::Payload(_, payload) => self.rest.extend_from_slice(&payload),
                Delivery::Ended(end) => panic!("{end:?}"),
            }
            maybe_yield(&mut self.random);
        }
        let whole = self.rest.len() - self.rest.len() % RECORD;
        for record in self.rest[..whole].chunks(RECORD) {
            let next = &mut self.next[usize::from(record[0])];
            let number = u32::from_be_bytes(record[1..5].try_into().expect("four bytes"));
            assert_eq!(number, *next, "of sender {}", record[0]);
            assert!(record[5..].iter().all(|byte| *byte == record[0]));
            *next += 1;
        }
        self.rest.drain(..whole);
        self.next.iter().all(|number| *number == RECORDS)
    }
}

/// A receiver whose thread sleeps, or works.
struct SharedReceiver(Mutex<Receiver>);

impl Recipient for SharedReceiver {
    fn receive_directly(&self) -> bool {
        let receiver = self.0.try_lock();
        // What is left to its thread now and then is the rest as well.
        receiver.is_ok_and(|mut receiver| receiver.random.bool() && !receiver.receive())
    }
}

fn receive(receiver: &SharedReceiver, wake_receiver: &WakeReceiver) {
    loop {
        wait(wake_receiver);
        if receiver.0.lock().expect("no panic").receive() {
            return;
        }
    }
}

fn round(sandbox: &Sandbox) {
    let channel = open(sandbox);
    let room = Room::default();
    let over = AtomicBool::new(false);
    let receiver = Arc::new(SharedReceiver(Mutex::new(Receiver::new(channel.clone()))));
    let recipient: Weak<SharedReceiver> = Arc::downgrade(&receiver);
    channel.set_recipient(recipient);
    let (writable, writable_wake): (Waker, _) = waker().expect("descriptors");
    let (readable, readable_wake) = waker().expect("descriptors");
    thread::scope(|scope| {
        let (room, over, channel) = (&room, &over, &channel);
        scope.spawn(|| announce(room, &writable_wake, over));
        let receiver = scope.spawn(|| receive(&receiver, &readable_wake));
        let senders: Vec<_> = (0..SENDERS)
            .map(|sender| scope.spawn(move || send(channel, room, sender)))
            .collect();
        // Registered while everybody is at work already.
        channel.on_writable(writable.clone());
        channel.on_readable(readable);
        for sender in senders {
            sender.join().expect("a sender");
        }
        receiver.join().expect("the receiver");
        assert!(channel.wait_acknowledged(Instant::now() + HANG));
        over.store(true, Ordering::SeqCst);
        writable.wake();
    });
    channel.close();
    assert!(channel.join(Instant::now() + HANG));
}

#[test]
fn many_senders_and_one_receiver_lose_no_wake_up() {
    let seconds = std::env::var("THREADS_SECONDS").ok();
    let seconds = seconds.and_then(|text| text.parse().ok()).unwrap_or(0);
    let (finished, outcome) = crossbeam_channel::bounded(1);
    let work = thread::spawn(move || {
        let config = Config {
            tls: false,
            ..Config::default()
        };
        let sandbox = Sandbox::start(config).expect("a sandbox");
        let until = Instant::now() + Duration::from_secs(seconds);
        loop {
            round(&sandbox);
            // Nobody listens after a hang.
            let _ = finished.send(());
            if Instant::now() >= until {
                return;
            }
        }
    });
    while !work.is_finished() {
        match outcome.recv_timeout(HANG) {
            Ok(()) => {}
            Err(crossbeam_channel::RecvTimeoutError::Disconnected) => break,
            Err(crossbeam_channel::RecvTimeoutError::Timeout) => {
                panic!("everybody waits for everybody")
            }
        }
    }
    work.join().expect("the work");
}
