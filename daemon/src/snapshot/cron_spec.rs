//! cron_spec
