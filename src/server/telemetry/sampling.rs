//! Omits log lines when there are too many of a kind that outsiders can cause at will.
//!
//! For each kind, there is a rate of lines per source and a rate for all sources. Lines above it are counted, and every ten seconds one line
//! reports how many of which kind were omitted.

use std::{
    array,
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    num::NonZeroU32,
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use governor::{
    Quota, RateLimiter,
    clock::Clock,
    middleware::NoOpMiddleware,
    state::{InMemoryState, NotKeyed},
};
use strum::{IntoStaticStr, VariantArray};

use super::targets::SECURITY;
use crate::clock::Stopwatch;

/// The kind of a line that may be omitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum Noise {
    /// No such path or method.
    NotFound,
    /// Refused for any other reason.
    Refused,
    /// Served without authentication: keys, metadata, health.
    Served,
    /// The caller went away.
    Abandoned,
    /// Bytes that are not HTTP.
    Unreadable,
    /// Refused because too many attempts failed.
    Limited,
    /// Failed because of an error of this server or a lack of resources.
    Failed,
}

impl Noise {
    pub(crate) const ALL: &'static [Self] = Self::VARIANTS;

    pub(crate) fn as_str(self) -> &'static str {
        self.into()
    }

    /// Rate per second and burst, for one source and for all.
    const fn rates(self) -> [(u32, u32); 2] {
        match self {
            // They share the queue of security events and must not crowd it.
            Self::Limited => [(1, 5), (20, 100)],
            Self::Failed => [(5, 50), (20, 200)],
            _ => [(10, 100), (100, 1000)],
        }
    }
}

/// Whether to write a line of this kind. If not, it is counted.
pub(crate) fn admits(noise: Noise, source: IpAddr) -> bool {
    SAMPLING.admits(noise, source)
}

/// The number of lines omitted since the process started, by kind.
pub(crate) fn lines_left_out() -> impl Iterator<Item = (&'static str, u64)> {
    Noise::ALL.iter().zip(&SAMPLING.0).map(|(noise, kind)| (noise.as_str(), kind.left_out.load(Relaxed)))
}

/// Logs how many lines were omitted since the last report.
pub(super) fn report() {
    for (noise, kind) in Noise::ALL.iter().zip(&SAMPLING.0) {
        let left_out = kind.left_out.load(Relaxed);
        let count = left_out - kind.reported.swap(left_out, Relaxed).min(left_out);
        if count > 0 {
            let kind = noise.as_str();
            tracing::info!(target: SECURITY, event = "log.sampled", kind, count, "log lines were omitted: too many of one kind");
        }
    }
}

static SAMPLING: LazyLock<Sampling> = LazyLock::new(Sampling::new);

/// One for each kind, in the order of [`Noise::ALL`].
struct Sampling([Kind; Noise::ALL.len()]);

struct Kind {
    /// Sources are hashed to a fixed number of cells, which bounds memory; outsiders cannot predict which sources share a cell.
    sources: Box<[Limiter]>,
    all: Limiter,
    hasher: RandomState,
    left_out: AtomicU64,
    reported: AtomicU64,
}

/// A lock-free limiter: one atomic number.
type Limiter = RateLimiter<NotKeyed, InMemoryState, Elapsed, NoOpMiddleware<Duration>>;

impl Sampling {
    fn new() -> Self {
        let clock = Elapsed(Stopwatch::start());
        Self(array::from_fn(|kind| {
            let [source, all] = Noise::ALL[kind].rates().map(|(rate, burst)| quota(rate, burst));
            Kind {
                sources: (0..Kind::CELLS).map(|_| RateLimiter::direct_with_clock(source, clock)).collect(),
                all: RateLimiter::direct_with_clock(all, clock),
                hasher: RandomState::new(),
                left_out: AtomicU64::new(0),
                reported: AtomicU64::new(0),
            }
        }))
    }

    fn admits(&self, noise: Noise, source: IpAddr) -> bool {
        self.0[noise as usize].admits(source)
    }
}

impl Kind {
    const CELLS: usize = 512;

    fn admits(&self, source: IpAddr) -> bool {
        // The owner of one IPv6 address has the whole /64.
        let network = match source.to_canonical() {
            IpAddr::V4(address) => u64::from(address.to_bits()),
            IpAddr::V6(address) => (address.to_bits() >> 64) as u64,
        };
        let cell = self.hasher.hash_one(network) as usize % Self::CELLS;
        let admitted = self.sources[cell].check().is_ok() && self.all.check().is_ok();
        if !admitted {
            self.left_out.fetch_add(1, Relaxed);
        }
        admitted
    }
}

fn quota(rate: u32, burst: u32) -> Quota {
    let number = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
    Quota::per_second(number(rate)).allow_burst(number(burst))
}

/// Time since logging started.
#[derive(Debug, Clone, Copy)]
struct Elapsed(Stopwatch);

impl Clock for Elapsed {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hd10_a_flood_from_one_source_does_not_omit_lines_of_others() {
        let sampling = Sampling::new();
        let address = |number: u32| IpAddr::from(std::net::Ipv4Addr::from_bits(0x0a00_0000 + number));
        let admitted = |source, count| (0..count).filter(|_| sampling.admits(Noise::NotFound, source)).count();
        let flood = admitted(address(1), 20_000);
        assert!((100..1000).contains(&flood), "{flood}");
        let left_out = sampling.0[Noise::NotFound as usize].left_out.load(Relaxed);
        assert_eq!(left_out, 20_000 - flood as u64, "every omitted line is counted");
        // One of them may share the cell of the flood.
        let others: usize = (2..5).map(|number| admitted(address(number), 1)).sum();
        assert!(others >= 2);
        assert!(sampling.admits(Noise::Refused, address(1)), "another kind is not affected");
        let everyone: usize = (0..100_000).map(|number| admitted(address(number), 1)).sum();
        assert!(everyone < 5000, "the limit for all sources: {everyone}");
    }
}
