//! Schemas that cannot be derived, and what is done to the derived ones before they become definitions.
//!
//! Owns the distance between what the derive writes and what the API server should enforce. Called by the type definitions of
//! this module's siblings and by [`super::definitions`].

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use schemars::{Schema, SchemaGenerator, json_schema};

/// Formats that the API server knows; it warns about others (`uint32`) at every apply.
const KNOWN_FORMATS: [&str; 4] = ["int32", "int64", "double", "date-time"];

/// An object of any content, kept as it is.
pub(crate) fn opaque(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

/// A list of at most 64 objects of any content.
pub(crate) fn opaque_list(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 64,
        "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
    })
}

/// Makes a derived definition strict and quiet:
/// * `default` goes: defaults are filled in on access, so that a stored spec is what the user wrote;
/// * `nullable` goes: the API server then drops an empty key (`gitops:`), and no rule meets a null;
/// * formats that the API server does not know go;
/// * a description is one paragraph, without the line breaks of the source.
pub(crate) fn tighten(mut definition: CustomResourceDefinition) -> CustomResourceDefinition {
    let roots = definition.spec.versions.iter_mut().filter_map(|version| version.schema.as_mut());
    for root in roots.filter_map(|schema| schema.open_api_v3_schema.as_mut()) {
        tighten_schema(root);
    }
    definition
}

fn tighten_schema(schema: &mut JSONSchemaProps) {
    schema.default = None;
    schema.nullable = None;
    schema.description = schema.description.take().map(|text| text.replace('\n', " "));
    schema.format.take_if(|format| !KNOWN_FORMATS.contains(&format.as_str()));
    schema.properties.iter_mut().flat_map(|all| all.values_mut()).for_each(tighten_schema);
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        tighten_schema(items);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        tighten_schema(values);
    }
}
