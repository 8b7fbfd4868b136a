//! Whether a sender may send what it is asked for: the job's policy, whether the dataset is encrypted and the fields of a resume
//! token flow in, the first reason against it flows out. A token is made by whoever asks, and ZFS would send whatever it names: so it
//! must name the very step of the request, and lead to a stream as open or as encrypted as the policy demands.
//!
//! Order and texts are those of zrepl 0.7.0 (`internal/zfs/zfs.go`), because a peer shows them to its users.

use zfs_safe::guid::Guid;
use zfs_safe::name::DatasetPath;
use zfs_safe::resume_token::ResumeToken;

use crate::config::transfer::SendOptions;

/// What a job's configuration says about encryption.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SendPolicy {
    /// Send only what is encrypted, and as it is on disk.
    pub encrypted: bool,
    /// Send as it is on disk.
    pub raw: bool,
}

/// Why a dataset may not be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// A raw stream of an encrypted dataset would be encrypted.
    #[error("policy mandates raw+unencrypted sends, but filesystem {:?} is encrypted", dataset.as_str())]
    Encrypted {
        /// The dataset.
        dataset: DatasetPath,
    },
    /// There is nothing encrypted to send.
    #[error("encrypted send mandated by policy, but filesystem {:?} is not encrypted", dataset.as_str())]
    NotEncrypted {
        /// The dataset.
        dataset: DatasetPath,
    },
}

/// The step that is asked for together with a token.
#[derive(Clone, Copy, Debug)]
pub struct RequestedStep<'a> {
    /// The filesystem.
    pub dataset: &'a DatasetPath,
    /// What the step starts from.
    pub from: Option<Guid>,
    /// What the step sends.
    pub to: Guid,
}

/// Why a token may not be used for a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is of another filesystem.
    #[error(
        "filesystem in resume token field `toname` = {found:?} does not match expected value {:?}",
        expected.as_str()
    )]
    Filesystem {
        /// That of the token.
        found: String,
        /// That of the request.
        expected: DatasetPath,
    },
    /// It starts from something else.
    #[error("resume token `fromguid` != expected: {found} != {expected}")]
    From {
        /// That of the token.
        found: Guid,
        /// That of the request.
        expected: Guid,
    },
    /// It is of a full stream, the request is not.
    #[error("resume token expected to be incremental, but `fromguid` not present")]
    NotIncremental,
    /// Its field `toname` does not name a snapshot.
    #[error("resume token field `toname` = {found:?} is not the name of a snapshot")]
    NotASnapshot {
        /// What it names.
        found: String,
    },
    /// Its stream would not be encrypted.
    #[error(
        "resume token does not have rawok=true which would result in an unencrypted send, but policy mandates encrypted sends only"
    )]
    NotRaw,
    /// Its stream would be encrypted.
    #[error(
        "resume token has rawok=true which would result in encrypted send, but policy mandates unencrypted sends only"
    )]
    Raw,
    /// It sends something else.
    #[error("resume token `toguid` != expected: {found} != {expected}")]
    To {
        /// That of the token.
        found: Guid,
        /// That of the request.
        expected: Guid,
    },
    /// It is of an incremental stream, the request is not.
    #[error("resume token not expected to be incremental, but `fromguid` = {found}")]
    Incremental {
        /// What it starts from.
        found: Guid,
    },
}

impl SendPolicy {
    /// May this dataset be sent at all?
    pub fn check_dataset(
        self,
        dataset: &DatasetPath,
        is_encrypted: bool,
    ) -> Result<(), PolicyError> {
        let dataset = || dataset.clone();
        match (is_encrypted, self.encrypted, self.raw) {
            (false, true, _) => Err(PolicyError::NotEncrypted { dataset: dataset() }),
            (true, false, true) => Err(PolicyError::Encrypted { dataset: dataset() }),
            (false, false, _) | (true, false, false) | (true, true, _) => Ok(()),
        }
    }

    /// May this token be used for this step of a dataset that may be sent?
    pub fn check_token(
        self,
        token: &ResumeToken,
        step: RequestedStep<'_>,
        is_encrypted: bool,
    ) -> Result<(), TokenError> {
        check_filesystem(&token.to_name, step.dataset)?;
        check_from(token.from_guid, step.from)?;
        if token.to_guid != step.to {
            return Err(TokenError::To {
                found: token.to_guid,
                expected: step.to,
            });
        }
        match (self.encrypted, token.raw && is_encrypted) {
            (true, false) => Err(TokenError::NotRaw),
            (false, true) => Err(TokenError::Raw),
            (true, true) | (false, false) => Ok(()),
        }
    }
}

impl From<&SendOptions> for SendPolicy {
    fn from(options: &SendOptions) -> Self {
        Self {
            encrypted: options.encrypted,
            raw: options.raw,
        }
    }
}

fn check_filesystem(to_name: &str, expected: &DatasetPath) -> Result<(), TokenError> {
    // Comes from the peer: an error need not repeat a megabyte.
    let shown = |text: &str| text.chars().take(256).collect::<String>();
    let Some((dataset, snapshot)) = to_name.split_once('@') else {
        return Err(TokenError::NotASnapshot {
            found: shown(to_name),
        });
    };
    if dataset != expected.as_str() {
        return Err(TokenError::Filesystem {
            found: shown(dataset),
            expected: expected.clone(),
        });
    }
    match expected.snapshot(snapshot) {
        Ok(_) => Ok(()),
        Err(_) => Err(TokenError::NotASnapshot {
            found: shown(to_name),
        }),
    }
}

fn check_from(found: Option<Guid>, expected: Option<Guid>) -> Result<(), TokenError> {
    match (found, expected) {
        (None, Some(_)) => Err(TokenError::NotIncremental),
        (Some(found), None) => Err(TokenError::Incremental { found }),
        (Some(found), Some(expected)) if found != expected => {
            Err(TokenError::From { found, expected })
        }
        (Some(_), Some(_)) | (None, None) => Ok(()),
    }
}

#[cfg(test)]
mod tests;
