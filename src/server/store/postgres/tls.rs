/// How connections to a PostgreSQL server beyond this machine are protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DatabaseTls {
    /// By TLS, with a certificate for the host's name from an authority that is trusted.
    Verified,
    /// By TLS with whatever certificate: an attacker on the way can read everything, the password included.
    Unverified,
    /// By whatever the server offers, if anything.
    Off,
}

impl DatabaseTls {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "verified" => Some(Self::Verified),
            "unverified" => Some(Self::Unverified),
            "off" => Some(Self::Off),
            _ => None,
        }
    }

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Unverified => "unverified",
            Self::Off => "off",
        }
    }

    /// The `sslmode` for a host beyond this machine whose URL names none.
    pub(super) const fn mode(self) -> &'static str {
        match self {
            Self::Verified => "verify-full",
            Self::Unverified => "require",
            Self::Off => "prefer",
        }
    }
}
