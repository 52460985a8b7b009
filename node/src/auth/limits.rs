//! How often a token may do what is costly: a bucket of tokens for each bearer token and operation, on this node alone.
//!
//! A bucket holds `burst` at most, and gets `per_minute` in a minute, evenly. Counted in whole units, so that equal histories have
//! equal answers.
//!
//! Invariants:
//! * There are at most [`BUCKETS_MAX`] buckets of an operation; the one that was not asked for longest goes.
//! * No bearer token is kept: a bucket's key is its hash.

use super::tokens::TokenHash;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// More tokens than one node serves within a minute; a megabyte or two.
const BUCKETS_MAX: usize = 10_000;
/// The units of one request: in a millisecond a bucket gets as many as it may have requests in a minute.
const UNITS: u64 = 60_000;

/// How often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Requests in a minute in the long run, 1 or more.
    pub per_minute: u32,
    /// Requests at once after a pause, 1 or more.
    pub burst: u32,
}

/// The limits of each operation; `None`: there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Of [`Operation::CreateTask`].
    pub producer: Option<Rate>,
    /// Of [`Operation::Claim`].
    pub worker: Option<Rate>,
    /// Of [`Operation::Cleanup`].
    pub admin: Option<Rate>,
}

/// What is limited. A batch counts as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Creating tasks.
    CreateTask,
    /// Claiming them.
    Claim,
    /// Removing old ones.
    Cleanup,
}

impl Operation {
    /// Who does it, and its name, as the answer spells them.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Operation::CreateTask => ("producer", "create_task"),
            Operation::Claim => ("worker", "claim"),
            Operation::Cleanup => ("admin", "cleanup"),
        }
    }
}

/// It was too often.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("rate limit exceeded")]
pub struct RateLimited {
    /// `producer`, `worker` or `admin`.
    pub scope: &'static str,
    /// `create_task`, `claim` or `cleanup`.
    pub operation: &'static str,
    /// After how many seconds the next one is let through, 1 or more.
    pub retry_after_s: u64,
}

/// The buckets of all operations.
#[derive(Debug)]
pub(super) struct Limiter {
    /// In the order of [`Operation`].
    buckets: [Option<Buckets>; 3],
}

impl Limiter {
    pub(super) fn new(rates: Rates) -> Limiter {
        let Rates { producer, worker, admin } = rates;
        Limiter {
            buckets: [producer, worker, admin].map(|rate| rate.map(|rate| Buckets::new(rate, BUCKETS_MAX))),
        }
    }

    /// Counts one request.
    pub(super) fn take(
        &self,
        operation: Operation,
        token: &TokenHash,
        now: Instant,
    ) -> Result<(), RateLimited> {
        let Some(buckets) = &self.buckets[operation as usize] else { return Ok(()) };
        let (scope, operation) = operation.names();
        buckets.take(*token, now).map_err(|retry_after_s| RateLimited { scope, operation, retry_after_s })
    }
}

#[derive(Debug)]
struct Buckets {
    rate: Rate,
    max: usize,
    /// std Mutex: never held across an await.
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    buckets: HashMap<TokenHash, Bucket>,
    /// Whose bucket was asked for when: the number is `Bucket::asked`.
    order: BTreeMap<u64, TokenHash>,
    asked: u64,
}

#[derive(Debug)]
struct Bucket {
    units: u64,
    at: Instant,
    asked: u64,
}

impl Buckets {
    fn new(rate: Rate, max: usize) -> Buckets {
        Buckets { rate, max, table: Mutex::default() }
    }

    /// Takes one request out of the token's bucket; or says for how many seconds it is too early.
    fn take(&self, token: TokenHash, now: Instant) -> Result<(), u64> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let full = u64::from(self.rate.burst) * UNITS;
        let bucket = table.bucket(token, self.max, Bucket { units: full, at: now, asked: 0 });
        bucket.refill(u64::from(self.rate.per_minute), full, now);
        match bucket.units.checked_sub(UNITS) {
            Some(left) => bucket.units = left,
            None => return Err((UNITS - bucket.units).div_ceil(u64::from(self.rate.per_minute) * 1_000)),
        }
        Ok(())
    }
}

impl Table {
    /// The token's bucket, else this new one; now the one that was asked for last.
    fn bucket(&mut self, token: TokenHash, max: usize, new: Bucket) -> &mut Bucket {
        self.asked += 1;
        if let Some(bucket) = self.buckets.get(&token) {
            self.order.remove(&bucket.asked);
        } else if self.buckets.len() == max
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.buckets.remove(&oldest);
        }
        self.order.insert(self.asked, token);
        let bucket = self.buckets.entry(token).or_insert(new);
        bucket.asked = self.asked;
        bucket
    }
}

impl Bucket {
    /// Adds what came since it was last asked, in whole milliseconds: the rest of one counts the next time.
    fn refill(&mut self, per_ms: u64, full: u64, now: Instant) {
        let ms = now.saturating_duration_since(self.at).as_millis().try_into().unwrap_or(u64::MAX);
        self.units = full.min(self.units.saturating_add(per_ms.saturating_mul(ms)));
        self.at += Duration::from_millis(ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hash(token: &str) -> TokenHash {
        TokenHash::of(token)
    }

    fn buckets(per_minute: u32, burst: u32, max: usize) -> Buckets {
        Buckets::new(Rate { per_minute, burst }, max)
    }

    #[test]
    fn a_bucket_gives_its_burst_and_then_what_comes_in() {
        let (buckets, start) = (buckets(30, 2, 10), Instant::now());
        let at = |ms| buckets.take(hash("t"), start + Duration::from_millis(ms));
        assert_eq!([at(0), at(0), at(0)], [Ok(()), Ok(()), Err(2)]);
        assert_eq!([at(500), at(1_000), at(1_999), at(2_000)], [Err(2), Err(1), Err(1), Ok(())]);
        assert_eq!([at(2_000), at(60_000), at(60_000), at(60_000)], [Err(2), Ok(()), Ok(()), Err(2)]);
        assert_eq!(at(59_000), Err(2), "a clock that was read earlier adds nothing and takes nothing");
        assert_eq!(buckets.take(hash("another"), start), Ok(()));
    }

    #[test]
    fn fractions_of_a_millisecond_are_not_lost() {
        let (buckets, start) = (buckets(60_000, 1, 10), Instant::now());
        let at = |us| buckets.take(hash("t"), start + Duration::from_micros(us));
        assert_eq!(
            [at(0), at(600), at(1_200), at(1_800), at(2_000)],
            [Ok(()), Err(1), Ok(()), Err(1), Ok(())]
        );
    }

    #[test]
    fn the_bucket_that_was_not_asked_for_longest_goes() {
        let (buckets, now) = (buckets(1, 1, 2), Instant::now());
        let take = |token| buckets.take(hash(token), now);
        assert_eq!([take("a"), take("b"), take("a"), take("c")], [Ok(()), Ok(()), Err(60), Ok(())]);
        assert_eq!([take("a"), take("b")], [Err(60), Ok(())], "b was forgotten, a was not");
    }

    #[test]
    fn operations_have_buckets_of_their_own_and_none_without_a_rate() {
        let producer = Some(Rate { per_minute: 1, burst: 1 });
        let limiter = Limiter::new(Rates { producer, admin: producer, worker: None });
        let now = Instant::now();
        let take = |operation| limiter.take(operation, &hash("t"), now);
        let limited = |scope, operation| Err(RateLimited { scope, operation, retry_after_s: 60 });
        assert_eq!([take(Operation::CreateTask), take(Operation::Cleanup)], [Ok(()), Ok(())]);
        assert_eq!(take(Operation::CreateTask), limited("producer", "create_task"));
        assert_eq!(take(Operation::Cleanup), limited("admin", "cleanup"));
        assert!((0..100).all(|_| take(Operation::Claim).is_ok()));
        let one = Limiter::new(Rates { worker: producer, ..Rates::default() });
        one.take(Operation::Claim, &hash("t"), now).unwrap();
        assert_eq!(one.take(Operation::Claim, &hash("t"), now), limited("worker", "claim"));
    }

    proptest! {
        #[test]
        fn no_more_pass_than_the_rate_allows_and_the_time_named_is_enough(
            per_minute in 1_u32..2_000,
            burst in 1_u32..20,
            pauses in prop::collection::vec(0_u64..5_000, 1..100),
            tokens in prop::collection::vec(0_u8..6, 100),
        ) {
            let (buckets, start) = (buckets(per_minute, burst, 4), Instant::now());
            let (mut ms, mut passed) = (0, 0);
            for (pause, token) in pauses.into_iter().zip(tokens) {
                ms += pause;
                let token = if token < 3 { "one".to_owned() } else { format!("other-{token}") };
                match buckets.take(hash(&token), start + Duration::from_millis(ms)) {
                    Ok(()) if token == "one" => passed += 1,
                    Ok(()) => {}
                    Err(s) => {
                        prop_assert!(s >= 1);
                        ms += s * 1_000;
                        prop_assert_eq!(buckets.take(hash(&token), start + Duration::from_millis(ms)), Ok(()));
                        passed += u64::from(token == "one");
                    }
                }
            }
            prop_assert!(passed <= u64::from(burst) + ms * u64::from(per_minute) / 60_000);
            let table = buckets.table.lock().unwrap();
            prop_assert!(table.buckets.len() <= 4 && table.buckets.len() == table.order.len());
        }
    }
}
