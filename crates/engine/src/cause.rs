//! Why a fact is missing, or why something could not be done: one vocabulary for every adapter.
//!
//! Owns the words and what follows from each of them. Every error enum of the adapters names its variants with one of
//! these; choices are made by the variant, and the word is made at the edge: in conditions, Events, metrics and logs.

use serde::{Deserialize, Serialize};

/// Why a fact is missing, or why something could not be done.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    strum::IntoStaticStr,
    strum::VariantArray,
)]
pub enum Cause {
    // The experiment as it is written, and what it refers to.
    /// A field has a value that it does not take.
    InvalidExperiment,
    /// A field or combination that this release does not carry out.
    NotSupported,
    /// The repository's owner does not allow this use.
    NotAllowed,
    /// There is no such Metric.
    MetricNotFound,
    /// There is no such Repository, or the forge shows none at its address.
    RepositoryNotFound,
    /// There is no such workload.
    WorkloadNotFound,
    /// There is no such Service.
    ServiceNotFound,
    /// There is no such VirtualService or route in it.
    RouteNotFound,
    /// A route lacks a destination of a version, or a weight.
    RouteIncomplete,
    /// A route has a destination with a weight that is no version's.
    RouteHasOthers,
    /// There is no such delegate VirtualService.
    DelegateMissing,
    /// The VirtualService has hosts or gateways of its own.
    NotADelegate,
    /// No DestinationRule has the subset.
    SubsetNotFound,
    /// A subset selects the wrong workload.
    SubsetMismatch,

    // Metrics.
    /// The metrics source does not answer, or its newest samples are old.
    MetricsUnavailable,
    /// The metrics source refuses the query.
    InvalidQuery,
    /// A selector matches more series than one version can have.
    TooManySeries,

    // The API server and the controller.
    /// The API server does not answer.
    ApiUnavailable,
    /// The API server does not let the controller do that.
    Forbidden,
    /// Somebody else was faster.
    Conflict,
    /// The API server, or an admission webhook, does not accept the object.
    Refused,
    /// The stored object is not what its kind is in this release.
    ObjectUnreadable,
    /// `status.progress` was written by another release.
    ProgressUnreadable,
    /// A defect of this program.
    Internal,

    // The remote repository and its forge.
    /// The controller may not use the Repository's address.
    RepositoryAddressRefused,
    /// The address is no address of a repository.
    AddressRefused,
    /// The Secret has no usable credential.
    CredentialsMissing,
    /// The credential is not accepted.
    AuthenticationFailed,
    /// The credential has too few rights.
    PermissionDenied,
    /// The forge does not know its new token everywhere yet.
    TokenNotReady,
    /// The remote does not answer.
    ProviderUnavailable,
    /// The remote asks for patience.
    RateLimited,
    /// The repository has another address now.
    RepositoryMoved,
    /// The repository is read-only.
    RepositoryArchived,
    /// The repository is larger than is fetched.
    RepositoryTooLarge,
    /// The local clone cannot be read or written.
    RepositoryUnreadable,
    /// The forge rejected the request.
    RequestRefused,
    /// The branch has nothing that its base lacks.
    NoChange,
    /// The branch was merged already.
    AlreadyMerged,
    /// A server-side hook rejected the push.
    HookRejected,
    /// The branch is protected.
    ProtectedBranch,
    /// The name is no branch's.
    InvalidBranch,
    /// The branch holds somebody else's commit.
    BranchEdited,
    /// The base branch does not exist.
    BaseBranchMissing,
    /// The base branch moved on.
    BaseMoved,
    /// The branch moved on while it was pushed.
    NotFastForward,
    /// The commit is not the one that was recorded when it is made again.
    PlanChanged,

    // Files of the environment repository.
    /// The candidate's file is not what it was at the start.
    CandidateSuperseded,
    /// The baseline's file is not what it was at the start.
    BaselineChanged,
    /// What is to be reverted was edited since.
    MergedDifferently,
    /// A file that is to be removed was edited, or is another experiment's.
    FileChanged,
    /// A file is not there.
    FileMissing,
    /// What is to be removed is used by others too.
    SharedFile,
    /// The directory's layout cannot be written back to.
    UnsupportedLayout,
    /// The directory has another layout than the experiment says.
    LayoutMismatch,
    /// Both versions take their image from one entry.
    SharedImage,
    /// The image is set where no build names it.
    ImageWithoutBuild,
    /// What the promotion would change cannot be verified.
    UnverifiablePromotion,
    /// The directory has too many files.
    DirectoryTooLarge,
    /// The versions differ in what the promotion leaves behind.
    UnpromotedDifference,
    /// A file is not on the base branch, or the cluster not what Git says, yet.
    WaitingForSync,
    /// An anchor or alias would be changed along.
    AliasInvolved,
    /// More than one thing answers to the name.
    Ambiguous,
    /// The file has no such document.
    DocumentMissing,
    /// A mapping has a key twice.
    DuplicateKey,
    /// The edited file does not say what was wanted.
    EditNotVerified,
    /// The file is encrypted.
    Encrypted,
    /// The file has too many nodes.
    FileTooComplex,
    /// The file is nested too deeply.
    FileTooDeep,
    /// The file is too large.
    FileTooLarge,
    /// The text is no object id.
    InvalidObjectId,
    /// The path is not one that is used.
    InvalidPath,
    /// The file is not YAML.
    InvalidYaml,
    /// The file is a pointer to large-file storage.
    LfsPointer,
    /// The field cannot be promoted.
    NotPromotable,
    /// The file is not text.
    NotText,
    /// The file has no such field.
    PathNotFound,
    /// The edit would change what selects the workload.
    SelectorWouldChange,
    /// The file is indented with tabs.
    TabIndentation,
    /// The file is a template.
    TemplateFile,
    /// The entry is no regular file.
    UnsupportedEntry,
    /// The file uses YAML that is not edited.
    UnsupportedYaml,
}

impl Cause {
    /// The reason in conditions, Events, metrics and logs.
    pub fn word(self) -> &'static str {
        self.into()
    }

    /// Whether the routes do not exist, so that nothing leads to the candidate.
    pub fn routes_are_gone(self) -> bool {
        matches!(self, Self::RouteNotFound | Self::DelegateMissing)
    }

    /// Whether the routes are not as they must be, while those that are there can still be written.
    pub fn routes_are_writable(self) -> bool {
        matches!(self, Self::RouteIncomplete | Self::RouteHasOthers | Self::NotADelegate)
    }

    /// Whether somebody else was faster: reading again and trying again is the answer.
    pub fn is_conflict(self) -> bool {
        self == Self::Conflict
    }

    /// Whether it stays until a person does something: waiting alone does not mend it.
    pub fn is_lasting(self) -> bool {
        matches!(self, Self::Forbidden | Self::ObjectUnreadable)
    }

    /// Whether the remote said nothing about the credential that was used.
    pub fn is_silent_about_credentials(self) -> bool {
        matches!(self, Self::ProviderUnavailable | Self::RateLimited)
    }
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}
