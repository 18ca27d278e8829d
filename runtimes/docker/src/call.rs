//! Deadlines: no call to the engine is made without one. The API client's own timeout ends with an answer's head; these
//! hold until its last byte.

use std::{future::Future, time::Duration};

use bollard::errors::Error as ApiError;

use crate::error::Failure;

/// To be told something that the engine knows already.
pub(crate) const ASK_DEADLINE: Duration = Duration::from_secs(10);
/// To make something, start it or change it. A loaded host was seen to take five seconds.
pub(crate) const MAKE_DEADLINE: Duration = Duration::from_secs(30);
/// To kill and take apart a container.
pub(crate) const REMOVE_DEADLINE: Duration = Duration::from_secs(30);

/// Makes one call to the engine at `host`.
pub(crate) async fn call<T>(
    host: &str,
    deadline: Duration,
    future: impl Future<Output = Result<T, ApiError>>,
) -> Result<T, Failure> {
    match tokio::time::timeout(deadline, future).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(ApiError::RequestTimeoutError)) | Err(_) => {
            Err(Failure::Late { host: host.to_owned(), deadline })
        }
        Ok(Err(error)) => Err(Failure::of(host, &error)),
    }
}
