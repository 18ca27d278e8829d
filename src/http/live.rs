//! What new requests and new connections meet, which a reload puts something else in the place of, as a whole.

use std::sync::{Arc, PoisonError, RwLock};

use axum::Router;
use tokio_rustls::TlsAcceptor;

/// The routes that requests take, and what TCP connections are secured with, if they are.
#[derive(Clone)]
pub struct Front {
    pub router: Router,
    pub tls: Option<TlsAcceptor>,
}

#[derive(Clone)]
pub struct Live(Arc<RwLock<Front>>);

impl Live {
    pub fn new(front: Front) -> Self {
        Self(Arc::new(RwLock::new(front)))
    }

    /// Requests that have begun stay on the routes that they took, connections on the certificate that they saw.
    pub fn swap(&self, front: Front) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = front;
    }

    pub(super) fn router(&self) -> Router {
        self.read(|front| front.router.clone())
    }

    pub(super) fn tls(&self) -> Option<TlsAcceptor> {
        self.read(|front| front.tls.clone())
    }

    fn read<T>(&self, what: impl FnOnce(&Front) -> T) -> T {
        what(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}
