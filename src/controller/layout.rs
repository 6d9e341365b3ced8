//! From `spec.gitops.layout` and `edits` to what the write-back carries out. Pure; called by [`super::resolve`].

use super::refusal::Refusal;
use crate::api::experiment as spec;
use crate::api::experiment::{DocumentRef, Edit, ManifestRef, NamedFields, PromoteFields};
use crate::gitops::edit::{Document, EditError, Path, Value};
use crate::gitops::layout::{Edits, ImageSource, Layout, OnMissing, Place, Source, Spot, Verb};
use crate::gitops::promote::{Fields, Workload};
use crate::gitops::tree::RepoPath;

/// The field of all edits.
const EDITS: &str = "spec.gitops.edits";

/// The field of the candidates' files.
const FROM_EACH: &str = "spec.gitops.promote.fromEach";

/// The two versions' workloads and the candidate's file, by which edits leave things out.
pub(super) struct Sides<'s> {
    pub(super) baseline: &'s Workload,
    pub(super) candidate: &'s Workload,
    pub(super) from: &'s str,
}

/// What the directory looks like.
pub(super) fn layout(gitops: &spec::GitOps, sides: &Sides<'_>) -> Result<Layout, Refusal> {
    let Some(edits) = &gitops.edits else {
        return Ok(match gitops.layout() {
            spec::Layout::Flat => Layout::Flat,
            spec::Layout::Kustomize => Layout::Kustomize,
            spec::Layout::HelmValues => Layout::HelmValues,
        });
    };
    if gitops.layout.is_some() {
        return Err(invalid("`layout` and `edits` both say what is edited; remove one of them".into()));
    }
    let verbs = |edits: &[Edit]| edits.iter().map(|edit| verb(edit, sides)).collect::<Result<Vec<_>, _>>();
    Ok(Layout::Edits(Edits {
        promote: verbs(&edits.promote)?,
        cleanup: verbs(&edits.cleanup)?,
        discard: verbs(&edits.discard)?,
    }))
}

/// The file of each candidate's manifest. Several candidates need files in which each one's own manifest is found.
pub(super) fn manifests(gitops: &spec::GitOps, info: &spec::VersionInfo) -> Result<Vec<String>, Refusal> {
    let (each, several) = (&gitops.promote.from_each, info.candidates.len() > 1);
    if let Some(name) = each.keys().find(|name| !info.candidates.iter().any(|c| c.name == **name)) {
        let names: Vec<String> = info.candidates.iter().map(|c| format!("`{}`", c.name)).collect();
        let problem = format!("no candidate is named `{name}`; there are {}", names.join(", "));
        return Err(Refusal::Invalid { field: FROM_EACH.into(), problem });
    }
    if several && (gitops.edits.is_some() || gitops.layout() == spec::Layout::HelmValues) {
        let field = if gitops.edits.is_some() { EDITS } else { "spec.gitops.layout" };
        let instead = "an outcome of several candidates is written to manifests of their own: write `layout: Flat` or \
                       `layout: Kustomize`, or one candidate";
        return Err(Refusal::NotSupported { field: field.into(), instead: instead.into() });
    }
    let file = |candidate: &spec::Version| each.get(&candidate.name).unwrap_or(&gitops.promote.from).clone();
    Ok(info.candidates.iter().map(file).collect())
}

/// What a promotion copies.
pub(super) fn fields(written: PromoteFields, field: &'static str) -> Result<Fields, Refusal> {
    Ok(match written {
        PromoteFields::Named(NamedFields::Template) => Fields::Template,
        PromoteFields::Named(NamedFields::Images) => Fields::Images,
        PromoteFields::Paths(paths) => {
            let parse = |text: &String| {
                text.parse().map_err(|e: EditError| Refusal::Invalid { field: field.into(), problem: e.to_string() })
            };
            Fields::Paths(paths.iter().map(parse).collect::<Result<_, _>>()?)
        }
    })
}

fn verb(edit: &Edit, sides: &Sides<'_>) -> Result<Verb, Refusal> {
    let mut verbs = Vec::new();
    if let Some(copy) = &edit.copy {
        verbs.push(Verb::Copy {
            from: place(&copy.from, sides.candidate)?,
            to: place(&copy.to, sides.baseline)?,
            fields: fields(copy.fields.clone().unwrap_or(PromoteFields::Named(NamedFields::Template)), EDITS)?,
            images: Vec::new(),
        });
    }
    if let Some(set) = &edit.set {
        let value = match (&set.value, &set.from) {
            (Some(value), None) => {
                Source::Literal(Value::from_json(&serde_json::to_value(value).map_err(|e| invalid(e.to_string()))?))
            }
            (None, Some(from)) => {
                Source::Spot(spot(from.file.as_ref().unwrap_or(&set.file), from.document.as_ref(), &from.path)?)
            }
            (Some(_), Some(_)) | (None, None) => {
                return Err(invalid(format!("`set` of `{}` needs either `value` or `from`", set.path)));
            }
        };
        let missing = match set.on_missing.unwrap_or_default() {
            spec::OnMissing::Fail => OnMissing::Fail,
            spec::OnMissing::Skip => OnMissing::Skip,
            spec::OnMissing::Add => OnMissing::Add,
        };
        verbs.push(Verb::Set { to: spot(&set.file, set.document.as_ref(), &set.path)?, value, missing });
    }
    let image = |container: &Option<String>| ImageSource::Container {
        place: Place { file: sides.from.to_owned(), workload: sides.candidate.clone() },
        container: container.clone(),
    };
    if let Some(entry) = &edit.kustomize_image {
        let file = file(entry.file.as_deref().unwrap_or("kustomization.yaml"))?;
        verbs.push(Verb::KustomizeImage { file, name: entry.name.clone(), image: image(&entry.container) });
    }
    if let Some(block) = &edit.helm_block {
        verbs.push(Verb::Set {
            to: spot(&block.file, None, &block.to)?,
            value: Source::Spot(spot(&block.file, None, &block.from)?),
            missing: OnMissing::Fail,
        });
    }
    if let Some(marked) = &edit.set_marked {
        // The one `*` is no character of a path.
        file(&marked.files.replacen('*', "x", 1))?;
        let (files, marker) = (marked.files.clone(), marked.marker.clone());
        verbs.push(Verb::SetMarked { files, marker, image: image(&marked.container) });
    }
    if let Some(files) = &edit.remove_files {
        verbs.push(Verb::RemoveFiles(files.iter().map(|name| file(name)).collect::<Result<_, _>>()?));
    }
    if let Some(items) = &edit.remove_list_item {
        let list = spot(&items.file, items.document.as_ref(), &items.list)?;
        verbs.push(Verb::RemoveListItem { list, items: items.items.clone(), key: items.key.clone() });
    }
    if let Some(entry) = &edit.remove_key {
        verbs.push(Verb::RemoveKey(spot(&entry.file, entry.document.as_ref(), &entry.path)?));
    }
    match (verbs.pop(), verbs.is_empty()) {
        (Some(verb), true) => Ok(verb),
        _ => Err(invalid("each item needs exactly one verb, such as `set`".into())),
    }
}

fn invalid(problem: String) -> Refusal {
    Refusal::Invalid { field: EDITS.into(), problem }
}

fn file(written: &str) -> Result<String, Refusal> {
    let path: Result<RepoPath, _> = written.parse();
    path.map(|path| path.to_string()).map_err(|e| invalid(e.to_string()))
}

fn place(manifest: &ManifestRef, default: &Workload) -> Result<Place, Refusal> {
    let named = |document: &DocumentRef| Workload { kind: document.kind.clone(), name: document.name.clone() };
    let workload = manifest.document.as_ref().map_or_else(|| default.clone(), named);
    Ok(Place { file: file(&manifest.file)?, workload })
}

fn spot(name: &str, document: Option<&DocumentRef>, path: &str) -> Result<Spot, Refusal> {
    let path: Path = path.parse().map_err(|e: EditError| invalid(e.to_string()))?;
    let document = document.map_or(Document::Only, |document| Document::Named {
        kind: document.kind.clone(),
        name: document.name.clone(),
    });
    Ok(Spot { file: file(name)?, document, path })
}
