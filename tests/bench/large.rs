//! Policy sets of any size, with conditions and apps that look random and are the same each time, and random questions to them.
//! Used by the benchmarks and by the test that holds the tables equal to plain Cedar.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use consentry::model::{
    Action, Age, Caller, Category, Client, ClientKind, ConsentStatus, Emergency, Employee, Environment, LawfulBasis, Particulars, PartyFacts,
    Purpose, Question, Segment, Stage,
};
use consentry::policy::Policies;

/// Numbers that look random.
#[derive(Debug)]
pub(super) struct Draw(u64);

impl Draw {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % end
    }

    pub(super) fn of<T: Copy>(&mut self, from: &[T]) -> T {
        *from.get(self.below(from.len())).unwrap()
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }
}

const DEPARTMENTS: [&str; 6] = ["marketing", "sales", "service", "finance", "product", "distribution"];
const CATEGORIES: [&str; 8] = ["identity", "contact", "behaviour", "opportunity", "order", "case", "billing", "free-text"];
const PURPOSES: [&str; 8] =
    ["marketing", "marketing.email", "profiling", "sales", "sales.outreach", "service-provision", "service-provision.support", "legal-compliance"];

/// The shipped folder, with so many more apps, and with policies until there are so many; of those, one in `plain` (0: none) has
/// something in it that is left to plain Cedar.
pub(super) fn folder(to: &Path, total: usize, apps: usize, plain: usize) {
    for entry in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/policies")).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_file()) {
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
    let mut draw = Draw::new(11);
    let catalogue = to.join("catalogue.cedarentities.json");
    let mut entities: Vec<serde_json::Value> = serde_json::from_slice(&fs::read(&catalogue).unwrap()).unwrap();
    for n in 0..apps {
        let registered = [draw.of(&PURPOSES), draw.of(&PURPOSES)].map(|purpose| serde_json::json!({ "type": "Purpose", "id": purpose }));
        let parent = serde_json::json!({ "type": "Department", "id": draw.of(&DEPARTMENTS) });
        let uid = serde_json::json!({ "type": "Application", "id": format!("app-{n:03}") });
        entities.push(serde_json::json!({ "uid": uid, "attrs": { "registered_purposes": registered }, "parents": [parent] }));
    }
    fs::write(&catalogue, serde_json::to_vec(&entities).unwrap()).unwrap();
    let shipped = Policies::load(to).unwrap().policies().len();
    let mut text = String::new();
    for n in shipped..total {
        let effect = if draw.one_in(16) { "forbid" } else { "permit" };
        let principal = match draw.below(8) {
            0 => "principal".to_owned(),
            1 if apps > 0 => format!("principal == Application::\"app-{:03}\"", draw.below(apps)),
            2 => "principal is Application".to_owned(),
            _ => format!("principal in Department::\"{}\"", draw.of(&DEPARTMENTS)),
        };
        let action = draw.of(&["== Action::\"read\"", "== Action::\"export\"", "in Action::\"view\"", "in Action::\"modify\""]);
        let resource = match draw.below(6) {
            0 => "in CategoryGroup::\"shareable\"".to_owned(),
            _ => format!("== Category::\"{}\"", draw.of(&CATEGORIES)),
        };
        writeln!(text, "@id(\"made-up-{n:05}\")\n@description(\"Made up.\")\n{effect} ({principal}, action {action}, resource {resource})").unwrap();
        writeln!(text, "when {{ {} }};", condition(&mut draw, plain)).unwrap();
    }
    fs::write(to.join("90-made-up.cedar"), text).unwrap();
}

/// One to three facts.
fn condition(draw: &mut Draw, plain: usize) -> String {
    let mut parts: Vec<String> = (0..1 + draw.below(3)).map(|_| fact(draw)).collect();
    if plain > 0 && draw.one_in(plain) {
        parts.push(format!("context.now.offset(duration(\"{}h\")) > datetime(\"2026-03-01\")", 1 + draw.below(9)));
    }
    parts.join(&format!(" {} ", draw.of(&["&&", "&&", "||"])))
}

fn fact(draw: &mut Draw) -> String {
    match draw.below(13) {
        0 | 1 => format!("context.purpose in Purpose::\"{}\"", draw.of(&PURPOSES)),
        2 => format!("context.consent.status == ConsentStatus::\"{}\"", draw.of(ConsentStatus::ALL).as_str()),
        3 => format!("[Stage::\"{}\", Stage::\"customer\"].contains(context.customer.stage)", draw.of(Stage::ALL).as_str()),
        4 => format!("context.customer.segment != Segment::\"{}\"", draw.of(Segment::ALL).as_str()),
        5 => "context.customer.age == Age::\"adult\"".to_owned(),
        6 => format!("context.basis == LawfulBasis::\"{}\"", draw.of(LawfulBasis::ALL).as_str()),
        7 => "context.channel == Channel::\"email\"".to_owned(),
        8 => "context.gpc".to_owned(),
        9 => "(context has employee && context.employee.roles.contains(Role::\"key-account-care\"))".to_owned(),
        10 => format!("context.now.toTime() < duration(\"{}h\")", 1 + draw.below(23)),
        11 => "principal in resource.owner".to_owned(),
        _ => "context.customer.legal_hold == context.consent.explicit".to_owned(),
    }
}

/// What questions can be about.
#[derive(Debug)]
pub(super) struct Asker {
    callers: Vec<(Caller, Vec<Purpose>)>,
    categories: Vec<Category>,
    purposes: Vec<Purpose>,
    emergency: Emergency,
}

impl Asker {
    pub(super) fn new(policies: &Policies) -> Self {
        let vocabulary = policies.vocabulary();
        let of = |(client, kind, department): (&Client, ClientKind, _)| Caller { client: *client, kind, department, employee: None };
        let within = |registered: &[Purpose]| {
            let purposes = vocabulary.purposes.keys().filter(|purpose| registered.iter().any(|above| vocabulary.is_within(**purpose, *above)));
            purposes.copied().collect()
        };
        let clients = vocabulary.clients.iter();
        Self {
            callers: clients.map(|(client, info)| (of((client, info.kind, info.department)), within(&info.registered))).collect(),
            categories: vocabulary.categories.keys().copied().collect(),
            purposes: vocabulary.purposes.keys().copied().collect(),
            emergency: Emergency { ticket: "INC-1".to_owned(), justification: "made up".to_owned() },
        }
    }

    /// A question of anybody about anything; three in four with a purpose of the app's.
    pub(super) fn ask<T>(&self, draw: &mut Draw, policies: &Policies, answer: impl FnOnce(&Question<'_>) -> T) -> T {
        let (caller, registered) = self.callers.get(draw.below(self.callers.len())).unwrap();
        let roles = policies.vocabulary().roles.iter().copied().filter(|_| draw.one_in(3)).collect();
        let employee = Some(Employee { pseudonym: String::new(), roles }).filter(|_| draw.one_in(2));
        let caller = Caller { employee, ..caller.clone() };
        let purpose = if registered.is_empty() || draw.one_in(4) { draw.of(&self.purposes) } else { draw.of(registered) };
        let action = draw.of(Action::ALL);
        let hours = i64::try_from(draw.below(24 * 400)).unwrap();
        let agent = caller.kind == ClientKind::Agent;
        let tasks: Vec<_> = policies.vocabulary().tasks.keys().filter(|task| policies.vocabulary().may_do(caller.client, **task)).collect();
        answer(&Question {
            caller: &caller,
            action,
            category: draw.of(&self.categories),
            purpose,
            basis: draw.of(LawfulBasis::ALL),
            status: draw.of(ConsentStatus::ALL),
            explicit: draw.one_in(2),
            party: PartyFacts { stage: draw.of(Stage::ALL), segment: draw.of(Segment::ALL), age: draw.of(Age::ALL), legal_hold: draw.one_in(2) },
            channel: policies.vocabulary().channel(purpose),
            environment: draw.of(Environment::ALL),
            gpc: draw.one_in(2),
            records: (action == Action::Export).then(|| draw.of(&[0, 999, 1_000, 1_001, 10_000, 10_001])),
            now: jiff::Timestamp::from_second(1_760_000_000 + hours * 3_600 + 17).unwrap(),
            particulars: Particulars {
                task: tasks.get(draw.below(tasks.len() + 1)).map(|task| **task),
                for_customer: draw.of(&[None, Some(true), Some(false)]).filter(|_| agent),
                customers: draw.of(&[None, Some(1), Some(50), Some(51)]),
                emergency: Some(&self.emergency).filter(|_| draw.one_in(100)),
            },
        })
    }
}
