//! The files that TLS needs: whether they can be read and fit together. The one part of checking a configuration that looks
//! at other files.

use std::path::Path;

use jiff::Timestamp;

use super::connection::{Connect, Serve};
use super::global::Outlet;
use super::load::Loaded;
use super::problem::Severity;
use super::value::path::FilePath;
use crate::transport::tls::files as tls_files;

/// Adds to the findings what is wrong with certificates and keys, and what is dangerous about them. `now` decides which
/// certificates have expired.
pub fn check_certificates(loaded: &mut Loaded, now: Timestamp) {
    let mut findings = Vec::new();
    for (job, written) in loaded.config.jobs.iter().enumerate() {
        let mut note = |severity, path: String, message| {
            findings.push((Some(job), severity, path, message));
        };
        if let Some(Connect::Ssh(ssh)) = written.connect()
            && let Some(message) = exposed(ssh.identity_file.as_path())
        {
            note(
                Severity::Warning,
                ".connect.identity_file".to_owned(),
                message,
            );
        }
        let (section, ca, cert, key) = match (written.connect(), written.serve()) {
            (Some(Connect::Tls(tls)), _) => (".connect", &tls.ca, &tls.cert, &tls.key),
            (_, Some(Serve::Tls(tls))) => (".serve", &tls.ca, &tls.cert, &tls.key),
            _ => continue,
        };
        check(ca, cert, key, now, |severity, key, message| {
            note(severity, format!("{section}.{key}"), message);
        });
        if let Some(Serve::Tls(tls)) = written.serve()
            && let Some(message) = nameless(&tls.cert, &tls.key)
        {
            note(Severity::Warning, ".serve.cert".to_owned(), message);
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
    loaded.sort();
}

fn check(
    ca: &FilePath,
    cert: &FilePath,
    key: &FilePath,
    now: Timestamp,
    mut note: impl FnMut(Severity, &str, String),
) {
    if let Err(error) = tls_files::load_authorities(ca.as_path()) {
        note(Severity::Error, "ca", crate::causes::chain(&error));
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
            note(Severity::Error, blamed, crate::causes::chain(&error));
        }
    }
    if let Some(message) = exposed(key.as_path()) {
        note(Severity::Warning, "key", message);
    }
}

/// What clients will not like about a server's certificate. One that cannot be read is reported elsewhere.
fn nameless(cert: &FilePath, key: &FilePath) -> Option<String> {
    let identity = tls_files::load_identity(cert.as_path(), key.as_path()).ok()?;
    (!identity.facts.has_san).then(|| {
        "has no subjectAltName: no client will accept it, because server_cn must be one of these names".to_owned()
    })
}

/// What is wrong with the permissions of a private key. A file that cannot be looked at is reported elsewhere.
fn exposed(path: &Path) -> Option<String> {
    let mode = tls_files::key_readable_by_others(path).ok()??;
    Some(format!(
        "{} can be read by other users (mode {mode:04o}): chmod go-rwx it",
        path.display()
    ))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use tempfile::TempDir;

    use super::*;
    use crate::config;

    /// A directory with certificates as a host has them: only their owner may read keys.
    fn host() -> TempDir {
        let directory = tempfile::tempdir().expect("a directory");
        let material = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tls");
        for entry in fs::read_dir(material).expect("test material") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                continue;
            }
            let name = path.file_name().expect("it has a name");
            let copy = directory.path().join(name);
            fs::copy(&path, &copy).expect("copied");
            fs::set_permissions(&copy, fs::Permissions::from_mode(0o600)).expect("owned");
        }
        directory
    }

    /// What is found with these files, one finding a line, without the directory's name.
    fn findings(host: &TempDir, ca: &str, cert: &str, key: &str) -> String {
        findings_at("2026-12-01T12:00:00Z", host, ca, cert, key)
    }

    fn findings_at(now: &str, host: &TempDir, ca: &str, cert: &str, key: &str) -> String {
        let directory = host.path().display();
        let tls = format!("ca: {directory}/{ca}, cert: {directory}/{cert}, key: {directory}/{key}");
        let yaml = format!(
            "global:\n  logging:\n  - {{type: tcp, level: info, format: json, address: 'log:1', tls: {{{tls}}}}}\njobs:\n- type: sink\n  name: s\n  root_fs: tank\n  serve: {{type: tls, listen: ':1', client_cns: [c], {tls}}}\n- type: pull\n  name: p\n  root_fs: pool\n  interval: 1h\n  connect: {{type: tls, address: 'h:1', server_cn: h, {tls}}}\n  pruning: {{keep_sender: [{{type: not_replicated}}], keep_receiver: [{{type: last_n, count: 1}}]}}\n"
        );
        let mut loaded = config::parse("zrepl.yml", &yaml).expect("good apart from files");
        check_certificates(&mut loaded, now.parse().expect("a time"));
        loaded
            .problems
            .to_string()
            .replace(&format!("{directory}/"), "")
    }

    #[test]
    fn files_that_fit_are_silent() {
        let host = host();
        assert_eq!(findings(&host, "san.crt", "san.crt", "san.key"), "");
    }

    #[test]
    fn all_places_that_name_certificates_are_checked() {
        let host = host();
        let found = findings(&host, "none.crt", "san.crt", "san.key");
        for path in [
            "global.logging[0].tls.ca",
            "jobs[0].serve.ca",
            "jobs[1].connect.ca",
        ] {
            assert!(
                found.contains(&format!(
                    "error: {path}: cannot parse ca file: none.crt: cannot read the file"
                )),
                "{path}: {found}"
            );
        }
        assert_eq!(found.lines().count(), 3, "{found}");
        assert!(found.starts_with("zrepl.yml:3:"), "{found}");
    }

    #[test]
    fn the_file_to_blame_is_named() {
        let host = host();
        let found = findings(&host, "san.crt", "san.crt", "ed25519.key");
        assert!(
            found.contains("jobs[0].serve.key: cannot parse cert/key pair: ed25519.key: private key does not match public key of san.crt"),
            "{found}"
        );
        let found = findings(&host, "san.crt", "none.crt", "san.key");
        assert!(
            found.contains("error: jobs[0].serve.cert: cannot parse cert/key pair: none.crt"),
            "{found}"
        );
    }

    #[test]
    fn servers_without_alternative_names_are_warned_about() {
        let host = host();
        let found = findings(&host, "san.crt", "cn_only.crt", "cn_only.key");
        let warned: Vec<_> = found.lines().collect();
        assert_eq!(warned.len(), 1, "{found}");
        assert!(
            warned[0].contains("warning: jobs[0].serve.cert: has no subjectAltName"),
            "{found}"
        );
    }

    #[test]
    fn certificates_of_the_future_are_warned_about() {
        let host = host();
        let found = findings_at(
            "2020-01-01T00:00:00Z",
            &host,
            "san.crt",
            "san.crt",
            "san.key",
        );
        assert!(
            found.contains("warning: jobs[0].serve.cert: is not valid before 2026-"),
            "{found}"
        );
    }

    #[test]
    fn expired_certificates_and_open_keys_are_warned_about() {
        let host = host();
        let found = findings(&host, "san.crt", "expired.crt", "expired.key");
        assert!(
            found.contains("warning: jobs[0].serve.cert: expired at "),
            "{found}"
        );
        assert!(!found.contains("error"), "{found}");
        let key = host.path().join("san.key");
        fs::set_permissions(key, fs::Permissions::from_mode(0o640)).expect("owned");
        let found = findings(&host, "san.crt", "san.crt", "san.key");
        assert!(
            found.contains("warning: jobs[1].connect.key: san.key can be read by other users (mode 0640): chmod go-rwx it"),
            "{found}"
        );
    }
}
