//! Tickets of service desks, in which several persons stand: who asked, who is copied in, who answered. What each department
//! sees of them was written by hand. The samples are made up, in the formats of Zendesk, Freshdesk and Request Tracker.

use http::Method;
use serde_json::json;

use crate::harness::{Answer, World, gateway};

const SUPPORT: &str = "service-provision.support";
const EMAIL: &str = "marketing.email";
const OUTREACH: &str = "sales.outreach";

/// Two customers, a lead and an opportunity; desk:7999 and stranger@example.com are nobody's.
const PARTIES: &str = "desk:7001 email:ada.holm@example.net,person,customer,standard,adult
desk:7002 email:ben.ruiz@example.org,person,lead,standard,adult
desk:7003 email:cleo.sand@example.com,person,customer,standard,adult
desk:7004 email:dan.vogt@example.net,person,opportunity,standard,adult
";

async fn desk() -> World {
    let world = gateway().apis(include_str!("tickets.toml")).parties(PARTIES).start().await;
    for (id, purpose, said) in [
        ("desk:7001", EMAIL, &["given"][..]),
        ("desk:7002", EMAIL, &["given"]),
        ("desk:7003", EMAIL, &["given", "withdrawn"]),
        ("desk:7001", OUTREACH, &["refused"]),
        ("desk:7002", OUTREACH, &["given"]),
    ] {
        for state in said {
            world.consent(id, purpose, state).await;
        }
    }
    world
}

/// The upstream's own URL.
fn theirs(world: &World, path: &str) -> String {
    format!("https://localhost:{}/v7{path}", world.upstream.address.port())
}

/// A list as the desk answers it: of Ada, copied to the lead Ben, to Cleo and to somebody unknown; of Ben, copied to Ada; of
/// somebody unknown, copied to Ada; of Cleo alone.
fn listed(world: &World, next_page: &str, count: u32) -> String {
    let url = |id: u32| theirs(world, &format!("/api/v2/tickets/{id}.json"));
    let ada = format!(
        concat!(
            r#"{{"url":"{}","id":101,"external_id":"erp-55","created_at":"2026-03-02T09:00:00Z","subject":"Meter shows \u00fc, not 0","#,
            r#""raw_subject":"Meter shows \u00fc, not 0","description":"Dear all, my meter …","status":"open","recipient":"support@example.com","#,
            r#""requester_id":7001,"submitter_id":9001,"assignee_id":9001,"email_cc_ids":[7002,7003,7999],"follower_ids":[7004],"#,
            r#""custom_fields":[{{"id":1,"value":"north wing"}},{{"id":2,"value":null}}],"satisfaction_rating":{{"score":"bad","comment":"too slow"}},"#,
            r#""via":{{"channel":"email","source":{{"from":{{"address":"ada.holm@example.net","name":"Ada Holm"}},"to":{{"address":"support@example.com"}},"rel":null}}}}}}"#
        ),
        url(101)
    );
    let ben = format!(
        concat!(
            r#"{{"url":"{}","id":102,"created_at":"2026-03-02T10:00:00Z","subject":"Offer","description":"How much?","status":"new","requester_id":7002,"#,
            r#""email_cc_ids":[7001],"satisfaction_rating":{{"score":"good","comment":"nice"}},"#,
            r#""via":{{"channel":"web","source":{{"from":{{"address":"ben.ruiz@example.org","name":"Ben Ruiz"}}}}}}}}"#
        ),
        url(102)
    );
    let stranger = format!(
        r#"{{"url":"{}","id":103,"subject":"Hello","description":"I am nobody","status":"new","requester_id":7999,"email_cc_ids":[7001]}}"#,
        url(103)
    );
    let cleo = format!(
        concat!(
            r#"{{"url":"{}","id":104,"subject":"Moving house","description":"On 1 May","status":"solved","requester_id":7003,"email_cc_ids":[],"#,
            r#""via":{{"channel":"chat","source":{{"from":{{}}}}}}}}"#
        ),
        url(104)
    );
    let users = r#"[{"id":7001,"name":"Ada Holm","email":"ada.holm@example.net"},{"id":9001,"name":"Ole Agent","role":"agent"}]"#;
    format!(r#"{{"tickets":[{ada},{ben},{stranger},{cleo}],"users":{users},"next_page":{next_page},"previous_page":null,"count":{count}}}"#)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_tickets_goes_as_far_as_each_person_in_it_permits() {
    let world = desk().await;
    let list = async |app: &str, purpose: &str| world.client(app).get("/desk/api/v2/tickets.json?page=1").purpose(purpose).await;
    world.upstream.json("GET /api/v2/tickets.json?page=1", &listed(&world, "null", 4));

    // For the contract everything of the customers Ada and Cleo; of the lead Ben only what service owns. He is no customer to be
    // copied in either.
    let for_support = [
        concat!(
            r#"{"url":"https://localhost/desk/api/v2/tickets/101.json","id":101,"created_at":"2026-03-02T09:00:00Z","subject":"Meter shows \u00fc, not 0","#,
            r#""description":"Dear all, my meter …","status":"open","requester_id":7001,"email_cc_ids":[7003],"#,
            r#""custom_fields":[{"id":1,"value":"north wing"},{"id":2,"value":null}],"satisfaction_rating":{"comment":"too slow"},"#,
            r#""via":{"channel":"email","source":{"from":{"address":"ada.holm@example.net","name":"Ada Holm"}}}}"#
        ),
        concat!(
            r#"{"url":"https://localhost/desk/api/v2/tickets/102.json","id":102,"created_at":"2026-03-02T10:00:00Z","subject":"Offer","description":"How much?","#,
            r#""status":"new","requester_id":7002,"email_cc_ids":[7001],"satisfaction_rating":{"comment":"nice"},"via":{"channel":"web"}}"#
        ),
        concat!(
            r#"{"url":"https://localhost/desk/api/v2/tickets/104.json","id":104,"subject":"Moving house","description":"On 1 May","status":"solved","#,
            r#""requester_id":7003,"email_cc_ids":[],"via":{"channel":"chat","source":{"from":{}}}}"#
        ),
    ];
    let support = list("helpdesk", SUPPORT).await;
    support.released(200, &format!(r#"{{"tickets":[{}],"next_page":null,"previous_page":null,"count":3}}"#, for_support.join(",")));
    let found = world.found(&support);
    assert_eq!((3, 1), (found.rows, found.dropped), "{found:?}");

    // Marketing sees who agreed to mailings, and nothing of what they wrote: Cleo has withdrawn, also where she is copied in.
    let for_marketing = [
        concat!(
            r#"{"url":"https://localhost/desk/api/v2/tickets/101.json","id":101,"created_at":"2026-03-02T09:00:00Z","subject":null,"status":"open","#,
            r#""requester_id":7001,"email_cc_ids":[7002],"custom_fields":[{"id":1},{"id":2}],"satisfaction_rating":{"score":"bad"},"#,
            r#""via":{"source":{"from":{"address":"ada.holm@example.net","name":"Ada Holm"}}}}"#
        ),
        concat!(
            r#"{"url":"https://localhost/desk/api/v2/tickets/102.json","id":102,"created_at":"2026-03-02T10:00:00Z","subject":null,"status":"new","#,
            r#""requester_id":7002,"email_cc_ids":[7001],"satisfaction_rating":{"score":"good"},"#,
            r#""via":{"source":{"from":{"address":"ben.ruiz@example.org","name":"Ben Ruiz"}}}}"#
        ),
    ];
    let marketing = list("campaign-manager", EMAIL).await;
    marketing.released(200, &format!(r#"{{"tickets":[{}],"next_page":null,"previous_page":null,"count":2}}"#, for_marketing.join(",")));

    // Sales sees its lead; Ada has refused, so she is not copied in either.
    let for_sales = concat!(
        r#"{"url":"https://localhost/desk/api/v2/tickets/102.json","id":102,"created_at":"2026-03-02T10:00:00Z","subject":null,"status":"new","#,
        r#""requester_id":7002,"satisfaction_rating":{"score":"good"},"via":{"source":{"from":{"address":"ben.ruiz@example.org","name":"Ben Ruiz"}}}}"#
    );
    list("crm", OUTREACH).await.released(200, &format!(r#"{{"tickets":[{for_sales}],"next_page":null,"previous_page":null,"count":1}}"#));

    // A page of more: the link leads to the gateway, and nobody learns how many tickets there are.
    let next = format!("\"{}\"", theirs(&world, "/api/v2/tickets.json?page=2"));
    world.upstream.json("GET /api/v2/tickets.json?page=1", &listed(&world, &next, 57));
    list("crm", OUTREACH).await.released(
        200,
        &format!(r#"{{"tickets":[{for_sales}],"next_page":"https://localhost/desk/api/v2/tickets.json?page=2","previous_page":null}}"#),
    );
    // One that selects by what nobody asked for is none.
    let next = format!("\"{}\"", theirs(&world, "/api/v2/tickets.json?page=2&status=open"));
    world.upstream.json("GET /api/v2/tickets.json?page=1", &listed(&world, &next, 57));
    list("crm", OUTREACH).await.released(200, &format!(r#"{{"tickets":[{for_sales}],"previous_page":null}}"#));

    // Found by what stands in the subject: only whose subject may be seen, and everybody's in the ticket.
    world.upstream.json("GET /api/v2/tickets.json?status=open", &listed(&world, "null", 4));
    let selected = world.client("helpdesk").get("/desk/api/v2/tickets.json?status=open").purpose(SUPPORT).await;
    selected.released(200, &format!(r#"{{"tickets":[{}],"next_page":null,"previous_page":null,"count":2}}"#, for_support[1..].join(",")));
    world.client("crm").get("/desk/api/v2/tickets.json?status=open").purpose(OUTREACH).await.refused(403, "field-not-permitted");

    // By themselves they are the same.
    let one = listed(&world, "null", 4).split_once(r#"{"tickets":["#).unwrap().1.split_once(r#",{"url""#).unwrap().0.to_owned();
    world.upstream.json("GET /api/v2/tickets/101.json", &format!(r#"{{"ticket":{one}}}"#));
    let single = async |app: &str, purpose: &str| world.client(app).get("/desk/api/v2/tickets/101.json").purpose(purpose).await;
    single("helpdesk", SUPPORT).await.released(200, &format!(r#"{{"ticket":{}}}"#, for_support[0]));
    single("campaign-manager", EMAIL).await.released(200, &format!(r#"{{"ticket":{}}}"#, for_marketing[0]));
    single("crm", OUTREACH).await.refused(403, "denied");
    world.finish().await;
}

/// A ticket with its conversation: a customer who asks, three who are copied in, and two agents.
const THREAD: &str = r#"{
  "cc_emails": ["Ben.Ruiz@example.org", "cleo.sand@example.com", "stranger@example.com"], "fwd_emails": [], "reply_cc_emails": ["cleo.sand@example.com"],
  "group_id": null, "priority": 1, "requester_id": 7001, "responder_id": 9001, "status": 2, "subject": "Refund", "id": 20, "type": null,
  "description": "<div>I paid twice</div>", "description_text": "I paid twice",
  "custom_fields": {"cf_order": "SO-1", "cf_floor": {"level": 3}},
  "requester": {"id": 7001, "name": "Ada Holm", "email": "ADA.HOLM@example.net", "mobile": null, "phone": "+45 20 30 40 51"},
  "conversations": [
    {"id": 1, "incoming": false, "private": false, "user_id": 9001, "body": "<p>Sorry</p>", "body_text": "Sorry, we look into it", "support_email": "support@example.com"},
    {"id": 2, "incoming": true, "private": false, "user_id": 7003, "from_email": "cleo.sand@example.com", "body_text": "Same here",
     "attachments": [{"id": 7, "name": "bank statement of Cleo.pdf", "attachment_url": "https://files.example.net/7"}]},
    {"id": 3, "incoming": false, "private": true, "user_id": 9002, "body_text": "She calls every week"}
  ],
  "tags": ["twice-paid", "angry"]
}"#;

#[tokio::test(flavor = "multi_thread")]
async fn of_a_conversation_each_person_copied_in_is_judged_alone_and_agents_stay_out() {
    let world = desk().await;
    let path = "/api/threads/20?include=requester,conversations";
    world.upstream.json(&format!("GET {path}"), THREAD);
    let ask = async |app: &str, purpose: &str| world.client(app).get(&format!("/desk{path}")).purpose(purpose).await;
    let support = concat!(
        r#"{"cc_emails":["cleo.sand@example.com"],"status":2,"subject":"Refund","id":20,"description_text":"I paid twice","#,
        r#""custom_fields":{"cf_order":"SO-1","cf_floor":{"level":3}},"requester":{"name":"Ada Holm","email":"ADA.HOLM@example.net","phone":"+45 20 30 40 51"},"#,
        r#""conversations":[{"id":1,"incoming":false,"body_text":"Sorry, we look into it"},"#,
        r#"{"id":2,"incoming":true,"body_text":"Same here","attachments":[{"name":"bank statement of Cleo.pdf"}]},"#,
        r#"{"id":3,"incoming":false,"body_text":"She calls every week"}]}"#
    );
    ask("helpdesk", SUPPORT).await.released(200, support);
    let bare = r#""conversations":[{"id":1,"incoming":false},{"id":2,"incoming":true},{"id":3,"incoming":false}]"#;
    let marketing = |cc: &str| {
        format!(
            concat!(
                r#"{{{}"status":2,"subject":null,"id":20,"requester":{{"name":"Ada Holm","email":"ADA.HOLM@example.net","phone":"+45 20 30 40 51"}},"#,
                r#"{},"tags":["twice-paid","angry"]}}"#
            ),
            cc, bare
        )
    };
    ask("campaign-manager", EMAIL).await.released(200, &marketing(r#""cc_emails":["Ben.Ruiz@example.org"],"#));
    world.consent("email:ben.ruiz@example.org", EMAIL, "withdrawn").await;
    ask("campaign-manager", EMAIL).await.released(200, &marketing(""));
    ask("crm", OUTREACH).await.refused(403, "denied");

    // A lead has no contract by which sales could see how to reach them. With a policy for it, a masked form.
    let of_ben = THREAD.replace("ADA.HOLM@example.net", "ben.ruiz@example.org").replace("Ada Holm", "Ben Ruiz");
    world.upstream.json(&format!("GET {path}"), &of_ben);
    ask("crm", "service-provision").await.refused(403, "denied");
    world
        .add_policy(
            "@id(\"test-reduced\")\n@description(\"Sales recognises a lead by masked forms.\")\n\
             permit (principal in Department::\"sales\", action == Action::\"read-reduced\", resource == Category::\"contact\")\n\
             when { context.purpose == Purpose::\"service-provision\" };",
        )
        .await;
    let masked = format!(r#"{{"cc_emails":["cleo.sand@example.com"],"status":2,"subject":null,"id":20,"requester":{{"phone":"****4051"}},{bare}}}"#);
    ask("crm", "service-provision").await.released(200, &masked);

    // Who is restricted closes the whole ticket for everybody, and of those copied in the own address.
    let restrict = async |id: &str| {
        let body = json!({ "party": id, "evidence": [{ "kind": "letter", "reference": "l" }] });
        world.desk(Method::POST, "/v1/restrictions", body).await;
    };
    restrict("desk:7003").await;
    ask("crm", "service-provision").await.released(200, &masked.replace(r#""cc_emails":["cleo.sand@example.com"],"#, ""));
    restrict("desk:7002").await;
    for (app, purpose) in [("crm", "service-provision"), ("helpdesk", SUPPORT), ("campaign-manager", EMAIL)] {
        ask(app, purpose).await.refused(403, "denied");
    }
    world.finish().await;
}

/// A ticket of the tracker.
fn request(world: &World, id: u32, requestors: &str, cc: &str) -> String {
    let ticket = theirs(world, &format!("/REST/2.0/ticket/{id}"));
    format!(
        concat!(
            r#"{{"id":{id},"type":"ticket","Subject":"Tender","Status":"open","Queue":{{"id":"1","_url":"{ticket}/queue"}},"#,
            r#""Requestor":[{requestors}],"Cc":[{cc}],"AdminCc":[],"Owner":{{"id":"root","type":"user"}},"#,
            r#""CustomFields":[{{"id":"3","name":"Budget","values":["12000"]}}],"#,
            r#""_hyperlinks":[{{"ref":"self","_url":"{ticket}"}},{{"ref":"history","_url":"{ticket}/history"}}]}}"#
        ),
        id = id,
        ticket = ticket,
        requestors = requestors,
        cc = cc
    )
}

fn person(mail: &str, name: &str) -> String {
    format!(r#"{{"id":"{mail}","type":"user","RealName":"{name}","_url":"https://rt.example.net/user/{mail}"}}"#)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_of_several_persons_needs_the_leave_of_all_of_them() {
    let world = desk().await;
    let ada = person("ada.holm@example.net", "Ada Holm");
    let ben = person("ben.ruiz@example.org", "Ben Ruiz");
    let cleo = person("Cleo.Sand@example.com", "Cleo Sand");
    let stranger = person("stranger@example.com", "S");
    let both = format!("{ada},{cleo}");
    let rows =
        [(1, &both, ""), (2, &ada, &*ben), (3, &ben, ""), (4, &ada, &*stranger)].map(|(id, requestors, cc)| request(&world, id, requestors, cc));
    let list = |more: &str| format!(r#"{{"count":4,"page":1,"pages":1,"per_page":20,{more},"items":[{}]}}"#, rows.join(","));
    let ask = async |app: &str, purpose: &str| world.client(app).get("/tracker/REST/2.0/tickets").purpose(purpose).await;
    let links = |id: u32| format!(r#""_hyperlinks":[{{"ref":"self","_url":"https://localhost/tracker/REST/2.0/ticket/{id}"}},{{"ref":"history"}}]"#);
    let support = [
        format!(
            concat!(
                r#"{{"id":1,"type":"ticket","Subject":"Tender","Status":"open","#,
                r#""Requestor":[{{"id":"ada.holm@example.net","RealName":"Ada Holm"}},{{"id":"Cleo.Sand@example.com","RealName":"Cleo Sand"}}],"Cc":[],"#,
                r#""CustomFields":[{{"values":["12000"]}}],{}}}"#
            ),
            links(1)
        ),
        // The lead who is copied in has no contract, so nobody's name goes out; what service owns does.
        format!(r#"{{"id":2,"type":"ticket","Subject":"Tender","Status":"open","CustomFields":[{{"values":["12000"]}}],{}}}"#, links(2)),
        format!(r#"{{"id":3,"type":"ticket","Subject":"Tender","Status":"open","CustomFields":[{{"values":["12000"]}}],{}}}"#, links(3)),
    ];
    // `pages` may be told of nobody's rows, so what the upstream says of the rest is left out, too.
    world.upstream.json("GET /REST/2.0/tickets", &list(r#""total":4"#));
    ask("helpdesk", SUPPORT).await.released(200, &format!(r#"{{"page":1,"per_page":20,"items":[{}]}}"#, support.join(",")));
    world.upstream.json("GET /REST/2.0/tickets", &list(r#""total":4"#).replace(r#""pages":1,"#, ""));
    ask("helpdesk", SUPPORT).await.released(200, &format!(r#"{{"count":3,"page":1,"per_page":20,"total":3,"items":[{}]}}"#, support.join(",")));

    // Ben and Ada agreed to mailings, Cleo did not.
    let marketing = [
        format!(
            concat!(
                r#"{{"id":2,"type":"ticket","Status":"open","Requestor":[{{"id":"ada.holm@example.net","RealName":"Ada Holm"}}],"#,
                r#""Cc":[{{"id":"ben.ruiz@example.org","RealName":"Ben Ruiz"}}],{}}}"#
            ),
            links(2)
        ),
        format!(
            r#"{{"id":3,"type":"ticket","Status":"open","Requestor":[{{"id":"ben.ruiz@example.org","RealName":"Ben Ruiz"}}],"Cc":[],{}}}"#,
            links(3)
        ),
    ];
    ask("campaign-manager", EMAIL)
        .await
        .released(200, &format!(r#"{{"count":2,"page":1,"per_page":20,"total":2,"items":[{}]}}"#, marketing.join(",")));

    let next = theirs(&world, "/REST/2.0/tickets?page=2");
    world.upstream.json("GET /REST/2.0/tickets", &list(&format!(r#""next_page":"{next}","total":44"#)));
    ask("campaign-manager", EMAIL).await.released(
        200,
        &format!(r#"{{"page":1,"per_page":20,"next_page":"https://localhost/tracker/REST/2.0/tickets?page=2","items":[{}]}}"#, marketing.join(",")),
    );

    let single =
        async |world: &World, app: &str, purpose: &str| -> Answer { world.client(app).get("/tracker/REST/2.0/ticket/2").purpose(purpose).await };
    world.upstream.json("GET /REST/2.0/ticket/2", &rows[1]);
    single(&world, "campaign-manager", EMAIL).await.released(200, &marketing[0]);
    single(&world, "helpdesk", SUPPORT).await.released(200, &support[1]);
    // Asked for as one person's, it still is everybody's who stands in it, if anybody does.
    let latest = "/REST/2.0/user/ada.holm@example.net/latest";
    let of_ada = async |app: &str, purpose: &str| world.client(app).get(&format!("/tracker{latest}")).purpose(purpose).await;
    world.upstream.json(&format!("GET {latest}"), &rows[1]);
    of_ada("campaign-manager", EMAIL).await.released(200, &marketing[0]);
    of_ada("helpdesk", SUPPORT).await.released(200, &support[1]);
    world.consent("desk:7002", EMAIL, "withdrawn").await;
    single(&world, "campaign-manager", EMAIL).await.refused(403, "denied");
    let refused = of_ada("campaign-manager", EMAIL).await;
    refused.refused(403, "denied");
    assert_eq!(2, world.found(&refused).parties, "both were judged");
    world.upstream.json(&format!("GET {latest}"), r#"{"id":9,"type":"ticket","Subject":"Tender"}"#);
    of_ada("helpdesk", SUPPORT).await.released(200, r#"{"id":9,"type":"ticket","Subject":"Tender"}"#);
    world.upstream.json(&format!("GET {latest}"), &rows[2]);
    of_ada("helpdesk", SUPPORT).await.refused(502, "upstream-unreadable");
    world.upstream.json("GET /REST/2.0/ticket/2", &rows[3]);
    single(&world, "helpdesk", SUPPORT).await.refused(403, "denied");
    // Nobody's ticket, and one that names somebody without an address.
    for requestors in ["", r#"{"type":"user","RealName":"X"}"#] {
        world.upstream.json("GET /REST/2.0/ticket/2", &request(&world, 2, requestors, &ben));
        single(&world, "helpdesk", SUPPORT).await.refused(502, "upstream-unreadable");
    }
    world.finish().await;
}
