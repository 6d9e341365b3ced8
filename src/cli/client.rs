//! The cluster, as the commands reach it: kubeconfig, namespace, and errors that say what to do.

use std::path::PathBuf;
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use kube::api::ListParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, ResourceExt as _};
use kube_runtime::{WatchStreamExt as _, watcher};

use super::output::{clean, complain};
use crate::api::Experiment;
use crate::text::chain;

/// A cluster that does not answer for this long is not there.
const CONNECT: Duration = Duration::from_secs(10);
/// Most names that an error lists.
const MOST_NAMES: u32 = 10;

/// Which cluster and namespace.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Place {
    /// Namespace of the experiment [default: the one of the kubeconfig's context]
    #[arg(short, long)]
    namespace: Option<String>,
    /// Context of the kubeconfig [default: its current one]
    #[arg(long)]
    context: Option<String>,
    /// The kubeconfig [default: KUBECONFIG, then ~/.kube/config]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
}

/// Why the cluster did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    /// Nothing says where the cluster is.
    #[error("failed to find a cluster: {0}; set KUBECONFIG, or give --kubeconfig and --context")]
    Nowhere(String),
    /// The cluster does not answer.
    #[error("failed to {doing} at {server}: {cause}; is the cluster running, and the context the right one?")]
    Unreachable {
        /// What was tried.
        doing: String,
        /// Address of the API server.
        server: String,
        /// What the connection says.
        cause: String,
    },
    /// The cluster does not know the kind.
    #[error(
        "the cluster at {0} has no Experiments; install the kinds: `reiter8 crds | kubectl apply --server-side -f -`"
    )]
    KindMissing(String),
    /// There is no such experiment.
    #[error("Experiment {namespace}/{name} was not found; {there}")]
    NotFound {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// What there is instead.
        there: String,
    },
    /// The cluster refuses.
    #[error("failed to {doing}: {cause}")]
    Refused {
        /// What was tried.
        doing: String,
        /// What the API server says.
        cause: String,
    },
}

/// A cluster and a namespace in it.
#[derive(Clone)]
pub(super) struct Cluster {
    pub(super) client: Client,
    pub(super) namespace: String,
    server: String,
}

impl Place {
    /// Finds the cluster; nothing is sent yet.
    pub(super) async fn connect(&self) -> Result<Cluster, ClientError> {
        // The first line alone: the others would show the file, credentials and all.
        let nowhere = |error: &dyn std::fmt::Display| {
            ClientError::Nowhere(error.to_string().lines().next().unwrap_or_default().to_owned())
        };
        let options = KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
        let mut config = match (&self.kubeconfig, &self.context) {
            (Some(file), _) => {
                let file = Kubeconfig::read_from(file).map_err(|e| nowhere(&e))?;
                Config::from_custom_kubeconfig(file, &options).await.map_err(|e| nowhere(&e))?
            }
            (None, Some(_)) => Config::from_kubeconfig(&options).await.map_err(|e| nowhere(&e))?,
            (None, None) => Config::infer().await.map_err(|e| nowhere(&e))?,
        };
        config.connect_timeout = Some(CONNECT);
        let server = config.cluster_url.to_string();
        let namespace = self.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config).map_err(|e| nowhere(&e))?;
        Ok(Cluster { client, namespace, server: server.trim_end_matches('/').to_owned() })
    }
}

impl Cluster {
    /// The namespace's experiments.
    pub(super) fn experiments(&self) -> Api<Experiment> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// An experiment that has to be there.
    pub(super) async fn get(&self, name: &str) -> Result<Experiment, ClientError> {
        let doing = format!("read Experiment {}/{name}", self.namespace);
        let found = self.experiments().get_opt(name).await;
        match found {
            Ok(Some(experiment)) => Ok(experiment),
            Ok(None) => Err(self.absent(name).await),
            // An answer without a reason is that of a path which does not exist.
            Err(kube::Error::Api(status)) if status.code == 404 => Err(ClientError::KindMissing(self.server.clone())),
            Err(error) => Err(self.failed(&doing, &error)),
        }
    }

    /// The experiment now and after every change; `None` while there is none. Interruptions are told and outlived.
    pub(super) fn follow(&self, name: &str) -> impl Stream<Item = Option<Experiment>> + Send + use<> {
        let (mut broken, cluster) = (false, self.clone());
        let stream = watcher::watch_object(self.experiments(), name).default_backoff();
        stream.filter_map(move |item| {
            let seen = match item {
                Ok(seen) => {
                    broken = false;
                    Some(seen)
                }
                Err(error) => {
                    if !std::mem::replace(&mut broken, true) {
                        let why = clean(&error.to_string());
                        complain(&format!("reiter8: lost {}, trying again: {why}", cluster.server));
                    }
                    None
                }
            };
            std::future::ready(seen)
        })
    }

    /// What to say of an experiment that is not there.
    async fn absent(&self, name: &str) -> ClientError {
        let some = ListParams::default().limit(MOST_NAMES);
        let there = match self.experiments().list(&some).await {
            Ok(list) if !list.items.is_empty() => format!("there are: {}", names(&list.items, false)),
            Ok(_) | Err(_) => self.elsewhere(&some).await,
        };
        ClientError::NotFound { namespace: self.namespace.clone(), name: name.to_owned(), there }
    }

    async fn elsewhere(&self, some: &ListParams) -> String {
        let nothing = format!("there is none in the namespace `{}`", self.namespace);
        match Api::<Experiment>::all(self.client.clone()).list(some).await {
            Ok(list) if !list.items.is_empty() => {
                format!("{nothing}; elsewhere there are: {}; give --namespace", names(&list.items, true))
            }
            Ok(_) | Err(_) => nothing,
        }
    }

    /// A failed call, in the words of this module.
    pub(super) fn failed(&self, doing: &str, error: &kube::Error) -> ClientError {
        match error {
            kube::Error::Api(status) => ClientError::Refused { doing: doing.to_owned(), cause: clean(&status.message) },
            other => ClientError::Unreachable {
                doing: doing.to_owned(),
                server: self.server.clone(),
                cause: clean(&chain(other)),
            },
        }
    }
}

fn names(experiments: &[Experiment], with_namespace: bool) -> String {
    let name = |e: &Experiment| match e.namespace() {
        Some(namespace) if with_namespace => format!("{namespace}/{}", e.name_any()),
        Some(_) | None => e.name_any(),
    };
    experiments.iter().map(name).collect::<Vec<_>>().join(", ")
}

/// Reads an experiment's name, also as kubectl writes it: `experiment/NAME`. It becomes a part of an address.
pub(super) fn name(text: &str) -> Result<String, String> {
    let name = match text.split_once('/') {
        Some(("experiment" | "experiments" | "experiments.iter8.tools", name)) => name,
        Some(_) | None => text,
    };
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    if name.is_empty() || name.len() > 253 || !name.chars().all(allowed) || name.starts_with(['-', '.']) {
        return Err("write the name of an Experiment: lower-case letters, digits, `-` and `.`".to_owned());
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_nothing_but_a_name() {
        assert_eq!(name("web-1"), Ok("web-1".into()));
        assert_eq!(name("experiment/web"), Ok("web".into()));
        for wrong in ["", "a/b", "../x", "experiment/a/b", "A", "-x", "a?b"] {
            assert!(name(wrong).is_err(), "{wrong}");
        }
    }
}
