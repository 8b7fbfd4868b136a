//! The files that TLS needs: whether they can be read and fit together. The one part of checking a configuration that looks
//! at other files.

use std::path::Path;

use jiff::Timestamp;

use super::connection::{Connect, Serve};
use super::global::Outlet;
use super::load::Loaded;
use super::problem::Severity;
use super::value::path::FilePath;
use crate::transport::tls_files;

/// Adds to the findings what is wrong with certificates and keys, and what is dangerous about them. `now` decides which
/// certificates have expired.
pub fn check_certificates(loaded: &mut Loaded, now: Timestamp) {
    let mut findings = Vec::new();
    for (job, written) in loaded.config.jobs.iter().enumerate() {
        match (written.connect(), written.serve()) {
            (Some(Connect::Tls(tls)), _) => {
                check(
                    &tls.ca,
                    &tls.cert,
                    &tls.key,
                    now,
                    |severity, key, message| {
                        findings.push((Some(job), severity, format!(".connect.{key}"), message));
                    },
                );
            }
            (_, Some(Serve::Tls(tls))) => {
                check(
                    &tls.ca,
                    &tls.cert,
                    &tls.key,
                    now,
                    |severity, key, message| {
                        findings.push((Some(job), severity, format!(".serve.{key}"), message));
                    },
                );
            }
            (Some(Connect::Ssh(ssh)), _) => {
                let path = ssh.identity_file.as_path();
                if let Some(message) = exposed(path) {
                    let key = ".connect.identity_file".to_owned();
                    findings.push((Some(job), Severity::Warning, key, message));
                }
            }
            _ => {}
        }
    }
    for (index, outlet) in loaded.config.global.logging.outlets().iter().enumerate() {
        if let Outlet::Tcp(outlet) = outlet
            && let Some(tls) = &outlet.tls
        {
            check(
                &tls.ca,
                &tls.cert,
                &tls.key,
                now,
                |severity, key, message| {
                    let path = format!("global.logging[{index}].tls.{key}");
                    findings.push((None, severity, path, message));
                },
            );
        }
    }
    for (job, severity, path, message) in findings {
        match job {
            Some(job) => loaded.report_job(severity, job, &path, message, None),
            None => loaded.report_global(severity, &path, message),
        }
    }
}

fn check(
    ca: &FilePath,
    cert: &FilePath,
    key: &FilePath,
    now: Timestamp,
    mut note: impl FnMut(Severity, &str, String),
) {
    if let Err(error) = tls_files::load_authorities(ca.as_path()) {
        note(Severity::Error, "ca", super::read::with_causes(&error));
    }
    match tls_files::load_identity(cert.as_path(), key.as_path()) {
        Ok(identity) => {
            let facts = identity.facts;
            if facts.not_after < now {
                let until = facts.not_after;
                note(Severity::Warning, "cert", format!("expired at {until}"));
            }
            if now < facts.not_before {
                let from = facts.not_before;
                note(
                    Severity::Warning,
                    "cert",
                    format!("is not valid before {from}"),
                );
            }
        }
        Err(error) => {
            let blamed = if error.path() == key.as_path() {
                "key"
            } else {
                "cert"
            };
            note(Severity::Error, blamed, super::read::with_causes(&error));
        }
    }
    if let Some(message) = exposed(key.as_path()) {
        note(Severity::Warning, "key", message);
    }
}

/// What is wrong with the permissions of a private key. A file that cannot be looked at is reported elsewhere.
fn exposed(path: &Path) -> Option<String> {
    let mode = tls_files::key_readable_by_others(path).ok()??;
    Some(format!(
        "{} can be read by other users (mode {mode:04o}): chmod go-rwx it",
        path.display()
    ))
}
