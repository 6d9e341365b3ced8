//! Which item of one sequence is which of another: Kubernetes tells most of them apart by a key.

use std::collections::BTreeSet;

use super::node::{Kind, Node};
use super::path::{Path, Segment};

/// How the items of two sequences belong together.
pub(super) enum Pairing {
    ByPosition,
    /// Told apart by a key; `same` when no item comes or goes.
    ByName {
        key: Key,
        same: bool,
    },
    None,
}

/// What tells the items of a sequence apart.
pub(super) enum Key {
    /// The value under this key.
    Field(&'static str),
    /// The item itself, for sequences of scalars.
    Whole,
}

impl Key {
    pub(super) fn of<'n>(&self, item: &'n Node) -> Option<&'n str> {
        match (self, &item.kind) {
            (Self::Field(field), _) => item.field(field),
            (Self::Whole, Kind::Scalar { value, .. }) => value.text(),
            (Self::Whole, Kind::Map { .. } | Kind::List { .. } | Kind::Alias(_)) => None,
        }
    }

    pub(super) fn segment(&self, item: &Node) -> Segment {
        let value = self.of(item).unwrap_or_default().to_owned();
        match self {
            Self::Field(field) => Segment::Named { key: (*field).to_owned(), value },
            Self::Whole => Segment::Key(value),
        }
    }

    /// The keys of all items, when each has one and no two the same.
    fn all<'n>(&self, items: &'n [Node]) -> Option<Vec<&'n str>> {
        let keys = items.iter().map(|item| self.of(item)).collect::<Option<Vec<_>>>()?;
        (keys.iter().collect::<BTreeSet<_>>().len() == keys.len()).then_some(keys)
    }
}

/// Lists of pod templates whose items Kubernetes merges by another key than `name`.
fn identity(path: &Path) -> Key {
    Key::Field(match path.segments().last() {
        Some(Segment::Key(list)) => match list.as_str() {
            "volumeMounts" => "mountPath",
            "volumeDevices" => "devicePath",
            "ports" => "containerPort",
            "hostAliases" => "ip",
            _ => "name",
        },
        _ => "name",
    })
}

pub(super) fn pairing(path: &Path, items: &[Node], wanted: &[Node]) -> Pairing {
    for key in [identity(path), Key::Whole] {
        let (Some(old), Some(new)) = (key.all(items), key.all(wanted)) else { continue };
        if matches!(key, Key::Whole) && old.len() == new.len() {
            return Pairing::ByPosition;
        }
        let common = |all: &[&str], other: &[&str]| {
            all.iter().filter(|key| other.contains(key)).map(ToString::to_string).collect::<Vec<_>>()
        };
        let (stay, found) = (common(&old, &new), common(&new, &old));
        if stay.is_empty() || stay != found {
            return Pairing::None;
        }
        return Pairing::ByName { same: stay.len() == old.len() && stay.len() == new.len(), key };
    }
    if items.len() == wanted.len() { Pairing::ByPosition } else { Pairing::None }
}
