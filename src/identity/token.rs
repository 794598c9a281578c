//! skeleton
use serde_json::{Map, Value};

pub(super) const TOKEN_BYTES_MAX: usize = 16 * 1024;

pub(super) struct Claims(pub(super) Map<String, Value>);

impl Claims {
    pub(super) fn at(&self, name: &str) -> Option<&Value> {
        if let Some(value) = self.0.get(name) {
            return Some(value);
        }
        let mut parts = name.split('.');
        let first = self.0.get(parts.next()?)?;
        parts.try_fold(first, |value, part| value.get(part))
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.at(name)?.as_str()
    }
}
