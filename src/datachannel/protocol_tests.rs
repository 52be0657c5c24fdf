use std::time::{Duration, Instant};

use uuid::Uuid;

use super::*;
use crate::datachannel::SessionType;
use crate::datachannel::acknowledgements::LIMIT;
use crate::message::content::Acknowledge;

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// A channel, and a hand that writes the agent's messages.
struct Harness {
    protocol: Protocol,
    start: Instant,
    now: Instant,
}

const PORT: &str = r#"{"AgentVersion":"3.3.0.0","RequestedClientActions":[{"ActionType":"SessionType","ActionParameters":{"SessionType":"Port","Properties":{"portNumber":"22"}}}]}"#;
const SHELL: &str = r#"{"AgentVersion":"3.3.0.0","RequestedClientActions":[{"ActionType":"SessionType","ActionParameters":{"SessionType":"Standard_Stream","Properties":null}}]}"#;
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
        let mut protocol = Protocol::new("1.2.896.0");
        protocol.connected(start);
        Self {
            protocol,
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
        while harness.protocol.poll_delivery().is_some() {}
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
        self.protocol
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
        while let Some(at) = self.protocol.next_timeout().filter(|at| *at <= until) {
            assert!(
                at >= self.now || !self.protocol.window().is_empty(),
                "a timer in the past"
            );
            self.now = self.now.max(at);
            self.protocol.handle_timeout(self.now);
            if self.protocol.next_timeout() == Some(at) {
                break;
            }
        }
        self.now = until;
        self.protocol.handle_timeout(until);
    }

    fn sent(&mut self) -> Vec<Sent> {
        let frames = std::iter::from_fn(|| self.protocol.poll_transmit(self.now));
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
        let Some(reservation) = self.protocol.reserve(120 + data.len(), Urgency::Bulk) else {
            return false;
        };
        let frame =
            Message::stream(MessageType::InputStreamData, PayloadType::Output, data).encode();
        self.protocol
            .commit(reservation, bytes::BytesMut::from(frame.as_slice()));
        true
    }

    fn delivered(&mut self) -> Vec<Delivery> {
        std::iter::from_fn(|| self.protocol.poll_delivery()).collect()
    }

    fn output(text: &'static str) -> Delivery {
        Delivery::Payload(PayloadType::Output, Bytes::from_static(text.as_bytes()))
    }
}

fn session_type(delivery: Option<&Delivery>) -> Option<SessionType> {
    match delivery {
        Some(Delivery::Started(started)) => Some(started.session_type),
        _ => None,
    }
}

#[test]
fn a_handshake_leads_to_a_session() {
    let mut harness = Harness::new();
    harness.agent(0, PayloadType::HandshakeRequest, PORT.as_bytes());
    let sent = harness.sent();
    assert_eq!(sent[0], Sent::Acknowledged(0));
    assert!(matches!(
        &sent[1],
        Sent::Stream(PayloadType::HandshakeResponse, 0, _)
    ));
    assert_eq!(harness.delivered(), []);
    harness.agent(1, PayloadType::HandshakeComplete, COMPLETE.as_bytes());
    assert_eq!(
        session_type(harness.delivered().first()),
        Some(SessionType::Port)
    );
    assert!(
        !harness.try_send(b"early"),
        "the agent is not ready for another moment"
    );
    assert!(!harness.protocol.poll_writable());
    harness.wait(10);
    assert!(harness.protocol.poll_writable());
    assert!(harness.try_send(b"late"));
}

#[test]
fn p14_sizes_and_flags_wait_until_the_agent_does_more_than_acknowledge_them() {
    let mut harness = Harness::new();
    harness.protocol.resize(Size { cols: 80, rows: 24 });
    harness.protocol.send_flag(Flag::TerminateSession);
    harness.protocol.send_flag(Flag::TerminateSession);
    assert!(!harness.protocol.is_acknowledged());
    harness.agent(0, PayloadType::HandshakeRequest, SHELL.as_bytes());
    harness.agent(1, PayloadType::HandshakeComplete, COMPLETE.as_bytes());
    let sent = harness.sent();
    assert!(
        matches!(
            &sent[..],
            [
                Sent::Acknowledged(0),
                Sent::Acknowledged(1),
                Sent::Stream(PayloadType::HandshakeResponse, 0, _),
            ]
        ),
        "the agent is not ready for another moment: {sent:?}"
    );
    harness.wait(10);
    let size = br#"{"cols":80,"rows":24}"#.to_vec();
    let flag = Flag::TerminateSession.to_bytes().to_vec();
    assert_eq!(
        harness.sent(),
        [
            Sent::Stream(PayloadType::Size, 1, size),
            Sent::Stream(PayloadType::Flag, 2, flag)
        ]
    );
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
fn p05_a_duplicate_brings_all_later_acknowledgements_again_once() {
    let mut harness = Harness::shell();
    for number in 2..6 {
        harness.agent(number, PayloadType::Output, b"a");
    }
    harness.sent();
    harness.agent(3, PayloadType::Output, b"a");
    assert_eq!(
        harness.sent(),
        [3, 4, 5].map(Sent::Acknowledged),
        "whatever swallowed the acknowledgement of 3 may have swallowed these"
    );
    harness.agent(3, PayloadType::Output, b"a");
    assert_eq!(harness.sent(), [Sent::Acknowledged(3)]);
}

#[test]
fn p08_output_right_behind_the_handshake_is_kept() {
    let mut harness = Harness::new();
    harness.agent(0, PayloadType::HandshakeRequest, SHELL.as_bytes());
    harness.agent(1, PayloadType::HandshakeComplete, COMPLETE.as_bytes());
    harness.agent(2, PayloadType::Output, b"$ ");
    let delivered = harness.delivered();
    assert_eq!(
        session_type(delivered.first()),
        Some(SessionType::StandardStream)
    );
    assert_eq!(delivered[1..], [Harness::output("$ ")]);
}

#[test]
fn p11_the_handshake_response_is_repeated_until_it_is_acknowledged() {
    let mut harness = Harness::new();
    harness.agent(0, PayloadType::HandshakeRequest, PORT.as_bytes());
    harness.sent();
    harness.wait(1000);
    let again = harness.sent();
    assert!(
        matches!(
            &again[..],
            [Sent::Stream(PayloadType::HandshakeResponse, 0, _)]
        ),
        "{again:?}"
    );
    harness.acknowledge(0);
    harness.wait(10_000);
    assert_eq!(harness.sent(), []);
}

#[test]
fn p14_nothing_but_a_size_goes_before_the_handshake_is_complete() {
    let mut harness = Harness::new();
    assert!(!harness.try_send(b"typed"));
    harness.protocol.resize(Size { cols: 80, rows: 24 });
    harness.wait(2999);
    assert_eq!(harness.sent(), []);
    harness.wait(1);
    let size = br#"{"cols":80,"rows":24}"#.to_vec();
    assert_eq!(
        harness.sent(),
        [Sent::Stream(PayloadType::Size, 0, size.clone())]
    );
    harness.acknowledge(0);
    harness.wait(1900);
    harness.agent(0, PayloadType::HandshakeRequest, SHELL.as_bytes());
    harness.wait(5000);
    assert!(!harness.try_send(b"typed"), "the handshake has begun");
    harness.agent(1, PayloadType::HandshakeComplete, COMPLETE.as_bytes());
    harness.wait(10);
    let sent = harness.sent();
    assert!(
        sent.contains(&Sent::Stream(PayloadType::Size, 2, size)),
        "sent again after the handshake: {sent:?}"
    );
    assert!(harness.try_send(b"typed"));
}

#[test]
fn p14_an_agent_without_handshake_that_waits_for_input_gets_it() {
    let mut harness = Harness::new();
    harness.wait(3000);
    assert!(matches!(
        &harness.sent()[..],
        [Sent::Stream(PayloadType::Size, 0, _)]
    ));
    harness.wait(60_000);
    assert_eq!(harness.delivered(), [], "nobody is there yet");
    harness.acknowledge(0);
    harness.wait(1999);
    assert_eq!(harness.delivered(), []);
    harness.wait(1);
    assert_eq!(
        harness.delivered(),
        [Delivery::Started(Started::shell_without_handshake())]
    );
    assert!(harness.try_send(b"typed"));
}

#[test]
fn p14_the_silence_of_a_broken_connection_is_no_sign_of_a_shell() {
    let mut harness = Harness::new();
    harness.wait(3000);
    harness.acknowledge(0);
    harness.wait(1000);
    // The connection breaks, and is back after five seconds.
    harness.now += ms(5000);
    harness.protocol.connected(harness.now);
    harness.wait(1999);
    assert_eq!(harness.delivered(), [], "a handshake may still come");
    harness.wait(1);
    assert_eq!(
        harness.delivered(),
        [Delivery::Started(Started::shell_without_handshake())]
    );
}

#[test]
fn p14_what_the_service_says_is_no_sign_of_an_agent() {
    let mut harness = Harness::new();
    harness.command(MessageType::StartPublication);
    harness.wait(3000);
    assert!(matches!(
        &harness.sent()[..],
        [Sent::Stream(PayloadType::Size, 0, _)]
    ));
    harness.acknowledge(0);
    harness.wait(2000);
    assert!(harness.try_send(b"typed"));
}

#[test]
fn output_as_the_first_message_is_a_shell_without_handshake() {
    let mut harness = Harness::new();
    harness.agent(0, PayloadType::Output, b"# ");
    let expected = [
        Delivery::Started(Started::shell_without_handshake()),
        Harness::output("# "),
    ];
    assert_eq!(harness.delivered(), expected);
    assert!(harness.try_send(b"ls"));
}

#[test]
fn p16_handshake_messages_out_of_order_are_handled_in_order() {
    let mut harness = Harness::new();
    harness.agent(2, PayloadType::Output, b"$ ");
    harness.agent(1, PayloadType::HandshakeComplete, COMPLETE.as_bytes());
    assert_eq!(harness.delivered(), []);
    harness.agent(0, PayloadType::HandshakeRequest, SHELL.as_bytes());
    let delivered = harness.delivered();
    assert_eq!(
        session_type(delivered.first()),
        Some(SessionType::StandardStream)
    );
    assert_eq!(delivered[1], Harness::output("$ "));
}

#[test]
fn p28_a_stream_that_began_before_us_belongs_to_another_client() {
    let mut harness = Harness::new();
    harness.agent(7, PayloadType::Output, b"x");
    harness.wait(9999);
    assert_eq!(harness.delivered(), []);
    harness.wait(1);
    let error = Error::Taken("This session already belongs to another client process".to_owned());
    assert_eq!(harness.delivered(), [Delivery::Ended(End::Failed(error))]);
}

#[test]
fn p28_a_late_beginning_is_no_foreign_session() {
    let mut harness = Harness::new();
    harness.agent(1, PayloadType::Output, b"b");
    harness.wait(9000);
    harness.agent(0, PayloadType::Output, b"a");
    harness.wait(20_000);
    assert_eq!(harness.delivered().len(), 3);
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
fn p13_acknowledgements_that_find_no_room_are_left_to_the_resend() {
    let mut harness = Harness::shell();
    let many = i64::try_from(LIMIT).unwrap() + 10;
    for number in 2..many {
        harness.agent(number, PayloadType::Output, b"x");
    }
    assert_eq!(harness.sent().len(), LIMIT);
    harness.agent(many - 1, PayloadType::Output, b"x");
    assert_eq!(harness.sent(), [Sent::Acknowledged(many - 1)]);
    assert_eq!(
        harness.delivered().len(),
        usize::try_from(many).unwrap() - 2
    );
}

#[test]
fn p63_silence_is_told_once_and_is_no_failure() {
    let mut harness = Harness::new();
    harness.wait(3000);
    harness.sent();
    harness.wait(12_000);
    assert_eq!(harness.protocol.poll_notice(), Some(Notice::Silent));
    harness.wait(3_600_000);
    assert_eq!(
        harness.protocol.poll_notice(),
        Some(Notice::Unacknowledged),
        "the size that asks whether somebody is there"
    );
    assert_eq!(harness.protocol.poll_notice(), None);
    assert_eq!(harness.delivered(), []);
}

#[test]
fn p63_a_message_that_is_never_acknowledged_ends_nothing() {
    let mut harness = Harness::shell();
    harness.acknowledge(0);
    assert!(harness.try_send(b"x"));
    harness.sent();
    harness.wait(59_000);
    assert_eq!(harness.protocol.poll_notice(), None);
    harness.wait(3_600_000);
    assert_eq!(harness.protocol.poll_notice(), Some(Notice::Unacknowledged));
    assert_eq!(harness.protocol.poll_notice(), None);
    assert!(!harness.protocol.has_ended());
}

#[test]
fn p61_a_time_without_reading_is_no_time_without_acknowledgements() {
    let mut harness = Harness::shell();
    harness.acknowledge(0);
    assert!(harness.try_send(b"x"));
    harness.sent();
    harness.protocol.set_deaf(true, harness.now);
    harness.wait(3_600_000);
    harness.protocol.set_deaf(false, harness.now);
    harness.wait(59_000);
    assert_eq!(harness.protocol.poll_notice(), None);
    harness.wait(1000);
    assert_eq!(harness.protocol.poll_notice(), Some(Notice::Unacknowledged));
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
fn a_refused_handshake_is_the_reason_of_the_end() {
    let mut harness = Harness::new();
    let request = SHELL.replace("Standard_Stream", "Teleport");
    harness.agent(0, PayloadType::HandshakeRequest, request.as_bytes());
    harness.frame(Message::control(MessageType::ChannelClosed, b"{}").encode());
    let error = Error::Start(
        "Failed to process action SessionType: Unknown session type Teleport".to_owned(),
    );
    assert_eq!(harness.delivered(), [Delivery::Ended(End::Failed(error))]);
}

#[test]
fn p57_nothing_but_garbage_ends_the_session_and_a_little_does_not() {
    let mut harness = Harness::new();
    let error = DecodeError::Digest;
    for _ in 0..3 {
        harness.protocol.handle_garbage(error.clone(), harness.now);
    }
    harness.agent(0, PayloadType::Output, b"$ ");
    harness.wait(20_000);
    harness.delivered();
    harness.protocol.handle_garbage(error.clone(), harness.now);
    harness.wait(20_000);
    assert_eq!(harness.delivered(), []);
    for _ in 0..3 {
        harness.protocol.handle_garbage(error.clone(), harness.now);
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
    harness.protocol.connected(harness.start + ms(5000));
    assert_eq!(harness.sent(), first);
    harness.agent(2, PayloadType::Output, b"x");
    assert_eq!(harness.delivered(), [Harness::output("x")]);
}
