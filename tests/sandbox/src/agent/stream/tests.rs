use std::time::{Duration, Instant};

use session_manager_plugin::internals::message::content::Acknowledge;
use session_manager_plugin::internals::message::{Flags, Message, MessageType, PayloadType};

use super::*;

const VECTORS: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../vectors/messages.json"
));

fn milliseconds(number: u64) -> Duration {
    Duration::from_millis(number)
}

fn input(number: i64, payload: &[u8]) -> Vec<u8> {
    let mut message = Message::stream(MessageType::InputStreamData, PayloadType::Output, payload);
    message.sequence_number = number;
    message.encode()
}

fn acknowledged(frame: &[u8]) -> i64 {
    let message = Message::decode(frame).unwrap();
    assert_eq!(message.message_type, MessageType::Acknowledge);
    assert_eq!(message.flags, Flags::SYN_FIN);
    let content: Acknowledge = serde_json::from_slice(message.payload).unwrap();
    assert_eq!(content.acknowledged_message_type, "input_stream_data");
    content.acknowledged_message_sequence_number
}

/// An acknowledgement by the client.
fn acknowledge(number: i64) -> Vec<u8> {
    let content = to_json(&Acknowledge {
        acknowledged_message_type: "output_stream_data".into(),
        acknowledged_message_id: uuid::Uuid::new_v4(),
        acknowledged_message_sequence_number: number,
        is_sequential_message: true,
    });
    Message::control(MessageType::Acknowledge, &content).encode()
}

fn accept(_: &Message<'_>) -> Result<(), HandlerError> {
    Ok(())
}

#[test]
fn recorded_messages_of_the_client_are_taken_and_acknowledged_as_the_real_agent_did() {
    let vectors: Vec<serde_json::Value> = serde_json::from_str(VECTORS).unwrap();
    let now = Instant::now();
    let mut taken = 0;
    for vector in &vectors {
        if vector["message_type"] != "input_stream_data" {
            continue;
        }
        let frame = unhex(vector["hex"].as_str().unwrap());
        let mut agent = Stream::new(now);
        let mut payload_type = 0;
        let received = agent.handle_message(&frame, now, &mut |message: &Message<'_>| {
            payload_type = message.payload_type;
            Ok::<(), HandlerError>(())
        });
        let number = vector["sequence_number"].as_i64().unwrap();
        let answer = agent.poll_transmit().unwrap();
        assert_eq!(acknowledged(&answer), number, "{}", vector["name"]);
        if number == 0 {
            assert_eq!(received, Received::Handled { number, drained: 0 });
            assert_eq!(
                u64::from(payload_type),
                vector["payload_type"].as_u64().unwrap()
            );
        } else {
            assert_eq!(received, Received::Buffered(number));
        }
        taken += 1;
    }
    assert!(
        taken >= 4,
        "the vectors hold {taken} messages of the client"
    );
}

#[test]
fn acknowledgements_have_the_shape_and_size_of_the_recorded_one() {
    let vectors: Vec<serde_json::Value> = serde_json::from_str(VECTORS).unwrap();
    let find = |name: &str| {
        let vector = vectors.iter().find(|vector| vector["name"] == name);
        unhex(vector.unwrap()["hex"].as_str().unwrap())
    };
    let ours = acknowledgement(&Message::decode(&find("handshake_response_port")).unwrap());
    let recorded = find("acknowledge_by_agent");
    let (ours, recorded) = (
        Message::decode(&ours).unwrap(),
        Message::decode(&recorded).unwrap(),
    );
    assert_eq!(ours.payload, recorded.payload);
    assert_eq!(ours.flags, recorded.flags);
    assert_eq!(ours.payload_type, recorded.payload_type);
    assert_eq!(ours.sequence_number, recorded.sequence_number);
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2)
        .map(|index| u8::from_str_radix(&text[2 * index..2 * index + 2], 16).unwrap())
        .collect()
}

#[test]
fn early_messages_are_acknowledged_at_once_and_handled_in_order() {
    let now = Instant::now();
    let mut agent = Stream::new(now);
    let mut taken = Vec::new();
    let mut handler = |message: &Message<'_>| {
        taken.push(message.sequence_number);
        Ok::<(), HandlerError>(())
    };
    for number in [2, 1, 0, 1] {
        agent.handle_message(&input(number, b"x"), now, &mut handler);
    }
    assert_eq!(taken, [0, 1, 2]);
    let answers: Vec<i64> = std::iter::from_fn(|| agent.poll_transmit())
        .map(|frame| acknowledged(&frame))
        .collect();
    assert_eq!(answers, [2, 1, 0, 1], "the duplicate is acknowledged too");
    assert_eq!(agent.incoming().expected(), 3);
}

#[test]
fn a_handler_that_is_not_ready_leaves_everything_as_it_was() {
    let now = Instant::now();
    let mut agent = Stream::new(now);
    for error in [HandlerError::NotReady, HandlerError::Failed("gone".into())] {
        let refuse = error.clone();
        let received = agent.handle_message(&input(0, b"x"), now, &mut |_: &Message<'_>| {
            Err(refuse.clone())
        });
        assert_eq!(received, Received::Refused(0, error));
        assert_eq!(agent.poll_transmit(), None);
        assert_eq!(agent.incoming().expected(), 0);
    }
    agent.handle_message(&input(0, b"x"), now, &mut accept);
    assert_eq!(acknowledged(&agent.poll_transmit().unwrap()), 0);
}

#[test]
fn a_failure_while_draining_is_for_ever() {
    let now = Instant::now();
    let mut agent = Stream::new(now);
    agent.handle_message(&input(1, b"early"), now, &mut accept);
    let mut fail_early = |message: &Message<'_>| match message.payload {
        b"early" => Err(HandlerError::NotReady),
        _ => Ok(()),
    };
    let received = agent.handle_message(&input(0, b"x"), now, &mut fail_early);
    assert_eq!(received, Received::Stuck(1, HandlerError::NotReady));
    let received = agent.handle_message(&input(2, b"x"), now, &mut accept);
    assert_eq!(received, Received::Buffered(2));
    assert_eq!(agent.incoming().expected(), 1);
}

#[test]
fn only_the_oldest_is_resent_and_no_more_than_one_each_100_ms() {
    let start = Instant::now();
    let mut agent = Stream::new(start);
    for payload in [b"0", b"1"] {
        agent.send(PayloadType::Output, payload, start);
    }
    let sent: Vec<Bytes> = std::iter::from_fn(|| agent.poll_transmit()).collect();
    assert_eq!(Message::decode(&sent[0]).unwrap().flags, Flags::SYN);
    assert_eq!(Message::decode(&sent[1]).unwrap().flags, Flags::NONE);

    let mut resent = Vec::new();
    while agent.next_timeout().unwrap() <= start + milliseconds(1000) {
        let now = agent.next_timeout().unwrap();
        agent.handle_timeout(now);
        while let Some(frame) = agent.poll_transmit() {
            assert_eq!(frame, sent[0], "same number, same id");
            resent.push((now - start).as_millis());
        }
    }
    // The timeout is 200 ms and must be exceeded.
    assert_eq!(resent, [300, 600, 900]);

    agent.handle_message(&acknowledge(0), start + milliseconds(1000), &mut accept);
    agent.handle_timeout(start + milliseconds(1100));
    assert_eq!(agent.poll_transmit(), Some(sent[1].clone()));
    agent.handle_message(&acknowledge(1), start + milliseconds(1100), &mut accept);
    assert_eq!(agent.next_timeout(), None, "idle means idle");
    assert_eq!(agent.outgoing().resent(), 4);
}

#[test]
fn acknowledgements_come_in_any_order() {
    let start = Instant::now();
    let mut agent = Stream::new(start);
    for _ in 0..5 {
        agent.send(PayloadType::Output, b"x", start);
    }
    for number in [3, 1, 1, 7, 0, 4, 2] {
        agent.handle_message(&acknowledge(number), start, &mut accept);
    }
    assert_eq!(agent.outgoing().unacknowledged(), 0);
}

#[test]
fn beyond_100_000_messages_are_sent_and_forgotten() {
    let start = Instant::now();
    let mut outgoing = Outgoing::new(start);
    for _ in 0..=MAX_UNACKNOWLEDGED {
        assert!(outgoing.send(PayloadType::Output, b"x", start).is_some());
    }
    assert_eq!(outgoing.unacknowledged(), MAX_UNACKNOWLEDGED);
    assert_eq!(outgoing.next_number(), 100_001);
}

#[test]
fn a_pause_holds_data_back_and_afterwards_it_trickles() {
    let start = Instant::now();
    let mut agent = Stream::new(start);
    let pause = Message::control(MessageType::PausePublication, b"").encode();
    assert_eq!(
        agent.handle_message(&pause, start, &mut accept),
        Received::Pause
    );
    agent.send(PayloadType::Output, b"x", start);
    assert_eq!(agent.poll_transmit(), None);
    assert_eq!(agent.next_timeout(), None);

    // Any acknowledgement or input ends the pause, but nothing goes out at once.
    agent.handle_message(&input(0, b"x"), start, &mut accept);
    assert_eq!(acknowledged(&agent.poll_transmit().unwrap()), 0);
    assert_eq!(agent.poll_transmit(), None);
    agent.handle_timeout(start + milliseconds(300));
    assert!(agent.poll_transmit().is_some());
}

#[test]
fn empty_output_is_left_out() {
    let start = Instant::now();
    let mut agent = Stream::new(start);
    agent.send(PayloadType::Output, b"", start);
    assert_eq!(agent.poll_transmit(), None);
    assert_eq!(agent.outgoing().next_number(), 0);
}

#[test]
fn the_estimator_follows_the_protocol_text() {
    let mut rtt = RttEstimator::default();
    assert_eq!(rtt.timeout(), milliseconds(200));
    rtt.sample(milliseconds(100));
    assert_eq!(rtt.timeout(), milliseconds(110));
    rtt.sample(milliseconds(200));
    // Variation 25 ms, smoothed 112.5 ms.
    assert_eq!(rtt.timeout().as_micros(), 212_500);
    for _ in 0..100 {
        rtt.sample(Duration::from_secs(5));
    }
    assert_eq!(rtt.timeout(), Duration::from_secs(1));
}
