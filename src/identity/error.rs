//! What can be wrong with a credential, with a purpose, and with the settings. The first two are the caller's affair and
//! carry no text of theirs; the last is the operator's.

use std::path::PathBuf;

use crate::model::{Client, IssuerName};

/// Why nobody could be recognised. The answer to the caller is constant; the reason goes to the trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// No credential, or a certificate that is no registered client's.
    #[error("no credential of a registered client was presented")]
    Unauthenticated,
    #[error("the token is refused: {0}")]
    TokenInvalid(TokenFault),
    /// No key set that is young enough to be believed.
    #[error("the issuer's keys are not available")]
    KeysUnavailable,
    /// Certificate and token (or two names of one certificate) stand for different clients.
    #[error("the credentials stand for different clients")]
    CredentialsDisagree,
}

/// What is wrong with a token; for the trace only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum TokenFault {
    #[error("more than one authorization header")]
    TwoHeaders,
    #[error("the authorization header is not `Bearer` or `DPoP` and one token")]
    Scheme,
    #[error("longer than {} bytes", super::token::TOKEN_BYTES_MAX)]
    TooLong,
    #[error("not three parts of canonical base64url with JSON objects in the first two")]
    Malformed,
    #[error("a member stands twice in one object")]
    DuplicateMember,
    #[error("the algorithm is missing, not allowed, or not the key's")]
    Algorithm,
    #[error("the header asks for an extension (`crit`, `b64`, `zip`, encryption or nesting)")]
    Extension,
    #[error("another type of token")]
    Type,
    #[error("the issuer is not configured")]
    Issuer,
    #[error("no such key")]
    UnknownKey,
    #[error("the signature does not fit")]
    Signature,
    #[error("the audience is not exactly this gateway")]
    Audience,
    #[error("`exp` is missing or past, or `nbf` or `iat` is ahead")]
    Time,
    #[error("not bound to the certificate of this connection, or bound otherwise than it is shown")]
    Confirmation,
    #[error("the DPoP proof: {0}")]
    Proof(ProofFault),
    #[error("a claim has the wrong type")]
    Claim,
    #[error("the client claim is missing or not registered")]
    UnknownClient,
}

/// What is wrong with a proof of possession; for the trace only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ProofFault {
    #[error("not exactly one `DPoP` header")]
    Count,
    #[error("this listener takes none")]
    NotTaken,
    #[error("not a signed JWT of the type `dpop+jwt` with its claims")]
    Malformed,
    #[error("`jwk` is missing, not a public key of RS256, ES256 or EdDSA, or not of the algorithm")]
    Key,
    #[error("made with another key than the token is bound to")]
    OtherKey,
    #[error("the signature does not fit")]
    Signature,
    #[error("made for another method")]
    Method,
    #[error("made for another address")]
    Address,
    #[error("made for another token")]
    Token,
    #[error("`iat` is too long ago, ahead, or before the gateway's start")]
    Time,
    #[error("used before")]
    Replayed,
    #[error("more proofs were used than can be remembered")]
    Full,
}

impl From<ProofFault> for AuthError {
    fn from(fault: ProofFault) -> Self {
        Self::TokenInvalid(TokenFault::Proof(fault))
    }
}

impl From<TokenFault> for AuthError {
    fn from(fault: TokenFault) -> Self {
        Self::TokenInvalid(fault)
    }
}

/// Why no purpose could be settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PurposeError {
    /// 400 `ambiguous-request`.
    #[error("more than one `Data-Purpose` header; send exactly one")]
    Ambiguous,
    /// 403 `purpose-missing`.
    #[error("no purpose was named and not exactly one is left; send `Data-Purpose`")]
    Missing,
    /// 403 `purpose-not-registered`.
    #[error("the purpose is not registered for this client on this route")]
    NotRegistered,
}

/// Settings that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("the issuer `{0}` is declared twice; give each `iss` one entry")]
    DuplicateIssuer(IssuerName),
    #[error("the issuer `{0}` allows no algorithm; name at least one of RS256, ES256, EdDSA")]
    NoAlgorithm(IssuerName),
    #[error("the issuer `{0}` has an empty `{1}`; it must be written out")]
    EmptyIssuerSetting(IssuerName, &'static str),
    #[error("issuer `{issuer}`: `{url}`, where its keys or its metadata are, is neither `https:` nor `http:` to a loopback address")]
    KeyUrl { issuer: IssuerName, url: String },
    #[error("the keys of issuer `{issuer}`: cannot read `{}`: {source}", path.display())]
    KeyFile { issuer: IssuerName, path: PathBuf, source: std::io::Error },
    #[error("the keys of issuer `{issuer}`: {reason}")]
    KeySet { issuer: IssuerName, reason: String },
    #[error("the client `{0}` is not in the catalogue; register it in the policy folder first")]
    UnknownClient(Client),
    #[error("the client `{0}` is declared twice")]
    DuplicateClient(Client),
    #[error("the client `{0}` has neither certificate nor token and could never be recognised")]
    NoCredential(Client),
    #[error("the client `{client}`: `{name}` is not an exact SAN URI or DNS name (no wildcard, no space, ASCII only)")]
    CertificateName { client: Client, name: String },
    #[error("the clients `{0}` and `{1}` share one certificate name; each credential is one client's")]
    SharedCertificate(Client, Client),
    #[error("the clients `{0}` and `{1}` share one token client; each credential is one client's")]
    SharedToken(Client, Client),
    #[error("the client `{client}` names the issuer `{issuer}`, which is not declared")]
    UnknownIssuer { client: Client, issuer: IssuerName },
    #[error("tls for fetching keys cannot be set up: {0}")]
    Tls(String),
}
