//! Response headers of the upstream that go on: those that the API lists. `Location` and `Link` are rewritten to the gateway's own
//! address or cut, never passed as they are.
//!
//! `Location` stands in answers to creates (201, 202). Of `Link` ([RFC 8288](https://www.rfc-editor.org/rfc/rfc8288)) only the pages
//! `next`, `prev` and `first` go on: `last` would count the rows that the caller does not see. A link that names a customer goes to
//! who asked for that customer, or has just created it.

use http::header::{HeaderValue, LINK, LOCATION};
use http::{HeaderMap, StatusCode};

use super::forward::Unfiltered;
use super::route::Routed;
use super::state::Shared;
use crate::catalog::{Behind, Customer, Link, owned_in_answers};
use crate::model::{Identifier, PartyNo};

/// Links in one answer that are looked at.
const LINKS_MAX: usize = 16;
const PAGES: [&str; 4] = ["next", "prev", "previous", "first"];

/// The headers that go on. `created`: the customer whom a write has made.
pub(super) fn response_headers(shared: &Shared, routed: &Routed, answer: &Unfiltered, created: Option<&Identifier>) -> HeaderMap {
    let mut out = HeaderMap::new();
    let own = |url: &str| own_url(shared, routed, created, url);
    for name in routed.found.api.response_headers.iter().filter(|name| owned_in_answers(name).is_none()) {
        let values = answer.headers.get_all(name).iter();
        if *name == LOCATION {
            out.extend(location(answer.status, values, own).map(|value| (LOCATION, value)));
        } else if *name == LINK {
            out.extend(pages(values, own).map(|value| (LINK, value)));
        } else {
            for value in values {
                out.append(name.clone(), value.clone());
            }
        }
    }
    out
}

fn location<'v>(status: StatusCode, mut values: impl Iterator<Item = &'v HeaderValue>, own: impl Fn(&str) -> Option<String>) -> Option<HeaderValue> {
    let (StatusCode::CREATED | StatusCode::ACCEPTED, Some(value), None) = (status, values.next(), values.next()) else { return None };
    HeaderValue::from_str(&own(value.to_str().ok()?)?).ok()
}

/// One `Link` with the pages that are left of all of them.
fn pages<'v>(values: impl Iterator<Item = &'v HeaderValue>, own: impl Fn(&str) -> Option<String>) -> Option<HeaderValue> {
    let mut left = Vec::new();
    for value in values {
        for (url, rel) in links(value.to_str().ok()?)?.into_iter().take(LINKS_MAX) {
            if let Some((page, url)) = PAGES.iter().find(|page| rel.eq_ignore_ascii_case(page)).zip(own(url)) {
                left.push(format!("<{url}>; rel=\"{page}\""));
            }
        }
    }
    if left.is_empty() { None } else { HeaderValue::from_str(&left.join(", ")).ok() }
}

/// Target and relation of each link; `None` when the header cannot be read. A link with another context than the answer, or with
/// several relations, has none that is known here.
fn links(text: &str) -> Option<Vec<(&str, &str)>> {
    let (mut found, mut rest) = (Vec::new(), text.trim());
    while !rest.is_empty() {
        let (url, after) = rest.strip_prefix('<')?.split_once('>')?;
        let (mut rel, mut is_of_answer) = (None, true);
        rest = after.trim_start();
        while let Some(parameter) = rest.strip_prefix(';') {
            let (name, value, after) = parameter_of(parameter.trim_start())?;
            match name.to_ascii_lowercase().as_str() {
                "rel" => rel = rel.or(Some(value)),
                "anchor" => is_of_answer = false,
                _ => {}
            }
            rest = after.trim_start();
        }
        found.push((url, rel.filter(|_| is_of_answer).unwrap_or_default()));
        rest = match rest.strip_prefix(',') {
            Some(after) => after.trim_start(),
            None if rest.is_empty() => rest,
            None => return None,
        };
    }
    Some(found)
}

/// Name, value without quotes, and what follows.
fn parameter_of(text: &str) -> Option<(&str, &str, &str)> {
    let (name, after) = text.split_at(text.find(['=', ';', ',']).unwrap_or(text.len()));
    let Some(value) = after.strip_prefix('=') else { return Some((name.trim(), "", after)) };
    let value = value.trim_start();
    if let Some(quoted) = value.strip_prefix('"') {
        let (inner, after) = quoted.split_once('"')?;
        // An escape could hide the quote that ends it.
        return (!inner.contains('\\')).then_some((name.trim(), inner, after));
    }
    let (value, after) = value.split_at(value.find([';', ',']).unwrap_or(value.len()));
    Some((name.trim(), value.trim(), after))
}

/// The gateway's URL for one that stands in a body, in data of `party` or beside all data.
pub(super) fn body_link(shared: &Shared, routed: &Routed, party: Option<PartyNo>, url: &str) -> Option<String> {
    let behind = Behind { targets: routed.upstream.targets().uris(), base_path: routed.upstream.base_path() };
    let link = routed.found.api.own_url(behind, &routed.snapshot.origin, Some(&routed.found), url)?;
    let of_party = || {
        let (space, raw) = link.customer()?;
        let named = routed.identify(space, raw)?;
        shared.ledger.standing(&named).ok()?.filter(|standing| Some(standing.party) == party)
    };
    let may_be_named = may_be_named(shared, routed, None, &link) || of_party().is_some();
    may_be_named.then_some(link.url)
}

fn own_url(shared: &Shared, routed: &Routed, created: Option<&Identifier>, url: &str) -> Option<String> {
    let behind = Behind { targets: routed.upstream.targets().uris(), base_path: routed.upstream.base_path() };
    let link = routed.found.api.own_url(behind, &routed.snapshot.origin, Some(&routed.found), url)?;
    may_be_named(shared, routed, created, &link).then_some(link.url)
}

/// Whether the customer whom a link names is the one that the request named or made.
fn may_be_named(shared: &Shared, routed: &Routed, created: Option<&Identifier>, link: &Link) -> bool {
    let Some((space, raw)) = link.customer() else { return true };
    let Some(named) = routed.identify(space, raw) else { return false };
    let asked = asked_for(routed);
    let party = |id: &Identifier| shared.ledger.standing(id).ok().flatten().map(|standing| standing.party);
    [created, asked.as_ref()].into_iter().flatten().any(|known| *known == named || party(known).is_some_and(|p| party(&named) == Some(p)))
}

/// The customer whom the request's own target names.
fn asked_for(routed: &Routed) -> Option<Identifier> {
    match &routed.found.route.customer {
        Customer::Path { param, space } => routed.identify(*space, routed.found.path_param(param)?),
        Customer::Query { param, space } => routed.identify(*space, routed.found.query_param(param)?),
        Customer::Header { .. }
        | Customer::Claim { .. }
        | Customer::Request { .. }
        | Customer::Response { .. }
        | Customer::Answer
        | Customer::Lookup { .. }
        | Customer::New { .. }
        | Customer::None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours(url: &str) -> Option<String> {
        url.strip_prefix("https://crm.internal").map(|path| format!("/crm{path}"))
    }

    #[test]
    fn pages_are_rewritten_and_all_else_is_cut() {
        let check = |values: &[&str]| {
            let values: Vec<HeaderValue> = values.iter().map(|v| HeaderValue::from_bytes(v.as_bytes()).unwrap()).collect();
            pages(values.iter(), ours).map(|v| v.to_str().unwrap().to_owned())
        };
        let next = "<https://crm.internal/c?p=2>; rel=\"next\"";
        let left = Some("</crm/c?p=2>; rel=\"next\"".to_owned());
        for values in [
            &[next][..],
            &["<https://crm.internal/c?p=2>;rel=next"],
            &["<https://crm.internal/c?p=2> ; title=\"Ada, <Brandt>; rel=prev\" ; REL=NEXT"],
            &["<https://crm.internal/c?p=9>; rel=\"last\", <https://crm.internal/c?p=2>; rel=\"next\""],
            &["<https://elsewhere/c?p=1>; rel=first", next],
            &["<https://crm.internal/c?p=2>; rel=next; rel=prev"],
            &["<https://crm.internal/c?p=2>; crossorigin; rel=next"],
        ] {
            assert_eq!(check(values), left, "{values:?}");
        }
        assert_eq!(check(&[next, "<https://crm.internal/c>; rel=first"]).as_deref(), Some("</crm/c?p=2>; rel=\"next\", </crm/c>; rel=\"first\""));
        for values in [
            &[""][..],
            &["<https://crm.internal/c?p=9>; rel=last"],
            &["<https://crm.internal/c/0044>; rel=author"],
            &["<https://crm.internal/c?p=2>"],
            &["<https://crm.internal/c?p=2>; rel=\"next last\""],
            &["<https://crm.internal/c?p=2>; rel=next; anchor=\"/c/0044\""],
            &["<https://elsewhere/c?p=2>; rel=next"],
            &["https://crm.internal/c?p=2; rel=next"],
            &["<https://crm.internal/c?p=2; rel=next"],
            &["<https://crm.internal/c?p=2>; rel=\"next"],
            &["<https://crm.internal/c?p=2>; title=\"\\\"; rel=next"],
            &["<https://crm.internal/c?p=2>; rel=next <x>"],
            &["<https://crm.internal/c?p=2>; rel=n\u{e9}xt"],
        ] {
            assert_eq!(check(values), None, "{values:?}");
        }
        let many = format!("{}{next}", "<https://elsewhere>; rel=next, ".repeat(LINKS_MAX));
        assert_eq!(check(&[&many]), None);
    }

    #[test]
    fn a_location_stands_in_the_answer_to_a_create_only() {
        let at = |status: u16, values: &[&str]| {
            let values: Vec<HeaderValue> = values.iter().map(|v| v.parse().unwrap()).collect();
            location(StatusCode::from_u16(status).unwrap(), values.iter(), ours).map(|v| v.to_str().unwrap().to_owned())
        };
        let theirs = "https://crm.internal/c/0031";
        assert_eq!(at(201, &[theirs]).as_deref(), Some("/crm/c/0031"));
        assert_eq!(at(202, &[theirs]).as_deref(), Some("/crm/c/0031"));
        for (status, values) in
            [(200, &[theirs][..]), (204, &[theirs]), (400, &[theirs]), (201, &[theirs, theirs]), (201, &[]), (201, &["https://elsewhere/c"])]
        {
            assert_eq!(at(status, values), None, "{status} {values:?}");
        }
    }
}
