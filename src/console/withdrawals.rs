//! `/v1/withdrawal-links`: links for mails (RFC 8058) by which their reader withdraws one purpose without login, and what
//! following one does. A link can only close: who made it and who follows it changes nothing else.

use std::collections::BTreeMap;

use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::AdminState;
use super::again;
use super::consents;
use super::dispatch::{Access, Call, Caller, Reply, Route, Takes};
use super::links::{Act, fingerprint};
use super::parties::{DESK, find, reference};
use super::problem::{Code, Problem};
use super::record::{Weight, consent_problem, followed};
use super::schema::body;
use crate::config::PublicPage;
use crate::consent::{Capturer, ConsentError, Done, EventDraft, HistoryRow, PartyRef, State, What};
use crate::model::{Activity, LawfulBasis, Purpose, Vocabulary};

pub(super) const DESK_ROUTES: &[Route] = &[route(DESK)];
pub(super) const CAPTURE_ROUTES: &[Route] = &[route(Access::Capture)];

const fn route(access: Access) -> Route {
    let summary = "Make a link by which its reader withdraws one purpose without login, with the headers for a mail (RFC 8058)";
    Route::post("/v1/withdrawal-links", "withdrawal-links.make", access, summary, make).takes(Takes::Json(&LinkRequest::SCHEMA)).again(made_again)
}

body! {
    /// Whose link for what.
    LinkRequest {
        /// `party:<id>` or `<space>:<value>`; the value need not be known.
        party: String = "string" required,
        /// What is withdrawn, with all that stands below it. An app names a purpose of its capture registration.
        purpose: String = "string" required,
        /// Until when it works; as long as `[public] link_days_max` allows without it.
        expires: Option<String> = "timestamp" optional,
    }
}

/// Evidence of a withdrawal by link: the token's fingerprint.
const LINK: &str = "link";
/// The purpose of direct marketing.
const MARKETING: &str = "marketing";
/// `captured_by` of what a link recorded.
const BY_LINK: &str = "link";

fn make(call: &Call) -> Result<Reply, Problem> {
    let body: LinkRequest = call.json()?;
    let page = call.state.instance.public_page();
    let page = page.ok_or_else(|| Problem::new(Code::NotFound, "configure `[public]`").detail("no listener would serve the link"))?;
    let purpose = call.state.instance.vocabulary().purpose(&body.purpose);
    let purpose = purpose.ok_or_else(|| Problem::value("`purpose` is not in the catalogue", "see `/v1/purposes`"))?;
    registered(call, purpose)?;
    rests_on_consent(purpose, &call.state.instance.vocabulary(), &call.state.instance.activities())?;
    let subject = reference(call, &body.party)?;
    if matches!(subject, PartyRef::Party(_)) {
        find(call, &body.party)?;
    }
    let expires = lifetime(call.state.clock.now(), page.link_days_max, consents::time("expires", body.expires.as_deref())?)?;
    call.may_write(Weight::Opens)?;
    if let Some(key) = &call.idempotency_key {
        // A link is kept nowhere: what is kept is that it was made, and until when it works.
        call.state.ledger.put_documents(Vec::new(), Some(key), Some(expires.to_string())).map_err(|error| consent_problem(&error))?;
    }
    made(call, &page, subject, purpose, expires)
}

/// The same link in other letters.
fn made_again(call: &Call, done: &Done) -> Result<Reply, Problem> {
    let body: LinkRequest = call.json()?;
    let (page, purpose) = (call.state.instance.public_page(), call.state.instance.vocabulary().purpose(&body.purpose));
    let expires = done.detail.as_deref().and_then(|text| text.parse().ok());
    let (Some(page), Some(purpose), Some(expires)) = (page, purpose, expires) else { return Err(again::unreadable()) };
    made(call, &page, reference(call, &body.party)?, purpose, expires)
}

fn made(call: &Call, page: &PublicPage, subject: PartyRef, purpose: Purpose, expires: Timestamp) -> Result<Reply, Problem> {
    let token = call.state.links.seal(&Act::Withdraw { subject, purpose }, expires);
    let token =
        token.map_err(|_unspecified| Problem::new(Code::Unavailable, "repeat; tell the operator when it stays").detail("no link could be made"))?;
    call.record_write(Weight::Opens, None, None, StatusCode::CREATED)?;
    let url = format!("{}/withdraw/{token}", page.base_url);
    let headers = json!({ "List-Unsubscribe": format!("<{url}>"), "List-Unsubscribe-Post": "List-Unsubscribe=One-Click" });
    Ok(Reply::created(&json!({ "url": url, "expires": expires.to_string(), "headers": headers })))
}

/// An app makes links for what its capture registration names; the consent desk for any purpose.
fn registered(call: &Call, purpose: Purpose) -> Result<(), Problem> {
    let Caller::App(app) = &call.caller else { return Ok(()) };
    let vocabulary = call.state.instance.vocabulary();
    let captures = call.state.instance.captures();
    let named = captures.iter().filter(|capture| capture.client == app.client).flat_map(|capture| &capture.purposes);
    if named.into_iter().any(|above| vocabulary.is_within(purpose, *above)) {
        return Ok(());
    }
    Err(Problem::value("`purpose` is not in this app's capture registration", "use one that is, or have `captures.toml` changed"))
}

/// A withdrawal ends what rests on consent: where other uses go on, the link's page would promise too much. Of marketing it
/// ends all, whatever the basis.
fn rests_on_consent(purpose: Purpose, vocabulary: &Vocabulary, activities: &[Activity]) -> Result<(), Problem> {
    let is_marketing = vocabulary.purpose(MARKETING).is_some_and(|above| vocabulary.is_within(purpose, above));
    let touches = |other: &Purpose| vocabulary.is_within(purpose, *other) || vocabulary.is_within(*other, purpose);
    let goes_on = activities.iter().any(|activity| activity.basis != LawfulBasis::Consent && activity.purposes.iter().any(touches));
    if is_marketing || !goes_on {
        return Ok(());
    }
    let remedy = "record an objection (`POST /v1/objections`) or a suppression (`POST /v1/suppressions`) when the person asks for it";
    Err(Problem::value("`purpose` does not rest on consent alone, so a withdrawal would not end it", remedy))
}

fn lifetime(now: Timestamp, days_max: u32, wanted: Option<Timestamp>) -> Result<Timestamp, Problem> {
    let latest = now.checked_add(SignedDuration::from_hours(24 * i64::from(days_max))).unwrap_or(Timestamp::MAX);
    let expires = wanted.unwrap_or(latest);
    if expires <= now || expires > latest {
        let remedy = "leave it out for the longest life";
        return Err(Problem::value(format!("`expires` does not lie within the next {days_max} days"), remedy));
    }
    // Tokens count whole seconds.
    Ok(Timestamp::from_second(expires.as_second()).unwrap_or(expires))
}

/// What following a link has led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Followed {
    /// Stored and in force.
    Stopped,
    /// This link has done it before, and nothing has opened since.
    Already,
    /// In force; the store is away.
    NotStored,
    /// Whether it is in force is not known.
    Failed,
    /// There is nobody to whom it could apply.
    Void,
}

/// Withdraws a purpose for whoever followed the link with this token.
pub(super) fn withdraw(state: &AdminState, subject: PartyRef, purpose: Purpose, token: &str) -> Followed {
    let link = fingerprint(token);
    let turn = state.links.turn();
    if stands(state, &subject, &link) {
        return Followed::Already;
    }
    let mut draft = EventDraft::new(subject, purpose, State::Withdrawn);
    draft.event_time = Some(state.clock.now());
    draft.evidence = BTreeMap::from([(LINK.to_owned(), link)]);
    let recorded = state.ledger.record(draft, &Capturer::Link);
    drop(turn);
    match recorded {
        Ok(acknowledged) => {
            followed(state, acknowledged.party, acknowledged.revision);
            Followed::Stopped
        }
        Err(ConsentError::AppliedNotStored { .. }) => Followed::NotStored,
        Err(ConsentError::NotFound) => Followed::Void,
        Err(error) => {
            tracing::error!(%error, "a withdrawal by link could not be recorded");
            Followed::Failed
        }
    }
}

/// Whether what this link recorded is still the last word: a grant after it makes the link count anew. When it cannot be
/// looked up it is recorded again, which is harmless.
fn stands(state: &AdminState, subject: &PartyRef, link: &str) -> bool {
    let Ok(history) = state.ledger.history(subject) else { return false };
    let is_its_own = |row: &HistoryRow| {
        let event = &row.event;
        let withdraws = matches!(&event.what, What::Consent(consent) if consent.state == State::Withdrawn);
        // Anybody may write evidence that looks so; only following the link is captured by it.
        withdraws && event.captured_by == BY_LINK && event.evidence.get(LINK).is_some_and(|named| named == link)
    };
    let opens = |row: &HistoryRow| matches!(&row.event.what, What::Consent(consent) if consent.state.opens());
    history.iter().rposition(is_its_own).is_some_and(|at| !history.iter().skip(at + 1).any(opens))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_purpose_has_a_link_only_where_it_rests_on_consent_alone_or_is_marketing() {
        let mut vocabulary = Vocabulary::default();
        let purposes = ["marketing", "marketing.email", "service", "service.support", "sales"];
        for name in purposes {
            let above = name.split_once('.').map(|(above, _)| above).into_iter().chain([name]);
            let ancestors = above.map(Purpose::intern).collect();
            vocabulary.purposes.insert(Purpose::intern(name), crate::model::PurposeInfo { ancestors, ..Default::default() });
        }
        let activity = |purpose: &str, basis| Activity {
            id: crate::model::ActivityKey(crate::model::Name::intern("a")),
            version: 1,
            department: crate::model::Department::intern("sales"),
            purposes: vec![Purpose::intern(purpose)],
            categories: vec![],
            basis,
            recipients: vec![],
            retention: String::new(),
            art9: None,
            jurisdiction: None,
            dpia: None,
            confidentiality: None,
        };
        let linked = |activities: &[Activity]| -> Vec<&str> {
            purposes.into_iter().filter(|name| rests_on_consent(Purpose::intern(name), &vocabulary, activities).is_ok()).collect()
        };
        assert_eq!(linked(&[activity("service", LawfulBasis::Consent)]), purposes);
        for (at, left) in [("service.support", &["marketing", "marketing.email", "sales"]), ("service", &["marketing", "marketing.email", "sales"])] {
            assert_eq!(linked(&[activity("sales", LawfulBasis::Consent), activity(at, LawfulBasis::Contract)]), left, "{at}");
        }
        assert_eq!(linked(&[activity("marketing.email", LawfulBasis::LegitimateInterest)]), purposes);
    }

    #[test]
    fn a_link_lives_as_long_as_is_allowed_and_no_longer() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let now = at("2026-07-24T10:00:00.5Z");
        let ends = |wanted: Option<&str>| lifetime(now, 400, wanted.map(at)).map(|t| t.to_string());
        assert_eq!(ends(None).unwrap(), "2027-08-28T10:00:00Z");
        assert_eq!(ends(Some("2026-07-25T10:00:00Z")).unwrap(), "2026-07-25T10:00:00Z");
        for wanted in ["2026-07-24T10:00:00.5Z", "2026-07-24T09:00:00Z", "2027-08-28T10:00:01Z", "2127-08-28T10:00:01Z"] {
            assert!(ends(Some(wanted)).is_err(), "{wanted}");
        }
    }
}
