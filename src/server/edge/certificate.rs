//! A TLS certificate: its validity period and its names.

use std::{fmt, time::Duration};

use rustls::{
    pki_types::{CertificateDer, ServerName},
    server::ParsedCertificate,
};

use crate::{clock::Timestamp, server::model::rfc3339};

/// How long before its expiry a certificate should be renewed. For a short-lived one, it is the last third of its lifetime.
const RENEW_AHEAD: Duration = Duration::from_secs(21 * 24 * 3600);

/// A certificate and its validity period.
#[derive(Debug, Clone)]
pub(crate) struct Certificate {
    der: CertificateDer<'static>,
    /// `None` if it cannot be parsed.
    validity: Option<(Timestamp, Timestamp)>,
}

/// A present or coming problem with a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Concern {
    Expired(Timestamp),
    NotYetValid(Timestamp),
    /// It expires at this time, in this many days.
    EndsSoon(Timestamp, u64),
    /// It is not valid for the issuer's host.
    OtherName(String),
    Unreadable,
}

impl Certificate {
    pub(super) fn new(der: &CertificateDer<'_>) -> Self {
        let parsed = x509_parser::parse_x509_certificate(der).ok();
        let validity = parsed.map(|(_, certificate)| {
            let validity = certificate.validity();
            let at = |time: x509_parser::time::ASN1Time| Timestamp::from_seconds(time.timestamp());
            (at(validity.not_before), at(validity.not_after))
        });
        Self { der: der.clone().into_owned(), validity }
    }

    /// When it expires, if that can be parsed.
    pub(crate) fn end(&self) -> Option<Timestamp> {
        self.validity.map(|(_, end)| end)
    }

    /// The problems at `now`, the worst first. `host` is the issuer's host, if it is known.
    pub(crate) fn concerns(&self, now: Timestamp, host: Option<&str>) -> Vec<Concern> {
        let period = match self.validity {
            None => Some(Concern::Unreadable),
            Some((_, end)) if now > end => Some(Concern::Expired(end)),
            Some((begin, _)) if now < begin => Some(Concern::NotYetValid(begin)),
            Some((begin, end)) if now + RENEW_AHEAD.min(end.since(begin) / 3) > end => {
                Some(Concern::EndsSoon(end, end.since(now).as_secs() / (24 * 3600)))
            }
            Some(_) => None,
        };
        let other_name = host.filter(|host| !self.is_for(host)).map(|host| Concern::OtherName(host.to_owned()));
        period.into_iter().chain(other_name).collect()
    }

    fn is_for(&self, host: &str) -> bool {
        let name = ServerName::try_from(host.trim_start_matches('[').trim_end_matches(']'));
        let parsed = ParsedCertificate::try_from(&self.der);
        name.is_ok_and(|name| parsed.is_ok_and(|parsed| rustls::client::verify_server_name(&parsed, &name).is_ok()))
    }
}

impl Concern {
    /// Whether all clients refuse the certificate now.
    pub(crate) fn is_fatal(&self) -> bool {
        matches!(self, Self::Expired(_) | Self::NotYetValid(_))
    }
}

impl fmt::Display for Concern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expired(end) => write!(f, "the certificate expired at {}; clients refuse it until it is renewed", rfc3339(*end)),
            Self::NotYetValid(begin) => {
                write!(f, "the certificate is not valid before {}; check the clock, or wait", rfc3339(*begin))
            }
            Self::EndsSoon(end, days) => write!(f, "the certificate expires in {days} days, at {}; renew it", rfc3339(*end)),
            Self::OtherName(host) => {
                write!(f, "the certificate is not valid for {host}, the issuer's host; clients that connect by this name refuse it")
            }
            Self::Unreadable => f.write_str("the certificate's dates cannot be parsed; there will be no warning before it expires"),
        }
    }
}
