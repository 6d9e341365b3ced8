//! Placeholders in series selectors: filled in for one version, escaped for PromQL.
//!
//! Pure. A placeholder is `$name`; an unknown one is left alone, so that a mistake shows up in the query's error.

use super::binding::{Binding, Destination};

/// The values of one version's placeholders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Values(Vec<(&'static str, String)>);

impl Values {
    /// The values of the baseline or the candidate.
    pub(super) fn of(binding: &Binding, workload: &str, destination: &Destination) -> Self {
        let host = destination.host.clone().unwrap_or_default();
        Self(vec![
            ("workloadNamespace", binding.namespace.clone()),
            ("workload", workload.to_owned()),
            ("hosts", hosts(&host, &binding.namespace)),
            ("host", host),
            ("subset", destination.subset.clone().unwrap_or_default()),
        ])
    }

    /// Fills a selector in. Every placeholder stands inside a double-quoted PromQL string.
    pub(super) fn fill(&self, selector: &str) -> String {
        // The longest names first, so that `$workloadNamespace` is not taken for `$workload`.
        self.0.iter().fold(selector.to_owned(), |text, (name, value)| text.replace(&format!("${name}"), &escape(value)))
    }
}

/// A value inside a double-quoted PromQL string.
fn escape(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', r#"\""#).replace('\n', r"\n")
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
    use super::*;

    #[test]
    fn values_cannot_leave_their_string() {
        let values = Values(vec![("workload", r#"a"} or x{b="\"#.into())]);
        assert_eq!(values.fill(r#"m{w="$workload"}"#), r#"m{w="a\"} or x{b=\"\\"}"#);
    }

    #[test]
    fn long_names_win_over_their_beginnings() {
        let values = Values(vec![("workloadNamespace", "ns".into()), ("workload", "w".into())]);
        assert_eq!(values.fill("$workloadNamespace/$workload/$other"), "ns/w/$other");
    }

    #[test]
    fn a_host_is_known_by_its_long_and_its_written_name() {
        assert_eq!(hosts("app", "ns"), "app|app[.]ns[.]svc[.].*");
        assert_eq!(hosts("app.mesh.local", "ns"), "app[.]mesh[.]local|app[.]ns[.]svc[.].*");
    }
}
