use serde::Serialize;

use crate::server::{
    keys::{KeyEvent, KeyEventKind, KeyPlan, name_of_key},
    model::rfc3339,
};

/// What will happen to the signing keys.
#[derive(Debug, Serialize)]
pub(crate) struct KeyPlanView {
    pub(crate) from: String,
    pub(crate) until: String,
    pub(crate) key_rotation_period: String,
    pub(crate) key_publish_lead: String,
    pub(crate) events: Vec<KeyEventView>,
    /// Why it may not come true.
    pub(crate) warnings: Vec<String>,
}

/// Something that will happen to a signing key.
#[derive(Debug, Serialize)]
pub(crate) struct KeyEventView {
    pub(crate) at: String,
    pub(crate) what: KeyEventKind,
    /// Its short name, `RS256 #4`, which a key has before it exists.
    pub(crate) key: String,
    /// `None` if the key does not exist yet.
    pub(crate) kid: Option<String>,
    pub(crate) alg: &'static str,
    pub(crate) generation: Option<i64>,
    pub(crate) why: String,
}

impl From<KeyPlan> for KeyPlanView {
    fn from(plan: KeyPlan) -> Self {
        Self {
            from: rfc3339(plan.from),
            until: rfc3339(plan.until),
            key_rotation_period: humantime::format_duration(plan.period).to_string(),
            key_publish_lead: humantime::format_duration(plan.lead).to_string(),
            events: plan.events.into_iter().map(KeyEventView::from).collect(),
            warnings: plan.warnings.iter().map(ToString::to_string).collect(),
        }
    }
}

impl From<KeyEvent> for KeyEventView {
    fn from(event: KeyEvent) -> Self {
        let alg = event.algorithm.as_str();
        Self {
            at: rfc3339(event.at),
            what: event.kind,
            key: name_of_key(alg, event.generation),
            kid: event.kid,
            alg,
            generation: event.generation,
            why: event.why.to_string(),
        }
    }
}
