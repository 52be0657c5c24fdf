//! The data keys of encrypted sessions.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize, Serializer};
use zeroize::Zeroizing;

use super::Api;
use crate::aws::ApiError;
use crate::aws::call::ATTEMPTS;
use crate::aws::service::Service;
use crate::encryption::DATA_KEY_SIZE;
use crate::network::Limit;
use crate::secret::Secret;

/// The longest encrypted key, base64. KMS gives 6144 bytes at most (`CiphertextBlob` in its API).
const LONGEST_CIPHERTEXT: usize = 8192;

/// A key that KMS made.
#[derive(Debug)]
pub struct DataKey {
    /// The key as KMS encrypted it, base64. The agent has it decrypted by KMS.
    pub ciphertext: String,
    /// The key itself, 64 bytes; wiped when it is dropped.
    pub plaintext: Zeroizing<[u8; DATA_KEY_SIZE]>,
}

impl Api {
    /// Has KMS make the key of an encrypted session.
    ///
    /// The encryption context must be the one with which the agent will ask for decryption: session, target, and its challenge if it
    /// sent one.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub fn generate_data_key(
        &self,
        key_id: &str,
        session_id: &str,
        target: &str,
        challenge: Option<&str>,
        limit: &Limit,
    ) -> Result<DataKey, ApiError> {
        #[derive(Serialize)]
        #[serde(rename_all = "PascalCase")]
        struct GenerateDataKeyRequest<'a> {
            key_id: &'a str,
            #[serde(serialize_with = "key_length")]
            number_of_bytes: (),
            encryption_context: EncryptionContext<'a>,
        }
        #[derive(Serialize)]
        struct EncryptionContext<'a> {
            #[serde(
                rename = "aws:ssm:RandomChallenge",
                skip_serializing_if = "Option::is_none"
            )]
            challenge: Option<&'a str>,
            #[serde(rename = "aws:ssm:SessionId")]
            session_id: &'a str,
            #[serde(rename = "aws:ssm:TargetId")]
            target: &'a str,
        }
        fn key_length<S: Serializer>(_: &(), serializer: S) -> Result<S::Ok, S::Error> {
            DATA_KEY_SIZE.serialize(serializer)
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct GenerateDataKeyAnswer {
            ciphertext_blob: String,
            plaintext: Secret,
        }
        const OPERATION: &str = "GenerateDataKey";
        let request = GenerateDataKeyRequest {
            key_id,
            number_of_bytes: (),
            encryption_context: EncryptionContext {
                challenge,
                session_id,
                target,
            },
        };
        let credentials = self.credentials(limit)?;
        let _waiting = self.waiting("KMS", limit);
        let answer: GenerateDataKeyAnswer = self.json(
            Service::Kms,
            OPERATION,
            "TrentService.GenerateDataKey",
            &request,
            (&credentials, ATTEMPTS),
            limit,
        )?;
        let malformed = || ApiError::Malformed("holds no key of 64 bytes", OPERATION);
        let plaintext = STANDARD
            .decode(answer.plaintext.expose())
            .map(Zeroizing::new);
        let plaintext = plaintext.map_err(|_| malformed())?;
        let mut key = Zeroizing::new([0; DATA_KEY_SIZE]);
        let ciphertext = answer.ciphertext_blob;
        let is_ciphertext = (1..=LONGEST_CIPHERTEXT).contains(&ciphertext.len());
        if plaintext.len() != DATA_KEY_SIZE || !is_ciphertext {
            return Err(malformed());
        }
        key.copy_from_slice(&plaintext);
        Ok(DataKey {
            ciphertext,
            plaintext: key,
        })
    }
}
