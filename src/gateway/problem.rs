//! Every refusal of the data plane: one closed list of codes with status, public sentence and remedy. This is the only
//! place where a cause becomes HTTP. The sentence never depends on the customer; what does stays in the decision log.
//! Format: RFC 9457 problem details.

use http::StatusCode;
use serde::Serialize;

/// A stable problem code. Clients branch on it; never rename one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    Unauthenticated,
    TokenInvalid,
    AmbiguousRequest,
    ParameterNotDeclared,
    QueryRefused,
    RouteNotDeclared,
    MethodNotAllowed,
    MediaType,
    ExpectationFailed,
    Misdirected,
    NotImplemented,
    HttpVersion,
    RequestTimeout,
    PayloadTooLarge,
    UriTooLong,
    HeadersTooLarge,
    PurposeMissing,
    PurposeNotRegistered,
    TaskNotRegistered,
    EmergencyNotGranted,
    NotEntitled,
    Denied,
    OverBudget,
    FieldNotPermitted,
    MaskedWrite,
    PreconditionFailed,
    /// The status is the upstream's 4xx.
    UpstreamRefused(u16),
    UpstreamUnreadable,
    UpstreamUnavailable,
    UpstreamTimeout,
    AuditUnavailable,
    ConsentUnavailable,
    PolicyStale,
    /// A defect of ours.
    Internal,
}

impl Code {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.row().1
    }

    #[must_use]
    pub fn status(self) -> StatusCode {
        StatusCode::from_u16(self.row().0).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    const fn title(self) -> &'static str {
        self.row().2
    }

    const fn remedy(self) -> &'static str {
        self.row().3
    }

    /// (status, code, title, what to do next).
    const fn row(self) -> (u16, &'static str, &'static str, &'static str) {
        match self {
            Self::Unauthenticated => (401, "unauthenticated", "no credentials", "send the app's client certificate or a bearer token"),
            Self::TokenInvalid => (
                401,
                "token-invalid",
                "the credentials are not valid",
                "fetch a new token for this app and audience; the gateway's trace names the reason",
            ),
            Self::AmbiguousRequest => {
                (400, "ambiguous-request", "the request could be read in two ways", "send one plain path, one value per id and one of each header")
            }
            Self::ParameterNotDeclared => (
                400,
                "parameter-not-declared",
                "a query parameter is not declared for this route",
                "leave it out, or ask the API's owner to declare it",
            ),
            Self::QueryRefused => (400, "query-refused", "the GraphQL query cannot be judged", "send one query of declared fields, with its text"),
            Self::RouteNotDeclared => {
                (404, "route-not-declared", "nothing is declared here", "check method and path; the API's owner can declare a route")
            }
            Self::MethodNotAllowed => (405, "method-not-allowed", "the path is declared, this method is not", "use a method of the `allow` header"),
            Self::MediaType => (415, "media-type", "the body's type is not accepted", "send uncompressed application/json in UTF-8"),
            Self::ExpectationFailed => (417, "expectation-failed", "only `100-continue` can be expected", "leave the header out"),
            Self::Misdirected => (421, "misdirected", "this host is not served here", "use the gateway's own address"),
            Self::NotImplemented => (501, "not-implemented", "the method is not known", "use GET, HEAD, POST, PUT, PATCH or DELETE"),
            Self::HttpVersion => (505, "http-version", "the HTTP version is not served", "use HTTP/1.1 or HTTP/2"),
            Self::RequestTimeout => (408, "request-timeout", "the request did not arrive in time", "send it again, whole"),
            Self::PayloadTooLarge => {
                (413, "payload-too-large", "the body is over the limit", "send less, or ask the platform team to raise the limit")
            }
            Self::UriTooLong => (414, "uri-too-long", "the target is over the limit", "shorten it"),
            Self::HeadersTooLarge => (431, "headers-too-large", "the headers are over the limit", "send fewer or shorter headers"),
            Self::PurposeMissing => (403, "purpose-missing", "the purpose is not clear", "name one registered purpose in `Data-Purpose`"),
            Self::PurposeNotRegistered => (
                403,
                "purpose-not-registered",
                "this app is not registered for the purpose here",
                "use a registered purpose, or have it registered in the policy folder",
            ),
            Self::TaskNotRegistered => (
                403,
                "task-not-registered",
                "this agent may not be sent to do that for this purpose",
                "send it to do one of its declared tasks, or have the task declared in the policy folder",
            ),
            Self::EmergencyNotGranted => (
                403,
                "emergency-not-granted",
                "no break-glass grant in force is for this use",
                "leave `Data-Justification` out, have one approved with `consentry break-glass request`, or begin it with the id of one of several",
            ),
            Self::NotEntitled => {
                (403, "not-entitled", "no policy could permit this", "no consent changes this: use another purpose, or ask the owner for a policy")
            }
            Self::Denied => (403, "denied", "not permitted", "do not retry; give this decision to those who can see the reason"),
            Self::OverBudget => (429, "over-budget", "this is more than may be asked for in a time", "ask for less, or later"),
            Self::FieldNotPermitted => {
                (403, "field-not-permitted", "a field is not permitted to this app", "leave the named fields out, or ask their owner")
            }
            Self::MaskedWrite => (
                409,
                "masked-write",
                "the write would destroy or store withheld members",
                "use PATCH with only the members that change, and replace no list or object with withheld ones",
            ),
            Self::PreconditionFailed => (
                412,
                "precondition-failed",
                "a condition of the write does not hold, or cannot be kept",
                "read the record again and send the `etag` of that answer; where it has none, leave conditions out",
            ),
            Self::UpstreamRefused(status) => {
                (status, "upstream-refused", "the API behind the gateway refused the request", "check the request against the API's documentation")
            }
            Self::UpstreamUnreadable => (502, "upstream-unreadable", "the API's answer cannot be filtered", "give this decision to the API's owner"),
            Self::UpstreamUnavailable => (502, "upstream-unavailable", "the API behind the gateway did not answer", "try again later"),
            Self::UpstreamTimeout => (504, "upstream-timeout", "the API behind the gateway was too slow", "try again later"),
            Self::AuditUnavailable => {
                (503, "audit-unavailable", "decisions cannot be recorded, so none is made", "try again later; the gateway's readiness says why")
            }
            Self::PolicyStale => (
                503,
                "policy-stale",
                "the policies have run out, so nothing is decided by them",
                "try again later; the gateway's readiness says since when",
            ),
            Self::Internal => (
                500,
                "internal-error",
                "the request broke down, so nothing is released",
                "do not retry; give the time of this answer to the platform team, whose trace says where it broke",
            ),
            Self::ConsentUnavailable => (
                503,
                "consent-unavailable",
                "the consent store cannot be read, so nothing is released",
                "try again later; the gateway's readiness says why",
            ),
        }
    }
}

/// Members beyond the constant ones; only where they are the same for every customer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    pub categories: Vec<String>,
    pub purpose: Option<String>,
    /// Paths of written fields or names of parameters.
    pub fields: Vec<String>,
    pub remedy: Option<String>,
    pub allow: Option<String>,
    /// How to show who one is, for a 401; without it `Bearer`.
    pub challenge: Option<&'static str>,
    /// The budget that is used up.
    pub budget: Option<String>,
    /// Seconds after which there may be room again.
    pub retry_after: Option<u64>,
}

/// A refusal on its way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub code: Code,
    pub details: Box<Details>,
}

impl Problem {
    #[must_use]
    pub fn with(code: Code, details: Details) -> Self {
        Self { code, details: Box::new(details) }
    }

    /// The JSON body; `decision` is `<origin>#<index>` of the recorded refusal.
    #[must_use]
    pub fn body(&self, decision: Option<&str>) -> Vec<u8> {
        #[derive(Serialize)]
        struct Wire<'a> {
            r#type: String,
            title: &'a str,
            status: u16,
            code: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            decision: Option<&'a str>,
            #[serde(skip_serializing_if = "Vec::is_empty")]
            categories: &'a Vec<String>,
            #[serde(skip_serializing_if = "Option::is_none")]
            purpose: Option<&'a str>,
            #[serde(skip_serializing_if = "Vec::is_empty")]
            fields: &'a Vec<String>,
            #[serde(skip_serializing_if = "Option::is_none")]
            budget: Option<&'a str>,
            remedy: &'a str,
        }
        let wire = Wire {
            r#type: format!("urn:consentry:problem:{}", self.code.as_str()),
            title: self.code.title(),
            status: self.code.status().as_u16(),
            code: self.code.as_str(),
            decision,
            categories: &self.details.categories,
            purpose: self.details.purpose.as_deref(),
            fields: &self.details.fields,
            budget: self.details.budget.as_deref(),
            remedy: self.details.remedy.as_deref().unwrap_or(self.code.remedy()),
        };
        // A struct of texts and numbers always serialises.
        serde_json::to_vec(&wire).unwrap_or_default()
    }
}

impl From<Code> for Problem {
    fn from(code: Code) -> Self {
        Self { code, details: Box::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denial_is_the_same_bytes_but_for_the_decision() {
        let problem = Problem::from(Code::Denied);
        let one = String::from_utf8(problem.body(Some("gw#1"))).unwrap();
        let two = String::from_utf8(problem.body(Some("gw#2"))).unwrap();
        assert_eq!(one.replace("gw#1", "gw#2"), two);
        assert_eq!(
            one,
            "{\"type\":\"urn:consentry:problem:denied\",\"title\":\"not permitted\",\"status\":403,\"code\":\"denied\",\"decision\":\"gw#1\",\
             \"remedy\":\"do not retry; give this decision to those who can see the reason\"}"
        );
    }
}
