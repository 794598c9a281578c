//! The public listener: `/withdraw/{token}` and nothing else, for people without login and for their mail programs (RFC 8058).
//! GET shows a page and changes nothing, since scanners of mail follow every link; POST withdraws.
//!
//! What a stranger may cost is bounded: a POST has a small body and waits for its place, wrong links of one network and
//! presses of one link are counted. A link that works is never refused for what others did.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::sync::Semaphore;

use super::AdminState;
use super::links::{Act, fingerprint};
use super::page::{self, Language, State};
use super::throttle::Throttle;
use super::withdrawals::{Followed, withdraw};
use crate::consent::PartyRef;
use crate::model::Purpose;

/// A one-click form is a line; a browser's is empty.
const FORM_BYTES_MAX: usize = 4_096;
const FORM_TIMEOUT: Duration = Duration::from_secs(10);
/// Withdrawals that are recorded at the same time.
const AT_WORK_MAX: usize = 64;
const WAIT_FOR_WORK: Duration = Duration::from_secs(5);

/// Where a request of the public listener comes from; the listener puts it into the request's extensions.
#[derive(Clone, Copy, Debug)]
pub struct PublicPeer(pub IpAddr);

/// The public listener: withdrawal links, for anybody.
pub fn public_router(state: AdminState) -> axum::Router {
    let door = Arc::new(Door { state, at_work: Semaphore::new(AT_WORK_MAX), wrong: Throttle::default(), presses: Throttle::default() });
    axum::Router::new().fallback(move |request: Request<Body>| {
        let door = Arc::clone(&door);
        async move { harden(door.answer(request).await) }
    })
}

struct Door {
    state: AdminState,
    at_work: Semaphore,
    /// Wrong links by network.
    wrong: Throttle,
    /// Presses by link.
    presses: Throttle,
}

impl Door {
    async fn answer(&self, request: Request<Body>) -> Response {
        let (parts, body) = request.into_parts();
        let Some(token) = parts.uri.path().strip_prefix("/withdraw/").filter(|token| !token.is_empty() && !token.contains('/')) else {
            return StatusCode::NOT_FOUND.into_response();
        };
        if ![Method::GET, Method::HEAD, Method::POST].contains(&parts.method) {
            return (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "GET, HEAD, POST")]).into_response();
        }
        let now = self.state.clock.monotonic();
        let Some((subject, purpose)) = self.withdrawal(token) else {
            let network = network(parts.extensions.get::<PublicPeer>().map(|peer| peer.0));
            if self.wrong.admit(&network, now).is_err() {
                return self.page(&parts, State::TooMany, None);
            }
            self.wrong.count_refusal(&network, now);
            return self.page(&parts, State::Gone, None);
        };
        if parts.method != Method::POST {
            return self.page(&parts, State::Asking, Some(purpose));
        }
        if let Err(status) = read_form(body).await {
            return status.into_response();
        }
        let link = fingerprint(token);
        if self.presses.admit(&link, now).is_err() {
            return self.page(&parts, State::TooMany, None);
        }
        self.presses.count_refusal(&link, now);
        let followed = self.follow(subject, purpose, token.to_owned()).await;
        self.page(&parts, State::Followed(followed), Some(purpose))
    }

    /// Whose withdrawal of what the token is, while the purpose is still one of the catalogue's.
    fn withdrawal(&self, token: &str) -> Option<(PartyRef, Purpose)> {
        match self.state.links.open(token, self.state.clock.now())? {
            Act::Withdraw { subject, purpose } => {
                let known = self.state.instance.vocabulary().purposes.contains_key(&purpose);
                known.then_some((subject, purpose))
            }
            Act::Confirm(_) => None,
        }
    }

    async fn follow(&self, subject: PartyRef, purpose: Purpose, token: String) -> Followed {
        let Ok(Ok(_place)) = tokio::time::timeout(WAIT_FOR_WORK, self.at_work.acquire()).await else {
            return Followed::Failed;
        };
        let state = self.state.clone();
        // Waits for the disk, and goes on when the person closes the page.
        let done = tokio::task::spawn_blocking(move || withdraw(&state, subject, purpose, &token)).await;
        done.unwrap_or(Followed::Failed)
    }

    fn page(&self, parts: &Parts, state: State, purpose: Option<Purpose>) -> Response {
        let status = match state {
            State::Asking | State::Followed(Followed::Stopped | Followed::Already) => StatusCode::OK,
            State::Followed(Followed::NotStored | Followed::Failed) => StatusCode::SERVICE_UNAVAILABLE,
            State::Gone | State::Followed(Followed::Void) => StatusCode::GONE,
            State::TooMany => StatusCode::TOO_MANY_REQUESTS,
        };
        let accept: Vec<&str> = parts.headers.get_all(header::ACCEPT_LANGUAGE).iter().filter_map(|v| v.to_str().ok()).collect();
        let language = Language::of(&accept.join(","));
        let settings = self.state.instance.public_page();
        // INVARIANT: a link that has nobody looks like one that does not work.
        let purpose = if status == StatusCode::GONE { None } else { purpose };
        let text = page::render(state, language, settings.as_deref(), purpose.as_ref().map(|p| p.as_str()));
        let body = if parts.method == Method::HEAD { Body::empty() } else { Body::from(text) };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        headers.insert(header::CONTENT_LANGUAGE, HeaderValue::from_static(language.tag()));
        if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("60"));
        }
        response
    }
}

/// Reads a form to its end and believes none of it: that somebody posted to the link says everything.
async fn read_form(body: Body) -> Result<(), StatusCode> {
    match tokio::time::timeout(FORM_TIMEOUT, Limited::new(body, FORM_BYTES_MAX).collect()).await {
        Ok(Ok(_form)) => Ok(()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(StatusCode::PAYLOAD_TOO_LARGE),
        Ok(Err(_cut)) => Err(StatusCode::BAD_REQUEST),
        Err(_elapsed) => Err(StatusCode::REQUEST_TIMEOUT),
    }
}

/// An IPv4 address, or the /64 of an IPv6 one: who has one of its addresses has them all.
fn network(peer: Option<IpAddr>) -> String {
    match peer.map(|ip| ip.to_canonical()) {
        None => "unknown".to_owned(),
        Some(IpAddr::V4(ip)) => ip.to_string(),
        Some(IpAddr::V6(ip)) => {
            let [a, b, c, d, ..] = ip.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}")
        }
    }
}

/// Headers of every answer: never cached, sniffed, framed or told to another site; no cookie, no script.
fn harden(mut response: Response) -> Response {
    let headers = response.headers_mut();
    let fixed = [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("x-robots-tag"), "noindex, nofollow"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let policy = HeaderValue::from_str(&page::POLICY).unwrap_or_else(|_never| HeaderValue::from_static("default-src 'none'"));
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_an_address_or_what_one_customer_of_a_provider_has() {
        let of = |text: &str| network(Some(text.parse().unwrap()));
        assert_eq!(of("192.0.2.7"), "192.0.2.7");
        assert_eq!(of("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), of("2001:db8:1:2::9"));
        assert_ne!(of("2001:db8:1:2::9"), of("2001:db8:1:3::9"));
    }
}
