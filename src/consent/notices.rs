//! Versions of notices: what people were told when they consented. A version can take the place of the earlier ones of the same
//! notice; what was given on those is then superseded, for everybody, from the day on which the new one is in force.

use std::collections::HashSet;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::{Category, Department, Purpose, Revision};

use super::check::{NAME_CHARS_MAX, check_text, invalid};
use super::commit::{Binding, Failed, Writer};
use super::error::{ConsentError, Unavailable};
use super::event::Notice;
use super::ledger::Ledger;
use super::once::IdempotencyKey;
use super::store::{Batch, Change, ChangeKind, Document, Done, Store, StoreError};

/// A version of a notice as it is put into the register; never changed afterwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoticeVersion {
    /// What it names: id, version, purposes, categories, recipients.
    pub notice: Notice,
    /// BCP 47, e.g. `en`.
    pub language: String,
    /// SHA-256 of the text that people saw, lower-case hexadecimal.
    pub hash: String,
    /// The text itself, if it is kept here.
    pub text: Option<Arc<str>>,
    /// Where the text can be read.
    pub url: Option<String>,
    pub valid_from: Timestamp,
    pub valid_to: Option<Timestamp>,
    /// What was given on earlier versions ends when this one is in force.
    pub supersedes: bool,
    /// When it was put into the register.
    pub revision: Revision,
}

impl NoticeVersion {
    /// SHA-256 of a text, as `sha256sum` prints it.
    #[must_use]
    pub fn hash_of(text: &str) -> String {
        digest(&SHA256, text.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct NoticeV1 {
    id: String,
    version: String,
    purposes: Vec<String>,
    categories: Vec<String>,
    recipients: Vec<String>,
    language: String,
    hash: String,
    #[serde(default)]
    text: Option<String>,
    url: Option<String>,
    /// Microseconds since 1970.
    valid_from: i64,
    valid_to: Option<i64>,
    supersedes: bool,
    revision: u64,
}

impl Ledger {
    /// Puts a version of a notice into the register. The same version again changes nothing.
    ///
    /// # Errors
    /// What is wrong with it; when the version is registered with other content; when the store is away.
    pub fn add_notice(&self, mut version: NoticeVersion, once: Option<&IdempotencyKey>) -> Result<Revision, ConsentError> {
        check(&version)?;
        let at = self.record_time();
        let mut writer = self.begin();
        self.unless_done(&writer, once)?;
        let known = self.reading().register.clone();
        if let Some(registered) = known.iter().find(|known| key(known) == key(&version)) {
            let same = NoticeVersion { revision: Revision(0), ..registered.clone() } == NoticeVersion { revision: Revision(0), ..version };
            if !same {
                return Err(invalid("this version of the notice is registered with other content; give the new text a new version"));
            }
            self.keep_done(&mut writer, once, done(registered.revision, at))?;
            return Ok(registered.revision);
        }
        version.revision = writer.next_revision();
        let mut batch = Batch::default();
        batch.changes.push(notice_change(version.revision, at));
        batch.documents.push(Document { kind: KIND, key: key(&version), body: Some(encode(&version)?) });
        batch.answered.extend(once.map(|key| key.answered(done(version.revision, at))));
        self.commit(&mut writer, batch, Binding::OnlyIfStored)?;
        let revision = version.revision;
        let register = known.iter().cloned().chain([version]).collect();
        self.writing().register = register;
        self.supersede_due(&mut writer, at)?;
        Ok(revision)
    }

    /// Whether a version is in force, or will be, or another has taken its place.
    #[must_use]
    pub fn notice_state(&self, version: &NoticeVersion) -> &'static str {
        let now = self.clock.now();
        let Notice { id, version: number, .. } = &version.notice;
        match version.valid_to {
            _ if self.reading().settings.superseded.contains(&(id.clone(), number.clone())) => "superseded",
            _ if version.valid_from > now => "future",
            Some(to) if to <= now => "ended",
            Some(_) | None => "in-force",
        }
    }

    /// Every registered version, by notice and version.
    #[must_use]
    pub fn notices(&self) -> Arc<[NoticeVersion]> {
        Arc::clone(&self.reading().register)
    }

    /// Lets notices take force whose day has come.
    pub(super) fn supersede_due(&self, writer: &mut Writer, now: Timestamp) -> Result<(), Unavailable> {
        let (due, _) = superseded(&self.notices(), now);
        if due == self.reading().settings.superseded {
            return Ok(());
        }
        let mut batch = Batch::default();
        let revision = writer.next_revision();
        batch.changes.push(notice_change(revision, now));
        self.commit(writer, batch, Binding::OnlyIfStored).map_err(Failed::away)?;
        self.writing().supersede(due, revision);
        Ok(())
    }

    /// What a statement's notice names according to the register; a notice that is not registered is taken as it came.
    pub(super) fn registered(&self, given: Option<Notice>) -> Result<Option<Notice>, ConsentError> {
        let Some(given) = given else { return Ok(None) };
        let register = self.notices();
        let found = register.iter().find(|known| known.notice.id == given.id && known.notice.version == given.version);
        let Some(known) = found else { return Ok(Some(given)) };
        let bare = given.purposes.is_empty() && given.categories.is_empty() && given.recipients.is_empty();
        if !bare && given != known.notice {
            return Err(invalid("the notice is registered with other purposes, categories or recipients; leave them out"));
        }
        Ok(Some(known.notice.clone()))
    }
}

/// The versions that have lost their force by then, and the last revision that took part in it.
pub(super) fn superseded(notices: &[NoticeVersion], now: Timestamp) -> (HashSet<(String, String)>, Revision) {
    let mut lost = HashSet::new();
    let mut since = Revision(0);
    for new in notices.iter().filter(|notice| notice.supersedes && notice.valid_from <= now) {
        for old in notices.iter().filter(|old| old.notice.id == new.notice.id && old.notice.version != new.notice.version) {
            if (old.valid_from, old.revision) < (new.valid_from, new.revision) {
                lost.insert((old.notice.id.clone(), old.notice.version.clone()));
                since = since.max(new.revision);
            }
        }
    }
    (lost, since)
}

pub(super) fn read(store: &dyn Store) -> Result<Vec<NoticeVersion>, StoreError> {
    let damaged = || StoreError::Damaged("a notice cannot be read".to_owned());
    let decode = |body: &str| serde_json::from_str(body).ok().and_then(decoded).ok_or_else(damaged);
    store.documents(KIND)?.iter().map(|(_, body)| decode(body)).collect()
}

fn check(version: &NoticeVersion) -> Result<(), ConsentError> {
    let Notice { id, version: number, purposes, .. } = &version.notice;
    for (field, text) in [("id", id), ("version", number), ("language", &version.language)] {
        check_text(field, text, NAME_CHARS_MAX)?;
        if text.trim().is_empty() {
            return Err(ConsentError::Invalid(format!("`{field}` is missing")));
        }
    }
    if version.hash.len() != 64 || !version.hash.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
        return Err(invalid("`hash` must be the SHA-256 of the text in 64 lower-case hexadecimal digits, as `sha256sum` prints it"));
    }
    if let Some(text) = &version.text {
        if text.len() > TEXT_BYTES_MAX {
            return Err(ConsentError::Invalid(format!(
                "`text` is longer than {TEXT_BYTES_MAX} bytes; keep it elsewhere and give its `hash` and `url`"
            )));
        }
        if NoticeVersion::hash_of(text) != version.hash {
            return Err(invalid("`hash` is not that of `text`; leave it out"));
        }
    }
    if let Some(url) = &version.url {
        check_text("url", url, 2_000)?;
    }
    if purposes.is_empty() {
        return Err(invalid("a notice must name its purposes"));
    }
    if version.valid_to.is_some_and(|to| to <= version.valid_from) {
        return Err(invalid("`valid_to` must be later than `valid_from`"));
    }
    Ok(())
}

fn done(revision: Revision, at: Timestamp) -> Done {
    Done { event: None, party: None, revision, author: None, detail: None, at }
}

fn notice_change(revision: Revision, at: Timestamp) -> Change {
    Change { revision, at, kind: ChangeKind::Notice, party: None, event: None, purposes: Vec::new(), state: String::new(), author: None }
}

fn key(version: &NoticeVersion) -> String {
    format!("{}\n{}", version.notice.id, version.notice.version)
}

fn encode(version: &NoticeVersion) -> Result<String, ConsentError> {
    let Notice { id, version: number, purposes, categories, recipients } = version.notice.clone();
    let stored = NoticeV1 {
        id,
        version: number,
        purposes: purposes.iter().map(ToString::to_string).collect(),
        categories: categories.iter().map(ToString::to_string).collect(),
        recipients: recipients.iter().map(ToString::to_string).collect(),
        language: version.language.clone(),
        hash: version.hash.clone(),
        text: version.text.as_deref().map(str::to_owned),
        url: version.url.clone(),
        valid_from: version.valid_from.as_microsecond(),
        valid_to: version.valid_to.map(Timestamp::as_microsecond),
        supersedes: version.supersedes,
        revision: version.revision.0,
    };
    serde_json::to_string(&stored).map_err(|_other| invalid("the notice cannot be written"))
}

fn decoded(stored: NoticeV1) -> Option<NoticeVersion> {
    Some(NoticeVersion {
        notice: Notice {
            id: stored.id,
            version: stored.version,
            purposes: stored.purposes.iter().map(|p| Purpose::intern(p)).collect(),
            categories: stored.categories.iter().map(|c| Category::intern(c)).collect(),
            recipients: stored.recipients.iter().map(|r| Department::intern(r)).collect(),
        },
        language: stored.language,
        hash: stored.hash,
        text: stored.text.map(Arc::from),
        url: stored.url,
        valid_from: Timestamp::from_microsecond(stored.valid_from).ok()?,
        valid_to: stored.valid_to.map(Timestamp::from_microsecond).transpose().ok()?,
        supersedes: stored.supersedes,
        revision: Revision(stored.revision),
    })
}

const KIND: &str = "notice";
const TEXT_BYTES_MAX: usize = 64 * 1024;
