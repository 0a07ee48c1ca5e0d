//! The issuers whose tokens a guard accepts.

use url::Url;

use super::{
    RuleFileError,
    table::{At, Table, nearest},
};
use crate::{
    outbound::endpoint,
    protocol::{Algorithm, Issuer},
    verifier::{self, Revocation, Verifier},
};

const KEYS: [&str; 5] = ["algorithms", "audience", "issuer", "jwks_uri", "revocation"];
const MODES: [&str; 3] = ["lenient", "off", "strict"];

/// An issuer, and what the API is called there.
#[derive(Debug, Clone)]
pub(crate) struct TrustedIssuer {
    /// The line of its `[[issuer]]`.
    pub(super) line: usize,
    pub(crate) issuer: Issuer,
    /// Never empty.
    pub(crate) audience: String,
    /// The URL of its keys, if its metadata is not to be read.
    pub(crate) jwks_uri: Option<Url>,
    /// Never empty.
    pub(crate) algorithms: Vec<Algorithm>,
    /// `None` is the default of the verifier.
    pub(crate) revocation: Option<Revocation>,
}

impl TrustedIssuer {
    pub(super) fn read(table: Table<'_>) -> Result<Self, RuleFileError> {
        table.require_known("an issuer", &KEYS)?;
        let required = |key: &'static str| {
            let missing = || RuleFileError::at(table.line, format!("this issuer has no {key}"));
            table.text(key)?.ok_or_else(missing)
        };
        let (issuer, audience) = (required("issuer")?, required("audience")?);
        if audience.value.is_empty() || audience.value.chars().any(char::is_control) {
            return Err(RuleFileError::at(
                audience.line,
                "audience must be the name of the API at the issuer, such as https://orders.example",
            ));
        }
        let issuer = issuer.value.parse::<Issuer>().map_err(|why| RuleFileError::at(issuer.line, why.to_string()))?;
        let jwks_uri = table.text("jwks_uri")?.map(|url| {
            let refused = "jwks_uri must be an https URL; http is allowed for loopback addresses, if the issuer's URL is one too";
            endpoint(url.value, &issuer).ok_or_else(|| RuleFileError::at(url.line, refused))
        });
        Ok(Self {
            line: table.line,
            jwks_uri: jwks_uri.transpose()?,
            audience: audience.value.to_owned(),
            algorithms: table.texts("algorithms")?.map_or_else(|| Ok(vec![Algorithm::Rs256]), |names| algorithms(&names))?,
            revocation: table.text("revocation")?.map(revocation).transpose()?,
            issuer,
        })
    }

    /// A verifier for its tokens.
    pub(crate) fn verifier(&self) -> verifier::Builder {
        let names = self.algorithms.iter().map(|algorithm| algorithm.as_str());
        let mut builder = Verifier::for_issuer(self.issuer.as_str()).audience(self.audience.as_str()).algorithms(names);
        if let Some(url) = &self.jwks_uri {
            builder = builder.jwks_uri(url.as_str());
        }
        if let Some(revocation) = self.revocation {
            builder = builder.revocation(revocation);
        }
        builder
    }
}

fn algorithms(names: &At<Vec<At<&str>>>) -> Result<Vec<Algorithm>, RuleFileError> {
    if names.value.is_empty() {
        return Err(RuleFileError::at(names.line, "algorithms is an empty list: leave it out for RS256"));
    }
    let parse =
        |name: &At<&str>| name.value.parse::<Algorithm>().map_err(|why| RuleFileError::at(name.line, format!("{:?}: {why}", name.value)));
    names.value.iter().map(parse).collect()
}

fn revocation(mode: At<&str>) -> Result<Revocation, RuleFileError> {
    match mode.value {
        "off" => Ok(Revocation::Off),
        "lenient" => Ok(Revocation::Lenient),
        "strict" => Ok(Revocation::Strict),
        other => {
            let nearest = nearest(other, &MODES).map(|known| format!("; did you mean {known}?")).unwrap_or_default();
            Err(RuleFileError::at(mode.line, format!("revocation must be {}, not {other:?}{nearest}", MODES.join(", "))))
        }
    }
}
