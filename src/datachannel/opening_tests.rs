//! How a session begins: handshakes, and agents that make none.

use super::*;

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
    assert!(!harness.sequence.poll_writable());
    harness.wait(10);
    assert!(harness.sequence.poll_writable());
    assert!(harness.try_send(b"late"));
}

#[test]
fn p14_sizes_and_flags_wait_until_the_agent_does_more_than_acknowledge_them() {
    let mut harness = Harness::new();
    harness.sequence.resize(Size { cols: 80, rows: 24 });
    harness.sequence.send_flag(Flag::TerminateSession);
    harness.sequence.send_flag(Flag::TerminateSession);
    assert!(!harness.sequence.is_acknowledged());
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
    harness.sequence.resize(Size { cols: 80, rows: 24 });
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
    harness.sequence.connected(harness.now);
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
fn p63_silence_is_told_once_and_is_no_failure() {
    let mut harness = Harness::new();
    harness.wait(3000);
    harness.sent();
    harness.wait(12_000);
    assert_eq!(harness.sequence.poll_notice(), Some(Notice::Silent));
    harness.wait(3_600_000);
    assert_eq!(
        harness.sequence.poll_notice(),
        Some(Notice::Unacknowledged),
        "the size that asks whether somebody is there"
    );
    assert_eq!(harness.sequence.poll_notice(), None);
    assert_eq!(harness.delivered(), []);
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
fn p110_a_refused_handshake_that_the_agent_does_not_end_is_ended_with_the_reason() {
    let mut harness = Harness::new();
    let request = SHELL.replace("Standard_Stream", "Teleport");
    harness.agent(0, PayloadType::HandshakeRequest, request.as_bytes());
    harness.sent();
    harness.acknowledge(0);
    for _ in 0..9 {
        harness.wait(1000);
        // What the agent repeats makes it no later.
        harness.agent(0, PayloadType::HandshakeRequest, request.as_bytes());
    }
    assert_eq!(harness.delivered(), []);
    harness.wait(1000);
    let error = Error::Start(
        "Failed to process action SessionType: Unknown session type Teleport".to_owned(),
    );
    assert_eq!(harness.delivered(), [Delivery::Ended(End::Failed(error))]);
}

#[test]
fn p110_what_was_refused_and_not_needed_is_not_why_a_session_ends() {
    let mut harness = Harness::new();
    let request = SHELL.replace("[{", r#"[{"ActionType":"Dance","ActionParameters":{}},{"#);
    harness.agent(0, PayloadType::HandshakeRequest, request.as_bytes());
    harness.agent(1, PayloadType::HandshakeComplete, COMPLETE.as_bytes());
    harness.wait(60_000);
    harness.frame(Message::control(MessageType::ChannelClosed, b"{}").encode());
    let delivered = harness.delivered();
    assert_eq!(
        session_type(delivered.first()),
        Some(SessionType::StandardStream)
    );
    let output = String::new();
    assert_eq!(
        delivered.last(),
        Some(&Delivery::Ended(End::Closed { output }))
    );
}

#[test]
fn p63_silence_in_the_middle_of_a_handshake_is_told_too() {
    let mut harness = Harness::new();
    harness.wait(2000);
    harness.agent(0, PayloadType::HandshakeRequest, PORT.as_bytes());
    harness.sent();
    harness.acknowledge(0);
    harness.wait(14_000);
    // Nothing can be heard before there is a connection again.
    harness.sequence.connected(harness.now);
    harness.wait(14_000);
    assert_eq!(harness.sequence.poll_notice(), None);
    harness.wait(1000);
    assert_eq!(harness.sequence.poll_notice(), Some(Notice::Silent));
    harness.wait(3_600_000);
    assert_eq!(harness.sequence.poll_notice(), None);
    harness.agent(1, PayloadType::HandshakeComplete, COMPLETE.as_bytes());
    assert_eq!(
        session_type(harness.delivered().first()),
        Some(SessionType::Port)
    );
}

#[test]
fn p28_a_number_from_nowhere_is_no_other_client_and_many_are() {
    let mut harness = Harness::new();
    harness.agent(i64::MAX, PayloadType::Output, b"?");
    harness.wait(60_000);
    assert!(!harness.sequence.has_ended());
    assert_eq!(
        harness
            .sent()
            .iter()
            .filter(|sent| matches!(sent, Sent::Acknowledged(_)))
            .count(),
        0
    );
    harness.agent(0, PayloadType::Output, b"$ ");
    assert!(harness.sequence.has_started());
    // The stream of a client that has worked for weeks, repeated as agents do.
    let mut harness = Harness::new();
    for _ in 0..30 {
        harness.agent(50_000_000, PayloadType::Output, b"more");
        harness.wait(300);
    }
    assert!(!harness.sequence.has_ended());
    harness.wait(1000);
    assert!(matches!(
        &harness.delivered()[..],
        [Delivery::Ended(End::Failed(Error::Taken(_)))]
    ));
}
