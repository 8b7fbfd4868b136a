//! Both sides of the wire protocol against each other, against recordings of zrepl 0.7.0, and against peers that break it.

mod both_planes;
mod conversation;
mod cuts;
mod double;
mod exchange;
mod hostile;
mod hostile_server;
mod intruders;
#[path = "../log_lines/mod.rs"]
mod log_lines;
mod memory;
mod peer;
mod random_peer;
mod recordings;
mod replay_client;
mod replay_server;
mod scripted;
mod timing;
mod traps;
