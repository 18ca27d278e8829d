//! One containerd: how it is reached, how long it may take, and what it means when it refuses. Every request carries
//! the namespace and a deadline, which containerd hears of too, so that it gives up when we do.
//!
//! Deliberately absent: what is asked of it. Called by everything else in this crate.

use std::{future::Future, path::PathBuf, time::Duration};

use containerd_client::{
    services::v1::{
        containers_client::ContainersClient, content_client::ContentClient, diff_client::DiffClient,
        images_client::ImagesClient, introspection_client::IntrospectionClient, leases_client::LeasesClient,
        snapshots::snapshots_client::SnapshotsClient, tasks_client::TasksClient,
        version_client::VersionClient,
    },
    tonic::{
        Code, Request, Response, Status,
        metadata::{Ascii, MetadataValue},
        transport::Channel,
    },
};
use sandboxd_contract::RuntimeError;
use tokio::sync::OnceCell;

/// For what only reads or writes containerd's own records.
pub(crate) const CALL_DEADLINE: Duration = Duration::from_secs(10);
/// For what starts or ends processes.
pub(crate) const TASK_DEADLINE: Duration = Duration::from_secs(30);
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// An engine's sentence may be a whole log.
const MAX_SENTENCE_BYTES: usize = 1024;
const NAMESPACE_HEADER: &str = "containerd-namespace";
const LEASE_HEADER: &str = "containerd-lease";

/// Connects when it is first used; the connection heals itself after that.
#[derive(Clone)]
pub(crate) struct Engine {
    address: PathBuf,
    namespace: String,
    header: Option<MetadataValue<Ascii>>,
    lease: Option<MetadataValue<Ascii>>,
    channel: OnceCell<Channel>,
}

/// What can go wrong with one call.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Trouble {
    #[error("containerd does not answer at {address} ({reason}); start it: systemctl start containerd")]
    Unreachable { address: String, reason: String },
    #[error("containerd took more than {seconds} s for {call}; see its log: journalctl -u containerd")]
    Late { call: &'static str, seconds: u64 },
    #[error("containerd refused {call}: {message}")]
    Refused { call: &'static str, code: Code, message: String },
}

impl Trouble {
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { code: Code::NotFound, .. })
    }

    pub(crate) fn is_already_there(&self) -> bool {
        matches!(self, Self::Refused { code: Code::AlreadyExists, .. })
    }

    /// A sandbox could not be made: whatever the reason, this engine can't make any now.
    pub(crate) fn on_create(self) -> RuntimeError {
        RuntimeError::unavailable(self)
    }

    /// A sandbox that is there could not be dealt with.
    pub(crate) fn on_use(self, operation: &'static str) -> RuntimeError {
        match self {
            Self::Unreachable { .. } => RuntimeError::unavailable(self),
            Self::Late { .. } | Self::Refused { .. } => RuntimeError::sandbox(operation, self),
        }
    }
}

/// "Not there" is what a removal is for.
pub(crate) fn gone<T>(result: Result<T, Trouble>) -> Result<(), Trouble> {
    match result {
        Ok(_) => Ok(()),
        Err(trouble) if trouble.is_not_found() => Ok(()),
        Err(trouble) => Err(trouble),
    }
}

/// A client of one of containerd's services.
macro_rules! client {
    ($($name:ident: $client:ident),* $(,)?) => {
        $(pub(crate) async fn $name(&self) -> Result<$client<Channel>, Trouble> {
            Ok($client::new(self.channel().await?))
        })*
    };
}

impl Engine {
    pub(crate) fn new(address: PathBuf, namespace: String) -> Self {
        let header = MetadataValue::try_from(namespace.as_str()).ok();
        Self { address, namespace, header, lease: None, channel: OnceCell::new() }
    }

    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The same one; what is made through this is kept as long as the lease is.
    pub(crate) fn with_lease(&self, id: &str) -> Self {
        Self { lease: MetadataValue::try_from(id).ok(), ..self.clone() }
    }

    pub(crate) fn lease(&self) -> Option<String> {
        self.lease.as_ref().and_then(|id| id.to_str().ok()).map(str::to_owned)
    }

    client! {
        containers: ContainersClient,
        content: ContentClient,
        diff: DiffClient,
        images: ImagesClient,
        introspection: IntrospectionClient,
        leases: LeasesClient,
        snapshots: SnapshotsClient,
        tasks: TasksClient,
        version: VersionClient,
    }

    /// One call with the deadline of those that only touch records.
    pub(crate) async fn call<Q, A, F>(
        &self,
        call: &'static str,
        message: Q,
        send: impl FnOnce(Request<Q>) -> F,
    ) -> Result<A, Trouble>
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        self.call_within(CALL_DEADLINE, call, message, send).await
    }

    pub(crate) async fn call_within<Q, A, F>(
        &self,
        deadline: Duration,
        call: &'static str,
        message: Q,
        send: impl FnOnce(Request<Q>) -> F,
    ) -> Result<A, Trouble>
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        // A request is several kilobytes, and the futures of many are held in one.
        let answer = Box::pin(send(self.request(deadline, message)));
        self.within(deadline, call, async { answer.await.map(Response::into_inner) }).await
    }

    /// For what is more than one answer: `work` as a whole has the deadline.
    pub(crate) async fn within<A>(
        &self,
        deadline: Duration,
        call: &'static str,
        work: impl Future<Output = Result<A, Status>>,
    ) -> Result<A, Trouble> {
        match tokio::time::timeout(deadline, work).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(status)) => Err(self.trouble(call, deadline, &status)),
            Err(_) => Err(Trouble::Late { call, seconds: deadline.as_secs() }),
        }
    }

    pub(crate) fn request<Q>(&self, deadline: Duration, message: Q) -> Request<Q> {
        let mut request = Request::new(message);
        if let Some(header) = &self.header {
            request.metadata_mut().insert(NAMESPACE_HEADER, header.clone());
        }
        if let Some(lease) = &self.lease {
            request.metadata_mut().insert(LEASE_HEADER, lease.clone());
        }
        request.set_timeout(deadline);
        request
    }

    async fn channel(&self) -> Result<Channel, Trouble> {
        let connect = async {
            let connecting = containerd_client::connect(&self.address);
            match tokio::time::timeout(CONNECT_DEADLINE, connecting).await {
                Ok(Ok(channel)) => Ok(channel),
                Ok(Err(error)) => Err(self.unreachable(causes(&error))),
                Err(_) => Err(self.unreachable("it accepts no connection".to_owned())),
            }
        };
        self.channel.get_or_try_init(|| connect).await.cloned()
    }

    fn trouble(&self, call: &'static str, deadline: Duration, status: &Status) -> Trouble {
        match status.code() {
            // What tonic itself says has a cause; containerd's own word has none.
            Code::Unavailable | Code::Unknown if std::error::Error::source(status).is_some() => {
                self.unreachable(causes(status))
            }
            Code::Unavailable => self.unreachable(short(status.message())),
            Code::DeadlineExceeded | Code::Cancelled => Trouble::Late { call, seconds: deadline.as_secs() },
            code => Trouble::Refused { call, code, message: short(status.message()) },
        }
    }

    fn unreachable(&self, reason: String) -> Trouble {
        Trouble::Unreachable { address: self.address.display().to_string(), reason }
    }
}

/// The last cause says what happened; those above it only that something did.
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut last = error;
    while let Some(next) = last.source() {
        last = next;
    }
    short(&last.to_string())
}

fn short(text: &str) -> String {
    let end = text.floor_char_boundary(MAX_SENTENCE_BYTES);
    text.get(..end).unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nobody_there_is_told_with_what_mends_it() {
        let engine = Engine::new(PathBuf::from("/nonexistent/containerd.sock"), "test".to_owned());
        let trouble = engine.version().await.map(drop).unwrap_err();
        assert!(matches!(trouble, Trouble::Unreachable { .. }));
        let sentence = trouble.to_string();
        assert!(sentence.contains("/nonexistent/containerd.sock"), "{sentence}");
        assert!(sentence.contains("systemctl start containerd"), "{sentence}");
    }

    #[test]
    fn an_engines_log_is_cut() {
        assert!(short(&"ä".repeat(10_000)).len() <= MAX_SENTENCE_BYTES);
    }

    #[test]
    fn what_is_gone_is_removed() {
        let refused = |code| Trouble::Refused { call: "x", code, message: String::new() };
        assert!(gone::<()>(Err(refused(Code::NotFound))).is_ok());
        assert!(gone::<()>(Err(refused(Code::FailedPrecondition))).is_err());
    }
}
