//! Reports about one customer: access (GDPR Art. 15), in plain words, in English or Danish, and recipients (Art. 19).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::Asked;
use super::report::{Report, Table};
use super::tally::{counted, time};
use crate::audit::{Found, Index, Query};
use crate::consent::{AsOf, PartyRef, PartyView};
use crate::console::consents;
use crate::console::decisions::unreadable;
use crate::console::dispatch::Call;
use crate::console::page::Language;
use crate::console::problem::Problem;
use crate::console::recipients::disclosed;
use crate::console::record::consent_problem;

/// To whom data of the customer went.
pub(super) fn recipients(index: &Index, asked: &Asked, view: &PartyView) -> Result<Report, Problem> {
    let found = disclosed(index, &view.numbers, asked.window.since, asked.window.until).map_err(|error| unreadable(&error))?;
    let rows: Vec<Vec<Value>> = found
        .iter()
        .map(|row| {
            let activities: Vec<String> = row.activities.iter().map(|(id, version)| format!("{id} v{version}")).collect();
            vec![
                json!(row.department),
                json!(row.app),
                json!(row.categories.keys().collect::<Vec<_>>()),
                json!(activities),
                json!(row.total.decisions),
                json!(time(row.total.first.as_microsecond())),
                json!(time(row.total.last.as_microsecond())),
            ]
        })
        .collect();
    let lead = format!("Data of this customer went to {}.", counted(rows.len() as u64, "app"));
    let columns = [
        ("department", "Department"),
        ("app", "App"),
        ("categories", "Categories"),
        ("activities", "Activities"),
        ("decisions", "Times"),
        ("first", "First"),
        ("last", "Last"),
    ];
    Ok(asked
        .report("recipients", "Who received data of a customer", lead)
        .fact("Customer", view.id.to_string())
        .table(Table::new("recipients", "Recipients", &columns, rows))
        .note("Whoever received data must be told of its rectification, erasure or restriction (GDPR Art. 19)."))
}

/// English and Danish.
type Text = [&'static str; 2];

/// What a customer is told who asks what is known and who used it.
pub(super) fn subject_access(call: &Call, index: &Index, asked: &Asked, view: &PartyView, language: Language) -> Result<Report, Problem> {
    let say = |texts: Text| language.say(texts);
    let instance = &call.state.instance;
    let page = instance.public_page();
    let purpose = |key: &str| {
        let words = page.as_ref().and_then(|page| page.words.iter().find(|(purpose, _)| purpose.as_str() == key)).map(|(_, words)| words);
        words.map_or_else(|| key.to_owned(), |words| if language == Language::Danish { words.da.clone() } else { words.en.clone() })
    };
    let query = Query { customers: view.numbers.clone(), since: asked.window.since, until: asked.window.until, ..Query::default() };
    let answer = index.search(&query).map_err(|error| unreadable(&error))?;
    let used: Vec<&Found> = answer.decisions.iter().filter(|found| !found.disclosed.is_empty()).collect();
    let refused = answer.decisions.len() - used.len();
    let departments: BTreeSet<&str> = used.iter().map(|found| found.department.as_str()).collect();
    let lead = match language {
        Language::English => {
            format!("Your data was used {} by {}.", counted(used.len() as u64, "time"), counted(departments.len() as u64, "department"))
        }
        Language::Danish => format!("Dine data er brugt {} af {}.", gange(used.len()), afdelinger(departments.len())),
    };
    let reference = PartyRef::Party(view.id.clone());
    let effective =
        call.state.ledger.effective(&reference, crate::consent::Asked::default(), AsOf::default()).map_err(|error| consent_problem(&error))?;
    // What one answer covers stands in one row: purpose, status and event; categories and departments.
    type Answer = (String, String, Option<String>);
    let mut answers: BTreeMap<Answer, (BTreeSet<&str>, BTreeSet<&str>)> = BTreeMap::new();
    for row in &effective.rows {
        let status = status_word(row.stop.unwrap_or(row.consent.status.as_str()), language);
        let event = row.consent.event.map(|event| event.to_string());
        let (categories, departments) = answers.entry((purpose(row.purpose.as_str()), status, event)).or_default();
        categories.insert(row.category.as_str());
        departments.insert(row.recipient.as_str());
    }
    let allowed: Vec<Vec<Value>> = answers
        .into_iter()
        .map(|((purpose, status, event), (categories, departments))| {
            vec![json!(purpose), json!(status), json!(categories), json!(departments), json!(event)]
        })
        .collect();
    let known: Vec<Vec<Value>> = view
        .links
        .iter()
        .map(|link| {
            vec![
                json!(link.identifier.space.as_str()),
                json!(consents::shown(&link.identifier, call.sees_identifiers())),
                json!(day(link.valid_from.as_microsecond())),
            ]
        })
        .collect();
    let facts: Vec<Vec<Value>> = view
        .facts
        .iter()
        .map(|fact| vec![json!(fact.value.name().as_str()), json!(fact.value.text()), json!(fact.source), json!(day(fact.time.as_microsecond()))])
        .collect();
    let recipients = disclosed(index, &view.numbers, asked.window.since, asked.window.until).map_err(|error| unreadable(&error))?;
    let activities = instance.activities();
    let who: Vec<Vec<Value>> = recipients
        .iter()
        .map(|row| {
            let declared = activities.iter().filter(|activity| row.activities.iter().any(|(id, _)| id == activity.id.as_str()));
            let (mut purposes, mut kept, mut beyond) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
            for activity in declared {
                purposes.extend(activity.purposes.iter().map(|key| purpose(key.as_str())));
                kept.insert(activity.retention.clone());
                beyond.extend(activity.recipients.iter().cloned());
            }
            vec![
                json!(row.department),
                json!(purposes),
                json!(row.categories.keys().collect::<Vec<_>>()),
                json!(beyond),
                json!(kept),
                json!(row.total.decisions),
                json!(day(row.total.last.as_microsecond())),
            ]
        })
        .collect();
    let uses: Vec<Vec<Value>> = used
        .iter()
        .map(|found| {
            let bases: BTreeSet<&str> =
                found.relied.iter().filter(|relied| relied.release != "withheld").map(|relied| basis_word(&relied.basis, language)).collect();
            vec![
                json!(time(found.at.as_microsecond())),
                json!(found.department),
                json!(found.purpose.as_deref().map(purpose)),
                json!(found.disclosed),
                json!(bases),
                json!(found.decision),
            ]
        })
        .collect();
    let mut report = asked
        .report_in(language, "subject-access", say(["Your data, and who used it", "Dine data, og hvem der har brugt dem"]), lead)
        .fact(say(["Your reference", "Din reference"]), view.id.to_string());
    if let Some(controller) = instance.controller() {
        report = report.fact(say(["Responsible", "Ansvarlig"]), controller.name);
        if let Some(contact) = controller.contact {
            report = report.fact(say(["Contact", "Kontakt"]), contact);
        }
    }
    let table = |key, title: Text, columns: &[(&'static str, Text)], rows| {
        let columns: Vec<(&'static str, &str)> = columns.iter().map(|&(key, label)| (key, say(label))).collect();
        Table::new(key, say(title), &columns, rows)
    };
    const DEPARTMENT: (&str, Text) = ("department", ["Department", "Afdeling"]);
    const CATEGORIES: (&str, Text) = ("categories", ["Kinds of data", "Slags data"]);
    let report = report
        .table(table(
            "uses",
            ["Each time your data was used", "Hver gang dine data blev brugt"],
            &[
                ("time", ["Time (UTC)", "Tidspunkt (UTC)"]),
                DEPARTMENT,
                ("purpose", ["What for", "Formål"]),
                CATEGORIES,
                ("basis", ["By what right", "Retsgrundlag"]),
                ("decision", ["Record", "Registrering"]),
            ],
            uses,
        ))
        .table(table(
            "recipients",
            ["Who used your data", "Hvem der har brugt dine data"],
            &[
                DEPARTMENT,
                ("purposes", ["What for", "Formål"]),
                CATEGORIES,
                ("beyond", ["May pass it on to", "Kan give dem videre til"]),
                ("kept", ["Keeps it for", "Gemmer dem i"]),
                ("times", ["Times", "Gange"]),
                ("last", ["Last", "Senest"]),
            ],
            who,
        ))
        .table(table(
            "allowed",
            ["What you have answered", "Hvad du har svaret"],
            &[
                ("purpose", ["What for", "Formål"]),
                ("status", ["Your answer", "Dit svar"]),
                CATEGORIES,
                ("departments", ["Departments", "Afdelinger"]),
                ("event", ["Record", "Registrering"]),
            ],
            allowed,
        ))
        .table(table(
            "known",
            ["Where you are known", "Hvor du er kendt"],
            &[("system", ["System", "System"]), ("identifier", ["As", "Som"]), ("since", ["Since", "Siden"])],
            known,
        ))
        .table(table(
            "facts",
            ["What is noted about you here", "Hvad der er noteret om dig her"],
            &[("fact", ["What", "Hvad"]), ("value", ["Is", "Er"]), ("source", ["Said by", "Oplyst af"]), ("since", ["Since", "Siden"])],
            facts,
        ));
    Ok(NOTES.iter().fold(report, |report, note| report.note(say(*note))).note(match language {
        Language::English => format!("{} for your data were refused; nothing was given out then.", counted(refused as u64, "request")),
        Language::Danish => format!("{refused} forespørgsler om dine data blev afvist; da blev intet udleveret."),
    }))
}

const NOTES: &[Text] = &[
    [
        "You may ask to have your data corrected, erased or restricted, object to its use, take it with you, and withdraw a consent at any time.",
        "Du kan bede om at få dine data rettet, slettet eller begrænset, gøre indsigelse mod brugen, få dem med dig og når som helst trække et samtykke tilbage.",
    ],
    [
        "You may complain to the data protection authority where you live or work; in Denmark that is Datatilsynet, datatilsynet.dk.",
        "Du kan klage til Datatilsynet, datatilsynet.dk.",
    ],
    [
        "Departments and systems are named, and not the employees who worked with them (Court of Justice of the EU, C-579/21).",
        "Afdelinger og systemer er nævnt, men ikke de medarbejdere, der har arbejdet med dem (EU-Domstolen, C-579/21).",
    ],
    [
        "Each record stands in a log that cannot be changed afterwards without its being noticed; on request you are given the proof of it.",
        "Hver registrering står i en log, som ikke kan ændres senere, uden at det opdages; du kan få beviset for det, hvis du beder om det.",
    ],
    [
        "This says what passed through the gateway in front of the departments' systems. The data itself is in those systems, and is given to you by them.",
        "Her står, hvad der er gået gennem porten foran afdelingernes systemer. Selve dataene ligger i de systemer og udleveres derfra.",
    ],
];

fn status_word(status: &str, language: Language) -> String {
    let words: Text = match status {
        "given" => ["allowed", "givet lov"],
        "withdrawn" => ["withdrawn", "trukket tilbage"],
        "refused" => ["refused", "afvist"],
        "expired" => ["expired", "udløbet"],
        "pending" => ["waiting for your confirmation", "venter på din bekræftelse"],
        "unknown" => ["not asked", "ikke spurgt"],
        "objection" => ["you object", "du har gjort indsigelse"],
        "restriction" => ["use is restricted", "brugen er begrænset"],
        other => return other.to_owned(),
    };
    language.say(words).to_owned()
}

fn basis_word(basis: &str, language: Language) -> &str {
    let words: Text = match basis {
        "consent" => ["your consent", "dit samtykke"],
        "contract" => ["a contract with you", "en aftale med dig"],
        "legal-obligation" => ["a duty by law", "en pligt efter loven"],
        "vital-interest" => ["vital interests", "vitale interesser"],
        "public-task" => ["a public task", "en offentlig opgave"],
        "legitimate-interest" => ["a legitimate interest", "en legitim interesse"],
        _ => return basis,
    };
    language.say(words)
}

fn day(at: i64) -> String {
    time(at).chars().take(10).collect()
}

fn gange(count: usize) -> String {
    if count == 1 { "1 gang".to_owned() } else { format!("{count} gange") }
}

fn afdelinger(count: usize) -> String {
    if count == 1 { "1 afdeling".to_owned() } else { format!("{count} afdelinger") }
}
