//! The Kustomize layout: what a kustomization says about images and files, and the verbs that follow from it.
//!
//! Only as much of kustomize is known here as decides which build of an image runs and which lines name a file: `images`, the
//! lists of files, components, and prefixes of names. Kustomize itself renders; the tests compare with what it makes.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use super::image::Image;
use super::verb::{ImageSource, Place, Spot, Verb};
use super::work::{Work, of};
use crate::gitops::edit::{EditError, File, Path, Segment, Selector, Value};
use crate::gitops::plan::{PlanError, Written};
use crate::gitops::promote::{Fields, Workload};
use crate::gitops::tree::{EntryKind, RepoPath};

/// The names that a kustomization may have.
pub(crate) const NAMES: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];
/// Lists of a kustomization whose items are files or directories.
const LISTS: [&str; 3] = ["resources", "components", "patchesStrategicMerge"];
/// Most files of a directory that is the experiment's: a handful of manifests.
const MAX_OWN: usize = 100;
/// Most files that are searched for an image's name; with more, it is taken to be used.
const MAX_SEARCHED: usize = 500;
/// What leaves the pod template as it is written but for images, labels and annotations.
const PLAIN: [&str; 12] = [
    "apiVersion",
    "kind",
    "metadata",
    "resources",
    "components",
    "images",
    "namespace",
    "labels",
    "commonLabels",
    "commonAnnotations",
    "sortOptions",
    "buildMetadata",
];

/// A kustomization that was read.
#[derive(Debug, Clone)]
pub(super) struct Kustomization {
    /// Its directory.
    folder: RepoPath,
    /// The file.
    pub(super) path: RepoPath,
    value: Value,
}

/// An entry of `images`, by its kustomization and its name.
type Entry = (RepoPath, String);

/// The kustomization of a directory, if it has one.
pub(super) fn load(work: &Work<'_>, folder: &RepoPath) -> Result<Option<Kustomization>, PlanError> {
    let entries = work.files().list(Some(folder))?;
    let mut found = entries.iter().filter(|entry| NAMES.contains(&entry.name.as_str()));
    let Some(entry) = found.next() else { return Ok(None) };
    let path = folder.join(&entry.name)?;
    if let Some(second) = found.next() {
        return Err(PlanError::SeveralKustomizations {
            first: path.to_string(),
            second: folder.join(&second.name)?.to_string(),
        });
    }
    let blob = work.need(&path)?;
    let file = File::parse(&blob.bytes).map_err(of(&path))?;
    let value = file.value(&crate::gitops::edit::Document::Only).map_err(of(&path))?.clone();
    Ok(Some(Kustomization { folder: folder.clone(), path, value }))
}

impl Kustomization {
    fn text(&self, key: &str) -> Option<&str> {
        self.value.get(key).and_then(Value::text)
    }

    /// A name without what it adds.
    fn bare<'n>(&self, name: &'n str) -> &'n str {
        let name = self.text("namePrefix").and_then(|prefix| name.strip_prefix(prefix)).unwrap_or(name);
        self.text("nameSuffix").and_then(|suffix| name.strip_suffix(suffix)).unwrap_or(name)
    }

    fn list(&self, key: &str) -> Vec<&Value> {
        match self.value.get(key) {
            Some(Value::List(items)) => items.iter().collect(),
            _ => Vec::new(),
        }
    }

    /// Where an item of a list leads, if that is below this directory.
    fn leads(&self, item: &str) -> Option<RepoPath> {
        let item = item.strip_prefix("./").unwrap_or(item);
        self.folder.join(item.strip_suffix('/').unwrap_or(item)).ok()
    }

    /// What it makes of an image, and by which entries.
    fn images(&self, mut image: Image, used: &mut Vec<(Entry, bool)>) -> Image {
        for entry in self.list("images") {
            let text = |key: &str| entry.get(key).and_then(Value::text).filter(|text| !text.is_empty());
            if text("name") != Some(image.name.as_str()) {
                continue;
            }
            let (tag, digest) = (text("newTag"), text("digest"));
            used.push(((self.path.clone(), image.name.clone()), tag.is_some() || digest.is_some()));
            if tag.is_some() || digest.is_some() {
                (image.tag, image.digest) = (tag.map(ToOwned::to_owned), digest.map(ToOwned::to_owned));
            }
            if let Some(name) = text("newName") {
                name.clone_into(&mut image.name);
            }
        }
        image
    }

    /// Whether the pods that it renders are as written but for images, labels and annotations.
    fn is_plain(&self) -> bool {
        matches!(&self.value, Value::Map(entries) if entries.keys().all(|key| PLAIN.contains(&key.as_str())))
    }

    /// The keys of labels that it sets on pods.
    fn labels(&self) -> BTreeSet<String> {
        let keys = |value: Option<&Value>| match value {
            Some(Value::Map(entries)) => entries.keys().cloned().collect::<Vec<_>>(),
            _ => Vec::new(),
        };
        let pairs = self.list("labels").into_iter().flat_map(|item| keys(item.get("pairs")));
        keys(self.value.get("commonLabels")).into_iter().chain(pairs).collect()
    }
}

/// The kustomizations that a file goes through, from its own directory to the experiment's; components of each on the way.
fn chain(work: &Work<'_>, file: &RepoPath) -> Result<Vec<Kustomization>, PlanError> {
    let mut chain: Vec<Kustomization> = Vec::new();
    let mut folder = file.as_str().rsplit_once('/').map_or("", |(folder, _)| folder);
    while folder.len() >= work.directory.as_str().len() {
        if let Some(own) = load(work, &folder.parse()?)? {
            for item in own.list("components").into_iter().filter_map(Value::text) {
                let Some(component) = own.leads(item).filter(|path| !chain.iter().any(|one| one.folder == *path))
                else {
                    continue;
                };
                chain.extend(load(work, &component)?);
            }
            chain.push(own);
        }
        folder = folder.rsplit_once('/').map_or("", |(folder, _)| folder);
    }
    Ok(chain)
}

/// What a chain makes of an image: the image, and the entries that it met, each with whether that sets the build.
fn effective(chain: &[Kustomization], image: &str) -> (Image, Vec<(Entry, bool)>) {
    let mut used = Vec::new();
    let image = chain.iter().fold(Image::parse(image), |image, one| one.images(image, &mut used));
    (image, used)
}

/// The workload as its file names it: kustomizations may add to the name.
fn as_written(file: &File<'_>, chain: &[Kustomization], workload: &Workload) -> Workload {
    let mut name = workload.name.as_str();
    for one in chain.iter().rev() {
        if file.document(&workload.kind, name).is_ok() {
            break;
        }
        name = one.bare(name);
    }
    Workload { kind: workload.kind.clone(), name: name.to_owned() }
}

/// A manifest with what stands around it.
struct Side {
    path: RepoPath,
    place: Place,
    chain: Vec<Kustomization>,
    /// The images of its containers, by the place of each.
    images: BTreeMap<Path, String>,
}

impl Side {
    fn read(work: &Work<'_>, file: &str, workload: &Workload) -> Result<Self, PlanError> {
        let path = work.path(file)?;
        let blob = work.need(&path)?;
        let chain = chain(work, &path)?;
        let parsed = File::parse(&blob.bytes).map_err(of(&path))?;
        let workload = as_written(&parsed, &chain, workload);
        let document = parsed.document(&workload.kind, &workload.name).map_err(of(&path))?;
        let images = images(document);
        Ok(Self { path, place: Place { file: file.to_owned(), workload }, chain, images })
    }
}

/// The images of a workload's containers.
fn images(document: &Value) -> BTreeMap<Path, String> {
    let mut found = BTreeMap::new();
    for list in ["initContainers", "containers"] {
        let list = ["spec", "template", "spec", list].iter().fold(Path::default(), |path, step| path.key(step));
        let Some(Value::List(items)) = document.at(&list) else { continue };
        for item in items {
            let text = |key: &str| item.get(key).and_then(Value::text).map(ToOwned::to_owned);
            if let (Some(name), Some(image)) = (text("name"), text("image")) {
                found.insert(list.join(Segment::Named { key: "name".into(), value: name }).key("image"), image);
            }
        }
    }
    found
}

/// The image that a container runs.
pub(super) fn container(work: &Work<'_>, place: &Place, container: Option<&str>) -> Result<Image, PlanError> {
    let side = Side::read(work, &place.file, &place.workload)?;
    let named = |path: &Path| match (container, path.segments().iter().rev().nth(1)) {
        (None, _) => path.segments().contains(&Segment::Key("containers".into())),
        (Some(wanted), Some(Segment::Named { value, .. })) => value == wanted,
        (Some(_), _) => false,
    };
    let mut found = side.images.iter().filter(|(path, _)| named(path));
    let what = || format!("container {}", container.unwrap_or("without a name"));
    match (found.next(), found.next()) {
        (Some((_, image)), None) => Ok(effective(&side.chain, image).0),
        (None, _) => Err(of(&side.path)(EditError::PathNotFound { path: what() })),
        (Some(_), Some(_)) => Err(of(&side.path)(EditError::Ambiguous { path: what() })),
    }
}

/// Whether a file's name is that of a kustomization.
pub(super) fn is_kustomization(file: &str) -> bool {
    NAMES.contains(&file.rsplit('/').next().unwrap_or(file))
}

/// The kustomization of the experiment's directory, which this layout needs.
fn own(work: &Work<'_>) -> Result<Kustomization, PlanError> {
    load(work, &work.directory)?.ok_or_else(|| PlanError::LayoutMismatch {
        path: work.directory.to_string(),
        problem: "no kustomization.yaml is in it",
        remedy: "correct `spec.gitops.path`, or write `layout: Flat`",
    })
}

/// What the experiment's manifest calls itself, before the kustomization adds to it.
pub(super) fn written(work: &Work<'_>) -> Result<Written, PlanError> {
    let (own, spec) = (own(work)?, work.spec);
    let namespace = if own.text("namespace").is_some() { None } else { Some(spec.namespace.clone()) };
    Ok(Written { name: own.bare(&spec.name).to_owned(), namespace })
}

/// The verbs of a promotion.
pub(super) fn promotion(work: &Work<'_>) -> Result<Vec<Verb>, PlanError> {
    own(work)?;
    let spec = work.spec;
    let candidate = Side::read(work, &spec.from, &spec.candidate)?;
    if is_kustomization(&spec.to) {
        return into_entries(work, &candidate);
    }
    let baseline = Side::read(work, &spec.to, &spec.baseline)?;
    let (mut entries, mut images) = (BTreeMap::new(), Vec::new());
    for (path, raw) in &candidate.images {
        let (wanted, mine) = effective(&candidate.chain, raw);
        let Some(old) = baseline.images.get(path) else {
            // A new container, as it will look from where the baseline is.
            let same = effective(&baseline.chain, raw).0 == wanted;
            images.push((path.clone(), if same { raw.clone() } else { wanted.to_string() }));
            continue;
        };
        let (now, used) = effective(&baseline.chain, old);
        if let Some(((path, image), _)) =
            used.iter().find(|(entry, build)| *build && mine.contains(&(entry.clone(), true)))
        {
            return Err(PlanError::SharedImage { path: path.to_string(), image: image.clone() });
        }
        let asked = match &spec.fields {
            Fields::Template | Fields::Images => true,
            Fields::Paths(paths) => paths.iter().any(|asked| path.is_within(asked)),
        };
        match used.iter().rev().find(|(_, build)| *build) {
            _ if now == wanted => images.push((path.clone(), old.clone())),
            // It stays different in the comparison, and is told as not promoted.
            _ if !asked => {}
            Some(((file, name), _)) => {
                images.push((path.clone(), old.clone()));
                let build = rename(&wanted, &now, &baseline.chain, file, name);
                entry(&mut entries, relative(work, file)?, name, &build)?;
            }
            None if now.name == wanted.name => {
                images.push((path.clone(), wanted.named(&Image::parse(old).name).to_string()));
            }
            None => images.push((path.clone(), wanted.to_string())),
        }
    }
    let copy = Verb::Copy { from: candidate.place, to: baseline.place, fields: spec.fields.clone(), images };
    Ok(std::iter::once(copy).chain(entries.into_values()).collect())
}

/// Asks for one build in an entry of `images`; two different ones would overwrite each other.
fn entry(
    entries: &mut BTreeMap<(String, String), Verb>,
    file: String,
    name: &str,
    image: &Image,
) -> Result<(), PlanError> {
    let image = ImageSource::Literal(image.to_string());
    let verb = Verb::KustomizeImage { file: file.clone(), name: name.to_owned(), image };
    match entries.insert((file.clone(), name.to_owned()), verb.clone()) {
        Some(other) if other != verb => Err(PlanError::SharedImage { path: file, image: name.to_owned() }),
        Some(_) | None => Ok(()),
    }
}

/// The image that an entry has to give so that in the end `wanted` runs where `now` did.
fn rename(wanted: &Image, now: &Image, chain: &[Kustomization], file: &RepoPath, name: &str) -> Image {
    if wanted.name != now.name {
        return wanted.clone();
    }
    let own = chain.iter().find(|one| one.path == *file).and_then(|one| {
        let entry =
            one.list("images").into_iter().find(|entry| entry.get("name").and_then(Value::text) == Some(name))?;
        entry.get("newName").and_then(Value::text).map(ToOwned::to_owned)
    });
    wanted.named(&own.unwrap_or_else(|| name.to_owned()))
}

/// A promotion into `images` alone: the baseline's manifest is elsewhere, in a base say.
fn into_entries(work: &Work<'_>, candidate: &Side) -> Result<Vec<Verb>, PlanError> {
    let path = work.path(&work.spec.to)?;
    if work.spec.fields != Fields::Images {
        return Err(PlanError::LayoutMismatch {
            path: path.to_string(),
            problem: "it takes images and nothing else",
            remedy: "write `promote.fields: Images`, or name the baseline's manifest",
        });
    }
    let folder = path.as_str().rsplit_once('/').map_or("", |(folder, _)| folder).parse()?;
    let target = load(work, &folder)?.filter(|one| one.path == path);
    let target = target.ok_or_else(|| PlanError::FileMissing { path: path.to_string() })?;
    let mut asked = BTreeMap::new();
    for raw in candidate.images.values() {
        let (wanted, mine) = effective(&candidate.chain, raw);
        let gives = |entry: &&Value| {
            let text = |key: &str| entry.get(key).and_then(Value::text);
            text("newName").or_else(|| text("name")) == Some(wanted.name.as_str())
        };
        let name = |entry: &Value| entry.get("name").and_then(Value::text).unwrap_or_default().to_owned();
        let entries: Vec<String> = target.list("images").into_iter().filter(gives).map(name).collect();
        let shared = entries.iter().find(|name| {
            mine.contains(&((path.clone(), (*name).clone()), true)) && Image::parse(raw).name == wanted.name
        });
        if let Some(image) = shared {
            return Err(PlanError::SharedImage { path: path.to_string(), image: image.clone() });
        }
        let others: Vec<&String> = entries
            .iter()
            .filter(|name| !mine.iter().any(|((file, used), _)| *file == path && used == *name))
            .collect();
        let [name] = others.as_slice() else {
            return Err(PlanError::NoImageEntry { path: path.to_string(), image: wanted.name });
        };
        entry(&mut asked, work.spec.to.clone(), name, &wanted)?;
    }
    Ok(asked.into_values().collect())
}

/// The image that an entry of `images` gives, if it sets a build.
pub(super) fn entry_image(work: &Work<'_>, file: &str, name: &str) -> Result<Option<String>, PlanError> {
    let path = work.path(file)?;
    let at = Path::default().key("images").join(Segment::Named { key: "name".into(), value: name.to_owned() });
    let Some(entry) = work.value(&path, &Selector::only(at))? else { return Ok(None) };
    let text = |key: &str| entry.get(key).and_then(Value::text).map(ToOwned::to_owned);
    let name = text("newName").unwrap_or_else(|| name.to_owned());
    let (tag, digest) = (text("newTag"), text("digest"));
    Ok((tag.is_some() || digest.is_some()).then(|| Image { name, tag, digest }.to_string()))
}

/// The path below the experiment's directory.
fn relative(work: &Work<'_>, path: &RepoPath) -> Result<String, PlanError> {
    let below = path.as_str().strip_prefix(&format!("{}/", work.directory)).map(ToOwned::to_owned);
    below.ok_or_else(|| PlanError::FileMissing { path: path.to_string() })
}

/// The directories below the experiment's that its kustomization lists: where the Experiment may be.
pub(super) fn folders(work: &Work<'_>) -> Result<Vec<RepoPath>, PlanError> {
    let own = own(work)?;
    let listed =
        LISTS.iter().flat_map(|list| own.list(list)).filter_map(Value::text).filter_map(|item| own.leads(item));
    let mut folders = BTreeSet::new();
    for path in listed {
        if load(work, &path).is_ok_and(|found| found.is_some()) {
            folders.insert(path);
        }
    }
    Ok(folders.into_iter().collect())
}

/// The verbs of a clean-up that removes `files`, of which those in a listed directory take their whole directory along.
pub(super) fn cleanup(work: &Work<'_>, files: &BTreeSet<RepoPath>) -> Result<Vec<Verb>, PlanError> {
    let own = own(work)?;
    let mut gone = BTreeSet::new();
    let mut removed: BTreeSet<RepoPath> = files.clone();
    for folder in folders(work)? {
        if files.iter().any(|file| within(file, &folder)) {
            let all = contents(work, &folder, MAX_OWN)?;
            // What came into the directory since the start is somebody else's.
            let known =
                |path: &&RepoPath| work.spec.expected.is_empty() || work.spec.expected.contains_key(path.as_str());
            if let Some(new) = all.iter().find(|path| !known(path)) {
                return Err(PlanError::RemovalChanged { path: new.to_string() });
            }
            removed.extend(all);
            gone.insert(folder);
        }
    }
    let mut verbs = Vec::new();
    let file = relative(work, &own.path)?;
    let goes = |item: &str| own.leads(item).is_some_and(|path| gone.contains(&path) || removed.contains(&path));
    for (list, key) in LISTS.iter().map(|list| (*list, None)).chain([("patches", Some("path"))]) {
        let text =
            |item: &Value| key.map_or(Some(item), |key| item.get(key)).and_then(Value::text).map(ToOwned::to_owned);
        let all = own.list(list);
        let items: Vec<String> = all.iter().filter_map(|item| text(item)).filter(|item| goes(item)).collect();
        verbs.extend(shorten(&file, list, &items, all.len(), key));
    }
    let mapped = candidate_entries(work, &own, &removed)?;
    verbs.extend(shorten(&file, "images", &mapped, own.list("images").len(), Some("name")));
    let files = removed.iter().map(|path| relative(work, path)).collect::<Result<Vec<_>, _>>()?;
    verbs.push(Verb::RemoveFiles(files));
    Ok(verbs)
}

/// The removal of items from a list; with all of them goes the list, as tools that write kustomizations do.
fn shorten(file: &str, list: &str, items: &[String], all: usize, key: Option<&str>) -> Option<Verb> {
    let list = Spot::only(file, Path::default().key(list));
    match items.len() {
        0 => None,
        some if some == all => Some(Verb::RemoveKey(list)),
        _ => Some(Verb::RemoveListItem { list, items: items.to_vec(), key: key.map(ToOwned::to_owned) }),
    }
}

/// The entries of `images` that give a candidate's image a name of its own: those of a made-up image that nothing else uses.
fn candidate_entries(
    work: &Work<'_>,
    own: &Kustomization,
    removed: &BTreeSet<RepoPath>,
) -> Result<Vec<String>, PlanError> {
    let spec = work.spec;
    let mut found = Vec::new();
    for (file, workload) in
        std::iter::once((&spec.from, &spec.candidate)).chain(spec.rivals.iter().map(|(f, w)| (f, w)))
    {
        if work.find(&work.path(file)?)?.is_none() {
            continue;
        }
        for raw in Side::read(work, file, workload)?.images.values() {
            let name = Image::parse(raw).name;
            let maps = |entry: &&Value| {
                entry.get("name").and_then(Value::text) == Some(name.as_str()) && entry.get("newName").is_some()
            };
            let mapped = own.list("images").iter().any(maps) && !found.contains(&name);
            if mapped && !used_elsewhere(work, own, removed, &name)? {
                found.push(name);
            }
        }
    }
    Ok(found)
}

/// Whether a file that stays in the directory mentions an image.
fn used_elsewhere(
    work: &Work<'_>,
    own: &Kustomization,
    removed: &BTreeSet<RepoPath>,
    image: &str,
) -> Result<bool, PlanError> {
    let Ok(all) = contents(work, &work.directory, MAX_SEARCHED) else { return Ok(true) };
    for path in all {
        if path == own.path || removed.contains(&path) {
            continue;
        }
        if work.find(&path)?.is_some_and(|blob| String::from_utf8_lossy(&blob.bytes).contains(image)) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn within(file: &RepoPath, folder: &RepoPath) -> bool {
    file.as_str().strip_prefix(folder.as_str()).is_some_and(|rest| rest.starts_with('/'))
}

/// Every file of a directory and of those in it.
fn contents(work: &Work<'_>, folder: &RepoPath, most: usize) -> Result<BTreeSet<RepoPath>, PlanError> {
    let (mut files, mut open) = (BTreeSet::new(), vec![folder.clone()]);
    while let Some(next) = open.pop() {
        for entry in work.files().list(Some(&next))? {
            let path = next.join(&entry.name)?;
            match entry.kind {
                EntryKind::Directory => open.push(path),
                EntryKind::File => {
                    files.insert(path);
                }
                found @ (EntryKind::Link | EntryKind::Other) => {
                    return Err(crate::gitops::tree::TreeError::NotAFile { path: path.to_string(), found }.into());
                }
            }
            if files.len() + open.len() > most {
                return Err(PlanError::DirectoryTooLarge { path: folder.to_string() });
            }
        }
    }
    Ok(files)
}

/// What is known of the pods that kustomize makes of a manifest: all of it with the images that will run or, when more is done
/// to it, those images alone.
pub(super) fn template(work: &Work<'_>, file: &str, workload: &Workload) -> Result<Json, PlanError> {
    let side = Side::read(work, file, workload)?;
    let blob = work.need(&side.path)?;
    let parsed = File::parse(&blob.bytes).map_err(of(&side.path))?;
    let written = &side.place.workload;
    let mut document = parsed.document(&written.kind, &written.name).map_err(of(&side.path))?.clone();
    let running: BTreeMap<&Path, String> =
        side.images.iter().map(|(path, image)| (path, effective(&side.chain, image).0.to_string())).collect();
    if !side.chain.iter().all(Kustomization::is_plain) {
        return Ok(super::pods::running(running.into_values()));
    }
    for (path, image) in running {
        document.put(path, Some(Value::string(&image))).map_err(of(&side.path))?;
    }
    let mut json = document.to_json();
    let labels: BTreeSet<String> = side.chain.iter().flat_map(Kustomization::labels).collect();
    if let Some(own) = json.pointer_mut("/spec/template/metadata/labels").and_then(Json::as_object_mut) {
        own.retain(|key, _| !labels.contains(key));
    }
    let path = "spec.template".to_owned();
    json.pointer("/spec/template").cloned().ok_or_else(|| of(&side.path)(EditError::PathNotFound { path }))
}
