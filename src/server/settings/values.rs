use std::collections::HashMap;

use super::{Error, Program, Setting};
use crate::server::caller_text;

/// The error of a parser of values: the reason, if there is one to show.
pub(crate) type Why = Option<String>;

/// The origin of a value of the command line.
const FLAG: &str = "from a flag";

/// A value that was set.
#[derive(Debug, Clone)]
pub(super) struct Given {
    pub(super) text: String,
    /// Its source, for messages.
    pub(super) origin: String,
}

impl Given {
    pub(super) fn by_flag(text: String) -> Self {
        Self { text, origin: FLAG.to_owned() }
    }
}

/// The values that were set, with their origins.
#[derive(Debug)]
pub(crate) struct Values {
    program: Program,
    given: HashMap<String, Given>,
    /// Ignored variables that Kubernetes set.
    pub(crate) service_links: Vec<String>,
}

impl Values {
    /// Refuses values of unknown settings.
    pub(super) fn new(program: Program, given: HashMap<String, Given>, service_links: Vec<String>) -> Result<Self, Error> {
        if let Some((name, Given { origin, .. })) = given.iter().find(|(name, _)| program.find(name).is_none()) {
            return Err(Error::Unknown { name: name.clone(), origin: origin.clone(), nearest: program.nearest(name) });
        }
        Ok(Self { program, given, service_links })
    }

    /// The value of a setting that has a default.
    pub(crate) fn parse<T>(&self, name: &'static str, parse: impl Fn(&str) -> Result<T, Why>) -> Result<T, Error> {
        self.parse_if_any(name, parse)?.ok_or_else(|| self.refuse(name, None))
    }

    /// The value of a setting that may be absent.
    pub(crate) fn parse_if_any<T>(&self, name: &'static str, parse: impl Fn(&str) -> Result<T, Why>) -> Result<Option<T>, Error> {
        let given = self.given.get(name).map(|given| given.text.as_str());
        let value = given.or_else(|| self.program.find(name).and_then(|setting| setting.default));
        value.map(parse).transpose().map_err(|why| self.refuse(name, why))
    }

    /// Whether the value of a setting was given on the command line.
    pub(crate) fn is_flag(&self, name: &str) -> bool {
        self.given.get(name).is_some_and(|given| given.origin == FLAG)
    }

    /// The error for the value of a setting.
    pub(crate) fn refuse(&self, name: &'static str, why: Why) -> Error {
        let missing = || Given { text: "missing".to_owned(), origin: "not set".to_owned() };
        let Given { text, origin } = self.given.get(name).cloned().unwrap_or_else(missing);
        let setting = self.program.find(name);
        let hidden = setting.is_none_or(Setting::may_be_secret);
        // What stands before an @ in a URL may be a password, and a secret may stand where a name should.
        let value = if hidden || text.contains('@') || caller_text::holds_secret(&text) {
            "not shown because it may be secret".to_owned()
        } else {
            format!("{text:?}")
        };
        Error::Value { name, value, origin, why, allowed: setting.map_or("", |setting| setting.allowed) }
    }
}
