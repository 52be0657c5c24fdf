//! The JSON inside payloads and text frames, in the field order of the originals.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use uuid::Uuid;
use zeroize::Zeroize;

/// The schema version in text frames.
const TEXT_SCHEMA_VERSION: &str = "1.0";

/// What is kept of the reason of a channel_closed, bytes.
const LONGEST_OUTPUT: usize = 64 * 1024;

/// The one text frame with which a client opens the data channel. No reply is awaited.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct OpenDataChannel {
    /// `1.0`.
    pub message_schema_version: String,
    /// New for every frame.
    pub request_id: Uuid,
    /// The secret from StartSession or ResumeSession.
    pub token_value: String,
    /// The instance, in an agent's frame only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_instance_id: Option<String>,
    /// One for each process, the same after a reconnect. A UUID for clients, a name for agents.
    pub client_id: String,
    /// The level of the protocol, in a client's frame only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_version: Option<String>,
}

impl OpenDataChannel {
    /// A client's frame.
    pub fn client(token_value: &str, client_id: Uuid, client_version: &str) -> Self {
        Self {
            message_schema_version: TEXT_SCHEMA_VERSION.to_owned(),
            request_id: Uuid::new_v4(),
            token_value: token_value.to_owned(),
            client_instance_id: None,
            client_id: client_id.to_string(),
            client_version: Some(client_version.to_owned()),
        }
    }
}

impl Drop for OpenDataChannel {
    fn drop(&mut self) {
        self.token_value.zeroize();
    }
}

// By hand, so that no log line can hold the token.
impl std::fmt::Debug for OpenDataChannel {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("OpenDataChannel")
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}

/// The payload of an `acknowledge` message. Receivers look at the number only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Acknowledge {
    /// The name of the acknowledged message's type.
    pub acknowledged_message_type: String,
    /// The acknowledged message's id.
    pub acknowledged_message_id: Uuid,
    /// The acknowledged message's number.
    pub acknowledged_message_sequence_number: i64,
    /// Always true.
    pub is_sequential_message: bool,
}

/// The payload of `channel_closed`. Its fields are read leniently: the message ends the session even when they are not there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ChannelClosed {
    /// When, in milliseconds as text.
    pub created_date: String,
    /// The target.
    pub destination_id: String,
    /// The message's id.
    pub message_id: String,
    /// `channel_closed`.
    pub message_type: String,
    /// What to tell the user; may be empty.
    pub output: String,
    /// 1.
    pub schema_version: u32,
    /// The session.
    pub session_id: String,
}

impl ChannelClosed {
    /// The reason for the user, empty where there is none or where the payload cannot be read.
    pub fn output(payload: &[u8]) -> String {
        // Nothing but the one text is kept: as a tree, JSON takes many times its size.
        #[derive(Deserialize)]
        struct Reason {
            #[serde(rename = "Output", default)]
            output: Option<String>,
        }
        let reason = serde_json::from_slice::<Reason>(payload).ok();
        let mut output = reason.and_then(|reason| reason.output).unwrap_or_default();
        output.truncate(output.floor_char_boundary(LONGEST_OUTPUT));
        output
    }
}

/// The terminal's size in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// Columns.
    pub cols: u16,
    /// Rows.
    pub rows: u16,
}

/// The agent's first message in a session with a handshake.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct HandshakeRequest {
    /// Decides about multiplexing and keepalives.
    pub agent_version: String,
    /// What the client shall do or prepare.
    #[serde(deserialize_with = "null_as_default", default)]
    pub requested_client_actions: Vec<RequestedClientAction>,
}

/// One thing that the agent asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "ActionType", content = "ActionParameters")]
pub enum RequestedClientAction {
    /// What kind of session it is.
    SessionType(SessionTypeParameters),
    /// Encrypt the session's data with a key of KMS.
    #[serde(rename = "KMSEncryption")]
    KmsEncryption(KmsEncryptionParameters),
    /// An action that this client does not know, or cannot read.
    #[serde(untagged)]
    Unknown {
        /// Its name.
        #[serde(rename = "ActionType")]
        action_type: String,
        /// Whatever it holds.
        #[serde(rename = "ActionParameters", default)]
        action_parameters: Value,
    },
}

/// What kind of session it is, and how it is set up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SessionTypeParameters {
    /// `Standard_Stream`, `InteractiveCommands`, `NonInteractiveCommands` or `Port`.
    pub session_type: String,
    /// Of ports: `portNumber`, `localPortNumber`, `type`, …; nothing for shells.
    #[serde(default)]
    pub properties: Option<BTreeMap<String, Value>>,
}

/// Which key, and the agent's challenge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KmsEncryptionParameters {
    /// The key's ARN or id.
    #[serde(rename = "KMSKeyId")]
    pub kms_key_id: String,
    /// Base64; belongs into the encryption context of a client that acknowledges it.
    #[serde(rename = "Challenge", default, skip_serializing_if = "Option::is_none")]
    pub challenge: Option<String>,
}

/// The client's answer to [`HandshakeRequest`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct HandshakeResponse {
    /// The level of the protocol that the client speaks.
    pub client_version: String,
    /// One answer for each requested action, in their order.
    pub processed_client_actions: Vec<ProcessedClientAction>,
    /// The texts of all failures, or null.
    pub errors: Option<Vec<String>>,
}

/// How one requested action went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ProcessedClientAction {
    /// The action's name.
    pub action_type: String,
    /// 1, 2 or 3; the agent cancels the session at anything but 1.
    pub action_status: ActionStatus,
    /// The encrypted key, for `KMSEncryption`.
    pub action_result: Option<KmsEncryptionResult>,
    /// Why it failed; empty when it did not.
    pub error: String,
}

/// How an action went, a number on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "u8", try_from = "u8")]
#[allow(missing_docs, reason = "the names say it")]
pub enum ActionStatus {
    Success = 1,
    Failed = 2,
    Unsupported = 3,
}

impl From<ActionStatus> for u8 {
    fn from(status: ActionStatus) -> Self {
        status as Self
    }
}

impl TryFrom<u8> for ActionStatus {
    type Error = String;

    fn try_from(number: u8) -> Result<Self, String> {
        match number {
            1 => Ok(Self::Success),
            2 => Ok(Self::Failed),
            3 => Ok(Self::Unsupported),
            other => Err(format!("unknown action status {other}")),
        }
    }
}

/// The data key under the KMS key, for the agent to decrypt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KmsEncryptionResult {
    /// Base64.
    #[serde(rename = "KMSCipherTextKey")]
    pub kms_cipher_text_key: String,
    /// Always null.
    #[serde(rename = "KMSCipherTextHash")]
    pub kms_cipher_text_hash: Option<String>,
    /// Whether the challenge is in the encryption context.
    #[serde(
        rename = "ChallengeAcknowledgement",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub challenge_acknowledgement: Option<bool>,
}

/// The agent's last word in the handshake: data may flow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct HandshakeComplete {
    /// Nanoseconds.
    #[serde(deserialize_with = "null_as_default", default)]
    pub handshake_time_to_complete: i64,
    /// To be shown to the user when not empty.
    #[serde(deserialize_with = "null_as_default", default)]
    pub customer_message: String,
}

/// Both directions of the encryption challenge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct EncryptionChallenge {
    /// Base64 of nonce, ciphertext and tag.
    pub challenge: String,
}

/// Go writes a nil slice or string as null.
fn null_as_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    input: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(input)?.unwrap_or_default())
}

/// Compact JSON without a trailing newline, as both ends send it.
pub fn to_json(content: &impl Serialize) -> Vec<u8> {
    // The types above have string keys and finite numbers only: nothing in them can fail.
    serde_json::to_vec(content).unwrap_or_default()
}

/// Reads `EXIT_CODE: n`.
pub fn exit_code(payload: &[u8]) -> Option<i64> {
    std::str::from_utf8(payload)
        .ok()?
        .trim()
        .strip_prefix("EXIT_CODE:")?
        .trim()
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_is_read() {
        assert_eq!(exit_code(b"EXIT_CODE: 3"), Some(3));
        assert_eq!(exit_code(b"EXIT_CODE: -1\n"), Some(-1));
        for bad in [&b""[..], b"EXIT_CODE:", b"3", b"EXIT_CODE: x", b"\xff"] {
            assert_eq!(exit_code(bad), None);
        }
    }
}
