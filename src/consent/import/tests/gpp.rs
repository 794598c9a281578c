//! Strings of the Global Privacy Platform in files.

use super::*;

#[test]
fn each_opt_out_of_a_string_is_a_stop_and_what_is_not_read_is_told() {
    let bench = bench();
    let file = "id,gpp,state,purposes,categories,evidence,event_time\n\
                crm:1,DBABBg~BARAAAAA.YA,,sales,contact,form=1,2026-02-01T00:00:00Z\n\
                crm:1,DBABTA~1YYN,,sales,,,\n\
                crm:1,DBABBg~BVWSSSVY.YA,,,,,\n\
                crm:1,DBACNY~CPXxRfAPXxRfAAfKABENB-CgAAAAAAAAAAYgAAAAAAAA~1YYN,,,,,\n\
                crm:1,DBABBg~BAAAAACA,,,,,\n\
                crm:1,DBABTA~1YYN,withdrawn,,,,\n\
                crm:1,DBABTA~1YYN,,,,gpp=x,\n\
                crm:1,ann@example.org,,,,,\n";
    let (tally, errors) = take(&bench, file.as_bytes(), &ImportOptions::new(ImportFormat::Csv), false).unwrap();
    let told: Vec<(u64, &str)> = errors.iter().map(|error| (error.line, error.message.as_str())).collect();
    for ((line, message), (wanted, part)) in told.iter().zip([
        (4, "usca.KnownChildSensitiveDataConsents: "),
        (5, "tcfeuv2: it holds consent by vendors"),
        (6, "opts out of nothing"),
        (7, "leave out state and stop"),
        (8, "each kind stands once"),
        (9, "no such string has"),
    ]) {
        assert!(*line == wanted && message.contains(part) && !message.contains("ann@"), "{told:?}");
    }
    assert_eq!(told.len(), 6);
    let counts: Vec<(&str, u64)> = tally.stops.iter().map(|(kind, count)| (kind.as_str(), *count)).collect();
    assert_eq!(counts, [("opt-out-gpc", 1), ("opt-out-sale", 2), ("opt-out-sensitive", 1)]);
    let history = bench.ledger.history(&id("crm:1").into()).unwrap();
    let sensitive = history.iter().find_map(|row| match &row.event.what {
        What::Stop(stop) if stop.kind == StopKind::OptOutSensitive => Some((stop.clone(), row.event.evidence.clone())),
        What::Stop(_) | What::Consent(_) | What::Lift { .. } | What::Delegation(_) | What::Occurrence(_) => None,
    });
    let (stop, evidence) = sensitive.unwrap();
    assert_eq!((stop.purposes.len(), stop.scope.categories.len(), stop.reason.as_deref()), (0, 1, Some("usca.SensitiveDataProcessing")));
    assert_eq!(evidence.keys().collect::<Vec<_>>(), ["form", "gpp"]);
    let line = r#"{"party":"crm:1","gpp":"DBABTA~1YYN","purposes":["marketing"]}"#;
    let (tally, errors) = take(&bench, line.as_bytes(), &ImportOptions::new(ImportFormat::Ndjson), true).unwrap();
    assert_eq!((errors, tally.stops["opt-out-sale"]), (vec![], 1));
}
