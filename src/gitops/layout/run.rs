//! Carries out verbs on a change in the making.

use std::collections::BTreeSet;

use super::image::Image;
use super::kustomize;
use super::verb::{ImageSource, OnMissing, Place, Source, Spot, Verb};
use super::work::{Mark, Work, of};
use crate::engine::mutants::{Mutant, on};
use crate::gitops::edit::{
    Document, EditError, Edited, File, Path, Segment, Selector, Value, copy_subtree, put, remove, set_scalar,
};
use crate::gitops::plan::{Missing, PlanError};
use crate::gitops::promote::{Fields, Side, promote};
use crate::gitops::tree::{EntryKind, RepoPath};

impl Work<'_> {
    /// Carries out one verb.
    pub(super) fn run(&mut self, verb: &Verb) -> Result<(), PlanError> {
        match verb {
            Verb::Copy { from, to, fields, images } => self.copy(from, to, fields, images),
            Verb::Set { to, value, missing } => self.set(to, value, *missing),
            Verb::KustomizeImage { file, name, image } => {
                let image = self.image(image)?;
                self.kustomize_image(file, name, &image)
            }
            Verb::SetMarked { files, marker, image } => {
                let image = self.image(image)?;
                self.set_marked(files, marker, &image)
            }
            Verb::RemoveFiles(files) => files.iter().try_for_each(|file| self.remove_file(file)),
            Verb::RemoveListItem { list, items, key } => {
                items.iter().try_for_each(|item| self.remove_item(list, item, key.as_deref()))
            }
            Verb::RemoveKey(spot) => self.remove_key(spot),
        }
    }

    fn copy(&mut self, from: &Place, to: &Place, fields: &Fields, images: &[(Path, String)]) -> Result<(), PlanError> {
        let (source, target) = (self.path(&from.file)?, self.path(&to.file)?);
        let (candidate, baseline) = (self.need(&source)?, self.need(&target)?);
        if self.spec.differs(&source, &candidate.id) && !on(Mutant::UntestedBlobPromoted) {
            return Err(PlanError::CandidateChanged { path: source.to_string() });
        }
        let mut bytes = candidate.bytes;
        for (path, image) in images {
            let at = Selector::named(&from.workload.kind, &from.workload.name, path.clone());
            let edited = File::parse(&bytes).and_then(|file| set_scalar(&file, &at, &Value::string(image)));
            bytes = edited.map_err(of(&source))?.text.into_bytes();
        }
        File::parse(&bytes)
            .and_then(|file| file.document(&from.workload.kind, &from.workload.name).map(|_| ()))
            .map_err(of(&source))?;
        let promotion = promote(
            Side { bytes: &bytes, workload: &from.workload },
            Side { bytes: &baseline.bytes, workload: &to.workload },
            fields,
            &self.spec.subset_labels,
        );
        let promotion = promotion.map_err(of(&target))?;
        // A baseline that holds the promotion already has nothing in it that could be lost.
        if self.spec.differs(&target, &baseline.id) && !promotion.changes.is_empty() {
            return Err(PlanError::BaselineChanged { path: target.to_string() });
        }
        self.told.unpromoted.extend(promotion.unpromoted);
        self.told.recorded.insert(source.to_string(), candidate.id);
        self.put(&target, &baseline, Edited { text: promotion.text, changes: promotion.changes });
        Ok(())
    }

    fn set(&mut self, to: &Spot, source: &Source, missing: OnMissing) -> Result<(), PlanError> {
        let (target, at) = (self.path(&to.file)?, to.selector());
        let absent = |path: &RepoPath, at: &Selector| {
            let why = EditError::PathNotFound { path: at.path.to_string() };
            PlanError::Edit { path: path.to_string(), why }
        };
        let value = match source {
            Source::Literal(value) => value.clone(),
            Source::Spot(from) => {
                let (path, at) = (self.path(&from.file)?, from.selector());
                match (self.value(&path, &at)?, missing) {
                    (Some(value), _) if self.same_part(&path, &at, &value)? => value,
                    (Some(_), _) => return Err(PlanError::CandidateChanged { path: format!("{path} ({})", at.path) }),
                    (None, OnMissing::Skip) => return Ok(()),
                    (None, OnMissing::Fail | OnMissing::Add) => return Err(absent(&path, &at)),
                }
            }
        };
        match (self.value(&target, &at)?, missing) {
            (Some(now), _) => {
                let same = self.same_part(&target, &at, &now)?;
                if now == value {
                    return Ok(());
                }
                if !same {
                    return Err(PlanError::BaselineChanged { path: format!("{target} ({})", at.path) });
                }
            }
            (None, OnMissing::Add) => {}
            (None, OnMissing::Skip) => return Ok(()),
            (None, OnMissing::Fail) => return Err(absent(&target, &at)),
        }
        self.marks.push(Mark { file: target.to_string(), at: at.clone() });
        let origin = match source {
            // A subtree takes its comments along.
            Source::Spot(from) if value.text().is_none() => {
                let path = self.path(&from.file)?;
                Some((self.need(&path)?.bytes, from.selector()))
            }
            Source::Spot(_) | Source::Literal(_) => None,
        };
        self.edit(&target, |file| match &origin {
            Some((bytes, from)) => {
                copy_subtree(&File::parse(bytes)?, from, file, &at).or_else(|_| put(file, &at, &value))
            }
            None => put(file, &at, &value),
        })
    }

    /// The image that a verb is about.
    fn image(&self, source: &ImageSource) -> Result<Image, PlanError> {
        match source {
            ImageSource::Literal(text) => Ok(Image::parse(text)),
            ImageSource::Container { place, container } => kustomize::container(self, place, container.as_deref()),
        }
    }

    fn kustomize_image(&mut self, file: &str, name: &str, image: &Image) -> Result<(), PlanError> {
        let path = self.path(file)?;
        let entry = Path::default().key("images").join(Segment::Named { key: "name".into(), value: name.to_owned() });
        let at = |path: Path| Selector::only(path);
        let Some(now) = self.value(&path, &at(entry.clone()))? else {
            return Err(PlanError::NoImageEntry { path: path.to_string(), image: name.to_owned() });
        };
        let text = |key: &str| now.get(key).and_then(Value::text).map(ToOwned::to_owned);
        let (own, other, build) = match (&image.digest, &image.tag) {
            (Some(digest), _) => ("digest", "newTag", digest),
            (None, Some(tag)) => ("newTag", "digest", tag),
            (None, None) => return Err(PlanError::NoBuild { image: image.to_string() }),
        };
        if now.get("tagSuffix").is_some() {
            let why = EditError::NotScalar { path: entry.key("tagSuffix").to_string() };
            return Err(PlanError::Edit { path: path.to_string(), why });
        }
        let renamed = text("newName").unwrap_or_else(|| name.to_owned()) != image.name;
        if text(own).as_ref() == Some(build) && text(other).is_none() && !renamed {
            self.same_part(&path, &at(entry), &now)?;
            return Ok(());
        }
        if !self.same_part(&path, &at(entry.clone()), &now)? {
            return Err(PlanError::BaselineChanged { path: format!("{path} ({entry})") });
        }
        for key in ["newName", other, own] {
            self.marks.push(Mark { file: path.to_string(), at: at(entry.key(key)) });
        }
        self.edit(&path, |file| put(file, &at(entry.key(own)), &Value::string(build)))?;
        if text(other).is_some() {
            self.edit(&path, |file| remove(file, &at(entry.key(other))))?;
        }
        if renamed {
            self.edit(&path, |file| put(file, &at(entry.key("newName")), &Value::string(&image.name)))?;
        }
        Ok(())
    }

    fn set_marked(&mut self, files: &str, marker: &str, image: &Image) -> Result<(), PlanError> {
        let mut found = false;
        for path in self.matching(files)? {
            let blob = self.need(&path)?;
            let Ok(file) = File::parse(&blob.bytes) else { continue };
            for marked in file.marked(marker) {
                found = true;
                let value = match marked.part.as_str() {
                    "image" => Some(image.to_string()),
                    "name" => Some(image.name.clone()),
                    "tag" => image.tag.clone(),
                    "digest" => image.digest.clone(),
                    _ => None,
                };
                let Some(value) = value else {
                    return Err(PlanError::NoBuild { image: format!("{image} ({marker}:{})", marked.part) });
                };
                let file = path.as_str().strip_prefix(&format!("{}/", self.directory)).unwrap_or_default().to_owned();
                let to = Spot { file, document: marked.at.document, path: marked.at.path };
                self.set(&to, &Source::Literal(Value::string(&value)), OnMissing::Fail)?;
            }
        }
        let place = format!("{}/{files}", self.directory);
        if found { Ok(()) } else { Err(PlanError::NoMarker { path: place, marker: marker.to_owned() }) }
    }

    /// The files of one directory whose names match, in order.
    fn matching(&self, pattern: &str) -> Result<Vec<RepoPath>, PlanError> {
        let (folder, name) = match pattern.rsplit_once('/') {
            Some((folder, name)) => (self.path(folder)?, name),
            None => (self.directory.clone(), pattern),
        };
        let Some((before, after)) = name.split_once('*') else { return Ok(vec![self.path(pattern)?]) };
        let matches =
            |own: &str| own.len() >= before.len() + after.len() && own.starts_with(before) && own.ends_with(after);
        let entries = self.files().list(Some(&folder))?;
        let names = entries.into_iter().filter(|entry| entry.kind == EntryKind::File && matches(&entry.name));
        // A name that is not accepted cannot be addressed.
        let paths: BTreeSet<RepoPath> = names.filter_map(|entry| folder.join(&entry.name).ok()).collect();
        Ok(paths.into_iter().collect())
    }

    fn remove_file(&mut self, file: &str) -> Result<(), PlanError> {
        let path = self.path(file)?;
        let Some(blob) = self.find(&path)? else {
            self.told.missing.push(Missing::Place(path.to_string()));
            return Ok(());
        };
        if self.spec.differs(&path, &blob.id) && !on(Mutant::ForeignFileRemoved) {
            return Err(PlanError::RemovalChanged { path: path.to_string() });
        }
        if self.spec.holds_baseline(&blob, &path, &self.directory) {
            return Err(PlanError::SharedFile { path: path.to_string() });
        }
        self.remove(&path, &blob);
        Ok(())
    }

    fn remove_item(&mut self, list: &Spot, item: &str, key: Option<&str>) -> Result<(), PlanError> {
        let (path, at) = (self.path(&list.file)?, list.selector());
        let is = |value: &Value| key.map_or(Some(value), |key| value.get(key)).and_then(Value::text) == Some(item);
        let items = match self.value(&path, &at)? {
            Some(Value::List(items)) => items,
            Some(_) => {
                let why = EditError::PathNotFound { path: at.path.to_string() };
                return Err(PlanError::Edit { path: path.to_string(), why });
            }
            None => Vec::new(),
        };
        let found: Vec<usize> =
            items.iter().enumerate().filter(|(_, value)| is(value)).map(|(index, _)| index).collect();
        match found.as_slice() {
            [] => self.told.missing.push(Missing::Place(format!("{path} ({} with {item})", at.path))),
            [index] => {
                let one = Selector { path: at.path.join(Segment::Index(*index)), ..at };
                self.edit(&path, |file| remove(file, &one))?;
            }
            [_, _, ..] => {
                let why = EditError::Ambiguous { path: format!("{} with {item}", at.path) };
                return Err(PlanError::Edit { path: path.to_string(), why });
            }
        }
        Ok(())
    }

    fn remove_key(&mut self, spot: &Spot) -> Result<(), PlanError> {
        let (path, at) = (self.path(&spot.file)?, spot.selector());
        let Some(value) = self.value(&path, &at)? else {
            self.told.missing.push(Missing::Place(format!("{path} ({})", at.path)));
            return Ok(());
        };
        if !self.same_part(&path, &at, &value)? {
            return Err(PlanError::RemovalChanged { path: format!("{path} ({})", at.path) });
        }
        self.edit(&path, |file| remove(file, &at))
    }
}

impl Spot {
    /// A place in a file's only document.
    pub(super) fn only(file: &str, path: Path) -> Self {
        Self { file: file.to_owned(), document: Document::Only, path }
    }

    fn selector(&self) -> Selector {
        Selector { document: self.document.clone(), path: self.path.clone() }
    }
}
