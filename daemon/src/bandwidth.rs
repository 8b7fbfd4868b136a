//! The bandwidth limit of a job: a token bucket that all its streams share, as zrepl 0.7.0 has it. Bytes are moved first and
//! paid for afterwards, so the bucket may go into debt; whoever took the bytes then waits until the debt is paid. That way
//! a frame of any size passes, however small the bucket.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::transfer::BandwidthLimit;

/// The limit of a job, shared by all of its streams.
#[derive(Debug)]
pub struct Limit {
    started: Instant,
    bucket: Mutex<TokenBucket>,
}

impl Limit {
    /// A limit whose clock starts now; none if the configuration sets none.
    pub fn new(limit: &BandwidthLimit) -> Option<Self> {
        TokenBucket::new(limit).map(Self::from)
    }

    /// How long to wait for `bytes` that have been moved.
    fn take(&self, bytes: u64) -> Duration {
        // A bucket is whole at any time, also where its user panicked.
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        bucket.take(bytes, self.started.elapsed())
    }
}

/// Waits until `bytes` that have been moved are paid for, at each of these limits.
pub async fn pay(limits: &[Arc<Limit>], bytes: u64) {
    // All are asked before there is any waiting: what flows into one bucket meanwhile flows into the others as well.
    let wait = limits.iter().map(|limit| limit.take(bytes)).max();
    if let Some(wait) = wait.filter(|wait| !wait.is_zero()) {
        tokio::time::sleep(wait).await;
    }
}

impl From<TokenBucket> for Limit {
    fn from(bucket: TokenBucket) -> Self {
        Self {
            started: Instant::now(),
            bucket: Mutex::new(bucket),
        }
    }
}

/// A bucket that starts full.
///
/// It keeps one number, the time at which it is or was empty: what has flowed in since then is what is in it. Times are
/// arguments, counted from any fixed moment, and must not run backwards; if they do, nothing flows in meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenBucket {
    /// Bytes per second, at least one.
    rate: u64,
    /// Nanoseconds in which it fills up.
    fill: u128,
    /// When it is empty, in nanoseconds; before the fixed moment at first, because it starts full.
    empty_at: i128,
}

const SECOND: u128 = 1_000_000_000;

impl TokenBucket {
    /// The bucket for a limit; none if there is no limit.
    pub fn new(limit: &BandwidthLimit) -> Option<Self> {
        let rate = limit.max.bytes_per_second()?;
        Some(Self::with(rate, limit.bucket_capacity.bytes()))
    }

    /// So many bytes per second, at least one; and so many at once.
    pub fn with(rate: u64, capacity: u64) -> Self {
        let rate = rate.max(1);
        let fill = time_for(capacity, rate);
        Self {
            rate,
            fill,
            empty_at: -signed(fill),
        }
    }

    /// Pays for `bytes` that were moved at the time `now`, and says how long to wait before more are moved.
    pub fn take(&mut self, bytes: u64, now: Duration) -> Duration {
        let now = signed(now.as_nanos());
        // It does not get fuller than full.
        let fullest = now - signed(self.fill);
        self.empty_at = self.empty_at.max(fullest) + signed(time_for(bytes, self.rate));
        let debt = u128::try_from(self.empty_at - now).unwrap_or(0);
        Duration::new(
            u64::try_from(debt / SECOND).unwrap_or(u64::MAX),
            u32::try_from(debt % SECOND).unwrap_or(0),
        )
    }
}

/// Nanoseconds in which so many bytes flow, rounded up: a limit is a limit.
fn time_for(bytes: u64, rate: u64) -> u128 {
    (u128::from(bytes) * SECOND).div_ceil(u128::from(rate))
}

/// At most 2^94: the time in which 2^64 bytes flow at one byte per second.
fn signed(nanoseconds: u128) -> i128 {
    i128::try_from(nanoseconds).unwrap_or(i128::MAX / 4)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_full_bucket_is_free_and_then_bytes_take_their_time() {
        let mut bucket = TokenBucket::with(1000, 500);
        assert_eq!(bucket.take(500, Duration::ZERO), Duration::ZERO);
        assert_eq!(bucket.take(100, Duration::ZERO), 100 * MS);
        assert_eq!(bucket.take(100, 100 * MS), 100 * MS);
        // What is waited longer flows into the bucket, up to its capacity.
        assert_eq!(bucket.take(600, 10_000 * MS), 100 * MS);
    }

    #[test]
    fn more_than_the_bucket_holds_passes_and_is_waited_for() {
        let mut bucket = TokenBucket::with(1000, 1);
        assert_eq!(bucket.take(524_288, Duration::ZERO), 524_287 * MS);
    }

    #[test]
    fn a_clock_that_steps_back_brings_nothing() {
        let mut bucket = TokenBucket::with(1000, 100);
        assert_eq!(bucket.take(200, 1000 * MS), 100 * MS);
        assert_eq!(bucket.take(0, 500 * MS), 600 * MS);
    }

    #[tokio::test(start_paused = true)]
    async fn of_several_limits_the_lowest_counts() {
        let limit = |rate| Arc::new(Limit::from(TokenBucket::with(rate, 1)));
        let limits = [limit(2000), limit(1000), limit(4000)];
        let begun = Instant::now();
        for _ in 0..60 {
            pay(&limits, 1000).await;
        }
        let took = begun.elapsed();
        assert!(took > 59 * 1000 * MS && took <= 60 * 1001 * MS, "{took:?}");
        pay(&[], 1 << 40).await;
        assert_eq!(begun.elapsed(), took);
    }

    #[test]
    fn the_configuration_says_whether_there_is_a_bucket() {
        let bucket = |limit: &str| {
            let yaml = format!(
                "jobs:\n- type: sink\n  name: s\n  root_fs: tank\n  serve: {{type: local, listener_name: l}}\n  recv: {{bandwidth_limit: {limit}}}\n"
            );
            let loaded = config::parse("test.yml", &yaml).expect("good");
            let Some(config::job::JobConfig::Sink(job)) = loaded.config.job("s") else {
                panic!("a sink")
            };
            TokenBucket::new(&job.recv.bandwidth_limit)
        };
        assert_eq!(bucket("{}"), None);
        assert_eq!(bucket("{max: -1 B}"), None);
        let expected = TokenBucket::with(1 << 20, 128 << 10);
        assert_eq!(bucket("{max: 1 MiB}"), Some(expected));
        let expected = TokenBucket::with(1000, 10);
        assert_eq!(bucket("{max: 8 Kb, bucket_capacity: 10 B}"), Some(expected));
    }

    proptest! {
        /// Whoever waits as told never gets more than what the bucket held and what flowed in.
        #[test]
        fn the_limit_is_kept_whatever_the_amounts(
            rate in 1_u64..10_000_000,
            capacity in 1_u64..1_000_000,
            takes in proptest::collection::vec((0_u64..600_000, 0_u64..2_000), 1..50),
        ) {
            let mut bucket = TokenBucket::with(rate, capacity);
            let (mut now, mut moved) = (Duration::ZERO, 0_u128);
            for (bytes, idle) in takes {
                now += Duration::from_millis(idle);
                now += bucket.take(bytes, now);
                moved += u128::from(bytes);
                let flowed = now.as_nanos() * u128::from(rate) / SECOND;
                prop_assert!(moved <= flowed + u128::from(capacity) + 1, "{moved} in {now:?}");
            }
        }

        /// And nobody waits without need: without a pause, the rate is reached.
        #[test]
        fn the_rate_is_reached(rate in 1_u64..10_000_000, bytes in 1_u64..600_000, count in 1_u32..50) {
            let mut bucket = TokenBucket::with(rate, 1);
            let mut now = Duration::ZERO;
            for _ in 0..count {
                now += bucket.take(bytes, now);
            }
            let needed = time_for(u64::from(count) * bytes, rate) + u128::from(count) + SECOND / u128::from(rate);
            prop_assert!(now.as_nanos() <= needed, "{now:?}");
        }

        #[test]
        fn no_amount_makes_it_panic(rate in 1_u64.., capacity in 1_u64.., bytes in any::<u64>(), at in any::<u64>()) {
            let mut bucket = TokenBucket::with(rate, capacity);
            bucket.take(bytes, Duration::from_secs(at));
            bucket.take(bytes, Duration::from_nanos(at));
        }
    }
}
