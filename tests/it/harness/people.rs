//! Made-up customers as the house's CRM answers them, with spelling that a cutter that re-serialises would lose.

/// Everything that the CRM knows of somebody.
pub(crate) fn customer(id: &str, given: &str, family: &str, email: &str) -> String {
    format!(
        "{{\"id\":\"{id}\", \"updatedAt\":\"2026-07-01\",\"name\":{{\"given\":\"{given}\",\"family\":\"{family}\"}},\"birthDate\":\"1981-04-12\",\
         \"taxId\":\"DE123456789\",\"email\":\"{email}\",\"phone\":\"+49 170 1234567\",\"address\":{{\"city\":\"Ulm\",\"zip\":\"89073\"}},\
         \"leadScore\":71.50,\"lastVisit\":\"2026-06-30\",\"dietaryNote\":\"vegan\",\"internalFlag\":true}}"
    )
}

/// Ada Brandt, a customer.
pub(crate) fn ada() -> String {
    customer("0031", "Ada", "Brandt", "ada.brandt@example.net")
}

/// Mina Okafor, a lead.
pub(crate) fn mina() -> String {
    customer("0044", "Mina", "Okafor", "mina.okafor@example.net")
}

/// Pavel Horák, a customer.
pub(crate) fn pavel() -> String {
    customer("0058", "Pavel", "Hor\\u00e1k", "pavel.horak@example.net")
}

/// What sales gets of somebody who agreed to outreach; of leads also `behaviour`.
pub(crate) fn for_outreach(id: &str, given: &str, family: &str, email: &str, behaviour: bool) -> String {
    let (score, visit) = if behaviour { ("71.50", ",\"lastVisit\":\"2026-06-30\"") } else { ("null", "") };
    format!(
        "{{\"id\":\"{id}\",\"updatedAt\":\"2026-07-01\",\"name\":{{\"given\":\"{given}\",\"family\":\"{family}\"}},\"birthDate\":\"1981-04-12\",\
         \"taxId\":\"DE123456789\",\"email\":\"{email}\",\"phone\":\"+49 170 1234567\",\"address\":{{\"city\":\"Ulm\",\"zip\":\"89073\"}},\
         \"leadScore\":{score}{visit}}}"
    )
}

pub(crate) fn ada_for_outreach() -> String {
    for_outreach("0031", "Ada", "Brandt", "ada.brandt@example.net", false)
}

pub(crate) fn mina_for_outreach() -> String {
    for_outreach("0044", "Mina", "Okafor", "mina.okafor@example.net", true)
}

pub(crate) fn pavel_for_outreach() -> String {
    for_outreach("0058", "Pavel", "Hor\\u00e1k", "pavel.horak@example.net", false)
}

/// A card: identity and contact alone.
pub(crate) fn card(id: &str, email: &str) -> String {
    format!("{{\"id\":\"{id}\",\"name\":\"A \\u00c4\",\"email\":\"{email}\",\"phone\":\"+49 170 1234567\"}}")
}

/// The same as it comes through whole: byte for byte.
pub(crate) fn card_whole(id: &str, email: &str) -> String {
    card(id, email)
}
