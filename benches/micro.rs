//! The pieces of the hot path, one by one.

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use session_manager_plugin::internals::datachannel::{Acknowledgements, SequenceState, Urgency};
use session_manager_plugin::internals::encryption::Encrypter;
use session_manager_plugin::internals::message::content::{Acknowledge, to_json};
use session_manager_plugin::internals::message::{
    AcknowledgeEncoder, HEADER_SIZE, Message, MessageType, PayloadType, number,
};
use session_manager_plugin::internals::smux::{SmuxEvent, SmuxSession, Transmit, frame};
use session_manager_plugin::internals::waker::waker;
use uuid::Uuid;
use zeroize::Zeroizing;

const SIZES: [usize; 2] = [1024, 16 * 1024];

fn messages(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("message");
    for size in SIZES {
        let payload = vec![7; size];
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(format!("encode {size}"), |bencher| {
            bencher.iter(|| {
                Message::stream(
                    MessageType::InputStreamData,
                    PayloadType::Output,
                    black_box(&payload),
                )
                .encode()
            });
        });
        let frame = output(0, &payload);
        group.bench_function(format!("decode {size}"), |bencher| {
            bencher
                .iter(|| Message::decode(black_box(&frame)).map(|message| message.payload.len()));
        });
    }
    group.finish();
    let mut encoder = AcknowledgeEncoder::default();
    let id = Uuid::new_v4();
    criterion.bench_function("acknowledge encode", |bencher| {
        bencher.iter(|| encoder.encode(black_box(4711), black_box(id)));
    });
}

/// A message of the agent.
fn output(sequence_number: i64, payload: &[u8]) -> Bytes {
    let message = Message::stream(MessageType::OutputStreamData, PayloadType::Output, payload);
    let mut frame = message.encode();
    number(&mut frame, sequence_number);
    frame.into()
}

/// The agent's acknowledgement.
fn acknowledgement(sequence_number: i64) -> Bytes {
    let content = to_json(&Acknowledge {
        acknowledged_message_type: MessageType::InputStreamData.name().to_owned(),
        acknowledged_message_id: Uuid::nil(),
        acknowledged_message_sequence_number: sequence_number,
        is_sequential_message: true,
    });
    Message::control(MessageType::Acknowledge, &content)
        .encode()
        .into()
}

fn handle(sequence: &mut SequenceState, frame: &Bytes, now: Instant) {
    if let Ok(message) = Message::decode(frame) {
        let payload = frame.slice_ref(message.payload);
        sequence.handle_message(&message, payload, now);
    }
}

fn encoded(message: &Message<'_>) -> BytesMut {
    let mut frame = BytesMut::with_capacity(HEADER_SIZE + message.payload.len());
    message.encode_to(&mut frame);
    frame
}

/// A shell without handshake, whose first message has come.
fn running(now: Instant) -> SequenceState {
    let mut sequence = SequenceState::new("1.2.896.0");
    sequence.connected(now);
    handle(&mut sequence, &output(0, b"$ "), now);
    while sequence.poll_delivery().is_some() {}
    while sequence.poll_transmit(now).is_some() {}
    sequence
}

/// Sends a message, or says that there is no room for it.
fn send(sequence: &mut SequenceState, payload: &[u8], now: Instant) -> bool {
    let message = Message::stream(MessageType::InputStreamData, PayloadType::Output, payload);
    let reserved = sequence.reserve(HEADER_SIZE + payload.len(), Urgency::Bulk);
    let has_room = reserved.is_some();
    if let Some(reservation) = reserved {
        sequence.commit(reservation, encoded(&message));
    }
    while sequence.poll_transmit(now).is_some() {}
    has_room
}

/// A shell with so many messages on their way, and the number of the oldest.
fn with_on_the_way(depth: i64, payload: &[u8], now: Instant) -> (SequenceState, i64) {
    let mut sequence = running(now);
    let mut sent = 0;
    let mut acknowledged = 0;
    while sent - acknowledged < depth {
        if send(&mut sequence, payload, now) {
            sent += 1;
        } else {
            // The window opens as acknowledgements come.
            handle(&mut sequence, &acknowledgement(acknowledged), now);
            acknowledged += 1;
        }
    }
    (sequence, acknowledged)
}

fn sequence_state(criterion: &mut Criterion) {
    let now = Instant::now();
    let payload = vec![7; 1024];
    let mut group = criterion.benchmark_group("sequence state");
    group.throughput(Throughput::Bytes(1024));
    for depth in [1, 16, 1024] {
        group.bench_function(
            format!("send and acknowledge, {depth} on the way"),
            |bencher| {
                let (mut sequence, mut oldest) = with_on_the_way(depth, &payload, now);
                let mut clock = now;
                bencher.iter_batched(
                    || {
                        let frame = acknowledgement(oldest);
                        oldest += 1;
                        clock += Duration::from_micros(10);
                        (frame, clock)
                    },
                    |(frame, now)| {
                        handle(&mut sequence, &frame, now);
                        assert!(send(&mut sequence, &payload, now), "the window is full");
                    },
                    BatchSize::SmallInput,
                );
            },
        );
        group.bench_function(format!("acknowledge, {depth} on the way"), |bencher| {
            bencher.iter_batched(
                || {
                    let (sequence, oldest) = with_on_the_way(depth, &payload[..16], now);
                    (sequence, acknowledgement(oldest))
                },
                |(mut sequence, frame)| {
                    handle(&mut sequence, &frame, now);
                    sequence
                },
                BatchSize::LargeInput,
            );
        });
    }
    group.bench_function("receive, acknowledge and deliver", |bencher| {
        let mut sequence = running(now);
        let mut acknowledgements = Acknowledgements::default();
        let mut number = 0;
        bencher.iter_batched(
            || {
                number += 1;
                output(number, &payload)
            },
            |frame| {
                handle(&mut sequence, &frame, now);
                for received in sequence.poll_received() {
                    acknowledgements.receive(received, now);
                }
                (
                    acknowledgements.poll_transmit(now),
                    sequence.poll_delivery(),
                )
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn smux(criterion: &mut Criterion) {
    let now = Instant::now();
    let mut group = criterion.benchmark_group("smux");
    // The first stream of a session is number 3.
    let mut stream = frame::push(3, 16 * 1024).to_vec();
    stream.resize(8 + 16 * 1024, 7);
    let stream = Bytes::from(stream);
    group.throughput(Throughput::Bytes(16 * 1024));
    group.bench_function("receive 16 KiB in messages of 1 KiB", |bencher| {
        let mut session = SmuxSession::new(false, now);
        let id = session.open(now).expect("a stream");
        bencher.iter(|| {
            let mut left = stream.clone();
            while !left.is_empty() {
                let piece = left.split_to(left.len().min(1024));
                let _ = black_box(session.handle_data(piece, now));
            }
            let mut received = 0;
            while let Some(SmuxEvent::Readable(id)) = session.poll_event() {
                let unread = session.unread(id).map(<[u8]>::len).sum();
                session.consume(id, unread, now);
                received += unread;
            }
            assert_eq!((id, received), (3, 16 * 1024));
        });
    });
    group.bench_function("turns of 1000 streams", |bencher| {
        let mut session = SmuxSession::new(false, now);
        let ids: Vec<_> = (0..1000)
            .map(|_| session.open(now).expect("a stream"))
            .collect();
        while session.poll_transmit().is_some() {}
        bencher.iter(|| {
            for id in &ids {
                session.request_send(*id);
            }
            let mut turns = 0;
            while let Some(Transmit::Data(_)) = session.poll_transmit() {
                turns += 1;
            }
            assert_eq!(turns, 1000);
        });
    });
    group.finish();
}

fn encryption(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encryption");
    let encrypter = Encrypter::new(&Zeroizing::new([7; 64])).expect("an encrypter");
    for size in SIZES {
        let plaintext = vec![7; size];
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(format!("seal {size}"), |bencher| {
            bencher.iter(|| encrypter.seal(black_box(&plaintext)));
        });
    }
    group.finish();
}

fn wake(criterion: &mut Criterion) {
    let (waker, wake_receiver) = waker().expect("a waker");
    criterion.bench_function("wake and clear", |bencher| {
        bencher.iter(|| {
            waker.wake();
            wake_receiver.clear();
        });
    });
    waker.wake();
    criterion.bench_function("wake who is awake", |bencher| bencher.iter(|| waker.wake()));
}

criterion_group! {
    name = micro;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .without_plots();
    targets = messages, sequence_state, smux, encryption, wake
}
criterion_main!(micro);
