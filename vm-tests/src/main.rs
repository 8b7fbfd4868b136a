//! vm.
fn main() {}
