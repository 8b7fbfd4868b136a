//! zrepl.
fn main() {}
