//! Who we are to AWS.

use std::time::SystemTime;

use crate::secret::Secret;

/// An access key, and how long it lasts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The public part.
    pub access_key_id: String,
    /// The part that signs.
    pub secret_access_key: Secret,
    /// For temporary credentials.
    pub session_token: Option<Secret>,
    /// When they stop working; `None` if they last or nobody said.
    pub expires: Option<SystemTime>,
}

impl Credentials {
    /// Puts credentials together; `None` if a part is empty or cannot stand in a header.
    pub fn new(
        access_key_id: String,
        secret_access_key: String,
        session_token: Option<String>,
        expires: Option<SystemTime>,
    ) -> Option<Self> {
        let secret_access_key = Secret::new(secret_access_key);
        let session_token = session_token
            .filter(|token| !token.is_empty())
            .map(Secret::new);
        let fits = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        let token = session_token.as_ref().map_or("", Secret::expose);
        let usable = !access_key_id.is_empty()
            && !secret_access_key.expose().is_empty()
            && [&access_key_id, secret_access_key.expose(), token]
                .into_iter()
                .all(fits);
        usable.then_some(Self {
            access_key_id,
            secret_access_key,
            session_token,
            expires,
        })
    }
}
