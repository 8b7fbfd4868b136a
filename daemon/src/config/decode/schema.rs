//! The JSON Schema of the configuration, for editors that complete and check. It is made from the same declarations as the
//! decoder: a key cannot be in one and not in the other.

use std::collections::BTreeMap;

use serde_json::json;

use super::Section;

/// A JSON document.
pub(crate) type Json = serde_json::Value;

/// The dialect the schema is written in.
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// One key of a section.
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) doc: String,
    pub(crate) schema: Json,
    pub(crate) presence: Presence,
}

/// Whether a key must be written, and what it is otherwise.
pub(crate) enum Presence {
    Required,
    Default(Json),
    /// A section in which all keys have defaults.
    Section,
}

/// The sections met so far, each described once.
#[derive(Default)]
pub(crate) struct Definitions(BTreeMap<&'static str, Definition>);

struct Definition {
    /// The type it describes: two types of one name would be taken for each other.
    of: &'static str,
    schema: Json,
}

impl Definitions {
    /// Describes a section, once, and returns the reference to it.
    pub(crate) fn section<T: Section>(&mut self) -> Json {
        self.define::<T>(T::NAME, |definitions| {
            object::<T>(None, T::DOC, definitions)
        })
    }

    /// Describes something by name, once, and returns the reference to it.
    pub(crate) fn define<T>(
        &mut self,
        name: &'static str,
        describe: impl FnOnce(&mut Self) -> Json,
    ) -> Json {
        let of = std::any::type_name::<T>();
        if let Some(other) = self.0.get(name) {
            assert_eq!(other.of, of, "the schema has two types {name}");
        } else {
            // Taken before it is filled in, should it ever contain itself.
            let schema = Json::Null;
            self.0.insert(name, Definition { of, schema });
            let schema = describe(self);
            self.0.insert(name, Definition { of, schema });
        }
        json!({ "$ref": format!("#/$defs/{name}") })
    }
}

/// A section as an object; `kind` is the word in its key `type`.
pub(crate) fn object<T: Section>(
    kind: Option<&str>,
    doc: &str,
    definitions: &mut Definitions,
) -> Json {
    let mut properties = serde_json::Map::new();
    let mut required = Vec::new();
    if let Some(kind) = kind {
        properties.insert("type".to_owned(), json!({ "const": kind }));
        required.push("type");
    }
    for key in T::keys(definitions) {
        let mut property = match key.presence {
            Presence::Required => filled(key.schema),
            // A key may be left there without a value.
            _ => json!({ "anyOf": [key.schema, { "type": "null" }] }),
        };
        property["description"] = json!(key.doc);
        match key.presence {
            Presence::Required => required.push(key.name),
            Presence::Default(default) => property["default"] = default,
            Presence::Section => {}
        }
        properties.insert(key.name.to_owned(), property);
    }
    json!({
        "description": doc,
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

/// What is required may not be empty.
fn filled(mut schema: Json) -> Json {
    if schema["type"] == "array" {
        schema["minItems"] = json!(1);
    } else if schema["type"] == "object" && schema.get("properties").is_none() {
        schema["minProperties"] = json!(1);
    } else if schema["minLength"] == 0 {
        schema["minLength"] = json!(1);
    }
    schema
}

/// The whole schema, of a file with this section at the top.
pub(crate) fn document<T: Section>() -> Json {
    let mut definitions = Definitions::default();
    let mut root = object::<T>(None, T::DOC, &mut definitions);
    root["$schema"] = json!(DIALECT);
    root["title"] = json!("zrepl configuration");
    let definitions = definitions.0.into_iter();
    root["$defs"] = definitions
        .map(|(name, definition)| (name.to_owned(), definition.schema))
        .collect();
    root
}

/// A text with a notation of its own.
pub(crate) fn text(doc: &str, examples: &[&str]) -> Json {
    json!({ "type": "string", "minLength": 1, "description": doc, "examples": examples })
}

/// A name, which YAML may take for something else: `12` or `yes`.
pub(crate) fn name(doc: &str, examples: &[&str]) -> Json {
    let mut schema = text(doc, examples);
    schema["type"] = any_text()["type"].take();
    schema
}

/// The same if it may be empty.
pub(crate) fn name_or_empty(doc: &str, examples: &[&str]) -> Json {
    let mut schema = name(doc, examples);
    schema["minLength"] = json!(0);
    schema
}

/// A duration, which needs no unit if it is zero.
pub(crate) fn duration_or_zero(doc: &str, examples: &[&str]) -> Json {
    json!({ "anyOf": [text(doc, examples), { "const": 0 }], "description": doc })
}

/// Any scalar, which is taken as it is written.
pub(crate) fn any_text() -> Json {
    json!({ "type": ["string", "number", "boolean"] })
}

/// A number.
pub(crate) fn integer(doc: &str, least: i64) -> Json {
    json!({ "type": "integer", "minimum": least, "description": doc })
}

/// True or false, in all the ways of YAML 1.1.
pub(crate) fn boolean() -> Json {
    json!({
        "enum": [
            true, false, "y", "Y", "yes", "Yes", "YES", "on", "On", "ON", "n", "N", "no", "No", "NO", "off", "Off",
            "OFF",
        ],
    })
}

/// A list.
pub(crate) fn list(items: &Json) -> Json {
    json!({ "type": "array", "items": items })
}

/// A map whose keys the user chooses.
pub(crate) fn map(values: &Json, doc: &str) -> Json {
    json!({ "type": "object", "additionalProperties": values, "description": doc })
}

/// Joins the lines of a doc comment.
pub(crate) fn doc(lines: &[&str]) -> String {
    let lines: Vec<&str> = lines.iter().map(|line| line.trim()).collect();
    lines.join(" ").trim().to_owned()
}
