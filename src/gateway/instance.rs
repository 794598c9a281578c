//! What the console is told of the running gateway.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use serde_json::Value;

use super::check;
use super::explain;
use super::exporters::Exporters;
use super::governance::Refusal;
use super::indexing::Indexing;
use super::reload::Reloader;
use super::report;
use super::retention::{Hindered, Keeping};
use super::running::note;
use super::shadow::Shadow;
use super::state::Shared;
use super::witnesses::Witnesses;
use crate::config::{Controller, PublicPage};
use crate::consent::{IdempotencyKey, Person};
use crate::console::{
    ActivePolicies, ActivePolicy, CheckQuestion, Checked, Code, ExplainQuestion, Explanation, Health, Instance, Problem, Readiness, ReadinessCheck,
};
use crate::identity::KeyState;
use crate::model::{Activity, Capture, Findings, Identifier, Name, Space, Vocabulary};
use crate::policy::{Effect, Policies};

#[derive(Debug)]
pub(super) struct GatewayInstance {
    shared: Arc<Shared>,
    reloader: Arc<Reloader>,
    witnesses: Arc<Witnesses>,
    exporters: Arc<Exporters>,
    indexing: Arc<Indexing>,
    keeping: Arc<Keeping>,
}

impl GatewayInstance {
    pub(super) fn new(
        shared: Arc<Shared>,
        reloader: Arc<Reloader>,
        witnesses: Arc<Witnesses>,
        exporters: Arc<Exporters>,
        indexing: Arc<Indexing>,
        keeping: Arc<Keeping>,
    ) -> Self {
        Self { shared, reloader, witnesses, exporters, indexing, keeping }
    }

    fn checks(&self) -> Vec<ReadinessCheck> {
        let check = |name, state, why, since| ReadinessCheck { name, state, why, since };
        let audit = match self.shared.log.healthy() {
            Ok(()) => check("audit", Health::Ok, None, None),
            Err(error) => check("audit", Health::Failed, Some(error.to_string()), None),
        };
        let consent = match (self.shared.ledger.healthy(), self.shared.ledger.snapshot_failed()) {
            (Err(error), _) => check("consent", Health::Failed, Some(error.to_string()), None),
            (Ok(()), Some(error)) => check("consent", Health::Degraded, Some(format!("the next start will take longer: {}", error.0)), None),
            (Ok(()), None) => check("consent", Health::Ok, None, None),
        };
        // The last good configuration goes on serving: degraded, not failed.
        let config = match self.reloader.stale() {
            None => check("config", Health::Ok, None, None),
            Some(stale) => {
                let why = format!("stale since {}: the files on disk have {} mistakes, see `consentry check`", stale.since, stale.findings);
                check("config", Health::Degraded, Some(why), Some(stale.since))
            }
        };
        let mut checks = vec![audit, consent, config];
        if let Some(bundle) = &self.shared.snapshot().bundle {
            checks.push(if bundle.has_run_out(self.shared.clock.now()) {
                let why = format!("policy-stale: version {} ran out; activate a later bundle", bundle.version());
                check("policies", Health::Failed, Some(why), Some(bundle.expires()))
            } else {
                check("policies", Health::Ok, None, None)
            });
        }
        let now = self.shared.clock.now();
        for (listener, until) in self.shared.snapshot().revocation.iter().filter(|(_, until)| *until <= now) {
            let why = format!(
                "the revocation list of listener `{listener}` ran out at {until}: its client certificates are refused until there is a newer one"
            );
            checks.push(check("certificates", Health::Degraded, Some(why), Some(*until)));
        }
        if let Some(sentence) = self.indexing.trouble() {
            checks.push(check("index", Health::Degraded, Some(sentence), None));
        }
        if let Some(sentence) = self.shared.log.text_trouble() {
            checks.push(check("emergencies", Health::Degraded, Some(sentence), None));
        }
        if let Some(sentence) = self.keeping.trouble() {
            checks.push(check("retention", Health::Degraded, Some(sentence), None));
        }
        for sentence in self.witnesses.silent(self.shared.clock.now()) {
            checks.push(check("witness", Health::Degraded, Some(sentence), None));
        }
        for (sentence, since) in self.exporters.troubles() {
            checks.push(check("export", Health::Degraded, Some(sentence), since));
        }
        if let Some(why) = self.shared.budgets.trouble() {
            let why = format!("what was counted before the start is not known in full: {why}");
            checks.push(check("budgets", Health::Degraded, Some(why), None));
        }
        // Other targets may answer, and routes of other APIs do: degraded, not failed.
        for sentence in self.shared.snapshot().upstreams.values().filter_map(|upstream| upstream.targets().trouble()) {
            checks.push(check("upstream", Health::Degraded, Some(sentence), None));
        }
        for sentence in report::sentences(&self.shared.snapshot(), self.shared.clock.now()) {
            checks.push(check("report-mode", Health::Degraded, Some(sentence), None));
        }
        checks.extend(self.shared.snapshot().authenticator.keys_status().into_iter().map(|status| match status.state {
            KeyState::Fresh => check("keys", Health::Ok, None, None),
            KeyState::Stale(_) => check("keys", Health::Degraded, Some(format!("the key set of `{}` could not be refreshed", status.issuer)), None),
            KeyState::Missing => {
                check("keys", Health::Degraded, Some(format!("there is no key set of `{}`; its tokens are refused", status.issuer)), None)
            }
        }));
        if let Some(behind) = self.shared.snapshot().authenticator.clock_behind() {
            let why = format!("the wall clock went back by {} s; tokens are judged by the later time", behind.as_secs());
            checks.push(check("clock", Health::Degraded, Some(why), None));
        }
        checks
    }
}

impl Instance for GatewayInstance {
    fn readiness(&self) -> Readiness {
        Readiness { checks: self.checks() }
    }

    fn metrics(&self) -> String {
        let readiness = self.readiness();
        let states = readiness.checks.iter().map(|check| match check.state {
            Health::Ok => (check.name, 0),
            Health::Degraded => (check.name, 1),
            Health::Failed => (check.name, 2),
        });
        self.shared.metrics.set_checks(readiness.is_ready(), states);
        self.shared.metrics.render()
    }

    fn generation(&self) -> u64 {
        self.shared.generation()
    }

    fn unenforced(&self) -> Vec<(String, jiff::Timestamp)> {
        let snapshot = self.shared.snapshot();
        report::in_force(&snapshot.catalog, self.shared.clock.now()).map(|(api, report)| (api.name.to_string(), report.until)).collect()
    }

    fn drift(&self, api: &str) -> Option<Value> {
        let snapshot = self.shared.snapshot();
        let known = snapshot.catalog.apis.iter().any(|declared| declared.name.as_str() == api);
        known.then(|| self.shared.drift.document(snapshot.generation, self.shared.clock.now(), api))
    }

    fn vocabulary(&self) -> Arc<Vocabulary> {
        Arc::clone(self.shared.snapshot().policies.vocabulary())
    }

    fn activities(&self) -> Arc<[Activity]> {
        self.shared.snapshot().policies.activities().to_vec().into()
    }

    fn controller(&self) -> Option<Controller> {
        self.shared.snapshot().controller.clone()
    }

    fn captures(&self) -> Arc<[Capture]> {
        self.shared.snapshot().policies.captures().to_vec().into()
    }

    fn break_glass_max(&self) -> Duration {
        self.shared.snapshot().break_glass_max
    }

    fn employee(&self, issuer: &str, subject: &str) -> Option<Person> {
        let pseudonym = self.shared.snapshot().authenticator.employee_pseudonym(issuer, subject)?;
        Some(Person { issuer: issuer.to_owned(), pseudonym })
    }

    fn declares(&self, api: &str, route: &str) -> bool {
        let snapshot = self.shared.snapshot();
        let apis = snapshot.catalog.apis.iter().filter(|declared| declared.name.as_str() == api);
        apis.flat_map(|declared| &declared.routes).any(|declared| declared.key.as_str() == route)
    }

    fn public_page(&self) -> Option<Arc<PublicPage>> {
        self.shared.snapshot().public.clone()
    }

    fn policies(&self) -> ActivePolicies {
        let snapshot = self.shared.snapshot();
        let policy = |info: &crate::policy::PolicyInfo| ActivePolicy {
            name: info.name.to_string(),
            effect: match info.effect {
                Effect::Permit => "permit",
                Effect::Forbid => "forbid",
            },
            at: format!("{}:{}", info.file.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default(), info.line),
        };
        ActivePolicies {
            id: snapshot.set_id.to_string(),
            loaded_at: *self.reloader.loaded_at.lock().unwrap_or_else(PoisonError::into_inner),
            policies: snapshot.policies.policies().iter().map(policy).collect(),
        }
    }

    fn identifier(&self, space: &str, value: &str) -> Result<Identifier, String> {
        let snapshot = self.shared.snapshot();
        let found = Name::known(space).and_then(|name| snapshot.catalog.space(Space(name)).cloned());
        let Some(found) = found else {
            let known: Vec<&str> = snapshot.catalog.spaces.keys().map(|s| s.as_str()).collect();
            return Err(format!("there is no id space `{space}`; there are {}", known.join(", ")));
        };
        found.identify(value).map_err(|error| error.to_string())
    }

    fn explain(&self, question: &ExplainQuestion) -> Result<Explanation, Problem> {
        match question {
            ExplainQuestion::Request { method, url, app, purpose, body } => {
                explain::request(&self.shared, method, url, app, purpose.as_deref(), body.as_deref())
            }
            ExplainQuestion::Decision { index, consent_state } => explain::decision(self.indexing.index(), *index, *consent_state),
        }
    }

    fn start_shadow(&self, files: &BTreeMap<String, String>) -> Result<Value, Findings> {
        let now = self.shared.clock.now();
        let candidate = Policies::of_files(files)?.compiled(self.shared.snapshot().policies.is_compiled());
        // What is sent once more goes on as it was.
        if let Some(same) = self.shared.shadow.load_full().filter(|shadow| shadow.is_of(&candidate)) {
            return Ok(same.report());
        }
        let shadow = Arc::new(Shadow::new(candidate, now, self.shared.metrics.clone()));
        let (entry, report) = (shadow.entry("started", now), shadow.report());
        if let Some(before) = self.shared.shadow.swap(Some(shadow)) {
            note(&self.shared, before.entry("stopped", now));
        }
        note(&self.shared, entry);
        Ok(report)
    }

    fn shadow(&self, stop: bool) -> Option<Value> {
        if !stop {
            return self.shared.shadow.load_full().map(|shadow| shadow.report());
        }
        let shadow = self.shared.shadow.swap(None)?;
        note(&self.shared, shadow.entry("stopped", self.shared.clock.now()));
        Some(shadow.report())
    }

    fn prune(&self, run: bool) -> Result<Value, Problem> {
        self.keeping.ask(run).map_err(|hindered| {
            let code = match hindered {
                Hindered::UnderWay => Code::Unavailable,
                Hindered::Consent(_) => Code::ConsentUnavailable,
                Hindered::Log(_) | Hindered::Clock(_) | Hindered::Index(_) => Code::AuditUnavailable,
            };
            Problem::new(code, "ask again when `/readyz` is well").detail(hindered.to_string())
        })
    }

    fn bundle(&self) -> Option<Value> {
        Some(self.shared.snapshot().bundle.as_ref()?.document(self.shared.clock.now()))
    }

    fn judge_bundle(&self, bundle: &[u8], signatures: &str) -> Result<Value, Problem> {
        let judged = self.reloader.judge(bundle, signatures);
        judged.map(|(_, active, _)| active.document(self.shared.clock.now())).map_err(|refusal| bundle_problem(&refusal))
    }

    fn activate_bundle(&self, bundle: &[u8], signatures: &str, key: Option<&IdempotencyKey>) -> Result<Value, Problem> {
        let activated = self.reloader.activate(bundle, signatures, key).map_err(|refusal| bundle_problem(&refusal))?;
        let mut document = activated.document(self.shared.clock.now());
        if let Some(members) = document.as_object_mut() {
            members.insert("generation".to_owned(), self.shared.generation().into());
        }
        Ok(document)
    }

    fn check(&self, question: &CheckQuestion) -> Result<Checked, Problem> {
        check::check(&self.shared, question)
    }
}

/// The sentence behind the semicolon says what to do next.
fn bundle_problem(refusal: &Refusal) -> Problem {
    let code = match refusal {
        Refusal::Broken(_) | Refusal::Config(_) => Code::BundleBroken,
        Refusal::Signatures(_) => Code::SignaturesMissing,
        Refusal::Store(_) => Code::Unavailable,
        Refusal::Unsigned
        | Refusal::Expired(_)
        | Refusal::Rollback { .. }
        | Refusal::Replaces { .. }
        | Refusal::Routes
        | Refusal::Foreign(_)
        | Refusal::Running(_) => Code::BundleRefused,
    };
    let text = refusal.to_string();
    let (detail, remedy) = text.rsplit_once("; ").unwrap_or((&text, "compare with `consentry policy status FILE`"));
    Problem::new(code, remedy).detail(detail)
}
