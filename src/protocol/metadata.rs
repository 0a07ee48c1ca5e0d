//! The server's metadata: RFC 8414 section 2.

use serde::Serialize;

use super::{Algorithm, AuthMethod, Ed25519Name, GrantType, Issuer};

/// The document at `/.well-known/oauth-authorization-server`.
///
/// No response type is supported, and the authorization endpoint refuses every request. Both stand here because clients refuse metadata without
/// them: all official MCP clients want the endpoint, and the one in TypeScript the response types too. They are `none`, because section 3.2 forbids
/// empty arrays. No PKCE method is named, because there is no authorization code to protect. The two members of OpenID Connect are there for
/// libraries that read the document at its OpenID path: Spring Security fails without `subject_types_supported`, clouds without
/// `id_token_signing_alg_values_supported`, and go-oidc accepts only tokens of the algorithms in the latter, or of RS256 alone. No ID token is issued.
#[derive(Debug, Clone, Serialize)]
pub struct ServerMetadata {
    issuer: Issuer,
    authorization_endpoint: String,
    token_endpoint: String,
    revocation_endpoint: String,
    introspection_endpoint: String,
    jwks_uri: String,
    response_types_supported: [&'static str; 1],
    grant_types_supported: Vec<GrantType>,
    token_endpoint_auth_methods_supported: &'static [AuthMethod],
    token_endpoint_auth_signing_alg_values_supported: Vec<&'static str>,
    revocation_endpoint_auth_methods_supported: &'static [AuthMethod],
    revocation_endpoint_auth_signing_alg_values_supported: Vec<&'static str>,
    introspection_endpoint_auth_methods_supported: &'static [AuthMethod],
    introspection_endpoint_auth_signing_alg_values_supported: Vec<&'static str>,
    subject_types_supported: [&'static str; 1],
    id_token_signing_alg_values_supported: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_list_aggregation_endpoint: Option<String>,
}

impl ServerMetadata {
    /// The path of the authorization endpoint under the issuer, which refuses every request.
    pub const AUTHORIZATION_ROUTE: &'static str = "/oauth/authorize";
    /// The path of the token endpoint under the issuer.
    pub const TOKEN_ROUTE: &'static str = "/oauth/token";
    /// The path of the revocation endpoint under the issuer (RFC 7009).
    pub const REVOCATION_ROUTE: &'static str = "/oauth/revoke";
    /// The path of the introspection endpoint under the issuer (RFC 7662).
    pub const INTROSPECTION_ROUTE: &'static str = "/oauth/introspect";
    /// The path of the status lists under the issuer (draft-ietf-oauth-status-list). Each list is one segment below.
    pub const STATUS_LISTS_ROUTE: &'static str = "/oauth/status-lists";
    /// The path of the public keys under the issuer.
    pub const JWKS_ROUTE: &'static str = "/.well-known/jwks.json";
    /// The path of this document: before the issuer's own path (RFC 8414 section 3.1), and after it for clients that append it.
    pub const ROUTE: &'static str = "/.well-known/oauth-authorization-server";
    /// The path of the same document for libraries that know only the OpenID Connect path.
    pub const ALIAS_ROUTE: &'static str = "/.well-known/openid-configuration";

    /// The URL of the metadata of `issuer`: the well-known path comes before the issuer's own (RFC 8414 section 3.1).
    ///
    /// ```
    /// use sealwright::protocol::{Issuer, ServerMetadata};
    ///
    /// let issuer: Issuer = "https://example.com/auth".parse().unwrap();
    /// assert_eq!(ServerMetadata::url(&issuer), "https://example.com/.well-known/oauth-authorization-server/auth");
    /// ```
    #[must_use]
    pub fn url(issuer: &Issuer) -> String {
        let issuer_url = issuer.endpoint("");
        let (origin, path) = issuer_url.split_at(issuer_url.len() - issuer.path().len());
        format!("{origin}{}{path}", Self::ROUTE)
    }

    /// The metadata of the server at `issuer` that offers `grant_types` and signs its tokens by these algorithms, by their published names.
    #[must_use]
    pub fn new(issuer: Issuer, grant_types: Vec<GrantType>, algorithms: Vec<&'static str>) -> Self {
        // Ed25519 has two names, and libraries know one or the other.
        let assertions: Vec<_> =
            Algorithm::SIGNED_WITH.iter().map(|algorithm| algorithm.as_str()).chain([Ed25519Name::EdDsa.as_str()]).collect();
        Self {
            authorization_endpoint: issuer.endpoint(Self::AUTHORIZATION_ROUTE),
            token_endpoint: issuer.endpoint(Self::TOKEN_ROUTE),
            revocation_endpoint: issuer.endpoint(Self::REVOCATION_ROUTE),
            introspection_endpoint: issuer.endpoint(Self::INTROSPECTION_ROUTE),
            jwks_uri: issuer.endpoint(Self::JWKS_ROUTE),
            issuer,
            response_types_supported: ["none"],
            grant_types_supported: grant_types,
            token_endpoint_auth_methods_supported: AuthMethod::ALL,
            token_endpoint_auth_signing_alg_values_supported: assertions.clone(),
            revocation_endpoint_auth_methods_supported: AuthMethod::ALL,
            revocation_endpoint_auth_signing_alg_values_supported: assertions.clone(),
            introspection_endpoint_auth_methods_supported: AuthMethod::ALL,
            introspection_endpoint_auth_signing_alg_values_supported: assertions,
            subject_types_supported: ["public"],
            id_token_signing_alg_values_supported: algorithms,
            status_list_aggregation_endpoint: None,
        }
    }

    /// The same for a server whose tokens name a status list: announces the list of the lists (draft-ietf-oauth-status-list section 9).
    #[must_use]
    pub fn with_status_lists(self) -> Self {
        let endpoint = self.issuer.endpoint(Self::STATUS_LISTS_ROUTE);
        Self { status_list_aggregation_endpoint: Some(endpoint), ..self }
    }
}
