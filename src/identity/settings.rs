//! What the configuration says about issuers and clients, already read; the catalogue's names are checked by whoever
//! makes these values and once more by [`super::Authenticator::new`].

use std::path::PathBuf;
use std::time::Duration;

use crate::model::{Client, IssuerName, Purpose};

/// `[[issuer]]`: whose tokens are believed, and how they are verified.
#[derive(Clone, Debug)]
pub struct IssuerSettings {
    pub name: IssuerName,
    /// The `iss` claim, compared exactly.
    pub issuer: String,
    /// The one value of the `aud` claim, compared exactly.
    pub audience: String,
    pub keys: KeySource,
    /// How long a key set is used without having been confirmed by its source.
    pub keys_max_age: Duration,
    pub algorithms: Vec<Algorithm>,
    pub sender_constraint: SenderConstraint,
    pub claims: ClaimNames,
}

/// Where a key set (JWKS, [RFC 7517](https://www.rfc-editor.org/rfc/rfc7517)) comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    File(PathBuf),
    /// `https:`; `http:` only towards a loopback address.
    Url(String),
    /// The same kind of address, of the issuer's metadata
    /// ([OpenID Connect Discovery](https://openid.net/specs/openid-connect-discovery-1_0.html),
    /// [RFC 8414](https://www.rfc-editor.org/rfc/rfc8414)), which say where the keys are.
    Discovery(String),
}

/// The signature algorithms that exist here. There is no `none` and nothing symmetric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    Rs256,
    Es256,
    EdDsa,
}

impl Algorithm {
    /// The name as in the token's header and in the configuration, exactly.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "RS256" => Some(Self::Rs256),
            "ES256" => Some(Self::Es256),
            "EdDSA" => Some(Self::EdDsa),
            _ => None,
        }
    }

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }
}

/// Whether a token is worth anything in other hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SenderConstraint {
    /// `cnf.x5t#S256` must be there and be the certificate of this connection.
    Mtls,
    /// `cnf.jkt` must be there, and each request brings a proof made with that key
    /// ([RFC 9449](https://www.rfc-editor.org/rfc/rfc9449)).
    Dpop,
    /// A bearer token. A `cnf` that is there all the same is still obeyed.
    None,
}

/// Which claims say what. A name is first looked for as it stands, then as a dotted path (`act.sub`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimNames {
    pub client: String,
    pub employee: String,
    pub agent: String,
    pub roles: String,
    pub purpose: String,
    /// What an agent was sent to do.
    pub task: String,
    /// The customer for whom an agent calls, as `<space>:<value>`; nobody reads one unless it is named.
    pub customer: Option<String>,
}

impl Default for ClaimNames {
    fn default() -> Self {
        Self {
            client: "azp".to_owned(),
            employee: "sub".to_owned(),
            agent: "act.sub".to_owned(),
            roles: "roles".to_owned(),
            purpose: "authorization_details".to_owned(),
            task: "task".to_owned(),
            customer: None,
        }
    }
}

/// `[client]`: which credentials are this application or agent of the catalogue.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    pub client: Client,
    /// A SAN of the certificate: a URI if it has a `:`, else a DNS name. Matched exactly.
    pub certificate: Option<String>,
    /// The issuer and the value of its client claim.
    pub token: Option<(IssuerName, String)>,
    /// Narrows the registered purposes; never widens them.
    pub purposes: Option<Vec<Purpose>>,
}
