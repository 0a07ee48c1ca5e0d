//! Answers that refuse the token of their request.

use http::{HeaderMap, Method, StatusCode, header};

/// How an answer refuses the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RefusedToken {
    /// It says that the token is invalid: `invalid_token` for Bearer (RFC 6750 section 3.1), or the gRPC status `UNAUTHENTICATED`. The request
    /// had no effect.
    Stated,
    /// It is a 401 without a reason. It may come from something behind the API, after the API has acted.
    Possible,
}

impl RefusedToken {
    /// `None` if the answer does not refuse the token, or has a reason that another token does not change, such as `insufficient_scope`.
    pub(crate) fn of(status: StatusCode, headers: &HeaderMap) -> Option<Self> {
        if is_grpc(headers) && headers.get("grpc-status").is_some_and(|status| status == "16") {
            return Some(Self::Stated);
        }
        if status != StatusCode::UNAUTHORIZED {
            return None;
        }
        let mut refused = Self::Possible;
        for challenges in headers.get_all(header::WWW_AUTHENTICATE) {
            for (scheme, error) in errors(challenges.to_str().ok()?) {
                if error != "invalid_token" {
                    return None;
                }
                if scheme.eq_ignore_ascii_case("bearer") {
                    refused = Self::Stated;
                }
            }
        }
        Some(refused)
    }

    /// Whether a request that was answered so may be sent again: without doubt that the first had no effect, or if two have the same effect as
    /// one (RFC 9110 section 9.2.2).
    pub(crate) fn permits_repeating(self, method: &Method) -> bool {
        self == Self::Stated || method.is_idempotent()
    }
}

/// Whether an answer is one of gRPC. Among the headers of any other answer, `grpc-status` has no meaning.
fn is_grpc(headers: &HeaderMap) -> bool {
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    media_type.strip_prefix("application/grpc").is_some_and(|rest| rest.is_empty() || rest.starts_with(['+', ';']))
}

/// The parameters `error` of challenges, each with its scheme (RFC 9110 section 11.6.1).
fn errors(challenges: &str) -> Vec<(&str, &str)> {
    let (mut quoted, mut escaped) = (false, false);
    let separates = |letter: char| {
        match letter {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ',' => return !quoted,
            _ => {}
        }
        false
    };
    let (mut scheme, mut errors) = ("", Vec::new());
    for part in challenges.split(separates).map(str::trim) {
        // A scheme has no equals sign; its first parameter follows it after a space.
        let (before, after) = part.split_once([' ', '\t']).unwrap_or((part, ""));
        let parameter = if before.contains('=') || after.trim_start().starts_with('=') {
            part
        } else {
            scheme = before;
            after
        };
        if let Some((name, value)) = parameter.split_once('=')
            && name.trim().eq_ignore_ascii_case("error")
        {
            errors.push((scheme, value.trim().trim_matches('"')));
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(challenges: &[&str]) -> Option<RefusedToken> {
        let headers = challenges.iter().map(|value| (header::WWW_AUTHENTICATE, value.parse().unwrap()));
        RefusedToken::of(StatusCode::UNAUTHORIZED, &headers.collect())
    }

    #[test]
    fn gd4_only_a_bearer_challenge_with_invalid_token_states_that_the_token_is_refused() {
        for challenge in [
            "Bearer error=\"invalid_token\", error_description=\"over\"",
            "bearer realm=x, ERROR=invalid_token",
            "Bearer realm=\"a, b=c\" , error = \"invalid_token\"",
            "Basic realm=\"x\", Bearer error=invalid_token",
            "Bearer\terror=invalid_token",
        ] {
            assert_eq!(refused(&[challenge]), Some(RefusedToken::Stated), "{challenge}");
        }
        assert_eq!(refused(&["Basic realm=\"x\"", "Bearer error=\"invalid_token\""]), Some(RefusedToken::Stated));
        for challenges in [
            &["Bearer"][..],
            &[],
            &["Bearer realm=\"x\""],
            &["DPoP error=\"invalid_token\""],
            &["Bearer, DPoP error=\"invalid_token\""],
            &["Bearer realm=\"error=invalid_token\""],
            &["Bearer realm=\"x, Bearer error=invalid_token\""],
            &["Bearer error_description=\"\\\", error=invalid_token\""],
            &["error=invalid_token"],
            &["Basic realm=\"x\"", "Negotiate abc=="],
        ] {
            assert_eq!(refused(challenges), Some(RefusedToken::Possible), "{challenges:?}");
        }
        for challenges in [
            &["Bearer error=\"insufficient_scope\""][..],
            &["Bearer realm=\"x\",error=\"invalid_request\""],
            &["DPoP", "Bearer error=\"insufficient_scope\""],
            &["Bearer error=\"invalid_token\"", "Bearer error=\"insufficient_scope\""],
        ] {
            assert_eq!(refused(challenges), None, "{challenges:?}");
        }
        assert_eq!(RefusedToken::of(StatusCode::FORBIDDEN, &HeaderMap::new()), None);
    }

    #[test]
    fn gd4_a_grpc_status_counts_in_an_answer_of_grpc_alone() {
        let answer = |status: &'static str, media_type: &'static str| {
            let headers = [("grpc-status", status), ("content-type", media_type)];
            let headers = headers.into_iter().map(|(name, value)| (header::HeaderName::from_static(name), value.parse().unwrap()));
            RefusedToken::of(StatusCode::OK, &headers.collect())
        };
        for media_type in ["application/grpc", "application/grpc+proto", "application/grpc;charset=utf-8"] {
            assert_eq!(answer("16", media_type), Some(RefusedToken::Stated), "{media_type}");
            assert_eq!(answer("7", media_type), None, "{media_type}");
        }
        for media_type in ["application/json", "application/grpcxyz", "application/grpc-web", ""] {
            assert_eq!(answer("16", media_type), None, "{media_type}");
        }
    }

    #[test]
    fn gd4_a_write_is_repeated_only_if_the_first_had_no_effect() {
        for method in [Method::GET, Method::HEAD, Method::OPTIONS, Method::PUT, Method::DELETE] {
            assert!(RefusedToken::Possible.permits_repeating(&method), "{method}");
        }
        for method in [Method::POST, Method::PATCH, "PURCHASE".parse().unwrap()] {
            assert!(!RefusedToken::Possible.permits_repeating(&method) && RefusedToken::Stated.permits_repeating(&method), "{method}");
        }
    }
}
