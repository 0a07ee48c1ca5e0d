//! The answers of this process itself: problem details (RFC 9457), which say who can fix the problem. What an origin answers is never
//! changed.

use std::{fmt, time::Duration};

use axum::{body::Body, response::Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::json;

use crate::{
    client::{self, Party},
    proxy::ForwardError,
};

/// Why a request was not forwarded, or got no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) reason: Reason,
    /// What to do about it. Contains no secret.
    detail: String,
    /// For how long the same request would fail in the same way.
    retry_after: Option<Duration>,
}

/// The reasons, by their names in answers, metrics and the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub(super) enum Reason {
    /// A web page caused the request.
    PageRefused,
    /// The request names a host that is not this machine.
    HostRefused,
    /// It has an `Authorization` of its own.
    AuthorizationPresent,
    /// It cannot be forwarded, whatever its route.
    RequestRefused,
    /// The rest of it did not arrive.
    RequestStalled,
    /// No route is for its path.
    NoRoute,
    /// There is no token because this process is set up wrong.
    ClientMisconfigured,
    /// There is no token because the issuer refuses the client.
    ClientRefused,
    /// There is no token because the issuer does not answer.
    IssuerUnavailable,
    /// The origin cannot be reached, or its answer is not HTTP.
    OriginUnreachable,
    /// The origin takes too long.
    OriginTooSlow,
    /// Too many requests are under way.
    Full,
    /// A fault of this process.
    Broken,
}

impl Reason {
    pub(super) fn as_str(self) -> &'static str {
        self.into()
    }

    /// 4xx: the app has to change the request. 502: someone has to change something, and until then it stays so. 503 and 504: it may pass by
    /// itself. Never 401 or 403 for a token that is missing: the app would take that for the answer of the API.
    const fn status(self) -> StatusCode {
        match self {
            Self::PageRefused => StatusCode::FORBIDDEN,
            Self::HostRefused => StatusCode::MISDIRECTED_REQUEST,
            Self::AuthorizationPresent | Self::RequestRefused => StatusCode::BAD_REQUEST,
            Self::RequestStalled => StatusCode::REQUEST_TIMEOUT,
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::ClientMisconfigured | Self::ClientRefused | Self::OriginUnreachable => StatusCode::BAD_GATEWAY,
            Self::IssuerUnavailable | Self::Full => StatusCode::SERVICE_UNAVAILABLE,
            Self::OriginTooSlow => StatusCode::GATEWAY_TIMEOUT,
            Self::Broken => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::PageRefused => "A web page caused this request",
            Self::HostRefused => "This request names another host",
            Self::AuthorizationPresent => "This request has an Authorization header",
            Self::RequestRefused => "This request cannot be forwarded",
            Self::RequestStalled => "The rest of this request did not arrive",
            Self::NoRoute => "No route is for this path",
            Self::ClientMisconfigured => "There is no token: sealwright attach is set up wrong",
            Self::ClientRefused => "There is no token: the issuer refuses the client",
            Self::IssuerUnavailable => "There is no token: the issuer does not answer",
            Self::OriginUnreachable => "The API cannot be reached",
            Self::OriginTooSlow => "The API did not answer in time",
            Self::Full => "Too many requests are under way",
            Self::Broken => "sealwright attach failed",
        }
    }

    /// The party that can fix it.
    const fn party(self) -> &'static str {
        match self {
            Self::PageRefused | Self::HostRefused | Self::AuthorizationPresent | Self::NoRoute => "app",
            Self::RequestRefused | Self::RequestStalled => "app",
            Self::ClientMisconfigured | Self::Full | Self::Broken => "attach",
            Self::ClientRefused | Self::IssuerUnavailable => "issuer",
            Self::OriginUnreachable | Self::OriginTooSlow => "api",
        }
    }
}

impl Failure {
    fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into(), retry_after: None }
    }

    pub(super) fn page_refused() -> Self {
        Self::new(Reason::PageRefused, "Only programs may call sealwright attach: through a browser, any web site could act as the client.")
    }

    pub(super) fn host_refused() -> Self {
        Self::new(
            Reason::HostRefused,
            "Call sealwright attach by a loopback address or as localhost. It is not a proxy for URLs of other hosts.",
        )
    }

    pub(super) fn authorization_present() -> Self {
        Self::new(
            Reason::AuthorizationPresent,
            "The API would receive a token of the client instead of what the app sent. Remove the header, or set authorization = \"replace\".",
        )
    }

    pub(super) fn no_route() -> Self {
        Self::new(Reason::NoRoute, "The setting `to` has no route for this path.")
    }

    pub(super) fn broken(cause: impl fmt::Display) -> Self {
        Self::new(Reason::Broken, cause.to_string())
    }

    /// There is no token.
    pub(super) fn no_token(error: &client::Error) -> Self {
        let reason = match error.party() {
            // The issuer limits this client, or cannot be reached: both pass.
            _ if error.retry_after().is_some() => Reason::IssuerUnavailable,
            // The user is a setting of this process.
            Party::App | Party::User => Reason::ClientMisconfigured,
            Party::Network => Reason::IssuerUnavailable,
            _ => Reason::ClientRefused,
        };
        Self { retry_after: error.retry_after(), ..Self::new(reason, why_no_token(error)) }
    }

    /// The forwarder got no answer. Its messages contain nothing of the request.
    fn no_answer(error: &ForwardError) -> Self {
        let reason = match error {
            ForwardError::Unreachable(_) | ForwardError::BadAnswer(_) => Reason::OriginUnreachable,
            ForwardError::TimedOut => Reason::OriginTooSlow,
            ForwardError::BadRequest(_) => Reason::RequestRefused,
            ForwardError::Stalled => Reason::RequestStalled,
            ForwardError::Full => Reason::Full,
        };
        let retry_after = (reason == Reason::Full).then_some(Duration::from_secs(1));
        Self { retry_after, ..Self::new(reason, error.to_string()) }
    }

    /// The cause, for the log.
    pub(super) fn cause(&self) -> &str {
        &self.detail
    }

    /// Renders the answer. A fault of this process shows `request_id` and not its cause.
    pub(super) fn render(&self, request_id: &str) -> Response {
        let (reason, status) = (self.reason, self.reason.status());
        let detail = if reason == Reason::Broken { "The log has the cause, under the id of this request." } else { self.detail.as_str() };
        let body = json!({
            "title": reason.title(),
            "status": status.as_u16(),
            "detail": detail,
            "reason": reason.as_str(),
            "party": reason.party(),
            "request_id": request_id,
        });
        let mut response = Response::new(Body::from(body.to_string()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(wait) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(wait.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX)));
        }
        response
    }
}

/// Why there is no token, and what to do about it.
pub(super) fn why_no_token(error: &client::Error) -> String {
    match error.party() {
        // The text of the client is for an app that can ask its user again.
        Party::User => "the issuer refuses the user of this process: check the setting username, and its password in password_file or \
                        SEALWRIGHT_USER_PASSWORD; or the user may not sign in"
            .to_owned(),
        _ => error.to_string(),
    }
}

impl From<ForwardError> for Failure {
    fn from(error: ForwardError) -> Self {
        Self::no_answer(&error)
    }
}

#[cfg(test)]
mod tests {
    use strum::VariantArray;

    use super::*;

    #[test]
    fn gd4_a_missing_token_is_never_answered_like_a_refusal_of_the_api() {
        let wait = Duration::from_secs(7);
        for (error, reason, retry_after) in [
            (client::Error::Unreachable { reason: "refused".to_owned(), retry_after: wait }, Reason::IssuerUnavailable, Some("7")),
            (client::Error::Unavailable { reason: "503".to_owned(), retry_after: wait }, Reason::IssuerUnavailable, Some("7")),
            (client::Error::Limited { retry_after: wait }, Reason::IssuerUnavailable, Some("7")),
            (client::Error::WrongSecret, Reason::ClientRefused, None),
            (client::Error::WrongPassword, Reason::ClientMisconfigured, None),
            (client::Error::Secret("no such file".to_owned()), Reason::ClientMisconfigured, None),
            (client::Error::NotAnIssuer("html".to_owned()), Reason::ClientMisconfigured, None),
            (client::Error::OtherIssuer { claimed: "https://other.example".to_owned() }, Reason::ClientMisconfigured, None),
        ] {
            let failure = Failure::no_token(&error);
            assert_eq!(failure.reason, reason, "{error}");
            let answer = failure.render("id");
            let header = answer.headers().get(header::RETRY_AFTER).map(|value| value.to_str().unwrap());
            assert_eq!(header, retry_after, "{error}");
            assert!(answer.status().is_server_error(), "{error}");
        }
        let no_user = Failure::no_token(&client::Error::WrongPassword);
        assert!(no_user.cause().contains("check the setting username") && !no_user.cause().contains("ask the user"), "{no_user:?}");
    }

    #[test]
    fn every_reason_has_a_status_of_an_error_and_is_not_401() {
        for reason in Reason::VARIANTS {
            let status = reason.status();
            assert!(status.is_client_error() || status.is_server_error(), "{reason:?}");
            assert_ne!(status, StatusCode::UNAUTHORIZED, "{reason:?}");
            let ours = matches!(reason.party(), "app");
            assert_eq!(status.is_client_error(), ours, "{reason:?}: a 4xx is for the app to fix, and nothing else is");
        }
    }

    #[tokio::test]
    async fn a_fault_of_this_process_is_not_explained_to_the_app() {
        use http_body_util::BodyExt;

        let answer = Failure::broken("panic: intended").render("request-7");
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let body = String::from_utf8(body.to_vec()).unwrap();
        assert!(body.contains("request-7") && !body.contains("intended"), "{body}");
    }
}
