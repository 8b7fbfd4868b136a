//! The zrepl daemon.
