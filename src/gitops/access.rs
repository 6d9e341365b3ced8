//! How a repository is reached: its remote and its forge, with a credential that may have to be had first.
//!
//! A token is there at once. An App's is made at its first use, so that a turn that asks Git nothing waits for nobody. Called by
//! [`super::writeback`] alone.

use tokio::sync::OnceCell;

use super::forge::{App, Forge, ForgeError, GitHub, Gitea, Way, granted};
use super::repository::Remote;
use super::transport::Token;
use crate::api::{Provider, RepositorySpec};
use crate::engine::Seen;

/// What a Secret holds for a repository.
#[derive(Debug, Clone)]
pub enum Credential {
    /// A token.
    Token(Token),
    /// A GitHub App's key.
    App(App),
}

/// A repository's remote and forge, as soon as they can be used.
pub(super) struct Access {
    ready: OnceCell<(Remote, Forge)>,
    /// Whose token is made at the first use.
    app: Option<Later>,
}

struct Later {
    app: App,
    url: String,
    way: Way,
}

impl Access {
    pub(super) fn ready(remote: Remote, forge: Forge) -> Self {
        Self { ready: OnceCell::new_with(Some((remote, forge))), app: None }
    }

    pub(super) fn new(repository: &RepositorySpec, credential: Option<Credential>, way: Way) -> Seen<Self> {
        let url = repository.url.clone();
        let token = match credential {
            Some(Credential::App(app)) => {
                // An address that cannot be used is refused at once.
                GitHub::over(&url, None, &way)?;
                return Ok(Self { ready: OnceCell::new(), app: Some(Later { app, url, way }) });
            }
            Some(Credential::Token(token)) => Some(token),
            None => None,
        };
        let forge = match repository.provider {
            Provider::Gitea => Forge::Gitea(Gitea::over(&url, token.clone(), &way)?),
            Provider::GitHub => Forge::GitHub(GitHub::over(&url, token.as_ref(), &way)?),
        };
        Ok(Self::ready(remote(url, token, &way), forge))
    }

    pub(super) async fn get(&self) -> Seen<&(Remote, Forge)> {
        let made = self.ready.get_or_try_init(|| async {
            match &self.app {
                Some(Later { app, url, way }) => {
                    let (token, rights) = granted(app, url, way).await?;
                    let forge = Forge::GitHub(GitHub::over(url, Some(&token), way)?.with_rights(rights));
                    Ok::<_, ForgeError>((remote(url.clone(), Some(token), way), forge))
                }
                None => Err(ForgeError::AuthenticationFailed),
            }
        });
        Ok(made.await?)
    }

    /// The token was refused: an App's next use makes another one.
    pub(super) async fn refused(&self) {
        let (Some(later), Some((Remote::Http { credentials: Some(token), .. }, _))) = (&self.app, self.ready.get())
        else {
            return;
        };
        later.app.refused(&later.url, token, &later.way).await;
    }
}

fn remote(url: String, credentials: Option<Token>, way: &Way) -> Remote {
    Remote::Http { url, credentials, allow_http: way.allow_http, ca: way.ca.clone() }
}
