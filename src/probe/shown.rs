//! One token of the probe as a request to repeat by hand.

use super::{run::Probe, unprobed::Unprobed};
use crate::verifier::testing::InHeader;

/// Linux refuses an argument of a command that is longer than 128 KiB.
const MOST_IN_COMMAND: usize = 100 * 1024;

/// A token by its name.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) name: String,
    pub(crate) token: String,
}

impl Probe {
    /// Every token of this run that a command can send: valid ones, valid ones without the scope, and hostile ones.
    pub(crate) fn all_tokens(&self) -> Result<Vec<Shown>, Unprobed> {
        let good = Shown { name: "a good token".to_owned(), token: self.good().sign()? };
        let refused = self.made_without_scope()?.into_iter().chain(self.made_hostile()?).filter(|hostile| {
            matches!(hostile.in_header, InHeader::Unchanged | InHeader::TooLong) && hostile.token.len() <= MOST_IN_COMMAND
        });
        Ok([good].into_iter().chain(refused.map(|hostile| Shown { name: hostile.name, token: hostile.token })).collect())
    }

    /// The token of this name.
    pub(crate) fn token_named(&self, name: &str) -> Result<Shown, Unprobed> {
        let found = self.all_tokens()?.into_iter().find(|shown| shown.name == name);
        found.ok_or_else(|| Unprobed::NoSuchToken(name.to_owned()))
    }

    /// A command that sends the token.
    pub(crate) fn as_command(&self, token: &str) -> String {
        let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
        let method = match self.options.method.as_str() {
            "HEAD" => "--head".to_owned(),
            method => format!("-i -X {}", quoted(method)),
        };
        // By default, curl takes brackets in a URL for a pattern.
        let mut command = format!("curl -g {method} {}", quoted(self.options.url.as_str()));
        for (name, value) in &self.options.headers {
            command.push_str(&format!(" -H {}", quoted(&format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())))));
        }
        if let Some(body) = &self.options.body {
            let content_type = String::from_utf8_lossy(self.options.content_type.as_bytes());
            command.push_str(&format!(" -H {} --data-raw {}", quoted(&format!("Content-Type: {content_type}")), quoted(body)));
        }
        command.push_str(&format!(" -H {}", quoted(&format!("Authorization: Bearer {token}"))));
        command
    }
}
