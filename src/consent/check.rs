//! What a draft must be before it is recorded. Messages name fields and catalogue words, never a person's values.

use std::collections::BTreeMap;

use crate::model::{Purpose, Vocabulary};

use super::draft::{EventDraft, Note, NoteDraft, StopDraft};
use super::error::ConsentError;
use super::event::{Scope, State, StopKind};

pub(super) fn check_event(draft: &EventDraft, vocabulary: &Vocabulary) -> Result<(), ConsentError> {
    let notice = draft.notice.clone().unwrap_or_default();
    check_names(vocabulary, &draft.purposes, &draft.scope)?;
    let named = Scope { categories: notice.categories.clone(), recipients: notice.recipients.clone(), channels: Vec::new() };
    check_names(vocabulary, &notice.purposes, &named)?;
    check_text("notice", &notice.id, NAME_CHARS_MAX)?;
    check_text("notice", &notice.version, NAME_CHARS_MAX)?;
    if draft.uses == Some(0) {
        return Err(invalid("`uses` is 0: a grant that nobody may use is none"));
    }
    if let Some(until) = &draft.until {
        check_text("until", until, NAME_CHARS_MAX)?;
    }
    let limits_a_grant = draft.until.is_some() || draft.uses.is_some();
    if limits_a_grant && !draft.state.opens() && draft.state != State::PendingConfirmation {
        return Err(invalid("`until` and `uses` belong to a grant: what closes stays until a later grant"));
    }
    if draft.about.is_some() && !draft.state.opens() && draft.state != State::Invalidated {
        return Err(invalid("`about` belongs to `invalidated` (the grant that never was valid) or to the grant that a request is confirmed by"));
    }
    if !draft.state.closes() && draft.purposes.is_empty() {
        return Err(invalid("`purposes` is empty: only a refusal may cover every purpose"));
    }
    if draft.state.opens() {
        if draft.scope.categories.is_empty() && notice.categories.is_empty() {
            return Err(invalid("a grant must say which categories it covers: in `scope`, or by the notice it was given on"));
        }
        if draft.scope.recipients.is_empty() && notice.recipients.is_empty() {
            return Err(invalid("a grant must say which recipients it covers: in `scope`, or by the notice it was given on"));
        }
    } else if (draft.expires.is_some() || draft.lasts.is_some()) && draft.state != State::PendingConfirmation {
        return Err(invalid("`expires` and `lasts` belong to a grant or a request to confirm one: what closes stays until a later grant"));
    }
    Ok(())
}

pub(super) fn check_stop(draft: &StopDraft, vocabulary: &Vocabulary) -> Result<(), ConsentError> {
    check_names(vocabulary, &draft.purposes, &draft.scope)?;
    if let Some(reason) = &draft.reason {
        check_text("reason", reason, REASON_CHARS_MAX)?;
    }
    let whole = matches!(draft.kind, StopKind::Erasure | StopKind::Restriction | StopKind::Deceased | StopKind::Legal | StopKind::ObjectionMarketing);
    if whole && (!draft.purposes.is_empty() || draft.scope != Scope::default()) {
        return Err(ConsentError::Invalid(format!("`{}` has its own extent: leave out `purposes` and `scope`", draft.kind)));
    }
    if !draft.scope.recipients.is_empty() {
        return Err(invalid("a hard stop holds for every recipient: leave out `recipients`"));
    }
    Ok(())
}

pub(super) fn check_note(draft: &NoteDraft, vocabulary: &Vocabulary) -> Result<(), ConsentError> {
    match &draft.note {
        Note::Delegation(delegation) => {
            check_names(vocabulary, &delegation.purposes, &Scope::default())?;
            if !draft.evidence.values().any(|reference| !reference.trim().is_empty()) {
                return Err(invalid("`evidence` is missing: say what shows that they may speak for the customer"));
            }
        }
        Note::Occurrence(name) => {
            check_text("name", name, NAME_CHARS_MAX)?;
            if name.trim().is_empty() {
                return Err(invalid("`name` is missing: say what has come to pass, e.g. `contract-ended`"));
            }
        }
    }
    Ok(())
}

fn check_names(vocabulary: &Vocabulary, purposes: &[Purpose], scope: &Scope) -> Result<(), ConsentError> {
    if let Some(unknown) = purposes.iter().find(|p| !vocabulary.purposes.contains_key(p)) {
        return Err(ConsentError::Invalid(format!("unknown purpose `{unknown}`; the catalogue lists them")));
    }
    if let Some(unknown) = scope.categories.iter().find(|c| !vocabulary.categories.contains_key(c)) {
        return Err(ConsentError::Invalid(format!("unknown category `{unknown}`; the catalogue lists them")));
    }
    if let Some(unknown) = scope.recipients.iter().find(|r| !vocabulary.departments.contains_key(r)) {
        return Err(ConsentError::Invalid(format!("unknown recipient `{unknown}`; the catalogue lists the departments")));
    }
    Ok(())
}

pub(super) fn check_evidence(evidence: &BTreeMap<String, String>) -> Result<(), ConsentError> {
    if evidence.len() > EVIDENCE_MAX {
        return Err(ConsentError::Invalid(format!("more than {EVIDENCE_MAX} kinds of evidence")));
    }
    for (kind, reference) in evidence {
        check_text("evidence", kind, NAME_CHARS_MAX)?;
        check_text("evidence", reference, REASON_CHARS_MAX)?;
    }
    Ok(())
}

pub(super) fn check_text(field: &str, text: &str, chars_max: usize) -> Result<(), ConsentError> {
    if text.chars().count() > chars_max || text.chars().any(char::is_control) {
        return Err(ConsentError::Invalid(format!("`{field}` is longer than {chars_max} characters or holds control characters")));
    }
    Ok(())
}

pub(super) fn invalid(message: &str) -> ConsentError {
    ConsentError::Invalid(message.to_owned())
}

const EVIDENCE_MAX: usize = 16;
pub(super) const NAME_CHARS_MAX: usize = 200;
pub(super) const REASON_CHARS_MAX: usize = 1000;
