//! Who comes in: asked before every route but the few that say nothing of anybody. Who may do what is `access`'s.

use std::net::{IpAddr, Ipv4Addr};

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};

use super::problem::{Code, Problem};
use super::{Api, body, cors::borrowed_name};
use crate::access::{Denied, Peer};

/// Probes of whoever watches the daemon, and a document that is the same everywhere.
const OPEN: [&str; 3] = ["/healthz", "/readyz", "/openapi.json"];

pub(super) async fn guard(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    if OPEN.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    // Every connection says whence it is; who does not is nobody in particular.
    let nobody = Peer::Tcp(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let peer = request.extensions().get::<Peer>().copied().unwrap_or(nobody);
    let authorization = request.headers().get(AUTHORIZATION).map(|value| value.to_str().unwrap_or_default());
    let client = api.access.who(peer, authorization).and_then(|client| {
        let by_address = !client.has_token() && matches!(peer, Peer::Tcp(address) if address.is_loopback());
        match borrowed_name(request.uri(), request.headers(), &api.cors_origins).filter(|_| by_address) {
            None => Ok(client),
            Some(name) => Err(Denied::Forbidden { field: None, reason: by_another_name(&name) }),
        }
    });
    match client {
        Ok(client) => {
            request.extensions_mut().insert(client);
            next.run(request).await
        }
        Err(denied) => {
            body::discard(request).await;
            Problem::from(denied).into_response()
        }
    }
}

fn by_another_name(name: &str) -> String {
    format!(
        "a page of {name} may not ask without a token: call this host localhost, or by its number, or name the page's origin \
         in server.cors_origins"
    )
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Unauthorized(reason) => Self::new(Code::Unauthorized, reason),
            Denied::Forbidden { field, reason } => {
                let problem = Self::new(Code::Forbidden, reason);
                match field {
                    Some(field) => problem.at(field),
                    None => problem,
                }
            }
            Denied::RateLimited { reason, retry_after } => {
                Self::new(Code::RateLimited, reason).retry_after(retry_after)
            }
        }
    }
}

/// The header that 401 has to have (RFC 9110, 15.5.2).
pub(super) fn challenge(response: &mut Response) {
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"sandboxd\""));
}
