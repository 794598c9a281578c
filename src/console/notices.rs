//! `/v1/notices`: the versions of notices on which consent is given. A version is never changed; one that supersedes ends what was
//! given on the versions before it.

use std::sync::Arc;

use http::StatusCode;
use serde_json::{Value, json};

use super::again;
use super::consents;
use super::dispatch::{Call, Param, Reply, Route, Takes};
use super::parties::{DESK, DESK_AND_AUDITOR, PAGING};
use super::problem::Problem;
use super::record::{Weight, consent_problem};
use super::schema::body;
use crate::consent::{Done, Notice, NoticeVersion};
use crate::model::Revision;

pub(super) const ROUTES: &[Route] = &[
    Route::post("/v1/notices", "notices.add", DESK, "Register a version of a notice; one that supersedes ends what was given on earlier ones", add)
        .takes(Takes::Json(&VersionBody::SCHEMA))
        .again(added_again),
    Route::get("/v1/notices", "notices.list", DESK_AND_AUDITOR, "Registered versions of notices", list).query(&[
        Param { name: "notice", about: "only this version, `<id>@<version>`, and its text if it is kept here" },
        PAGING[0],
        PAGING[1],
    ]),
];

body! {
    /// A version of a notice.
    VersionBody {
        id: String = "string" required,
        version: String = "string" required,
        /// A language tag (BCP 47), e.g. `en`.
        language: String = "string" required,
        /// The text, kept as it is; at most 64 KiB.
        text: Option<String> = "string" optional,
        /// SHA-256 of the text in lower-case hexadecimal, when the text itself is kept elsewhere.
        hash: Option<String> = "string" optional,
        /// Where the text can be read.
        url: Option<String> = "string" optional,
        /// What it asks consent for. Consent to a parent purpose covers what is below it only if the parent is named.
        purposes: Vec<String> = "string[]" required,
        categories: Option<Vec<String>> = "string[]" optional,
        recipients: Option<Vec<String>> = "string[]" optional,
        /// Since when it is shown; now without it.
        valid_from: Option<String> = "timestamp" optional,
        valid_to: Option<String> = "timestamp" optional,
        /// `true`: what was given on earlier versions ends when this one is in force.
        supersedes: Option<bool> = "boolean" optional,
    }
}

fn add(call: &Call) -> Result<Reply, Problem> {
    let body: VersionBody = call.json()?;
    let ledger = &call.state.ledger;
    let vocabulary = call.state.instance.vocabulary();
    let hash = match (&body.hash, &body.text) {
        (Some(hash), _) => hash.clone(),
        (None, Some(text)) => NoticeVersion::hash_of(text),
        (None, None) => {
            return Err(Problem::value("`text` and `hash` are missing", "give the text, or the SHA-256 of a text that is kept elsewhere"));
        }
    };
    let notice = Notice {
        id: body.id,
        version: body.version,
        purposes: consents::purposes(&vocabulary, Some(body.purposes))?,
        categories: consents::categories(&vocabulary, body.categories)?,
        recipients: consents::recipients(&vocabulary, body.recipients)?,
    };
    // Without a time, the same version sent again is still the same.
    let known = ledger.notices().iter().find(|known| is_version(known, &notice.id, &notice.version)).map(|known| known.valid_from);
    let version = NoticeVersion {
        notice,
        language: body.language,
        hash,
        text: body.text.map(Arc::from),
        url: body.url,
        valid_from: consents::time("valid_from", body.valid_from.as_deref())?.or(known).unwrap_or_else(|| call.state.clock.now()),
        valid_to: consents::time("valid_to", body.valid_to.as_deref())?,
        supersedes: body.supersedes.unwrap_or(false),
        revision: Revision(0),
    };
    call.may_write(Weight::Opens)?;
    let revision = ledger.add_notice(version.clone(), call.idempotency_key.as_ref()).map_err(|error| consent_problem(&error))?;
    added(call, &NoticeVersion { revision, ..version })
}

fn added_again(call: &Call, done: &Done) -> Result<Reply, Problem> {
    let notices = call.state.ledger.notices();
    added(call, notices.iter().find(|known| known.revision == done.revision).ok_or_else(again::unreadable)?)
}

fn added(call: &Call, version: &NoticeVersion) -> Result<Reply, Problem> {
    call.record_write(Weight::Opens, None, Some(version.revision), StatusCode::CREATED)?;
    Ok(Reply::created(&version_json(call, version, false)).revision(call.state.ledger.revision().0))
}

fn list(call: &Call) -> Result<Reply, Problem> {
    let ledger = &call.state.ledger;
    let all = ledger.notices();
    let wanted = match call.query.get("notice").map(|text| text.split_once('@')) {
        None => None,
        Some(Some(named)) => Some(named),
        Some(None) => return Err(Problem::value("`notice` is not a version of a notice", "write `<id>@<version>`")),
    };
    let mut found: Vec<&NoticeVersion> = all.iter().filter(|known| wanted.is_none_or(|(id, version)| is_version(known, id, version))).collect();
    if wanted.is_some() && found.is_empty() {
        return Err(Problem::not_found("notice"));
    }
    found.sort_by_key(|known| (&known.notice.id, known.valid_from, known.revision));
    let (page, next) = consents::page(call, &found, |version| version_json(call, version, wanted.is_some()))?;
    call.record_query(None, page.len())?;
    Ok(Reply::ok(&json!({ "notices": page, "next": next })).revision(ledger.revision().0))
}

fn is_version(known: &NoticeVersion, id: &str, version: &str) -> bool {
    known.notice.id == id && known.notice.version == version
}

fn version_json(call: &Call, version: &NoticeVersion, with_text: bool) -> Value {
    let NoticeVersion { notice, language, hash, text, url, valid_from, valid_to, supersedes, revision } = version;
    let mut document = json!({
        "id": notice.id, "version": notice.version, "language": language, "state": call.state.ledger.notice_state(version), "hash": hash,
        "text_kept": text.is_some(), "url": url, "purposes": consents::texts(&notice.purposes, |p| p.0),
        "categories": consents::texts(&notice.categories, |c| c.0), "recipients": consents::texts(&notice.recipients, |r| r.0),
        "valid_from": valid_from.to_string(), "valid_to": valid_to.map(|t| t.to_string()), "supersedes": supersedes, "revision": revision.0,
    });
    if let (true, Some(members), Some(text)) = (with_text, document.as_object_mut(), text) {
        members.insert("text".to_owned(), json!(&**text));
    }
    document
}
