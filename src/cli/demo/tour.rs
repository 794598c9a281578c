//! The tour: what each step asks and, written by hand, what must come of it. Nothing here is computed from the gateway's
//! own answers; `judge` compares.

use http::Method;

/// One step.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) caller: &'static str,
    /// The cell of the table.
    pub(super) request: &'static str,
    pub(super) purpose: &'static str,
    pub(super) act: Act,
    /// The status that must come: of HTTP, or the outcome of `explain` and `verify`.
    pub(super) status: &'static str,
    pub(super) released: Released,
    pub(super) why: Why,
    /// Requests that the three sample APIs together must have seen for this step.
    pub(super) forwarded: usize,
}

/// What is done.
#[derive(Debug)]
pub(super) enum Act {
    /// A request of an app on the data plane.
    Ask {
        method: Method,
        target: &'static str,
        body: &'static str,
    },
    /// The caller records what a customer said, so many minutes ago; without a purpose it is meant for all.
    Record {
        party: &'static str,
        state: &'static str,
        minutes_ago: i64,
    },
    /// What the consent desk does on the admin listener.
    Desk {
        target: &'static str,
        body: &'static str,
    },
    /// `explain` of the decision of an earlier step.
    Explain {
        step: usize,
    },
    Verify,
}

/// What the body may hold.
#[derive(Clone, Copy, Debug)]
pub(super) enum Released {
    /// No customer data.
    Nothing,
    /// One object: these paths of all of the shape's are missing or null, the others are there.
    All { of: &'static [&'static str], but: &'static [&'static str] },
    /// Rows under `at`, with a total of the same number.
    Rows { at: &'static str, rows: usize },
}

/// What the log (and for a problem its body) must say.
#[derive(Clone, Copy, Debug)]
pub(super) enum Why {
    /// This policy is among those that decided.
    Policy(&'static str),
    /// So many rows were dropped, for this policy.
    Dropped(u64, &'static str),
    /// `not-entitled`, naming this category.
    NotEntitled(&'static str),
    /// `denied`, since the customer's consent was this.
    Consent(&'static str),
    /// `denied`, the id being in no crosswalk; the same bytes as in this step but for the decision.
    UnknownAsStep(usize),
    /// `field-not-permitted`, naming this path, for this policy.
    Field(&'static str, &'static str),
    /// A problem with this code.
    Code(&'static str),
    /// The recorded event with its revision.
    Revision,
    /// The same, with the time until it was in force.
    InForce,
    /// The two customers who were made one differ about so many purposes.
    Differ(usize),
    /// So many disclosures across the link that was wrong are listed.
    Disclosed(usize),
    /// `explain` names this policy.
    Explained(&'static str),
    /// The number of entries and the root.
    Root,
}

/// Leaf paths of a customer of the CRM, as in `apis/crm.toml`.
const CUSTOMER: &[&str] = &[
    "id",
    "updatedAt",
    "name.given",
    "name.family",
    "birthDate",
    "taxId",
    "contact.email",
    "contact.phone",
    "contact.address.**",
    "leadScore",
    "lastVisit",
    "dietaryNote",
];

/// Leaf paths of a quote, as in `apis/sales.toml`.
const QUOTE: &[&str] =
    &["id", "customer.number", "lines[].sku", "lines[].quantity", "lines[].price", "total", "salesNotes", "customer.name", "customer.email"];

/// Texts of the sample data that no step may ever show: health notes and what the broken ticket says.
pub(super) const NEVER: &[&str] = &["coeliac", "allergy", "vegetarian", "Refund", "unfiltered", "c0ffee"];

/// Who was recorded as saying what before the tour begins: (CRM id, purpose, state). 0044 said nothing about outreach.
pub(super) const BEFORE: &[(&str, &str, &str)] = &[
    ("0012", OUTREACH, "given"),
    ("0012", MAIL, "given"),
    ("0031", MAIL, "given"),
    ("0044", MAIL, "given"),
    ("0058", MAIL, "refused"),
    ("0070", MAIL, "given"),
];

/// What a grant covers, as the form said it: purpose, channel, categories, recipient.
pub(super) const FORMS: &[(&str, &str, &[&str], &str)] = &[
    (OUTREACH, "system", &["identity", "contact", "behaviour", "opportunity", "order"], "sales"),
    (MAIL, "email", &["identity", "contact", "behaviour"], "marketing"),
];

const SUPPORT: &str = "service-provision.support";
const OUTREACH: &str = "sales.outreach";
const MAIL: &str = "marketing.email";

const fn get(target: &'static str) -> Act {
    Act::Ask { method: Method::GET, target, body: "" }
}

/// The steps, numbered from 1.
pub(super) const STEPS: &[Step] = &[
    Step {
        caller: "crm",
        request: "GET /sales/quotes/Q-77",
        purpose: OUTREACH,
        act: get("/sales/quotes/Q-77"),
        status: "200",
        released: Released::All { of: QUOTE, but: &[] },
        why: Why::Policy("owner-access"),
        forwarded: 1,
    },
    Step {
        caller: "helpdesk",
        request: "GET /crm/customers/0031",
        purpose: SUPPORT,
        act: get("/crm/customers/0031"),
        status: "200",
        released: Released::All { of: CUSTOMER, but: &["leadScore", "lastVisit", "dietaryNote"] },
        why: Why::Policy("share-for-contract"),
        forwarded: 1,
    },
    Step {
        caller: "campaign-manager",
        request: "GET /crm/customers?limit=5",
        purpose: MAIL,
        act: get("/crm/customers?limit=5"),
        status: "200",
        released: Released::Rows { at: "customers", rows: 4 },
        why: Why::Dropped(1, "marketing-refused"),
        forwarded: 1,
    },
    Step {
        caller: "campaign-manager",
        request: "GET /sales/invoices/R-8",
        purpose: MAIL,
        act: get("/sales/invoices/R-8"),
        status: "403",
        released: Released::Nothing,
        why: Why::NotEntitled("billing"),
        forwarded: 0,
    },
    Step {
        caller: "crm",
        request: "GET /crm/customers/0044",
        purpose: OUTREACH,
        act: get("/crm/customers/0044"),
        status: "403",
        released: Released::Nothing,
        why: Why::Consent("unknown"),
        forwarded: 0,
    },
    Step {
        caller: "preference-centre",
        request: "consent given, 0044",
        purpose: OUTREACH,
        act: Act::Record { party: "crm:0044", state: "given", minutes_ago: 0 },
        status: "201",
        released: Released::Nothing,
        why: Why::Revision,
        forwarded: 0,
    },
    Step {
        caller: "crm",
        request: "GET /crm/customers/0044",
        purpose: OUTREACH,
        act: get("/crm/customers/0044"),
        status: "200",
        released: Released::All { of: CUSTOMER, but: &["dietaryNote"] },
        why: Why::Policy("share-with-consent"),
        forwarded: 1,
    },
    Step {
        caller: "preference-centre",
        request: "consent withdrawn, 0044",
        purpose: OUTREACH,
        act: Act::Record { party: "crm:0044", state: "withdrawn", minutes_ago: 0 },
        status: "201",
        released: Released::Nothing,
        why: Why::InForce,
        forwarded: 0,
    },
    Step {
        caller: "crm",
        request: "GET /crm/customers/0044",
        purpose: OUTREACH,
        act: get("/crm/customers/0044"),
        status: "403",
        released: Released::Nothing,
        why: Why::Consent("withdrawn"),
        forwarded: 0,
    },
    Step {
        caller: "helpdesk",
        request: "GET /crm/customers/0031",
        purpose: MAIL,
        act: get("/crm/customers/0031"),
        status: "403",
        released: Released::Nothing,
        why: Why::Code("purpose-not-registered"),
        forwarded: 0,
    },
    Step {
        caller: "sales-copilot",
        request: "GET /crm/export",
        purpose: OUTREACH,
        act: get("/crm/export"),
        status: "403",
        released: Released::Nothing,
        why: Why::Policy("agent-no-export"),
        forwarded: 0,
    },
    Step {
        caller: "helpdesk",
        request: "PATCH /crm/customers/0031",
        purpose: SUPPORT,
        act: Act::Ask { method: Method::PATCH, target: "/crm/customers/0031", body: r#"{"contact":{"phone":"+49 151 0000131"},"leadScore":70}"# },
        status: "403",
        released: Released::Nothing,
        why: Why::Field("leadScore", "write-only-by-owner"),
        forwarded: 0,
    },
    Step {
        caller: "crm",
        request: "GET /crm/customers/9999",
        purpose: OUTREACH,
        act: get("/crm/customers/9999"),
        status: "403",
        released: Released::Nothing,
        why: Why::UnknownAsStep(5),
        forwarded: 0,
    },
    Step {
        caller: "helpdesk",
        request: "GET /desk/tickets/T-13",
        purpose: SUPPORT,
        act: get("/desk/tickets/T-13"),
        status: "502",
        released: Released::Nothing,
        why: Why::Code("upstream-unreadable"),
        forwarded: 1,
    },
    // One person under three ids: 0012 in the CRM, 7712 on quote Q-77, an e-mail address at the service desk.
    Step {
        caller: "helpdesk",
        request: "all refused, by telephone",
        purpose: "",
        act: Act::Record { party: "email:jonas.lindqvist@example.net", state: "refused", minutes_ago: 120 },
        status: "201",
        released: Released::Nothing,
        why: Why::Revision,
        forwarded: 0,
    },
    Step {
        caller: "consent-desk",
        request: "merge 0012 and the caller",
        purpose: "",
        act: Act::Desk {
            target: "/v1/parties/crm:0012:merge",
            body: r#"{"from":"email:jonas.lindqvist@example.net","reason":"the same person, by the number of the quote"}"#,
        },
        status: "200",
        released: Released::Nothing,
        why: Why::Differ(2),
        forwarded: 0,
    },
    Step {
        caller: "campaign-manager",
        request: "GET /crm/customers/0012",
        purpose: MAIL,
        act: get("/crm/customers/0012"),
        status: "403",
        released: Released::Nothing,
        why: Why::Consent("refused"),
        forwarded: 0,
    },
    Step {
        caller: "crm",
        request: "GET /sales/quotes/Q-77",
        purpose: OUTREACH,
        act: get("/sales/quotes/Q-77"),
        status: "403",
        released: Released::Nothing,
        why: Why::Consent("refused"),
        forwarded: 1,
    },
    Step {
        caller: "preference-centre",
        request: "consent given, 0012",
        purpose: MAIL,
        act: Act::Record { party: "crm:0012", state: "given", minutes_ago: 0 },
        status: "201",
        released: Released::Nothing,
        why: Why::Revision,
        forwarded: 0,
    },
    Step {
        caller: "campaign-manager",
        request: "GET /crm/customers/0012",
        purpose: MAIL,
        act: get("/crm/customers/0012"),
        status: "200",
        released: Released::All { of: CUSTOMER, but: &["dietaryNote"] },
        why: Why::Policy("share-with-consent"),
        forwarded: 1,
    },
    Step {
        caller: "crm",
        request: "GET /sales/quotes/Q-77",
        purpose: OUTREACH,
        act: get("/sales/quotes/Q-77"),
        status: "403",
        released: Released::Nothing,
        why: Why::Consent("refused"),
        forwarded: 1,
    },
    Step {
        caller: "consent-desk",
        request: "split them again",
        purpose: "",
        act: Act::Desk {
            target: "/v1/parties/crm:0012:split",
            body: r#"{"merged":"email:jonas.lindqvist@example.net","reason":"father and son share the address"}"#,
        },
        status: "200",
        released: Released::Nothing,
        why: Why::Disclosed(1),
        forwarded: 0,
    },
    Step {
        caller: "crm",
        request: "GET /sales/quotes/Q-77",
        purpose: OUTREACH,
        act: get("/sales/quotes/Q-77"),
        status: "200",
        released: Released::All { of: QUOTE, but: &[] },
        why: Why::Policy("owner-access"),
        forwarded: 1,
    },
    Step {
        caller: "you",
        request: "explain --decision",
        purpose: "",
        act: Act::Explain { step: 9 },
        status: "deny",
        released: Released::Nothing,
        why: Why::Explained("consent-basis-needs-consent"),
        forwarded: 0,
    },
    Step {
        caller: "you",
        request: "audit verify",
        purpose: "",
        act: Act::Verify,
        status: "ok",
        released: Released::Nothing,
        why: Why::Root,
        forwarded: 0,
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::PathPattern;

    /// `open` and field paths of a shape, sorted.
    fn declared(file: &str, shape: &str) -> Vec<String> {
        let file: toml::Table = file.parse().unwrap();
        let shape = &file["shape"][shape];
        let open = shape["open"].as_array().unwrap().iter().map(|path| path.as_str().unwrap().to_owned());
        let mut paths: Vec<String> = open.chain(shape["fields"].as_table().unwrap().keys().cloned()).collect();
        paths.sort();
        paths
    }

    fn sorted(paths: &[&str]) -> Vec<String> {
        let mut paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
        paths.sort();
        paths
    }

    #[test]
    fn the_paths_counted_are_those_of_the_shapes() {
        assert_eq!(sorted(CUSTOMER), declared(include_str!("files/apis/crm.toml"), "customer"));
        assert_eq!(sorted(QUOTE), declared(include_str!("files/apis/sales.toml"), "quote"));
        assert_eq!((CUSTOMER.len(), QUOTE.len()), (12, 9));
        assert!(CUSTOMER.iter().chain(QUOTE).all(|path| PathPattern::parse(path).is_ok()));
    }

    #[test]
    fn every_step_fits_its_cells_and_refers_back_only() {
        assert_eq!(STEPS.len(), 25);
        for (n, step) in STEPS.iter().enumerate() {
            assert!(step.request.chars().count() <= 27 && step.caller.chars().count() <= 17, "{step:?}");
            let explained = if let Act::Explain { step } = step.act { Some(step) } else { None };
            let twin = if let Why::UnknownAsStep(step) = step.why { Some(step) } else { None };
            assert!(explained.or(twin).is_none_or(|back| (1..=n).contains(&back)), "{step:?}");
        }
    }

    #[test]
    fn refusals_before_the_upstream_reach_nothing() {
        for step in STEPS.iter().filter(|step| step.status == "403") {
            // Whose a quote is stands in the quote.
            let reads_first = step.request.ends_with("/quotes/Q-77");
            assert_eq!(step.forwarded, usize::from(reads_first), "{step:?}");
        }
    }
}
