//! Withdrawal links from the mail to the refusal at the gateway: followed by a person, by a mail program, by scanners and by
//! strangers; and what the public listener never serves.

use std::collections::BTreeSet;
use std::time::Duration;

use http::{HeaderMap, Method};
use serde_json::{Value, json};

use crate::harness::people::{ada, ada_for_outreach, card, card_whole};
use crate::harness::{Answer, World, entries, gateway};
use crate::process::{MINA, MINAS, Site, free_port, patiently, post, text};

const OUTREACH: &str = "sales.outreach";
const ONE_CLICK: &[u8] = b"List-Unsubscribe=One-Click";
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

/// Checks what holds for every answer of the public listener.
fn checked(answer: Answer) -> Answer {
    assert_eq!(Some("no-store"), answer.header("cache-control"), "{answer:?}");
    assert_eq!(Some("nosniff"), answer.header("x-content-type-options"), "{answer:?}");
    assert_eq!(Some("no-referrer"), answer.header("referrer-policy"), "{answer:?}");
    let policy = answer.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-") && policy.ends_with("frame-ancestors 'none'"), "{policy}");
    for name in ["set-cookie", "location", "consentry-revision", "consentry-decision"] {
        assert!(answer.header(name).is_none(), "`{name}` in {answer:?}");
    }
    answer
}

async fn press(world: &World, path: &str) -> Answer {
    checked(world.visitor().ask(Method::POST, path).header(FORM.0, FORM.1).body(ONE_CLICK).await)
}

fn says(answer: &Answer, status: u16, words: &str) {
    assert_eq!(status, answer.status.as_u16(), "{answer:?}");
    assert!(answer.text().contains(words), "`{words}` is not in {}", answer.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_is_followed_is_obeyed_on_connections_that_are_open() {
    let customers: String = (1001..=1004).map(|id| format!("crm:{id},person,customer,standard,adult\n")).collect();
    let world = gateway().parties(&customers).start().await;
    let clients = [world.client("crm"), world.client("crm").http2()];
    // A mail program's one click in both of its forms, and the button of the page.
    let multipart = "--b\r\nContent-Disposition: form-data; name=\"List-Unsubscribe\"\r\n\r\nOne-Click\r\n--b--\r\n";
    let presses: [(&str, Option<&str>, &[u8]); 4] = [
        ("1001", Some(FORM.1), ONE_CLICK),
        ("1002", Some("multipart/form-data; boundary=b"), multipart.as_bytes()),
        ("1003", Some(FORM.1), b""),
        ("1004", None, b""),
    ];
    for (id, form, body) in presses {
        world.upstream.json(&format!("GET /customers/{id}"), &ada().replace("0031", id));
        let (party, target) = (format!("crm:{id}"), format!("/crm/customers/{id}"));
        world.consent(&party, OUTREACH, "given").await;
        for client in &clients {
            client.get(&target).purpose(OUTREACH).await.released(200, &ada_for_outreach().replace("0031", id));
        }
        let path = world.link(&party, OUTREACH).await;
        let visitor = world.visitor();
        let mut ask = visitor.ask(Method::POST, &path).body(body);
        if let Some(form) = form {
            ask = ask.header("content-type", form);
        }
        says(&checked(ask.await), 200, "<h1>Stopped</h1>");
        for client in &clients {
            client.get(&target).purpose(OUTREACH).await.refused(403, "denied");
            assert_eq!(1, client.opened(), "the connection stayed open");
        }
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_counts_anew_after_a_later_grant_and_once_until_then() {
    let world = gateway().start().await;
    world.upstream.json("GET /customers/0031", &ada());
    let client = world.client("crm");
    world.consent("crm:0031", OUTREACH, "given").await;
    let path = world.link("crm:0031", OUTREACH).await;
    says(&press(&world, &path).await, 200, "<h1>Stopped</h1>");
    let revision = world.running().shared().ledger.revision();
    for _ in 0..3 {
        says(&press(&world, &path).await, 200, "<h1>This is already stopped</h1>");
    }
    assert_eq!(revision, world.running().shared().ledger.revision(), "a repeated press records nothing");
    // Whoever says yes again and then finds the old mail means the old mail's link. Another source's grant is surely later
    // by more than the skew of 60 s.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let later = consentry::clock::SystemClock::shared().now() + Duration::from_secs(59);
    world.say("crm:0031", OUTREACH, "given", json!({ "event_time": later.to_string() })).await;
    client.get("/crm/customers/0031").purpose(OUTREACH).await.released(200, &ada_for_outreach());
    says(&press(&world, &path).await, 200, "<h1>Stopped</h1>");
    client.get("/crm/customers/0031").purpose(OUTREACH).await.refused(403, "denied");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn evidence_that_only_looks_like_a_links_does_not_keep_it_from_working() {
    let world = gateway().start().await;
    world.upstream.json("GET /customers/0031", &ada());
    world.consent("crm:0031", OUTREACH, "given").await;
    let path = world.link("crm:0031", OUTREACH).await;
    let token = path.strip_prefix("/withdraw/").unwrap();
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
    let hex: String = hash.as_ref().iter().map(|b| format!("{b:02x}")).collect();
    for state in ["requested", "withdrawn", "given"] {
        let evidence = json!([
            { "kind": "form-hash", "reference": "sha256:00" }, { "kind": "notice", "reference": "n-1" },
            { "kind": "link", "reference": format!("sha256:{hex}") },
        ]);
        world.say("crm:0031", OUTREACH, state, json!({ "evidence": evidence })).await;
    }
    world.client("crm").get("/crm/customers/0031").purpose(OUTREACH).await.released(200, &ada_for_outreach());
    says(&press(&world, &path).await, 200, "<h1>Stopped</h1>");
    world.client("crm").get("/crm/customers/0031").purpose(OUTREACH).await.refused(403, "denied");
    // What is kept is who may have pressed, never the link itself.
    let history = world.staff("consent-desk").get("/v1/consents/crm:0031/history").await;
    assert!(history.text().contains(&hex) && !history.text().contains(token), "{history:?}");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scanners_that_follow_links_change_nothing() {
    let world = gateway().start().await;
    world.upstream.json("GET /customers/0031", &ada());
    world.consent("crm:0031", OUTREACH, "given").await;
    let path = world.link("crm:0031", OUTREACH).await;
    let revision = world.running().shared().ledger.revision();
    let visitor = world.visitor();
    for _ in 0..5 {
        let page = checked(visitor.get(&path).await);
        says(&page, 200, "<h1>Do you want to stop this?</h1>");
        says(&page, 200, "offers from our sales team");
        let page = checked(visitor.get(&path).header("accept-language", "da-DK,da;q=0.9,en;q=0.7").await);
        says(&page, 200, "tilbud fra vores salgsafdeling");
        let page = checked(visitor.ask(Method::HEAD, &path).await);
        assert_eq!((200, 0), (page.status.as_u16(), page.body.len()));
        checked(visitor.get(&format!("{path}?List-Unsubscribe=One-Click")).await);
    }
    for method in [Method::PUT, Method::DELETE, Method::PATCH, Method::OPTIONS, Method::TRACE] {
        let refused = checked(visitor.ask(method.clone(), &path).await);
        assert_eq!((405, Some("GET, HEAD, POST"), 0), (refused.status.as_u16(), refused.header("allow"), refused.body.len()), "{method}");
    }
    let long = checked(visitor.ask(Method::POST, &path).body(&[b'a'; 5_000]).await);
    assert_eq!(413, long.status.as_u16());
    assert_eq!(revision, world.running().shared().ledger.revision());
    world.client("crm").get("/crm/customers/0031").purpose(OUTREACH).await.released(200, &ada_for_outreach());
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_touches_neither_another_purpose_nor_another_customer() {
    let world = gateway().start().await;
    world.upstream.json("GET /customers/0031", &ada());
    world.upstream.json("GET /cards/0031", &card("0031", "a@example.net"));
    world.consent("crm:0031", OUTREACH, "given").await;
    world.consent("crm:0031", "marketing.email", "given").await;
    let outreach = || async { world.client("crm").get("/crm/customers/0031").purpose(OUTREACH).await };
    let mailing = || async { world.client("campaign-manager").get("/crm/cards/0031").purpose("marketing.email").await };
    for path in [world.link("crm:0044", OUTREACH).await, world.link("crm:0044", "marketing").await, world.link("crm:9999", OUTREACH).await] {
        says(&press(&world, &path).await, 200, "<h1>Stopped</h1>");
    }
    outreach().await.released(200, &ada_for_outreach());
    mailing().await.released(200, &card_whole("0031", "a@example.net"));
    // One of this customer's other ids, and a purpose above the one that is used.
    let path = world.link("email:ADA.BRANDT@example.net", "marketing").await;
    says(&press(&world, &path).await, 200, "<h1>Stopped</h1>");
    outreach().await.released(200, &ada_for_outreach());
    mailing().await.refused(403, "denied");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_for_somebody_nobody_knows_binds_when_the_id_is_linked() {
    let world = gateway().start().await;
    world.upstream.json("GET /customers/0031", &ada());
    let path = world.link("email:ada.private@example.net", OUTREACH).await;
    says(&press(&world, &path).await, 200, "<h1>Stopped</h1>");
    says(&press(&world, &path).await, 200, "already");
    // A grant that was given before the person pressed does not survive the link.
    let before = json!({ "event_time": "2026-01-05T10:00:00Z" });
    world.say("crm:0031", OUTREACH, "given", before).await;
    world.client("crm").get("/crm/customers/0031").purpose(OUTREACH).await.released(200, &ada_for_outreach());
    let link = json!({ "identifier": "email:ada.private@example.net", "assurance": "verified" });
    world.desk(Method::POST, "/v1/parties/crm:0031/identifiers", link).await;
    world.client("crm").get("/crm/customers/0031").purpose(OUTREACH).await.refused(403, "denied");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_links_that_do_not_work_look_the_same_and_change_nothing() {
    let world = gateway().start().await;
    world.upstream.json("GET /customers/0031", &ada());
    world.consent("crm:0031", OUTREACH, "given").await;
    let path = world.link("crm:0031", OUTREACH).await;
    let other = gateway().start().await;
    let foreign = other.link("crm:0031", OUTREACH).await;
    other.finish().await;
    let soon = (consentry::clock::SystemClock::shared().now() + Duration::from_secs(4)).to_string();
    let body = json!({ "party": "crm:0031", "purpose": OUTREACH, "expires": soon });
    let made = world.capture("preference-centre").post("/v1/withdrawal-links", &body.to_string()).await.json();
    let expired = made["url"].as_str().unwrap().strip_prefix("https://consent.example.com").unwrap().to_owned();
    let centre = world.capture("preference-centre");
    let pending = json!({ "party": "crm:0031", "purposes": [OUTREACH], "state": "pending_confirmation",
        "event_time": consentry::clock::SystemClock::shared().now().to_string(), "categories": ["contact"], "recipients": ["sales"] });
    let pending = centre.post("/v1/consents", &pending.to_string()).await.json();
    let revision = world.running().shared().ledger.revision();
    tokio::time::sleep(Duration::from_millis(4_100)).await;

    let (start, end) = path.split_at(path.len() / 2);
    let flipped = if end.starts_with('A') { "B" } else { "A" };
    let cases = [
        ("changed", format!("{start}{flipped}{}", end.split_at(1).1)),
        ("cut", path.split_at(path.len() - 1).0.to_owned()),
        ("longer", format!("{path}A")),
        ("of another gateway", foreign),
        ("run out", expired),
        ("for another act", format!("/withdraw/{}", pending["confirm"].as_str().unwrap())),
        ("made up", "/withdraw/unsubscribe".to_owned()),
        ("encoded", path.replacen("/withdraw/A", "/withdraw/%41", 1)),
    ];
    let visitor = world.visitor();
    let mut seen = BTreeSet::new();
    for (case, path) in &cases {
        for method in [Method::GET, Method::POST] {
            let answer = checked(visitor.ask(method, path).header(FORM.0, FORM.1).await);
            says(&answer, 410, "privacy@example.com");
            let mut headers: Vec<_> = answer.headers.iter().filter(|(n, _)| *n != "date").map(|(n, v)| format!("{n}: {v:?}")).collect();
            headers.sort();
            seen.insert((headers, answer.text().to_owned()));
            assert_eq!(1, seen.len(), "{case}");
        }
    }
    assert_eq!(revision, world.running().shared().ledger.revision());
    world.client("crm").get("/crm/customers/0031").purpose(OUTREACH).await.released(200, &ada_for_outreach());
    // Guessing is slowed down; a link that works is not.
    let mut guesses = 0;
    while visitor.get("/withdraw/guess").await.status != 429 {
        guesses += 1;
        assert!(guesses < 300, "a new minute may begin once");
    }
    says(&checked(visitor.get(&path).await), 200, "Do you want");
    says(&press(&world, &path).await, 200, "<h1>Stopped</h1>");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_public_listener_serves_links_and_nothing_else() {
    let world = gateway().start().await;
    world.upstream.json("GET /customers/0031", &ada());
    world.consent("crm:0031", OUTREACH, "given").await;
    let mut paths: BTreeSet<String> =
        ["/", "/withdraw", "/withdraw/", "/withdraw/a/b", "/withdraw//", "//withdraw/a", "/Withdraw/a", "/openapi.json"].map(str::to_owned).into();
    paths.extend(["/crm/customers/0031", "/crm/customers", "/favicon.ico", "/robots.txt", "/livez", "/readyz", "/metrics"].map(str::to_owned));
    for listener in [world.staff("auditor"), world.capture("preference-centre")] {
        let document: Value = listener.get("/openapi.json").await.json();
        paths.extend(document["paths"].as_object().unwrap().keys().map(|path| path.replace("{id}", "crm:0031")));
    }
    assert!(paths.len() > 30, "{paths:?}");
    let visitor = world.visitor();
    for path in &paths {
        for method in [Method::GET, Method::POST, Method::PUT, Method::DELETE] {
            let answer = checked(visitor.ask(method.clone(), path).json("{}").await);
            assert_eq!((404, 0), (answer.status.as_u16(), answer.body.len()), "{method} {path}");
        }
    }
    assert!(world.upstream.asked().is_empty());
    // And nobody else serves links.
    let path = world.link("crm:0031", OUTREACH).await;
    world.client("crm").get(&path).await.refused(404, "route-not-declared");
    for listener in [world.staff("consent-desk"), world.capture("preference-centre")] {
        assert_eq!(404, listener.ask(Method::POST, &path).json("{}").await.status.as_u16());
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_press_while_the_store_is_away_binds_and_asks_to_be_repeated() {
    let world = gateway().start().await;
    world.upstream.json("GET /customers/0031", &ada());
    let client = world.client("crm");
    world.consent("crm:0031", OUTREACH, "given").await;
    client.get("/crm/customers/0031").purpose(OUTREACH).await.released(200, &ada_for_outreach());
    let path = world.link("crm:0031", OUTREACH).await;
    world.move_store(true);
    for _ in 0..2 {
        let page = press(&world, &path).await;
        says(&page, 503, "Stopped, but not saved yet");
        says(&page, 503, "this is in force now");
        assert!(page.header("retry-after").is_some() && page.text().contains("<button>"), "{page:?}");
    }
    client.get("/crm/customers/0031").purpose(OUTREACH).await.refused(503, "consent-unavailable");
    world.move_store(false);
    // The refusal comes as soon as anything is decided again, before anybody repeats the press.
    let mut answer = client.get("/crm/customers/0031").purpose(OUTREACH).await;
    for _ in 0..100 {
        if answer.status != 503 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        answer = client.get("/crm/customers/0031").purpose(OUTREACH).await;
    }
    answer.refused(403, "denied");
    let mut page = press(&world, &path).await;
    for _ in 0..100 {
        if page.status != 503 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        page = press(&world, &path).await;
    }
    says(&page, 200, "already");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn links_are_made_for_what_an_app_registered_and_no_longer_than_allowed() {
    let world = gateway().start().await;
    let make = |app: &'static str, body: Value| {
        let capture = world.capture(app);
        async move { capture.post("/v1/withdrawal-links", &body.to_string()).await }
    };
    let whole = make("preference-centre", json!({ "party": "crm:0031", "purpose": OUTREACH })).await;
    let document = whole.json();
    let url = document["url"].as_str().unwrap();
    assert_eq!(201, whole.status.as_u16());
    assert_eq!(format!("<{url}>"), document["headers"]["List-Unsubscribe"]);
    assert_eq!("List-Unsubscribe=One-Click", document["headers"]["List-Unsubscribe-Post"]);
    let expires: jiff::Timestamp = document["expires"].as_str().unwrap().parse().unwrap();
    let days = expires.duration_since(consentry::clock::SystemClock::shared().now()).as_hours() / 24;
    assert!((399..=400).contains(&days), "{days}");
    for (app, body, status) in [
        ("crm", json!({ "party": "crm:0031", "purpose": OUTREACH }), 422),
        ("preference-centre", json!({ "party": "crm:0031", "purpose": "legal-compliance" }), 422),
        ("preference-centre", json!({ "party": "crm:0031", "purpose": "no-such" }), 422),
        ("preference-centre", json!({ "party": "crm:31", "purpose": OUTREACH }), 422),
        ("preference-centre", json!({ "party": "party:nobody", "purpose": OUTREACH }), 404),
        ("preference-centre", json!({ "party": "crm:0031", "purpose": OUTREACH, "expires": "2999-01-01T00:00:00Z" }), 422),
        ("preference-centre", json!({ "party": "crm:0031", "purpose": OUTREACH, "expires": "2020-01-01T00:00:00Z" }), 422),
        ("preference-centre", json!({ "party": "crm:0031" }), 400),
    ] {
        assert_eq!(status, make(app, body.clone()).await.status.as_u16(), "{app} {body}");
    }
    // The consent desk makes them for every purpose that rests on consent, other roles for none.
    let unstoppable = json!({ "party": "crm:0031", "purpose": "legal-compliance" }).to_string();
    assert_eq!(422, world.staff("consent-desk").post("/v1/withdrawal-links", &unstoppable).await.status.as_u16());
    let body = json!({ "party": "crm:0031", "purpose": "third-party-sharing" }).to_string();
    assert_eq!(201, world.staff("consent-desk").post("/v1/withdrawal-links", &body).await.status.as_u16());
    assert_eq!(403, world.staff("auditor").post("/v1/withdrawal-links", &body).await.status.as_u16());
    // The log names the act and whom it was about, never the link.
    press(&world, url.strip_prefix("https://consent.example.com").unwrap()).await;
    let token = url.rsplit_once('/').unwrap().1;
    let logged: Vec<String> = entries(&world.log_dir()).iter().map(|entry| entry.resolved.to_string()).collect();
    assert!(logged.iter().any(|entry| entry.contains("\"operation\":\"withdraw\"") && entry.contains("\"role\":\"public\"")), "{logged:#?}");
    assert!(!logged.iter().any(|entry| entry.contains(token)));
    world.finish().await;
}

#[test]
fn a_press_outlives_kill_and_the_page_follows_a_reload() {
    let site = Site::new();
    let public = free_port();
    let section = format!(
        "[public]\naddress = \"{public}\"\ncertificates = [{{ chain = \"certs/gw.pem\", key = {{ file = \"certs/gw.key\" }} }}]\n\
         base_url = \"https://{public}\"\ncontact = \"first@example.com\"\n\n[capture] "
    );
    site.edit("consentry.toml", "[capture] ", &section);
    let gateway = site.start();
    site.prepare();
    site.say(MINA, "given");
    assert_eq!(site.read(MINAS).status, 200);
    let body = json!({ "party": format!("crm:{MINA}"), "purpose": OUTREACH });
    let made = site.block(post(&site.app("preference-centre"), site.addresses.capture, "/v1/withdrawal-links", &body));
    let url = made.json().unwrap()["url"].as_str().unwrap().to_owned();
    let press = |method: Method, url: &str| site.block(site.app("crm").send(method, url, HeaderMap::new(), "")).unwrap();
    assert_eq!(press(Method::GET, &url).status, 200);
    assert_eq!(site.read(MINAS).status, 200);
    let pressed = press(Method::POST, &url);
    assert!(pressed.status == 200 && text(&pressed).contains("<h1>Stopped</h1>"), "{}", text(&pressed));
    gateway.kill();

    let gateway = site.start();
    assert_eq!(site.read(MINAS).status, 403);
    assert!(text(&press(Method::POST, &url)).contains("already"), "the key of links outlives a restart");
    let wrong = format!("https://{public}/withdraw/wrong");
    assert!(text(&press(Method::GET, &wrong)).contains("first@example.com"));
    site.edit("consentry.toml", "first@example.com", "second@example.com");
    gateway.signal("HUP");
    patiently(|| {
        let page = text(&press(Method::GET, &wrong));
        if page.contains("second@example.com") { Ok(()) } else { Err(page) }
    });
}
