//! How fast lists are decoded and encoded: `cargo run --release -p zfs-safe --example bench_nvlist`.

use std::error::Error;
use std::hint::black_box;
use std::time::Instant;

use zfs_safe::nvlist::{Encoding, NvList, Value};

fn main() -> Result<(), Box<dyn Error>> {
    const TIMES: u32 = 3000;
    // What the kernel says about one filesystem.
    let properties: NvList = (0..60_u64)
        .map(|i| {
            let property: NvList = [("value", Value::from(i)), ("source", "tank/a/b/c".into())]
                .into_iter()
                .collect();
            (format!("property{i}"), property)
        })
        .collect();
    for encoding in [Encoding::Native, Encoding::Xdr] {
        let packed = properties.encode(encoding)?;
        let start = Instant::now();
        for _ in 0..TIMES {
            black_box(NvList::decode(black_box(&packed))?);
        }
        let decoding = start.elapsed() / TIMES;
        let start = Instant::now();
        for _ in 0..TIMES {
            black_box(black_box(&properties).encode(encoding)?);
        }
        let encoding_time = start.elapsed() / TIMES;
        println!(
            "{encoding:?}, {} bytes: decodes in {decoding:?}, encodes in {encoding_time:?}",
            packed.len()
        );
    }
    Ok(())
}
