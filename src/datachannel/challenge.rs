//! The agent wants to see that we have the session's key: it sends something encrypted, and gets it back under our half of the key.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::encryption::Encrypter;
use crate::error::Error;
use crate::message::content::EncryptionChallenge;

/// The answer to the payload of an encryption challenge.
///
/// # Errors
///
/// [`Error::Start`] when there is no key, or the challenge is not what our key opens: the other side is not the one it claims to be.
pub fn answer(encrypter: Option<&Encrypter>, payload: &[u8]) -> Result<EncryptionChallenge, Error> {
    let failed = |what: &str| {
        Error::Start(format!(
            "the agent's encryption challenge {what}; the session is not safe"
        ))
    };
    let encrypter = encrypter.ok_or_else(|| failed("came without a key"))?;
    let challenge: EncryptionChallenge = serde_json::from_slice(payload)
        .map_err(|error| failed(&format!("cannot be read ({error})")))?;
    let challenge = BASE64_STANDARD
        .decode(challenge.challenge)
        .map_err(|_| failed("is no Base64"))?;
    let challenge = encrypter
        .open(&challenge)
        .map_err(|_| failed("was not encrypted with the session's key"))?;
    Ok(EncryptionChallenge {
        challenge: BASE64_STANDARD.encode(encrypter.seal(&challenge)),
    })
}
