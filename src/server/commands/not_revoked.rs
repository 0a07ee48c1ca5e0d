use crate::{
    clock::Timestamp,
    protocol::Issuer,
    server::{
        keys,
        model::{LoginId, rfc3339},
        own_token::NotOwn,
    },
};

/// Why a token was not revoked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotRevoked {
    #[error("this is a refresh token: `sealwright login end {0}` ends its login, and with it the access tokens")]
    RefreshToken(LoginId),
    #[error("this is a client secret, which `sealwright client drop-secret` removes, and not a token")]
    ClientSecret,
    #[error("this is not an access token: {0}")]
    NotAnAccessToken(&'static str),
    #[error(
        "no key that this issuer publishes signed the token (its kid is {kid:?}): it is from another issuer, or its key was revoked or has expired, and then verifiers refuse it"
    )]
    UnknownKey { kid: String },
    #[error("its signature is not valid: verifiers refuse it")]
    BadSignature,
    #[error("it is from another issuer, {token:?}; the settings name {issuer}")]
    OtherIssuer { token: String, issuer: Issuer },
    #[error("it expired at {}: verifiers refuse it", rfc3339(*.0))]
    Expired(Timestamp),
    #[error(
        "it names no position in a status list, because status_lists was off or the server was older when it was issued: verifiers accept it until {}. Only replacing its signing key ends it earlier, with all other tokens of that key: `sealwright key rotate --now --compromised`",
        rfc3339(*.0)
    )]
    NoStatus(Timestamp),
    #[error(
        "it is refused already: it was revoked, or a token that has the same position in the status list was, or `sealwright restored` has run"
    )]
    Already,
    #[error(transparent)]
    Keys(keys::VerifyError),
}

impl From<NotOwn> for NotRevoked {
    fn from(not_own: NotOwn) -> Self {
        match not_own {
            NotOwn::Form(why) => Self::NotAnAccessToken(why),
            NotOwn::UnknownKey { kid } => Self::UnknownKey { kid },
            NotOwn::BadSignature => Self::BadSignature,
            NotOwn::Incomplete => Self::NotAnAccessToken("it lacks a claim that every access token has"),
            NotOwn::OtherIssuer { token, issuer } => Self::OtherIssuer { token, issuer },
            NotOwn::Expired(exp) => Self::Expired(exp),
            NotOwn::ForeignList(exp) => Self::NoStatus(exp),
            NotOwn::Unknowable(error) => Self::Keys(error),
        }
    }
}
