//! The targets of log events that matter for security.

/// The target of security events that outsiders cannot cause at will.
pub(crate) const SECURITY: &str = "sealwright::security";
/// The target of security events that outsiders can cause at will, such as failed attempts. They may fill at most half of the queue for
/// security events.
pub(crate) const ALERT: &str = "sealwright::alert";
