//! The metrics that every process has: log lines that were not written, and the standard metrics of a process.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};

use crate::{clock::Timestamp, server::telemetry};

/// The kind of log lines.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LogLines {
    kind: &'static str,
}

/// The metrics of a process. They are sampled at each scrape.
#[derive(Debug, Default)]
pub(crate) struct ProcessMeters {
    log_lines_dropped: Counter,
    log_lines_left_out: Family<LogLines, Counter>,
    cpu_seconds: Counter<f64, std::sync::atomic::AtomicU64>,
    resident_bytes: Gauge,
    virtual_bytes: Gauge,
    open_fds: Gauge,
    max_fds: Gauge,
    threads: Gauge,
    start_time: Gauge<f64, std::sync::atomic::AtomicU64>,
}

impl ProcessMeters {
    /// Registers those of the log among the program's own.
    pub(crate) fn register_log(&self, registry: &mut Registry) {
        registry.register("log_lines_dropped", "Log lines that could not be written", self.log_lines_dropped.clone());
        let help = "Log lines omitted because there were too many of their kind";
        registry.register("log_lines_left_out", help, self.log_lines_left_out.clone());
    }

    /// Registers the standard ones.
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register_with_unit("cpu", "CPU time of the process", Unit::Seconds, self.cpu_seconds.clone());
        registry.register_with_unit("resident_memory", "Resident memory", Unit::Bytes, self.resident_bytes.clone());
        registry.register_with_unit("virtual_memory", "Virtual memory", Unit::Bytes, self.virtual_bytes.clone());
        registry.register("open_fds", "Open file descriptors", self.open_fds.clone());
        registry.register("max_fds", "Maximum number of open file descriptors", self.max_fds.clone());
        registry.register("threads", "Threads of the process", self.threads.clone());
        let help = "When the process started, since 1970-01-01T00:00:00Z";
        registry.register_with_unit("start_time", help, Unit::Seconds, self.start_time.clone());
    }

    /// Samples them. The process started at `started`. Calls must not overlap: values sampled for one must not be added twice.
    pub(crate) fn sample(&self, started: Timestamp) {
        let dropped = &self.log_lines_dropped;
        dropped.inc_by(telemetry::lines_dropped().saturating_sub(dropped.get()));
        for (kind, count) in telemetry::lines_left_out() {
            let left_out = self.log_lines_left_out.get_or_create(&LogLines { kind });
            left_out.inc_by(count.saturating_sub(left_out.get()));
        }
        self.start_time.set(started.seconds() as f64);
        self.sample_system();
    }

    /// Without `/proc`, these metrics stay at zero.
    #[cfg(target_os = "linux")]
    fn sample_system(&self) {
        let Ok(process) = procfs::process::Process::myself() else { return };
        if let Ok(stat) = process.stat() {
            let ticks = procfs::ticks_per_second() as f64;
            let computed = (stat.utime + stat.stime) as f64 / ticks;
            self.cpu_seconds.inc_by((computed - self.cpu_seconds.get()).max(0.0));
            self.resident_bytes.set(i64::try_from(stat.rss * procfs::page_size()).unwrap_or(i64::MAX));
            self.virtual_bytes.set(i64::try_from(stat.vsize).unwrap_or(i64::MAX));
            self.threads.set(stat.num_threads);
        }
        if let Ok(count) = process.fd_count() {
            self.open_fds.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        if let Ok(limits) = process.limits()
            && let procfs::process::LimitValue::Value(most) = limits.max_open_files.soft_limit
        {
            self.max_fds.set(i64::try_from(most).unwrap_or(i64::MAX));
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn sample_system(&self) {}
}
