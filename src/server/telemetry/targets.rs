//! The targets of log events that matter for security.

/// The target of events that matter for security and that no stranger can cause at will.
pub(crate) const SECURITY: &str = "sealwright::security";
/// The target of events that matter for security and that strangers can cause at will, such as failed attempts. They have at most
/// half of that queue.
pub(crate) const ALERT: &str = "sealwright::alert";
