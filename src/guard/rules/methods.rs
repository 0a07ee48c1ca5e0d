//! The methods of a rule.

use std::fmt;

use http::Method;

use super::table::{At, nearest};

/// The methods that a rule can name: those of HTTP (RFC 9110 section 9.3, RFC 5789), and those of WebDAV. `CONNECT` has no path.
const KNOWN: [&str; 20] = [
    "COPY",
    "DELETE",
    "GET",
    "HEAD",
    "LOCK",
    "MKCALENDAR",
    "MKCOL",
    "MOVE",
    "OPTIONS",
    "PATCH",
    "POST",
    "PROPFIND",
    "PROPPATCH",
    "PURGE",
    "PUT",
    "QUERY",
    "REPORT",
    "SEARCH",
    "TRACE",
    "UNLOCK",
];

/// The methods that a rule is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Methods {
    /// Also those that no rule can name.
    Every,
    /// At least one, each once.
    Only(Vec<Method>),
}

impl Methods {
    /// Parses the list of a file. The error has the line that is at fault.
    pub(super) fn parse(names: &At<Vec<At<&str>>>) -> Result<Self, At<String>> {
        let mut methods = Vec::new();
        for name in &names.value {
            let refuse = |value| At { line: name.line, value };
            if !KNOWN.contains(&name.value) {
                let upper = name.value.to_ascii_uppercase();
                let nearest = nearest(&upper, &KNOWN).map(|known| format!("; did you mean {known}?")).unwrap_or_default();
                return Err(refuse(format!("{:?} is not a method that a rule can name{nearest}", name.value)));
            }
            let method = Method::from_bytes(name.value.as_bytes()).map_err(|error| refuse(error.to_string()))?;
            if methods.contains(&method) {
                return Err(refuse(format!("the method {method} is listed twice")));
            }
            methods.push(method);
        }
        if methods.is_empty() {
            let value = "methods is an empty list: leave it out for every method, or remove the rule".to_owned();
            return Err(At { line: names.line, value });
        }
        Ok(Self::Only(methods))
    }

    /// Whether the rule is for this method. A rule for GET is for HEAD too: a server answers HEAD as it would answer GET (RFC 9110
    /// section 9.3.2).
    pub(super) fn include(&self, method: &Method) -> bool {
        match self {
            Self::Every => true,
            Self::Only(methods) => methods.contains(method) || method == Method::HEAD && methods.contains(&Method::GET),
        }
    }

    /// Whether these are all methods of `other`, and maybe more.
    pub(super) fn include_all_of(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Every, _) => true,
            (Self::Only(_), Self::Every) => false,
            (Self::Only(_), Self::Only(methods)) => methods.iter().all(|method| self.include(method)),
        }
    }

    /// A method that both are for, in words.
    pub(super) fn shared_with(&self, other: &Self) -> Option<String> {
        match (self, other) {
            (Self::Every, Self::Every) => Some("every method".to_owned()),
            (Self::Every, Self::Only(methods)) | (Self::Only(methods), Self::Every) => methods.first().map(ToString::to_string),
            (Self::Only(ours), Self::Only(theirs)) => {
                let shared = ours.iter().chain(theirs).find(|method| self.include(method) && other.include(method));
                shared.map(ToString::to_string)
            }
        }
    }
}

impl fmt::Display for Methods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Only(methods) = self else { return f.write_str("every method") };
        for (index, method) in methods.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            f.write_str(method.as_str())?;
        }
        let implied = methods.contains(&Method::GET) && !methods.contains(&Method::HEAD);
        f.write_str(if implied { ", HEAD" } else { "" })
    }
}
