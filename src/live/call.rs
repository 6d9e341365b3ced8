//! One call to the API server: bounded in time, its failure named.

use std::time::Duration;

use futures::future::BoxFuture;
use kube::core::Status;

use crate::engine::{Cause, Seen, Unavailable};

/// Longest wait for an answer: the API server gives up on its own storage before.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Waits for an answer; `None` if there is no such object. `doing` completes "failed to …".
///
/// Errors: `Conflict` (somebody else was faster), `Forbidden`, `Refused` (the API server or an admission webhook does
/// not accept the object), `ApiUnavailable`.
///
/// Boxed, because a request's future is large and turns hold many of them.
pub(super) fn call<'a, T>(
    doing: &'a str,
    request: impl Future<Output = Result<T, kube::Error>> + Send + 'a,
) -> BoxFuture<'a, Seen<Option<T>>> {
    Box::pin(async move {
        match tokio::time::timeout(TIMEOUT, request).await {
            Err(_) => Err(Unavailable::new(
                Cause::ApiUnavailable,
                format!("failed to {doing}: the API server gave no answer within {} s", TIMEOUT.as_secs()),
            )),
            Ok(Ok(answer)) => Ok(Some(answer)),
            Ok(Err(kube::Error::Api(status))) if status.is_not_found() => Ok(None),
            Ok(Err(error)) => Err(Unavailable::new(cause(&error), format!("failed to {doing}: {error}"))),
        }
    })
}

fn cause(error: &kube::Error) -> Cause {
    let kube::Error::Api(status) = error else { return Cause::ApiUnavailable };
    match status.code {
        401 | 403 => Cause::Forbidden,
        409 => Cause::Conflict,
        422 if failed_test(status) => Cause::Conflict,
        400 | 422 => Cause::Refused,
        _ => Cause::ApiUnavailable,
    }
}

/// A JSON patch whose test failed is answered as an invalid object is, but for the list of what is invalid.
fn failed_test(status: &Status) -> bool {
    status.details.as_ref().is_none_or(|details| details.causes.is_empty())
}
