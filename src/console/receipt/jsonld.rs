//! A receipt as JSON-LD: the fields of ISO/IEC TS 27560:2023 with the terms of the Data Privacy Vocabulary, as its guide
//! <https://w3id.org/dpv/guides/consent-27560> maps them. The context stands inside, so that nothing is fetched to read it.
//!
//! ```text
//! receipt   schema_version, receipt_id, issued_at, issuer, language
//!   record  record_id, pii_principal_id, pii_controllers
//!           pii_processing[]  activity and version, purposes, basis, categories, recipients, retention, jurisdiction, DPIA
//!           privacy_notice, with language, hash and URL of its text; withdrawal_method
//!           event   kind, state, times, what it covers, who said and captured it, evidence, until when
//! ```
//!
//! What the event says is as it was recorded. Activities and labels are as they are declared on the day of issue. A version of a notice
//! is never changed, so its text is the one that was shown, if the event names what the version names.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::config::Controller;
use crate::consent::{Consent, Delegation, Event, Method, Notice, NoticeVersion, Scope, Stop, What};
use crate::model::{Activity, Art9Basis, Author, Category, Channel, Department, LawfulBasis, Purpose, Term, Vocabulary};

/// The profile of ISO/IEC TS 27560 that this follows.
const SCHEMA_VERSION: &str = "https://w3id.org/dpv/schema/dpv-27560#receipt";
/// The receipt's own language.
const LANGUAGE: &str = "en";

/// What a receipt is made of.
#[derive(Debug)]
pub(super) struct Matter<'a> {
    pub(super) event: &'a Event,
    /// As the reader may see it.
    pub(super) principal: &'a str,
    pub(super) vocabulary: &'a Vocabulary,
    pub(super) activities: &'a [Activity],
    /// The registered versions of notices.
    pub(super) notices: &'a [NoticeVersion],
    pub(super) controller: Option<&'a Controller>,
    pub(super) origin: &'a str,
    pub(super) issued_at: Timestamp,
}

pub(super) fn document(matter: &Matter<'_>) -> Value {
    let id = format!("urn:consentry:receipt:{}:{}", matter.origin, matter.event.id);
    json!({
        "@context": context(),
        "@id": id,
        "@type": "ConsentReceipt",
        "schema_version": SCHEMA_VERSION,
        "receipt_id": id,
        "issued_at": matter.issued_at.to_string(),
        "issuer": matter.origin,
        "language": LANGUAGE,
        "record": matter.record(),
    })
}

/// What an event is about, whatever its kind.
#[derive(Default)]
struct Covered<'a> {
    purposes: &'a [Purpose],
    categories: &'a [Category],
    recipients: &'a [Department],
    channels: &'a [Channel],
}

impl<'a> Covered<'a> {
    fn by(what: &'a What) -> Self {
        match what {
            What::Consent(Consent { purposes, scope, notice, .. }) => {
                let named = notice.as_ref().map_or((&[][..], &[][..]), |Notice { categories, recipients, .. }| (categories, recipients));
                // A grant without scope covers what its notice named.
                let categories = if scope.categories.is_empty() { named.0 } else { &scope.categories };
                let recipients = if scope.recipients.is_empty() { named.1 } else { &scope.recipients };
                Self { purposes, categories, recipients, channels: &scope.channels }
            }
            What::Stop(Stop { purposes, scope: Scope { categories, recipients, channels }, .. }) => {
                Self { purposes, categories, recipients, channels }
            }
            What::Delegation(Delegation { purposes, .. }) => Self { purposes, ..Self::default() },
            What::Lift { .. } | What::Occurrence(_) => Self::default(),
        }
    }
}

impl Matter<'_> {
    fn record(&self) -> Value {
        let covered = Covered::by(&self.event.what);
        let mut record = object([
            ("@type", Some(json!("ConsentRecord"))),
            ("record_id", Some(json!(self.event.id.to_string()))),
            ("pii_principal_id", Some(json!(self.principal))),
            ("pii_controllers", Some(Value::Array(self.controller.map(party).into_iter().collect()))),
        ]);
        if let What::Consent(consent) = &self.event.what {
            let processing = self.processing(consent, &covered);
            // A statement about no activity in particular is consent all the same.
            let named = consent.activity.and_then(|key| processing.iter().find(|activity| activity.id == key));
            record.extend(object([
                ("lawful_basis", Some(basis(named.map_or(LawfulBasis::Consent, |activity| activity.basis)))),
                ("pii_processing", Some(processing.into_iter().map(|activity| self.activity(activity)).collect())),
                ("privacy_notice", consent.notice.as_ref().map(|notice| self.notice(notice))),
                ("withdrawal_method", consent.state.opens().then(|| self.withdrawal())),
            ]));
        }
        record.insert("event".to_owned(), self.event(&covered));
        Value::Object(record)
    }

    /// The activity that the person saw; without one, those that rest on consent to what was said.
    fn processing(&self, consent: &Consent, covered: &Covered<'_>) -> Vec<&Activity> {
        let touched = |activity: &&Activity| match consent.activity {
            Some(named) => activity.id == named,
            None => {
                let to = covered.recipients.is_empty() || covered.recipients.contains(&activity.department);
                let purpose = covered.purposes.is_empty() || activity.purposes.iter().any(|purpose| covered.purposes.contains(purpose));
                activity.basis == LawfulBasis::Consent && to && purpose
            }
        };
        self.activities.iter().filter(touched).collect()
    }

    fn activity(&self, activity: &Activity) -> Value {
        let Activity { id, version, department, purposes, categories, recipients, retention, art9, jurisdiction, dpia, confidentiality, .. } =
            activity;
        Value::Object(object([
            ("@type", Some(json!("Process"))),
            ("activity", Some(json!(id.as_str()))),
            ("version", Some(json!(version))),
            ("department", Some(json!(department.as_str()))),
            ("purposes", Some(self.purposes(purposes))),
            ("lawful_basis", Some(basis(activity.basis))),
            ("special_category_basis", art9.map(|art9| term(art9.as_str(), Some(Art9Basis::iri(art9))))),
            ("pii_information", Some(self.categories(categories))),
            ("recipient_third_parties", Some(json!(recipients))),
            ("retention_period", Some(json!(retention))),
            ("jurisdiction", jurisdiction.as_ref().map(|text| json!(text))),
            ("impact_assessment", dpia.as_ref().map(|text| json!(text))),
            ("confidentiality", confidentiality.as_ref().map(|text| json!(text))),
        ]))
    }

    fn event(&self, covered: &Covered<'_>) -> Value {
        let Event { event_time, record_time, channel, captured_by, method, author, evidence, source_system, what, .. } = self.event;
        let evidence: Vec<Value> = evidence.iter().map(|(kind, reference)| json!({ "kind": kind, "reference": reference })).collect();
        let mut event = object([
            ("event_time", event_time.map(|time| json!(time.to_string()))),
            ("record_time", Some(json!(record_time.to_string()))),
            ("purposes", Some(self.purposes(covered.purposes))),
            ("pii_information", Some(self.categories(covered.categories))),
            ("recipients", Some(covered.recipients.iter().map(|recipient| recipient.as_str()).collect())),
            ("channels", Some(covered.channels.iter().map(|channel| channel.as_str()).collect())),
            ("author", Some(json!(Author::as_str(*author)))),
            ("captured_by", Some(json!(captured_by))),
            ("channel", Some(json!(channel.as_str()))),
            ("source_system", Some(json!(source_system))),
            ("evidence", Some(Value::Array(evidence))),
        ]);
        event.extend(match what {
            What::Consent(Consent { state, expires, until, uses, about, .. }) => object([
                ("kind", Some(json!("consent"))),
                ("event_state", Some(term(state.as_str(), Some(state.iri())))),
                ("event_type", Some(term(method.as_str(), Some(Method::iri(*method))))),
                ("expires", expires.map(|time| json!(time.to_string()))),
                ("until", until.as_ref().map(|name| json!(name))),
                ("uses", uses.map(|uses| json!(uses))),
                ("about", about.map(|event| json!(event.to_string()))),
            ]),
            What::Stop(Stop { kind, reason, .. }) => object([
                ("kind", Some(json!("stop"))),
                ("stop", Some(term(kind.as_str(), kind.iri()))),
                ("reason", reason.as_ref().map(|reason| json!(reason))),
            ]),
            What::Lift { stop, reason } => {
                object([("kind", Some(json!("lift"))), ("about", Some(json!(stop.to_string()))), ("reason", Some(json!(reason)))])
            }
            What::Delegation(Delegation { holder, until, .. }) => object([
                ("kind", Some(json!("delegation"))),
                ("holder", Some(json!(holder.as_str()))),
                ("expires", until.map(|time| json!(time.to_string()))),
            ]),
            What::Occurrence(name) => object([("kind", Some(json!("occurrence"))), ("occurrence", Some(json!(name)))]),
        });
        Value::Object(event)
    }

    fn purposes(&self, purposes: &[Purpose]) -> Value {
        purposes.iter().map(|purpose| named(purpose.as_str(), self.vocabulary.purposes.get(purpose).map(|info| &info.term))).collect()
    }

    fn categories(&self, categories: &[Category]) -> Value {
        let one = |category: &Category| {
            let info = self.vocabulary.categories.get(category);
            let mut found = named(category.as_str(), info.map(|info| &info.term));
            if info.is_some_and(|info| info.sensitivity.is_restricted())
                && let Some(members) = found.as_object_mut()
            {
                members.insert("special_pii_category".to_owned(), json!(true));
            }
            found
        };
        categories.iter().map(one).collect()
    }

    fn notice(&self, notice: &Notice) -> Value {
        let text = self.notices.iter().find(|known| known.notice == *notice);
        Value::Object(object([
            ("@type", Some(json!("ConsentNotice"))),
            ("id", Some(json!(notice.id))),
            ("version", Some(json!(notice.version))),
            ("language", text.map(|text| json!(text.language))),
            ("hash", text.map(|text| json!(format!("sha256:{}", text.hash)))),
            ("url", text.and_then(|text| text.url.as_ref()).filter(|url| !url.is_empty()).map(|url| json!(url))),
        ]))
    }

    /// GDPR Art. 7(3).
    fn withdrawal(&self) -> Value {
        let whom = self.controller.and_then(|controller| controller.contact.as_deref()).unwrap_or("the controller");
        let how = format!("You can withdraw at any time, as easily as you gave consent: tell {whom} and name {}.", self.event.id);
        json!({ "@type": "WithdrawConsent", "description": how })
    }
}

fn party(controller: &Controller) -> Value {
    Value::Object(object([
        ("@type", Some(json!("DataController"))),
        ("party_name", Some(json!(controller.name))),
        ("party_address", controller.address.as_ref().map(|text| json!(text))),
        ("party_contact", controller.contact.as_ref().map(|text| json!(text))),
    ]))
}

fn basis(basis: LawfulBasis) -> Value {
    let iris: Vec<&str> = basis.iri().into_iter().chain(basis.gdpr_iri()).collect();
    json!({ "key": basis.as_str(), "iri": iris })
}

/// A word of ours with the term that others know it by.
fn term(key: &str, iri: Option<&str>) -> Value {
    Value::Object(object([("key", Some(json!(key))), ("iri", iri.map(|iri| json!(iri)))]))
}

/// A name of the catalogue, which may no longer stand there.
fn named(key: &str, known: Option<&Term>) -> Value {
    let Term { label, dpv } = known.cloned().unwrap_or_default();
    Value::Object(object([("key", Some(json!(key))), ("iri", dpv.map(Value::from)), ("label", label.map(Value::from))]))
}

/// What is not known is left out.
fn object<const N: usize>(members: [(&str, Option<Value>); N]) -> Map<String, Value> {
    members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

/// What each member means. A word's term is its type: an outreach is *a* `dpv:CustomerRelationshipManagement`.
fn context() -> Value {
    let mut terms = Map::new();
    terms.insert("iri".to_owned(), json!("@type"));
    for (name, iri) in DPV {
        terms.insert((*name).to_owned(), json!(format!("https://w3id.org/dpv#{iri}")));
    }
    for (name, iri) in DCT {
        terms.insert((*name).to_owned(), json!(format!("http://purl.org/dc/terms/{iri}")));
    }
    for name in TIMES {
        let iri = terms.get(*name).cloned();
        terms.insert((*name).to_owned(), json!({ "@id": iri, "@type": "http://www.w3.org/2001/XMLSchema#dateTime" }));
    }
    terms.insert("url".to_owned(), json!({ "@id": "http://xmlns.com/foaf/0.1/page", "@type": "@id" }));
    terms.insert("schema_version".to_owned(), json!({ "@id": "http://purl.org/dc/terms/conformsTo", "@type": "@id" }));
    // Members that have no term elsewhere.
    terms.insert("@vocab".to_owned(), json!("urn:consentry:receipt:term:"));
    Value::Object(terms)
}

const DPV: &[(&str, &str)] = &[
    ("ConsentReceipt", "ConsentReceipt"),
    ("ConsentRecord", "ConsentRecord"),
    ("ConsentNotice", "ConsentNotice"),
    ("DataController", "DataController"),
    ("Process", "Process"),
    ("WithdrawConsent", "WithdrawConsent"),
    ("pii_principal_id", "hasDataSubject"),
    ("pii_controllers", "hasDataController"),
    ("party_name", "hasName"),
    ("party_address", "hasAddress"),
    ("party_contact", "hasContact"),
    ("pii_processing", "hasProcess"),
    ("department", "hasOrganisationalUnit"),
    ("purposes", "hasPurpose"),
    ("lawful_basis", "hasLegalBasis"),
    ("special_category_basis", "hasLegalBasis"),
    ("pii_information", "hasPersonalData"),
    ("recipients", "hasRecipient"),
    ("recipient_third_parties", "hasRecipient"),
    ("retention_period", "hasStorageCondition"),
    ("jurisdiction", "hasJurisdiction"),
    ("impact_assessment", "hasImpactAssessment"),
    ("privacy_notice", "hasNotice"),
    ("withdrawal_method", "hasConsentControl"),
    ("event", "hasStatus"),
    ("event_state", "hasConsentStatus"),
    ("event_type", "hasLegalBasis"),
    ("stop", "hasRight"),
    ("author", "isIndicatedBy"),
    ("channel", "hasIndicationMethod"),
    ("reason", "hasJustification"),
];

const DCT: &[(&str, &str)] = &[
    ("receipt_id", "identifier"),
    ("record_id", "identifier"),
    ("id", "identifier"),
    ("key", "identifier"),
    ("activity", "identifier"),
    ("version", "hasVersion"),
    ("label", "title"),
    ("description", "description"),
    ("issuer", "publisher"),
    ("language", "language"),
    ("record", "source"),
    ("captured_by", "contributor"),
    ("source_system", "source"),
    ("evidence", "provenance"),
    ("reference", "references"),
    ("kind", "type"),
    ("about", "relation"),
    ("issued_at", "issued"),
    ("event_time", "date"),
    ("record_time", "created"),
    ("expires", "valid"),
];

const TIMES: &[&str] = &["issued_at", "event_time", "record_time", "expires"];
