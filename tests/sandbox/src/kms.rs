//! KMS: data keys and the contexts that they are bound to.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;

use crate::threads::lock;

/// An encryption context.
pub(crate) type Context = BTreeMap<String, String>;

struct DataKey {
    plain: Vec<u8>,
    context: Context,
}

/// All data keys that were given out.
#[derive(Default)]
pub(crate) struct Kms {
    keys: Mutex<HashMap<Vec<u8>, DataKey>>,
}

impl Kms {
    /// A new data key: the blob that stands for it, and itself.
    pub(crate) fn generate(
        &self,
        bytes: usize,
        context: Context,
    ) -> Result<(Vec<u8>, Vec<u8>), getrandom::Error> {
        let mut blob = vec![0; 152];
        let mut key = vec![0; bytes];
        getrandom::fill(&mut blob)?;
        getrandom::fill(&mut key)?;
        lock(&self.keys).insert(
            blob.clone(),
            DataKey {
                plain: key.clone(),
                context,
            },
        );
        Ok((blob, key))
    }

    /// The key that a blob stands for, if the context is the same.
    pub(crate) fn decrypt(&self, blob: &[u8], context: &Context) -> Result<Vec<u8>, &'static str> {
        match lock(&self.keys).get(blob) {
            Some(key) if key.context == *context => Ok(key.plain.clone()),
            _ => Err("InvalidCiphertextException"),
        }
    }
}
