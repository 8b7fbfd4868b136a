//! Sending, to a reader that throws everything away.

use std::io::Read;

use zfs_safe::Zfs;
use zfs_safe::cli::Cli;
use zfs_safe::native::Native;
use zfs_safe::zfs::{SendArgs, SendFlags};

use crate::Result;
use crate::measure::{Sample, fastest, measure, measure_others};
use crate::shell::run;
use crate::world::World;

/// Bytes read at once: what the pipe of a stream holds.
const PIECE: usize = 1 << 20;

#[expect(clippy::cast_precision_loss, reason = "shown without digits")]
pub(crate) fn send(world: &World, native: &Native, cli: &Cli) -> Result<()> {
    let snapshot = world.write_data()?;
    let send = SendArgs {
        snapshot: snapshot.clone(),
        base: None,
        flags: SendFlags::default(),
        resume: None,
    };
    let piped = format!("zfs send {snapshot} | cat >/dev/null");
    // Brings the data into memory, so that nobody has the advantage of being second.
    let length = read_all(native, &send)?;
    let mut samples: [Vec<Sample>; 4] = Default::default();
    for _ in 0..world.amounts.rounds {
        let readers: [(&dyn Zfs, Reader); 3] =
            [(native, read_all), (native, splice_all), (cli, read_all)];
        for (index, (zfs, reader)) in readers.into_iter().enumerate() {
            let (bytes, sample) = measure(zfs, || reader(zfs, &send))?;
            if bytes != length {
                return Err(format!("streams of {bytes} and of {length} bytes").into());
            }
            samples[index].push(sample);
        }
        samples[3].push(measure_others(|| run("sh", &["-c", &piped]))?.1);
    }
    println!(
        "\n8 send {} MiB{:>35} {:>10} {:>12}",
        length >> 20,
        "MiB/s",
        "own CPU s",
        "guest CPU s"
    );
    let names = [
        "native, read and discarded",
        "native, spliced to /dev/null",
        "zfs(8) of zfs-safe, read and discarded",
        "sh: zfs send | cat >/dev/null",
    ];
    for (name, samples) in names.into_iter().zip(samples) {
        let sample = fastest(samples);
        let rate = length as f64 / f64::from(1 << 20) / sample.wall.as_secs_f64();
        let (own, busy) = (sample.own.as_secs_f64(), sample.busy.as_secs_f64());
        println!("    {name:<40} {rate:>6.0} {own:>10.2} {busy:>12.2}");
    }
    Ok(())
}

type Reader = fn(&dyn Zfs, &SendArgs) -> Result<u64>;

fn read_all(zfs: &dyn Zfs, send: &SendArgs) -> Result<u64> {
    let mut stream = zfs.send(send)?;
    let mut piece = vec![0; PIECE];
    let mut length = 0;
    let end = loop {
        match stream.read(&mut piece) {
            Ok(0) => break Ok(()),
            Ok(read) => length += read as u64,
            Err(error) => break Err(error),
        }
    };
    stream.finish(end)?;
    Ok(length)
}

/// Without copying into this process.
#[cfg(target_os = "linux")]
fn splice_all(zfs: &dyn Zfs, send: &SendArgs) -> Result<u64> {
    use rustix::pipe::SpliceFlags;
    let null = std::fs::OpenOptions::new().write(true).open("/dev/null")?;
    let stream = zfs.send(send)?;
    let mut length = 0;
    let end = loop {
        match rustix::pipe::splice(&stream, None, &null, None, PIECE, SpliceFlags::empty()) {
            Ok(0) => break Ok(()),
            Ok(moved) => length += moved as u64,
            Err(error) => break Err(error.into()),
        }
    };
    stream.finish(end)?;
    Ok(length)
}

#[cfg(not(target_os = "linux"))]
use read_all as splice_all;
