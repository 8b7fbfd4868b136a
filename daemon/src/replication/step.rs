//! One transfer: a pair of versions flows in, the requests to both sides flow out, with the protection from the configuration.
//! The receiver gives up a partial receive only for a stream that does not continue it.

use std::fmt;

use zrepl_proto::pdu::{self, GuaranteeKind, ReceiveReq, SendReq, SendRes};

use super::version::Version;
use crate::config::transfer::{Guarantee, Protection};

/// The transfer of one snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What the stream starts from; nothing for a full one.
    pub from: Option<Version>,
    /// The snapshot that arrives.
    pub to: Version,
    /// Where an earlier stream stopped.
    pub resume_token: Option<String>,
}

impl Step {
    /// Is the receiver's filesystem there before this step?
    pub fn is_incremental(&self) -> bool {
        self.from.is_some()
    }

    /// Whether the receiver has to give up a partial receive for this step.
    pub fn clear_resume_token(&self) -> bool {
        self.resume_token.is_none()
    }

    /// What the sender is asked, before and for the transfer.
    pub fn send_request(&self, filesystem: &str, protection: pdu::Protection) -> SendReq {
        SendReq {
            filesystem: filesystem.to_owned(),
            from: self.from.as_ref().map(Into::into),
            to: Some((&self.to).into()),
            resume_token: self.resume_token.clone().unwrap_or_default(),
            replication_config: Some(protection.into()),
        }
    }

    /// What the receiver is asked once the sender has answered. A sender may ignore the token and begin anew, and then the
    /// partial receive is in the way.
    pub fn receive_request(
        &self,
        filesystem: &str,
        protection: pdu::Protection,
        answer: &SendRes,
    ) -> ReceiveReq {
        ReceiveReq {
            filesystem: filesystem.to_owned(),
            to: Some((&self.to).into()),
            clear_resume_token: self.clear_resume_token() || !answer.used_resume_token,
            replication_config: Some(protection.into()),
        }
    }
}

impl fmt::Display for Step {
    /// As zrepl's status has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to, .. } = self;
        match from {
            Some(from) => write!(f, "{from} => {to}"),
            None => write!(f, "full send {to}"),
        }
    }
}

/// A stream from `base`, in full if there is none, and one more for each further snapshot.
pub fn steps(base: Option<Version>, snapshots: Vec<Version>) -> Vec<Step> {
    let mut from = base;
    snapshots
        .into_iter()
        .map(|to| Step {
            from: from.replace(to.clone()),
            to,
            resume_token: None,
        })
        .collect()
}

/// The protection of all steps of a job.
pub fn protection(configured: &Protection) -> pdu::Protection {
    let kind = |guarantee| match guarantee {
        Guarantee::Resumability => GuaranteeKind::Resumability,
        Guarantee::Incremental => GuaranteeKind::IncrementalReplication,
        Guarantee::Nothing => GuaranteeKind::Nothing,
    };
    pdu::Protection {
        initial: kind(configured.initial),
        incremental: kind(configured.incremental),
    }
}

#[cfg(test)]
mod tests {
    use zrepl_proto::pdu::Check;

    use super::super::model::{bookmark, snapshot};
    use super::*;

    const CONFIGURED: Protection = Protection {
        initial: Guarantee::Nothing,
        incremental: Guarantee::Incremental,
    };

    #[test]
    fn a_chain_of_steps_ends_where_the_next_begins() {
        let [base, one, two] = [
            bookmark("b", 1, 1),
            snapshot("1", 2, 2),
            snapshot("2", 3, 3),
        ];
        let incremental = steps(Some(base.clone()), vec![one.clone(), two.clone()]);
        let ends: Vec<_> = incremental
            .iter()
            .map(|step| (step.from.as_ref(), &step.to))
            .collect();
        assert_eq!(ends, [(Some(&base), &one), (Some(&one), &two)]);
        let full = steps(None, vec![one, two]);
        assert_eq!((&full[0].from, &full[1]), (&None, &incremental[1]));
        assert!(steps(Some(base), vec![]).is_empty());
    }

    #[test]
    fn requests_say_what_the_step_says() {
        let protection = protection(&CONFIGURED);
        assert_eq!(protection.initial, GuaranteeKind::Nothing);
        assert_eq!(
            protection.incremental,
            GuaranteeKind::IncrementalReplication
        );
        let from = bookmark("b", 1, 1);
        let to = snapshot("1", 2, 2);
        for (token, used, clear) in [
            (None, false, true),
            (None, true, true),
            (Some("1-x"), false, true),
            (Some("1-x"), true, false),
        ] {
            let step = Step {
                from: Some(from.clone()),
                to: to.clone(),
                resume_token: token.map(str::to_owned),
            };
            let send = step.send_request("p/a", protection);
            assert_eq!(send.check(), Ok(()));
            assert_eq!(send.from, Some((&from).into()));
            assert_eq!(send.to, Some((&to).into()));
            assert_eq!(send.resume_token, token.unwrap_or_default());
            assert_eq!(send.filesystem, "p/a");
            let answer = SendRes {
                used_resume_token: used,
                expected_size: 0,
            };
            let receive = step.receive_request("p/a", protection, &answer);
            assert_eq!(receive.check(), Ok(()));
            assert_eq!(receive.clear_resume_token, clear, "{token:?} {used}");
            assert_eq!(receive.to, send.to);
            assert_eq!(receive.replication_config, send.replication_config);
        }
    }
}
