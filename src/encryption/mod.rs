//! AES-256-GCM with a data key of KMS, for sessions whose owner asks for encryption besides TLS.
//!
//! A payload is nonce (12 bytes), ciphertext and tag (16 bytes), without additional data. The first half of the data key is the agent's
//! to encrypt with, the second half is ours.

use std::sync::atomic::{AtomicU64, Ordering};

use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::{AeadInOut, Aes256Gcm, KeyInit, Nonce, Tag};
use zeroize::Zeroizing;

/// The bytes that KMS is asked for: two keys of 256 bits.
pub const DATA_KEY_SIZE: usize = 64;
/// What encryption adds to a payload.
pub const OVERHEAD: usize = NONCE_SIZE + TAG_SIZE;

const NONCE_SIZE: usize = 12;
const TAG_SIZE: usize = 16;
/// The random beginning of our nonces; the rest counts.
const NONCE_PREFIX: usize = 4;

/// Both directions of an encrypted session. The keys inside are wiped when it goes.
pub struct Encrypter {
    ours: Aes256Gcm,
    agents: Aes256Gcm,
    prefix: [u8; NONCE_PREFIX],
    /// Counts from a random start through all its values, so that no nonce comes twice under one key.
    next: AtomicU64,
}

/// What came is not what the agent encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a message cannot be decrypted")]
pub struct NotDecrypted;

/// There is no randomness to begin with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the system gives no random numbers ({0})")]
pub struct NoRandomness(String);

impl Encrypter {
    /// Takes the plaintext of a data key.
    ///
    /// # Errors
    /// When the system has no random numbers for the nonces.
    pub fn new(data_key: &Zeroizing<[u8; DATA_KEY_SIZE]>) -> Result<Self, NoRandomness> {
        let mut random = [0; NONCE_SIZE];
        getrandom::fill(&mut random).map_err(|error| NoRandomness(error.to_string()))?;
        let (prefix, start) = random.split_at(NONCE_PREFIX);
        let (agents, ours) = data_key.split_at(DATA_KEY_SIZE / 2);
        Ok(Self {
            ours: cipher(ours),
            agents: cipher(agents),
            prefix: array(prefix),
            next: AtomicU64::new(u64::from_be_bytes(array(start))),
        })
    }

    /// Encrypts a payload of ours.
    pub fn seal(&self, plaintext: &[u8]) -> Vec<u8> {
        let mut nonce = [0; NONCE_SIZE];
        nonce[..NONCE_PREFIX].copy_from_slice(&self.prefix);
        nonce[NONCE_PREFIX..]
            .copy_from_slice(&self.next.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        let mut payload = Vec::with_capacity(plaintext.len() + OVERHEAD);
        payload.extend_from_slice(&nonce);
        payload.extend_from_slice(plaintext);
        let buffer = InOutBuf::from(&mut payload[NONCE_SIZE..]);
        let sealed = self
            .ours
            .encrypt_inout_detached(&Nonce::from(nonce), &[], buffer);
        // Only a plaintext of 64 GiB or more is refused, and a message is far smaller. If it happened, nothing readable must leave.
        let Ok(tag) = sealed else {
            payload.truncate(NONCE_SIZE);
            return payload;
        };
        payload.extend_from_slice(&tag);
        payload
    }

    /// Decrypts a payload of the agent's.
    ///
    /// # Errors
    /// When it was not encrypted with the agent's key, or changed on the way.
    pub fn open(&self, payload: &[u8]) -> Result<Vec<u8>, NotDecrypted> {
        let (nonce, rest) = payload.split_at_checked(NONCE_SIZE).ok_or(NotDecrypted)?;
        let text = rest.len().checked_sub(TAG_SIZE).ok_or(NotDecrypted)?;
        let (ciphertext, tag) = rest.split_at(text);
        let mut plaintext = ciphertext.to_vec();
        let buffer = InOutBuf::from(plaintext.as_mut_slice());
        let nonce = Nonce::from(array::<NONCE_SIZE>(nonce));
        let tag: Tag = array::<TAG_SIZE>(tag).into();
        self.agents
            .decrypt_inout_detached(&nonce, &[], buffer, &tag)
            .map_err(|_| NotDecrypted)?;
        Ok(plaintext)
    }
}

impl std::fmt::Debug for Encrypter {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Encrypter(…)")
    }
}

fn cipher(key: &[u8]) -> Aes256Gcm {
    Aes256Gcm::new(&array::<{ DATA_KEY_SIZE / 2 }>(key).into())
}

/// The slices above have the lengths that their callers cut them to.
fn array<const N: usize>(slice: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(slice);
    array
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn from_hex(text: &str) -> Vec<u8> {
        (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
            .collect()
    }

    /// A client, and the agent that has the same data key.
    fn pair() -> (Encrypter, Encrypter) {
        let key: [u8; DATA_KEY_SIZE] = std::array::from_fn(|index| u8::try_from(index).unwrap());
        let mut mirrored = key;
        mirrored.rotate_left(DATA_KEY_SIZE / 2);
        (
            Encrypter::new(&Zeroizing::new(key)).unwrap(),
            Encrypter::new(&Zeroizing::new(mirrored)).unwrap(),
        )
    }

    /// Test case 16 of "The Galois/Counter Mode of Operation" (McGrew and Viega) has additional data; 15 is the one without.
    #[test]
    fn decrypts_the_published_test_case() {
        let mut key = [0; DATA_KEY_SIZE];
        key[..32].copy_from_slice(&from_hex(
            "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
        ));
        let plaintext = from_hex(
            "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255",
        );
        let payload = from_hex(
            "cafebabefacedbaddecaf888522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015adb094dac5d93471bdec1a502270e3cc6c",
        );
        assert_eq!(
            Encrypter::new(&Zeroizing::new(key)).unwrap().open(&payload),
            Ok(plaintext)
        );
    }

    #[test]
    fn each_direction_has_its_key() {
        let (client, agent) = pair();
        for length in [0, 1, 15, 16, 17, 1024, 32_768] {
            let plaintext = vec![7; length];
            let payload = client.seal(&plaintext);
            assert_eq!(payload.len(), length + OVERHEAD);
            assert_eq!(agent.open(&payload), Ok(plaintext));
            assert_eq!(
                client.open(&payload),
                Err(NotDecrypted),
                "not with the key of the other direction"
            );
        }
    }

    #[test]
    fn what_was_changed_or_never_encrypted_is_refused() {
        let (client, agent) = pair();
        let payload = client.seal(b"rm -rf");
        for at in 0..payload.len() {
            let mut changed = payload.clone();
            changed[at] ^= 1;
            assert_eq!(agent.open(&changed), Err(NotDecrypted));
            assert_eq!(agent.open(&payload[..at]), Err(NotDecrypted));
        }
        assert_eq!(
            agent.open(b"in the clear, and long enough to have a tag"),
            Err(NotDecrypted)
        );
    }

    #[test]
    fn no_nonce_comes_twice() {
        let (client, _) = pair();
        client.next.store(u64::MAX - 500, Ordering::Relaxed);
        let nonces: HashSet<_> = (0..1000)
            .map(|_| client.seal(b"x")[..NONCE_SIZE].to_vec())
            .collect();
        assert_eq!(nonces.len(), 1000);
    }

    #[test]
    fn p48_debug_output_shows_no_key() {
        assert_eq!(format!("{:?}", pair().0), "Encrypter(…)");
    }
}
