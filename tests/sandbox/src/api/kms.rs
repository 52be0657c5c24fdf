//! GenerateDataKey and Decrypt.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{Answer, ApiError};
use crate::kms::Context;
use crate::sandbox::Shared;

fn context(input: &Value) -> Context {
    input
        .get("EncryptionContext")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()))
        .collect()
}

pub(super) fn generate(input: &Value, shared: &Shared) -> Answer {
    let Some(key_id) = input.get("KeyId").and_then(Value::as_str) else {
        return Err(ApiError::new(
            "ValidationException",
            "KeyId must not be null",
        ));
    };
    let bytes = match (
        input.get("NumberOfBytes").and_then(Value::as_u64),
        input.get("KeySpec").and_then(Value::as_str),
    ) {
        (Some(bytes), _) => usize::try_from(bytes).unwrap_or(0),
        (None, Some("AES_128")) => 16,
        (None, _) => 32,
    };
    if !(1..=1024).contains(&bytes) {
        return Err(ApiError::new(
            "ValidationException",
            "NumberOfBytes must be between 1 and 1024",
        ));
    }
    let (blob, key) = shared
        .kms
        .generate(bytes, context(input))
        .map_err(|error| ApiError::new("KMSInternalException", error.to_string()))?;
    Ok(json!({
        "CiphertextBlob": STANDARD.encode(blob),
        "Plaintext": STANDARD.encode(key),
        "KeyId": key_id,
    }))
}

pub(super) fn decrypt(input: &Value, shared: &Shared) -> Answer {
    let blob = input
        .get("CiphertextBlob")
        .and_then(Value::as_str)
        .and_then(|text| STANDARD.decode(text).ok())
        .unwrap_or_default();
    match shared.kms.decrypt(&blob, &context(input)) {
        Ok(key) => Ok(json!({
            "Plaintext": STANDARD.encode(key),
            "KeyId": input.get("KeyId"),
        })),
        Err(code) => Err(ApiError::new(code, "")),
    }
}
