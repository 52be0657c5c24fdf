use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use proptest::prelude::*;

use super::frame::{self, FrameDecoder};
use super::*;

mod receive_blocked;

const SECOND: Duration = Duration::from_secs(1);

/// A session with `count` streams whose SYNs were sent.
fn session(count: usize, now: Instant) -> SmuxSession {
    let mut session = SmuxSession::new(false, now);
    for number in 0..count {
        let id = session.open(now).unwrap();
        assert_eq!(id as usize, 3 + 2 * number);
        assert_eq!(
            session.poll_transmit(),
            Some(Transmit::Alone(frame::syn(id)))
        );
    }
    session
}

fn push(id: StreamId, data: &[u8]) -> Bytes {
    let mut bytes = frame::push(id, u16::try_from(data.len()).unwrap()).to_vec();
    bytes.extend_from_slice(data);
    bytes.into()
}

fn events(session: &mut SmuxSession) -> Vec<SmuxEvent> {
    std::iter::from_fn(|| session.poll_event()).collect()
}

fn read(session: &mut SmuxSession, id: StreamId, now: Instant) -> Vec<u8> {
    let data = session.unread(id).collect::<Vec<_>>().concat();
    session.consume(id, data.len(), now);
    data
}

#[derive(Debug, Clone)]
enum Sent {
    Data(StreamId, Vec<u8>),
    Fin(StreamId),
    Nop,
}

fn sent() -> impl Strategy<Value = Sent> {
    let id = (0..5u32).prop_map(|number| 3 + 2 * number);
    prop_oneof![
        6 => (id.clone(), proptest::collection::vec(any::<u8>(), 0..300)).prop_map(|(id, data)| Sent::Data(id, data)),
        1 => id.prop_map(Sent::Fin),
        1 => Just(Sent::Nop),
    ]
}

fn wire(sent: &[Sent]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for frame in sent {
        match frame {
            Sent::Data(id, data) => bytes.extend_from_slice(&push(*id, data)),
            Sent::Fin(id) => bytes.extend_from_slice(&frame::fin(*id)),
            Sent::Nop => bytes.extend_from_slice(&frame::nop()),
        }
    }
    bytes
}

/// Cuts at the given places, whatever they are.
fn cut(bytes: &[u8], cuts: &[prop::sample::Index]) -> Vec<Bytes> {
    let mut places: Vec<_> = cuts
        .iter()
        .map(|cut| cut.index(bytes.len() + 1))
        .chain([0, bytes.len()])
        .collect();
    places.sort_unstable();
    places
        .windows(2)
        .map(|pair| Bytes::copy_from_slice(&bytes[pair[0]..pair[1]]))
        .collect()
}

/// What a decoder makes of the pieces; data joined, as its pieces depend on the cuts.
fn decode(pieces: Vec<Bytes>) -> (Vec<Frame>, Option<FrameError>) {
    let mut decoder = FrameDecoder::default();
    let mut frames: Vec<Frame> = Vec::new();
    for mut piece in pieces {
        loop {
            match decoder.next(&mut piece) {
                Ok(Some(Frame::Data(id, data))) => match frames.last_mut() {
                    Some(Frame::Data(last, before)) if *last == id => {
                        *before = [&before[..], &data[..]].concat().into();
                    }
                    _ => frames.push(Frame::Data(id, data)),
                },
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(decoder.next(&mut piece), Err(error));
                    return (frames, Some(error));
                }
            }
        }
    }
    (frames, None)
}

proptest! {
    #[test]
    fn any_split_gives_the_same_streams(
        sent in proptest::collection::vec(sent(), 0..40),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..60),
        read_early in any::<bool>(),
    ) {
        let now = Instant::now();
        let mut session = session(5, now);
        let mut got: BTreeMap<StreamId, Vec<u8>> = BTreeMap::new();
        for piece in cut(&wire(&sent), &cuts) {
            session.handle_data(piece, now).unwrap();
            for event in events(&mut session) {
                let SmuxEvent::Readable(id) = event else { panic!("{event:?}") };
                if read_early {
                    got.entry(id).or_default().extend(read(&mut session, id, now));
                }
            }
        }
        for id in (3..13).step_by(2) {
            got.entry(id).or_default().extend(read(&mut session, id, now));
            let mut expected = Vec::new();
            let mut is_finished = false;
            for frame in &sent {
                match frame {
                    Sent::Data(of, data) if *of == id && !is_finished => expected.extend_from_slice(data),
                    Sent::Fin(of) if *of == id => is_finished = true,
                    _ => {}
                }
            }
            prop_assert_eq!(&got[&id], &expected);
            prop_assert_eq!(session.is_finished(id), is_finished);
        }
    }

    #[test]
    fn any_bytes_in_any_pieces_decode_alike_and_never_panic(
        bytes in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..400),
            // Mostly frames: random bytes alone never come far.
            (proptest::collection::vec(sent(), 0..10), proptest::collection::vec(any::<u8>(), 0..40))
                .prop_map(|(sent, tail)| [wire(&sent), tail].concat()),
        ],
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..40),
    ) {
        let whole = decode(vec![Bytes::copy_from_slice(&bytes)]);
        prop_assert_eq!(decode(cut(&bytes, &cuts)), whole);
        let now = Instant::now();
        let mut session = session(2, now);
        for piece in cut(&bytes, &cuts) {
            let _ = session.handle_data(piece, now);
        }
    }

    #[test]
    fn hostile_headers_are_errors(version in any::<u8>(), command in any::<u8>(), length in any::<u16>(), id in any::<u32>()) {
        let mut bytes = vec![version, command];
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&id.to_le_bytes());
        bytes.resize(8 + usize::from(length), 0);
        let now = Instant::now();
        let mut session = session(3, now);
        let is_known = id == 3 || id == 5 || id == 7;
        let is_harmless = version == 1 && match command {
            1 => length == 0 && is_known,
            2 => length == 0 || is_known,
            3 => length == 0,
            _ => false,
        };
        prop_assert_eq!(session.handle_data(bytes.into(), now).is_ok(), is_harmless);
    }

    #[test]
    fn what_is_buffered_is_counted_to_the_last_byte(
        steps in proptest::collection::vec((0..3u32, 0..2000usize, 0..3000usize), 1..60),
    ) {
        let now = Instant::now();
        let mut session = session(3, now);
        for (number, size, consumed) in steps {
            let id = 3 + 2 * number;
            session.handle_data(push(id, &vec![7; size]), now).unwrap();
            let unread: usize = session.unread(id).map(<[u8]>::len).sum();
            session.consume(id, consumed.min(unread), now);
        }
        for id in [3, 5, 7] {
            session.close(id, now);
        }
        prop_assert!(session.is_empty());
        // Everything was given back: exactly the budget fits again.
        let id = session.open(now).unwrap();
        let mut pieces = 0;
        while session.has_room() {
            session.handle_data(push(id, &[1; 32_768]), now).unwrap();
            pieces += 1;
        }
        prop_assert_eq!(pieces, RECEIVE_BUDGET.div_ceil(32_768 + 128));
    }
}

#[test]
fn the_recorded_frames_are_spelled_as_the_original_spells_them() {
    assert_eq!(frame::nop(), [1, 3, 0, 0, 0, 0, 0, 0]);
    assert_eq!(frame::syn(3), [1, 0, 0, 0, 3, 0, 0, 0]);
    assert_eq!(frame::fin(0x0102), [1, 1, 0, 0, 2, 1, 0, 0]);
    assert_eq!(frame::push(5, 0x0304), [1, 2, 4, 3, 5, 0, 0, 0]);
}

#[test]
fn data_shares_the_memory_of_its_message() {
    let message = push(3, &[9; 1000]);
    let mut input = message.clone();
    let Ok(Some(Frame::Data(3, data))) = FrameDecoder::default().next(&mut input) else {
        panic!("no data");
    };
    assert_eq!(data.as_ptr(), message[8..].as_ptr());
}

#[test]
fn a_small_piece_does_not_keep_its_message_alive() {
    let now = Instant::now();
    let mut session = session(1, now);
    let message: Bytes = [push(3, b"x"), push(5, &[0; 1000])].concat().into();
    let start = message.as_ptr_range();
    let _ = session.handle_data(message, now);
    let piece = session.unread(3).next().unwrap();
    assert!(!start.contains(&piece.as_ptr()));
}

#[test]
fn streams_take_turns() {
    let now = Instant::now();
    let mut session = session(3, now);
    for id in [3, 5, 7, 3, 5] {
        session.request_send(id);
    }
    assert!(session.others_want_to_send());
    let mut order = Vec::new();
    for _ in 0..7 {
        let Some(Transmit::Data(id)) = session.poll_transmit() else {
            panic!("no turn");
        };
        order.push(id);
        session.request_send(id);
    }
    assert_eq!(order, [3, 5, 7, 3, 5, 7, 3]);
    // A new stream's opening does not wait for anybody's data.
    let id = session.open(now).unwrap();
    assert_eq!(
        session.poll_transmit(),
        Some(Transmit::Alone(frame::syn(id)))
    );
}

#[test]
fn p18_fin_waits_for_the_remote_after_a_local_end() {
    let start = Instant::now();
    let mut session = session(2, start);
    session.local_end(3, start);
    session.local_end(5, start + SECOND);
    session.request_send(3);
    assert_eq!(session.poll_transmit(), None);
    // Data from the remote counts anew.
    session
        .handle_data(push(3, b"late"), start + 4 * SECOND)
        .unwrap();
    assert_eq!(session.next_timeout(), Some(start + 5 * SECOND));
    session.handle_timeout(start + 5 * SECOND, true);
    assert_eq!(session.poll_transmit(), None);
    session.handle_timeout(start + 6 * SECOND, true);
    assert_eq!(
        session.poll_transmit(),
        Some(Transmit::Control(frame::fin(5)))
    );
    // The remote's FIN ends the wait at once.
    session
        .handle_data(Bytes::copy_from_slice(&frame::fin(3)), start + 6 * SECOND)
        .unwrap();
    assert_eq!(
        session.poll_transmit(),
        Some(Transmit::Control(frame::fin(3)))
    );
    assert_eq!(read(&mut session, 3, start), b"late");
    assert!(session.is_finished(3));
    // What was on its way when FIN went out still arrives.
    session
        .handle_data(push(5, b"later"), start + 7 * SECOND)
        .unwrap();
    assert_eq!(read(&mut session, 5, start), b"later");
    assert!(!session.is_finished(5));
}

#[test]
fn p18_the_wait_does_not_count_while_the_remote_has_not_heard_everything() {
    let start = Instant::now();
    let mut session = session(1, start);
    session.local_end(3, start);
    session.handle_timeout(start + 5 * SECOND, false);
    assert_eq!(session.poll_transmit(), None);
    assert_eq!(session.next_timeout(), Some(start + 10 * SECOND));
    session.handle_timeout(start + 10 * SECOND, true);
    assert_eq!(
        session.poll_transmit(),
        Some(Transmit::Control(frame::fin(3)))
    );
}

#[test]
fn p18_many_that_wait_are_given_less_time() {
    let start = Instant::now();
    let mut session = session(300, start);
    for number in 0..300 {
        session.local_end(3 + 2 * number, start);
    }
    assert_eq!(session.next_timeout(), Some(start + SECOND));
    session.handle_timeout(start + SECOND, true);
    let fins = std::iter::from_fn(|| session.poll_transmit()).count();
    assert_eq!(fins, 44);
    assert_eq!(session.next_timeout(), Some(start + 5 * SECOND));
}

#[test]
fn p75_an_agent_that_never_answers_fin_keeps_no_local_connection() {
    let start = Instant::now();
    let mut session = session(1, start);
    session.local_end(3, start);
    session.handle_timeout(start + 5 * SECOND, true);
    let fin = Transmit::Control(frame::fin(3));
    assert_eq!(session.poll_transmit(), Some(fin));
    // What was on its way, and then nothing.
    session
        .handle_data(push(3, b"late"), start + 7 * SECOND)
        .unwrap();
    assert_eq!(read(&mut session, 3, start + 7 * SECOND), b"late");
    events(&mut session);
    session.handle_timeout(start + 10 * SECOND, true);
    assert!(!session.is_finished(3));
    session.handle_timeout(start + 12 * SECOND, true);
    assert_eq!(events(&mut session), [SmuxEvent::Readable(3)]);
    assert!(session.is_finished(3));
    assert_eq!(session.next_timeout(), None);
}

#[test]
fn p75_a_stream_that_is_closed_before_it_was_opened_leaves_no_trace() {
    let now = Instant::now();
    let mut session = session(1, now);
    for _ in 0..1000 {
        let id = session.open(now).unwrap();
        session.request_send(id);
        assert!(session.is_opening(id));
        session.close(id, now);
    }
    let last = session.open(now).unwrap();
    session.request_send(last);
    let syn = Transmit::Alone(frame::syn(last));
    assert_eq!(session.poll_transmit(), Some(syn));
    assert_eq!(session.poll_transmit(), Some(Transmit::Data(last)));
    assert_eq!(session.poll_transmit(), None);
    assert_eq!(session.len(), 2);
}

#[test]
fn closing_sends_fin_once_and_forgets_late_data() {
    let now = Instant::now();
    let mut session = session(1, now);
    session.request_send(3);
    session.close(3, now);
    session.close(3, now);
    assert_eq!(
        session.poll_transmit(),
        Some(Transmit::Control(frame::fin(3)))
    );
    assert_eq!(session.poll_transmit(), None);
    session.handle_data(push(3, b"late"), now).unwrap();
    assert_eq!(events(&mut session), []);
    assert_eq!(
        session.handle_data(push(5, b"x"), now),
        Err(SmuxError::UnknownStream(5))
    );
}

#[test]
fn a_refusal_belongs_to_the_next_stream_that_closes_without_data() {
    let now = Instant::now();
    let mut session = session(3, now);
    session.handle_data(push(3, b"reached"), now).unwrap();
    session.handle_refusal();
    let fins = [frame::fin(3), frame::fin(5), frame::fin(7)].concat();
    session.handle_data(fins.into(), now).unwrap();
    assert_eq!(
        events(&mut session),
        [
            SmuxEvent::Readable(3),
            SmuxEvent::Refused(5),
            SmuxEvent::Readable(7)
        ]
    );
    assert_eq!(session.len(), 2);
}

#[test]
fn keepalive_only_where_the_agent_wants_it() {
    let start = Instant::now();
    assert_eq!(SmuxSession::new(false, start).next_timeout(), None);
    let mut session = SmuxSession::new(true, start);
    let id = session.open(start).unwrap();
    session.poll_transmit();
    for seconds in [10, 20] {
        let now = start + seconds * SECOND;
        assert_eq!(session.next_timeout(), Some(now));
        session.handle_timeout(now, true);
        assert_eq!(
            session.poll_transmit(),
            Some(Transmit::Control(frame::nop()))
        );
    }
    session
        .handle_data(Bytes::copy_from_slice(&frame::nop()), start + 25 * SECOND)
        .unwrap();
    session.handle_timeout(start + 30 * SECOND, true);
    assert_eq!(events(&mut session), []);
    session.handle_timeout(start + 55 * SECOND, true);
    assert_eq!(events(&mut session), [SmuxEvent::Silent]);
    // NOPs that could not be sent do not pile up.
    session.handle_timeout(start + 65 * SECOND, true);
    session.handle_timeout(start + 75 * SECOND, true);
    assert_eq!(events(&mut session), []);
    assert_eq!(session.reset(start + 75 * SECOND), [id]);
    let rest: Vec<_> = std::iter::from_fn(|| session.poll_transmit()).collect();
    assert_eq!(
        rest,
        [
            Transmit::Control(frame::nop()),
            Transmit::Control(frame::fin(id))
        ]
    );
}
