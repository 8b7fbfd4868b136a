//! As much of JSON Schema as the configuration's schema uses. A keyword that it does not know is an error, so that nothing is
//! taken for checked that is not.

use serde_json::Value as Json;

/// Checks a document against a schema that is its own root.
pub(crate) fn check(document: &Json, schema: &Json) -> Result<(), String> {
    Checker { root: schema }.check(document, schema, "")
}

struct Checker<'s> {
    root: &'s Json,
}

impl Checker<'_> {
    fn check(&self, value: &Json, schema: &Json, path: &str) -> Result<(), String> {
        let keywords = schema.as_object().ok_or("a schema is an object")?;
        for (keyword, argument) in keywords {
            self.keyword(value, schema, keyword, argument, path)
                .map_err(|error| {
                    if error.starts_with('/') {
                        error
                    } else {
                        format!("{path}/: {error}")
                    }
                })?;
        }
        Ok(())
    }

    fn keyword(
        &self,
        value: &Json,
        schema: &Json,
        keyword: &str,
        argument: &Json,
        path: &str,
    ) -> Result<(), String> {
        let list = || argument.as_array().map(Vec::as_slice).unwrap_or_default();
        let fits = |schema: &Json| self.check(value, schema, path);
        let length =
            |n: Option<usize>| n.is_none_or(|n| n as u64 >= argument.as_u64().unwrap_or(0));
        let good = match keyword {
            "$schema" | "$defs" | "title" | "description" | "default" | "examples" => true,
            "$ref" => {
                let pointer = argument
                    .as_str()
                    .unwrap_or_default()
                    .trim_start_matches('#');
                let target = self.root.pointer(pointer).ok_or("a reference to nothing")?;
                return fits(target);
            }
            "anyOf" => {
                let errors: Vec<String> = list()
                    .iter()
                    .filter_map(|schema| fits(schema).err())
                    .collect();
                if errors.len() == list().len() {
                    return Err(errors.join(" | "));
                }
                true
            }
            "oneOf" => {
                let errors: Vec<String> = list()
                    .iter()
                    .filter_map(|schema| fits(schema).err())
                    .collect();
                if errors.len() + 1 != list().len() {
                    return Err(format!(
                        "{} of oneOf fit: {}",
                        list().len() - errors.len(),
                        errors.join(" | ")
                    ));
                }
                true
            }
            "const" => value == argument,
            "enum" => list().contains(value),
            "type" => match argument {
                Json::String(kind) => is(value, kind),
                _ => list()
                    .iter()
                    .filter_map(Json::as_str)
                    .any(|kind| is(value, kind)),
            },
            "minimum" => value.as_f64().is_none_or(|n| Some(n) >= argument.as_f64()),
            "maximum" => value.as_f64().is_none_or(|n| Some(n) <= argument.as_f64()),
            "minLength" => length(value.as_str().map(str::len)),
            "minItems" => length(value.as_array().map(Vec::len)),
            "minProperties" => length(value.as_object().map(serde_json::Map::len)),
            "maxItems" => value
                .as_array()
                .is_none_or(|items| items.len() as u64 <= argument.as_u64().unwrap_or(0)),
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    self.check(item, argument, &format!("{path}/{index}"))?;
                }
                true
            }
            "required" => list()
                .iter()
                .filter_map(Json::as_str)
                .all(|key| value.get(key).is_some()),
            "properties" => {
                for (key, schema) in argument.as_object().into_iter().flatten() {
                    if let Some(value) = value.get(key) {
                        self.check(value, schema, &format!("{path}/{key}"))?;
                    }
                }
                true
            }
            "additionalProperties" => {
                let known = schema.get("properties");
                for (key, value) in value.as_object().into_iter().flatten() {
                    if known.is_some_and(|known| known.get(key).is_some()) {
                        continue;
                    }
                    if argument == &Json::Bool(false) {
                        return Err(format!("no key {key:?} is allowed"));
                    }
                    self.check(value, argument, &format!("{path}/{key}"))?;
                }
                true
            }
            other => return Err(format!("unknown keyword {other:?}")),
        };
        if good {
            Ok(())
        } else {
            Err(format!("{value} breaks {keyword}: {argument}"))
        }
    }
}

fn is(value: &Json, kind: &str) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => {
            value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|n| n.fract() == 0.0)
        }
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    }
}
