//! Where consent and policy meet: what each lawful basis needs, and that a withdrawal opens no other door.

use std::fs;
use std::path::Path;

use jiff::SignedDuration;
use tempfile::TempDir;

use super::*;
use crate::clock::SystemClock;
use crate::consent::{Capturer, EventDraft, Method, Notice, State, StopDraft, StopKind};
use crate::model::{ActivityKey, Client, Department};

#[test]
fn only_the_newest_events_that_lost_are_told() {
    let events = |numbers: std::ops::Range<usize>| numbers.map(|n| EventId(n as u64)).collect::<Vec<_>>();
    assert_eq!(newest(events(0..3)), events(0..3));
    assert_eq!(newest(events(0..1_000)), events(992..1_000));
    assert_eq!(newest(events(0..0)), []);
}

/// The shipped policies, with one that permits all that the others do not forbid, so that basis and floor alone decide.
const OPEN: &str =
    "@id(\"open\")\npermit (principal, action in Action::\"view\", resource) when { context.purpose in principal.registered_purposes };\n";
const OUTREACH: &str = "sales.outreach";

fn activity(id: &str, department: &str, purpose: &str, category: &str, basis: &str) -> String {
    let art9 = if category == "health" && basis == "consent" { "explicit-consent" } else { "health-care" };
    format!(
        "[[activity]]\nid = \"{id}\"\nversion = 1\ndepartment = \"{department}\"\npurposes = [\"{purpose}\"]\ncategories = [\"{category}\"]\n\
         basis = \"{basis}\"\nart9 = \"{art9}\"\nrecipients = []\nretention = \"1 years\"\n"
    )
}

struct World {
    policies: Policies,
    ledger: Ledger,
    _dir: TempDir,
}

impl World {
    fn new(activities: &str) -> Self {
        Self::about("person", activities)
    }

    fn about(kind: &str, activities: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("policies");
        fs::create_dir(&folder).unwrap();
        for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("policies")).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                fs::copy(&path, folder.join(path.file_name().unwrap())).unwrap();
            }
        }
        fs::write(folder.join("99-open.cedar"), OPEN).unwrap();
        fs::write(folder.join("activities.toml"), activities).unwrap();
        let policies = Policies::load(&folder).unwrap_or_else(|findings| panic!("{findings}"));
        let ledger = Ledger::open(&dir.path().join("consent.db"), SystemClock::shared()).unwrap();
        ledger.adopt(Arc::clone(policies.vocabulary()), policies.consent_rules().clone(), policies.captures().to_vec()).unwrap();
        let normalise = |space: &str, value: &str| Ok(Identifier { space: Space::intern(space), value: value.to_owned() });
        let report = ledger.import_parties(format!("identifiers,kind\ncrm:1,{kind}\n").as_bytes(), false, &normalise, &mut |_| {}, None).unwrap();
        assert!(report.errors.is_empty(), "{report:?}");
        Self { policies, ledger, _dir: dir }
    }

    fn id() -> Identifier {
        Identifier { space: Space::intern("crm"), value: "1".to_owned() }
    }

    fn says(&self, purpose: &str, state: State, method: Method, minutes_ago: i64) {
        self.says_to(&["sales", "service"], None, purpose, state, method, minutes_ago);
    }

    fn says_to(&self, recipients: &[&str], uses: Option<u32>, purpose: &str, state: State, method: Method, minutes_ago: i64) -> EventId {
        let mut draft = EventDraft::new(Self::id(), Purpose::intern(purpose), state);
        draft.event_time = Some(SystemClock::shared().now() - SignedDuration::from_mins(minutes_ago));
        draft.method = method;
        draft.evidence = ["form-hash", "notice"].map(|kind| (kind.to_owned(), "sha256:00".to_owned())).into();
        if state.opens() {
            let categories = ["contact", "health"].map(Category::intern).to_vec();
            let recipients = recipients.iter().map(|name| Department::intern(name)).collect();
            draft.notice = Some(Notice { id: "n-1".to_owned(), version: "1".to_owned(), purposes: draft.purposes.clone(), categories, recipients });
        }
        draft.uses = uses;
        self.ledger.record(draft, &Capturer::Client(Client::intern("preference-centre"))).unwrap().event
    }

    fn stops(&self, kind: StopKind) {
        self.ledger.add_stop(StopDraft::new(Self::id(), kind), &Capturer::Staff { pseudonym: "e_1".to_owned() }).unwrap();
    }

    fn verdict(&self, app: &str, purpose: &str, category: &str) -> CategoryVerdict {
        self.judged(app, purpose, category).0
    }

    /// With the grants of limited uses that it takes one of.
    fn judged(&self, app: &str, purpose: &str, category: &str) -> (CategoryVerdict, BTreeSet<EventId>) {
        let (client, info) = self.policies.vocabulary().clients.get_key_value(&Client::intern(app)).unwrap();
        let asked = Asked {
            caller: Caller { client: *client, kind: info.kind, department: info.department, employee: None },
            action: Action::Read,
            purpose: Purpose::intern(purpose),
            channel: Channel::System,
            environment: Environment::Production,
            gpc: false,
            records: None,
            now: SystemClock::shared().now(),
            premises: Premises::default(),
            shadow: None,
        };
        let standing = self.ledger.standing(&Self::id()).unwrap().unwrap();
        let (verdict, counted) = judge(&self.policies, &asked, About::Known(&standing), Category::intern(category), false);
        (verdict, counted.into_iter().filter_map(|at| standing.event_id(at)).collect())
    }

    fn is_open(&self) -> bool {
        self.verdict("crm", OUTREACH, "contact").release == Release::Full
    }
}

#[test]
fn a_withdrawal_does_not_open_another_activity_or_basis() {
    // The same data for what stands above and below the purpose, of another department, and for another category.
    let others = [
        activity("above", "sales", "sales", "contact", "legitimate-interest"),
        activity("beside", "service", OUTREACH, "contact", "contract"),
        activity("other-data", "sales", OUTREACH, "identity", "public-task"),
        activity("other-use", "sales", "service-provision", "contact", "contract"),
    ];
    let world = World::new(&format!("{}{}", activity("outreach", "sales", OUTREACH, "contact", "consent"), others.concat()));
    world.says(OUTREACH, State::Given, Method::Expressed, 20);
    assert!(world.is_open());
    world.says(OUTREACH, State::Withdrawn, Method::Expressed, 10);
    let refused = world.verdict("crm", OUTREACH, "contact");
    assert_eq!((refused.release, refused.why, refused.basis), (Release::Withheld, Why::Forbidden, LawfulBasis::Consent));
    assert_eq!(refused.activity, Some((ActivityKey::intern("outreach"), 1)));
    assert!(refused.policies.iter().any(|policy| policy.as_str() == "consent-basis-needs-consent"), "{:?}", refused.policies);
}

#[test]
fn a_use_that_no_activity_covers_borrows_no_basis() {
    let world = World::new(&activity("above", "sales", "sales", "contact", "legitimate-interest"));
    assert_eq!(world.verdict("crm", "sales", "contact").release, Release::Full);
    let below = world.verdict("crm", OUTREACH, "contact");
    assert_eq!((below.release, below.basis, below.activity), (Release::Withheld, LawfulBasis::None, None));
    let other_data = world.verdict("crm", "sales", "identity");
    assert_eq!((other_data.release, other_data.basis), (Release::Withheld, LawfulBasis::None));
}

#[test]
fn each_basis_needs_consent_or_not_and_obeys_the_stops_that_bind_it() {
    use StopKind::{Deceased, Erasure, Legal, Objection, ObjectionMarketing, Restriction};
    // (basis, open without consent, stops that it survives)
    let bases: [(&str, bool, &[StopKind]); 6] = [
        ("consent", false, &[]),
        ("contract", true, &[Objection, ObjectionMarketing]),
        ("legal-obligation", true, &[Erasure, Restriction, Deceased, Legal, Objection, ObjectionMarketing]),
        ("vital-interest", true, &[Restriction, Objection, ObjectionMarketing]),
        ("public-task", true, &[ObjectionMarketing]),
        ("legitimate-interest", true, &[ObjectionMarketing]),
    ];
    for (basis, needs_none, survives) in bases {
        let activity = activity("use", "sales", OUTREACH, "contact", basis);
        let world = World::new(&activity);
        assert_eq!(world.is_open(), needs_none, "{basis}: nothing was ever said");
        world.says(OUTREACH, State::Refused, Method::Expressed, 30);
        assert_eq!(world.is_open(), needs_none, "{basis}: refused");
        for stop in [Erasure, Restriction, Deceased, Legal, Objection, ObjectionMarketing] {
            let world = World::new(&activity);
            world.stops(stop);
            let verdict = world.verdict("crm", OUTREACH, "contact");
            assert_eq!(verdict.release == Release::Full, survives.contains(&stop), "{basis}: {stop}: {verdict:?}");
            // Of what binds the basis, the stop itself is the reason.
            if needs_none && !survives.contains(&stop) {
                assert_eq!(verdict.why, Why::Stop(stop.stop_name()), "{basis}: {stop}");
            }
        }
    }
}

#[test]
fn special_categories_need_explicit_consent_a_law_or_a_vital_interest() {
    let support = "service-provision.support";
    let health = |basis: &str, said: Option<Method>| {
        let world = World::new(&activity("care", "service", support, "health", basis));
        if let Some(method) = said {
            world.says(support, State::Given, method, 10);
        }
        world.verdict("helpdesk", support, "health").release == Release::Full
    };
    for (basis, said, open) in [
        ("consent", None, false),
        ("consent", Some(Method::Implied), false),
        ("consent", Some(Method::Expressed), false),
        ("consent", Some(Method::Explicit), true),
        ("contract", None, false),
        ("contract", Some(Method::Expressed), false),
        ("public-task", None, false),
        ("legitimate-interest", None, false),
        ("legal-obligation", None, true),
        ("vital-interest", None, true),
    ] {
        assert_eq!(health(basis, said), open, "{basis}, {said:?}");
    }
}

#[test]
fn an_organisation_needs_a_basis_and_no_consent_and_obeys_what_closes() {
    let bases = LawfulBasis::ALL.iter().map(|basis| basis.as_str()).filter(|basis| *basis != "none");
    for basis in bases {
        let world = World::about("organisation", &activity("use", "sales", OUTREACH, "contact", basis));
        let verdict = world.verdict("crm", OUTREACH, "contact");
        assert_eq!((verdict.release, verdict.status), (Release::Full, ConsentStatus::NotNeeded), "{basis}: nothing was ever said");
        world.says(OUTREACH, State::Refused, Method::Expressed, 30);
        let verdict = world.verdict("crm", OUTREACH, "contact");
        let is_open = verdict.release == Release::Full;
        assert_eq!((is_open, verdict.status), (basis != "consent", ConsentStatus::Refused), "{basis}: refused, as a person's");
        world.stops(StopKind::Restriction);
        let stopped = world.verdict("crm", OUTREACH, "contact").why == Why::Stop("restriction");
        assert_eq!(stopped, !["legal-obligation", "vital-interest"].contains(&basis), "{basis}: restricted");
    }
    let uncovered = World::about("organisation", "").verdict("crm", OUTREACH, "contact");
    assert_eq!((uncovered.release, uncovered.basis), (Release::Withheld, LawfulBasis::None));
}

#[test]
fn special_categories_do_not_open_by_the_id_of_an_organisation() {
    let support = "service-provision.support";
    for basis in ["consent", "contract", "public-task", "legitimate-interest"] {
        let world = World::about("organisation", &activity("care", "service", support, "health", basis));
        for said in [None, Some(Method::Expressed), Some(Method::Explicit)] {
            if let Some(method) = said {
                world.says(support, State::Given, method, 10);
            }
            let verdict = world.verdict("helpdesk", support, "health");
            assert_eq!((verdict.release, verdict.status), (Release::Withheld, ConsentStatus::NotNeeded), "{basis}, {said:?}");
        }
    }
}

#[test]
fn the_grant_relied_on_and_the_one_that_lifts_a_stop_are_both_counted() {
    let world = World::new(&activity("use", "sales", OUTREACH, "contact", "consent"));
    let mut stop = StopDraft::new(World::id(), StopKind::Suppression);
    stop.event_time = Some(SystemClock::shared().now() - SignedDuration::from_mins(60));
    world.ledger.add_stop(stop, &Capturer::Staff { pseudonym: "e_1".to_owned() }).unwrap();
    let relied = world.says_to(&["sales"], Some(2), OUTREACH, State::Given, Method::Expressed, 30);
    assert_eq!(world.judged("crm", OUTREACH, "contact").1, BTreeSet::from([relied]), "one grant does both");
    // Whoever may use it, this is the customer's last word against the stop.
    let lifting = world.says_to(&["service"], Some(1), OUTREACH, State::Given, Method::Expressed, 20);
    let (verdict, counted) = world.judged("crm", OUTREACH, "contact");
    assert_eq!((verdict.release, verdict.event, &counted), (Release::Full, Some(relied), &BTreeSet::from([relied, lifting])));
    let taken: Vec<EventId> = counted.into_iter().collect();
    world.ledger.reserve_uses(&taken).unwrap();
    // All or none: nothing is taken of the one that has a use left.
    assert!(world.ledger.reserve_uses(&taken).is_err());
    assert_eq!(world.verdict("crm", OUTREACH, "contact").why, Why::Stop("suppression"));
    assert!(world.ledger.reserve_uses(&[relied]).is_ok());
}
