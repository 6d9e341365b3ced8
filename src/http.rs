//! What every HTTP client of this process has in common: one TLS provider, no redirects, answers of bounded size.
//!
//! Owns the choice of the provider (ring) and its installation. A client sets its own deadlines and certificates; what
//! an answer means is its caller's. A redirect is never followed, so that a credential stays with the host that it is for.

use reqwest::redirect::Policy;
use reqwest::{ClientBuilder, Response, blocking};
use rustls::crypto::{CryptoProvider, ring};

/// The process's source of ciphers, signatures and random numbers.
pub fn provider() -> CryptoProvider {
    ring::default_provider()
}

/// Makes [`provider`] the one of every TLS client in the process; Kubernetes' client needs it too.
pub fn install_provider() {
    // A second installation changes nothing; the first one stays.
    let _ = provider().install_default();
}

/// A client that follows no redirect. `HTTPS_PROXY` and its kin are obeyed.
pub fn client() -> ClientBuilder {
    install_provider();
    #[allow(clippy::disallowed_methods)] // the one place
    reqwest::Client::builder().redirect(Policy::none())
}

/// The same for threads of their own.
pub(crate) fn blocking_client() -> blocking::ClientBuilder {
    install_provider();
    #[allow(clippy::disallowed_methods)] // the one place
    blocking::Client::builder().redirect(Policy::none())
}

/// Why a body was not read to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// It has more bytes than the caller reads.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    /// The connection broke.
    #[error(transparent)]
    Broken(#[from] reqwest::Error),
}

/// An answer's body, of at most `most` bytes.
pub(crate) async fn body(mut answer: Response, most: usize) -> Result<Vec<u8>, BodyError> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() > most {
            return Err(BodyError::TooLarge(most));
        }
    }
    Ok(body)
}
