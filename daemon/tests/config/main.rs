//! Configurations and what becomes of them: every row of the tables in zrepl's documentation has a case here.
//!
//! Each file `*.cases` holds many cases, in this form:
//!
//! ```text
//! === what the case claims | show jobs[0].connect
//! jobs: …
//! --- ok
//! {"type":"tcp",…}
//! ```
//!
//! After `---` comes the outcome: `ok` or `refused`, then everything that `zrepl configcheck` would say, then the parts of
//! the result named after `show`, as JSON. `UPDATE_CASES=1 cargo test -p zrepl-daemon --test config` writes the outcomes anew:
//! read the difference before you keep it.
//!
//! Of each accepted case it is also checked that its dump is a configuration that means the same, and that it fits the JSON
//! Schema. `| beyond the schema` after the claim excepts a case from that: YAML 1.1 has numbers that editors do not know.

mod cases;
mod schema;

use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use cases::{Case, CaseFile};
use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::Value as Json;
use zrepl_daemon::config::{self, Config};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config");
    let update = std::env::var_os("UPDATE_CASES").is_some();
    let files = match CaseFile::read_all(&directory) {
        Ok(files) => files,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let schema: Arc<Json> = match serde_json::from_str(&Config::schema()) {
        Ok(schema) => Arc::new(schema),
        Err(error) => {
            eprintln!("the schema is not JSON: {error}");
            return ExitCode::FAILURE;
        }
    };
    let files: Vec<Arc<Mutex<CaseFile>>> =
        files.into_iter().map(|f| Arc::new(Mutex::new(f))).collect();
    let mut trials = Vec::new();
    for file in &files {
        let listed = file.lock().expect("nobody has panicked yet");
        for (index, case) in listed.cases.iter().enumerate() {
            let name = format!("{}::{}", listed.name, case.name);
            let (case, file, schema) = (case.clone(), Arc::clone(file), Arc::clone(&schema));
            trials.push(Trial::test(name, move || {
                let outcome = outcome(&case, &schema)?;
                if update {
                    file.lock().map_err(|e| e.to_string())?.cases[index].outcome = outcome;
                    return Ok(());
                }
                // The file does not keep blanks at the end.
                if outcome.trim_end() == case.outcome.trim_end() {
                    return Ok(());
                }
                Err(format!("expected\n{}\nfound\n{outcome}", case.outcome).into())
            }));
        }
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    if update {
        for file in &files {
            let file = file.lock().expect("nobody panics while holding it");
            if let Err(error) = file.write() {
                eprintln!("{error}");
                return ExitCode::FAILURE;
            }
        }
    }
    conclusion.exit_code()
}

/// What becomes of a case, as text.
fn outcome(case: &Case, schema: &Json) -> Result<String, Failed> {
    match config::parse("zrepl.yml", &case.yaml) {
        Err(error) => Ok(format!("refused\n{error}\n")),
        Ok(loaded) => {
            means_the_same_when_dumped(&loaded.config)?;
            if case.in_schema {
                fits_the_schema(&case.yaml, schema)?;
            }
            let mut outcome = "ok\n".to_owned();
            let warnings = loaded.problems.to_string();
            if !warnings.is_empty() {
                outcome.push_str(&warnings);
                outcome.push('\n');
            }
            let dump = serde_json::to_value(&loaded.config)?;
            for path in &case.shown {
                let pointer = format!("/{}", path.replace(['.', '['], "/").replace(']', ""));
                let part = dump
                    .pointer(&pointer)
                    .ok_or_else(|| format!("there is no {path} to show"))?;
                outcome.push_str(&part.to_string());
                outcome.push('\n');
            }
            Ok(outcome)
        }
    }
}

fn means_the_same_when_dumped(config: &Config) -> Result<(), Failed> {
    let dump = serde_yaml::to_string(config)?;
    let again = config::parse("dump.yml", &dump)
        .map_err(|error| format!("the dump is refused:\n{error}\n{dump}"))?;
    // The dump of a data source name leaves passwords out and puts parameters in order.
    let same = &again.config == config
        || dump.contains("dsn:") && serde_yaml::to_string(&again.config)? == dump;
    if !same {
        return Err(format!("the dump means something else:\n{dump}").into());
    }
    Ok(())
}

fn fits_the_schema(yaml: &str, schema: &Json) -> Result<(), Failed> {
    // The schema describes YAML as editors read it, with one notion of true and without merge keys.
    let Ok(mut document) = serde_yaml::from_str::<serde_yaml::Value>(yaml) else {
        return Ok(());
    };
    if document.apply_merge().is_err() || document.is_null() {
        return Ok(());
    }
    let document = serde_json::to_value(document)?;
    schema::check(&document, schema)
        .map_err(|error| format!("does not fit the schema: {error}"))?;
    Ok(())
}
