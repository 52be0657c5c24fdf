//! A session as callers get it.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::session::Session;

/// What StartSession answers.
pub struct Started {
    /// The session, for looking at it and for making it difficult.
    pub session: Arc<Session>,
    /// The secret for the data channel.
    pub token_value: String,
    /// Where to dial.
    pub stream_url: String,
}

impl Started {
    /// `{"SessionId":…,"TokenValue":…,"StreamUrl":…}`: the response that callers hand to the plugin.
    pub fn response(&self) -> Value {
        json!({
            "SessionId": self.session.id(),
            "TokenValue": self.token_value,
            "StreamUrl": self.stream_url,
        })
    }
}
