//! `reiter8 start`: what CI calls to begin an experiment.
//!
//! Owns arguments, output and exit codes; [`crate::start`] does the work.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use reqwest::Url;
use serde_json::json;

use super::output::complain;
use super::style::{coloured, diff, paint, print};
use crate::api::Span;
use crate::engine::Cause;
use crate::gitops::edit::MAX_BYTES;
use crate::gitops::forge::{Forge, GitHub, Gitea, LocalForge};
use crate::gitops::repository::{Author, Remote};
use crate::gitops::transport::Token;
use crate::gitops::tree::RepoPath;
use crate::start::{Image, OnRunning, Request, StartError, Started, Templates, is_name, is_value, start};

/// The variable that holds the token unless another one is named.
const TOKEN_VARIABLE: &str = "REITER8_TOKEN";
/// Longest token, bytes; signed ones have a few KiB.
const MAX_TOKEN: u64 = 64 << 10;
/// Most local templates; a directory with more is not one of templates.
const MAX_TEMPLATES: usize = 100;
/// Exit code for arguments that are wrong together, the one that clap has for wrong arguments.
const WRONG_ARGUMENTS: u8 = 2;

/// Commit what begins an experiment to the environment repository; for CI
#[derive(Clone, Debug, clap::Args)]
#[command(after_long_help = "\
What is committed, in one commit, to the directory --path:
  the Experiment     from its template: `metadata.name` gets a random suffix (or has ${SUFFIX}), and the sync wave 10
                     unless the template has one; comments and everything else stay
  the candidate      `spec.gitops.promote.from`: from the template of that name or, without one, derived from the baseline's
                     manifest (`promote.to`): name, version labels, --image, progressDeadlineSeconds at most 120
  a load generator   with --load-generator; it is added to `spec.gitops.remove`

Templates are plain manifests with placeholders: ${SUFFIX}, ${NAME} (the Experiment's name; not in its own template),
${IMAGE} (with one --image) and those of --set. `$${` is a literal `${`. --image is put into the candidate either way.

Before anything is pushed, the Experiment passes the controller's own checks, and both of its ends (promotion and clean-up) are
rehearsed on the commit. The push is a fast-forward under a lease; when somebody was faster, everything is planned anew, with the
look for a running experiment. Any number of calls at once end with at most one experiment for a target on the branch. With
--pull-request, the request's branch is named after the target, so at most one request is open for it.

An experiment runs as long as its file is in the directory, until the request that cleans up is merged.

Exit codes:
  0  committed, or the pull request is open (or, with --dry-run, would be)
  1  refused: a template, the repository, the token or the forge; nothing was committed
  2  wrong arguments
  3  an experiment for the target is running (--on-running fail), or another start replaced this one's request at once
  4  it was still running after --timeout (--on-running wait); nothing was committed
  5  gave up: the branch kept moving or the server stayed away; the message says if it may have been committed
  6  nothing to try: the candidate equals the baseline

Examples:
  # Templates are in the environment repository; REITER8_TOKEN holds the token.
  reiter8 start --repository https://git.example.com/platform/environment.git --path apps/productpage \\
    --templates templates/productpage --image ghcr.io/shop/productpage:v2

  # Templates are with the application's source; wait for the experiment that runs; open a pull request.
  reiter8 start --repository https://git.example.com/platform/environment.git --path apps/productpage \\
    --local-templates deploy/experiment --image app=ghcr.io/shop/productpage:v2 \\
    --on-running wait --timeout 2h --pull-request --token-file /run/secrets/token

  # The newest version wins: replace what runs, and keep the name for the next step of the pipeline.
  reiter8 start ... --on-running supersede -o json | jq -r .experiment

  # See the commit without making it.
  reiter8 start ... --dry-run")]
pub(super) struct StartArgs {
    /// The environment repository's clone address, without credentials; or a bare repository on this machine
    #[arg(long, value_name = "URL", env = "REITER8_REPOSITORY")]
    repository: String,
    /// The branch that the GitOps tool reads
    #[arg(long, default_value = "main")]
    branch: String,
    /// The application's directory in the repository, as in `spec.gitops.path`
    #[arg(long, value_name = "DIR")]
    path: RepoPath,
    /// Directory of the templates in the repository
    #[arg(long, value_name = "DIR", required_unless_present = "local_templates")]
    templates: Option<RepoPath>,
    /// Directory of the templates on this machine
    #[arg(long, value_name = "DIR", conflicts_with = "templates")]
    local_templates: Option<PathBuf>,
    /// Template of the Experiment; the file gets the same name
    #[arg(long, value_name = "FILE", default_value = "experiment.yaml", value_parser = file)]
    experiment: String,
    /// Template of a further manifest, such as a load generator, that comes and goes with the Experiment
    #[arg(long, value_name = "FILE", value_parser = file)]
    load_generator: Option<String>,
    /// The candidate's image; CONTAINER= where the workload has several. May be repeated
    #[arg(long = "image", value_name = "[CONTAINER=]IMAGE")]
    images: Vec<Image>,
    /// Label of a derived candidate's pods. Default: what the DestinationRule's subset selects, else version=NAME. May be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// Value of a placeholder ${KEY}. May be repeated
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = setting)]
    values: Vec<(String, String)>,
    /// When an experiment for the same target is in the directory: wait until it is gone, replace it, or fail
    #[arg(long, value_name = "WHAT", value_parser = ["fail", "wait", "supersede"], default_value = "fail")]
    on_running: String,
    /// Longest wait with --on-running wait
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "1h")]
    timeout: Duration,
    /// Longest pause between two looks while waiting; the first pauses are shorter
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "30s")]
    poll: Duration,
    /// Push to a branch of its own and open a pull request, instead of pushing to --branch
    #[arg(long)]
    pull_request: bool,
    /// The forge that opens the pull request
    #[arg(long, value_parser = ["gitea", "github"], default_value = "gitea")]
    provider: String,
    /// Environment variable that holds the token. Default: `REITER8_TOKEN`, if it is set
    #[arg(long, value_name = "NAME", conflicts_with = "token_file")]
    token_env: Option<String>,
    /// File that holds the token
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Host that may be reached over plain http, for tests; the token is then readable on the way. May be repeated
    #[arg(long = "allow-http-host", value_name = "HOST")]
    http_hosts: Vec<String>,
    /// Who commits
    #[arg(long, value_name = "NAME <ADDRESS>", env = "REITER8_AUTHOR", default_value = "Reiter8 start <reiter8@localhost>", value_parser = author)]
    author: Author,
    /// Print the commit's diff and push nothing
    #[arg(long)]
    dry_run: bool,
    /// `json` prints one document
    #[arg(short, long, value_name = "FORMAT", value_parser = ["json", "text"], default_value = "text")]
    output: String,
}

/// Runs the command; its exit codes tell a pipeline what to do.
pub(super) fn main(args: &StartArgs) -> ExitCode {
    let wrong = |error: anyhow::Error| {
        complain(&format!("reiter8: {error:#}"));
        ExitCode::from(WRONG_ARGUMENTS)
    };
    // A forge's client belongs to the runtime that it is made in.
    let work = async {
        Ok(match args.request() {
            Ok(request) => Ok(start(request, |line| complain(&format!("reiter8: {line}"))).await),
            Err(error) => Err(error),
        })
    };
    let done = match super::on_runtime(work) {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => return wrong(error),
        Err(error) => Err(error),
    };
    match done {
        Ok(Ok(started)) => match print(&args.told(&started)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed(&error, 1),
        },
        Ok(Err(error)) => {
            if args.output == "json" {
                // The reason for programs; the words go to people on standard error.
                let _ = print(&format!("{}\n", json!({"reason": error.word(), "message": error.to_string()})));
            }
            let remedy = args.remedy(&error);
            failed(&format!("{error}{remedy} ({})", error.word()), error.exit_code())
        }
        Err(error) => failed(&error, 1),
    }
}

fn failed(error: &dyn std::fmt::Display, code: u8) -> ExitCode {
    complain(&format!("reiter8: {error}"));
    ExitCode::from(code)
}

impl StartArgs {
    /// What to look at, where the error alone leaves it open.
    fn remedy(&self, error: &StartError) -> String {
        let given = self.token_file.is_some() || self.token_env.is_some() || std::env::var_os(TOKEN_VARIABLE).is_some();
        match error.cause() {
            Some(Cause::AuthenticationFailed) if given => "; renew the token".into(),
            Some(Cause::AuthenticationFailed) => {
                format!("; no token was given: set {TOKEN_VARIABLE}, or name a --token-file")
            }
            Some(Cause::RepositoryNotFound) => "; correct --repository, or let the token's user read it".into(),
            Some(Cause::BaseBranchMissing) => "; correct --branch".into(),
            _ => String::new(),
        }
    }

    fn request(&self) -> anyhow::Result<Request> {
        let token = self.token()?;
        let local = Path::new(&self.repository);
        let (remote, forge) = if !self.repository.contains("://") && local.is_dir() {
            let path = local.canonicalize().context("--repository")?;
            let forge = self.pull_request.then(|| Forge::Local(LocalForge::new(&path)));
            (Remote::Local(path), forge)
        } else {
            self.over_http(token)?
        };
        let templates = match (&self.templates, &self.local_templates) {
            (_, Some(folder)) => Templates::Local(local_templates(folder)?),
            (Some(directory), None) => Templates::Repository(directory.clone()),
            (None, None) => bail!("--templates or --local-templates is needed"),
        };
        Ok(Request {
            remote,
            forge,
            branch: self.branch.clone(),
            directory: self.path.clone(),
            templates,
            experiment: self.experiment.clone(),
            load_generator: self.load_generator.clone(),
            images: self.images.clone(),
            labels: self.labels.iter().cloned().collect(),
            values: self.values.iter().cloned().collect(),
            on_running: match self.on_running.as_str() {
                "wait" => OnRunning::Wait,
                "supersede" => OnRunning::Supersede,
                _ => OnRunning::Fail,
            },
            timeout: self.timeout,
            poll: self.poll.max(Duration::from_millis(100)),
            dry_run: self.dry_run,
            author: self.author.clone(),
        })
    }

    fn over_http(&self, token: Option<Token>) -> anyhow::Result<(Remote, Option<Forge>)> {
        // The address is not repeated in errors: it may hold what it must not.
        let url = Url::parse(&self.repository).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let url =
            url.context("--repository: neither an https address nor a directory; write https://HOST/OWNER/NAME.git")?;
        ensure!(
            url.username().is_empty() && url.password().is_none(),
            "--repository: the address holds credentials; put the token into the variable {TOKEN_VARIABLE} or a --token-file"
        );
        let host = url.host_str().unwrap_or_default().to_owned();
        let allow_http = self.http_hosts.contains(&host);
        ensure!(
            url.scheme() == "https" || allow_http,
            "--repository: plain http shows the token to everybody on the way; use https, or add --allow-http-host {host}"
        );
        // Only a pull request needs the forge: a plain Git server takes commits as well.
        let forge = match self.provider.as_str() {
            _ if !self.pull_request => None,
            "github" => {
                let forge = GitHub::new(&self.repository, token.as_ref(), allow_http);
                Some(Forge::GitHub(forge.context("--repository")?))
            }
            _ => Some(Forge::Gitea(Gitea::new(&self.repository, token.clone(), allow_http).context("--repository")?)),
        };
        Ok((Remote::Http { url: self.repository.clone(), credentials: token, allow_http, ca: None }, forge))
    }

    fn token(&self) -> anyhow::Result<Option<Token>> {
        let text = match (&self.token_file, &self.token_env) {
            (Some(file), _) => {
                let size = std::fs::metadata(file).with_context(|| format!("--token-file {}", file.display()))?.len();
                ensure!(size <= MAX_TOKEN, "--token-file {}: {size} bytes are no token", file.display());
                std::fs::read_to_string(file).with_context(|| format!("--token-file {}", file.display()))?
            }
            (None, Some(name)) => std::env::var(name).with_context(|| format!("--token-env {name}"))?,
            (None, None) => match std::env::var(TOKEN_VARIABLE) {
                Ok(text) => text,
                Err(_) => return Ok(None),
            },
        };
        ensure!(!text.trim().is_empty(), "the token is empty");
        Ok(Some(Token::new(&text)))
    }

    /// What is printed at the end.
    fn told(&self, started: &Started) -> String {
        for warning in &started.warnings {
            complain(&format!("reiter8: warning: {warning}"));
        }
        if self.output == "json" {
            let pull = started.pull_request.as_ref().map(|(number, url)| json!({"number": number, "url": url}));
            let files: Vec<_> =
                started.files.iter().map(|(change, path)| json!({"change": change, "path": path})).collect();
            let mut document = json!({
                "experiment": started.experiment,
                "target": started.target,
                "commit": (!self.dry_run).then(|| started.commit.to_string()),
                "branch": started.branch,
                "pullRequest": pull,
                "files": files,
                "superseded": started.superseded,
                "warnings": started.warnings,
                "dryRun": self.dry_run,
            });
            if let Some(fields) = document.as_object_mut().filter(|_| self.dry_run) {
                fields.insert("diff".into(), started.diff.clone().into());
            }
            return format!("{document:#}\n");
        }
        let verb = if self.dry_run { "Would start" } else { "Started" };
        let colours = coloured();
        let heading = format!("{verb} {} for {}", started.experiment, started.target);
        let mut text = format!("{}\n", paint(&heading, 1, colours));
        match (&started.pull_request, self.dry_run) {
            (_, true) => text.push_str(&format!("  on {}\n", started.branch)),
            (Some((number, url)), false) => text.push_str(&format!("  pull request #{number}: {url}\n")),
            (None, false) => text.push_str(&format!("  commit {} on {}\n", started.commit, started.branch)),
        }
        for (change, path) in &started.files {
            text.push_str(&format!("  {change:<6} {path}\n"));
        }
        for name in &started.superseded {
            text.push_str(&format!("  supersedes {name}\n"));
        }
        if self.dry_run {
            text.push_str(&format!("\n{}", diff(&started.diff, colours)));
        }
        text
    }
}

/// The templates of a local directory, by name.
fn local_templates(folder: &Path) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
    let context = || format!("--local-templates {}", folder.display());
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(folder).with_context(context)? {
        let entry = entry.with_context(context)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let plain = entry.metadata().with_context(context)?;
        if !plain.is_file() || file(&name).is_err() {
            continue;
        }
        ensure!(plain.len() <= MAX_BYTES as u64, "{}: {name} is larger than {MAX_BYTES} bytes", context());
        ensure!(all.len() < MAX_TEMPLATES, "{}: more than {MAX_TEMPLATES} templates", context());
        let bytes = std::fs::read(entry.path()).with_context(context)?;
        all.insert(name, bytes);
    }
    Ok(all)
}

/// The name of a YAML file in a directory.
fn file(text: &str) -> Result<String, String> {
    let path: RepoPath = text.parse().map_err(|error| format!("{error}"))?;
    let yaml = [".yaml", ".yml"].iter().any(|ending| text.ends_with(ending));
    if yaml && !path.as_str().contains('/') && !text.starts_with('.') {
        Ok(text.to_owned())
    } else {
        Err("write the name of a .yaml file in the directory of templates".into())
    }
}

fn pair(text: &str) -> Result<(&str, &str), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE")?;
    if is_value(value) { Ok((key, value)) } else { Err("a value is one word of letters, digits and ._/:@+=-".into()) }
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (key, value) = pair(text)?;
    if !is_name(key) || matches!(key, "NAME" | "SUFFIX") {
        return Err("a key is of capitals, digits and `_`, and neither NAME nor SUFFIX".into());
    }
    Ok((key.to_owned(), value.to_owned()))
}

fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = pair(text)?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._/-".contains(c);
    let value_allowed = value.len() <= 63 && value.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    if key.is_empty() || key.len() > 253 || !key.chars().all(allowed) || !value_allowed {
        return Err("not a label of Kubernetes; write for example version=candidate".into());
    }
    Ok((key.to_owned(), value.to_owned()))
}

fn duration(text: &str) -> Result<Duration, String> {
    Span::new(text).duration().map_err(|error| error.to_string())
}

fn author(text: &str) -> Result<Author, String> {
    let parts = text.strip_suffix('>').and_then(|text| text.split_once('<'));
    let (name, email) = parts.ok_or("write NAME <ADDRESS>, such as `CI <ci@example.com>`")?;
    let plain = |text: &str| !text.trim().is_empty() && !text.contains(['<', '>']) && !text.contains(char::is_control);
    if plain(name) && plain(email) && email.contains('@') {
        Ok(Author { name: name.trim().to_owned(), email: email.trim().to_owned() })
    } else {
        Err("write NAME <ADDRESS>, such as `CI <ci@example.com>`".into())
    }
}
