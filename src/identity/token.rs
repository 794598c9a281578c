//! A compact JWS ([RFC 7515](https://www.rfc-editor.org/rfc/rfc7515)) taken apart, and what its claims must say.
//! Nothing here believes anything: a [`Token`] is only text until [`super::Verifier`] has checked its signature.
//!
//! ```text
//! base64url(header) "." base64url(claims) "." base64url(signature)      no padding, canonical
//! ```

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::json::{self, JsonFault};
use super::{Algorithm, AuthError, IssuerSettings, PeerCertificate, SenderConstraint, TokenFault};

/// Longer tokens are refused before anything is decoded.
pub(super) const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// How far the issuer's clock may be off.
pub(super) const LEEWAY: Duration = Duration::from_secs(30);
/// A longer key id is nobody's.
const KID_BYTES_MAX: usize = 256;

/// How a token is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    /// [RFC 6750](https://www.rfc-editor.org/rfc/rfc6750): whoever holds it, or whose certificate it names.
    Bearer,
    /// [RFC 9449](https://www.rfc-editor.org/rfc/rfc9449): with a proof that its sender has the key it names.
    Dpop,
}

/// The one token of a request; `None` without an `Authorization` header. Nowhere else is looked for one.
pub(super) fn shown(headers: &HeaderMap) -> Result<Option<(Scheme, &str)>, AuthError> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(TokenFault::TwoHeaders.into());
    }
    let (scheme, token) = value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or(TokenFault::Scheme)?;
    let scheme = match scheme {
        bearer if bearer.eq_ignore_ascii_case("bearer") => Scheme::Bearer,
        dpop if dpop.eq_ignore_ascii_case("dpop") => Scheme::Dpop,
        _ => return Err(TokenFault::Scheme.into()),
    };
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(TokenFault::Scheme.into());
    }
    Ok(Some((scheme, token)))
}

/// A token that could be read. Its signature has not been looked at.
pub(super) struct Token<'a> {
    pub(super) algorithm: Algorithm,
    pub(super) kid: Option<String>,
    /// In lower case.
    pub(super) typ: Option<String>,
    pub(super) claims: Claims,
    /// What is signed: the first two parts with their dot.
    pub(super) signed: &'a str,
    pub(super) signature: &'a str,
}

impl<'a> Token<'a> {
    pub(super) fn read(text: &'a str) -> Result<Self, TokenFault> {
        Self::with_header(text).map(|(token, _)| token)
    }

    /// With the members of its header, for proofs: they bring their key along.
    pub(super) fn with_header(text: &'a str) -> Result<(Self, Map<String, Value>), TokenFault> {
        let (mut token, payload, header) = Self::head(text)?;
        token.claims = Claims(decoded(payload)?);
        Ok((token, header))
    }

    /// For vectors whose payloads are no claims.
    #[cfg(test)]
    pub(super) fn read_any_payload(text: &'a str) -> Result<Self, TokenFault> {
        let (token, payload, _) = Self::head(text)?;
        URL_SAFE_NO_PAD.decode(payload).map_err(|_not_canonical| TokenFault::Malformed)?;
        Ok(token)
    }

    /// All but the claims, the payload they are in, and the header.
    fn head(text: &'a str) -> Result<(Self, &'a str, Map<String, Value>), TokenFault> {
        if text.len() > TOKEN_BYTES_MAX {
            return Err(TokenFault::TooLong);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(TokenFault::Malformed)?;
        let (header, payload) = signed.split_once('.').ok_or(TokenFault::Malformed)?;
        // A payload with a dot in it (five parts: JWE) is no base64url.
        let header = decoded(header)?;
        refuse_extensions(&header)?;
        let algorithm = header.get("alg").and_then(Value::as_str).and_then(Algorithm::parse).ok_or(TokenFault::Algorithm)?;
        let kid = match header.get("kid") {
            None => None,
            Some(Value::String(kid)) if kid.len() <= KID_BYTES_MAX => Some(kid.clone()),
            Some(_) => return Err(TokenFault::UnknownKey),
        };
        let typ = match header.get("typ") {
            None => None,
            Some(Value::String(typ)) => Some(typ.to_ascii_lowercase()),
            Some(_) => return Err(TokenFault::Type),
        };
        if signature.is_empty() || URL_SAFE_NO_PAD.decode(signature).is_err() {
            return Err(TokenFault::Malformed);
        }
        Ok((Self { algorithm, kid, typ, claims: Claims(Map::new()), signed, signature }, payload, header))
    }

    /// What the claims must say, whatever was cached: type, audience, times, binding. Returns the key of which the sender has
    /// to prove that it is theirs.
    pub(super) fn judge(
        &self,
        settings: &IssuerSettings,
        times: Times,
        scheme: Scheme,
        peer: Option<&PeerCertificate>,
    ) -> Result<Option<&str>, TokenFault> {
        self.refuse_other_types()?;
        if !is_exactly(self.claims.0.get("aud"), &settings.audience) {
            return Err(TokenFault::Audience);
        }
        self.claims.judge_times(times)?;
        self.claims.judge_binding(settings.sender_constraint, scheme, peer)
    }

    /// ID tokens, refresh tokens, logout tokens, proofs: signed by the same issuer, often for the same audience, and
    /// not meant for an API. [RFC 8725, 3.11](https://www.rfc-editor.org/rfc/rfc8725#section-3.11) asks for `typ`; issuers
    /// that leave it out are told by the claims that only other kinds carry.
    fn refuse_other_types(&self) -> Result<(), TokenFault> {
        let access = match self.typ.as_deref() {
            Some("at+jwt" | "application/at+jwt") => true,
            None | Some("jwt" | "application/jwt") => false,
            Some(_) => return Err(TokenFault::Type),
        };
        // Keycloak says `typ`, Cognito says `token_use` inside.
        let bearer = match (self.claims.0.get("typ"), self.claims.0.get("token_use")) {
            (None, None) => false,
            (Some(Value::String(kind)), None) if kind == "Bearer" => true,
            (None, Some(Value::String(kind))) if kind == "access" => true,
            _ => return Err(TokenFault::Type),
        };
        let foreign = ["at_hash", "c_hash", "s_hash", "events"].iter().any(|name| self.claims.0.contains_key(*name));
        let of_a_sign_in = self.claims.0.contains_key("nonce") && !access && !bearer;
        if foreign || of_a_sign_in { Err(TokenFault::Type) } else { Ok(()) }
    }
}

/// `jwk`, `jku`, `x5u` and `x5c` are not even looked at: keys come from the configuration alone, and of proofs from `jwk`.
fn refuse_extensions(header: &Map<String, Value>) -> Result<(), TokenFault> {
    if ["crit", "b64", "zip", "enc", "cty"].iter().any(|name| header.contains_key(*name)) {
        return Err(TokenFault::Extension);
    }
    Ok(())
}

fn decoded(part: &str) -> Result<Map<String, Value>, TokenFault> {
    // The engine refuses padding, foreign characters and stray bits in the last character: one token, one spelling.
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_not_canonical| TokenFault::Malformed)?;
    json::object(&bytes).map_err(|fault| match fault {
        JsonFault::Malformed => TokenFault::Malformed,
        JsonFault::Duplicate => TokenFault::DuplicateMember,
    })
}

/// This text, or a list of nothing but this text. A list with others is refused: such a token is good elsewhere too.
fn is_exactly(claim: Option<&Value>, wanted: &str) -> bool {
    match claim {
        Some(Value::String(one)) => one == wanted,
        Some(Value::Array(list)) => matches!(list.as_slice(), [Value::String(one)] if one == wanted),
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => false,
    }
}

/// The stricter clock for each end of a token's life.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// For `exp`: never goes back.
    pub(super) latest: Timestamp,
    /// For `nbf` and `iat`: the wall clock.
    pub(super) wall: Timestamp,
}

/// The claims of a token. No `Debug`: they are personal data.
pub(super) struct Claims(Map<String, Value>);

impl Claims {
    /// A claim by its exact name, else by a dotted path.
    pub(super) fn at(&self, name: &str) -> Option<&Value> {
        if let Some(value) = self.0.get(name) {
            return Some(value);
        }
        let mut parts = name.split('.');
        let first = self.0.get(parts.next()?)?;
        parts.try_fold(first, |value, part| value.as_object()?.get(part))
    }

    /// A member by its exact name and nothing else.
    pub(super) fn member(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.at(name)?.as_str()
    }

    /// A claim that may be missing, but must be a text of some length when it is there.
    pub(super) fn optional_text(&self, name: &str) -> Result<Option<&str>, TokenFault> {
        match self.at(name) {
            None => Ok(None),
            Some(Value::String(text)) if !text.is_empty() => Ok(Some(text)),
            Some(_) => Err(TokenFault::Claim),
        }
    }

    /// A claim that is a text or a list of texts.
    pub(super) fn texts(&self, name: &str) -> Result<Vec<&str>, TokenFault> {
        match self.at(name) {
            None => Ok(Vec::new()),
            Some(Value::String(text)) => Ok(vec![text]),
            Some(Value::Array(list)) => list.iter().map(|item| item.as_str().ok_or(TokenFault::Claim)).collect(),
            Some(_) => Err(TokenFault::Claim),
        }
    }

    fn judge_times(&self, times: Times) -> Result<(), TokenFault> {
        let leeway = i64::try_from(LEEWAY.as_secs()).unwrap_or(0);
        let ahead = times.wall.as_second().saturating_add(leeway);
        let has_run_out = self.has_run_out(times.latest)?;
        let begins = self.seconds("nbf")?.unwrap_or(i64::MIN);
        let issued = self.seconds("iat")?.unwrap_or(i64::MIN);
        if has_run_out || begins > ahead || issued > ahead {
            return Err(TokenFault::Time);
        }
        Ok(())
    }

    pub(super) fn has_run_out(&self, now: Timestamp) -> Result<bool, TokenFault> {
        let leeway = i64::try_from(LEEWAY.as_secs()).unwrap_or(0);
        let expires = self.seconds("exp")?.ok_or(TokenFault::Time)?;
        Ok(now.as_second() >= expires.saturating_add(leeway))
    }

    /// A NumericDate in whole seconds, rounded down.
    pub(super) fn seconds(&self, name: &str) -> Result<Option<i64>, TokenFault> {
        let Some(value) = self.0.get(name) else { return Ok(None) };
        let whole = value.as_i64().or_else(|| {
            let seconds = Duration::try_from_secs_f64(value.as_f64()?).ok()?.as_secs();
            i64::try_from(seconds).ok()
        });
        whole.map(Some).ok_or(TokenFault::Time)
    }

    /// Whose hands the token counts in: RFC 8705 binds it to the certificate of the connection, RFC 9449 to a key, whose thumbprint
    /// is returned. Both are obeyed wherever they stand, also where no binding is asked for, and a `cnf` of another kind is
    /// refused. A token that is bound to a key never counts as a bearer token, and no other counts as bound to a key.
    fn judge_binding(&self, constraint: SenderConstraint, scheme: Scheme, peer: Option<&PeerCertificate>) -> Result<Option<&str>, TokenFault> {
        let cnf = self.0.get("cnf");
        let member = |name: &str| match cnf.and_then(|cnf| cnf.get(name)) {
            None => Ok(None),
            Some(Value::String(thumbprint)) => Ok(Some(thumbprint.as_str())),
            Some(_) => Err(TokenFault::Confirmation),
        };
        let (certificate, key) = (member("x5t#S256")?, member("jkt")?);
        let is_enough = match constraint {
            SenderConstraint::Mtls => certificate.is_some(),
            SenderConstraint::Dpop => key.is_some(),
            SenderConstraint::None => cnf.is_none() || certificate.is_some() || key.is_some(),
        };
        let fits = certificate.is_none_or(|bound| peer.is_some_and(|peer| bound == peer.thumbprint()));
        let is_shown_so = match scheme {
            Scheme::Bearer => key.is_none(),
            Scheme::Dpop => key.is_some(),
        };
        if is_enough && fits && is_shown_so { Ok(key) } else { Err(TokenFault::Confirmation) }
    }

    pub(super) fn is_bound(&self) -> bool {
        self.0.contains_key("cnf")
    }
}
