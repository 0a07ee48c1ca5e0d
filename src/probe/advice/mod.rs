//! The line to change in a library, for each kind of finding. What is true of each library was measured by `tests/interop` and `tests/probe`.

mod go;
mod java;
mod node;
mod python;

use serde::Serialize;
use strum::{Display, EnumString, IntoStaticStr, VariantArray};

use super::kind::Kind;

/// A library that checks tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Display, EnumString, IntoStaticStr, VariantArray, Serialize)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub(crate) enum Library {
    Jose,
    ExpressJwt,
    Jsonwebtoken,
    ExpressOauth2JwtBearer,
    Pyjwt,
    GoOidc,
    Jwx,
    SpringSecurity,
    Nimbus,
}

impl Library {
    pub(crate) const ALL: &'static [Self] = Self::VARIANTS;

    /// Its name on the command line.
    pub(crate) fn name(self) -> &'static str {
        self.into()
    }

    /// The line that fixes a finding of this kind. `None` if the library has no part in it.
    pub(super) const fn line(self, kind: Kind) -> Option<&'static str> {
        match self {
            Self::Jose => node::jose(kind),
            Self::ExpressJwt => node::express_jwt(kind),
            Self::Jsonwebtoken => node::jsonwebtoken(kind),
            Self::ExpressOauth2JwtBearer => node::express_oauth2_jwt_bearer(kind),
            Self::Pyjwt => python::pyjwt(kind),
            Self::GoOidc => go::go_oidc(kind),
            Self::Jwx => go::jwx(kind),
            Self::SpringSecurity => java::spring(kind),
            Self::Nimbus => java::nimbus(kind),
        }
    }
}
