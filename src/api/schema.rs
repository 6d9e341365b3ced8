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

/// A time of Kubernetes.
///
/// This and [`conditions`] are what `k8s-openapi` would derive; its derivation for all of its types would double the time
/// that it takes to compile.
pub(crate) fn time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "format": "date-time"})
}

/// A list of conditions by their types.
pub(crate) fn conditions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "description": "Condition contains details for one aspect of the current state of this API Resource.",
            "required": ["lastTransitionTime", "message", "reason", "status", "type"],
            "properties": {
                "lastTransitionTime": {
                    "type": "string",
                    "format": "date-time",
                    "description": "lastTransitionTime is the last time the condition transitioned from one status to another. \
                        This should be when the underlying condition changed.  If that is not known, then using the time when \
                        the API field changed is acceptable.",
                },
                "message": {
                    "type": "string",
                    "description": "message is a human readable message indicating details about the transition. This may be \
                        an empty string.",
                },
                "observedGeneration": {
                    "type": "integer",
                    "format": "int64",
                    "description": "observedGeneration represents the .metadata.generation that the condition was set based \
                        upon. For instance, if .metadata.generation is currently 12, but the \
                        .status.conditions[x].observedGeneration is 9, the condition is out of date with respect to the \
                        current state of the instance.",
                },
                "reason": {
                    "type": "string",
                    "description": "reason contains a programmatic identifier indicating the reason for the condition's last \
                        transition. Producers of specific condition types may define expected values and meanings for this \
                        field, and whether the values are considered a guaranteed API. The value should be a CamelCase \
                        string. This field may not be empty.",
                },
                "status": {"type": "string", "description": "status of the condition, one of True, False, Unknown."},
                "type": {
                    "type": "string",
                    "description": "type of condition in CamelCase or in foo.example.com/CamelCase.",
                },
            },
        },
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
