//! Both sides of the wire protocol against each other, against recordings of zrepl 0.7.0, and against peers that break it.

mod both_planes;
mod double;
mod exchange;
mod memory;
