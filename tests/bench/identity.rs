//! An ES256 token, verified and remembered.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use consentry::clock::SystemClock;
use consentry::identity::{Algorithm, BoxFuture, ClaimNames, IssuerSettings, KeyFetch, KeySource, SenderConstraint, TokenSigner, Verifier};
use consentry::model::IssuerName;
use criterion::Criterion;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use serde_json::json;

/// More than the cache of results holds, so that asking in turn always verifies.
const TOKENS: usize = 20_480;

pub fn bench(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for (name, tokens) in [("verify", if crate::is_smoke() { 8 } else { TOKENS }), ("cached", 1)] {
        c.bench_function(&format!("identity/token/{name}"), |b| {
            let folder = tempfile::tempdir().unwrap();
            let signer = TokenSigner::generate("k1").unwrap();
            let keys = folder.path().join("jwks.json");
            std::fs::write(&keys, signer.jwks().to_string()).unwrap();
            let verifier = verifier(&keys);
            let requests: Vec<HeaderMap> = (0..tokens).map(|n| request(&signer, n)).collect();
            let mut at = requests.iter().cycle();
            b.iter(|| runtime.block_on(verifier.verify_token(at.next().unwrap(), None)).unwrap());
        });
    }
}

fn verifier(keys: &Path) -> Verifier {
    let settings = IssuerSettings {
        name: IssuerName::intern("corp"),
        issuer: "https://login.example.com/".to_owned(),
        audience: "https://gw.example.com".to_owned(),
        keys: KeySource::File(keys.to_owned()),
        keys_max_age: Duration::from_secs(3600),
        algorithms: vec![Algorithm::Es256],
        sender_constraint: SenderConstraint::None,
        claims: ClaimNames::default(),
    };
    Verifier::new(vec![settings], Arc::new(Nowhere), SystemClock::shared()).unwrap()
}

/// Keys come from a file.
#[derive(Debug)]
struct Nowhere;

impl KeyFetch for Nowhere {
    fn fetch<'a>(&'a self, _url: &'a str) -> BoxFuture<'a, Result<Bytes, String>> {
        Box::pin(async { Err("nothing is fetched".to_owned()) })
    }
}

fn request(signer: &TokenSigner, n: usize) -> HeaderMap {
    let now = jiff::Timestamp::now().as_second();
    let claims =
        json!({ "iss": "https://login.example.com/", "aud": "https://gw.example.com", "azp": "crm", "iat": now, "exp": now + 3600, "jti": n });
    let value = HeaderValue::from_str(&format!("Bearer {}", signer.mint(&claims).unwrap())).unwrap();
    HeaderMap::from_iter([(AUTHORIZATION, value)])
}
