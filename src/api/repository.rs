//! The `Repository`: where outcomes are written, with which credentials, and who may use it.
//!
//! Owned by the platform team in its own namespace. The write-back reads it by name at use time and asks it for permission.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A repository at a forge.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "iter8.tools",
    version = "v2alpha2",
    kind = "Repository",
    plural = "repositories",
    namespaced,
    doc = "An environment repository: where outcomes are written, with which credentials, and who may use it.",
    printcolumn(name = "url", type_ = "string", json_path = ".spec.url"),
    printcolumn(name = "provider", type_ = "string", json_path = ".spec.provider"),
    printcolumn(name = "branch", type_ = "string", json_path = ".spec.branch")
)]
#[x_kube(validation = Rule::new("has(self.secretRef) != has(self.auth)")
    .message("one credential is needed: write `secretRef` for a token, or `auth.githubApp`, not both"))]
#[x_kube(validation = Rule::new("!has(self.auth) || self.provider == 'GitHub'")
    .message("`auth.githubApp` is for `provider: GitHub`; write `secretRef` with a token of the forge"))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RepositorySpec {
    /// Address for clones, `https://HOST/OWNER/NAME.git`; `http` only for hosts that the controller's configuration lists. Required.
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = Rule::new("self.matches('^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*){2,}$')")
        .message("not the address of a repository: write `https://HOST/OWNER/NAME.git`, without a user, a password or a query; credentials belong in the Secret of `secretRef`"))]
    pub url: String,
    /// The forge that serves the address, for pull requests. Required.
    pub provider: Provider,
    /// The branch that pull requests are for. Default: main.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 200))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*$') && !self.contains('..') && !self.endsWith('.lock')")
        .message("not a branch: write its short name such as `main`, without `refs/heads/`, `..` or blanks"))]
    pub branch: Option<String>,
    /// The Secret with the token, in the namespace of this Repository. Required, unless `auth` says otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretRef>,
    /// Another way to authenticate than with a token. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// Certificates of the authorities that signed the server's, in PEM, beside those that the controller's system trusts. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 65536))]
    #[x_kube(validation = Rule::new("self.contains('-----BEGIN CERTIFICATE-----')")
        .message("not a certificate: write it in PEM, with its line `-----BEGIN CERTIFICATE-----`; a private key does not belong here"))]
    pub ca_bundle: Option<String>,
    /// Namespaces whose Experiments may use this Repository; `*` is every namespace. Default: the Repository's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(min = 1, max = 63)))]
    pub allowed_namespaces: Vec<String>,
    /// Directories that may be written, such as `apps/productpage`; `apps` includes all below it. Default: every directory.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 512)))]
    #[x_kube(validation = Rule::new("self.all(p, p.matches('^[A-Za-z0-9_@+-][A-Za-z0-9._@+-]*(/[A-Za-z0-9_@+-][A-Za-z0-9._@+-]*)*$'))")
        .message("not a directory in the repository: write it relative and without a slash at the end, such as `apps/productpage`; wildcards are not needed, all below it is included"))]
    pub allowed_paths: Vec<String>,
    /// Whether Experiments may write to the branch without a review (`handover: CommitToBase`). Default: false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_commit_to_base: bool,
    /// Whether Experiments may have their requests merged without a person (`pullRequest.autoMerge`). The forge's own rules for the branch
    /// still hold: without any, such a request is merged at once. Default: false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_auto_merge: bool,
    /// Who the commits are by. Default: Reiter8 <reiter8@localhost>.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<CommitIdentity>,
}

impl RepositorySpec {
    /// The field that names the Secret with the credential, the Secret's name, and the key in it.
    pub fn secret(&self) -> (&'static str, &str, &str) {
        match (&self.secret_ref, &self.auth) {
            (Some(secret), _) => ("secretRef", &secret.name, secret.key()),
            (None, Some(auth)) => {
                let key = &auth.github_app.private_key;
                ("auth.githubApp.privateKey", &key.name, key.key())
            }
            // The schema asks for one of both.
            (None, None) => ("secretRef", "", "token"),
        }
    }

    /// A repository with this address, forge and Secret, and the defaults of everything else.
    pub fn new(url: &str, provider: Provider, secret: &str) -> Self {
        Self {
            url: url.to_owned(),
            provider,
            branch: None,
            secret_ref: Some(SecretRef { name: secret.to_owned(), key: None }),
            auth: None,
            ca_bundle: None,
            allowed_namespaces: vec![],
            allowed_paths: vec![],
            allow_commit_to_base: false,
            allow_auto_merge: false,
            commit: None,
        }
    }

    /// The branch that pull requests are for.
    pub fn branch(&self) -> &str {
        self.branch.as_deref().unwrap_or("main")
    }

    /// Whether Experiments in `namespace` may use the Repository, which is itself in `own`.
    pub fn allows_namespace(&self, own: &str, namespace: &str) -> bool {
        if self.allowed_namespaces.is_empty() {
            return own == namespace;
        }
        self.allowed_namespaces.iter().any(|allowed| allowed == "*" || allowed == namespace)
    }

    /// Whether the directory `path` may be written. It must be relative and free of `.` and `..`, which the schema sees to.
    pub fn allows_path(&self, path: &str) -> bool {
        let below = |allowed: &String| {
            path.strip_prefix(allowed.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.allowed_paths.is_empty() || self.allowed_paths.iter().any(below)
    }

    /// Who the commits are by.
    pub fn identity(&self) -> CommitIdentity {
        self.commit
            .clone()
            .unwrap_or_else(|| CommitIdentity { name: "Reiter8".into(), email: "reiter8@localhost".into() })
    }
}

/// The forge that serves a repository.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    /// Gitea or Forgejo.
    Gitea,
    /// GitHub or GitHub Enterprise. A fine-grained token needs to read and write contents and pull requests.
    GitHub,
}

/// Another way to authenticate than with a token.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Auth {
    /// As a GitHub App, with a token for this repository alone that is renewed every hour. Required.
    pub github_app: GitHubApp,
}

/// A GitHub App that is installed for the repository, with the permissions Contents and Pull requests, read and write.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GitHubApp {
    /// The App's id, as its settings show it. Required.
    #[schemars(range(min = 1))]
    pub app_id: i64,
    /// The id of its installation. Default: looked up for the repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub installation_id: Option<i64>,
    /// The Secret with the App's private key, in the namespace of this Repository. Required.
    pub private_key: PrivateKeyRef,
}

/// A key of a Secret in the namespace of the Repository.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PrivateKeyRef {
    /// Name of the Secret. Required.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key of the private key (PEM) in it. Default: privateKey.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub key: Option<String>,
}

impl PrivateKeyRef {
    /// Key of the private key.
    pub fn key(&self) -> &str {
        self.key.as_deref().unwrap_or("privateKey")
    }
}

/// A key of a Secret in the namespace of the Repository.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretRef {
    /// Name of the Secret. Required.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key of the token in it. Default: token.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub key: Option<String>,
}

impl SecretRef {
    /// Key of the token.
    pub fn key(&self) -> &str {
        self.key.as_deref().unwrap_or("token")
    }
}

/// Author and committer of the commits.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CommitIdentity {
    /// Name. Required.
    #[schemars(length(min = 1, max = 128))]
    #[x_kube(validation = Rule::new("self.matches('^[^<>\\\\x00-\\\\x1f]+$')").message("not a name for commits: write it on one line, without `<` and `>`"))]
    pub name: String,
    /// Address. Required.
    #[schemars(length(min = 1, max = 254))]
    #[x_kube(validation = Rule::new("self.matches('^[^<> \\\\x00-\\\\x1f]+@[^<> \\\\x00-\\\\x1f]+$')").message("not an address for commits: write `name@host`"))]
    pub email: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository(namespaces: &[&str], paths: &[&str]) -> RepositorySpec {
        let owned = |all: &[&str]| all.iter().map(ToString::to_string).collect();
        let url = "https://git.example.com/platform/environment.git";
        RepositorySpec {
            allowed_namespaces: owned(namespaces),
            allowed_paths: owned(paths),
            ..RepositorySpec::new(url, Provider::Gitea, "forge")
        }
    }

    #[test]
    fn without_a_list_only_the_own_namespace_may_use_it() {
        let closed = repository(&[], &[]);
        assert!(closed.allows_namespace("platform", "platform") && !closed.allows_namespace("platform", "bookinfo"));
        let listed = repository(&["bookinfo"], &[]);
        assert!(listed.allows_namespace("platform", "bookinfo") && !listed.allows_namespace("platform", "platform"));
        assert!(repository(&["*"], &[]).allows_namespace("platform", "anything"));
    }

    #[test]
    fn an_allowed_directory_includes_what_is_below_it_and_nothing_beside_it() {
        let apps = repository(&[], &["apps/productpage"]);
        assert!(apps.allows_path("apps/productpage") && apps.allows_path("apps/productpage/eu"));
        assert!(!apps.allows_path("apps/productpage2") && !apps.allows_path("apps") && !apps.allows_path("other"));
        assert!(repository(&[], &[]).allows_path("anything"));
    }
}
