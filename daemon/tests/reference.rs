//! `docs/configuration-reference.md` is made from the JSON Schema, which is made from the decoder: it cannot be out of date.
//! `UPDATE_CASES=1 cargo test -p zrepl-daemon --test reference` writes it.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value as Json;
use zrepl_daemon::config::Config;

#[test]
fn the_reference_lists_every_key() {
    let schema: Json = serde_json::from_str(&Config::schema()).expect("JSON");
    let text = render(&schema);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration-reference.md");
    if std::env::var_os("UPDATE_CASES").is_some() {
        std::fs::write(&path, &text).expect("can be written");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == text,
        "{} is out of date: UPDATE_CASES=1 cargo test -p zrepl-daemon --test reference",
        path.display()
    );
}

const HEAD: &str = "# Configuration reference

Every key of `zrepl.yml`. Made from the program itself (`zrepl configcheck --schema`); do not edit. How to check, explain and
debug a configuration: [configuration.md](configuration.md).

Keys without a default are required. A section that is left out, or left empty, has the defaults of its keys.
";

fn render(schema: &Json) -> String {
    let mut page = Page {
        text: HEAD.to_owned(),
    };
    page.section("The file", schema);
    // In the order in which a reader meets them.
    let mut names = Vec::new();
    collect(schema, schema, &mut names);
    for name in names {
        let definition = &schema["$defs"][&name];
        match definition["oneOf"].as_array() {
            None => page.section(&name, definition),
            Some(kinds) => {
                page.heading(&name, definition);
                for kind in kinds {
                    let word = kind["properties"]["type"]["const"].as_str();
                    page.kind(&name, word.expect("each kind has a word"), kind);
                }
            }
        }
    }
    page.text
}

/// The definitions that a schema refers to, and those that they refer to.
fn collect(root: &Json, part: &Json, names: &mut Vec<String>) {
    match part {
        Json::Object(object) => {
            if let Some(name) = object.get("$ref").and_then(Json::as_str) {
                let name = name.trim_start_matches("#/$defs/").to_owned();
                if !names.contains(&name) {
                    names.push(name.clone());
                    collect(root, &root["$defs"][&name], names);
                }
            }
            for (key, value) in object {
                if key != "$defs" {
                    collect(root, value, names);
                }
            }
        }
        Json::Array(items) => items.iter().for_each(|item| collect(root, item, names)),
        _ => {}
    }
}

struct Page {
    text: String,
}

impl Page {
    fn heading(&mut self, name: &str, schema: &Json) {
        let about = schema["description"].as_str().unwrap_or_default().trim();
        write!(self.text, "\n## {name}\n\n{about}\n").expect("memory suffices");
    }

    fn section(&mut self, name: &str, schema: &Json) {
        self.heading(name, schema);
        self.table(schema);
    }

    fn kind(&mut self, name: &str, word: &str, schema: &Json) {
        let about = schema["description"].as_str().unwrap_or_default().trim();
        write!(self.text, "\n### {name}, `type: {word}`\n\n{about}\n").expect("memory suffices");
        self.table(schema);
    }

    fn table(&mut self, schema: &Json) {
        let properties = schema["properties"].as_object().expect("a section");
        let keys: Vec<_> = properties
            .iter()
            .filter(|(key, _)| *key != "type")
            .collect();
        if keys.is_empty() {
            self.text.push_str("\nIt has no other keys.\n");
            return;
        }
        self.text
            .push_str("\n| key | value | default | meaning |\n|---|---|---|---|\n");
        for (key, property) in keys {
            let required = schema["required"]
                .as_array()
                .is_some_and(|required| required.iter().any(|name| name == key));
            let default = match property.get("default") {
                _ if required => String::new(),
                Some(Json::Null) | None => "–".to_owned(),
                Some(default) => format!("`{default}`"),
            };
            let value = value(property);
            let meaning = property["description"].as_str().unwrap_or_default();
            writeln!(
                self.text,
                "| `{key}` | {} | {} | {} |",
                escaped(&value),
                escaped(&default),
                escaped(meaning)
            )
            .expect("memory suffices");
        }
    }
}

fn escaped(text: &str) -> String {
    text.replace('|', "\\|")
}

/// What may be written there.
fn value(schema: &Json) -> String {
    // A key with a default may also be left empty, which is said once for all.
    if let Some(choices) = schema["anyOf"].as_array() {
        let choices = choices.iter().filter(|choice| choice["type"] != "null");
        return choices.map(value).collect::<Vec<_>>().join(" or ");
    }
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.trim_start_matches("#/$defs/");
        return format!("[{name}](#{})", name.to_lowercase());
    }
    if let Some(words) = schema["enum"].as_array() {
        if words.contains(&Json::Bool(true)) {
            return "true or false".to_owned();
        }
        let words = words.iter().filter_map(Json::as_str);
        return words
            .map(|word| format!("`{word}`"))
            .collect::<Vec<_>>()
            .join(", ");
    }
    match schema["type"].as_str() {
        Some("array") => format!("list of {}", value(&schema["items"])),
        Some("object") => format!("map to {}", value(&schema["additionalProperties"])),
        Some("integer") => "number".to_owned(),
        _ => {
            let examples: Vec<String> = schema["examples"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Json::as_str)
                .map(|example| format!("`{example}`"))
                .collect();
            if examples.is_empty() {
                "text".to_owned()
            } else {
                format!("text, such as {}", examples.join(" or "))
            }
        }
    }
}
