//! Who a client is: the name under which a sink files what it receives from that client.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::name::component::{self, ComponentError};

/// A client's name: one component of a dataset's path. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientIdentity(Arc<str>);

/// A text that cannot be a client's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("client identity must be usable as a single dataset path component: {0}")]
pub struct ClientIdentityError(pub ComponentError);

impl ClientIdentity {
    /// Checks `text`.
    pub fn new(text: &str) -> Result<Self, ClientIdentityError> {
        component::check(text).map_err(ClientIdentityError)?;
        Ok(Self(text.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClientIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ClientIdentity {
    type Err = ClientIdentityError;

    fn from_str(text: &str) -> Result<Self, ClientIdentityError> {
        Self::new(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_one_path_component() {
        let identity: ClientIdentity = "db1.example.org".parse().expect("valid");
        assert_eq!(identity.to_string(), "db1.example.org");
        assert_eq!(identity.as_str().parse(), Ok(identity.clone()));
        let error = ClientIdentity::new("db1/x").expect_err("two components");
        assert_eq!(
            error.to_string(),
            "client identity must be usable as a single dataset path component: must only contain alphanumeric chars \
             and any in \"-_.: \", but it contains '/'"
        );
        assert!(ClientIdentity::new("").is_err());
    }
}
