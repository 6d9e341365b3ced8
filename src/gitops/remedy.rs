//! What a person can do when a repository or its forge refuses: the field, its value and the fix, beside what was said.
//!
//! Pure. Errors below this module know what happened, not what the user wrote; here both are known. Called by the live
//! world for everything that the write-back answers.

use crate::api::RepositorySpec;
use crate::engine::Unavailable;

/// Longest value that is repeated, characters.
const LONGEST: usize = 200;

/// The same fact with its remedy.
pub fn remedied(u: Unavailable, repository: &RepositorySpec) -> Unavailable {
    match remedy(u.reason, repository) {
        Some(remedy) if !u.message.contains(&remedy) => {
            Unavailable { message: format!("{}; {remedy}", u.message), ..u }
        }
        Some(_) | None => u,
    }
}

fn remedy(reason: &str, repository: &RepositorySpec) -> Option<String> {
    let (secret, name, key) = repository.secret();
    let field = |name: &str, value: &str, fix: &str| {
        let value: String = value.chars().take(LONGEST).collect();
        Some(format!("Repository spec.{name} `{value}`: {fix}"))
    };
    let credential = |fix: &str| field(secret, name, &fix.replace("KEY", key));
    let app = repository.auth.is_some();
    let url = |fix: &str| field("url", &repository.url, fix);
    match reason {
        "AuthenticationFailed" if app => {
            credential("put a valid private key of the App under the key `KEY` of this Secret, or correct `appId`")
        }
        "PermissionDenied" | "RequestRefused" if app => credential(
            "give the App the permissions Contents and Pull requests, read and write, and accept them for its installation",
        ),
        "RepositoryNotFound" if app => url("correct the address, or install the App for the repository"),
        "AuthenticationFailed" => credential("put a valid token under the key `KEY` of this Secret"),
        "PermissionDenied" => credential("let the token under the key `KEY` read, push and open requests"),
        "ProviderUnavailable" => url("bring the server back, let the controller reach it, or correct the address"),
        "RepositoryNotFound" => url("correct the address, or let the token see the repository"),
        "RepositoryMoved" => url("write the address that the repository has now"),
        "RepositoryArchived" => url("let the repository be written to again"),
        "BaseBranchMissing" => field("branch", repository.branch(), "create the branch or correct its name"),
        "ProtectedBranch" | "HookRejected" => url("let the token's user push branches below `iter8/` there"),
        "InvalidYaml" | "DuplicateKey" | "TabIndentation" => {
            field("branch", repository.branch(), "correct the file on this branch")
        }
        _ => None,
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
        for (reason, words) in [
            ("AuthenticationFailed", ["spec.secretRef `environment-token`", "valid token under the key `token`"]),
            ("ProviderUnavailable", ["spec.url `https://git.example.com/a/b.git`", "correct the address"]),
            ("BaseBranchMissing", ["spec.branch `main`", "create the branch"]),
            ("ProtectedBranch", ["spec.url `https://git", "below `iter8/`"]),
        ] {
            let told = remedied(Unavailable::new(reason, "failed"), &repository());
            assert!(words.iter().all(|word| told.message.contains(word)), "{told}");
            assert_eq!(remedied(told.clone(), &repository()), told, "it is said once");
        }
        let other = Unavailable::new("CandidateSuperseded", "failed");
        assert_eq!(remedied(other.clone(), &repository()), other);
    }
}
