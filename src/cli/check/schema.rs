//! What the API server enforces: the schemas of the definitions, and the rules in them.
//!
//! Nothing is stated here a second time; the definitions that `reiter8 crds` prints are applied to the objects. Their
//! schemas use few keywords, and a test knows them all: a general validator would bring dozens of crates into the
//! controller for them, and messages without a remedy.

use std::collections::BTreeMap;

use kube_cel::{CompiledSchema, compile_schema, validate_compiled};
use regex::Regex;
use serde_json::{Map, Value, json};

use crate::api;

/// Most characters of a value that a message repeats.
const MOST_TEXT: usize = 60;
/// Most fields that a message lists.
const MOST_NAMES: usize = 24;
/// Most findings about one object: what follows is noise.
const MOST_FOUND: usize = 100;

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
    shape: Value,
    rules: CompiledSchema,
}

impl Schemas {
    /// Reads the schemas of the definitions.
    pub(super) fn new() -> anyhow::Result<Self> {
        let mut schemas = BTreeMap::new();
        for definition in api::definitions() {
            let version = definition.spec.versions.into_iter().find(|v| v.name == api::VERSION);
            let schema = version.and_then(|v| v.schema).and_then(|s| s.open_api_v3_schema);
            let mut shape = serde_json::to_value(schema)?;
            if let Some(properties) = shape.get_mut("properties").and_then(Value::as_object_mut) {
                // The API server drops it from what people apply, and knows the others itself.
                properties.remove("status");
                for (name, kind) in [("apiVersion", "string"), ("kind", "string"), ("metadata", "object")] {
                    properties.entry(name).or_insert_with(|| json!({"type": kind}));
                }
            }
            let rules = compile_schema(&shape);
            schemas.insert(definition.spec.names.kind, Schema { shape, rules });
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
            fields.remove("status");
        }
        let mut shape = Shape::default();
        shape.visit(&schema.shape, &object, "");
        // As in the API server: rules are for objects of the right shape.
        if let (false, Err(errors)) = (shape.broken, validate_compiled(&schema.rules, &object, None)) {
            let rules = errors.into_vec().into_iter();
            shape.found.extend(rules.map(|e| {
                let problem = with_value(at(&object, &e.field_path), &e.message);
                Refused { field: e.field_path, problem }
            }));
        }
        shape.found.truncate(MOST_FOUND);
        shape.found
    }
}

/// A walk over an object and its schema.
#[derive(Default)]
struct Shape {
    found: Vec<Refused>,
    /// Whether something is worse than a field too many.
    broken: bool,
}

impl Shape {
    fn refuse(&mut self, field: &str, problem: String) {
        self.broken = true;
        self.found.push(Refused { field: field.to_owned(), problem });
    }

    fn visit(&mut self, schema: &Value, value: &Value, field: &str) {
        if let Some(kind) = schema.get("type").and_then(Value::as_str).filter(|kind| !is_a(kind, value)) {
            let instead = remedy(schema).unwrap_or_else(|| type_name(kind));
            return self.refuse(field, format!("`{}` has the wrong type; write {instead}", shown(value)));
        }
        if let Some(problem) = own(schema, value, field) {
            self.refuse(field, problem);
        }
        match value {
            Value::Object(fields) => self.fields(schema, fields, field),
            Value::Array(items) => {
                if let Some(schema) = schema.get("items") {
                    items.iter().enumerate().for_each(|(i, item)| self.visit(schema, item, &format!("{field}[{i}]")));
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn fields(&mut self, schema: &Value, fields: &Map<String, Value>, field: &str) {
        let below = |name: &str| if field.is_empty() { name.to_owned() } else { format!("{field}.{name}") };
        let nothing = Map::new();
        let known = schema.get("properties").and_then(Value::as_object);
        let free = known.is_none() || schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true));
        let others = schema.get("additionalProperties").filter(|s| s.is_object());
        let known = known.unwrap_or(&nothing);
        for (name, value) in fields {
            match known.get(name).or(others) {
                Some(schema) => self.visit(schema, value, &below(name)),
                None if free => {}
                None => self.found.push(Refused { field: below(name), problem: unknown(name, known) }),
            }
        }
        for name in texts(schema.get("required")).filter(|name| !fields.contains_key(*name)) {
            let about = known.get(name).and_then(|s| s.get("description")?.as_str());
            let about = about.map_or_else(String::new, |text| format!(": {}", first_sentence(text)));
            self.refuse(&below(name), format!("missing; write `{name}`{about}"));
        }
    }
}

/// What a schema says of a value itself, without what is in it.
fn own(schema: &Value, value: &Value, field: &str) -> Option<String> {
    let number = |key: &str| schema.get(key).and_then(Value::as_f64);
    let size = |key: &str| schema.get(key).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
    let text = shown(value);
    if let Some(allowed) = schema.get("enum").and_then(Value::as_array).filter(|all| !all.contains(value)) {
        let all: Vec<String> = allowed.iter().map(|one| format!("`{}`", shown(one))).collect();
        return Some(format!("`{text}` is not allowed; write one of: {}", all.join(", ")));
    }
    match value {
        Value::Number(n) => {
            let n = n.as_f64()?;
            if let Some(most) = number("maximum").filter(|most| n > *most) {
                return Some(format!("`{text}` is too large; write at most {most}"));
            }
            let least = number("minimum").filter(|least| n < *least);
            least.map(|least| format!("`{text}` is too small; write at least {least}"))
        }
        Value::String(s) => {
            let length = s.chars().count();
            if let Some(most) = size("maxLength").filter(|most| length > *most) {
                return Some(format!("`{text}` is too long; write at most {most} characters"));
            }
            if let Some(least) = size("minLength").filter(|least| length < *least) {
                return Some(format!("`{text}` is too short; write at least {least} characters"));
            }
            let pattern = schema.get("pattern").and_then(Value::as_str).and_then(|p| Regex::new(p).ok());
            pattern.filter(|p| !p.is_match(s)).map(|_| format!("`{text}` is not allowed; write {}", instead(field)))
        }
        Value::Array(items) => {
            // Sizes that contradict each other say that there is to be no list at all.
            if let Some(most) = size("maxItems").filter(|most| items.len() > *most) {
                let none = format!("`{text}` is not allowed; write {}", instead(field));
                return Some(if most == 0 { none } else { format!("too many items; write at most {most}") });
            }
            let least = size("minItems").filter(|least| items.len() < *least);
            least.map(|least| match size("maxItems") {
                Some(0) => format!("`{text}` is not allowed; write {}", instead(field)),
                Some(_) | None => format!("too few items; write at least {least}"),
            })
        }
        Value::Object(fields) => {
            let sizes = size("minProperties").is_some_and(|least| fields.len() < least)
                || size("maxProperties").is_some_and(|most| fields.len() > most);
            if sizes {
                return Some(format!("`{text}` is not allowed; write {}", instead(field)));
            }
            let (choices, alone) = match (schema.get("anyOf"), schema.get("oneOf")) {
                (Some(any), _) => (any, false),
                (None, one) => (one?, true),
            };
            let needed: Vec<Vec<&str>> =
                choices.as_array()?.iter().map(|c| texts(c.get("required")).collect()).collect();
            let fitting = needed.iter().filter(|names| names.iter().all(|name| fields.contains_key(*name))).count();
            let all = || needed.concat().join("`, `");
            match fitting {
                0 => Some(format!("incomplete; write one of: `{}`", all())),
                2.. if alone => Some(format!("too much; write only one of: `{}`", all())),
                _ => None,
            }
        }
        Value::Bool(_) => {
            let refused = schema.get("not").and_then(|s| s.get("enum")?.as_array())?;
            refused.contains(value).then(|| format!("`{text}` is not allowed; write {}", instead(field)))
        }
        Value::Null => None,
    }
}

/// What to write in the two fields whose schema has no type: what a promotion copies, and a quantity.
fn instead(field: &str) -> &'static str {
    if field.ends_with(".fields") {
        "`Template`, `Images`, or a list of paths such as `spec.template.spec.containers[name=app].image`"
    } else {
        "a number, with a unit if it has one, such as `1%`, `0.01` or `250ms`"
    }
}

fn texts(list: Option<&Value>) -> impl Iterator<Item = &str> {
    list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

fn is_a(kind: &str, value: &Value) -> bool {
    match kind {
        "integer" => value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|n| n.fract() == 0.0),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => true,
    }
}

fn type_name(kind: &str) -> &str {
    match kind {
        "integer" => "a whole number",
        "number" => "a number",
        "string" => "text, in quotes if it looks like something else",
        "boolean" => "true or false",
        "array" => "a list",
        "object" => "fields with values",
        other => other,
    }
}

/// What a rule of a field says to write there: better than the name of a type.
fn remedy(schema: &Value) -> Option<&str> {
    let message = schema.pointer("/x-kubernetes-validations/0/message")?.as_str()?;
    message.split_once(": write ").map(|(_, remedy)| remedy)
}

/// The value at a path such as `spec.steps[0].hold`.
fn at<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    object.pointer(&format!("/{}", path.replace(['.', '['], "/").replace(']', "")))
}

/// A rule's message with the text or number that broke it; the API server tells it too.
fn with_value(value: Option<&Value>, message: &str) -> String {
    match value.filter(|v| v.is_string() || v.is_number()).map(shown) {
        // An address may hold a password.
        Some(text) if message.starts_with("not ") && !text.contains('@') => format!("`{text}` is {message}"),
        Some(_) | None => message.to_owned(),
    }
}

fn first_sentence(text: &str) -> &str {
    text.split_once(". ").map_or(text, |(first, _)| first).trim_end_matches('.')
}

/// A field that does not exist, with the one that may be meant.
fn unknown(name: &str, known: &Map<String, Value>) -> String {
    let plain = |text: &str| text.to_lowercase().replace(['-', '_'], "");
    let meant = known.keys().find(|k| {
        let (a, b) = (plain(k), plain(name));
        a == b || (a.len() > 3 && b.starts_with(&a)) || (b.len() > 3 && a.starts_with(&b)) || slipped(&a, &b)
    });
    let listed = known.keys().take(MOST_NAMES).cloned().collect::<Vec<_>>().join(", ");
    match meant {
        Some(meant) => format!("there is no field `{}`; write `{meant}`", shortened(name)),
        None => format!("there is no field `{}`; remove it, or write one of: {listed}", shortened(name)),
    }
}

/// Whether two names differ by one slip: a letter too many, too few, another one, or two that changed places.
fn slipped(one: &str, other: &str) -> bool {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    let before = one.iter().zip(&other).take_while(|(a, b)| a == b).count();
    let (rest, others) = (one.get(before..).unwrap_or_default(), other.get(before..).unwrap_or_default());
    let after = rest.iter().rev().zip(others.iter().rev()).take_while(|(a, b)| a == b).count();
    let changed = |rest: &[char]| rest.get(..rest.len().saturating_sub(after)).unwrap_or_default().to_vec();
    match (changed(rest).as_slice(), changed(others).as_slice()) {
        // Of short names too many are one letter apart.
        _ if one.len().max(other.len()) < 5 => false,
        ([], [_]) | ([_], [] | [_]) => true,
        ([a, b], [c, d]) => (a, b) == (d, c),
        _ => false,
    }
}

/// A value as it may have been written.
fn shown(value: &Value) -> String {
    shortened(&value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned))
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(MOST_TEXT) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// Keywords that are applied here, by the rules' engine, or that restrict nothing a client sees.
    const KNOWN: [&str; 25] = [
        "type",
        "enum",
        "maximum",
        "minimum",
        "maxLength",
        "minLength",
        "pattern",
        "maxItems",
        "minItems",
        "maxProperties",
        "minProperties",
        "required",
        "anyOf",
        "oneOf",
        "not",
        "properties",
        "items",
        "additionalProperties",
        "x-kubernetes-preserve-unknown-fields",
        "x-kubernetes-validations",
        "x-kubernetes-list-type",
        "x-kubernetes-list-map-keys",
        "description",
        "title",
        "format",
    ];

    fn keywords(schema: &Value, found: &mut Vec<String>) {
        for (keyword, below) in schema.as_object().into_iter().flatten() {
            found.push(keyword.clone());
            match keyword.as_str() {
                "properties" => below.as_object().unwrap().values().for_each(|s| keywords(s, found)),
                "items" | "additionalProperties" | "not" => keywords(below, found),
                "anyOf" | "oneOf" => below.as_array().unwrap().iter().for_each(|s| keywords(s, found)),
                "pattern" => assert!(Regex::new(below.as_str().unwrap()).is_ok(), "{below}"),
                _ => {}
            }
        }
    }

    #[test]
    fn every_keyword_and_rule_of_the_definitions_is_applied() {
        let schemas = Schemas::new().unwrap();
        assert_eq!(schemas.kinds().collect::<Vec<_>>(), ["Experiment", "Metric", "Repository"]);
        for (kind, schema) in &schemas.0 {
            assert!(!schema.rules.has_errors(), "{kind}: {:?}", schema.rules.compilation_errors());
            let mut found = vec![];
            keywords(&schema.shape, &mut found);
            found.retain(|keyword| !KNOWN.contains(&keyword.as_str()));
            assert!(found.is_empty(), "{kind}: {found:?}");
        }
    }

    #[test]
    fn a_value_without_a_type_is_bound_all_the_same() {
        let quantity = api_schema(
            "Experiment",
            "/properties/spec/properties/criteria/properties/objectives/items/properties/upperLimit",
        );
        for wrong in [json!(true), json!([]), json!([1]), json!({}), json!({"a": 1}), json!("1 %"), json!("")] {
            assert!(own(&quantity, &wrong, "limit").is_some(), "{wrong}");
        }
        for right in [json!(0.01), json!("1%"), json!("250ms"), json!(1)] {
            assert_eq!(own(&quantity, &right, "limit"), None, "{right}");
        }
    }

    #[test]
    fn one_slip_is_a_typo_and_two_are_another_name() {
        for (one, other) in [
            ("uperlimit", "upperlimit"),
            ("deadlin", "deadline"),
            ("wieght", "weight"),
            ("intervals", "interval"),
            ("sosk1", "soak1"),
        ] {
            assert!(slipped(one, other) && slipped(other, one), "{one} {other}");
        }
        for (one, other) in [("upper", "lower"), ("path", "pach"), ("upperlimit", "lowerlimit"), ("", "")] {
            assert!(!slipped(one, other), "{one} {other}");
        }
    }

    #[test]
    fn a_value_is_shown_unless_it_may_hold_a_password() {
        assert_eq!(with_value(Some(&json!("soon")), "not a duration"), "`soon` is not a duration");
        assert_eq!(with_value(Some(&json!("https://u:secret@h/a")), "not the address"), "not the address");
        assert_eq!(with_value(Some(&json!({})), "not this"), "not this");
    }

    fn api_schema(kind: &str, pointer: &str) -> Value {
        Schemas::new().unwrap().0.get(kind).unwrap().shape.pointer(pointer).unwrap().clone()
    }
}
