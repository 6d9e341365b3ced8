//! Templates: placeholders `${NAME}` in plain manifests, and where they are read.
//!
//! A value becomes part of a YAML text, so it is bound to characters that mean nothing there; a placeholder that nobody fills in
//! is an error, never an empty text.

use std::collections::BTreeMap;

use super::StartError;
use crate::gitops::tree::{Files, RepoPath, read};

/// Values of placeholders, by name.
pub type Values = BTreeMap<String, String>;

/// Longest value, in characters: an image reference with its digest stays below it.
const MAX_VALUE: usize = 512;

/// Where templates are.
#[derive(Debug, Clone)]
pub enum Templates {
    /// A directory of the environment repository, read at the commit that the experiment is added to.
    Repository(RepoPath),
    /// Files of this machine, by name.
    Local(BTreeMap<String, Vec<u8>>),
}

impl Templates {
    /// The template of this name, `None` if there is none, and what it is called in messages.
    pub(super) fn get(&self, files: &dyn Files, name: &str) -> Result<(String, Option<Vec<u8>>), StartError> {
        match self {
            Self::Repository(directory) => {
                let path = directory.join(name)?;
                Ok((path.to_string(), read(files, &path)?.map(|blob| blob.bytes)))
            }
            Self::Local(all) => Ok((name.to_owned(), all.get(name).cloned())),
        }
    }
}

/// Whether a text may be the name of a placeholder: capitals, digits and `_`, with a capital first.
pub fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_uppercase())
        && text.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
}

/// Whether a text may be the value of a placeholder: wherever it is put, it stays one word of the YAML text.
pub fn is_value(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= MAX_VALUE
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "._/:@+=-".contains(c))
        && !text.ends_with(':')
        && !text.starts_with(['-', '@', '=', ':'])
}

/// Fills in every placeholder. `$${` is a literal `${`; comment lines may name unknown placeholders.
pub(super) fn fill(path: &str, text: &str, values: &Values) -> Result<String, StartError> {
    let mut filled = String::with_capacity(text.len());
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let refuse = |problem| StartError::Placeholder { path: path.to_owned(), line: index + 1, problem };
        let comment = line.trim_start().starts_with('#');
        let mut rest = line;
        while let Some(at) = rest.find("${") {
            let (before, placeholder) = rest.split_at(at);
            if let Some(before) = before.strip_suffix('$') {
                filled.push_str(before);
                filled.push_str("${");
                rest = placeholder.get(2..).unwrap_or_default();
                continue;
            }
            filled.push_str(before);
            let end = placeholder.find('}').filter(|end| placeholder.get(2..*end).is_some_and(is_name));
            let value = end.and_then(|end| values.get(placeholder.get(2..end)?)).map(String::as_str);
            match (value, end) {
                (Some(value), _) => filled.push_str(value),
                _ if comment => filled.push_str(placeholder.get(..end.map_or(2, |end| end + 1)).unwrap_or_default()),
                (None, Some(end)) => {
                    let name = placeholder.get(2..end).unwrap_or_default();
                    let known: Vec<&str> = values.keys().map(String::as_str).collect();
                    return Err(refuse(format!(
                        "${{{name}}} has no value; write --set {name}=VALUE, or one of {}",
                        known.join(", ")
                    )));
                }
                (None, None) => {
                    return Err(refuse("`${` begins no placeholder such as ${NAME}; write `$${` for the text".into()));
                }
            }
            rest = placeholder.get(end.map_or(2, |end| end + 1)..).unwrap_or_default();
        }
        filled.push_str(rest);
    }
    Ok(filled)
}

/// The documents of a YAML text, each with the comments above it. A line that begins with `---` ends a document everywhere, even
/// inside of a text block, so no parser is needed to find them.
pub(super) fn documents(text: &str) -> Vec<String> {
    let mut documents = vec![String::new()];
    for line in text.split_inclusive('\n') {
        let rest = line.strip_prefix("---").filter(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace));
        match (rest, documents.last_mut()) {
            (Some(rest), _) => documents.push(if rest.trim().is_empty() { String::new() } else { rest.to_owned() }),
            (None, Some(last)) => last.push_str(line),
            (None, None) => {}
        }
    }
    documents
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn filled(text: &str) -> Result<String, String> {
        let values = Values::from([("NAME".into(), "shop-x7k2p".into()), ("TAG".into(), "v2".into())]);
        fill("t.yaml", text, &values).map_err(|error| error.to_string())
    }

    #[test]
    fn placeholders_are_filled_in_and_nothing_else_changes() {
        let text = "a: ${NAME}  # of ${NAME}\r\nb: {c: ${TAG}}\ncmd: echo $HOME $(X) $${HOME} $\n";
        let expected = "a: shop-x7k2p  # of shop-x7k2p\r\nb: {c: v2}\ncmd: echo $HOME $(X) ${HOME} $\n";
        assert_eq!(filled(text).unwrap(), expected);
        assert_eq!(filled("# ${WHO} and ${x and ${NAME}\n").unwrap(), "# ${WHO} and ${x and shop-x7k2p\n");
    }

    #[test]
    fn what_nobody_fills_in_is_an_error_with_its_line() {
        let error = filled("a: 1\nb: ${WHO}\n").unwrap_err();
        assert_eq!(error, "t.yaml, line 2: ${WHO} has no value; write --set WHO=VALUE, or one of NAME, TAG");
        for text in ["${", "${}", "${name}", "${NAME", "${A B}", "${${NAME}}"] {
            assert!(filled(text).is_err(), "{text}");
        }
    }

    #[test]
    fn values_cannot_leave_their_place() {
        for good in ["v1.2.0", "ghcr.io/o/app:v2@sha256:0aF", "a+b", "7"] {
            assert!(is_value(good), "{good}");
        }
        for bad in
            ["", "a b", "a\nb", "a: b", "a:", "a#b", "{a", "a,b", "a\"b", "'a", "- a", "&a", "*a", "!a", "a$b", "é"]
        {
            assert!(!is_value(bad), "{bad}");
        }
    }

    #[test]
    fn a_text_is_its_documents() {
        assert_eq!(documents("# a\nx: |\n  ----\n--- # b\ny: 1\n---\n"), ["# a\nx: |\n  ----\n", " # b\ny: 1\n", ""]);
    }
}
