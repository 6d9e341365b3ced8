//! What a person can do about a refusal: the field to look at, and the fix.
//!
//! One table, by the cause. Pure. Errors below this module know what happened, not what the user
//! wrote; here both are known. Called by the live world for everything that the write-back answers, and by
//! [`super::rehearsal`] for what a plan refuses.

use crate::api::RepositorySpec;
use crate::engine::{Cause, Unavailable};

/// Longest value that is repeated, characters.
const LONGEST: usize = 200;

/// The field that a person has to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// This one of the Experiment.
    Experiment(&'static str),
    /// The Repository's address.
    Url,
    /// The Repository's branch.
    Branch,
    /// The Secret that holds the Repository's credential.
    Secret,
}

impl Field {
    /// Everything about the write-back.
    pub const GITOPS: Self = Self::Experiment("spec.gitops");

    /// The field of the Experiment, for those who know no Repository.
    pub fn of_experiment(self) -> &'static str {
        match self {
            Self::Experiment(field) => field,
            Self::Url | Self::Branch | Self::Secret => "spec.gitops",
        }
    }
}

/// Where to look, and what to do there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remedy {
    /// The field.
    pub field: Field,
    /// What to do. `KEY` stands for the key in a Secret.
    pub fix: &'static str,
}

/// The remedy for a cause. `app`: the Repository is reached as a GitHub App.
pub fn of(cause: Cause, app: bool) -> Option<Remedy> {
    use Field::{Branch, Secret, Url};
    const GITOPS: Field = Field::GITOPS;
    let (field, fix) = match cause {
        Cause::AuthenticationFailed if app => {
            (Secret, "put a valid private key of the App under the key `KEY` of this Secret, or correct `appId`")
        }
        Cause::AuthenticationFailed => (Secret, "put a valid token under the key `KEY` of this Secret"),
        Cause::PermissionDenied | Cause::RequestRefused if app => (
            Secret,
            "give the App the permissions Contents and Pull requests, read and write, and accept them for its installation",
        ),
        Cause::PermissionDenied => (Secret, "let the token under the key `KEY` read, push and open requests"),
        Cause::ProviderUnavailable => {
            (Url, "bring the server back, let the controller reach it, or correct the address")
        }
        Cause::RepositoryNotFound if app => (Url, "correct the address, or install the App for the repository"),
        Cause::RepositoryNotFound => (Url, "correct the address, or let the token see the repository"),
        Cause::RepositoryMoved => (Url, "write the address that the repository has now"),
        Cause::RepositoryArchived => (Url, "let the repository be written to again"),
        Cause::ProtectedBranch | Cause::HookRejected => {
            (Url, "let the token's user push branches below `iter8/` there")
        }
        Cause::BaseBranchMissing => (Branch, "create the branch or correct its name"),
        Cause::InvalidYaml | Cause::DuplicateKey | Cause::TabIndentation => (Branch, "correct the file on this branch"),
        Cause::FileMissing | Cause::DocumentMissing | Cause::PathNotFound => {
            (GITOPS, "correct the name in `spec.gitops`, or add what it names")
        }
        Cause::FileTooLarge | Cause::FileTooComplex | Cause::FileTooDeep | Cause::DirectoryTooLarge => {
            (GITOPS, "split it")
        }
        Cause::UnsupportedEntry => (GITOPS, "put a plain file or directory there"),
        Cause::RepositoryUnreadable => (GITOPS, "let this user read it"),
        Cause::Ambiguous => (GITOPS, "leave only one of them"),
        Cause::ImageWithoutBuild => (GITOPS, "write the tag or digest"),
        Cause::SharedFile => (GITOPS, "give each manifest of the experiment a file of its own"),
        _ => return None,
    };
    Some(Remedy { field, fix })
}

/// The same fact with its remedy, if that is in the Repository.
pub fn remedied(u: Unavailable, repository: &RepositorySpec) -> Unavailable {
    let remedy = of(u.cause, repository.auth.is_some()).and_then(|remedy| remedy.in_repository(repository));
    match remedy {
        Some(remedy) if !u.message.contains(&remedy) => {
            Unavailable { message: format!("{}; {remedy}", u.message), ..u }
        }
        Some(_) | None => u,
    }
}

impl Remedy {
    /// The Repository's field, its value and the fix.
    fn in_repository(self, repository: &RepositorySpec) -> Option<String> {
        let (secret, secret_name, key) = repository.secret();
        let (name, value) = match self.field {
            Field::Experiment(_) => return None,
            Field::Url => ("url", repository.url.as_str()),
            Field::Branch => ("branch", repository.branch()),
            Field::Secret => (secret, secret_name),
        };
        let value: String = value.chars().take(LONGEST).collect();
        Some(format!("Repository spec.{name} `{value}`: {}", self.fix.replace("KEY", key)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Provider;

    fn repository() -> RepositorySpec {
        RepositorySpec::new("https://git.example.com/a/b.git", Provider::Gitea, "environment-token")
    }

    #[test]
    fn a_refusal_names_the_field_its_value_and_the_fix() {
        for (cause, words) in [
            (Cause::AuthenticationFailed, ["spec.secretRef `environment-token`", "valid token under the key `token`"]),
            (Cause::ProviderUnavailable, ["spec.url `https://git.example.com/a/b.git`", "correct the address"]),
            (Cause::BaseBranchMissing, ["spec.branch `main`", "create the branch"]),
            (Cause::ProtectedBranch, ["spec.url `https://git", "below `iter8/`"]),
        ] {
            let told = remedied(Unavailable::new(cause, "failed"), &repository());
            assert!(words.iter().all(|word| told.message.contains(word)), "{told}");
            assert_eq!(remedied(told.clone(), &repository()), told, "it is said once");
        }
        let other = Unavailable::new(Cause::CandidateSuperseded, "failed");
        assert_eq!(remedied(other.clone(), &repository()), other);
    }
}
