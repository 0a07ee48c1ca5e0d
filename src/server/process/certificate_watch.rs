//! Follows the files of the TLS certificate, so that it is renewed without a restart.

use std::{convert::Infallible, mem::Discriminant, sync::Arc, time::Duration};

use tokio::sync::Notify;

use super::tasks::Task;
use crate::{
    clock::{SharedClock, Timestamp},
    server::{
        edge::{Certificate, Concern, Tls},
        meters::ConnectionMeters,
    },
};

/// How often the files are checked.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How often the log repeats the problems of the certificate.
const REMIND_EVERY: Duration = Duration::from_secs(24 * 3600);

/// A handle that makes a process reload its certificate.
#[derive(Debug, Clone, Default)]
pub struct Reload {
    /// `None` without a certificate.
    request: Option<Arc<Notify>>,
}

impl Reload {
    /// Requests a reload. The log reports the outcome.
    pub fn ask(&self) {
        match &self.request {
            Some(request) => request.notify_one(),
            None => tracing::info!("reload: nothing to reload, because this server has no certificate; settings change only at a restart"),
        }
    }
}

/// Loads a new certificate when its files change, or at once when a reload is requested, and warns before the certificate expires.
#[derive(Debug)]
pub(crate) struct CertificateWatch {
    tls: Tls,
    clock: SharedClock,
    meters: ConnectionMeters,
    requested: Arc<Notify>,
    /// The host for which the certificate should be valid, if it is known.
    host: Option<String>,
}

impl CertificateWatch {
    pub(crate) fn new(tls: Tls, clock: SharedClock, meters: ConnectionMeters, host: Option<String>) -> Self {
        Self { tls, clock, meters, requested: Arc::default(), host }
    }

    pub(crate) fn reload(&self) -> Reload {
        Reload { request: Some(Arc::clone(&self.requested)) }
    }
}

impl Task for CertificateWatch {
    const NAME: &'static str = "certificate watch";
    const WHEN_IT_ENDS: &'static str = "a renewed certificate is not loaded any more";

    async fn run(self) -> Infallible {
        let Self { tls, clock, meters, requested, host } = self;
        tls.measure(&meters);
        let mut reported = None;
        let mut reminder = Reminder::default();
        loop {
            reminder.remind(&tls.certificate(), clock.now(), host.as_deref());
            let reload_requested = tokio::select! {
                () = clock.sleep_until(Self::NAME, clock.now() + LOOK_EVERY) => false,
                () = requested.notified() => true,
            };
            let reading = tls.clone();
            let Ok(read) = tokio::task::spawn_blocking(move || reading.reload()).await else { continue };
            match read {
                Ok(false) if reload_requested => {
                    tracing::info!("reload: the certificate files have not changed; other settings need a restart");
                }
                Ok(false) => {}
                Ok(true) => {
                    tls.measure(&meters);
                    reminder = Reminder::default();
                    reported = None;
                    tracing::info!(certificate = %tls.certificate_file().display(), "new connections use the new certificate");
                }
                // The files may be incomplete while they are being replaced; the next check follows.
                Err(error) => {
                    let why = error.to_string();
                    if reload_requested || reported.as_ref() != Some(&why) {
                        tracing::error!(error = why, "the new certificate cannot be used; the previous one stays in use");
                        reported = Some(why);
                    }
                }
            }
        }
    }
}

/// The last reported problems of the certificate, and when they were reported.
#[derive(Debug, Default)]
struct Reminder(Option<(Vec<Discriminant<Concern>>, Timestamp)>);

impl Reminder {
    /// Logs the problems of the certificate when they change, and then daily.
    fn remind(&mut self, certificate: &Certificate, now: Timestamp, host: Option<&str>) {
        let concerns = certificate.concerns(now, host);
        let kinds: Vec<_> = concerns.iter().map(std::mem::discriminant).collect();
        let reported = self.0.as_ref().is_some_and(|(reported, at)| *reported == kinds && now.since(*at) < REMIND_EVERY);
        if reported || concerns.is_empty() {
            return;
        }
        for concern in &concerns {
            if concern.is_fatal() {
                tracing::error!(error = %concern, "clients refuse the TLS certificate");
            } else {
                tracing::warn!(warning = %concern, "the TLS certificate needs attention");
            }
        }
        self.0 = Some((kinds, now));
    }
}
