//! What pages of other origins may do in a browser (CORS, Fetch Standard 3.2): nothing, unless the configuration names
//! the origin. No cookies are involved: who a page asks for is said by the token that it sends.

use std::{net::IpAddr, time::Duration};

use http::{
    HeaderMap, HeaderValue, Method, Uri,
    header::{AUTHORIZATION, CONTENT_TYPE, HOST, ORIGIN, RETRY_AFTER},
    uri::Authority,
};
use tower_http::cors::{AllowOrigin, Any, CorsLayer};

use super::{
    correlation::{REQUEST_ID, TRACEPARENT},
    problem::EXECUTION_ID,
};

/// How long a browser may go by what it was told.
const MAX_AGE: Duration = Duration::from_secs(600);

/// `None` where no origin is named.
pub(super) fn layer(origins: &[String]) -> Option<CorsLayer> {
    if origins.is_empty() {
        return None;
    }
    let allowed = if origins.iter().any(|origin| origin == "*") {
        AllowOrigin::from(Any)
    } else {
        // What was believed is a header value.
        AllowOrigin::list(origins.iter().filter_map(|origin| HeaderValue::try_from(origin).ok()))
    };
    let layer = CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([AUTHORIZATION, CONTENT_TYPE, REQUEST_ID, TRACEPARENT])
        .expose_headers([EXECUTION_ID, REQUEST_ID, RETRY_AFTER])
        .max_age(MAX_AGE);
    Some(layer)
}

/// The name under which a page has reached a daemon that listens for this host alone. A name of somebody else's that leads
/// here for a moment makes the daemon a part of that somebody's site, and a browser then lets its pages ask (DNS
/// rebinding). Browsers say whose page it is, and no script can keep them from it; others have no reason to.
pub(super) fn borrowed_name(uri: &Uri, headers: &HeaderMap, origins: &[String]) -> Option<String> {
    let origin = headers.get(ORIGIN)?.to_str().ok()?;
    if origins.iter().any(|named| named == "*" || named == origin) {
        return None;
    }
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()?.parse::<Authority>().ok());
    let host = host.as_ref().or(uri.authority())?.host();
    let page: Uri = origin.parse().ok()?;
    let same = page.host().is_some_and(|page| page.eq_ignore_ascii_case(host));
    (same && !is_this_host(host)).then(|| host.to_owned())
}

/// Numbers lead where they say, and names below localhost are nobody's: RFC 6761, 6.3.
fn is_this_host(host: &str) -> bool {
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    let number = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || name.ends_with(".localhost") || number.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pages_that_came_by_a_borrowed_name_are_told_apart() {
        let borrowed = |host: &str, origin: &str, named: &[&str]| {
            let headers = HeaderMap::from_iter([
                (HOST, HeaderValue::try_from(host).unwrap()),
                (ORIGIN, HeaderValue::try_from(origin).unwrap()),
            ]);
            let named: Vec<_> = named.iter().map(|&name| name.to_owned()).collect();
            borrowed_name(&Uri::from_static("/api/execute"), &headers, &named)
        };
        let evil = "http://evil.example:8080";
        assert_eq!(borrowed("evil.example:8080", evil, &[]).as_deref(), Some("evil.example"));
        assert_eq!(borrowed("EVIL.example:8080", evil, &[]).as_deref(), Some("EVIL.example"));
        assert_eq!(borrowed("evil.example:8080", evil, &[evil]), None);
        assert_eq!(borrowed("evil.example:8080", evil, &["*"]), None);
        for here in ["127.0.0.1:8080", "[::1]:8080", "localhost:8080", "box.localhost"] {
            assert_eq!(borrowed(here, &format!("http://{here}"), &[]), None, "{here}");
            assert_eq!(borrowed(here, evil, &[]), None, "CORS has it");
        }
        let plain = HeaderMap::from_iter([(HOST, HeaderValue::from_static("evil.example"))]);
        assert_eq!(borrowed_name(&Uri::from_static("/"), &plain, &[]), None);
        let mut second = HeaderMap::new();
        second.insert(ORIGIN, HeaderValue::from_static("http://evil.example"));
        let uri = Uri::from_static("http://evil.example/api/execute");
        assert_eq!(borrowed_name(&uri, &second, &[]).as_deref(), Some("evil.example"));
    }
}
