//! Data source names of databases.
