//! The `Metric`: how a number, or better the requests behind it, is read from Prometheus.
//!
//! Owns the fields and the grammar of a series selector. Must not query anything; the resolver and the metrics adapter read it.

use std::borrow::Cow;

use kube::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::{Quantity, Unit};

/// A series selector: a name, label matchers in braces, or both; no function, aggregation or range.
const SELECTOR: &str =
    r#"^\s*([a-zA-Z_:][a-zA-Z0-9_:]*\s*(\{([^"{}]|"([^"\\]|\\.)*")*\})?|\{([^"{}]|"([^"\\]|\\.)*")+\})\s*$"#;

/// How a metric is read: typed (`share`, `histogram`, `mean`, `gauge`), or opaque by Iter8's `urlTemplate`.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "iter8.tools",
    version = "v2alpha2",
    kind = "Metric",
    plural = "metrics",
    namespaced,
    doc = "How a metric is read from Prometheus, for the objectives of an Experiment.",
    printcolumn(name = "type", type_ = "string", json_path = ".spec.type"),
    printcolumn(name = "description", type_ = "string", json_path = ".spec.description")
)]
#[x_kube(
    validation = Rule::new("[has(self.share), has(self.histogram), has(self.mean), has(self.gauge), has(self.urlTemplate) || has(self.mock) || (has(self.provider) && self.provider == 'iter8')].exists_one(given, given)")
        .message("not one way to read the metric: write exactly one of `share`, `histogram`, `mean`, `gauge`, or Iter8's `urlTemplate`"),
    validation = Rule::new("!(has(self.histogram) || has(self.share)) || !has(self.units)")
        .message("remove `spec.units`: a `share` or `histogram` metric is a share of requests, its limits are like `1%`")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MetricSpec {
    /// What the metric means, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub description: Option<String>,
    /// Unit of a `mean` or `gauge`: `s`, `ms`, or any other text for a number without conversion. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub units: Option<String>,
    /// Name of a metrics provider in the controller's configuration. Default: the Prometheus that the controller was started with.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub provider: Option<String>,
    /// Share of bad requests: two counters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<Share>,
    /// Share of observations above a bound: the buckets of a histogram.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub histogram: Option<Histogram>,
    /// Mean of observations: sum and count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean: Option<Mean>,
    /// One number at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gauge: Option<Gauge>,
    /// Iter8: Counter or Gauge. Default: Gauge.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "MetricType")]
    pub type_: Option<MetricType>,
    /// Iter8: the metric that counts the observations behind this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 317))]
    pub sample_size: Option<String>,
    /// Iter8: method of the request. Default: GET.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Method")]
    pub method: Option<Method>,
    /// Iter8: address of the request, with placeholders. Makes the metric opaque: it is compared, not tested.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub url_template: Option<String>,
    /// Iter8: query parameters of the request, with placeholders.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub params: Vec<NamedValue>,
    /// Iter8: body of the request, with placeholders.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 65_536))]
    pub body: Option<String>,
    /// Iter8: headers of the request, with placeholders from the secret.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub header_templates: Vec<NamedValue>,
    /// Iter8: how the request authenticates. Default: not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "AuthType")]
    pub auth_type: Option<AuthType>,
    /// Iter8: the Secret with the credentials, `name` or `namespace/name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 317))]
    pub secret: Option<String>,
    /// Iter8: jq program that finds the number in the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub jq_expression: Option<String>,
    /// Iter8: made-up values instead of a request.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub mock: Option<Vec<MockLevel>>,
}

impl MetricSpec {
    /// How the metric is read; none if nothing says so, which the API server refuses.
    pub fn kind(&self) -> Option<MetricKind<'_>> {
        let typed = self.share.as_ref().map(MetricKind::Share);
        typed
            .or_else(|| self.histogram.as_ref().map(MetricKind::Histogram))
            .or_else(|| self.mean.as_ref().map(MetricKind::Mean))
            .or_else(|| self.gauge.as_ref().map(MetricKind::Gauge))
            .or_else(|| (self.url_template.is_some() || self.mock.is_some()).then_some(MetricKind::Opaque))
    }

    /// The unit of the metric's values, and with it of bare numbers in its limits.
    pub fn unit(&self) -> Unit {
        match self.kind() {
            Some(MetricKind::Share(_) | MetricKind::Histogram(_)) => Unit::Share,
            Some(MetricKind::Mean(_) | MetricKind::Gauge(_) | MetricKind::Opaque) | None => match self.units.as_deref()
            {
                Some("s" | "seconds") => Unit::Seconds,
                Some("ms" | "milliseconds") => Unit::Milliseconds,
                Some(_) | None => Unit::Plain,
            },
        }
    }
}

/// How a metric is read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MetricKind<'a> {
    /// Two counters: bad and all requests.
    Share(&'a Share),
    /// The buckets of a histogram, and a bound.
    Histogram(&'a Histogram),
    /// Sum and count.
    Mean(&'a Mean),
    /// One number at a time.
    Gauge(&'a Gauge),
    /// Iter8's request and jq program: only the number is known, not what is behind it.
    Opaque,
}

/// A selector of counter series. Placeholders: `$name`, `$workload`, `$workloadNamespace`, `$host`, `$subset` and the variables of a
/// version.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(transparent)]
pub struct Selector(pub String);

impl JsonSchema for Selector {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Selector".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "minLength": 1,
            "maxLength": 4096,
            "x-kubernetes-validations": [{
                "rule": format!("self.matches(r'{SELECTOR}')"),
                "message": "not a series selector: write the raw counter such as `http_requests_total{workload=\"$workload\"}`, without rate, sum or a range; the judge needs the counts themselves",
            }],
        })
    }
}

/// Share of bad requests.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Share {
    /// Series of the counter of bad requests; none of them means 0. Required.
    pub bad: Selector,
    /// Series of the counter of all requests. Required.
    pub total: Selector,
}

/// Share of observations above a bound.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Histogram {
    /// Series of the cumulative buckets, with their `le` label. Required.
    pub buckets: Selector,
    /// Observations above this bound are bad; best an edge of a bucket, in the unit of `le`. Required.
    pub bound: Quantity,
}

/// Mean of observations.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Mean {
    /// Series of the sum of observations. Required.
    pub sum: Selector,
    /// Series of their count. Required.
    pub count: Selector,
}

/// One number at a time.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Gauge {
    /// A query that returns one number; besides the placeholders of a selector, `$elapsedTime` is the seconds since the start. Required.
    #[schemars(length(min = 1, max = 4096))]
    pub query: String,
}

/// Iter8's types.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricType {
    /// A number that only rises.
    Counter,
    /// A number that rises and falls.
    Gauge,
}

/// Method of Iter8's request.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Without a body.
    #[serde(rename = "GET")]
    Get,
    /// With a body.
    #[serde(rename = "POST")]
    Post,
}

/// How Iter8's request authenticates.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthType {
    /// User name and password.
    Basic,
    /// A bearer token.
    Bearer,
    /// Headers from the secret.
    #[serde(rename = "APIKey")]
    ApiKey,
}

/// A parameter or header.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NamedValue {
    /// Its name. Required.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Its value. Required.
    #[schemars(length(max = 4096))]
    pub value: String,
}

/// A made-up value of a version.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MockLevel {
    /// The version. Required.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Its value. Required.
    pub level: Quantity,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_follows_from_the_field_that_is_given() {
        let gauge =
            MetricSpec { gauge: Some(Gauge { query: "x".into() }), units: Some("ms".into()), ..MetricSpec::default() };
        assert!(matches!(gauge.kind(), Some(MetricKind::Gauge(_))));
        assert_eq!(gauge.unit(), Unit::Milliseconds);
        let opaque = MetricSpec { url_template: Some("http://x".into()), ..MetricSpec::default() };
        assert_eq!((opaque.kind(), opaque.unit()), (Some(MetricKind::Opaque), Unit::Plain));
        assert_eq!(MetricSpec::default().kind(), None);
    }
}
