//! What decoding a list costs, and that a hostile one cannot make it cost much more.
#![expect(unsafe_code, reason = "counts allocations")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use zfs_safe::nvlist::{Encoding, NvList, NvString, Value};

/// Counts the bytes in use, and remembers the most there were.
struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is passed on to the system's allocator, unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let in_use = IN_USE.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(in_use, Ordering::Relaxed);
        // SAFETY: the caller's promises are those of this function.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are those of this function.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Lists made to decode into much more than they take, packed in the unit that costs most.
fn hostile() -> Vec<(&'static str, Vec<u8>)> {
    const COUNT: usize = 20_000;
    let mut packed = Vec::new();
    let mut add = |what, list: &NvList, encodings: &[Encoding]| {
        for &encoding in encodings {
            packed.push((what, list.encode(encoding).expect("packs")));
        }
    };
    let both = [Encoding::Native, Encoding::Xdr];
    let strings: NvList = [("", vec![NvString::default(); COUNT])]
        .into_iter()
        .collect();
    add("empty strings", &strings, &both);
    let lists: NvList = [("", vec![NvList::new(); COUNT])].into_iter().collect();
    add("empty lists", &lists, &both);
    let one: NvList = [("", Value::Boolean)].into_iter().collect();
    let ones: NvList = [("", vec![one; COUNT])].into_iter().collect();
    add("lists of one pair", &ones, &both);
    let names: NvList = (0..COUNT)
        .map(|i| (format!("{i:x}"), Value::Boolean))
        .collect();
    add("short names", &names, &both);
    let prefix = "x".repeat(30_000);
    let long: NvList = (0..50)
        .map(|i| (format!("{prefix}{i}"), Value::Boolean))
        .collect();
    add("long names", &long, &both);
    let same: NvList = (0..100)
        .map(|i| (NvString::from(vec![0xff; i]), Value::Boolean))
        .collect();
    add("names that are not text", &same, &both);

    // The same pair over and over, under every rule for repeated names. Where the lowest byte of the flag is:
    for (encoding, flag_at, end_len) in [(Encoding::NativeLittle, 8, 4), (Encoding::Xdr, 11, 8)] {
        let one: NvList = [("", Value::Boolean)].into_iter().collect();
        let one = one.encode(encoding).expect("packs");
        let (head, pair) = one.split_at(12);
        let (pair, end) = pair.split_at(pair.len() - end_len);
        for flag in [0, 1, 2] {
            let mut head = head.to_vec();
            head[flag_at] = flag;
            let list = [&head[..], &pair.repeat(COUNT), end].concat();
            packed.push(("one pair again and again", list));
        }
    }
    packed
}

#[test]
fn takes_memory_and_time_in_proportion() {
    for (what, packed) in hostile() {
        let before = IN_USE.load(Ordering::Relaxed);
        PEAK.store(before, Ordering::Relaxed);
        let start = Instant::now();
        let list = NvList::decode(&packed).unwrap();
        let time = start.elapsed();
        let peak = PEAK.load(Ordering::Relaxed) - before;
        drop(list);
        assert!(peak <= packed.len() * 15, "{what}: {peak} bytes");
        // Takes milliseconds; only what is not in proportion takes this long.
        assert!(time < Duration::from_secs(10), "{what}: {time:?}");
    }
}
