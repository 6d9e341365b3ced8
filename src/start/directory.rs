//! The application's directory: which experiments are in it, which labels tell versions apart, which sync waves are used.

use std::collections::{BTreeMap, BTreeSet};

use super::StartError;
use super::manifest::of;
use crate::api::experiment::GitOps;
use crate::gitops::edit::{File, Value};
use crate::gitops::plan::PlanError;
use crate::gitops::tree::{EntryKind, Files, RepoPath};

/// Most YAML files that are read, as many as the write-back searches.
const MAX_FILES: usize = 500;
/// Argo CD's annotation for the order of a sync.
pub(super) const WAVE: &str = "argocd.argoproj.io/sync-wave";

/// An experiment in the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Present {
    pub(super) path: RepoPath,
    pub(super) name: String,
    pub(super) target: String,
    /// Whether its file holds nothing else.
    pub(super) alone: bool,
    /// Its candidates' manifests and the further files, as far as they are harmless paths.
    pub(super) files: Vec<RepoPath>,
}

/// The manifests of the directory that can be read.
pub(super) struct Directory {
    path: RepoPath,
    documents: Vec<(RepoPath, Vec<serde_json::Value>)>,
}

impl Directory {
    /// Reads the directory. What cannot be read is no experiment, unless it looks like one.
    pub(super) fn read(files: &dyn Files, path: &RepoPath) -> Result<Self, StartError> {
        let mut entries = files.list(Some(path))?;
        entries.retain(|entry| {
            entry.kind == EntryKind::File && [".yaml", ".yml"].iter().any(|ending| entry.name.ends_with(ending))
        });
        if entries.len() > MAX_FILES {
            return Err(PlanError::DirectoryTooLarge { path: path.to_string() }.into());
        }
        let mut documents = Vec::new();
        for entry in entries {
            let (Ok(file), Ok(bytes)) = (path.join(&entry.name), files.content(&entry.id)) else { continue };
            match File::parse(&bytes) {
                Ok(parsed) => {
                    let all = parsed.documents().iter().filter(|document| document.text() != Some("null"));
                    documents.push((file, all.map(Value::to_json).collect()));
                }
                Err(source) if looks_like_one(&bytes) => return Err(of(file.as_str(), source)),
                Err(_) => {}
            }
        }
        Ok(Self { path: path.clone(), documents })
    }

    fn all(&self) -> impl Iterator<Item = (&RepoPath, &serde_json::Value, bool)> {
        self.documents.iter().flat_map(|(path, all)| all.iter().map(move |one| (path, one, all.len() == 1)))
    }

    /// The experiments, whoever wrote them and whatever state they are in: one whose file is there has not ended yet.
    pub(super) fn experiments(&self) -> Vec<Present> {
        let ours = |document: &serde_json::Value| {
            word(document, "/kind") == "Experiment" && word(document, "/apiVersion").starts_with("iter8.tools/")
        };
        let present = |(path, document, alone): (&RepoPath, &serde_json::Value, bool)| {
            let gitops: Option<GitOps> =
                document.pointer("/spec/gitops").and_then(|gitops| serde_json::from_value(gitops.clone()).ok());
            let names = gitops.map(|gitops| {
                let below = self.path.as_str() == gitops.path;
                let each = gitops.promote.from_each.into_values().collect();
                if below { [vec![gitops.promote.from], each, gitops.remove].concat() } else { Vec::new() }
            });
            Present {
                path: path.clone(),
                name: word(document, "/metadata/name").to_owned(),
                target: word(document, "/spec/target").to_owned(),
                alone,
                files: names.into_iter().flatten().filter_map(|name| self.path.join(&name).ok()).collect(),
            }
        };
        self.all().filter(|(_, document, _)| ours(document)).map(present).collect()
    }

    /// Whether a file holds this one manifest and nothing else.
    pub(super) fn holds_only(&self, path: &RepoPath, kind: &str, name: &str) -> bool {
        let found = self.all().find(|(own, ..)| *own == path);
        found.is_some_and(|(_, document, alone)| {
            alone && word(document, "/kind") == kind && word(document, "/metadata/name") == name
        })
    }

    /// The labels of the candidate's subset that differ from the baseline's, by the directory's `DestinationRule`s.
    pub(super) fn subset_labels(&self, baseline: &str, candidate: &str) -> Option<BTreeMap<String, String>> {
        let rules = self.all().filter(|(_, document, _)| word(document, "/kind") == "DestinationRule");
        let mut found = rules.filter_map(|(_, document, _)| {
            let (own, other) = (labels(document, candidate)?, labels(document, baseline)?);
            Some(own.into_iter().filter(|(key, value)| other.get(key) != Some(value)).collect::<BTreeMap<_, _>>())
        });
        found.find(|labels| !labels.is_empty())
    }

    /// Manifests that are in the same or a later sync wave than `wave`, apart from the files named.
    pub(super) fn not_before(&self, wave: i64, except: &BTreeSet<RepoPath>) -> Vec<String> {
        let others = self.all().filter(|(path, ..)| !except.contains(path));
        let late = others.filter(|(_, document, _)| self::wave(document).is_some_and(|own| own >= wave));
        late.map(|(path, document, _)| {
            format!("{} {} in {path}", word(document, "/kind"), word(document, "/metadata/name"))
        })
        .collect()
    }
}

/// The sync wave of a manifest.
pub(super) fn wave(document: &serde_json::Value) -> Option<i64> {
    document.get("metadata")?.get("annotations")?.get(WAVE)?.as_str()?.parse().ok()
}

fn labels(rule: &serde_json::Value, subset: &str) -> Option<BTreeMap<String, String>> {
    let subsets = rule.pointer("/spec/subsets")?.as_array()?;
    let subset = subsets.iter().find(|one| one.get("name").and_then(|name| name.as_str()) == Some(subset))?;
    let labels = subset.get("labels")?.as_object()?;
    labels.iter().map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

fn word<'d>(document: &'d serde_json::Value, pointer: &str) -> &'d str {
    document.pointer(pointer).and_then(serde_json::Value::as_str).unwrap_or_default()
}

fn looks_like_one(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    text.contains("iter8.tools") && text.contains("Experiment")
}
