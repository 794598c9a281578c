//! Whose statement an event is: derived from the capture registration, never believed from the caller.

use std::collections::BTreeMap;

use crate::model::{Author, Capture, Channel, Purpose, Vocabulary};

use super::draft::Capturer;
use super::event::{Event, State, What};
use super::ledger::Adopted;

/// What a capture registration is compared with.
pub(super) struct Claimed<'a> {
    pub(super) purposes: &'a [Purpose],
    pub(super) channel: Channel,
    pub(super) claims: Author,
    pub(super) evidence: &'a BTreeMap<String, String>,
    /// It only lowers, see [`closes`].
    pub(super) closes: bool,
}

/// Whether an event is somebody's no or a hard stop: with it nothing is raised. What ends consent in other ways may also end
/// a refusal, and is not among them.
pub(super) const fn closes(what: &What) -> bool {
    match what {
        What::Consent(consent) => matches!(consent.state, State::Refused | State::Withdrawn | State::Revoked),
        What::Stop(_) => true,
        What::Lift { .. } | What::Delegation(_) | What::Occurrence(_) => false,
    }
}

/// Whose statement it is. An app may claim what its registration lists, with all evidence there; the consent desk may
/// record what a customer said, with evidence. Everything else is the system's, but a person's no: registration and evidence
/// decide about raising alone, and a no without them must not give way to what other systems say.
pub(super) fn author(adopted: &Adopted, caller: &Capturer, statement: &Claimed<'_>) -> Author {
    let evidenced = statement.evidence.values().any(|reference| !reference.trim().is_empty());
    let is_persons = matches!(statement.claims, Author::Customer | Author::Guardian);
    match caller {
        Capturer::Link => Author::Customer,
        Capturer::Client(_) | Capturer::Staff { .. } if statement.closes && is_persons => statement.claims,
        Capturer::Client(client) => {
            let registered = adopted.captures.iter().any(|capture| capture.client == *client && covers(capture, statement, &adopted.vocabulary));
            if registered { statement.claims } else { Author::System }
        }
        Capturer::Staff { .. } if evidenced => statement.claims,
        Capturer::Staff { .. } if statement.claims == Author::Staff => Author::Staff,
        Capturer::Staff { .. } => Author::System,
    }
}

fn covers(capture: &Capture, statement: &Claimed<'_>, vocabulary: &Vocabulary) -> bool {
    let registered = |purpose: &Purpose| capture.purposes.iter().any(|above| above == purpose || vocabulary.is_within(*purpose, *above));
    let shown = |kind: &String| statement.evidence.get(kind).is_some_and(|reference| !reference.trim().is_empty());
    capture.channels.contains(&statement.channel)
        && capture.authors.contains(&statement.claims)
        && statement.purposes.iter().all(registered)
        && capture.evidence.iter().all(shown)
}

/// As it is stored with the event.
pub(super) fn captured_by(caller: &Capturer) -> String {
    match caller {
        Capturer::Client(client) => format!("client:{client}"),
        Capturer::Staff { pseudonym } => format!("staff:{pseudonym}"),
        Capturer::Link => "link".to_owned(),
    }
}

pub(super) fn is_by_app(event: &Event) -> bool {
    event.captured_by.starts_with("client:")
}
