use super::*;
use crate::message::content::*;
use proptest::prelude::*;
use serde::de::DeserializeOwned;

#[derive(serde::Deserialize)]
struct Vector {
    name: String,
    message_type: String,
    schema_version: u32,
    created_date: u64,
    sequence_number: i64,
    flags: u64,
    message_id: Uuid,
    payload_type: u32,
    payload_text: Option<String>,
    hex: String,
}

fn vectors() -> Vec<Vector> {
    serde_json::from_str(include_str!("../../tests/vectors/messages.json")).unwrap()
}

fn from_hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

fn same_json<T: DeserializeOwned + serde::Serialize>(payload: &[u8]) {
    let content: T = serde_json::from_slice(payload).unwrap();
    assert_eq!(
        String::from_utf8_lossy(&to_json(&content)),
        String::from_utf8_lossy(payload)
    );
}

#[test]
fn every_recorded_message_decodes_to_its_fields_and_encodes_to_its_bytes() {
    let vectors = vectors();
    assert_eq!(vectors.len(), 26);
    for vector in vectors {
        let frame = from_hex(&vector.hex);
        let message =
            Message::decode(&frame).unwrap_or_else(|error| panic!("{}: {error}", vector.name));
        assert_eq!(
            message.message_type.name(),
            vector.message_type,
            "{}",
            vector.name
        );
        assert_eq!(
            message.schema_version, vector.schema_version,
            "{}",
            vector.name
        );
        assert_eq!(message.created_date, vector.created_date, "{}", vector.name);
        assert_eq!(
            message.sequence_number, vector.sequence_number,
            "{}",
            vector.name
        );
        assert_eq!(message.flags.0, vector.flags, "{}", vector.name);
        assert_eq!(message.message_id, vector.message_id, "{}", vector.name);
        assert_eq!(message.payload_type, vector.payload_type, "{}", vector.name);
        if let Some(text) = vector.payload_text {
            assert_eq!(
                String::from_utf8_lossy(message.payload),
                text,
                "{}",
                vector.name
            );
        }
        assert_eq!(message.encode(), frame, "{}", vector.name);
    }
}

#[test]
fn every_recorded_json_payload_is_read_and_written_the_same() {
    let mut seen = 0;
    for vector in vectors() {
        let frame = from_hex(&vector.hex);
        let message = Message::decode(&frame).unwrap();
        let payload = message.payload;
        match (
            message.message_type,
            PayloadType::try_from(message.payload_type),
        ) {
            (MessageType::Acknowledge, _) => same_json::<Acknowledge>(payload),
            (MessageType::ChannelClosed, _) => same_json::<ChannelClosed>(payload),
            (_, Ok(PayloadType::Size)) => same_json::<Size>(payload),
            (_, Ok(PayloadType::HandshakeRequest)) => same_json::<HandshakeRequest>(payload),
            (_, Ok(PayloadType::HandshakeResponse)) => same_json::<HandshakeResponse>(payload),
            (_, Ok(PayloadType::HandshakeComplete)) => same_json::<HandshakeComplete>(payload),
            (
                _,
                Ok(
                    PayloadType::EncryptionChallengeRequest
                    | PayloadType::EncryptionChallengeResponse,
                ),
            ) => {
                same_json::<EncryptionChallenge>(payload);
            }
            (_, Ok(PayloadType::Flag)) => {
                assert_eq!(Flag::from_bytes(payload).unwrap().to_bytes(), payload)
            }
            _ => continue,
        }
        seen += 1;
    }
    assert!(seen >= 13, "only {seen} payloads were of a known shape");
}

#[test]
fn text_frames_are_read_and_written_the_same() {
    let frames: std::collections::BTreeMap<String, String> =
        serde_json::from_str(include_str!("../../tests/vectors/text_frames.json")).unwrap();
    assert_eq!(frames.len(), 2);
    for text in frames.values() {
        same_json::<OpenDataChannel>(text.as_bytes());
    }
    let ours = OpenDataChannel::client("secret", Uuid::new_v4(), "1.2.896.0");
    assert!(!format!("{ours:?}").contains("secret"));
}

#[test]
fn commands_of_the_service_need_no_valid_header() {
    let mut frame = vec![0; HEADER_SIZE];
    frame[4..36].fill(b' ');
    frame[4..21].copy_from_slice(b"pause_publication");
    assert_eq!(
        Message::decode(&frame).unwrap().message_type,
        MessageType::PausePublication
    );
    assert_eq!(
        Message::decode(&frame[..36]).unwrap().message_type,
        MessageType::PausePublication
    );
}

fn sample() -> Vec<u8> {
    Message::stream(MessageType::OutputStreamData, PayloadType::Output, b"hello").encode()
}

#[test]
fn p57_hostile_headers_are_refused() {
    let decode_with = |at: Range<usize>, bytes: &[u8]| {
        let mut frame = sample();
        frame[at].copy_from_slice(bytes);
        Message::decode(&frame).map(|message| message.payload.to_vec())
    };
    assert!(matches!(
        decode_with(0..4, &u32::MAX.to_be_bytes()),
        Err(DecodeError::HeaderLength { .. })
    ));
    assert!(matches!(
        decode_with(0..4, &[0; 4]),
        Err(DecodeError::HeaderLength { .. })
    ));
    assert!(matches!(
        decode_with(0..4, &122_u32.to_be_bytes()),
        Err(DecodeError::HeaderLength { .. })
    ));
    assert_eq!(
        decode_with(CREATED_DATE, &[0; 8]),
        Err(DecodeError::NoCreatedDate)
    );
    assert_eq!(
        decode_with(MESSAGE_TYPE, &[b' '; 32]),
        Err(DecodeError::EmptyMessageType)
    );
    assert_eq!(
        decode_with(MESSAGE_TYPE, &[b'x'; 32]),
        Err(DecodeError::UnknownMessageType("x".repeat(32)))
    );
    assert_eq!(decode_with(120..125, b"hellO"), Err(DecodeError::Digest));
    for length in 0..HEADER_SIZE {
        assert!(matches!(
            Message::decode(&sample()[..length]),
            Err(DecodeError::TooShort(_))
        ));
    }
    // The length field itself only says whether to check the digest.
    assert_eq!(
        decode_with(PAYLOAD_LENGTH, &u32::MAX.to_be_bytes()),
        Ok(b"hello".to_vec())
    );
}

#[test]
fn channel_closed_is_read_leniently() {
    assert_eq!(
        ChannelClosed::output(b"{\"Output\":\"bye\",\"SchemaVersion\":\"x\"}"),
        "bye"
    );
    assert_eq!(ChannelClosed::output(b"{\"Output\":null}"), "");
    assert_eq!(ChannelClosed::output(b"not json"), "");
}

proptest! {
    #[test]
    fn p57_any_bytes_never_panic(frame in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = Message::decode(&frame);
    }

    #[test]
    fn p57_a_changed_message_never_panics(at in 0..125_usize, byte: u8, cut in 0..125_usize) {
        let mut frame = sample();
        frame[at] = byte;
        let _ = Message::decode(&frame);
        let _ = Message::decode(&frame[..cut]);
    }

    #[test]
    fn any_message_survives_a_round_trip(
        payload in proptest::collection::vec(any::<u8>(), 1..3000),
        sequence_number: i64,
        created_date in 1..u64::MAX,
        flags: u64,
        id: u128,
        payload_type: u32,
        kind in 0..4_usize,
    ) {
        let message = Message {
            message_type: MessageType::ALL[kind],
            schema_version: 1,
            created_date,
            sequence_number: 0,
            flags: Flags(flags),
            message_id: Uuid::from_u128(id),
            payload_type,
            payload: &payload,
        };
        let mut frame = message.encode();
        number(&mut frame, sequence_number);
        prop_assert_eq!(Message::decode(&frame).unwrap(), Message { sequence_number, ..message });
    }
}
