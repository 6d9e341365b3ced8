//! Image references: which image, and which build of it.

use std::fmt;

/// `name[:tag][@digest]`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Image {
    /// Registry and repository.
    pub(super) name: String,
    /// The tag.
    pub(super) tag: Option<String>,
    /// The digest, with its algorithm.
    pub(super) digest: Option<String>,
}

impl Image {
    /// Reads a reference; whatever its text is, it is one.
    pub(super) fn parse(text: &str) -> Self {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.to_owned())),
            None => (text, None),
        };
        match rest.rsplit_once(':') {
            // A colon before a slash belongs to a port.
            Some((name, tag)) if !tag.contains('/') => Self { name: name.into(), tag: Some(tag.into()), digest },
            _ => Self { name: rest.into(), tag: None, digest },
        }
    }

    /// The same build under another name.
    pub(super) fn named(&self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self.clone() }
    }
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        self.tag.iter().try_for_each(|tag| write!(f, ":{tag}"))?;
        self.digest.iter().try_for_each(|digest| write!(f, "@{digest}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_read_back_as_they_are_written() {
        for (text, name, tag, digest) in [
            ("app", "app", None, None),
            ("r:5000/app", "r:5000/app", None, None),
            ("r:5000/app:v1", "r:5000/app", Some("v1"), None),
            ("r/app@sha256:0a", "r/app", None, Some("sha256:0a")),
            ("r/app:v1@sha256:0a", "r/app", Some("v1"), Some("sha256:0a")),
        ] {
            let image = Image::parse(text);
            assert_eq!((image.name.as_str(), image.tag.as_deref(), image.digest.as_deref()), (name, tag, digest));
            assert_eq!(image.to_string(), text);
        }
    }
}
