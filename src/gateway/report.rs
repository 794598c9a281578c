//! Report mode at work: which plan a request is answered by, since when an API is enforced again, and that everybody hears of it.
//!
//! It is for taking an API on, so it is for departments' apps: an agent, whose customers are counted, and a call on a
//! break-glass grant, which is for one customer, are answered as ever.

use jiff::{SignedDuration, Timestamp};

use super::build::BuildError;
use super::judge::Asked;
use super::route::Routed;
use super::state::{Shared, Snapshot};
use crate::audit::{Group, Outcome};
use crate::catalog::{Api, Catalog, Found, ReportMode};
use crate::model::{ClientKind, ResponsePlan};

/// The longest time from now that report mode may last.
const REPORT_MAX: SignedDuration = SignedDuration::from_hours(30 * 24);

impl Routed {
    /// How the answer is cut now, with the customer's id or without.
    pub(super) fn plan(&self, shared: &Shared) -> &ResponsePlan {
        let route = &self.found.route;
        let is_bare = self.bare && route.bare.is_some();
        let enforced = route.bare.as_ref().filter(|_| is_bare).unwrap_or(&route.response);
        of(&self.found, &self.asked, shared.clock.now()).and_then(|report| report.plans.get(&(route.key, is_bare))).unwrap_or(enforced)
    }
}

/// The report mode that holds for a request.
pub(super) fn of<'f>(found: &'f Found, asked: &Asked, now: Timestamp) -> Option<&'f ReportMode> {
    let is_app = asked.caller.kind == ClientKind::Application && asked.premises.grant.is_none();
    found.api.report.as_ref().filter(|report| is_app && is_in_force(report, now))
}

fn is_in_force(report: &ReportMode, now: Timestamp) -> bool {
    now < report.until
}

/// The APIs that are in report mode now.
pub(super) fn in_force(catalog: &Catalog, now: Timestamp) -> impl Iterator<Item = (&Api, &ReportMode)> {
    catalog.apis.iter().filter_map(move |api| Some((&**api, api.report.as_ref().filter(|report| is_in_force(report, now))?)))
}

/// Refuses report mode without a near end.
pub(super) fn bounded(catalog: &Catalog, now: Timestamp) -> Result<(), BuildError> {
    match in_force(catalog, now).find(|(_, report)| report.until.duration_since(now) > REPORT_MAX) {
        None => Ok(()),
        Some((api, report)) => {
            Err(BuildError::ReportTooLong { file: api.place.file.display().to_string(), line: api.place.line, api: api.name, until: report.until })
        }
    }
}

/// One sentence about each API in report mode, for whoever looks after the gateway.
pub(super) fn sentences(snapshot: &Snapshot, now: Timestamp) -> Vec<String> {
    let sentence = |(api, report): (&Api, &ReportMode)| {
        format!("`{}` is in report mode until {}: members that no shape maps go out ({}, {})", api.name, report.until, report.reason, report.approved)
    };
    in_force(&snapshot.catalog, now).map(sentence).collect()
}

/// Says at a load what is not enforced, and what is enforced again.
pub(super) fn announce(snapshot: &Snapshot, now: Timestamp) {
    for sentence in sentences(snapshot, now) {
        tracing::warn!("{sentence}");
    }
    for api in snapshot.catalog.apis.iter().filter(|api| api.report.as_ref().is_some_and(|report| !is_in_force(report, now))) {
        tracing::warn!(api = %api.name, "report mode is over, everything is enforced; remove `mode` and `report`");
    }
}

/// Says of those about whom something unmapped went out that this was not decided. Only to customers of whom everything is
/// permitted anything unmapped goes out.
pub(super) fn mark(groups: &mut [Group]) {
    for group in groups.iter_mut().filter(|group| group.outcome == Outcome::Permit && !group.parties.is_empty()) {
        group.outcome = Outcome::Unenforced;
    }
}
