//! The state of the verifier, as metrics: the same ones as [`Status::prometheus`](crate::verifier::Status::prometheus) has.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, NoLabelSet},
    metrics::MetricType,
};

use crate::verifier::{IssuerStatus, KeyAvailability, Verifier};

/// Reads the state at each scrape.
#[derive(Debug)]
pub(super) struct VerifierMeters(pub(super) Verifier);

/// The name of a metric, what it counts, and how it is read.
type Metric<T> = (&'static str, &'static str, fn(&IssuerStatus) -> T);

/// Counters of each issuer.
const COUNTERS: [Metric<u64>; 4] = [
    ("key_fetches", "Attempts to fetch the issuer's keys", |issuer| issuer.fetches),
    ("key_fetch_failures", "Attempts that failed", |issuer| issuer.failures),
    ("status_list_fetches", "Attempts to fetch status lists of the issuer", |issuer| issuer.status_list_fetches),
    ("status_list_fetch_failures", "Attempts that failed", |issuer| issuer.status_list_failures),
];

/// Gauges of each issuer. Those that are `None` are left out.
const GAUGES: [Metric<Option<f64>>; 7] = [
    ("keys", "Keys of the issuer that are used", |issuer| Some(issuer.kids.len() as f64)),
    ("keys_skipped", "Keys of the issuer that are not used", |issuer| Some(issuer.skipped.len() as f64)),
    ("keys_usable", "Whether tokens can be checked", |issuer| Some(f64::from(u8::from(issuer.keys != KeyAvailability::Missing)))),
    ("key_age_seconds", "Time since the keys were fetched", |issuer| issuer.age.map(|age| age.as_secs_f64())),
    ("status_lists", "Status lists that tokens of the issuer name", |issuer| Some(issuer.status_lists.len() as f64)),
    ("status_lists_stale", "Status lists that the issuer has not confirmed in time", |issuer| {
        Some(issuer.status_lists.iter().filter(|list| list.is_stale).count() as f64)
    }),
    ("status_list_age_seconds", "Time since the issuer confirmed the oldest status list", |issuer| {
        issuer.status_lists.iter().filter_map(|list| list.age).max().map(|age| age.as_secs_f64())
    }),
];

impl Collector for VerifierMeters {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let status = self.0.status();
        let mut tokens = encoder.encode_descriptor("tokens", "Tokens by result", None, MetricType::Counter)?;
        for (result, count) in [("accepted", status.accepted)].into_iter().chain(status.refused.iter().copied()) {
            let labels = [("result", result)];
            tokens.encode_family(&labels)?.encode_counter::<NoLabelSet, u64, u64>(&count, None)?;
        }
        for (name, help, read) in COUNTERS {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for issuer in &status.issuers {
                let labels = [("issuer", issuer.issuer.as_str())];
                family.encode_family(&labels)?.encode_counter::<NoLabelSet, u64, u64>(&read(issuer), None)?;
            }
        }
        for (name, help, read) in GAUGES {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for issuer in &status.issuers {
                let Some(value) = read(issuer) else { continue };
                let labels = [("issuer", issuer.issuer.as_str())];
                family.encode_family(&labels)?.encode_gauge(&value)?;
            }
        }
        Ok(())
    }
}
