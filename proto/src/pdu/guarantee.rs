//! What both sides promise about a step of replication: the numbers of the wire flow in, kinds that cannot be invalid flow
//! out, and back.
//!
//! The error texts are zrepl's (`internal/endpoint/endpoint_guarantees.go`), because a passive side answers with them.

use super::{ReplicationConfig, ReplicationConfigProtection, ReplicationGuaranteeKind};

/// One promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GuaranteeKind {
    /// The step can be resumed, and the next one can be incremental: holds on both ends of the step.
    Resumability,
    /// The next step can be incremental: bookmarks.
    IncrementalReplication,
    /// Nothing at all.
    Nothing,
}

/// The promises for full and for incremental steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Protection {
    /// For a step without `From`.
    pub initial: GuaranteeKind,
    /// For a step with `From`.
    pub incremental: GuaranteeKind,
}

/// A request that promises nothing that can be kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GuaranteeError {
    /// The configuration of the request has no protection in it.
    #[error("pdu.ReplicationConfigProtection must not be nil")]
    Missing,
    /// The kind is zero or unknown.
    #[error("pdu.ReplicationConfigProtection: field {field}: {:?}", go_name(*.kind))]
    Kind {
        /// `Initial` or `Incremental`.
        field: &'static str,
        /// The number received.
        kind: i32,
    },
}

impl Protection {
    /// The promise for a step, which is incremental if it has a `From`.
    pub fn of_step(self, is_incremental: bool) -> GuaranteeKind {
        if is_incremental {
            self.incremental
        } else {
            self.initial
        }
    }
}

impl From<GuaranteeKind> for ReplicationGuaranteeKind {
    fn from(kind: GuaranteeKind) -> Self {
        match kind {
            GuaranteeKind::Resumability => Self::GuaranteeResumability,
            GuaranteeKind::IncrementalReplication => Self::GuaranteeIncrementalReplication,
            GuaranteeKind::Nothing => Self::GuaranteeNothing,
        }
    }
}

impl From<Protection> for ReplicationConfig {
    fn from(protection: Protection) -> Self {
        Self {
            protection: Some(ReplicationConfigProtection {
                initial: ReplicationGuaranteeKind::from(protection.initial).into(),
                incremental: ReplicationGuaranteeKind::from(protection.incremental).into(),
            }),
        }
    }
}

impl TryFrom<&ReplicationConfig> for Protection {
    type Error = GuaranteeError;

    fn try_from(config: &ReplicationConfig) -> Result<Self, GuaranteeError> {
        let protection = config.protection.ok_or(GuaranteeError::Missing)?;
        Ok(Self {
            initial: kind("Initial", protection.initial)?,
            incremental: kind("Incremental", protection.incremental)?,
        })
    }
}

fn kind(field: &'static str, kind: i32) -> Result<GuaranteeKind, GuaranteeError> {
    match ReplicationGuaranteeKind::try_from(kind) {
        Ok(ReplicationGuaranteeKind::GuaranteeResumability) => Ok(GuaranteeKind::Resumability),
        Ok(ReplicationGuaranteeKind::GuaranteeIncrementalReplication) => {
            Ok(GuaranteeKind::IncrementalReplication)
        }
        Ok(ReplicationGuaranteeKind::GuaranteeNothing) => Ok(GuaranteeKind::Nothing),
        Ok(ReplicationGuaranteeKind::GuaranteeInvalid) | Err(_) => {
            Err(GuaranteeError::Kind { field, kind })
        }
    }
}

/// The name of a kind, or its number if it has none, as Go's protobuf prints it.
fn go_name(kind: i32) -> String {
    ReplicationGuaranteeKind::try_from(kind)
        .map_or_else(|_| kind.to_string(), |known| known.as_str_name().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [(GuaranteeKind, i32); 3] = [
        (GuaranteeKind::Resumability, 1),
        (GuaranteeKind::IncrementalReplication, 2),
        (GuaranteeKind::Nothing, 3),
    ];

    #[test]
    fn kinds_have_their_numbers_on_the_wire() {
        for (initial, initial_number) in KINDS {
            for (incremental, incremental_number) in KINDS {
                let protection = Protection {
                    initial,
                    incremental,
                };
                let config = ReplicationConfig::from(protection);
                let wire = config.protection.expect("protection");
                assert_eq!(
                    (wire.initial, wire.incremental),
                    (initial_number, incremental_number)
                );
                assert_eq!(Protection::try_from(&config), Ok(protection));
                assert_eq!(protection.of_step(false), initial);
                assert_eq!(protection.of_step(true), incremental);
            }
        }
    }

    #[test]
    fn errors_read_as_in_zrepl() {
        let error = |initial, incremental| {
            let protection = Some(ReplicationConfigProtection {
                initial,
                incremental,
            });
            Protection::try_from(&ReplicationConfig { protection })
                .expect_err("invalid kind")
                .to_string()
        };
        // recorded in 06h-crafted
        assert_eq!(
            error(0, 0),
            "pdu.ReplicationConfigProtection: field Initial: \"GuaranteeInvalid\""
        );
        assert_eq!(
            Protection::try_from(&ReplicationConfig::default())
                .expect_err("nothing there")
                .to_string(),
            "pdu.ReplicationConfigProtection must not be nil"
        );
        // by reading
        assert_eq!(
            error(1, -4),
            "pdu.ReplicationConfigProtection: field Incremental: \"-4\""
        );
    }
}
