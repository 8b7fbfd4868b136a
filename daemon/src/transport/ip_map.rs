//! ip_map
