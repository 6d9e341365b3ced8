//! What the forges' clients have in common: how they connect, and how an answer becomes harmless.
//!
//! No redirect is followed, so that the token stays with its host; every answer is bounded in time and size. Used by the clients
//! of this folder alone.

use std::time::Duration;

use reqwest::header::{self, HeaderMap};
use reqwest::{Client, redirect};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::super::transport::{Token, authorities};
use super::{ForgeError, Way};

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest call: opening a request makes the server compare branches.
const TOTAL_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest answer, in bytes: fifty requests with long bodies stay below it.
pub(super) const MAX_ANSWER: usize = 8 << 20;
/// Requests per page of a list: the default maximum of Gitea; GitHub allows a hundred.
pub(super) const PAGE: usize = 50;
/// Servers' windows of counting are an hour; a longer pause is not what they mean.
const LONGEST_PAUSE: Duration = Duration::from_hours(1);

/// Who asks; GitHub takes no request without it.
const USER_AGENT: &str = concat!("reiter8/", env!("CARGO_PKG_VERSION"));

/// The connections of one client. `HTTPS_PROXY` and its kin are obeyed.
pub(super) fn client(way: &Way) -> Result<Client, ForgeError> {
    let builder = Client::builder().redirect(redirect::Policy::none()).connect_timeout(CONNECT_TIMEOUT);
    let builder = builder.timeout(TOTAL_TIMEOUT).user_agent(USER_AGENT);
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

/// A call that got no answer.
pub(super) fn unanswered(timed_out: bool) -> ForgeError {
    unavailable(if timed_out { "no answer in time" } else { "no connection" })
}

/// A body without the credential that it answers, for some servers repeat what they were sent.
pub(super) fn unrepeated(body: Vec<u8>, token: Option<&Token>) -> Vec<u8> {
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
