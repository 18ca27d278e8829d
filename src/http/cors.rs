//! What pages of other origins may do in a browser (CORS, Fetch Standard 3.2): nothing, unless the configuration names
//! the origin. No cookies are involved: who a page asks for is said by the token that it sends.

use std::time::Duration;

use http::{
    HeaderValue, Method,
    header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER},
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
