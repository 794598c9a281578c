//! Refusals as RFC 9457 `application/problem+json`: type, title, status, code, remedy. Never customer data: details name
//! members and rules, not values of customers.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

/// A refusal with what to do next. The code decides status and title, so that they cannot disagree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub code: Code,
    /// What exactly, lower case, no full stop, no customer data.
    pub detail: Option<String>,
    pub remedy: String,
    /// The decision's `<origin>#<index>`, when one was written.
    pub decision: Option<String>,
}

macro_rules! codes {
    ($($variant:ident = $text:literal, $status:ident, $title:literal;)*) => {
        /// Stable codes of the admin, capture and health listeners.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Code { $($variant,)* }

        impl Code {
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            #[must_use]
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$variant => StatusCode::$status,)* }
            }

            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)* }
            }
        }
    };
}

codes! {
    Unauthenticated = "unauthenticated", UNAUTHORIZED, "no valid identity";
    RoleMissing = "role-missing", FORBIDDEN, "this role may not do that";
    NotEntitled = "not-entitled", FORBIDDEN, "no consent could permit this";
    PurposeNotRegistered = "purpose-not-registered", FORBIDDEN, "the purpose is not this app's";
    CrossSite = "cross-site", FORBIDDEN, "the request comes from another site";
    NotFound = "not-found", NOT_FOUND, "there is no such thing";
    MethodNotAllowed = "method-not-allowed", METHOD_NOT_ALLOWED, "the path has no such method";
    MediaType = "media-type", UNSUPPORTED_MEDIA_TYPE, "the body has another type than expected";
    PayloadTooLarge = "payload-too-large", PAYLOAD_TOO_LARGE, "the body is too large";
    RequestTimeout = "request-timeout", REQUEST_TIMEOUT, "the body did not arrive in time";
    AmbiguousRequest = "ambiguous-request", BAD_REQUEST, "the request can be read in two ways";
    ParameterNotDeclared = "parameter-not-declared", BAD_REQUEST, "a parameter is not declared";
    InvalidRequest = "invalid-request", BAD_REQUEST, "the request cannot be read";
    InvalidValue = "invalid-value", UNPROCESSABLE_ENTITY, "a value is not allowed";
    Conflict = "conflict", CONFLICT, "this contradicts what is stored";
    IdempotencyMismatch = "idempotency-mismatch", UNPROCESSABLE_ENTITY, "the idempotency key was used with another body";
    OverBudget = "over-budget", TOO_MANY_REQUESTS, "too many requests at once";
    AuditUnavailable = "audit-unavailable", SERVICE_UNAVAILABLE, "the decision log cannot be written";
    ConsentUnavailable = "consent-unavailable", SERVICE_UNAVAILABLE, "the consent store cannot be written";
    PolicyStale = "policy-stale", SERVICE_UNAVAILABLE, "the policies have run out";
    BundleBroken = "bundle-broken", UNPROCESSABLE_ENTITY, "this is not a good bundle";
    BundleRefused = "bundle-refused", CONFLICT, "the bundle is not taken now";
    SignaturesMissing = "signatures-missing", CONFLICT, "not enough people have signed";
    Unavailable = "unavailable", SERVICE_UNAVAILABLE, "not available at the moment";
}

impl Problem {
    #[must_use]
    pub fn new(code: Code, remedy: impl Into<String>) -> Self {
        Self { code, detail: None, remedy: remedy.into(), decision: None }
    }

    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// An identity is missing altogether.
    #[must_use]
    pub fn unauthenticated() -> Self {
        Self::new(Code::Unauthenticated, "present a client certificate and a token of an issuer that this listener trusts")
    }

    /// A body or parameter that cannot be read.
    #[must_use]
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(Code::InvalidRequest, "see `/openapi.json` for what this path takes").detail(detail)
    }

    /// A value that can be read and is refused.
    #[must_use]
    pub fn value(detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(Code::InvalidValue, remedy).detail(detail)
    }

    #[must_use]
    pub fn not_found(what: &str) -> Self {
        Self::new(Code::NotFound, "check the spelling; ids are written `party:<id>` or `<space>:<value>`").detail(format!("no such {what}"))
    }

    /// The document as it is sent.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut document = json!({
            "type": format!("urn:consentry:problem:{}", self.code.as_str()),
            "title": self.code.title(),
            "status": self.code.status().as_u16(),
            "code": self.code.as_str(),
            "remedy": self.remedy,
        });
        if let Some(members) = document.as_object_mut() {
            members.extend(self.detail.iter().map(|d| ("detail".to_owned(), json!(d))));
            members.extend(self.decision.iter().map(|d| ("decision".to_owned(), json!(d))));
        }
        document
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.to_json().to_string()));
        *response.status_mut() = self.code.status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.code.status() == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if matches!(self.code.status(), StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_refusals() {
        for (i, code) in Code::ALL.iter().enumerate() {
            assert!(code.status().is_client_error() || code.status().is_server_error(), "{code:?}");
            assert!(Code::ALL.iter().skip(i + 1).all(|other| other.as_str() != code.as_str()), "{code:?}");
        }
    }

    #[test]
    fn a_temporary_refusal_says_when_to_come_back() {
        let response = Problem::new(Code::AuditUnavailable, "repeat").into_response();
        assert_eq!(response.headers()["retry-after"], "5");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert_eq!(response.headers()["cache-control"], "no-store");
        assert!(Problem::unauthenticated().into_response().headers().contains_key("www-authenticate"));
    }
}
