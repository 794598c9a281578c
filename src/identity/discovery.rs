//! An issuer's metadata ([OpenID Connect Discovery 1.0, 4](https://openid.net/specs/openid-connect-discovery-1_0.html#ProviderConfig),
//! [RFC 8414, 3](https://www.rfc-editor.org/rfc/rfc8414#section-3)): of all that stands there only where the keys are is read.

use serde_json::Value;

use super::fetch::{is_loopback, key_url};
use super::json;

/// Where the keys of the issuer are, from the metadata that stood at `address`.
pub(super) fn keys_at(metadata: &[u8], address: &str, issuer: &str) -> Result<String, String> {
    let metadata = json::object(metadata).map_err(|_fault| "the issuer's metadata are not a json object without duplicate members".to_owned())?;
    // Else whoever can have their own metadata fetched would sign for this issuer (RFC 8414, 3.3).
    if metadata.get("issuer").and_then(Value::as_str) != Some(issuer) {
        return Err("the metadata are of another issuer: `issuer` must be exactly the configured one".to_owned());
    }
    let keys = metadata.get("jwks_uri").and_then(Value::as_str).ok_or("the metadata have no text `jwks_uri`")?;
    let uri = key_url(keys).ok_or("`jwks_uri` is not `https:`")?;
    // What comes from elsewhere must not make us ask this machine in the clear.
    if uri.scheme_str() != Some("https") && !key_url(address).is_some_and(|from| is_loopback(&from)) {
        return Err("`jwks_uri` is not `https:`".to_owned());
    }
    Ok(keys.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_configured_issuer_says_where_its_keys_are() {
        let (issuer, there) = ("https://login.example.com/", "https://login.example.com/.well-known/openid-configuration");
        let read = |address: &str, text: &str| keys_at(text.as_bytes(), address, issuer);
        let good = r#"{"issuer":"https://login.example.com/","jwks_uri":"https://keys.example.net/k?v=1","token_endpoint":7}"#;
        assert_eq!(Ok("https://keys.example.net/k?v=1".to_owned()), read(there, good));
        let local = r#"{"issuer":"https://login.example.com/","jwks_uri":"http://127.0.0.1:9/keys"}"#;
        assert_eq!(Ok("http://127.0.0.1:9/keys".to_owned()), read("http://localhost:9/meta", local));
        for (case, address, text) in [
            ("another issuer", there, good.replacen("login", "evil", 1)),
            ("without the slash", there, good.replacen(".com/\"", ".com\"", 1)),
            ("in other case", there, good.replacen("https://login", "HTTPS://login", 1)),
            ("a list", there, good.replacen("\"https://login.example.com/\"", "[\"https://login.example.com/\"]", 1)),
            ("no issuer", there, good.replacen("issuer", "issued", 1)),
            ("the issuer twice", there, good.replacen('{', r#"{"issuer":"https://login.example.com/","#, 1)),
            ("no keys", there, good.replacen("jwks_uri", "jwks", 1)),
            ("keys in the clear", there, good.replacen("https://keys", "http://keys", 1)),
            ("keys behind a name", there, good.replacen("https://keys", "https://a:b@keys", 1)),
            ("keys of this machine", there, local.to_owned()),
            ("keys in a file", there, good.replacen("https://keys.example.net/k", "file:///etc/k", 1)),
            ("a list of metadata", there, format!("[{good}]")),
            ("more behind", there, format!("{good}{{}}")),
            ("nothing", there, String::new()),
        ] {
            read(address, &text).expect_err(case);
        }
    }
}
