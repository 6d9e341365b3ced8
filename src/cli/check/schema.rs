//! What the API server enforces: the schemas of the definitions, and the rules in them.
//!
//! Nothing is stated here a second time; the definitions that `reiter8 crds` prints are applied to the objects.

use std::collections::BTreeMap;

use jsonschema::Validator;
use jsonschema::error::{TypeKind, ValidationErrorKind};
use kube_cel::{CompiledSchema, compile_schema, validate_compiled};
use serde_json::{Value, json};

use crate::api;

/// Most characters of a value that a message repeats.
const MOST_TEXT: usize = 60;
/// Most fields that a message lists.
const MOST_NAMES: usize = 24;

/// Something that the API server would refuse.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused {
    /// Path of the field.
    pub(super) field: String,
    /// What is wrong and what to write.
    pub(super) problem: String,
}

/// The schemas of all kinds.
pub(super) struct Schemas(BTreeMap<String, Schema>);

struct Schema {
    /// The definition's schema, strict about unknown fields as `kubectl apply` is.
    strict: Value,
    shape: Validator,
    rules: CompiledSchema,
}

impl Schemas {
    /// Compiles the schemas of the definitions.
    pub(super) fn new() -> anyhow::Result<Self> {
        let mut schemas = BTreeMap::new();
        for definition in api::definitions() {
            let version = definition.spec.versions.into_iter().find(|v| v.name == api::VERSION);
            let schema = version.and_then(|v| v.schema).and_then(|s| s.open_api_v3_schema);
            let mut schema = serde_json::to_value(schema)?;
            if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
                // What every object has, a definition need not say.
                for (name, kind) in [("apiVersion", "string"), ("kind", "string"), ("metadata", "object")] {
                    properties.entry(name).or_insert_with(|| json!({"type": kind}));
                }
            }
            let strict = strict(&schema);
            let shape =
                jsonschema::draft7::new(&strict).map_err(|e| anyhow::anyhow!("failed to read a schema: {e}"))?;
            let rules = compile_schema(&schema);
            schemas.insert(definition.spec.names.kind, Schema { strict, shape, rules });
        }
        Ok(Self(schemas))
    }

    /// The kinds there are.
    pub(super) fn kinds(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Everything that the API server would refuse.
    pub(super) fn check(&self, kind: &str, object: &Value) -> Vec<Refused> {
        let Some(schema) = self.0.get(kind) else { return vec![] };
        let mut object = object.clone();
        if let Some(fields) = object.as_object_mut() {
            // The API server drops it from what people apply.
            fields.remove("status");
        }
        let (mut refused, mut broken) = (vec![], false);
        for error in schema.shape.iter_errors(&object) {
            broken |= !matches!(error.kind(), ValidationErrorKind::AdditionalProperties { .. });
            refused.extend(schema.told(&error));
        }
        // As in the API server: rules are for objects of the right shape.
        if let (false, Err(errors)) = (broken, validate_compiled(&schema.rules, &object, None)) {
            refused.extend(errors.into_vec().into_iter().map(|e| Refused { field: e.field_path, problem: e.message }));
        }
        refused
    }
}

/// The schema that refuses fields it does not know.
fn strict(schema: &Value) -> Value {
    match schema {
        Value::Object(fields) => {
            let mut fields: serde_json::Map<_, _> = fields.iter().map(|(k, v)| (k.clone(), strict(v))).collect();
            let free = fields.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true));
            // A field may itself be called `properties`: only an object's schema says `type` beside it.
            if fields.get("properties").is_some_and(Value::is_object) && fields.contains_key("type") && !free {
                fields.insert("additionalProperties".to_owned(), Value::Bool(false));
            }
            Value::Object(fields)
        }
        Value::Array(items) => Value::Array(items.iter().map(strict).collect()),
        other => other.clone(),
    }
}

impl Schema {
    /// What is wrong, in words with a remedy.
    fn told(&self, error: &jsonschema::ValidationError<'_>) -> Vec<Refused> {
        let field = dotted(error.instance_path().as_str());
        let below = |name: &str| if field.is_empty() { name.to_owned() } else { format!("{field}.{name}") };
        let value = shortened(&error.instance().to_string());
        match error.kind() {
            ValidationErrorKind::AdditionalProperties { unexpected } => {
                let known = self.known(error.schema_path().as_str());
                unexpected.iter().map(|name| Refused { field: below(name), problem: unknown(name, &known) }).collect()
            }
            ValidationErrorKind::Required { property } => {
                let name = property.as_str().unwrap_or_default();
                vec![Refused { field: below(name), problem: self.missing(name, error.schema_path().as_str()) }]
            }
            kind => vec![Refused { field: field.clone(), problem: problem(&field, &value, kind, error) }],
        }
    }

    /// The schema around a keyword.
    fn around(&self, keyword: &str) -> Option<&Value> {
        self.strict.pointer(keyword.rsplit_once('/')?.0)
    }

    /// The fields that an object may have.
    fn known(&self, keyword: &str) -> Vec<&str> {
        let properties = self.around(keyword).and_then(|s| s.get("properties")?.as_object());
        properties.map_or_else(Vec::new, |p| p.keys().map(String::as_str).collect())
    }

    fn missing(&self, name: &str, keyword: &str) -> String {
        let about = self.around(keyword).and_then(|s| s.get("properties")?.get(name)?.get("description")?.as_str());
        let about = about.map_or_else(String::new, |text| format!(": {}", first_sentence(text)));
        format!("missing; write `{name}`{about}")
    }
}

fn first_sentence(text: &str) -> &str {
    text.split_once(". ").map_or(text, |(first, _)| first).trim_end_matches('.')
}

/// A field that does not exist, with the one that may be meant.
fn unknown(name: &str, known: &[&str]) -> String {
    let plain = |text: &str| text.to_lowercase().replace(['-', '_'], "");
    let meant = known.iter().find(|k| {
        let (a, b) = (plain(k), plain(name));
        a == b || (a.len() > 3 && b.starts_with(&a)) || (b.len() > 3 && a.starts_with(&b))
    });
    let listed = known.iter().take(MOST_NAMES).copied().collect::<Vec<_>>().join(", ");
    match meant {
        Some(meant) => format!("there is no field `{}`; write `{meant}`", shortened(name)),
        None => format!("there is no field `{}`; remove it, or write one of: {listed}", shortened(name)),
    }
}

fn problem(field: &str, value: &str, kind: &ValidationErrorKind, error: &jsonschema::ValidationError<'_>) -> String {
    match kind {
        ValidationErrorKind::Type { kind } => format!("`{value}` has the wrong type; write {}", type_names(kind)),
        ValidationErrorKind::Enum { options } => format!("`{value}` is not allowed; write one of {options}"),
        ValidationErrorKind::Maximum { limit } => format!("`{value}` is too large; write at most {}", whole(limit)),
        ValidationErrorKind::Minimum { limit } => format!("`{value}` is too small; write at least {}", whole(limit)),
        ValidationErrorKind::MaxLength { limit } => format!("`{value}` is too long; write at most {limit} characters"),
        ValidationErrorKind::MinLength { limit } => format!("too short; write at least {limit} characters"),
        ValidationErrorKind::MinItems { limit } => format!("too few items; write at least {limit}"),
        ValidationErrorKind::AnyOf { context } => {
            let needed = context.iter().flatten().filter_map(|e| match e.kind() {
                ValidationErrorKind::Required { property } => property.as_str(),
                _ => None,
            });
            format!("incomplete; write one of `{}`", needed.collect::<Vec<_>>().join("`, `"))
        }
        // The two fields with a pattern or contradicting sizes: a quantity, and what a promotion copies.
        ValidationErrorKind::Pattern { .. }
        | ValidationErrorKind::MaxItems { .. }
        | ValidationErrorKind::MaxProperties { .. }
        | ValidationErrorKind::MinProperties { .. }
        | ValidationErrorKind::Not { .. } => {
            let instead = if field.ends_with(".fields") {
                "`Template`, `Images`, or a list of paths such as `spec.template.spec.containers[name=app].image`"
            } else if let ValidationErrorKind::MaxItems { limit } = kind {
                return format!("too many items; write at most {limit}");
            } else {
                "a number, with a unit if it has one, such as `1%`, `0.01` or `250ms`"
            };
            format!("`{value}` is not allowed; write {instead}")
        }
        _ => format!("{}; correct the value", shortened(&error.to_string())),
    }
}

/// A limit as people write it: `100`, not `100.0`.
fn whole(limit: &Value) -> String {
    limit.as_f64().map_or_else(|| limit.to_string(), |limit| limit.to_string())
}

fn type_names(kind: &TypeKind) -> String {
    let TypeKind::Single(kind) = kind else { return "one of the types that `kubectl explain` names".to_owned() };
    let name = kind.to_string();
    let words = match name.as_str() {
        "integer" => "a whole number",
        "number" => "a number",
        "string" => "text, in quotes if it looks like something else",
        "boolean" => "true or false",
        "array" => "a list",
        "object" => "fields with values",
        other => other,
    };
    words.to_owned()
}

/// A JSON pointer as people write paths.
fn dotted(pointer: &str) -> String {
    let mut field = String::new();
    for segment in pointer.split('/').skip(1) {
        let name = segment.replace("~1", "/").replace("~0", "~");
        if !name.is_empty() && name.bytes().all(|b| b.is_ascii_digit()) {
            field.push_str(&format!("[{name}]"));
        } else {
            field.push_str(if field.is_empty() { "" } else { "." });
            field.push_str(&name);
        }
    }
    field
}

fn shortened(text: &str) -> String {
    let text = text.trim_matches('"');
    match text.char_indices().nth(MOST_TEXT) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn every_rule_of_the_definitions_can_be_applied_here() {
        let schemas = Schemas::new().unwrap();
        assert_eq!(schemas.kinds().collect::<Vec<_>>(), ["Experiment", "Metric", "Repository"]);
        for (kind, schema) in &schemas.0 {
            assert!(!schema.rules.has_errors(), "{kind}: {:?}", schema.rules.compilation_errors());
        }
    }

    #[test]
    fn paths_read_as_people_write_them() {
        assert_eq!(dotted("/spec/criteria/objectives/0/metric"), "spec.criteria.objectives[0].metric");
        assert_eq!(dotted(""), "");
    }
}
