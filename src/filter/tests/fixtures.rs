//! One vendor's recorded answer, with hand-written expectations for what two departments see.

use super::*;

/// Shopify orders: the order's own customer stands embedded in it, under `customer`.
fn order() -> Shape {
    let fields = [
        ("order_number", "order"),
        ("total_price", "order"),
        ("customer.first_name", "identity"),
        ("customer.last_name", "identity"),
        ("customer.email", "contact"),
        ("customer.phone", "contact last4"),
        ("customer.default_address.**", "contact"),
        ("customer.default_address.zip", "contact generalise"),
        ("email", "contact"),
        ("phone", "contact last4"),
        ("note", "free-text null"),
    ];
    shape("order", &["customer.id"], &["id", "currency"], &fields)
}

#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn orders(given: &str) -> Option<(serde_json::Value, crate::filter::Report)> {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/fixtures/shopify/orders.json");
    let Ok(body) = std::fs::read_to_string(file) else {
        eprintln!("note: the Shopify samples are not here; skipped");
        return None;
    };
    let cut = run(&body, &rows_plan("orders[]", &order(), &[], &[]), &[], &mut customers(&[("207119551", given)])).unwrap();
    // What is kept is kept with its white space.
    let kept: serde_json::Value = serde_json::from_slice(&cut.filtered.into_bytes()).unwrap();
    Some((kept, cut.report))
}

#[test]
fn an_orders_desk_sees_figures_and_masked_phones_of_shopify_orders() {
    let Some((text, report)) = orders("order+ contact~") else { return };
    let expected = r#"{"orders":[{"id":450789469,"note":null,"total_price":"598.94","currency":"USD","phone":"****1234","order_number":1001,"customer":{"id":207119551,"phone":"****0707","default_address":{"zip":"40***"}}}]}"#;
    assert_eq!(text, serde_json::from_str::<serde_json::Value>(expected).unwrap());
    assert_eq!(report.withheld, ["customer.default_address.**", "customer.email", "customer.first_name", "customer.last_name", "email", "note"]);
    assert!(report.drift.contains(&"orders[].billing_address".to_owned()));
    assert!(!report.drift.contains(&"orders[].total_price".to_owned()));
}

#[test]
fn a_department_without_any_permit_sees_an_empty_list_of_shopify_orders() {
    let Some((text, report)) = orders("order- behaviour+") else { return };
    assert_eq!(text, serde_json::json!({ "orders": [] }));
    assert_eq!((report.rows, report.dropped), (0, 1));
}
