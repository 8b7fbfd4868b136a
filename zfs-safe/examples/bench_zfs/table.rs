//! The table of results.

use std::time::Duration;

use crate::measure::Sample;

/// Prints the head of the table of [`row`]s.
pub(crate) fn header() {
    println!(
        "\n{:<40} {:>10} {:>10} {:>7}  {:>7} {:>9}  {:>11}",
        "", "native", "zfs(8)", "ratio", "ioctls", "processes", "txgs"
    );
    println!(
        "{:<40} {:>10} {:>10} {:>7}  {:>7} {:>9}  {:>11}",
        "", "ms", "ms", "", "native", "zfs(8)", "native/zfs"
    );
}

/// One operation, both ways. A process each is what `zfs(8)` costs, an ioctl each is what native does.
pub(crate) fn row(name: &str, native: &Sample, cli: &Sample) {
    println!(
        "{name:<40} {:>10} {:>10} {:>7}  {:>7} {:>9}  {:>11}",
        milliseconds(native.wall),
        milliseconds(cli.wall),
        ratio(cli.wall, native.wall),
        native.counts.ioctls,
        cli.counts.processes,
        format!("{}/{}", native.txgs, cli.txgs),
    );
}

pub(crate) fn milliseconds(duration: Duration) -> String {
    format!("{:.1}", duration.as_secs_f64() * 1e3)
}

fn ratio(larger: Duration, smaller: Duration) -> String {
    format!("{:.1}x", larger.as_secs_f64() / smaller.as_secs_f64())
}
