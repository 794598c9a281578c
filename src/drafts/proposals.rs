//! Which category a member's name suggests. A proposal only, shown in a comment: names lie, and the catalogue is the house's own.

use super::text::words;

/// The strictest first: `dietaryNote` is health before it is a note.
const TABLE: [(&str, &[&str]); 8] = [
    (
        "health",
        &[
            "health",
            "medical",
            "diagnosis",
            "allergy",
            "allergies",
            "diet",
            "dietary",
            "disability",
            "medication",
            "insurance number",
            "pregnant",
            "blood",
        ],
    ),
    (
        "identity",
        &[
            "name",
            "surname",
            "salutation",
            "honorific",
            "gender",
            "sex",
            "birth",
            "birthday",
            "birthdate",
            "dob",
            "nationality",
            "passport",
            "ssn",
            "age",
            "signature",
            "photo",
            "avatar",
            "tax id",
            "national id",
            "user name",
            "username",
            "firstname",
            "lastname",
            "fullname",
        ],
    ),
    (
        "contact",
        &[
            "email",
            "mail",
            "phone",
            "telephone",
            "mobile",
            "cell",
            "fax",
            "address",
            "addresses",
            "street",
            "city",
            "town",
            "zip",
            "postcode",
            "postal",
            "country",
            "region",
            "latitude",
            "longitude",
            "location",
            "twitter",
            "linkedin",
            "whatsapp",
            "locality",
            "house number",
        ],
    ),
    ("billing", &["iban", "bic", "swift", "card", "invoice", "invoices", "billing", "payment", "payments", "vat", "bank", "debt", "credit"]),
    ("opportunity", &["opportunity", "opportunities", "pipeline", "forecast", "probability", "deal", "deals", "quote", "quotes"]),
    ("order", &["order", "orders", "quantity", "price", "total", "amount", "discount", "subscription", "subscriptions", "sku", "product"]),
    (
        "behaviour",
        &[
            "score",
            "click",
            "clicks",
            "visit",
            "visits",
            "login",
            "logins",
            "session",
            "activity",
            "interest",
            "interests",
            "segment",
            "opens",
            "utm",
            "referrer",
        ],
    ),
    ("case", &["case", "cases", "ticket", "tickets", "complaint", "complaints", "subject", "message", "messages", "incident", "escalation"]),
];

/// Members in which people write what they like.
const FREE_TEXT: [&str; 10] = ["note", "notes", "comment", "comments", "description", "remark", "remarks", "memo", "text", "body"];

/// What to write beside a `?`, for the last named step of a path and the format that a document declares.
pub(super) fn proposal(names: &[&str], kind: &str) -> Option<String> {
    if kind.contains("(email)") || kind.contains("(phone)") {
        return Some("perhaps `contact`".to_owned());
    }
    // The member itself before what is around it.
    for name in names.iter().rev() {
        let words = words(name);
        let says = |needle: &&str| {
            let needle: Vec<&str> = needle.split(' ').collect();
            words.windows(needle.len()).any(|window| window.iter().map(String::as_str).eq(needle.iter().copied()))
        };
        if let Some((category, _)) = TABLE.iter().find(|(_, needles)| needles.iter().any(says)) {
            return Some(format!("perhaps `{category}`"));
        }
        if words.iter().any(|word| FREE_TEXT.contains(&word.as_str())) {
            return Some("free text may hold anything: its strictest category".to_owned());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::proposal;

    #[test]
    fn names_suggest_and_the_strictest_wins() {
        for (names, kind, expected) in [
            (&["email"][..], "string", Some("perhaps `contact`")),
            (&["login"], "string (email)", Some("perhaps `contact`")),
            (&["birthDate"], "string (date)", Some("perhaps `identity`")),
            (&["Date_Of_Birth__c"], "string", Some("perhaps `identity`")),
            (&["dietaryNote"], "string", Some("perhaps `health`")),
            (&["address", "line1"], "string", Some("perhaps `contact`")),
            (&["internalNotes"], "string", Some("free text may hold anything: its strictest category")),
            (&["id"], "string", None),
            (&["renamed"], "string", None),
            (&["enamel"], "string", None),
        ] {
            assert_eq!(proposal(names, kind).as_deref(), expected, "{names:?}");
        }
    }
}
