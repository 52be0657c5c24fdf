//! The agent's half of the encryption: AES-256-GCM, a message being nonce, ciphertext and tag.

use aes_gcm::aead::{Aead, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce};

const NONCE: usize = 12;
const TAG: usize = 16;
/// Two keys of 256 bits.
pub(super) const KEY_BYTES: usize = 64;

/// The keys of both directions.
pub(super) struct Cipher {
    to_client: Aes256Gcm,
    from_client: Aes256Gcm,
    /// Counts up, little-endian, from a random start.
    nonce: u128,
    /// Every tag is wrong.
    pub(super) break_tags: bool,
}

impl Cipher {
    /// From the 64 bytes that KMS gave: the first half encrypts what the agent sends.
    pub(super) fn new(key: &[u8]) -> Result<Self, String> {
        let key: &[u8; KEY_BYTES] = key
            .try_into()
            .map_err(|_| format!("data key of {} bytes", key.len()))?;
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce).map_err(|error| error.to_string())?;
        let mut start = [0; 16];
        start[..NONCE].copy_from_slice(&nonce);
        let cipher =
            |half: &[u8]| Aes256Gcm::new_from_slice(half).map_err(|error| error.to_string());
        Ok(Self {
            to_client: cipher(&key[..KEY_BYTES / 2])?,
            from_client: cipher(&key[KEY_BYTES / 2..])?,
            nonce: u128::from_le_bytes(start),
            break_tags: false,
        })
    }

    pub(super) fn encrypt(&mut self, plain: &[u8]) -> Vec<u8> {
        let nonce: [u8; NONCE] = std::array::from_fn(|index| self.nonce.to_le_bytes()[index]);
        self.nonce = self.nonce.wrapping_add(1);
        let mut message = nonce.to_vec();
        // Fails for 64 GiB and more only.
        let sealed = self
            .to_client
            .encrypt(&Nonce::from(nonce), plain)
            .unwrap_or_default();
        message.extend_from_slice(&sealed);
        if self.break_tags
            && let Some(last) = message.last_mut()
        {
            *last ^= 1;
        }
        message
    }

    pub(super) fn decrypt(&self, message: &[u8]) -> Result<Vec<u8>, String> {
        if message.len() < NONCE + TAG {
            return Err(format!("{} bytes are no encrypted message", message.len()));
        }
        let nonce: [u8; NONCE] = std::array::from_fn(|index| message[index]);
        self.from_client
            .decrypt(&Nonce::from(nonce), &message[NONCE..])
            .map_err(|_| "message cannot be decrypted".into())
    }

    /// What a client with the same key would send.
    #[cfg(test)]
    pub(super) fn mirrored(key: &[u8]) -> Self {
        let mut swapped = key[KEY_BYTES / 2..].to_vec();
        swapped.extend_from_slice(&key[..KEY_BYTES / 2]);
        Self::new(&swapped).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_understand_each_other_and_nonces_count_up() {
        let key: Vec<u8> = (0..64).collect();
        let mut agent = Cipher::new(&key).unwrap();
        let mut client = Cipher::mirrored(&key);
        let first = agent.encrypt(b"hello");
        let second = agent.encrypt(b"hello");
        assert_ne!(first, second);
        assert_eq!(first.len(), NONCE + 5 + TAG);
        assert_eq!(client.decrypt(&first).unwrap(), b"hello");
        assert_eq!(agent.decrypt(&client.encrypt(b"ls")).unwrap(), b"ls");
        assert!(agent.decrypt(&first).is_err(), "the other direction's key");
        assert!(agent.decrypt(b"short").is_err());
    }
}
