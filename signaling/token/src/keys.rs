//! API keys and their secrets.

use std::collections::BTreeMap;
use std::fmt;

/// Secrets by API key.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct KeyStore {
    secrets: BTreeMap<String, String>,
}

impl KeyStore {
    pub fn new(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        Self { secrets: pairs.into_iter().collect() }
    }

    pub fn secret(&self, key: &str) -> Option<&str> {
        self.secrets.get(key).map(String::as_str)
    }

    /// The pair that signs what the server makes for itself: the first in the order of keys.
    pub fn first(&self) -> Option<(&str, &str)> {
        self.secrets.iter().next().map(|(key, secret)| (key.as_str(), secret.as_str()))
    }

    pub fn is_empty(&self) -> bool {
        self.secrets.is_empty()
    }
}

/// Names only: secrets never reach a log.
impl fmt::Debug for KeyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.secrets.keys()).finish()
    }
}
