//! Paths of files that the daemon opens.

use std::path::Path;

use serde::Serialize;

use crate::config::decode::node::Node;
use crate::config::decode::schema::{self, Definitions, Json};
use crate::config::decode::{Reading, Value, text};

/// A file, by a path that is neither empty nor holds a NUL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct FilePath(String);

impl FilePath {
    /// The path.
    pub fn as_path(&self) -> &Path {
        Path::new(&self.0)
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Value for FilePath {
    fn read(node: &Node, cx: &mut Reading<'_>) -> Option<Self> {
        cx.mark(node.at);
        let path = path_text(node, cx)?;
        // ssh expands a leading tilde itself.
        if !path.starts_with(['/', '~']) {
            cx.warn(
                node.at,
                format!("{path:?} is looked up from the directory that zrepl is started in: write the whole path"),
            );
        }
        Some(Self(path))
    }

    fn schema(_: &mut Definitions) -> Json {
        schema::text("Path of a file.", &["/etc/zrepl/host.key"])
    }
}

/// What a hook runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct ProgramPath(String);

impl ProgramPath {
    /// The path, or a name to be found through `PATH`.
    pub fn as_path(&self) -> &Path {
        Path::new(&self.0)
    }
}

impl Value for ProgramPath {
    fn read(node: &Node, cx: &mut Reading<'_>) -> Option<Self> {
        let path = path_text(node, cx)?;
        if !path.starts_with('/') {
            let place = if path.contains('/') {
                "from the directory that zrepl is started in"
            } else {
                "through the daemon's PATH"
            };
            cx.warn(
                node.at,
                format!("{path:?} is looked up {place}: write the whole path"),
            );
        }
        Some(Self(path))
    }

    fn schema(_: &mut Definitions) -> Json {
        schema::text(
            "Path of a program, which is run without arguments.",
            &["/etc/zrepl/hooks/flush.sh"],
        )
    }
}

/// Where a UNIX socket is bound.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct SocketPath(String);

impl SocketPath {
    /// Longest path in bytes: `sun_path` of the system less its NUL.
    pub const MAX_LEN: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

    /// Where zrepl's control socket is unless the configuration says otherwise.
    pub fn default_control() -> Self {
        Self("/var/run/zrepl/control".to_owned())
    }

    /// Where zrepl's sockets for `zrepl stdinserver` are unless the configuration says otherwise.
    pub fn default_stdinserver() -> Self {
        Self("/var/run/zrepl/stdinserver".to_owned())
    }

    /// The path.
    pub fn as_path(&self) -> &Path {
        Path::new(&self.0)
    }
}

impl Value for SocketPath {
    fn read(node: &Node, cx: &mut Reading<'_>) -> Option<Self> {
        let path = path_text(node, cx)?;
        if path.len() > Self::MAX_LEN {
            let (length, limit) = (path.len(), Self::MAX_LEN);
            cx.error(
                node.at,
                format!("a socket's path has at most {limit} bytes, this one has {length}"),
            );
            return None;
        }
        Some(Self(path))
    }

    fn schema(_: &mut Definitions) -> Json {
        schema::text("Path of a UNIX socket.", &["/var/run/zrepl/control"])
    }
}

fn path_text(node: &Node, cx: &mut Reading<'_>) -> Option<String> {
    let path = text(node, cx)?;
    if path.is_empty() || path.contains('\0') {
        cx.error(node.at, "a path may not be empty and may not contain NUL");
        return None;
    }
    Some(path)
}
