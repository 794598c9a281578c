//! Every kind of hard stop, by every way in which one is recorded, to the refusal at the gateway.

use consentry::consent::StopKind;
use http::Method;
use serde_json::json;

use crate::harness::people::{card, card_whole};
use crate::harness::{Answer, Client, gateway};

/// Who uses data for what.
type Usage = (&'static str, &'static str);

const MAIL: Usage = ("campaign-manager", "marketing.email");
const SUPPORT: Usage = ("helpdesk", "service-provision.support");
const COORDINATION: Usage = ("mdm-hub", "data-coordination");

/// Where a stop comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writer {
    /// A registered app.
    Capture,
    /// An app that is registered for nothing: it can lower all the same.
    Stranger,
    Desk,
    Import,
    /// The header `Sec-GPC: 1` in place of a kind.
    Signal,
}

/// Where a kind is recorded, and a use that it ends.
struct Kind {
    path: &'static str,
    ends: Usage,
    /// What goes on; `None`: nothing that the policies know of.
    leaves: Option<Usage>,
    writers: &'static [Writer],
}

/// A new kind does not compile before somebody says who writes it and what it ends.
fn about(kind: StopKind) -> Kind {
    const ALL: &[Writer] = &[Writer::Capture, Writer::Stranger, Writer::Desk, Writer::Import];
    let everything = |path| Kind { path, ends: SUPPORT, leaves: None, writers: ALL };
    let marketing = |path| Kind { path, ends: MAIL, leaves: Some(SUPPORT), writers: ALL };
    match kind {
        // Apps do not erase.
        StopKind::Erasure => Kind { writers: &[Writer::Desk, Writer::Import], ..everything("") },
        StopKind::Restriction | StopKind::Deceased | StopKind::Legal => everything("/v1/restrictions"),
        StopKind::ObjectionMarketing => marketing("/v1/objections"),
        // Ends what rests on legitimate interest.
        StopKind::Objection => Kind { path: "/v1/objections", ends: COORDINATION, leaves: Some(MAIL), writers: ALL },
        StopKind::OptOutSale | StopKind::OptOutSensitive => marketing("/v1/opt-outs"),
        StopKind::OptOutGpc => {
            Kind { writers: &[Writer::Capture, Writer::Stranger, Writer::Desk, Writer::Import, Writer::Signal], ..marketing("/v1/opt-outs") }
        }
        StopKind::Suppression => marketing("/v1/suppressions"),
    }
}

/// Those who record stops, each over one connection.
struct Writers {
    centre: Client,
    helpdesk: Client,
    desk: Client,
}

impl Writers {
    async fn write(&self, writer: Writer, kind: StopKind, id: &str) -> Answer {
        let path = about(kind).path;
        let limits = if about(kind).leaves.is_none() || path == "/v1/objections" { "" } else { "marketing" };
        let purposes: Vec<&str> = limits.split_terminator(' ').collect();
        let mut body = json!({ "party": id, "purposes": purposes });
        if writer == Writer::Signal {
            return self.centre.post(path, &body.to_string()).header("sec-gpc", "1").await;
        }
        body["kind"] = json!(kind.as_str());
        match writer {
            Writer::Capture | Writer::Signal => self.centre.post(path, &body.to_string()).await,
            Writer::Stranger => self.helpdesk.post(path, &body.to_string()).await,
            Writer::Desk if kind == StopKind::Erasure => {
                self.desk.post(&format!("/v1/parties/{id}:erase"), r#"{"reason":"asked in a letter"}"#).await
            }
            Writer::Desk => self.desk.post(path, &body.to_string()).await,
            Writer::Import => {
                let file = format!("id,stop,purposes,reason\n{id},{kind},{limits},asked in a letter\n");
                // The key of an import looks like the digest of its file.
                let path = format!("/v1/imports/{:0>64}?format=csv", id.trim_start_matches("crm:"));
                self.desk.ask(Method::POST, &path).header("content-type", "text/csv").body(file.as_bytes()).await
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_of_every_kind_from_every_writer_ends_in_a_refusal() {
    let rows: Vec<(StopKind, Writer)> = StopKind::ALL.iter().flat_map(|kind| about(*kind).writers.iter().map(|writer| (*kind, *writer))).collect();
    let ids: Vec<String> = (0..rows.len()).map(|n| format!("{}", 2001 + n)).collect();
    let customers: String = ids.iter().map(|id| format!("crm:{id},person,customer,standard,adult\n")).collect();
    let world = gateway().parties(&customers).start().await;
    let apps = ["campaign-manager", "helpdesk", "mdm-hub"].map(|app| (app, world.client(app)));
    let writers = Writers { centre: world.capture("preference-centre"), helpdesk: world.capture("helpdesk"), desk: world.staff("consent-desk") };
    let ask = |(app, purpose): Usage, id: &str| {
        let (client, target) = (&apps.iter().find(|(name, _)| *name == app).unwrap().1, format!("/crm/cards/{id}"));
        async move { client.get(&target).purpose(purpose).await }
    };
    world.upstream.json("GET /cards/0031", &card("0031", "a@example.net"));
    for ((kind, writer), id) in rows.into_iter().zip(&ids) {
        let (about, party) = (about(kind), format!("crm:{id}"));
        let whole = card_whole(id, "c@example.net");
        world.upstream.json(&format!("GET /cards/{id}"), &card(id, "c@example.net"));
        if about.ends == MAIL || about.leaves == Some(MAIL) {
            world.say(&party, MAIL.1, "given", json!({ "method": "explicit" })).await;
        }
        ask(about.ends, id).await.released(200, &whole);
        let written = writers.write(writer, kind, &party).await;
        assert!(written.status.is_success(), "{kind} by {writer:?}: {written:?}");
        world.upstream.take();
        let refused = ask(about.ends, id).await;
        assert_eq!((403, "denied"), (refused.status.as_u16(), refused.code().as_str()), "{kind} by {writer:?}: {refused:?}");
        assert!(world.upstream.asked().is_empty(), "{kind} by {writer:?}");
        let relied = world.found(&refused).relied;
        let why = format!("stop:{}", kind.stop_name());
        assert!(!relied.is_empty() && relied.iter().all(|r| r.why == why), "{kind} by {writer:?}: {relied:?}");
        if let Some(leaves) = about.leaves {
            ask(leaves, id).await.released(200, &whole);
        }
    }
    ask(SUPPORT, "0031").await.released(200, &card_whole("0031", "a@example.net"));
    world.finish().await;
}
