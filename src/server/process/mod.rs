//! What every process with listeners has, whatever it serves: the listeners and how they end, background tasks, the certificate, the
//! management listener with health and metrics, and the parts that each request has.

mod certificate_watch;
mod health;
mod hosts;
mod lent;
mod listeners;
mod management;
mod no_length;
mod request;
mod settings;
mod tasks;
mod unread;

pub use certificate_watch::Reload;

pub(crate) use certificate_watch::CertificateWatch;
pub(crate) use health::{live, partly_ready, readiness};
pub(crate) use hosts::Hosts;
pub(crate) use listeners::{BoundPorts, End, ListenError, Listeners, Port, Service};
pub(crate) use management::{management, metrics_answer};
pub(crate) use no_length::keep_without_length;
pub(crate) use request::{NoAnswer, RequestId, announce_last, answer_or_panic, answer_within, known_method, why_abandoned};
pub(crate) use settings::{ListenerPolicy, ManagementPolicy};
pub(crate) use tasks::{Task, Tasks};
pub(crate) use unread::Unread;
