//! Series selectors with placeholders: checked, filled in for one version, escaped for PromQL.
//!
//! Pure. A selector is a metric name, label matchers in braces, or both, and nothing else: whoever writes a Metric can
//! then not ask for more than counters, and a version's value cannot leave the string it stands in. A placeholder is
//! `$name` inside a matcher's string; one that no version has is an error, never a literal text that matches nothing.

use super::binding::{Binding, Destination, VersionBinding};

/// Most characters of a selector that an error repeats.
const MOST_TEXT: usize = 60;

/// Why a selector cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// Something that is not part of a plain selector: a function, an aggregation, a range, an offset, a comment.
    #[error(
        "failed to read the selector `{selector}` from `{rest}` on: write the raw counter, such as \
         `http_requests_total{{workload=\"$workload\"}}`, without a function, a range or an offset"
    )]
    NotPlain {
        /// The selector.
        selector: String,
        /// Where it stops being one.
        rest: String,
    },
    /// A placeholder of a query outside a string, or a string without an end.
    #[error(
        "failed to read the query `{query}` from `{rest}` on: outside of a string only `$elapsedTime` is filled in; \
         write for example `workload=\"$workload\"`"
    )]
    Placeholder {
        /// The query.
        query: String,
        /// From where on it cannot be read.
        rest: String,
    },
    /// An opaque metric of which no request can be made.
    #[error(transparent)]
    Opaque(#[from] super::opaque::OpaqueError),
    /// A placeholder that no version has.
    #[error("failed to fill in `${name}`: there are {known}")]
    Unknown {
        /// The placeholder's name.
        name: String,
        /// Those that exist.
        known: String,
    },
}

/// The values of one version's placeholders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Values(Vec<(String, String)>);

/// The placeholders' values of the baseline and of one candidate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versions {
    /// The baseline's.
    pub baseline: Values,
    /// The candidate's.
    pub candidate: Values,
}

impl Versions {
    /// The values that follow from an experiment's addresses, for each candidate.
    pub fn of(binding: &Binding) -> Vec<Self> {
        let baseline = Values::of(binding, &binding.baseline, &binding.routes.baseline);
        let candidates = binding.candidates.iter().zip(&binding.routes.candidates);
        let pair = |(version, destination)| Self {
            baseline: baseline.clone(),
            candidate: Values::of(binding, version, destination),
        };
        candidates.map(pair).collect()
    }
}

impl Values {
    fn of(binding: &Binding, version: &VersionBinding, destination: &Destination) -> Self {
        let host = destination.host.clone().unwrap_or_default();
        let built_in = [
            ("name", version.name.clone()),
            ("workload", version.workload.clone()),
            ("workloadNamespace", binding.namespace.clone()),
            ("hosts", hosts(&host, &binding.namespace)),
            ("host", host),
            ("subset", destination.subset.clone().unwrap_or_default()),
        ];
        // The first one of a name counts: a version's own variables shadow nothing.
        let own = version.variables.iter().cloned();
        Self(built_in.into_iter().map(|(name, value)| (name.to_owned(), value)).chain(own).collect())
    }

    /// What a placeholder stands for.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Checks a selector and fills it in.
    pub(super) fn fill(&self, selector: &str) -> Result<Selector, SelectorError> {
        let mut text = Reader { rest: selector.trim() };
        let refuse = |rest: &str| SelectorError::NotPlain { selector: excerpt(selector), rest: excerpt(rest) };
        let mut filled = Selector { name: text.word(true).to_owned(), matchers: None };
        if text.eat("{").is_some() {
            let mut matchers = vec![];
            while text.eat("}").is_none() {
                let (label, from) = (text.word(false), text.rest);
                let operator = ["=~", "!~", "!=", "="].into_iter().find_map(|o| text.eat(o));
                let (Some(operator), false) = (operator, label.is_empty()) else { return Err(refuse(from)) };
                let (quote, content) = text.string().ok_or_else(|| refuse(text.rest))?;
                let mut value = String::new();
                self.substitute(quote, content, &mut value)?;
                matchers.push(Matcher { label: label.to_owned(), operator, value });
                if text.eat(",").is_none() && !text.rest.starts_with('}') {
                    return Err(refuse(text.rest));
                }
            }
            filled.matchers = Some(matchers);
        }
        if !text.rest.is_empty() || filled.name.is_empty() && filled.matchers.is_none() {
            return Err(refuse(text.rest));
        }
        Ok(filled)
    }

    /// Fills in a query: placeholders inside its strings, and `$elapsedTime` (seconds) anywhere else.
    pub(super) fn fill_query(&self, query: &str, elapsed: i64) -> Result<String, SelectorError> {
        let refuse = |rest: &str| SelectorError::Placeholder { query: excerpt(query), rest: excerpt(rest) };
        let mut out = String::new();
        let mut rest = query;
        while let Some(c) = rest.chars().next() {
            match c {
                '"' | '\'' | '`' => {
                    let mut text = Reader { rest };
                    let (quote, content) = text.string().ok_or_else(|| refuse(rest))?;
                    out.push('"');
                    self.substitute(quote, content, &mut out)?;
                    out.push('"');
                    // White space after the string separates words.
                    let taken = rest.len() - text.rest.len();
                    out.push_str(rest.get(..taken).map_or("", |t| t.get(t.trim_end().len()..).unwrap_or("")));
                    rest = text.rest;
                }
                '$' => {
                    rest = rest.strip_prefix("$elapsedTime").ok_or_else(|| refuse(rest))?;
                    out.push_str(&elapsed.to_string());
                }
                other => {
                    out.push(other);
                    rest = rest.get(other.len_utf8()..).unwrap_or("");
                }
            }
        }
        Ok(out)
    }

    /// Fills in any text by Iter8's rules: `$name` and `${name}`, each value encoded; `$$` is `$`, and what is no
    /// placeholder stays as it is.
    pub(super) fn fill_text(&self, text: &str, elapsed: i64, encode: impl Fn(&str) -> String) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            out.push_str(before);
            let (braced, inner) = after.strip_prefix('{').map_or((false, after), |inner| (true, inner));
            let name = Reader { rest: inner }.word(false);
            let behind = inner.get(name.len()..).unwrap_or_default();
            let behind = if braced { behind.strip_prefix('}') } else { Some(behind) };
            let value = match name {
                "elapsedTime" => Some(elapsed.to_string()),
                _ => self.0.iter().find(|(n, _)| n == name && n != "hosts").map(|(_, value)| encode(value)),
            };
            let (put, behind) = match (after.strip_prefix('$'), value, behind) {
                (Some(behind), _, _) => ("$".to_owned(), behind),
                (None, Some(value), Some(behind)) => (value, behind),
                _ => ("$".to_owned(), after),
            };
            out.push_str(&put);
            rest = behind;
        }
        out.push_str(rest);
        out
    }

    /// Copies a string's content for double quotes, with the placeholders' values.
    fn substitute(&self, quote: char, content: &str, out: &mut String) -> Result<(), SelectorError> {
        let mut text = content.chars();
        while let Some(c) = text.next() {
            match c {
                '$' => {
                    let rest = text.as_str();
                    let name = Reader { rest }.word(false);
                    if name.is_empty() {
                        // The end of a regular expression.
                        out.push('$');
                        continue;
                    }
                    let value = self.0.iter().find(|(n, _)| n == name).map(|(_, value)| value);
                    out.push_str(&escape(value.ok_or_else(|| self.unknown(name))?));
                    text = rest.get(name.len()..).unwrap_or_default().chars();
                }
                '\\' if quote != '`' => match text.next() {
                    Some('\'') => out.push('\''),
                    // Not an escape of PromQL; and a backslash must not reach into a value.
                    Some('$') | None => {
                        return Err(SelectorError::NotPlain { selector: excerpt(content), rest: "\\$".into() });
                    }
                    Some(escaped) => out.extend(['\\', escaped]),
                },
                other => out.push_str(&escape(other.encode_utf8(&mut [0; 4]))),
            }
        }
        Ok(())
    }

    fn unknown(&self, name: &str) -> SelectorError {
        let known: Vec<String> = self.0.iter().filter(|(n, _)| n != "hosts").map(|(n, _)| format!("`${n}`")).collect();
        SelectorError::Unknown { name: excerpt(name), known: known.join(", ") }
    }
}

/// A plain selector whose placeholders are filled in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Selector {
    /// The metric's name; empty if a matcher names it.
    pub(super) name: String,
    /// The matchers between the braces, if there are braces.
    pub(super) matchers: Option<Vec<Matcher>>,
}

/// One matcher of a selector.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Matcher {
    /// The label.
    pub(super) label: String,
    /// `=`, `!=`, `=~` or `!~`.
    pub(super) operator: &'static str,
    /// What stands between double quotes, escaped for them.
    pub(super) value: String,
}

impl Selector {
    /// The same selector with one more matcher.
    pub(super) fn with(&self, matcher: Matcher) -> Self {
        let mut more = self.clone();
        more.matchers.get_or_insert_default().push(matcher);
        more
    }
}

impl std::fmt::Display for Selector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)?;
        let Some(matchers) = &self.matchers else { return Ok(()) };
        f.write_str("{")?;
        for Matcher { label, operator, value } in matchers {
            write!(f, "{label}{operator}\"{value}\",")?;
        }
        f.write_str("}")
    }
}

/// Text that is still to be read; white space between the words is skipped.
struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    /// A name; colons are allowed in a metric's.
    fn word(&mut self, colons: bool) -> &'a str {
        let allowed = |(i, c): (usize, char)| {
            c.is_ascii_alphabetic() || c == '_' || colons && c == ':' || i > 0 && c.is_ascii_digit()
        };
        let end = self.rest.char_indices().find(|&c| !allowed(c)).map_or(self.rest.len(), |(i, _)| i);
        self.take(end)
    }

    fn eat(&mut self, token: &'static str) -> Option<&'static str> {
        self.rest.starts_with(token).then(|| {
            self.take(token.len());
            token
        })
    }

    /// A quoted string: its quote and what is between.
    fn string(&mut self) -> Option<(char, &'a str)> {
        let quote = self.rest.chars().next().filter(|c| matches!(c, '"' | '\'' | '`'))?;
        let content = self.rest.get(1..)?;
        let mut escaped = false;
        let end = content.char_indices().find_map(|(i, c)| {
            let ends = c == quote && !escaped;
            escaped = c == '\\' && !escaped && quote != '`';
            ends.then_some(i)
        })?;
        self.take(end + 2);
        Some((quote, content.get(..end)?))
    }

    fn take(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at_checked(bytes).unwrap_or((self.rest, ""));
        self.rest = rest.trim_start();
        taken
    }
}

/// A value inside a double-quoted PromQL string.
fn escape(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', r#"\""#).replace('\n', r"\n")
}

fn excerpt(text: &str) -> String {
    text.chars().take(MOST_TEXT).collect()
}

/// A regular expression of the names under which a service's host is reported; without a host, any.
fn hosts(host: &str, namespace: &str) -> String {
    if host.is_empty() {
        return ".*".into();
    }
    let plain = |h: &str| h.replace('.', "[.]");
    let short = host.split('.').next().unwrap_or(host);
    format!("{}|{}[.]{}[.]svc[.].*", plain(host), plain(short), plain(namespace))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn values(pairs: &[(&str, &str)]) -> Values {
        Values(pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn values_cannot_leave_their_string() {
        let hostile = values(&[("workload", "a\"} or x{b='`\\\n")]);
        let filled = r#"m{w="a\"} or x{b='`\\\n",}"#;
        for selector in [r#"m{w="$workload"}"#, "m{w='$workload'}", "m{w=`$workload`}"] {
            assert_eq!(hostile.fill(selector).unwrap().to_string(), filled, "{selector}");
        }
    }

    #[test]
    fn a_query_is_filled_in_inside_its_strings_alone() {
        let values = values(&[("workload", "w\"x")]);
        let filled = values.fill_query("sum(m{w='$workload'} ) / $elapsedTime > bool 0", 60).unwrap();
        assert_eq!(filled, r#"sum(m{w="w\"x"} ) / 60 > bool 0"#);
        assert_eq!(values.fill_query(r#"m{a="b"} or m"#, 1).unwrap(), r#"m{a="b"} or m"#);
        for hostile in ["m{w=$workload}", "m{w=\"$workload}", "m $other"] {
            assert!(values.fill_query(hostile, 1).is_err(), "{hostile}");
        }
    }

    #[test]
    fn a_placeholder_is_the_whole_name() {
        let values = values(&[("workload", "w"), ("workloadNamespace", "ns")]);
        let filled = values.fill(r#"{a="$workloadNamespace/$workload-x",b=~"end$|$"}"#).unwrap().to_string();
        assert_eq!(filled, r#"{a="ns/w-x",b=~"end$|$",}"#);
        let error = values.fill(r#"m{a="$work"}"#).unwrap_err().to_string();
        assert!(error.contains("`$work`") && error.contains("`$workloadNamespace`"), "{error}");
    }

    #[test]
    fn a_backslash_reaches_into_no_value() {
        let hostile = values(&[("v", "\"} or x{a=\"")]);
        assert!(hostile.fill(r#"m{a="\$v"}"#).is_err());
        assert_eq!(hostile.fill(r#"m{a='\"} or x{a="'}"#).unwrap().to_string(), r#"m{a="\"} or x{a=\"",}"#);
        assert_eq!(hostile.fill(r#"m{a="\\$v"}"#).unwrap().to_string(), r#"m{a="\\\"} or x{a=\"",}"#);
    }

    #[test]
    fn strings_keep_their_meaning_in_other_quotes() {
        let table = [
            (r#"m{a='it\'s "x"\\'}"#, r#"m{a="it's \"x\"\\",}"#),
            (r#"m{a=`\d"`}"#, r#"m{a="\\d\"",}"#),
            (r#" m { a != "}" , } "#, r#"m{a!="}",}"#),
            ("job:rate:sum", "job:rate:sum"),
        ];
        for (written, filled) in table {
            assert_eq!(values(&[]).fill(written).unwrap().to_string(), filled, "{written}");
        }
    }

    #[test]
    fn what_is_not_a_plain_selector_is_refused_where_it_begins() {
        let table = [
            ("rate(m[1m])", "(m[1m])"),
            (r#"m{a="b"}[5m]"#, "[5m]"),
            (r#"m{a="b"} offset 5m"#, "offset 5m"),
            ("m @ 12", "@ 12"),
            ("m # all", "# all"),
            ("m{$workload=\"x\"}", "$workload=\"x\"}"),
            ("m{a=$workload}", "$workload}"),
            (r#"m{a="b"#, "\"b"),
            (r#"m{a="b" c="d"}"#, "c=\"d\"}"),
            ("m{a}", "}"),
            ("m{", ""),
            ("{}x", "x"),
            ("", ""),
            ("1m", "1m"),
            ("sum by (a) (m)", "by (a) (m)"),
        ];
        for (selector, at) in table {
            match values(&[("workload", "w")]).fill(selector) {
                Err(SelectorError::NotPlain { rest, .. }) => assert_eq!(rest, at, "{selector}"),
                other => assert_eq!(format!("{other:?}"), "", "{selector}"),
            }
        }
    }

    #[test]
    fn a_host_is_known_by_its_long_and_its_written_name() {
        assert_eq!(hosts("app", "ns"), "app|app[.]ns[.]svc[.].*");
        assert_eq!(hosts("app.mesh.local", "ns"), "app[.]mesh[.]local|app[.]ns[.]svc[.].*");
    }
}
