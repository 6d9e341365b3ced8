//! GitHub Apps: a token for one repository, with no more rights than the write-back needs, for an hour.
//!
//! The App signs a claim with its private key (RS256, ten minutes at most) and trades it for the installation's token. A token is
//! made once for all that ask, renewed before it ends, and looked at before it is used: GitHub may not know a new one everywhere
//! for some seconds. Nothing waits for that here; the next turn looks again.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use rustls::SignatureScheme;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::sign::SigningKey;
use serde::Deserialize;
use serde_json::json;

use super::super::super::transport::Token;
use super::super::answer::unavailable;
use super::super::memory::{Slot, fingerprint};
use super::super::{ForgeError, Permissions, Way};
use super::GitHub;
use super::line::{Address, Ask, Line};

/// A claim is valid from this long ago, for servers whose clocks are late.
const BACK: SignedDuration = SignedDuration::from_secs(60);
/// And until this far ahead: GitHub takes ten minutes at most, by its own clock.
const AHEAD: SignedDuration = SignedDuration::from_mins(9);
/// A token is renewed when it has less than this left: longer than any turn takes.
const MARGIN: SignedDuration = SignedDuration::from_mins(5);
/// How long a new token may be refused before that is taken at its word.
const FRESH: Duration = Duration::from_secs(60);

/// An App and its key.
#[derive(Clone)]
pub struct App {
    id: u64,
    installation: Option<u64>,
    key: Arc<dyn SigningKey>,
    /// Tells keys apart, so that another key means another token.
    mark: String,
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App").field("id", &self.id).field("installation", &self.installation).finish_non_exhaustive()
    }
}

impl App {
    /// The App with this id and private key (RSA, PEM, as GitHub hands it out); without an installation it is looked up.
    pub fn new(id: u64, installation: Option<u64>, private_key: &str) -> Result<Self, ForgeError> {
        let der = PrivateKeyDer::from_pem_slice(private_key.as_bytes()).map_err(|_| ForgeError::KeyUnusable)?;
        let key = any_supported_type(&der).map_err(|_| ForgeError::KeyUnusable)?;
        let app = Self { id, installation, key, mark: fingerprint(private_key) };
        // A key of another kind is refused now, not at its first use.
        app.claim(Timestamp::UNIX_EPOCH)?;
        Ok(app)
    }

    /// The signed claim to be this App.
    fn claim(&self, now: Timestamp) -> Result<Token, ForgeError> {
        let claims =
            json!({"iat": (now - BACK).as_second(), "exp": (now + AHEAD).as_second(), "iss": self.id.to_string()});
        let head = URL_SAFE_NO_PAD.encode(json!({"alg": "RS256", "typ": "JWT"}).to_string());
        let text = format!("{head}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
        let signer = self.key.choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256]).ok_or(ForgeError::KeyUnusable)?;
        let signature = signer.sign(text.as_bytes()).map_err(|_| ForgeError::KeyUnusable)?;
        Ok(Token::new(&format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))))
    }

    /// Where this App's token for a repository is kept.
    fn slot(&self, place: &Address, way: &Way) -> Slot {
        let installation = self.installation.unwrap_or_default();
        way.memory.slot(&format!("{} {} {installation} {}", place.web, self.id, self.mark))
    }

    /// Trades the claim for a token of the repository alone.
    async fn mint(&self, place: &Address, way: &Way) -> Result<Minted, ForgeError> {
        let line = Line::new(place, &[], Some(&self.claim(Timestamp::now())?), way)?;
        let installation = if let Some(id) = self.installation {
            id
        } else {
            let path = ["repos", &place.owner, &place.name, "installation"];
            line.call(Ask::Get, &path, &[]).await?.read::<Installation>()?.id
        };
        let wanted = json!({"contents": "write", "pull_requests": "write", "metadata": "read"});
        let ask = Ask::Post(json!({"repositories": [place.name], "permissions": wanted}));
        let path = ["app", "installations", &installation.to_string(), "access_tokens"];
        let answer: Answer = line.call(ask, &path, &[]).await?.read()?;
        let expires = answer.expires_at.parse().map_err(|_| unavailable("the token's end is not a time"))?;
        let rights = answer.permissions;
        let permissions = Permissions { can_push: rights.contents == "write", can_pull: !rights.contents.is_empty() };
        Ok(Minted { token: Token::new(&answer.token), permissions, expires, made: Instant::now(), known: false })
    }
}

/// An installation's token.
#[derive(Debug, Clone)]
pub(in super::super) struct Minted {
    token: Token,
    permissions: Permissions,
    expires: Timestamp,
    made: Instant,
    /// GitHub took it at least once.
    known: bool,
}

#[derive(Deserialize)]
struct Installation {
    id: u64,
}

#[derive(Deserialize)]
struct Answer {
    token: String,
    expires_at: String,
    #[serde(default)]
    permissions: Rights,
}

#[derive(Default, Deserialize)]
struct Rights {
    #[serde(default)]
    contents: String,
}

/// A token of an App for a repository that GitHub takes, and what it may do.
///
/// Errors: beside those of every call `TokenNotReady` for a new token that is not known everywhere yet.
pub(crate) async fn granted(app: &App, clone_url: &str, way: &Way) -> Result<(Token, Permissions), ForgeError> {
    let place = Address::new(clone_url, way.allow_http)?;
    let slot = app.slot(&place, way);
    // Held over the calls: who else asks meanwhile gets the same token.
    let mut slot = slot.lock().await;
    let minted = match slot.take().filter(|minted| minted.expires > Timestamp::now() + MARGIN) {
        Some(minted) => minted,
        None => app.mint(&place, way).await?,
    };
    let minted = slot.insert(minted);
    if !minted.known {
        let seen = GitHub::over(clone_url, Some(&minted.token), way)?.permissions().await;
        let young = minted.made.elapsed() < FRESH;
        match seen {
            Ok(_) | Err(ForgeError::RepositoryArchived) => minted.known = true,
            Err(ForgeError::NotFound | ForgeError::AuthenticationFailed) if young => {
                return Err(ForgeError::TokenNotReady);
            }
            Err(error @ (ForgeError::NotFound | ForgeError::AuthenticationFailed)) => {
                *slot = None;
                return Err(error);
            }
            Err(error) => return Err(error),
        }
    }
    Ok((minted.token.clone(), minted.permissions))
}

impl App {
    /// Forgets a token that was refused: the next use makes another one. One that was made meanwhile stays.
    pub(crate) async fn refused(&self, clone_url: &str, token: &Token, way: &Way) {
        let Ok(place) = Address::new(clone_url, way.allow_http) else { return };
        let slot = self.slot(&place, way);
        slot.lock().await.take_if(|minted| minted.token == *token);
    }
}
