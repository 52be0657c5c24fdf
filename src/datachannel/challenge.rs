//! The encryption challenge. The agent checks that the client has the session's key: it sends something under its half of the key, and
//! gets it back under the client's half.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::encryption::Encrypter;
use crate::message::content::EncryptionChallenge;

/// What the agent encrypts, in bytes. Anything else could be a message of the session that somebody wants to have under our key.
const SIZE: usize = 64;
/// The largest payload: a challenge as JSON has 140 bytes.
const MAXIMUM_PAYLOAD: usize = 4096;

/// The answer to the payload of the encryption challenge.
///
/// # Errors
///
/// When there is no key, or the challenge is not what our key opens: the agent is not the one that it claims to be. The text says what
/// the challenge is not.
pub(super) fn answer(
    encrypter: Option<&Encrypter>,
    payload: &[u8],
) -> Result<EncryptionChallenge, String> {
    let encrypter = encrypter.ok_or("came without a key")?;
    if payload.len() > MAXIMUM_PAYLOAD {
        return Err("is far too large".to_owned());
    }
    let challenge: EncryptionChallenge =
        serde_json::from_slice(payload).map_err(|error| format!("cannot be read ({error})"))?;
    let challenge = BASE64_STANDARD
        .decode(challenge.challenge)
        .map_err(|_| "is no Base64")?;
    let challenge = encrypter
        .open(&challenge)
        .map_err(|_| "was not encrypted with the session's key")?;
    if challenge.len() != SIZE {
        return Err(format!("has {} bytes instead of {SIZE}", challenge.len()));
    }
    Ok(EncryptionChallenge {
        challenge: BASE64_STANDARD.encode(encrypter.seal(&challenge)),
    })
}
