//! An issuer of tokens as an OIDC provider is one to the gateway: a key set at a fixed address, and ES256 access tokens
//! that are bound to the caller's certificate ([RFC 8705](https://www.rfc-editor.org/rfc/rfc8705)) and, for an agent, name
//! it as actor ([RFC 8693](https://www.rfc-editor.org/rfc/rfc8693)). There is no login: the demo asks in process.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::serve::{Answer, Answers, Seen, Server};
use crate::identity::{SignError, TokenSigner};

/// How long a token is good for.
const LIFETIME: Duration = Duration::from_secs(15 * 60);

/// The running issuer.
pub struct Issuer {
    server: Server,
    signer: TokenSigner,
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer").field("address", &self.server.address).finish_non_exhaustive()
    }
}

/// For whom a token is made.
#[derive(Clone, Copy, Debug)]
pub struct TokenFor<'a> {
    /// `azp`: the client as the issuer knows it.
    pub client: &'a str,
    /// `aud`: the gateway.
    pub audience: &'a str,
    /// `sub`: the employee who is signed in at the app; none for the app itself.
    pub employee: Option<&'a str>,
    pub roles: &'a [&'a str],
    /// `act.sub`: the agent that acts for the employee.
    pub agent: Option<&'a str>,
    /// The caller's certificate, DER.
    pub certificate: &'a [u8],
    pub now: Timestamp,
}

impl Issuer {
    /// Serves the public half of the key on a free loopback port.
    ///
    /// # Errors
    /// No port can be bound.
    pub async fn start(signer: TokenSigner) -> std::io::Result<Self> {
        let server = Server::start_in_the_clear(Arc::new(KeySet(signer.jwks()))).await?;
        Ok(Self { server, signer })
    }

    /// The `iss` of its tokens.
    #[must_use]
    pub fn issuer(&self) -> String {
        format!("http://{}/", self.server.address)
    }

    /// Where the key set is.
    #[must_use]
    pub fn keys_url(&self) -> String {
        format!("http://{}/jwks.json", self.server.address)
    }

    /// An access token.
    ///
    /// # Errors
    /// The key cannot sign.
    pub fn mint(&self, token: &TokenFor<'_>) -> Result<String, SignError> {
        let issued = token.now.as_second();
        let lifetime = i64::try_from(LIFETIME.as_secs()).unwrap_or(i64::MAX);
        let mut claims = json!({
            "iss": self.issuer(),
            "aud": token.audience,
            "azp": token.client,
            "iat": issued,
            "exp": issued.saturating_add(lifetime),
            "cnf": { "x5t#S256": URL_SAFE_NO_PAD.encode(digest(&SHA256, token.certificate)) },
        });
        let optional = [
            ("sub", token.employee.map(|employee| json!(employee))),
            ("roles", (!token.roles.is_empty()).then(|| json!(token.roles))),
            ("act", token.agent.map(|agent| json!({ "sub": agent }))),
        ];
        if let Some(claims) = claims.as_object_mut() {
            claims.extend(optional.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
        }
        self.signer.mint(&claims)
    }
}

struct KeySet(Value);

impl Answers for KeySet {
    fn answer(&self, request: &Seen) -> Answer {
        match (request.method.as_str(), request.target.as_str()) {
            ("GET", "/jwks.json") => Answer::ok(&self.0),
            _ => Answer::empty(StatusCode::NOT_FOUND),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(token: &str) -> Value {
        let payload = token.split('.').nth(1).unwrap();
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
    }

    fn example() -> TokenFor<'static> {
        TokenFor {
            client: "crm",
            audience: "https://gw.test",
            employee: None,
            roles: &[],
            agent: None,
            certificate: b"certificate",
            now: Timestamp::from_second(1_800_000_000).unwrap(),
        }
    }

    #[tokio::test]
    async fn a_token_of_an_app_is_bound_and_names_no_employee() {
        let issuer = Issuer::start(TokenSigner::generate("test").unwrap()).await.unwrap();
        let claims = claims(&issuer.mint(&example()).unwrap());
        assert_eq!(claims["iss"], issuer.issuer());
        assert_eq!(claims["aud"], "https://gw.test");
        assert_eq!(claims["azp"], "crm");
        assert_eq!(claims["exp"], 1_800_000_900);
        // SHA-256 of "certificate", computed with sha256sum.
        assert_eq!(claims["cnf"]["x5t#S256"], URL_SAFE_NO_PAD.encode(digest(&SHA256, b"certificate")));
        for absent in ["sub", "roles", "act"] {
            assert!(claims.get(absent).is_none(), "{absent}");
        }
    }

    #[tokio::test]
    async fn an_agents_token_names_the_employee_and_the_agent() {
        let issuer = Issuer::start(TokenSigner::generate("test").unwrap()).await.unwrap();
        let token =
            TokenFor { client: "sales-copilot", employee: Some("e-7"), roles: &["key-account-care"], agent: Some("sales-copilot"), ..example() };
        let claims = claims(&issuer.mint(&token).unwrap());
        assert_eq!(claims["sub"], "e-7");
        assert_eq!(claims["act"]["sub"], "sales-copilot");
        assert_eq!(claims["roles"], json!(["key-account-care"]));
    }
}
