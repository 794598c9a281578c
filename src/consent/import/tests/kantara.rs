//! Consent receipts of the Kantara Initiative.

use super::*;

/// As the specification's own example writes one, with our ids.
const RECEIPT: &str = r#"{
  "version": "KI-CR-v1.1.0",
  "jurisdiction": "DE",
  "consentTimestamp": 1769904000,
  "collectionMethod": "Web Subscription Form",
  "consentReceiptID": "c1befd3e-b7e5-4ea6-8688-e9a565aade21",
  "publicKey": "04:a3:1d",
  "language": "en",
  "piiPrincipalId": "1",
  "piiControllers": [
    {"piiController": "Times", "contact": "W. Word", "address": {"streetAddress": "Gleam Street", "addressCountry": "DE"},
     "email": "w@times.example", "phone": "555", "onBehalf": false, "piiControllerUrl": "https://times.example"}
  ],
  "policyUrl": "https://times.example/privacy",
  "services": [
    {"service": "News", "purposes": [
      {"purpose": "To market services", "purposeCategory": ["6 - Marketing"], "consentType": "EXPLICIT", "piiCategory": ["2 - Contact"],
       "primaryPurpose": false, "termination": "Subscription end date + 1 year", "thirdPartyDisclosure": false},
      {"purpose": "To sell", "purposeCategory": ["7 - Sales", "8 - Offers"], "consentType": "EXPLICIT", "piiCategory": ["2 - Contact", "order"],
       "primaryPurpose": true, "termination": "2031-01-01T00:00:00Z", "thirdPartyDisclosure": true, "thirdPartyName": "Ad Agency"}
    ]}
  ],
  "sensitive": true,
  "spiCat": ["2 - Contact"]
}"#;

fn mapped() -> ImportOptions {
    let maps = [
        ("purpose:To market services", "marketing.email"),
        ("purpose:To sell", "sales"),
        ("category:2 - Contact", "contact"),
        ("recipient:Ad Agency", "sales"),
        ("channel:Web Subscription Form", "email"),
        ("notice:https://times.example/privacy", "privacy@2017"),
        ("termination:Subscription end date + 1 year", "subscription-ended"),
    ];
    let options = ImportOptions::new(ImportFormat::Kantara).space("crm").cover("author", "customer").cover("recipients", "marketing");
    maps.into_iter().fold(options, |options, (from, to)| options.map(from, to).unwrap())
}

fn imported(receipts: &str, options: &ImportOptions) -> (Bench, Tally, Vec<ImportError>) {
    let bench = bench();
    let (tally, errors) = take(&bench, receipts.as_bytes(), options, false).unwrap();
    (bench, tally, errors)
}

#[test]
fn each_purpose_of_a_receipt_is_a_grant_with_the_receipt_as_evidence() {
    assert_eq!(ImportFormat::of(RECEIPT.as_bytes()), ImportFormat::Kantara);
    let (bench, tally, errors) = imported(RECEIPT, &mapped());
    assert_eq!((errors, tally.opens, tally.records), (vec![], 2, 1));
    let history = bench.ledger.history(&id("crm:1").into()).unwrap();
    let [.., marketing, sales] = history.as_slice() else { panic!("{history:?}") };
    let event = &marketing.event;
    assert_eq!((event.event_time, event.method, event.author), (Some(time("2026-02-01T00:00:00Z")), Method::Explicit, Author::Customer));
    assert_eq!(event.channel.as_str(), "email");
    let evidence = &event.evidence;
    assert_eq!(
        (evidence["receipt"].as_str(), evidence["policy"].as_str()),
        ("c1befd3e-b7e5-4ea6-8688-e9a565aade21", "https://times.example/privacy")
    );
    assert_eq!((evidence["collection-method"].as_str(), evidence["jurisdiction"].as_str()), ("Web Subscription Form", "DE"));
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, RECEIPT.as_bytes());
    assert_eq!(evidence["receipt-hash"], hash.as_ref().iter().fold("sha256:".to_owned(), |hex, byte| format!("{hex}{byte:02x}")));
    let What::Consent(consent) = &event.what else { panic!("{event:?}") };
    assert_eq!(consent.purposes, [purpose("marketing.email")]);
    assert_eq!((consent.until.as_deref(), consent.expires), (Some("subscription-ended"), None));
    assert_eq!(consent.notice.as_ref().map(|n| (n.id.as_str(), n.version.as_str())), Some(("privacy", "2017")));
    let recipients = |event: &crate::consent::Event| {
        let What::Consent(consent) = &event.what else { panic!("{event:?}") };
        consent.scope.recipients.iter().map(|r| r.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(recipients(event), ["marketing"]);
    // The third party comes to those whom the importer names.
    assert_eq!(recipients(&sales.event), ["marketing", "sales"]);
    let What::Consent(consent) = &sales.event.what else { panic!("{sales:?}") };
    assert_eq!((consent.scope.categories.len(), consent.expires), (2, Some(time("2031-01-01T00:00:00Z"))));
}

#[test]
fn a_receipt_opens_nothing_that_the_importer_does_not_vouch_for() {
    let mut nobodys = mapped();
    nobodys.covers.remove("author");
    let implicit = RECEIPT.replace("EXPLICIT", "IMPLICIT");
    for (receipts, options, lacks) in [(RECEIPT, &nobodys, "not the person's own statement"), (&implicit, &mapped(), "only implied")] {
        let (bench, tally, errors) = imported(receipts, options);
        assert_eq!((errors, tally.opens, tally.opens_not.get(lacks)), (vec![], 0, Some(&2)), "{lacks}");
        assert!(!bench.state("crm:1", "marketing.email").opens() && !bench.state("crm:1", "sales").opens(), "{lacks}");
    }
}

#[test]
fn receipts_come_one_a_line_or_as_an_array() {
    let other = RECEIPT.replace("\"piiPrincipalId\": \"1\"", "\"piiPrincipalId\": \"2\"");
    for file in [format!("[{RECEIPT},\n{other}]"), format!("{}\n{}\n", RECEIPT.replace('\n', " "), other.replace('\n', " "))] {
        let (_, tally, errors) = imported(&file, &mapped());
        // Nobody is known by the second one's id.
        assert_eq!((errors, tally.opens, tally.nobody, tally.records), (vec![], 2, 2, 2));
    }
    let twice = format!("[{RECEIPT},{RECEIPT}]");
    let (_, tally, errors) = imported(&twice, &mapped());
    assert!(tally.opens == 2 && errors.len() == 1 && errors[0].message.contains("repeats line"), "{errors:?}");
}

#[test]
fn what_a_receipt_holds_beyond_that_is_an_error() {
    for (from, to, message) in [
        ("\"language\": \"en\"", "\"mood\": \"good\"", "unknown field `mood`"),
        ("\"primaryPurpose\": false", "\"scope\": \"all\"", "unknown field `scope`"),
        ("\"onBehalf\": false", "\"onBehalfOf\": \"x\"", "unknown field `onBehalfOf`"),
        ("\"language\": \"en\"", "\"sensitive\": false", "duplicate field `sensitive`"),
        ("\"policyUrl\": \"https://times.example/privacy\",", "", "missing field `policyUrl`"),
        ("\"thirdPartyDisclosure\": false", "\"primaryPurpose\": true", "duplicate field `primaryPurpose`"),
        ("KI-CR-v1.1.0", "KI-CR-v2.0.0", "`version`"),
        ("1769904000", "\"2026-02-01T00:00:00Z\"", "not an object of the known form"),
        ("1769904000", "9223372036854775807", "beyond the calendar"),
        ("1769904000", "1769904000000", "lies"),
        ("c1befd3e-b7e5-4ea6-8688-e9a565aade21", " ", "`consentReceiptID` is empty"),
        ("\"piiPrincipalId\": \"1\"", "\"piiPrincipalId\": \"\"", "`piiPrincipalId` is empty"),
        ("\"piiPrincipalId\": \"1\"", "\"piiPrincipalId\": \"Ann\"", "does not match the grammar"),
        ("[\"6 - Marketing\"]", "[]", "`purposeCategory` is empty"),
        ("EXPLICIT", "OPT-IN", "`consentType` is"),
        ("To market services", "To sell", "the same purpose twice"),
        ("To market services", "To phone", "unknown purpose"),
        ("2 - Contact", "3 - Shoes", "unknown category"),
        ("Subscription end date + 1 year", "some day", "`termination` is neither"),
        ("Subscription end date + 1 year", "1 year", "`termination` is neither"),
        ("\"thirdPartyDisclosure\": true", "\"thirdPartyDisclosure\": false", "`thirdPartyDisclosure` is false"),
        (", \"thirdPartyName\": \"Ad Agency\"", "", "`thirdPartyName` is missing"),
        ("Ad Agency", "Another", "`thirdPartyName` is not mapped"),
        ("\"sensitive\": true", "\"sensitive\": false", "`sensitive` is false"),
        ("\"spiCat\": [\"2 - Contact\"]", "\"spiCat\": []", "`sensitive` is true"),
        ("\"spiCat\": [\"2 - Contact\"]", "\"spiCat\": [\"9 - Health\"]", "`spiCat` names a category that no purpose"),
    ] {
        assert!(RECEIPT.contains(from), "{from}");
        let (bench, tally, errors) = imported(&RECEIPT.replace(from, to), &mapped());
        assert!(errors.len() == 1 && errors[0].message.contains(message), "{to}: {errors:?}");
        assert!(!errors[0].message.contains("Ann"), "{errors:?}");
        assert_eq!((tally.opens, tally.refused), (0, 1), "{to}: none of its grants is taken");
        assert!(!bench.state("crm:1", "sales").opens(), "{to}");
    }
}

#[test]
fn words_that_are_mapped_apart_or_in_part_are_told() {
    let with = |from: &str, to: &str| mapped().map(from, to).unwrap();
    for (options, message) in [
        (with("purpose:6 - Marketing", "sales"), "mapped to different purposes"),
        (with("termination:Subscription end date + 1 year", "P24X"), "`termination` is neither"),
    ] {
        let (_, tally, errors) = imported(RECEIPT, &options);
        assert!(tally.opens == 0 && errors.len() == 1 && errors[0].message.contains(message), "{message}: {errors:?}");
    }
    let unworded = RECEIPT.replace("\"purpose\": \"To sell\", ", "");
    let (_, _, errors) = imported(&unworded, &with("purpose:7 - Sales", "sales"));
    assert!(errors[0].message.contains("only some of `purposeCategory`"), "{errors:?}");
    let (bench, tally, errors) = imported(&unworded, &with("purpose:7 - Sales", "sales").map("purpose:8 - Offers", "sales").unwrap());
    assert_eq!((errors, tally.opens), (vec![], 2));
    assert!(bench.state("crm:1", "sales").opens());
    let lasting = with("termination:Subscription end date + 1 year", "P12M");
    let (bench, _, errors) = imported(RECEIPT, &lasting);
    assert_eq!(errors, []);
    let history = bench.ledger.history(&id("crm:1").into()).unwrap();
    let ends = |what: &What| matches!(what, What::Consent(consent) if consent.expires == Some(time("2027-02-01T00:00:00Z")));
    assert!(history.iter().any(|row| ends(&row.event.what)));
    let (_, _, errors) = imported(RECEIPT, &ImportOptions { space: None, ..mapped() });
    assert!(errors[0].message.contains("--space"), "{errors:?}");
}
