/// How connections to a remote PostgreSQL server are secured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::EnumString, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum DatabaseTls {
    /// TLS with a certificate for the host's name from a trusted authority.
    Verified,
    /// TLS with any certificate: an attacker in between can read everything, including the password.
    Unverified,
    /// TLS only if the server offers it.
    Off,
}

impl DatabaseTls {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    pub(super) fn as_str(self) -> &'static str {
        self.into()
    }

    /// The `sslmode` for a remote host if the URL has none.
    pub(super) const fn mode(self) -> &'static str {
        match self {
            Self::Verified => "verify-full",
            Self::Unverified => "require",
            Self::Off => "prefer",
        }
    }
}
