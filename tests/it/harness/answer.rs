//! An answer of the gateway. Whatever a test is about, every answer is held against the list of what may stand in one.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde_json::Value;

/// Headers that may stand in any answer. `content-language` is what the test APIs let through.
const HEADERS: &[&str] = &[
    "allow",
    "cache-control",
    "consentry-decision",
    "consentry-revision",
    "consentry-withheld",
    "content-encoding",
    "content-language",
    "content-length",
    "content-type",
    "date",
    "etag",
    "link",
    "location",
    "retry-after",
    "transfer-encoding",
    "vary",
    "www-authenticate",
];
/// Headers that never stand in a refusal.
const NOT_IN_PROBLEMS: &[&str] =
    &["consentry-revision", "consentry-withheld", "content-encoding", "content-language", "etag", "link", "location", "vary"];
const MEMBERS: &[&str] = &["type", "title", "status", "code", "decision", "categories", "purpose", "fields", "budget", "remedy"];

#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    /// Checks what holds for every answer of the data plane.
    pub(super) fn checked(self, to_head: bool) -> Self {
        for name in self.headers.keys() {
            assert!(HEADERS.contains(&name.as_str()), "`{name}` must not stand in an answer: {self:?}");
            assert_eq!(1, self.headers.get_all(name).iter().count(), "`{name}` more than once");
        }
        self.check_owned();
        if !self.is_problem() {
            let cached = self.header("vary").is_some_and(|vary| vary.contains("data-purpose"));
            let kept = self.header("cache-control").unwrap();
            assert!(if cached { kept.starts_with("private, max-age=") } else { kept == "private, no-store" }, "{self:?}");
            assert!(!self.status.is_server_error() && !self.status.is_informational(), "{self:?}");
            assert!(self.status.is_success() || self.status == 304 || self.header("content-type") == Some("application/json"), "{self:?}");
            assert!(self.header("consentry-decision").is_some(), "{self:?}");
            assert!(self.header("consentry-revision").is_some_and(|r| r.parse::<u64>().is_ok()), "{self:?}");
        } else {
            for name in NOT_IN_PROBLEMS {
                assert!(self.header(name).is_none(), "`{name}` in a refusal: {self:?}");
            }
            assert_eq!(Some("application/problem+json"), self.header("content-type"), "{self:?}");
            assert_eq!(Some("no-store"), self.header("cache-control"), "{self:?}");
            if !to_head {
                self.check_problem();
            }
        }
        self
    }

    /// A refusal of the gateway's; what is left are answers of upstreams, as far as they went out.
    pub(crate) fn is_problem(&self) -> bool {
        !self.status.is_success() && self.header("consentry-revision").is_none()
    }

    /// Headers that are the gateway's own, or lead to it.
    fn check_owned(&self) {
        let holds = |name: &str, check: &dyn Fn(&str) -> bool| assert!(self.header(name).is_none_or(check), "`{name}`: {self:?}");
        let ours = |url: &str| url.starts_with("https://localhost/") || (url.starts_with('/') && !url.starts_with("//"));
        holds("content-encoding", &|coding| coding == "gzip");
        holds("etag", &|tag| tag.len() > 80 && tag.starts_with("\"A"));
        holds("location", &ours);
        holds("link", &|links| links.split(", ").all(|link| link.strip_prefix('<').is_some_and(ours)));
        holds("vary", &|vary| vary.split(", ").all(|name| ["accept-encoding", "data-purpose"].contains(&name)));
    }

    fn check_problem(&self) {
        let problem = self.json();
        let members = problem.as_object().unwrap();
        for name in members.keys() {
            assert!(MEMBERS.contains(&name.as_str()), "`{name}` must not stand in a problem: {problem}");
        }
        assert_eq!(format!("urn:consentry:problem:{}", self.code()), problem["type"], "{problem}");
        assert_eq!(u64::from(self.status.as_u16()), problem["status"], "{problem}");
        assert_eq!(self.header("consentry-decision"), problem["decision"].as_str(), "{problem}");
        assert!(problem["title"].is_string() && problem["remedy"].is_string(), "{problem}");
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|v| v.to_str().unwrap())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("not JSON ({e}): {self:?}"))
    }

    /// The problem's code; empty when it is none.
    pub(crate) fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn decision(&self) -> Option<&str> {
        self.header("consentry-decision")
    }

    pub(crate) fn withheld(&self) -> Option<u64> {
        self.header("consentry-withheld").map(|n| n.parse().unwrap())
    }

    /// Released exactly so, byte for byte.
    #[track_caller]
    pub(crate) fn released(&self, status: u16, body: &str) -> &Self {
        assert_eq!((status, body), (self.status.as_u16(), self.text()), "{self:?}");
        self
    }

    /// Refused with this status and code.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16, code: &str) -> &Self {
        assert_eq!((status, code), (self.status.as_u16(), self.code().as_str()), "{self:?}");
        self
    }

    /// The answer's bytes without what is its own: the decision's number, and the date.
    pub(crate) fn anonymous(&self) -> (u16, Vec<(String, String)>, String) {
        let decision = self.decision().unwrap_or("-").to_owned();
        let blank = |text: &str| text.replace(&decision, "#");
        let date = |name: &str| name == "date" || name == "content-length";
        let headers = self.headers.iter().filter(|(n, _)| !date(n.as_str()));
        let mut headers: Vec<_> = headers.map(|(n, v)| (n.to_string(), blank(v.to_str().unwrap()))).collect();
        headers.sort();
        (self.status.as_u16(), headers, blank(self.text()))
    }
}
