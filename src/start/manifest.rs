//! Manifests that begin an experiment: the candidate's, derived from the baseline's, and edits of templates.
//!
//! Every edit is byte-exact: comments, quotes and order stay. Pure; called by [`super::compose`].

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::StartError;
use super::template::documents;
use crate::gitops::edit::{EditError, File, Path, Segment, Selector, Value, put};
use crate::gitops::promote::Workload;

/// How long a candidate may take to become ready, in seconds: as long as it does, the sync of the whole application waits for it.
const PROGRESS_DEADLINE: u64 = 120;
/// Longest image reference, in characters.
const MAX_IMAGE: usize = 512;

/// An image to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The container; without it, the only one, or the only one that runs another tag of the same image.
    pub container: Option<String>,
    /// The reference, such as `ghcr.io/shop/productpage:v2`.
    pub reference: String,
}

impl std::str::FromStr for Image {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (container, reference) = match text.split_once('=') {
            Some((container, reference)) => (Some(container.to_owned()), reference),
            None => (None, text),
        };
        let label = |name: &String| {
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        let plain = reference.len() <= MAX_IMAGE
            && reference.starts_with(|c: char| c.is_ascii_alphanumeric())
            && reference.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
            && reference.chars().all(|c| c.is_ascii_alphanumeric() || "._/:@+-".contains(c));
        if plain && container.as_ref().is_none_or(label) {
            Ok(Self { container, reference: reference.to_owned() })
        } else {
            Err("not an image: write REFERENCE or CONTAINER=REFERENCE, such as ghcr.io/shop/app:v2".into())
        }
    }
}

/// A document that is being edited, and what it is called in messages.
pub(super) struct Draft {
    pub(super) path: String,
    pub(super) text: String,
    pub(super) kind: String,
    pub(super) name: String,
}

impl Draft {
    /// The only document of `text`.
    pub(super) fn only(path: &str, text: String) -> Result<Self, StartError> {
        let file = File::parse(text.as_bytes()).map_err(|source| of(path, source))?;
        let [document] = file.documents() else {
            return Err(manifest(path, "it must hold exactly one manifest".into()));
        };
        let word = |value: Option<&Value>| value.and_then(Value::text).unwrap_or_default().to_owned();
        let name = word(document.get("metadata").and_then(|metadata| metadata.get("name")));
        let kind = word(document.get("kind"));
        Ok(Self { path: path.to_owned(), kind, name, text })
    }

    /// The document of a workload in `bytes`, without its neighbours.
    pub(super) fn workload(path: &str, bytes: &[u8], workload: &Workload) -> Result<Self, StartError> {
        let file = File::parse(bytes).map_err(|source| of(path, source))?;
        file.document(&workload.kind, &workload.name).map_err(|source| of(path, source))?;
        let text = std::str::from_utf8(bytes).map_err(|_| of(path, EditError::NotText))?;
        let is = |text: &String| {
            File::parse(text.as_bytes()).is_ok_and(|file| file.document(&workload.kind, &workload.name).is_ok())
        };
        let text = documents(text).into_iter().find(is).ok_or_else(|| of(path, EditError::Disagreement))?;
        let (kind, name) = (workload.kind.clone(), workload.name.clone());
        Ok(Self { path: path.to_owned(), text, kind, name })
    }

    /// What the document means.
    pub(super) fn json(&self) -> Result<Json, StartError> {
        let file = File::parse(self.text.as_bytes());
        file.and_then(|file| file.document(&self.kind, &self.name).map(Value::to_json))
            .map_err(|source| of(&self.path, source))
    }

    /// Sets what is at `path`, with the mappings on the way to it.
    pub(super) fn put(&mut self, path: &Path, value: &Json) -> Result<(), StartError> {
        let at = Selector::named(&self.kind, &self.name, path.clone());
        let edited = File::parse(self.text.as_bytes()).and_then(|file| put(&file, &at, &Value::from_json(value)));
        self.text = edited.map_err(|source| of(&self.path, source))?.text;
        if *path == name_path() {
            value.as_str().unwrap_or_default().clone_into(&mut self.name);
        }
        Ok(())
    }

    /// Puts each image into its container.
    pub(super) fn images(&mut self, images: &[Image]) -> Result<(), StartError> {
        for image in images {
            let json = self.json()?;
            let path = container(&json, image).map_err(|problem| manifest(&self.path, problem))?;
            self.put(&path, &image.reference.as_str().into())?;
        }
        Ok(())
    }

    /// Makes the manifest end its rollout early if it never becomes ready.
    pub(super) fn deadline(&mut self) -> Result<(), StartError> {
        let json = self.json()?;
        let written = json.pointer("/spec/progressDeadlineSeconds").and_then(Json::as_u64);
        if self.kind != "Deployment" || written.is_some_and(|seconds| seconds <= PROGRESS_DEADLINE) {
            return Ok(());
        }
        self.put(&Path::default().key("spec").key("progressDeadlineSeconds"), &PROGRESS_DEADLINE.into())
    }

    /// Turns the baseline's document into the candidate's: another name and other version labels.
    pub(super) fn become_candidate(
        &mut self,
        candidate: &str,
        labels: &BTreeMap<String, String>,
    ) -> Result<(), StartError> {
        let baseline = self.json()?;
        self.put(&name_path(), &candidate.into())?;
        for (key, value) in labels {
            let places = ["/metadata/labels", "/spec/selector/matchLabels", "/spec/template/metadata/labels"];
            for place in places {
                // The selector and the pods must have the label; the Deployment's own labels are for people.
                if place != "/metadata/labels" || baseline.pointer(place).and_then(|labels| labels.get(key)).is_some() {
                    let path = place.split('/').skip(1).fold(Path::default(), |path, step| path.key(step)).key(key);
                    self.put(&path, &value.as_str().into())?;
                }
            }
        }
        let derived = self.json()?;
        for (selecting, selected, who) in [
            (&baseline, &derived, "the baseline's selector finds the candidate's pods"),
            (&derived, &baseline, "the candidate's selector finds the baseline's pods"),
        ] {
            if selects(selecting, selected) {
                let keys = labels.keys().cloned().collect::<Vec<_>>().join(", ");
                let problem = format!(
                    "no candidate can be derived: {who}; give `spec.selector.matchLabels` and the pod template of the \
                     baseline the label `{keys}` that tells versions apart, or write a template for the candidate"
                );
                return Err(manifest(&self.path, problem));
            }
        }
        Ok(())
    }
}

/// A field that is missing or wrong.
pub(super) fn manifest(path: &str, problem: String) -> StartError {
    StartError::Manifest { path: path.to_owned(), problem }
}

/// A file that cannot be edited.
pub(super) fn of(path: &str, source: EditError) -> StartError {
    StartError::File { path: path.to_owned(), source }
}

pub(super) fn name_path() -> Path {
    Path::default().key("metadata").key("name")
}

/// Whether a workload's `matchLabels` select the pods of another one. Expressions only narrow a selector, so they are not needed.
fn selects(workload: &Json, pods_of: &Json) -> bool {
    let labels = pods_of.pointer("/spec/template/metadata/labels");
    let wanted = workload.pointer("/spec/selector/matchLabels").and_then(Json::as_object);
    wanted.is_none_or(|wanted| wanted.iter().all(|(key, value)| labels.and_then(|l| l.get(key)) == Some(value)))
}

/// Where an image goes.
fn container(workload: &Json, image: &Image) -> Result<Path, String> {
    let all = |list: &str| -> Vec<(String, String)> {
        let items = workload.pointer(&format!("/spec/template/spec/{list}")).and_then(Json::as_array);
        let word = |item: &Json, key: &str| item.get(key).and_then(Json::as_str).unwrap_or_default().to_owned();
        items.into_iter().flatten().map(|item| (word(item, "name"), word(item, "image"))).collect()
    };
    let at = |list: &str, name: &str| {
        let path = Path::default().key("spec").key("template").key("spec").key(list);
        path.join(Segment::Named { key: "name".into(), value: name.into() }).key("image")
    };
    let (containers, init) = (all("containers"), all("initContainers"));
    let names = |containers: &[(String, String)]| {
        containers.iter().map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>().join(", ")
    };
    if let Some(name) = &image.container {
        let list = [("containers", &containers), ("initContainers", &init)];
        let found = list.iter().find(|(_, all)| all.iter().any(|(own, _)| own == name));
        return found
            .map(|(list, _)| at(list, name))
            .ok_or_else(|| format!("there is no container `{name}` for --image; there is {}", names(&containers)));
    }
    if let [(name, _)] = containers.as_slice() {
        return Ok(at("containers", name));
    }
    let same = |own: &str| repository_of(own) == repository_of(&image.reference);
    let matching: Vec<&(String, String)> = containers.iter().filter(|(_, own)| same(own)).collect();
    match matching.as_slice() {
        [(name, _)] => Ok(at("containers", name)),
        _ => Err(format!(
            "--image fits several containers or none; write CONTAINER=IMAGE with one of {}",
            names(&containers)
        )),
    }
}

/// An image reference without its tag and digest.
fn repository_of(reference: &str) -> &str {
    let reference = reference.split('@').next().unwrap_or_default();
    match reference.rsplit_once(':') {
        // A colon before a slash belongs to a port.
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => reference,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn draft(text: &str) -> Draft {
        Draft::only("f.yaml", text.to_owned()).unwrap()
    }

    fn path(text: &str) -> Path {
        text.parse().unwrap()
    }

    #[test]
    fn fields_are_set_and_added_in_every_style() {
        let cases = [
            ("kind: X\nmetadata: {name: a}  # c\n", "kind: X\nmetadata: {name: a, annotations: {k: \"10\"}}  # c\n"),
            (
                "kind: X\nmetadata:\n  name: a # c\n  labels: {}\nspec: 1\n",
                "kind: X\nmetadata:\n  name: a # c\n  labels: {}\n  annotations: {k: \"10\"}\nspec: 1\n",
            ),
            (
                "kind: X\nmetadata:\n  annotations:\n    other: x # c\n  name: a\n",
                "kind: X\nmetadata:\n  annotations:\n    other: x # c\n    k: \"10\"\n  name: a\n",
            ),
            (
                "kind: X\nmetadata:\n  annotations: {other: x} # c\n  name: a\n",
                "kind: X\nmetadata:\n  annotations: {other: x, k: \"10\"} # c\n  name: a\n",
            ),
            (
                "kind: X\nmetadata:\n  annotations: {k: 'no'} # c\n  name: a\n",
                "kind: X\nmetadata:\n  annotations: {k: '10'} # c\n  name: a\n",
            ),
        ];
        for (before, after) in cases {
            let mut draft = draft(before);
            draft.put(&path("metadata.annotations.k"), &"10".into()).unwrap();
            assert_eq!(draft.text, after);
        }
    }

    #[test]
    fn an_image_finds_its_container() {
        let two = json!({"spec": {"template": {"spec": {
            "initContainers": [{"name": "init", "image": "r:5000/i"}],
            "containers": [{"name": "app", "image": "r:5000/app@sha256:1"}, {"name": "side", "image": "side:1"}],
        }}}});
        let find = |image: &str| container(&two, &image.parse().unwrap()).map(|path| path.to_string());
        let at = |list: &str, name: &str| Ok(format!("spec.template.spec.{list}[name={name}].image"));
        assert_eq!(find("r:5000/app:v2"), at("containers", "app"));
        assert_eq!(find("side=other:1"), at("containers", "side"));
        assert_eq!(find("init=i:2"), at("initContainers", "init"));
        assert!(find("app:v2").is_err() && find("none=app:v2").unwrap_err().contains("`app`, `side`"));
        for bad in ["", "a b", "=x", "A=x", "-x", "x:", "a{b", "x\n"] {
            assert!(bad.parse::<Image>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_selector_that_cannot_tell_the_versions_apart_is_refused() {
        let text = "kind: Deployment\nmetadata:\n  name: a\nspec:\n  selector:\n    matchLabels:\n      app: a\n  template:\n    metadata:\n      labels:\n        app: a\n";
        let labels = BTreeMap::from([("version".to_owned(), "candidate".to_owned())]);
        let error = draft(text).become_candidate("a-candidate", &labels).unwrap_err().to_string();
        assert!(error.contains("the baseline's selector finds the candidate's pods"), "{error}");
        let mut apart = draft(
            &text
                .replace("app: a\n", "app: a\n        version: stable\n")
                .replace("matchLabels:\n      app: a\n        ", "matchLabels:\n      app: a\n      "),
        );
        apart.become_candidate("a-candidate", &labels).unwrap();
        assert!(!apart.text.contains("stable"), "{}", apart.text);
    }
}
