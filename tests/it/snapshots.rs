//! The ledger's snapshot as an operator meets it: written at the end, used at the next start, never trusted when it is damaged.

use std::fs;

use serde_json::json;

use crate::process::{QUOTE, Site, import_many, post, text};

/// A site with some thousand customers.
fn site() -> Site {
    let site = Site::new();
    let gateway = site.start();
    site.prepare();
    import_many(&site);
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    site
}

#[test]
fn snapshot_is_written_at_the_end_and_used_at_the_next_start() {
    let site = site();
    let file = site.path().join("consent.db.snapshot");
    assert!(file.exists());
    let gateway = site.start();
    assert_eq!(site.read(QUOTE).status, 200);
    site.restrict("0012");
    assert_eq!(site.read(QUOTE).status, 403);
    let trace = gateway.trace();
    assert!(trace.contains("read from its snapshot") && trace.contains("\"from\":"), "{trace}");
    let (_, metrics) = site.health("/metrics");
    assert!(metrics.contains("consentry_consent_snapshot_revision"), "{metrics}");
    // A kill writes none: what came after it is read from the store.
    gateway.kill();
    let gateway = site.start();
    assert_eq!(site.read(QUOTE).status, 403);
    assert!(gateway.trace().contains("read from its snapshot"));
}

#[test]
fn damaged_snapshot_is_left_aside_with_a_warning_and_everything_is_read() {
    let site = site();
    let file = site.path().join("consent.db.snapshot");
    let whole = fs::read(&file).unwrap();
    let flipped = whole.iter().enumerate().map(|(n, byte)| if n == whole.len() / 2 { byte ^ 1 } else { *byte }).collect();
    for spoilt in [flipped, whole[..whole.len() / 2].to_vec()] {
        fs::write(&file, spoilt).unwrap();
        let gateway = site.start();
        assert_eq!(site.read(QUOTE).status, 200);
        let trace = gateway.trace();
        assert!(trace.contains("every event is read instead") && trace.contains("read in full"), "{trace}");
        gateway.kill();
        assert!(!file.exists());
    }
}

#[test]
fn erasure_removes_the_snapshot_at_once() {
    let site = site();
    let file = site.path().join("consent.db.snapshot");
    let _gateway = site.start();
    assert!(file.exists());
    let (desk, reason) = (site.staff("consent-desk"), json!({ "reason": "asked for it" }));
    let erased = site.block(post(&desk, site.addresses.admin, "/v1/parties/crm:2001:erase", &reason));
    assert!(erased.status.is_success(), "{}", text(&erased));
    assert!(!file.exists());
}
