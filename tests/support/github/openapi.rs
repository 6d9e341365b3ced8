//! GitHub's published OpenAPI description, cut down to the operations that the client uses.
//!
//! The cut is one entry per line, by JSON pointer, without the texts. `UPDATE_GOLDEN=1 cargo test --test stack excerpt`
//! writes it anew from the package that `hack/parts/install` fetches; without the variable the same test compares the two.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jsonschema::Draft;
use serde_json::{Map, Value, json};

/// The package with the descriptions, as `hack/parts/install` names it.
pub const PACKAGE: &str = "octokit-openapi-23.0.2";
/// github.com, and the oldest Enterprise server that the package describes.
pub const VARIANTS: [&str; 2] = ["api.github.com", "ghes-3.17"];
/// What the client calls.
const OPERATIONS: [(&str, &str); 11] = [
    ("/app/installations/{installation_id}/access_tokens", "post"),
    ("/repos/{owner}/{repo}/installation", "get"),
    ("/repos/{owner}/{repo}", "get"),
    ("/repos/{owner}/{repo}/pulls", "get"),
    ("/repos/{owner}/{repo}/pulls", "post"),
    ("/repos/{owner}/{repo}/pulls/{pull_number}", "get"),
    ("/repos/{owner}/{repo}/pulls/{pull_number}", "patch"),
    ("/repos/{owner}/{repo}/pulls/{pull_number}/merge", "put"),
    ("/repos/{owner}/{repo}/issues/{issue_number}/comments", "post"),
    ("/repos/{owner}/{repo}/issues/{issue_number}/labels", "post"),
    ("/repos/{owner}/{repo}/pulls/{pull_number}/requested_reviewers", "post"),
];
/// Texts for people and for generators.
const TEXTS: [&str; 10] = [
    "description",
    "example",
    "examples",
    "externalDocs",
    "summary",
    "tags",
    "title",
    "x-github",
    "x-octokit",
    "x-github-breaking-changes",
];

/// The file of a cut.
pub fn file(variant: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/github/{variant}.json"))
}

/// Cuts a description down to the operations and what they refer to.
pub fn excerpt(document: &Value) -> BTreeMap<String, Value> {
    let mut cut = BTreeMap::new();
    let mut open: Vec<String> = OPERATIONS
        .iter()
        .map(|(path, method)| format!("/paths/{}/{method}", path.replace('~', "~0").replace('/', "~1")))
        .collect();
    while let Some(pointer) = open.pop() {
        if cut.contains_key(&pointer) {
            continue;
        }
        let found = document.pointer(&pointer).unwrap_or_else(|| panic!("{pointer} is not in the description"));
        let entry = without_texts(found, false);
        references(&entry, &mut open);
        cut.insert(pointer, entry);
    }
    cut
}

/// One entry per line.
pub fn written(cut: &BTreeMap<String, Value>) -> String {
    let lines: Vec<String> = cut.iter().map(|(pointer, entry)| format!("{}: {entry}", json!(pointer))).collect();
    format!("{{\n{}\n}}\n", lines.join(",\n"))
}

fn without_texts(value: &Value, names: bool) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.iter().filter(|(key, _)| names || !TEXTS.contains(&key.as_str()));
            Value::Object(
                kept.map(|(key, value)| (key.clone(), without_texts(value, key == "properties" && !names))).collect(),
            )
        }
        Value::Array(list) => list.iter().map(|value| without_texts(value, false)).collect(),
        _ => value.clone(),
    }
}

fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            found.extend(
                map.get("$ref").and_then(Value::as_str).map(|target| target.trim_start_matches('#').to_owned()),
            );
            map.values().for_each(|value| references(value, found));
        }
        Value::Array(list) => list.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

/// Names and values of parameters.
type Values = Vec<(String, String)>;

/// How much of an answer is filled in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Filling {
    /// What is required, and null where that is allowed.
    Least,
    /// Everything that is described.
    Most,
}

/// A description that requests and answers are held against.
pub struct Api {
    root: Value,
}

impl Api {
    pub fn load(variant: &str) -> Self {
        let cut: BTreeMap<String, Value> = serde_json::from_slice(&std::fs::read(file(variant)).unwrap()).unwrap();
        let mut root = json!({});
        for (pointer, entry) in &cut {
            let mut place = &mut root;
            for key in pointer.split('/').skip(1) {
                let key = key.replace("~1", "/").replace("~0", "~");
                place = place.as_object_mut().unwrap().entry(key).or_insert_with(|| json!({}));
            }
            *place = with_null(entry);
        }
        Self { root }
    }

    /// The operation that a call is, and the names and values of its path's parameters.
    fn operation(&self, method: &str, path: &str) -> Result<(&Value, Values), String> {
        let parts: Vec<&str> = path.split('/').collect();
        for (template, methods) in self.root["paths"].as_object().unwrap() {
            let names: Vec<&str> = template.split('/').collect();
            let variable = |name: &str| name.starts_with('{');
            let fits = names.len() == parts.len()
                && names.iter().zip(&parts).all(|(name, part)| variable(name) && !part.is_empty() || name == part);
            if let (true, Some(operation)) = (fits, methods.get(method.to_lowercase())) {
                let values = names.iter().zip(&parts).filter(|(name, _)| variable(name));
                let values = values.map(|(name, part)| (name.trim_matches(['{', '}']).to_owned(), (*part).to_owned()));
                return Ok((operation, values.collect()));
            }
        }
        Err(format!("{method} {path} is not described"))
    }

    /// The operation's name in the description.
    pub fn name(&self, method: &str, path: &str) -> Option<String> {
        let operation = self.operation(method, path).ok()?.0;
        operation["operationId"].as_str().map(str::to_owned)
    }

    /// Holds a request against the description. Parameters and fields that it does not name are refused too.
    pub fn check_request(
        &self,
        method: &str,
        path: &str,
        query: &[(String, String)],
        body: Option<&Value>,
    ) -> Result<(), String> {
        let (operation, values) = self.operation(method, path)?;
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        let parameters: Vec<&Value> = parameters.iter().map(|parameter| self.resolved(parameter)).collect();
        for (place, given) in [("path", values.as_slice()), ("query", query)] {
            for (name, value) in given {
                let found = parameters.iter().find(|p| p["in"] == place && p["name"] == name.as_str());
                let schema = &found
                    .ok_or_else(|| format!("{method} {path}: {place} parameter {name} is not described"))?["schema"];
                let value = if schema["type"] == "integer" {
                    value.parse::<i64>().map_or_else(|_| json!(value), Value::from)
                } else {
                    json!(value)
                };
                self.check(schema, &value, &format!("{method} {path} {place} {name}"))?;
            }
        }
        for wanted in parameters.iter().filter(|p| p["in"] == "query" && p["required"] == true) {
            if !query.iter().any(|(name, _)| wanted["name"] == name.as_str()) {
                return Err(format!("{method} {path}: {} is missing", wanted["name"]));
            }
        }
        let schema = operation.pointer("/requestBody/content/application~1json/schema");
        match (schema, body) {
            (None, None) => Ok(()),
            (None, Some(_)) => Err(format!("{method} {path} has no body")),
            (Some(_), None) => Err(format!("{method} {path} needs a body")),
            (Some(schema), Some(body)) => self.check(&closed(schema), body, &format!("{method} {path} body")),
        }
    }

    /// The schema of an answer; refusals without one of their own have that of all refusals.
    fn answer(&self, method: &str, path: &str, status: u16) -> Result<Option<&Value>, String> {
        let answers = &self.operation(method, path)?.0["responses"];
        match answers.get(status.to_string()) {
            Some(answer) => Ok(self.resolved(answer).pointer("/content/application~1json/schema")),
            None if status >= 400 => Ok(self.root.pointer("/components/schemas/basic-error")),
            None => Err(format!("{method} {path} does not answer {status}")),
        }
    }

    /// Holds an answer against the description.
    pub fn check_answer(&self, method: &str, path: &str, status: u16, body: &Value) -> Result<(), String> {
        match self.answer(method, path, status)? {
            Some(schema) => self.check(schema, body, &format!("{method} {path} answer {status}")),
            None => Ok(()),
        }
    }

    /// An answer in the described shape that says what `known` says; what is not described is left out.
    pub fn fill(&self, method: &str, path: &str, status: u16, known: &Value, filling: Filling) -> Value {
        match self.answer(method, path, status).unwrap() {
            Some(schema) => self.filled(schema, Some(known), filling, 0),
            None => known.clone(),
        }
    }

    fn filled(&self, schema: &Value, known: Option<&Value>, filling: Filling, depth: usize) -> Value {
        let schema = self.resolved(schema);
        if let Some(first) = ["oneOf", "anyOf", "allOf"].iter().find_map(|key| schema[*key].as_array()?.first()) {
            return self.filled(first, known, filling, depth);
        }
        let types = kinds(schema);
        if known == Some(&Value::Null) || (known.is_none() && filling == Filling::Least && types.contains(&"null")) {
            return Value::Null;
        }
        match (types.first().copied(), known) {
            (Some("object"), _) if schema.get("properties").is_some() => {
                let required = schema["required"].as_array().cloned().unwrap_or_default();
                let mut object = Map::new();
                for (name, property) in schema["properties"].as_object().unwrap() {
                    let known = known.and_then(|known| known.get(name));
                    let wanted = required.iter().any(|r| r == name) || (filling == Filling::Most && depth < 4);
                    if known.is_some() || wanted {
                        object.insert(name.clone(), self.filled(property, known, filling, depth + 1));
                    }
                }
                Value::Object(object)
            }
            (Some("array"), Some(Value::Array(list))) => {
                list.iter().map(|item| self.filled(&schema["items"], Some(item), filling, depth + 1)).collect()
            }
            (_, Some(known)) => known.clone(),
            (Some("array"), None) if filling == Filling::Most && depth < 4 => {
                json!([self.filled(&schema["items"], None, filling, depth + 1)])
            }
            (kind, None) => sample(schema, kind),
        }
    }

    fn resolved<'a>(&'a self, schema: &'a Value) -> &'a Value {
        match schema.get("$ref").and_then(Value::as_str) {
            Some(target) => self.resolved(self.root.pointer(target.trim_start_matches('#')).unwrap()),
            None => schema,
        }
    }

    fn check(&self, schema: &Value, value: &Value, what: &str) -> Result<(), String> {
        let schema = json!({"allOf": [schema], "components": self.root["components"]});
        let validator = jsonschema::options().with_draft(Draft::Draft7).should_validate_formats(true).build(&schema);
        let errors: Vec<String> = validator
            .unwrap()
            .iter_errors(value)
            .take(3)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        if errors.is_empty() { Ok(()) } else { Err(format!("{what}: {}", errors.join("; "))) }
    }
}

/// OpenAPI 3.0 says `nullable`, JSON Schema gives `null` as a type.
fn with_null(schema: &Value) -> Value {
    match schema {
        Value::Object(map) => {
            let mut map: Map<String, Value> = map.iter().map(|(key, value)| (key.clone(), with_null(value))).collect();
            if map.remove("nullable") == Some(Value::Bool(true)) {
                if let Some(Value::Array(values)) = map.get_mut("enum") {
                    values.push(Value::Null);
                }
                match map.remove("type") {
                    Some(kind) => drop(map.insert("type".into(), json!([kind, "null"]))),
                    None => return json!({"anyOf": [map, {"type": "null"}]}),
                }
            }
            Value::Object(map)
        }
        Value::Array(list) => list.iter().map(with_null).collect(),
        _ => schema.clone(),
    }
}

/// The schema of a request's body, without fields that it does not name.
fn closed(schema: &Value) -> Value {
    let mut schema = schema.clone();
    if schema.get("properties").is_some() {
        schema["additionalProperties"] = json!(false);
    }
    for key in ["oneOf", "anyOf"] {
        if let Some(Value::Array(choices)) = schema.get_mut(key) {
            for choice in choices {
                *choice = closed(choice);
            }
        }
    }
    schema
}

fn kinds(schema: &Value) -> Vec<&str> {
    match &schema["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ if schema.get("properties").is_some() => vec!["object"],
        _ => vec![],
    }
}

/// A value that fits a schema without parts.
fn sample(schema: &Value, kind: Option<&str>) -> Value {
    if let Some(first) = schema["enum"].as_array().and_then(|values| values.first()) {
        return first.clone();
    }
    match (kind, schema["format"].as_str()) {
        (Some("string"), Some("uri")) => json!("https://github.example/x"),
        (Some("string"), Some("date-time")) => json!("2026-01-02T03:04:05Z"),
        (Some("string"), Some("date")) => json!("2026-01-02"),
        (Some("string"), Some("email")) => json!("someone@github.example"),
        (Some("string"), _) => json!("x"),
        (Some("integer" | "number"), _) => json!(1),
        (Some("boolean"), _) => json!(false),
        (Some("array"), _) => json!([]),
        (Some("object"), _) => json!({}),
        _ => Value::Null,
    }
}
