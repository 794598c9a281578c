//! Free text in the log: what people wrote about an emergency. It stands there encrypted, so that it can be destroyed while the
//! entry, its hash and every proof stay as they are.
//!
//! ```text
//! "justification":{"data":"<base64>","key":"break-glass/2026-11","nonce":"<base64>"}
//!
//! data  = AES-256-GCM([length, 2 bytes, big-endian | text | zeros]), padded to one of three lengths, and the tag
//! bound = what says where it belongs, one a line: version, key, kind, t, rid or grant/step, member
//! ```
//!
//! The nonce is random (96 bits): within a month no key comes near the 2^32 texts up to which that is safe. What it is bound to
//! stands beside it in the entry, so that a text moved into another entry, month or class does not open.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::Value;

use super::entry::{Entry, StepText};
use super::error::AuditError;
use super::json::Object;
use super::prune::RetentionClass;
use super::text_keys::{KEY_BYTES, TextKeyId};

/// What is encrypted has one of these lengths, so that its length tells little.
const PADDED_BYTES: [usize; 3] = [256, 1_024, TEXT_BYTES_MAX + LENGTH_BYTES];
/// Longest free text.
pub const TEXT_BYTES_MAX: usize = 4_094;
const LENGTH_BYTES: usize = 2;

/// What somebody wrote. It is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct FreeText(String);

impl FreeText {
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for FreeText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FreeText(redacted)")
    }
}

/// The free text of an entry, and where it belongs.
pub(super) struct Written<'e> {
    pub(super) class: RetentionClass,
    pub(super) member: &'static str,
    kind: &'static str,
    whose: String,
    text: &'e str,
}

const JUSTIFICATION: &str = "justification";
const REASON: &str = "reason";

impl<'e> Written<'e> {
    pub(super) fn of(entry: &'e Entry) -> Option<Self> {
        let head = |kind, facts: &'e super::entry::DecisionFacts| {
            let FreeText(text) = facts.justification.as_ref()?;
            Some(Self { class: RetentionClass::BreakGlass, member: JUSTIFICATION, kind, whose: facts.rid.to_string(), text })
        };
        match entry {
            Entry::Deny { facts, of: None, .. } => head("deny", facts),
            Entry::Permit { facts, .. } => head("permit", facts),
            Entry::Intent { facts, .. } => head("intent", facts),
            Entry::BreakGlass { grant, step, text: StepText::Said(FreeText(text)), .. } => Some(Self {
                class: RetentionClass::BreakGlass,
                member: if *step == "requested" { JUSTIFICATION } else { REASON },
                kind: "break_glass",
                whose: format!("{grant}/{step}"),
                text,
            }),
            Entry::BreakGlass { text: StepText::None | StepText::NotKept, .. }
            | Entry::Deny { of: Some(_), .. }
            | Entry::Part { .. }
            | Entry::End { .. }
            | Entry::Admin { .. }
            | Entry::Query { .. }
            | Entry::ConsentChanged { .. }
            | Entry::PolicyLoaded { .. }
            | Entry::PolicyRejected { .. }
            | Entry::PolicyActivated { .. }
            | Entry::Shadow { .. }
            | Entry::ConfigLoaded { .. }
            | Entry::ConfigRejected { .. }
            | Entry::Rejects { .. }
            | Entry::Prune { .. }
            | Entry::KeyRotated { .. }
            | Entry::Clock { .. }
            | Entry::Start { .. }
            | Entry::Gap { .. }
            | Entry::Stop { .. } => None,
        }
    }

    /// As it stands in the entry, which is of that time.
    pub(super) fn encrypt(&self, id: TextKeyId, key: &[u8; KEY_BYTES], now: Timestamp) -> Result<Object, AuditError> {
        let length = u16::try_from(self.text.len()).ok().filter(|_| self.text.len() <= TEXT_BYTES_MAX);
        let length = length.ok_or(AuditError::TextTooLong { bytes: self.text.len() })?;
        let mut data = length.to_be_bytes().to_vec();
        data.extend_from_slice(self.text.as_bytes());
        let padded = PADDED_BYTES.into_iter().find(|padded| *padded >= data.len()).unwrap_or(data.len());
        data.resize(padded, 0);
        let id = id.to_string();
        let bound = bound(&id, self.kind, now.as_microsecond(), &self.whose, self.member);
        let refused = || AuditError::TextKey { id: id.clone(), why: "cannot encrypt".to_owned() };
        let key = RandomizedNonceKey::new(&AES_256_GCM, key).map_err(|_unspecified| refused())?;
        let nonce = key.seal_in_place_append_tag(Aad::from(bound), &mut data).map_err(|_unspecified| refused())?;
        Ok(Object::default().with("data", STANDARD.encode(&data)).with("nonce", STANDARD.encode(nonce.as_ref())).with("key", id))
    }
}

fn bound(key: &str, kind: &str, t: i64, whose: &str, member: &str) -> Vec<u8> {
    format!("consentry free text 1\n{key}\n{kind}\n{t}\n{whose}\n{member}").into_bytes()
}

/// Free text as it stands in the log.
#[derive(Clone, PartialEq, Eq)]
pub struct LockedText {
    key: String,
    nonce: String,
    data: String,
    bound: Vec<u8>,
}

impl fmt::Debug for LockedText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LockedText({})", self.key)
    }
}

impl LockedText {
    /// Of an entry of the log; `None` where it holds none, or is of another form.
    #[must_use]
    pub fn of(entry: &Value) -> Option<Self> {
        let text = |value: &Value, name: &str| value.get(name)?.as_str().map(str::to_owned);
        let (member, held) =
            [JUSTIFICATION, REASON].into_iter().find_map(|member| Some((member, entry.get(member).filter(|held| is_locked(held))?)))?;
        let whose = match (entry.get("rid"), text(entry, "grant"), text(entry, "step")) {
            (Some(rid), ..) => rid.as_u64()?.to_string(),
            (None, Some(grant), Some(step)) => format!("{grant}/{step}"),
            (None, ..) => return None,
        };
        let (key, t) = (text(held, "key")?, entry.get("t")?.as_i64()?);
        let bound = bound(&key, &text(entry, "kind")?, t, &whose, member);
        Some(Self { key, nonce: text(held, "nonce")?, data: text(held, "data")?, bound })
    }

    /// Id of the key: `break-glass/2026-11`.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// `None` when this is not the key, or something was changed.
    pub(super) fn decrypt(&self, key: &[u8; KEY_BYTES]) -> Option<String> {
        let nonce = STANDARD.decode(&self.nonce).ok()?;
        let mut data = STANDARD.decode(&self.data).ok()?;
        let key = RandomizedNonceKey::new(&AES_256_GCM, key).ok()?;
        let plain = key.open_in_place(Nonce::try_assume_unique_for_key(&nonce).ok()?, Aad::from(&self.bound), &mut data).ok()?;
        let (length, text) = plain.split_first_chunk::<LENGTH_BYTES>()?;
        let text = text.get(..usize::from(u16::from_be_bytes(*length)))?;
        String::from_utf8(text.to_vec()).ok()
    }
}

fn is_locked(value: &Value) -> bool {
    value.as_object().is_some_and(|members| ["data", "key", "nonce"].iter().all(|name| members.get(*name).is_some_and(Value::is_string)))
}

/// The entry without what is encrypted in it, for whoever is not to keep that.
pub(super) fn without_text(entry: &mut Value) {
    match entry {
        Value::Object(members) => {
            members.retain(|_, value| !is_locked(value));
            members.values_mut().for_each(without_text);
        }
        Value::Array(items) => items.iter_mut().for_each(without_text),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
