//! SendSSHPublicKey of EC2 Instance Connect: keys that are good for a minute.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};
use uuid::Uuid;

use super::{Answer, ApiError};
use crate::sandbox::Shared;
use crate::target::PushedKey;
use crate::threads::lock;

/// A key and when it came.
pub(crate) struct Pushed {
    pub(crate) key: PushedKey,
    at: Instant,
}

pub(super) fn send(input: &Value, shared: &Arc<Shared>) -> Answer {
    let text = |name: &str| {
        input
            .get(name)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
            .ok_or_else(|| ApiError::new("InvalidArgsException", format!("{name} is missing")))
    };
    let key = PushedKey {
        instance: text("InstanceId")?.to_owned(),
        user: text("InstanceOSUser")?.to_owned(),
        key: text("SSHPublicKey")?.trim().to_owned(),
    };
    let is_key = ["ssh-ed25519 ", "ssh-rsa ", "ecdsa-sha2-"]
        .iter()
        .any(|kind| key.key.starts_with(kind));
    if !is_key || key.key.contains('\n') {
        return Err(ApiError::new(
            "InvalidArgsException",
            "The public key is not valid",
        ));
    }
    let targets = lock(&shared.targets);
    if !targets.is_empty() && !targets.iter().any(|target| target.id == key.instance) {
        return Err(ApiError::new(
            "EC2InstanceNotFoundException",
            format!("{} does not exist", key.instance),
        ));
    }
    drop(targets);
    lock(&shared.pushed_keys).push(Pushed {
        key,
        at: Instant::now(),
    });
    if let Err(error) = write_keys(shared) {
        return Err(ApiError::new("ServiceException", error.to_string()));
    }
    forget_later(shared);
    Ok(json!({ "RequestId": Uuid::new_v4().to_string(), "Success": true }))
}

/// Writes the keys that are valid now.
fn write_keys(shared: &Shared) -> io::Result<()> {
    let Some(file) = &shared.config.authorized_keys else {
        return Ok(());
    };
    let keys: String = lock(&shared.pushed_keys)
        .iter()
        .filter(|pushed| pushed.at.elapsed() < file.lifetime)
        .map(|pushed| format!("{}\n", pushed.key.key))
        .collect();
    let new = file.path.with_extension("new");
    std::fs::write(&new, keys)?;
    std::fs::rename(new, &file.path)
}

fn forget_later(shared: &Arc<Shared>) {
    let Some(file) = &shared.config.authorized_keys else {
        return;
    };
    let (shared_again, lifetime) = (Arc::clone(shared), file.lifetime);
    shared.threads.spawn("pushed-keys", move || {
        let (sender, stopped) = std::sync::mpsc::channel::<()>();
        let _hook = shared_again.threads.on_stop(move || {
            let _ = sender.send(());
        });
        if stopped.recv_timeout(lifetime).is_err() {
            let _ = write_keys(&shared_again);
        }
    });
}
