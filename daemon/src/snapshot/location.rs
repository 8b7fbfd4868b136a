//! Names of time zones as zrepl's users write them.

use jiff::tz::TimeZone;

/// What a zone's name refers to, by the rules of Go's `time.LoadLocation`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Location {
    /// `UTC`, or nothing at all.
    Utc,
    /// `Local`: the zone of this machine, whichever that is.
    Local,
    /// A zone of the system's time zone database. Also `Etc/UTC`, which is not the same as `UTC` to zrepl.
    Named(TimeZone),
}

impl Location {
    /// Looks the zone up in the system's time zone database.
    pub(crate) fn load(name: &str) -> Result<Self, jiff::Error> {
        Ok(match name {
            "" | "UTC" => Self::Utc,
            "Local" => Self::Local,
            name => Self::Named(TimeZone::get(name)?),
        })
    }

    /// The zone meant, on a machine whose own one is `local`.
    pub(crate) fn zone(&self, local: impl FnOnce() -> TimeZone) -> TimeZone {
        match self {
            Self::Utc => TimeZone::UTC,
            Self::Local => local(),
            Self::Named(zone) => zone.clone(),
        }
    }
}
