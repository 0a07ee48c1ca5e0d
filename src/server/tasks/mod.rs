//! What a server does besides answering requests.

mod epoch_watch;
mod failures;
mod housekeeping;
mod key_rotation;
mod purge;
mod sealing_watch;
mod status_publisher;
mod withdrawals;

pub(super) use epoch_watch::EpochWatch;
pub(super) use housekeeping::Housekeeping;
pub(super) use key_rotation::KeyRotation;
pub(super) use sealing_watch::SealingWatch;
pub(super) use status_publisher::StatusPublisher;
pub(super) use withdrawals::Withdrawals;
