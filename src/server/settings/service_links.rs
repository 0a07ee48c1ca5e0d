//! Environment variables that Kubernetes sets in containers for each Service of the namespace ("service links"). For a Service named
//! `sealwright`, they start like settings.

use std::net::IpAddr;

/// Whether Kubernetes set this variable, according to its name and value. `name` is the part after `SEALWRIGHT_`.
///
/// For a Service `sealwright` with the port 80, named `http`, these are `SERVICE_HOST`, `SERVICE_PORT`, `SERVICE_PORT_HTTP`, `PORT`,
/// `PORT_80_TCP`, `PORT_80_TCP_PROTO`, `PORT_80_TCP_PORT` and `PORT_80_TCP_ADDR`; for a Service `sealwright-demo`, the same with the
/// prefix `DEMO_`.
pub(super) fn is_service_link(name: &str, value: &str) -> bool {
    let is_port = |text: &str| text.parse::<u16>().is_ok();
    let is_address = |text: &str| text.parse::<IpAddr>().is_ok();
    let of_service = |suffix: &str| name == suffix || name.strip_suffix(suffix).is_some_and(|service| service.ends_with('_'));
    if of_service("SERVICE_HOST") {
        return is_address(value);
    }
    if of_service("SERVICE_PORT") || after(name, "SERVICE_PORT_").is_some_and(|port| !port.is_empty()) {
        return is_port(value);
    }
    if of_service("PORT") && is_port_url(value) {
        return true;
    }
    let Some(port) = after(name, "PORT_") else { return false };
    let parts: Vec<&str> = port.split('_').collect();
    let is_protocol = |text: &str| ["TCP", "UDP", "SCTP"].contains(&text);
    match parts[..] {
        [number, protocol] if is_port(number) && is_protocol(protocol) => is_port_url(value),
        [number, protocol, "PROTO"] if is_port(number) && is_protocol(protocol) => value.eq_ignore_ascii_case(protocol),
        [number, protocol, "PORT"] if is_protocol(protocol) => is_port(number) && value == number,
        [number, protocol, "ADDR"] if is_port(number) && is_protocol(protocol) => is_address(value),
        _ => false,
    }
}

/// The part after the last `marker` that starts `name` or a word of it.
fn after<'a>(name: &'a str, marker: &str) -> Option<&'a str> {
    let (before, rest) = name.rsplit_once(marker)?;
    (before.is_empty() || before.ends_with('_')).then_some(rest)
}

/// Whether `value` is like `tcp://10.0.0.1:80`.
fn is_port_url(value: &str) -> bool {
    let Some((protocol, _)) = value.split_once("://") else { return false };
    ["tcp", "udp", "sctp"].contains(&protocol) && url::Url::parse(value).is_ok_and(|url| url.port().is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn op1_variables_of_kubernetes_are_recognized_and_misspelled_settings_are_not() {
        for prefix in ["", "DEMO_", "A_B_"] {
            for (name, value) in [
                ("SERVICE_HOST", "10.0.0.1"),
                ("SERVICE_HOST", "fd00::1"),
                ("SERVICE_PORT", "80"),
                ("SERVICE_PORT_HTTP", "80"),
                ("SERVICE_PORT_HTTP_ALT", "80"),
                ("PORT", "tcp://10.0.0.1:80"),
                ("PORT", "tcp://[fd00::1]:80"),
                ("PORT_80_TCP", "tcp://10.0.0.1:80"),
                ("PORT_80_TCP_PROTO", "tcp"),
                ("PORT_80_TCP_PORT", "80"),
                ("PORT_80_TCP_ADDR", "10.0.0.1"),
                ("PORT_53_UDP_ADDR", "10.0.0.1"),
            ] {
                assert!(is_service_link(&format!("{prefix}{name}"), value), "{prefix}{name}={value}");
            }
        }
        for (name, value) in [
            ("LISTNE", "127.0.0.1:8080"),
            ("PORT", "8080"),
            ("PORT", "127.0.0.1:8080"),
            ("LISTEN_PORT", "8080"),
            ("SERVICE_PORT", "tcp://10.0.0.1:80"),
            ("SERVICE_HOST", "auth.example"),
            ("SERVICE_PORT_", "80"),
            ("PORT_80_TCP_PORT", "81"),
            ("PORT_80_TCP_PROTO", "udp"),
            ("PORT_80_TCP_OTHER", "80"),
            ("PORT_80", "80"),
            ("REPORT", "tcp://10.0.0.1:80"),
            ("DATABASE_URL", "tcp://10.0.0.1:80"),
        ] {
            assert!(!is_service_link(name, value), "{name}={value}");
        }
    }
}
