use std::time::{Duration, Instant};

use uuid::Uuid;

use super::*;
use crate::datachannel::SessionType;
use crate::datachannel::acknowledgements::Acknowledgements;
use crate::error::Meaning;
use crate::message::content::Acknowledge;

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

#[path = "opening_tests.rs"]
mod opening;

/// A channel, and a hand that writes the agent's messages.
struct Harness {
    sequence: SequenceState,
    acknowledgements: Acknowledgements,
    start: Instant,
    now: Instant,
}

const PORT: &str = concat!(
    r#"{"AgentVersion":"3.3.0.0","RequestedClientActions":[{"ActionType":"SessionType","ActionParameters":"#,
    r#"{"SessionType":"Port","Properties":{"portNumber":"22"}}}]}"#,
);
const SHELL: &str = concat!(
    r#"{"AgentVersion":"3.3.0.0","RequestedClientActions":[{"ActionType":"SessionType","ActionParameters":"#,
    r#"{"SessionType":"Standard_Stream","Properties":null}}]}"#,
);
const KMS: &str = concat!(
    r#"{"AgentVersion":"3.3.0.0","RequestedClientActions":[{"ActionType":"KMSEncryption","ActionParameters":"#,
    r#"{"KMSKeyId":"arn"}},{"ActionType":"SessionType","ActionParameters":{"SessionType":"Standard_Stream","#,
    r#""Properties":null}}]}"#,
);
const COMPLETE: &str = r#"{"HandshakeTimeToComplete":1,"CustomerMessage":""}"#;

/// A frame that was sent, in short: its type, payload type, number and payload.
#[derive(Debug, PartialEq, Eq)]
enum Sent {
    Acknowledged(i64),
    Stream(PayloadType, i64, Vec<u8>),
}

impl Harness {
    fn new() -> Self {
        let start = Instant::now();
        let mut sequence = SequenceState::new("1.2.896.0");
        sequence.connected(start);
        Self {
            sequence,
            acknowledgements: Acknowledgements::default(),
            start,
            now: start,
        }
    }

    fn shell() -> Self {
        let mut harness = Self::new();
        harness.agent(0, PayloadType::HandshakeRequest, SHELL.as_bytes());
        harness.agent(1, PayloadType::HandshakeComplete, COMPLETE.as_bytes());
        harness.wait(10);
        harness.sent();
        while harness.sequence.poll_delivery().is_some() {}
        harness
    }

    fn agent(&mut self, number: i64, payload_type: PayloadType, payload: &[u8]) {
        let mut frame =
            Message::stream(MessageType::OutputStreamData, payload_type, payload).encode();
        message::number(&mut frame, number);
        self.frame(frame);
    }

    fn frame(&mut self, frame: Vec<u8>) {
        let frame = Bytes::from(frame);
        let message = Message::decode(&frame).unwrap();
        self.sequence
            .handle_message(&message, frame.slice_ref(message.payload), self.now);
    }

    fn acknowledge(&mut self, number: i64) {
        let content = Acknowledge {
            acknowledged_message_type: "input_stream_data".to_owned(),
            acknowledged_message_id: Uuid::new_v4(),
            acknowledged_message_sequence_number: number,
            is_sequential_message: true,
        };
        self.frame(Message::control(MessageType::Acknowledge, &to_json(&content)).encode());
    }

    fn command(&mut self, message_type: MessageType) {
        self.frame(Message::control(message_type, b"{}").encode());
    }

    /// Lets time pass, with every timer on the way.
    fn wait(&mut self, milliseconds: u64) {
        let until = self.now + ms(milliseconds);
        while let Some(at) = self.sequence.next_timeout().filter(|at| *at <= until) {
            assert!(
                at >= self.now || !self.sequence.window().is_empty(),
                "a timer in the past"
            );
            self.now = self.now.max(at);
            self.sequence.handle_timeout(self.now);
            if self.sequence.next_timeout() == Some(at) {
                break;
            }
        }
        self.now = until;
        self.sequence.handle_timeout(until);
    }

    fn sent(&mut self) -> Vec<Sent> {
        for received in self.sequence.poll_received() {
            self.acknowledgements.receive(received, self.now);
        }
        // As if the time for gathering were over.
        let gathered = self.now + ms(10);
        let acknowledgements =
            std::iter::from_fn(|| self.acknowledgements.poll_transmit(gathered)).flatten();
        let messages = std::iter::from_fn(|| self.sequence.poll_transmit(self.now));
        let frames = acknowledgements.chain(messages);
        frames
            .map(|frame| {
                let message = Message::decode(&frame).unwrap();
                if message.message_type == MessageType::Acknowledge {
                    return Sent::Acknowledged(acknowledged_number(message.payload).unwrap());
                }
                let payload_type = PayloadType::try_from(message.payload_type).unwrap();
                Sent::Stream(
                    payload_type,
                    message.sequence_number,
                    message.payload.to_vec(),
                )
            })
            .collect()
    }

    fn try_send(&mut self, data: &[u8]) -> bool {
        let Some(reservation) = self.sequence.reserve(120 + data.len(), Urgency::Bulk) else {
            return false;
        };
        let frame =
            Message::stream(MessageType::InputStreamData, PayloadType::Output, data).encode();
        self.sequence
            .commit(reservation, bytes::BytesMut::from(frame.as_slice()));
        true
    }

    fn delivered(&mut self) -> Vec<Delivery> {
        std::iter::from_fn(|| self.sequence.poll_delivery()).collect()
    }

    fn output(text: &'static str) -> Delivery {
        Delivery::Payload(PayloadType::Output, Bytes::from_static(text.as_bytes()))
    }
}

#[test]
fn p05_a_duplicate_is_acknowledged_again_and_not_delivered_again() {
    let mut harness = Harness::shell();
    harness.agent(2, PayloadType::Output, b"a");
    harness.agent(2, PayloadType::Output, b"a");
    assert_eq!(
        harness.sent(),
        [Sent::Acknowledged(2), Sent::Acknowledged(2)]
    );
    assert_eq!(harness.delivered(), [Harness::output("a")]);
}

#[test]
fn p05_after_a_reconnect_a_duplicate_brings_all_later_acknowledgements_again_once() {
    let mut harness = Harness::shell();
    for number in 2..6 {
        harness.agent(number, PayloadType::Output, b"a");
    }
    harness.sent();
    harness.sequence.connected(harness.now);
    harness.sent();
    harness.agent(3, PayloadType::Output, b"a");
    assert_eq!(
        harness.sent(),
        [3, 4, 5].map(Sent::Acknowledged),
        "what swallowed the acknowledgement of 3 may have swallowed these"
    );
    harness.agent(3, PayloadType::Output, b"a");
    assert_eq!(harness.sent(), [Sent::Acknowledged(3)]);
}

#[test]
fn p120_a_duplicate_alone_repeats_nothing_and_several_in_a_row_do() {
    let mut harness = Harness::shell();
    harness.acknowledge(0);
    for number in 2..6 {
        harness.agent(number, PayloadType::Output, b"a");
    }
    harness.sent();
    for _ in 0..2 {
        harness.wait(6000);
        harness.agent(3, PayloadType::Output, b"a");
        assert_eq!(harness.sent(), [Sent::Acknowledged(3)]);
    }
    harness.agent(3, PayloadType::Output, b"a");
    assert_eq!(harness.sent(), [3, 4, 5].map(Sent::Acknowledged));
}

#[test]
fn p81_what_the_agent_makes_us_say_does_not_pile_up() {
    let mut harness = Harness::new();
    let mut number = 0;
    while !harness.sequence.has_ended() {
        harness.agent(number, PayloadType::HandshakeRequest, SHELL.as_bytes());
        number += 1;
        assert!(number < 100, "{:?}", harness.sequence.window().kept());
    }
    assert_eq!(number, 65);
    assert!(matches!(
        &harness.delivered()[..],
        [Delivery::Ended(End::Failed(Error::Start(_)))]
    ));
    // An agent that takes the answers gets as many as it likes.
    let mut harness = Harness::new();
    for number in 0..3000 {
        harness.agent(number, PayloadType::HandshakeRequest, SHELL.as_bytes());
        assert_eq!(harness.sent().len(), 2);
        harness.acknowledge(number);
    }
    assert!(!harness.sequence.has_ended());
}

#[test]
fn p81_sizes_do_not_pile_up_and_the_newest_arrives() {
    let size = |cols| Size { cols, rows: 24 };
    let mut harness = Harness::shell();
    harness.acknowledge(0);
    for cols in 0..1000 {
        harness.sequence.resize(size(cols));
    }
    let sizes = |harness: &mut Harness| {
        let sent = harness.sent().into_iter();
        sent.filter_map(|sent| match sent {
            Sent::Stream(PayloadType::Size, number, payload) => Some((number, payload)),
            _ => None,
        })
        .collect::<Vec<_>>()
    };
    assert_eq!(sizes(&mut harness), [(1, to_json(&size(0)))]);
    harness.acknowledge(1);
    assert_eq!(sizes(&mut harness), [(2, to_json(&size(999)))]);
    harness.acknowledge(2);
    assert_eq!(sizes(&mut harness), []);
}

#[test]
fn p80_after_the_start_requests_are_ignored_and_challenges_end_the_session() {
    let mut harness = Harness::shell();
    for (number, request) in [SHELL, PORT].into_iter().enumerate() {
        let number = 2 + number as i64;
        harness.agent(number, PayloadType::HandshakeRequest, request.as_bytes());
        assert_eq!(harness.sent(), [Sent::Acknowledged(number)]);
    }
    assert_eq!(harness.delivered(), []);
    harness.agent(
        4,
        PayloadType::EncryptionChallengeRequest,
        br#"{"Challenge":""}"#,
    );
    assert!(matches!(
        &harness.delivered()[..],
        [Delivery::Ended(End::Failed(Error::Lost(reason)))] if reason.contains("not safe")
    ));
}

#[test]
fn p80_data_before_the_end_of_the_handshake_is_no_data() {
    for (request, word) in [(SHELL, "handshake"), (KMS, "ended to be safe")] {
        let mut harness = Harness::new();
        harness.agent(0, PayloadType::HandshakeRequest, request.as_bytes());
        harness.agent(1, PayloadType::Output, b"in the clear");
        assert!(matches!(
            &harness.delivered()[..],
            [Delivery::Ended(End::Failed(Error::Start(reason)))] if reason.contains(word)
        ));
    }
}

#[test]
fn p80_a_request_for_encryption_that_cannot_be_read_is_one() {
    for parameters in [
        r#"{"KMSKeyId":"arn"}"#,
        "{}",
        "null",
        "\"arn\"",
        r#"{"KMSKeyId":7}"#,
    ] {
        let mut harness = Harness::new();
        let request = KMS.replace(r#"{"KMSKeyId":"arn"}"#, parameters);
        harness.agent(0, PayloadType::HandshakeRequest, request.as_bytes());
        harness.agent(1, PayloadType::HandshakeComplete, COMPLETE.as_bytes());
        harness.agent(2, PayloadType::Output, b"clear");
        assert!(
            matches!(
                &harness.delivered()[..],
                [Delivery::Ended(End::Failed(Error::Start(_)))]
            ),
            "{parameters}"
        );
    }
}

#[test]
fn p80_encryption_that_is_required_and_not_offered_ends_the_session_before_anything_is_sent() {
    let begin = || {
        let mut harness = Harness::new();
        harness.sequence.require_encryption();
        harness
    };
    let ended = |harness: &mut Harness| {
        assert!(matches!(
            &harness.delivered()[..],
            [Delivery::Ended(End::Failed(Error::Start(reason)))] if reason.contains("SSM_PLUGIN_REQUIRE_ENCRYPTION")
        ));
        let sent = harness.sent().into_iter();
        assert!(
            sent.filter(|sent| !matches!(sent, Sent::Acknowledged(_)))
                .count()
                == 0
        );
    };
    let mut harness = begin();
    harness.agent(0, PayloadType::HandshakeRequest, PORT.as_bytes());
    ended(&mut harness);
    let mut harness = begin();
    harness.agent(0, PayloadType::Output, b"$ ");
    ended(&mut harness);
    let mut harness = begin();
    harness.agent(0, PayloadType::HandshakeRequest, KMS.as_bytes());
    assert_eq!(harness.delivered(), []);
    assert!(harness.sequence.poll_key_request().is_some());
}

#[test]
fn p10_a_pause_holds_data_back_and_loses_nothing() {
    let mut harness = Harness::shell();
    harness.acknowledge(0);
    harness.command(MessageType::PausePublication);
    assert!(harness.try_send(b"data"));
    assert_eq!(harness.sent(), []);
    harness.agent(2, PayloadType::Output, b"o");
    assert_eq!(
        harness.sent(),
        [Sent::Acknowledged(2)],
        "acknowledgements are never paused"
    );
    harness.command(MessageType::StartPublication);
    assert!(matches!(
        &harness.sent()[..],
        [Sent::Stream(PayloadType::Output, 1, _)]
    ));
}

#[test]
fn p63_a_message_that_is_never_acknowledged_ends_nothing() {
    let mut harness = Harness::shell();
    harness.acknowledge(0);
    assert!(harness.try_send(b"x"));
    harness.sent();
    harness.wait(59_000);
    assert_eq!(harness.sequence.poll_notice(), None);
    harness.wait(3_600_000);
    assert_eq!(harness.sequence.poll_notice(), Some(Notice::Unacknowledged));
    assert_eq!(harness.sequence.poll_notice(), None);
    assert!(!harness.sequence.has_ended());
}

#[test]
fn p61_a_time_without_reading_is_no_time_without_acknowledgements() {
    let mut harness = Harness::shell();
    harness.acknowledge(0);
    assert!(harness.try_send(b"x"));
    harness.sent();
    harness.sequence.set_reading_paused(true, harness.now);
    harness.wait(3_600_000);
    harness.sequence.set_reading_paused(false, harness.now);
    harness.wait(59_000);
    assert_eq!(harness.sequence.poll_notice(), None);
    harness.wait(1000);
    assert_eq!(harness.sequence.poll_notice(), Some(Notice::Unacknowledged));
}

#[test]
fn p71_an_outage_is_no_time_without_acknowledgements() {
    let mut harness = Harness::shell();
    harness.acknowledge(0);
    assert!(harness.try_send(b"x"));
    harness.sent();
    let failure = Failure {
        meaning: Meaning::Temporary,
        reason: "broken".to_owned(),
        is_answer: false,
    };
    harness
        .sequence
        .disconnected(&failure, harness.now)
        .unwrap();
    harness.wait(600_000);
    let notice = harness.sequence.poll_notice();
    assert!(matches!(notice, Some(Notice::Reconnecting { .. })));
    harness.sequence.connected(harness.now);
    harness.wait(59_000);
    assert_eq!(harness.sequence.poll_notice(), None);
    harness.wait(1000);
    assert_eq!(harness.sequence.poll_notice(), Some(Notice::Unacknowledged));
}

#[test]
fn channel_closed_comes_behind_all_output() {
    let mut harness = Harness::shell();
    harness.agent(2, PayloadType::Output, b"bye");
    harness.frame(Message::control(MessageType::ChannelClosed, br#"{"Output":"why"}"#).encode());
    harness.agent(3, PayloadType::Output, b"after");
    let end = Delivery::Ended(End::Closed {
        output: "why".to_owned(),
    });
    assert_eq!(harness.delivered(), [Harness::output("bye"), end]);
}

#[test]
fn p57_frames_that_cannot_be_decoded_end_the_session_and_a_few_do_not() {
    let mut harness = Harness::new();
    let error = DecodeError::Digest;
    for _ in 0..3 {
        harness
            .sequence
            .handle_decode_failure(error.clone(), harness.now);
    }
    harness.agent(0, PayloadType::Output, b"$ ");
    harness.wait(20_000);
    harness.delivered();
    harness
        .sequence
        .handle_decode_failure(error.clone(), harness.now);
    harness.wait(20_000);
    assert_eq!(harness.delivered(), []);
    for _ in 0..3 {
        harness
            .sequence
            .handle_decode_failure(error.clone(), harness.now);
    }
    harness.wait(10_000);
    assert!(matches!(
        &harness.delivered()[..],
        [Delivery::Ended(End::Failed(Error::Lost(_)))]
    ));
}

#[test]
fn after_a_reconnect_everything_unacknowledged_goes_again_and_numbers_go_on() {
    let mut harness = Harness::shell();
    harness.acknowledge(0);
    for data in [b"a", b"b", b"c"] {
        assert!(harness.try_send(data));
    }
    let first = harness.sent();
    harness.sequence.connected(harness.start + ms(5000));
    assert_eq!(harness.sent(), first);
    harness.agent(2, PayloadType::Output, b"x");
    assert_eq!(harness.delivered(), [Harness::output("x")]);
}
