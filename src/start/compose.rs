//! What a start changes on one commit, computed from its files without writing anything.
//!
//! Called again, from scratch, whenever the branch moved.

use std::collections::{BTreeMap, BTreeSet};

use kube::ResourceExt;

use super::directory::{Directory, Present, WAVE, wave};
use super::manifest::{Draft, Image, manifest, name_path, of};
use super::template::{Values, fill};
use super::{OnRunning, Request, StartError};
use crate::api::experiment::{GitOps, Objective};
use crate::api::{Experiment, Provider, Quantity, Repository, RepositorySpec};
use crate::controller::Refusal;
use crate::controller::resolve::{Referred, resolve};
use crate::gitops::edit::{EditError, Path};
use crate::gitops::layout::{KUSTOMIZATIONS, Layout, listed};
use crate::gitops::plan::{Spec, plan_promote};
use crate::gitops::promote::Workload;
use crate::gitops::rehearsal::{REMOVE, rehearse};
use crate::gitops::repository::Put;
use crate::gitops::tree::{Blob, Files, RepoPath, read};

/// The wave that an Experiment gets when its template names none: later than the waves that people commonly use.
const LAST_WAVE: i64 = 10;
/// The label that tells versions apart when no `DestinationRule` of the directory says it, as Istio's own samples do.
const VERSION_LABEL: &str = "version";

/// What a start would do on one commit.
pub(super) enum Plan {
    /// These files.
    Ready(Box<Composed>),
    /// Nothing: an experiment for the same target is there.
    Busy {
        /// What is there.
        running: String,
        /// The target of both.
        target: String,
    },
}

/// The files of a start.
pub(super) struct Composed {
    pub(super) name: String,
    pub(super) target: String,
    pub(super) files: Vec<Put>,
    /// Names of the experiments that are replaced.
    pub(super) replaced: Vec<String>,
    /// The experiment's template, for messages.
    pub(super) template: String,
    pub(super) warnings: Vec<String>,
    spec: Spec,
}

/// The Experiment to commit.
struct Beginning {
    draft: Draft,
    experiment: Experiment,
    gitops: GitOps,
    spec: Spec,
    warnings: Vec<String>,
}

/// Plans a start on a snapshot.
pub(super) fn compose(files: &dyn Files, request: &Request, suffix: &str) -> Result<Plan, StartError> {
    let directory = Directory::read(files, &request.directory)?;
    let beginning = beginning(files, request, suffix)?;
    let target = beginning.experiment.spec.target.clone();
    let (running, others): (Vec<Present>, Vec<Present>) =
        directory.experiments().into_iter().partition(|present| present.target == target);
    if let (Some(first), OnRunning::Fail | OnRunning::Wait) = (running.first(), request.on_running) {
        return Ok(Plan::Busy { running: format!("experiment {} ({})", first.name, first.path), target });
    }
    let mut changes: BTreeMap<RepoPath, Option<Vec<u8>>> = BTreeMap::new();
    for present in &running {
        if !present.alone {
            let remedy = "split it: an experiment needs a file of its own, so that it can be removed";
            return Err(StartError::FileExists { path: present.path.to_string(), remedy });
        }
        for path in std::iter::once(&present.path).chain(&present.files) {
            if read(files, path)?.is_some() {
                changes.insert(path.clone(), None);
            }
        }
    }
    for (path, content) in written(files, request, &directory, &beginning, suffix)? {
        let foreign = others.iter().any(|other| other.path == path || other.files.contains(&path));
        let candidate = &beginning.spec.candidate;
        // What a hand-made clean-up left behind is replaced where replacing was asked for.
        let leftover =
            request.on_running == OnRunning::Supersede && directory.holds_only(&path, &candidate.kind, &candidate.name);
        if foreign || (read(files, &path)?.is_some() && !changes.contains_key(&path) && !leftover) {
            let remedy = if foreign { "name another file" } else { "remove it, or name another file" };
            return Err(StartError::FileExists { path: path.to_string(), remedy });
        }
        changes.insert(path, Some(content));
    }
    list(files, &beginning, &request.directory, &mut changes)?;
    let mut warnings = beginning.warnings;
    let own = wave(&beginning.draft.json()?).unwrap_or(0);
    let late = directory.not_before(own, &changes.keys().cloned().collect::<BTreeSet<_>>());
    if let Some(late) = late.first() {
        warnings.push(format!(
            "{late} is not in an earlier sync wave than the Experiment ({own}); give the Experiment a later `{WAVE}`, so that it is removed first"
        ));
    }
    Ok(Plan::Ready(Box::new(Composed {
        name: beginning.experiment.name_any(),
        target,
        files: changes.into_iter().map(|(path, content)| Put { path, content }).collect(),
        replaced: running.into_iter().map(|present| present.name).collect(),
        template: beginning.draft.path,
        warnings,
        spec: beginning.spec,
    })))
}

/// Names the files that come, and not those that go, where a kustomization lists what is applied.
fn list(
    files: &dyn Files,
    beginning: &Beginning,
    directory: &RepoPath,
    changes: &mut BTreeMap<RepoPath, Option<Vec<u8>>>,
) -> Result<(), StartError> {
    if beginning.spec.layout != Layout::Kustomize {
        return Ok(());
    }
    let entries = files.list(Some(directory))?;
    let Some(entry) = entries.iter().find(|entry| KUSTOMIZATIONS.contains(&entry.name.as_str())) else { return Ok(()) };
    let path = directory.join(&entry.name)?;
    let below = format!("{directory}/");
    let named = |gone: bool| {
        let some = changes.iter().filter(|(_, content)| content.is_none() == gone);
        some.filter_map(|(path, _)| path.as_str().strip_prefix(&below)).map(ToOwned::to_owned).collect::<Vec<_>>()
    };
    let Some(Blob { bytes, .. }) = read(files, &path)? else { return Ok(()) };
    let text = listed(&bytes, &named(false), &named(true)).map_err(|source| of(path.as_str(), source))?;
    if text.as_bytes() != bytes {
        changes.insert(path, Some(text.into_bytes()));
    }
    Ok(())
}

impl Composed {
    /// Rehearses both ends of the experiment on the commit that would begin it: what would fail then fails now.
    pub(super) fn rehearse(&self, files: &dyn Files) -> Result<(), StartError> {
        let promote = plan_promote(files, &self.spec);
        if promote.is_ok_and(|promote| promote.files.is_empty() && promote.unpromoted.is_empty()) {
            return Err(StartError::NothingToTry { path: format!("{}/{}", self.spec.path, self.spec.to) });
        }
        rehearse(files, &self.spec).map(drop).map_err(|mut flaw| {
            if flaw.field == REMOVE {
                flaw.remedy = "name its template with --load-generator, or remove it from the list".into();
            }
            StartError::Unfinishable { path: self.template.clone(), flaw: Box::new(flaw) }
        })
    }
}

/// A start brings one image, and with it one candidate.
fn one_candidate(path: &str, experiment: &Experiment) -> Result<(), StartError> {
    let count = experiment.spec.version_info.candidates.len();
    if count > 1 {
        let problem = format!(
            "spec.versionInfo.candidates: {count} candidates, and `start` brings one; write one, or commit the Experiment and the \
             manifests of its candidates with git"
        );
        return Err(manifest(path, problem));
    }
    Ok(())
}

/// The Experiment, from its template.
fn beginning(files: &dyn Files, request: &Request, suffix: &str) -> Result<Beginning, StartError> {
    let mut values = request.values.clone();
    values.insert("SUFFIX".into(), suffix.to_owned());
    let mut draft = template(files, request, &request.experiment, &values)?
        .ok_or_else(|| StartError::TemplateMissing { path: named(files, request, &request.experiment) })?;
    let path = draft.path.clone();
    if draft.kind != "Experiment" {
        return Err(manifest(
            &path,
            format!("kind: `{}` is not an Experiment; name its template with --experiment", draft.kind),
        ));
    }
    if !draft.name.contains(suffix) {
        let name = format!("{}-{suffix}", draft.name);
        draft.put(&name_path(), &name.into())?;
    }
    if wave(&draft.json()?).is_none() {
        let at = Path::default().key("metadata").key("annotations").key(WAVE);
        draft.put(&at, &LAST_WAVE.to_string().into())?;
    }
    let gitops_of = |draft: &Draft| -> Result<(Experiment, GitOps), StartError> {
        let experiment: Experiment = serde_saphyr::from_str(&draft.text)
            .map_err(|error| manifest(&path, format!("not a valid Experiment: {error}")))?;
        let gitops = experiment.spec.gitops.clone().ok_or_else(|| {
            manifest(&path, "spec.gitops: it is needed, to know the files of the experiment; write `repository`, `path` and `promote`".into())
        })?;
        Ok((experiment, gitops))
    };
    let (mut experiment, mut gitops) = gitops_of(&draft)?;
    one_candidate(&path, &experiment)?;
    if let Some(load) = request.load_generator.as_ref().filter(|load| !gitops.remove.contains(load)) {
        let all: Vec<&String> = gitops.remove.iter().chain([load]).collect();
        draft.put(&Path::default().key("spec").key("gitops").key("remove"), &serde_json::json!(all))?;
        (experiment, gitops) = gitops_of(&draft)?;
    }
    if gitops.path != request.directory.as_str() {
        let problem = format!(
            "spec.gitops.path: `{}` is not --path {}; write the same directory",
            gitops.path, request.directory
        );
        return Err(manifest(&path, problem));
    }
    check_name(&path, &experiment)?;
    if experiment.metadata.namespace.is_none() {
        // The tool that applies the directory adds it; the target begins with it.
        experiment.metadata.namespace =
            experiment.spec.target.split_once('/').map(|(namespace, _)| namespace.to_owned());
    }
    let mut warnings = Vec::new();
    let spec = spec(&path, &experiment, &mut warnings)?;
    if spec.layout == Layout::HelmValues {
        let problem = "spec.gitops.layout: a chart makes the candidate and the Experiment from its values; commit the blocks \
                       `candidate` and `experiment` instead of calling `start`";
        return Err(manifest(&path, problem.into()));
    }
    Ok(Beginning { draft, experiment, gitops, spec, warnings })
}

/// The rules for names of the API server and of the `Experiment`.
fn check_name(path: &str, experiment: &Experiment) -> Result<(), StartError> {
    let name = experiment.name_any();
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    let ends =
        name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.ends_with(|c: char| c.is_ascii_alphanumeric());
    if name.len() <= 63 && ends && name.chars().all(allowed) {
        return Ok(());
    }
    Err(manifest(
        path,
        format!(
            "metadata.name: `{name}` is no name for an experiment; write at most 63 lower-case letters, digits, `-` and `.`"
        ),
    ))
}

/// The files that the outcome will be written to, by the controller's own rules for experiments.
fn spec(path: &str, experiment: &Experiment, warnings: &mut Vec<String>) -> Result<Spec, StartError> {
    let refused = |source| StartError::Refused { path: path.to_owned(), source };
    // Who may use the Repository is its owner's rule, which the controller applies; here nothing may depend on it.
    let url = "https://git.example.com/environment/environment.git";
    let open = RepositorySpec {
        allowed_namespaces: vec!["*".into()],
        allow_commit_to_base: true,
        allow_auto_merge: true,
        ..RepositorySpec::new(url, Provider::Gitea, "none")
    };
    let referred = Referred { repository: Some(Repository::new("environment", open)), ..Referred::default() };
    let resolved = match resolve(experiment, &referred) {
        Err(Refusal::Missing { kind: "Metric", name, .. }) => {
            warnings.push(format!("Metric {name} is not checked here; the controller reads it from the cluster"));
            // Everything else is checked as if the objective were a built-in one.
            let mut plain = experiment.clone();
            let limit = Some(Quantity::from("1%"));
            plain.spec.criteria.objectives = vec![Objective {
                metric: "istio/error-rate".into(),
                upper_limit: limit,
                ..objective(experiment, path)?
            }];
            resolve(&plain, &referred)
        }
        other => other,
    };
    let write = resolved.map_err(refused)?.write;
    write.map(|write| write.spec).ok_or_else(|| manifest(path, "spec.gitops: it is needed".into()))
}

/// An objective without further wishes.
fn objective(experiment: &Experiment, path: &str) -> Result<Objective, StartError> {
    let first = experiment.spec.criteria.objectives.first().cloned();
    let first = first.ok_or_else(|| manifest(path, "spec.criteria.objectives: one is needed".into()))?;
    Ok(Objective { lower_limit: None, relative: None, ..first })
}

/// Every file that is written, by path.
fn written(
    files: &dyn Files,
    request: &Request,
    directory: &Directory,
    beginning: &Beginning,
    suffix: &str,
) -> Result<Vec<(RepoPath, Vec<u8>)>, StartError> {
    let mut values = request.values.clone();
    values.extend([("SUFFIX".into(), suffix.to_owned()), ("NAME".into(), beginning.experiment.name_any())]);
    let (from, to) = (&beginning.gitops.promote.from, &beginning.gitops.promote.to);
    let mut candidate = match template(files, request, from, &values)? {
        Some(draft) => draft,
        None => derived(files, request, directory, beginning)?,
    };
    candidate.images(&request.images)?;
    candidate.deadline()?;
    let mut all = vec![
        (request.directory.join(&request.experiment)?, beginning.draft.text.clone()),
        (request.directory.join(from)?, candidate.text),
    ];
    if let Some(load) = &request.load_generator {
        let draft = template(files, request, load, &values)?
            .ok_or_else(|| StartError::TemplateMissing { path: named(files, request, load) })?;
        all.push((request.directory.join(load)?, draft.text));
    }
    let baseline = request.directory.join(to)?;
    let distinct: BTreeSet<&RepoPath> = all.iter().map(|(path, _)| path).chain([&baseline]).collect();
    if distinct.len() != all.len() + 1 {
        let problem =
            "the Experiment, its load generator, `spec.gitops.promote.from` and `to` must be different files".into();
        return Err(manifest(&beginning.draft.path, problem));
    }
    Ok(all.into_iter().map(|(path, text)| (path, ended(text).into_bytes())).collect())
}

/// A file ends with one line's end, also where it was cut out of a larger one.
fn ended(mut text: String) -> String {
    let ending = if text.contains("\r\n") { "\r\n" } else { "\n" };
    text.truncate(text.trim_end().len());
    text + ending
}

/// The candidate's manifest from the baseline's.
fn derived(
    files: &dyn Files,
    request: &Request,
    directory: &Directory,
    beginning: &Beginning,
) -> Result<Draft, StartError> {
    let to = request.directory.join(&beginning.gitops.promote.to)?;
    let blob = read(files, &to)?.ok_or_else(|| {
        manifest(to.as_str(), "not found; `spec.gitops.promote.to` names the baseline's manifest".into())
    })?;
    let Workload { name, .. } = &beginning.spec.candidate;
    let mut draft = Draft::workload(to.as_str(), &blob.bytes, &beginning.spec.baseline)?;
    if request.images.is_empty() {
        let problem = format!(
            "the candidate would equal the baseline: name its --image, or write the template {}",
            named(files, request, &beginning.gitops.promote.from)
        );
        return Err(manifest(to.as_str(), problem));
    }
    draft.become_candidate(name, &version_labels(request, directory, beginning))?;
    // The comments below are the baseline's, so the first line says whose file this is.
    let ending = if draft.text.contains("\r\n") { "\r\n" } else { "\n" };
    let first = format!(
        "# The candidate of {}, derived from {}; what differs is name, labels and image.",
        beginning.experiment.name_any(),
        beginning.gitops.promote.to
    );
    draft.text = format!("{first}{ending}{}", draft.text.trim_start_matches('\u{feff}'));
    Ok(draft)
}

/// The labels of the candidate's pods: what was asked for, else what the routing's subset selects, else `version: NAME`.
fn version_labels(request: &Request, directory: &Directory, beginning: &Beginning) -> BTreeMap<String, String> {
    if !request.labels.is_empty() {
        return request.labels.clone();
    }
    let info = &beginning.experiment.spec.version_info;
    let subset = |version: Option<&crate::api::experiment::Version>| {
        version.and_then(|version| version.destination.as_ref()?.subset.clone())
    };
    let candidate = info.candidates.first();
    let both = subset(Some(&info.baseline)).zip(subset(candidate));
    both.and_then(|(baseline, candidate)| directory.subset_labels(&baseline, &candidate)).unwrap_or_else(|| {
        let name = candidate.map_or_else(|| "candidate".to_owned(), |candidate| candidate.name.clone());
        BTreeMap::from([(VERSION_LABEL.to_owned(), name)])
    })
}

/// The template of this name with its placeholders filled in.
fn template(files: &dyn Files, request: &Request, name: &str, values: &Values) -> Result<Option<Draft>, StartError> {
    let (path, bytes) = request.templates.get(files, name)?;
    let Some(bytes) = bytes else { return Ok(None) };
    let text = String::from_utf8(bytes).map_err(|_| of(&path, EditError::NotText))?;
    let mut values = values.clone();
    if let [Image { reference, .. }] = request.images.as_slice() {
        values.entry("IMAGE".into()).or_insert_with(|| reference.clone());
    }
    Draft::only(&path, fill(&path, &text, &values)?).map(Some)
}

/// What a template is called in messages.
fn named(files: &dyn Files, request: &Request, name: &str) -> String {
    request.templates.get(files, name).map_or_else(|_| name.to_owned(), |(path, _)| path)
}
