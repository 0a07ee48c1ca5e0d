use super::api_docs::Policy as ApiDocsPolicy;
use crate::{
    protocol::Issuer,
    server::{
        process::ListenerPolicy,
        settings::{Error, Setting, Values, boolean, setting},
    },
};

/// The settings of the public listener.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    pub(crate) listener: ListenerPolicy,
    pub(crate) api_docs: ApiDocsPolicy,
}

impl Policy {
    pub(crate) const LISTEN: &'static [Setting] = &[setting(
        "listen",
        Some("127.0.0.1:8080"),
        "the address to listen on",
        "an IP address and a port, such as 127.0.0.1:8080 or [::1]:8080 (port 0 takes a free one); an address beyond loopback requires an https issuer, and tls_cert and tls_key, or behind_proxy",
    )];
    pub(crate) const API_DOCS: &'static [Setting] = &[setting(
        "api_docs",
        Some("true"),
        "whether the API's description (/openapi.yaml, /openapi.json) and its page (/docs) are served",
        "true or false",
    )];

    /// Beyond loopback, `issuer` must use https.
    pub(crate) fn read(values: &Values, issuer: Option<&Issuer>) -> Result<Self, Error> {
        let listener = ListenerPolicy::read(values)?;
        if !listener.listen.ip().is_loopback() && issuer.is_none_or(|issuer| !issuer.as_str().starts_with("https:")) {
            return Err(values.refuse("listen", Some("beyond loopback, issuer must be set to an https URL".to_owned())));
        }
        Ok(Self { listener, api_docs: ApiDocsPolicy { served: values.parse("api_docs", boolean)?, demo: None } })
    }
}
