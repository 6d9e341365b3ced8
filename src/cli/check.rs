//! `reiter8 check FILE…`: what the API server and the controller would refuse, before anything is applied.
//!
//! Offline. Applies the schemas of the definitions ([`schema`]), then the controller's own code over the given
//! manifests ([`rules`]), then warnings ([`hints`]). Owns none of the rules.

mod cluster;
mod given;
mod hints;
mod rules;
mod schema;
mod source;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::ensure;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use self::given::Given;
use self::schema::Schemas;
use self::source::{Document, Unreadable};
use super::output::{self, Output, clean};
use super::style::{coloured, paint};
use crate::api::{self, Experiment, Metric, Repository};
use crate::gitops::plan::Spec;

/// Check manifests as the API server and the controller would, without a cluster
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Prints `FILE:LINE: error|warning: FIELD: PROBLEM; REMEDY`. Experiments, Metrics and Repositories are checked; other\n\
    objects (Deployment, Service, VirtualService, DestinationRule, …) let it say whether the names in an Experiment exist.\n\
    Give the whole application: what is not among the files may be in the cluster and is at most a warning.\n\n\
    Exit codes: 0 no errors, 1 errors (with --strict: or warnings), or a file cannot be read, 2 wrong arguments.\n\n\
    Examples:\n  reiter8 check apps/productpage\n  reiter8 check --strict experiment.yaml metrics/ repository.yaml\n  \
    kubectl kustomize apps/productpage | reiter8 check -\n  \
    reiter8 check apps -o json | jq -r '.findings[] | select(.severity == \"error\") | .file'"
)]
pub(super) struct CheckArgs {
    /// Files and directories; `-` is standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Namespace of objects that name none [default: that of the experiment's target]
    #[arg(short, long)]
    namespace: Option<String>,
    /// Treat warnings as errors
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    output: Output,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Severity {
    /// It would be refused.
    Error,
    /// It is probably not meant.
    Warning,
}

impl Severity {
    fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Finding {
    file: String,
    line: usize,
    severity: Severity,
    /// Kind and name of the object; empty if the file could not be read.
    object: String,
    /// Path of the field; empty for the whole object.
    field: String,
    /// What is wrong and what to write instead.
    problem: String,
}

impl Finding {
    fn new(document: &Document, severity: Severity, field: &str, problem: &str) -> Self {
        Self {
            file: document.file.clone(),
            line: document.line(field, problem),
            severity,
            object: format!("{} {}", document.kind().2, document.name()),
            field: field.to_owned(),
            problem: clean(problem),
        }
    }

    fn text(&self, colours: bool) -> String {
        let colour = if self.severity == Severity::Error { 31 } else { 33 };
        let severity = paint(self.severity.as_str(), colour, colours);
        let field = if self.field.is_empty() { String::new() } else { format!("{}: ", clean(&self.field)) };
        format!("{}:{}: {severity}: {field}{}", clean(&self.file), self.line, self.problem)
    }
}

impl From<Unreadable> for Finding {
    fn from(unreadable: Unreadable) -> Self {
        let Unreadable { file, line, problem } = unreadable;
        Self {
            file,
            line,
            severity: Severity::Error,
            object: String::new(),
            field: String::new(),
            problem: clean(&problem),
        }
    }
}

/// The document for programs.
#[derive(Serialize)]
struct Report {
    files: usize,
    documents: usize,
    experiments: usize,
    errors: usize,
    warnings: usize,
    findings: Vec<Finding>,
}

impl Report {
    /// Everything in one line.
    fn sum(&self) -> String {
        let count = |n: usize, one: &str| if n == 1 { format!("1 {one}") } else { format!("{n} {one}s") };
        let seen = [count(self.files, "file"), count(self.documents, "object"), count(self.experiments, "experiment")];
        format!("{}: {}, {}", seen.join(", "), count(self.errors, "error"), count(self.warnings, "warning"))
    }
}

/// Runs the command.
pub(super) async fn check(args: CheckArgs) -> anyhow::Result<ExitCode> {
    let report = report(&args).await?;
    if args.output.is_json() {
        output::json(&report)?;
    } else {
        for finding in &report.findings {
            output::say(&finding.text(coloured()))?;
        }
        output::complain(&report.sum());
    }
    let failed = report.errors > 0 || args.strict && report.warnings > 0;
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// An experiment that could be carried out, for `reiter8 plan`.
pub(super) struct Planned {
    /// Its namespace and name.
    pub(super) name: String,
    /// What the engine decides by.
    pub(super) plan: crate::engine::Plan,
    /// What it reads.
    pub(super) binding: crate::live::Binding,
    /// What it writes back, if it does.
    pub(super) write: Option<Spec>,
    /// The folder of its manifest, if that is a file.
    pub(super) folder: Option<PathBuf>,
}

/// The experiments among some files. Those that would be refused are an error that says why, but for what only the
/// environment repository could refuse.
pub(super) async fn planned(files: &[PathBuf], namespace: Option<&str>) -> anyhow::Result<Vec<Planned>> {
    let schemas = Schemas::new()?;
    let (given, findings, _) = read(files, namespace)?;
    let given = given.unrehearsed();
    let mut planned = vec![];
    for document in given.documents().iter().filter(|d| d.kind().2 == "Experiment") {
        let mut refused: Vec<Finding> =
            findings.iter().cloned().chain(object(&schemas, &given, document).await).collect();
        refused.retain(|f| f.severity == Severity::Error);
        if let Some(finding) = refused.first() {
            anyhow::bail!("{}; `reiter8 check` says more", finding.text(false));
        }
        let Ok(experiment) = typed::<Experiment>(document) else { continue };
        if let Some(resolved) = rules::resolved(&given, document, &experiment, &mut vec![]).await {
            let identity = &resolved.plan.identity;
            let name = format!("{}/{}", identity.namespace, identity.name);
            let (write, folder) = (resolved.write.map(|write| write.spec), document.folder.clone());
            planned.push(Planned { name, plan: resolved.plan, binding: resolved.binding, write, folder });
        }
    }
    Ok(planned)
}

/// Reads files into objects; what cannot be read is a finding.
fn read(paths: &[PathBuf], namespace: Option<&str>) -> anyhow::Result<(Given, Vec<Finding>, usize)> {
    let absent = paths.iter().find(|f| f.as_os_str() != source::STDIN && !f.exists());
    ensure!(absent.is_none(), "{} does not exist", absent.map(|f| f.display().to_string()).unwrap_or_default());
    let (mut documents, mut findings) = (vec![], vec![]);
    let files = source::files(paths).unwrap_or_else(|unreadable| {
        findings.push(unreadable.into());
        vec![]
    });
    for file in &files {
        match source::read(file) {
            Ok(found) => documents.extend(found),
            Err(unreadable) => findings.push(unreadable.into()),
        }
    }
    for document in &mut documents {
        settle(document, namespace);
    }
    Ok((Given::new(documents), findings, files.len()))
}

async fn report(args: &CheckArgs) -> anyhow::Result<Report> {
    let schemas = Schemas::new()?;
    let (given, mut findings, files) = read(&args.files, args.namespace.as_deref())?;
    for document in given.documents() {
        findings.extend(object(&schemas, &given, document).await);
    }
    findings.sort_by(|a, b| (&a.file, a.line, a.severity, &a.field).cmp(&(&b.file, b.line, b.severity, &b.field)));
    findings.dedup();
    let count = |severity| findings.iter().filter(|f| f.severity == severity).count();
    Ok(Report {
        files,
        documents: given.documents().len(),
        experiments: given
            .documents()
            .iter()
            .filter(|d| d.kind().0 == api::GROUP && d.kind().2 == "Experiment")
            .count(),
        errors: count(Severity::Error),
        warnings: count(Severity::Warning),
        findings,
    })
}

/// Gives an object the namespace that it will be applied to. An experiment can be in that of its target only.
fn settle(document: &mut Document, namespace: Option<&str>) {
    if document.namespace().is_some() {
        return;
    }
    let target = document.at("/spec/target").filter(|_| document.kind().2 == "Experiment");
    let target = target.and_then(|t| t.split_once('/')).map(|(namespace, _)| namespace.to_owned());
    let Some(namespace) = namespace.map(ToOwned::to_owned).or(target) else { return };
    if let Some(metadata) = document.value.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("namespace".to_owned(), Value::String(namespace));
    }
}

/// Everything about one object.
async fn object(schemas: &Schemas, given: &Given, document: &Document) -> Vec<Finding> {
    let (group, version, kind) = document.kind();
    if group != api::GROUP {
        return vec![];
    }
    let error = |field: &str, problem: &str| Finding::new(document, Severity::Error, field, problem);
    if version != api::VERSION {
        let problem = format!("there is no `{group}/{version}`; write `{group}/{}`", api::VERSION);
        return vec![error("apiVersion", &problem)];
    }
    let kinds: Vec<&str> = schemas.kinds().collect();
    if !kinds.contains(&kind) {
        return vec![error("kind", &format!("there is no kind `{kind}`; write one of: {}", kinds.join(", ")))];
    }
    let mut findings: Vec<Finding> =
        schemas.check(kind, &document.value).into_iter().map(|r| error(&r.field, &r.problem)).collect();
    if document.name().is_empty() && document.at("/metadata/generateName").is_none() {
        findings.push(error("metadata.name", "missing; write a name"));
    }
    let more = match kind {
        "Experiment" => match typed::<Experiment>(document) {
            Ok(experiment) => {
                let mut more = rules::check(given, document, &experiment).await;
                more.extend(hints::experiment(given, document, &experiment));
                more
            }
            Err(finding) => vec![finding],
        },
        "Metric" => match typed::<Metric>(document) {
            Ok(metric) => hints::metric(document, &metric).into_iter().collect(),
            Err(finding) => vec![finding],
        },
        _ => typed::<Repository>(document).err().into_iter().collect(),
    };
    // What the API server refuses in a field, the controller need not refuse once more.
    let told = |f: &Finding| f.severity == Severity::Error && findings.iter().any(|g| covers(&g.field, &f.field));
    let new: Vec<Finding> = more.into_iter().filter(|f| !told(f)).collect();
    findings.extend(new);
    findings
}

/// Whether a finding about one field says enough about another: it is the same, around it or in it.
fn covers(one: &str, other: &str) -> bool {
    let plain = |field: &str| field.chars().filter(|c| !c.is_ascii_digit()).collect::<String>();
    let (one, other) = (plain(one), plain(other));
    !one.is_empty() && (other.starts_with(&one) || one.starts_with(&other))
}

/// The object as the controller reads it.
fn typed<K: DeserializeOwned>(document: &Document) -> Result<K, Finding> {
    serde_path_to_error::deserialize(&document.value).map_err(|error| {
        let path = error.path().to_string();
        let field = if path == "." || path == "?" { "" } else { path.trim_end_matches(".?") };
        let problem = format!("{}; correct the value", error.inner());
        Finding::new(document, Severity::Error, field, &problem)
    })
}
