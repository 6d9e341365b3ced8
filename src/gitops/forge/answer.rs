//! What the forges' clients have in common: how they connect, and how an answer becomes harmless.
//!
//! No redirect is followed, so that the token stays with its host; every answer is bounded in time and size. Used by the clients
//! of this folder alone.

use std::time::Duration;

use reqwest::header::{self, HeaderMap, HeaderValue};
use reqwest::{Client, RequestBuilder, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::super::transport::{Token, authorities};
use super::{ForgeError, Way};
use crate::http::{self, BodyError};

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest call: opening a request makes the server compare branches.
const TOTAL_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest answer, in bytes: fifty requests with long bodies stay below it.
const MAX_ANSWER: usize = 8 << 20;
/// Requests per page of a list: the default maximum of Gitea; GitHub allows a hundred.
pub(super) const PAGE: usize = 50;
/// Servers' windows of counting are an hour; a longer pause is not what they mean.
const LONGEST_PAUSE: Duration = Duration::from_hours(1);

/// Who asks; GitHub takes no request without it.
const USER_AGENT: &str = concat!("reiter8/", env!("CARGO_PKG_VERSION"));

/// The connections of one client. `HTTPS_PROXY` and its kin are obeyed.
pub(super) fn client(way: &Way) -> Result<Client, ForgeError> {
    let builder = http::client().connect_timeout(CONNECT_TIMEOUT).timeout(TOTAL_TIMEOUT).user_agent(USER_AGENT);
    let Some(ca) = &way.ca else { return builder.build().map_err(|_| unavailable("TLS cannot be set up")) };
    let refused = ForgeError::AddressRefused { why: "the certificates of its authorities cannot be used" };
    let certificates = authorities(ca).ok_or_else(|| refused.clone())?;
    builder.tls_certs_merge(certificates).build().map_err(|_| refused)
}

pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ForgeError> {
    serde_json::from_slice(bytes).map_err(|_| unavailable("the answer is not what the API promises"))
}

/// The fields that replace a request's text.
pub(super) fn text(title: Option<&str>, body: &str) -> serde_json::Value {
    match title {
        Some(title) => json!({"title": title, "body": body}),
        None => json!({"body": body}),
    }
}

pub(super) fn unavailable(message: &str) -> ForgeError {
    ForgeError::ProviderUnavailable { message: message.to_owned() }
}

/// The header that carries a credential; `scheme` is the word before it.
pub(super) fn credential(scheme: &str, token: &Token) -> Result<HeaderValue, ForgeError> {
    let mut value =
        HeaderValue::from_str(&format!("{scheme} {}", token.expose())).map_err(|_| ForgeError::AuthenticationFailed)?;
    value.set_sensitive(true);
    Ok(value)
}

/// Sends a request and reads its answer, whatever its status, to the end; without the credential if the server repeats it.
pub(super) async fn exchange(
    request: RequestBuilder,
    token: Option<&Token>,
) -> Result<(StatusCode, HeaderMap, Vec<u8>), ForgeError> {
    let unanswered = |error: reqwest::Error| if error.is_timeout() { "no answer in time" } else { "no connection" };
    let answer = request.send().await.map_err(|error| unavailable(unanswered(error)))?;
    let (status, headers) = (answer.status(), answer.headers().clone());
    let body = http::body(answer, MAX_ANSWER).await.map_err(|error| {
        unavailable(match error {
            BodyError::TooLarge(_) => "the answer is too large",
            BodyError::Broken(_) => "the answer stopped",
        })
    })?;
    Ok((status, headers, unrepeated(body, token)))
}

/// A body without the credential: some servers repeat what they were sent.
fn unrepeated(body: Vec<u8>, token: Option<&Token>) -> Vec<u8> {
    match (token, std::str::from_utf8(&body)) {
        (Some(token), Ok(text)) => token.hidden(text).into_bytes(),
        _ => body,
    }
}

/// `Retry-After` in seconds; its form with a date is not used by forges.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    number(headers, header::RETRY_AFTER.as_str()).map(pause)
}

/// A header that is a whole number.
pub(super) fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

/// A pause that a server asks for.
pub(super) fn pause(seconds: u64) -> Duration {
    Duration::from_secs(seconds).min(LONGEST_PAUSE)
}
