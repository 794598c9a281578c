//! Whom the canaries are of, and what may be told of them to whom: by hand, from what the policies are meant to say.

/// The customers. `Unknown` is nobody's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Person {
    /// A customer who agreed to mailings and to be called.
    Given,
    /// A customer who agreed to both as far as the name goes.
    Partly,
    /// A lead who agreed to both, and that service may look at orders.
    Lead,
    /// Customers who agreed to nothing: they refused, withdrew, were never asked.
    Refused,
    Withdrawn,
    Silent,
    /// A customer who agreed to both and whose record was then restricted.
    Restricted,
    /// One who agreed to both, and is for named employees only.
    Vip,
    Unknown,
}

pub(super) const PEOPLE: [Person; 9] = [
    Person::Given,
    Person::Partly,
    Person::Lead,
    Person::Refused,
    Person::Withdrawn,
    Person::Silent,
    Person::Restricted,
    Person::Vip,
    Person::Unknown,
];

/// Apps and agents of the catalogue; a test holds the list against it.
pub(super) const CALLERS: [&str; 7] = ["campaign-manager", "crm", "helpdesk", "ledger", "mdm-hub", "preference-centre", "sales-copilot"];

/// For what each is registered, and what is below it. Others are refused as a whole.
pub(super) const REGISTERED: [(&str, &[&str]); 7] = [
    ("campaign-manager", &["marketing", "marketing.email", "marketing.phone", "marketing.personalised"]),
    ("crm", &["sales", "sales.outreach", "service-provision", "service-provision.support"]),
    ("helpdesk", &["service-provision", "service-provision.support"]),
    ("ledger", &["legal-compliance"]),
    ("mdm-hub", &["data-coordination"]),
    ("preference-centre", &[]),
    ("sales-copilot", &["sales", "sales.outreach"]),
];

/// Categories that a caller may be told of somebody for a purpose.
pub(super) fn permitted(caller: &str, purpose: &str, person: Person) -> &'static [&'static str] {
    let agreed = matches!(person, Person::Given | Person::Lead);
    let has_contract = matches!(person, Person::Given | Person::Partly | Person::Refused | Person::Withdrawn | Person::Silent);
    let is_lead = person == Person::Lead;
    match (caller, purpose) {
        ("campaign-manager", "marketing.email") if agreed => &["identity", "contact", "behaviour"],
        ("campaign-manager", "marketing.email") | ("crm", "sales.outreach") if person == Person::Partly => &["identity"],
        ("crm", "sales.outreach") if is_lead => &["identity", "contact", "behaviour", "opportunity", "order"],
        ("crm", "sales.outreach") if agreed => &["identity", "contact", "opportunity", "order"],
        ("crm", "service-provision") if has_contract => &["identity", "contact", "opportunity", "order"],
        ("crm", "service-provision") if is_lead => &["opportunity", "order"],
        ("helpdesk", "service-provision.support") if has_contract => &["identity", "contact", "order", "case", "billing", "free-text"],
        ("helpdesk", "service-provision.support") if is_lead => &["order", "case", "free-text"],
        ("ledger", "legal-compliance") if agreed || has_contract || person == Person::Restricted => &["identity", "contact", "order", "billing"],
        ("mdm-hub", "data-coordination") if !matches!(person, Person::Restricted | Person::Vip) => {
            &["identity", "contact", "behaviour", "opportunity", "order", "case", "billing"]
        }
        // Without a human nothing confidential.
        ("sales-copilot", "sales.outreach") if is_lead => &["contact", "behaviour", "opportunity", "order"],
        ("sales-copilot", "sales.outreach") if agreed => &["contact", "opportunity", "order"],
        _ => &[],
    }
}

/// Whether a caller may write down how to reach somebody: owner and contributors for what they may do at all, and the steward.
pub(super) fn may_write_contact(caller: &str, purpose: &str, person: Person) -> bool {
    let agreed = matches!(person, Person::Given | Person::Lead | Person::Vip);
    let is_known = !matches!(person, Person::Unknown | Person::Restricted);
    match (caller, purpose) {
        ("campaign-manager", "marketing.email") | ("crm", "sales.outreach") => agreed,
        ("crm", "service-provision") | ("helpdesk", "service-provision.support") => is_known,
        ("mdm-hub", "data-coordination") => person != Person::Restricted,
        _ => false,
    }
}
