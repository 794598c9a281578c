//! A webhook and how far it has come, each as one document beside the ledger's events.

use std::fmt;
use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::message::Secret;
use crate::consent::{Change, ChangeKind, Document, Ledger, Unavailable};
use crate::model::{Purpose, Revision, Vocabulary};

/// Documents of these kinds, by the webhook's id.
const HOOK: &str = "webhook";
const PROGRESS: &str = "webhook-progress";
const URL_BYTES_MAX: usize = 2048;

/// Who is told, and of what.
#[derive(Clone)]
pub(super) struct Hook {
    pub(super) id: String,
    pub(super) url: String,
    pub(super) target: Target,
    /// Empty: all.
    pub(super) kinds: Vec<ChangeKind>,
    /// Empty: all. Names, since a purpose may leave the catalogue.
    pub(super) purposes: Vec<String>,
    pub(super) secret: Secret,
    pub(super) created: Timestamp,
    /// Pseudonym of the member of staff.
    pub(super) by: String,
}

impl fmt::Debug for Hook {
    /// The URL may carry a token of the receiver's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hook").field("id", &self.id).field("target", &self.target).finish_non_exhaustive()
    }
}

impl Hook {
    /// Whether a change is of a kind and about a purpose that was asked for. What covers every purpose, or has none, is always
    /// of interest; so is what was said of a purpose above or below.
    pub(super) fn wants(&self, change: &Change, vocabulary: &Vocabulary) -> bool {
        let of_purpose = |told: &Purpose| self.purposes.iter().any(|wanted| are_related(vocabulary, *told, wanted));
        change.kind != ChangeKind::BreakGlass
            && (self.kinds.is_empty() || self.kinds.contains(&change.kind))
            && (self.purposes.is_empty() || change.purposes.is_empty() || change.purposes.iter().any(of_purpose))
    }
}

fn are_related(vocabulary: &Vocabulary, told: Purpose, wanted: &str) -> bool {
    let is_below = |purpose: Purpose, above: &str| {
        vocabulary.purposes.get(&purpose).is_some_and(|info| info.ancestors.iter().any(|ancestor| ancestor.as_str() == above))
    };
    told.as_str() == wanted || is_below(told, wanted) || vocabulary.purpose(wanted).is_some_and(|wanted| is_below(wanted, told.as_str()))
}

/// Where messages go.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) tls: bool,
    /// Lower case; an IPv6 address in brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// With the query.
    pub(super) path: String,
}

impl fmt::Debug for Target {
    /// Path and query may carry a token of the receiver's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("host", &self.host).field("port", &self.port).finish_non_exhaustive()
    }
}

impl Target {
    /// Reads `https://host[:port]/path`, and `http://` to a loopback name.
    pub(super) fn parse(url: &str) -> Option<Self> {
        let uri: http::Uri = url.parse().ok()?;
        let authority = uri.authority()?;
        if url.len() > URL_BYTES_MAX || url.contains('#') || authority.as_str().contains('@') || authority.host().is_empty() {
            return None;
        }
        let host = authority.host().to_ascii_lowercase();
        let tls = match uri.scheme_str()? {
            "https" => true,
            "http" if is_loopback(&host) => false,
            _ => return None,
        };
        let port = match authority.as_str().get(authority.host().len()..)?.strip_prefix(':') {
            Some(digits) => digits.parse().ok().filter(|port| *port != 0)?,
            None if tls => 443,
            None => 80,
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Some(Self { tls, host, port, path })
    }

    /// The `Host` header.
    pub(super) fn authority(&self) -> String {
        let usual = if self.tls { 443 } else { 80 };
        if self.port == usual { self.host.clone() } else { format!("{}:{}", self.host, self.port) }
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

/// How far a webhook has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// Everything up to this revision was received, or was not asked for.
    pub(super) after: Revision,
    pub(super) last_success: Option<Timestamp>,
    pub(super) last_error: Option<String>,
    /// Since when nothing arrives.
    pub(super) failing_since: Option<Timestamp>,
    /// The receiver answered 410: nothing is sent until a replay.
    pub(super) gone: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredHook {
    version: u32,
    url: String,
    kinds: Vec<String>,
    purposes: Vec<String>,
    secret: String,
    created: String,
    by: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredProgress {
    version: u32,
    after: u64,
    last_success: Option<String>,
    last_error: Option<String>,
    failing_since: Option<String>,
    gone: bool,
}

const VERSION: u32 = 1;

/// All webhooks of a ledger. One that cannot be read is left where it is and not served.
pub(super) fn load(ledger: &Ledger) -> Result<Vec<(Hook, Progress)>, Unavailable> {
    let progress = ledger.documents(PROGRESS)?;
    let mut found = Vec::new();
    for (id, body) in ledger.documents(HOOK)? {
        let stood = progress.iter().find(|(of, _)| *of == id).and_then(|(_, body)| read_progress(body));
        match read_hook(&id, &body).zip(stood) {
            Some(hook) => found.push(hook),
            None => tracing::error!(webhook = id, "a stored webhook cannot be read and is not served; remove it and add it anew"),
        }
    }
    Ok(found)
}

/// A new webhook as it is stored.
pub(super) fn stored(hook: &Hook, progress: &Progress) -> Vec<Document> {
    let body = StoredHook {
        version: VERSION,
        url: hook.url.clone(),
        kinds: hook.kinds.iter().map(|kind| kind.as_str().to_owned()).collect(),
        purposes: hook.purposes.clone(),
        secret: hook.secret.reveal(),
        created: hook.created.to_string(),
        by: hook.by.clone(),
    };
    vec![stored_progress(&hook.id, progress), Document { kind: HOOK, key: hook.id.clone(), body: Some(text(&body)) }]
}

/// What takes a webhook's documents away.
pub(super) fn gone(id: &str) -> Vec<Document> {
    [HOOK, PROGRESS].map(|kind| Document { kind, key: id.to_owned(), body: None }).into()
}

pub(super) fn stored_progress(id: &str, progress: &Progress) -> Document {
    let body = StoredProgress {
        version: VERSION,
        after: progress.after.0,
        last_success: progress.last_success.map(|t| t.to_string()),
        last_error: progress.last_error.clone(),
        failing_since: progress.failing_since.map(|t| t.to_string()),
        gone: progress.gone,
    };
    Document { kind: PROGRESS, key: id.to_owned(), body: Some(text(&body)) }
}

/// Texts and numbers only: this cannot fail.
fn text<T: Serialize>(body: &T) -> String {
    serde_json::to_string(body).unwrap_or_default()
}

fn read_hook(id: &str, body: &str) -> Option<Hook> {
    let stored: StoredHook = serde_json::from_str(body).ok().filter(|stored: &StoredHook| stored.version == VERSION)?;
    Some(Hook {
        id: id.to_owned(),
        target: Target::parse(&stored.url)?,
        url: stored.url,
        kinds: stored.kinds.iter().map(|kind| ChangeKind::parse(kind)).collect::<Option<_>>()?,
        purposes: stored.purposes,
        secret: Secret::parse(&stored.secret)?,
        created: stored.created.parse().ok()?,
        by: stored.by,
    })
}

fn read_progress(body: &str) -> Option<Progress> {
    let stored: StoredProgress = serde_json::from_str(body).ok().filter(|stored: &StoredProgress| stored.version == VERSION)?;
    let time = |text: Option<String>| text.and_then(|text| text.parse().ok());
    Some(Progress {
        after: Revision(stored.after),
        last_success: time(stored.last_success),
        last_error: stored.last_error,
        failing_since: time(stored.failing_since),
        gone: stored.gone,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_https_or_loopback_and_nothing_else() {
        let target = Target::parse("https://Hooks.Example.com/a?b=c").unwrap();
        assert_eq!((target.tls, target.host.as_str(), target.port, target.path.as_str()), (true, "hooks.example.com", 443, "/a?b=c"));
        assert_eq!(target.authority(), "hooks.example.com");
        assert_eq!(Target::parse("http://127.0.0.1:9000").unwrap().authority(), "127.0.0.1:9000");
        assert_eq!(Target::parse("https://[2001:db8::1]:8443/").unwrap().authority(), "[2001:db8::1]:8443");
        for url in [
            "http://hooks.example.com/",
            "http://127.0.0.1.example.com/",
            "http://169.254.169.254/latest",
            "ftp://localhost/",
            "https://me:secret@hooks.example.com/",
            "https://hooks.example.com/#a",
            "https://hooks.example.com:0/",
            "https://hooks.example.com:99999/",
            "https:///a",
            "/a",
            "",
            &format!("https://hooks.example.com/{}", "a".repeat(URL_BYTES_MAX)),
        ] {
            assert_eq!(Target::parse(url), None, "{url}");
        }
    }
}
