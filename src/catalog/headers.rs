//! Response headers that no API can let through: those that the gateway sets itself, that speak for one connection or another body,
//! or that may say more than was decided. An API's `response_headers` cannot name them, and nothing else passes.

use http::HeaderName;

/// Why a response header cannot be declared; `None`: it can. `location` and `link` can: they pass as far as they lead to declared routes.
#[must_use]
pub fn owned_in_answers(name: &HeaderName) -> Option<&'static str> {
    let name = name.as_str();
    let prefix = OWNED_PREFIXES.iter().find(|(prefix, _)| name.starts_with(prefix)).map(|(_, why)| *why);
    OWNED.iter().find(|(owned, _)| *owned == name).map(|(_, why)| *why).or(prefix)
}

const SETS: &str = "the gateway sets it itself, or leaves it out";
const CONNECTION: &str = "it speaks for one connection only";
const BODY: &str = "it speaks of the body before it was cut";
const STEERS: &str = "it would let the API steer what stands in front of the gateway";

const OWNED_PREFIXES: [(&str, &str); 4] =
    [("access-control-", "pages of other origins get no data"), ("consentry-", SETS), ("proxy-", CONNECTION), ("x-accel-", STEERS)];

const OWNED: [(&str, &str); 36] = [
    ("accept-ranges", SETS),
    ("age", SETS),
    ("alt-svc", STEERS),
    ("authorization", "credentials are not passed"),
    ("cache-control", "declare `cache` on a route with `customer = \"none\"`; all other answers are `no-store`"),
    ("clear-site-data", STEERS),
    ("connection", CONNECTION),
    ("content-digest", BODY),
    ("content-disposition", "it may name a file after a customer"),
    ("content-encoding", SETS),
    ("content-length", SETS),
    ("content-location", "it may name a customer"),
    ("content-md5", BODY),
    ("content-range", BODY),
    ("content-type", SETS),
    ("cookie", "credentials are not passed"),
    ("date", SETS),
    ("digest", BODY),
    ("etag", "declare `etag = \"sealed\"`: the API's own would tell changes of what is withheld"),
    ("expires", SETS),
    ("host", CONNECTION),
    ("keep-alive", CONNECTION),
    ("last-modified", "it tells changes of what is withheld"),
    ("pragma", SETS),
    ("refresh", STEERS),
    ("repr-digest", BODY),
    ("server", SETS),
    ("set-cookie", "sessions of the API are not the caller's"),
    ("strict-transport-security", SETS),
    ("te", CONNECTION),
    ("trailer", CONNECTION),
    ("transfer-encoding", CONNECTION),
    ("upgrade", CONNECTION),
    ("vary", SETS),
    ("www-authenticate", "the API's challenge is to the gateway"),
    ("x-sendfile", STEERS),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owned_headers_are_found_and_others_are_not() {
        let why = |name: &'static str| owned_in_answers(&HeaderName::from_static(name));
        for name in
            ["etag", "set-cookie", "content-disposition", "access-control-allow-origin", "x-accel-redirect", "consentry-decision", "keep-alive"]
        {
            assert!(why(name).is_some(), "{name}");
        }
        for name in ["content-language", "location", "link", "retry-after", "x-request-id", "deprecation", "sunset"] {
            assert_eq!(why(name), None, "{name}");
        }
        for (name, _) in OWNED {
            assert_eq!(HeaderName::from_static(name).as_str(), name);
        }
    }
}
