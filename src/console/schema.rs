//! Request bodies, declared once: the macro makes the strict serde type and its JSON Schema for the OpenAPI document.

use serde_json::{Value, json};

/// The members of a body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schema {
    pub name: &'static str,
    pub about: &'static str,
    pub members: &'static [Member],
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    pub name: &'static str,
    /// `string`, `boolean`, `string[]` or the name of another body followed by `[]` or nothing.
    pub kind: &'static str,
    pub required: bool,
    pub about: &'static str,
}

impl Schema {
    /// JSON Schema 2020-12, as OpenAPI 3.1 takes it.
    pub(super) fn to_json(self) -> Value {
        let properties: serde_json::Map<String, Value> = self
            .members
            .iter()
            .map(|member| {
                let mut schema = kind_schema(member.kind);
                if let Some(object) = schema.as_object_mut() {
                    object.insert("description".to_owned(), json!(member.about));
                }
                (member.name.to_owned(), schema)
            })
            .collect();
        let required: Vec<&str> = self.members.iter().filter(|member| member.required).map(|member| member.name).collect();
        json!({
            "type": "object",
            "description": self.about,
            "properties": properties,
            "required": required,
            "additionalProperties": false,
        })
    }
}

fn kind_schema(kind: &str) -> Value {
    if let Some(item) = kind.strip_suffix("[]") {
        return json!({ "type": "array", "items": kind_schema(item) });
    }
    match kind {
        "string" | "boolean" | "integer" => json!({ "type": kind }),
        "revision" => json!({ "anyOf": [{ "type": "integer", "minimum": 0 }, { "const": "now" }] }),
        "timestamp" => json!({ "type": "string", "format": "date-time" }),
        other => json!({ "$ref": format!("#/components/schemas/{other}") }),
    }
}

/// `body! { /// about struct Name ("Name") { /// about required member: Type as "kind", … } }`: `?` after the kind marks a member that may be left out.
macro_rules! body {
    ($(#[doc = $about:literal])* $kind:ident {
        $($(#[doc = $mabout:literal])* $member:ident: $type:ty = $json:literal $requirement:ident,)*
    }) => {
        $(#[doc = $about])*
        #[derive(Clone, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(in $crate::console) struct $kind { $($(#[doc = $mabout])* pub(in $crate::console) $member: $type,)* }

        impl $kind {
            pub(in $crate::console) const SCHEMA: $crate::console::schema::Schema = $crate::console::schema::Schema {
                name: stringify!($kind),
                about: concat!($($about),*).trim_ascii(),
                members: &[$($crate::console::schema::Member {
                    name: stringify!($member),
                    kind: $json,
                    required: $crate::console::schema::body!(@ $requirement),
                    about: concat!($($mabout),*).trim_ascii(),
                },)*],
            };
        }

        impl std::fmt::Debug for $kind {
            /// Bodies carry ids of customers: never printed.
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(concat!(stringify!($kind), "(…)"))
            }
        }
    };
    (@ required) => { true };
    (@ optional) => { false };
}
pub(super) use body;

#[cfg(test)]
mod tests {
    use super::*;

    body! {
        /// A sample.
        Sample {
            /// Its name.
            name: String = "string" required,
            tags: Option<Vec<String>> = "string[]" optional,
        }
    }

    #[test]
    fn the_schema_says_what_the_parser_takes() {
        let schema = Sample::SCHEMA.to_json();
        assert_eq!(schema["required"], json!(["name"]));
        assert_eq!(schema["additionalProperties"], json!(false));
        assert_eq!(schema["properties"]["tags"], json!({"type": "array", "items": {"type": "string"}, "description": ""}));
        let parsed: Sample = serde_json::from_str(r#"{"name":"n","tags":["a"]}"#).unwrap();
        assert_eq!((parsed.name.as_str(), parsed.tags.unwrap().len()), ("n", 1));
        assert!(serde_json::from_str::<Sample>(r#"{"tags":[]}"#).is_err());
    }
}
