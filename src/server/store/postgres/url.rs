//! The URL of a PostgreSQL database, parsed strictly: what sqlx or libpq would ignore or misinterpret is refused.

use std::{fmt, net::IpAddr};

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::PgConnectOptions;

use super::{DatabaseTls, connect::Targets};

/// One server of the database: a name, an address, or (if it starts with a slash) the folder of its socket.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Host {
    name: String,
    port: u16,
}

impl Host {
    fn is_this_machine(&self) -> bool {
        let address = self.name.parse::<IpAddr>();
        self.name.starts_with('/') || self.name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_v6 = !self.name.starts_with('/') && self.name.contains(':');
        if is_v6 { write!(f, "[{}]:{}", self.name, self.port) } else { write!(f, "{}:{}", self.name, self.port) }
    }
}

/// A PostgreSQL database. Printing it shows only its hosts and its name.
#[derive(Clone)]
pub(crate) struct PostgresUrl {
    hosts: Vec<Host>,
    database: String,
    /// The password in the URL itself, not in the environment or a password file.
    password: Option<SecretString>,
    /// `user` and all other parameters for sqlx.
    parameters: Vec<(&'static str, String)>,
    mode: Option<String>,
    tls: DatabaseTls,
}

/// The parameters that a URL may have.
const PARAMETERS: [&str; 12] = [
    "application_name",
    "dbname",
    "host",
    "options",
    "password",
    "port",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "target_session_attrs",
    "user",
];

const MODES: [&str; 6] = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];

impl PostgresUrl {
    /// Parses the part after `postgres://`. An error shows no part of any value: the mistake may be about which part is the password.
    pub(crate) fn parse(rest: &str) -> Result<Self, String> {
        let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        // An @ after the host: the password contains a character that ends this part of a URL.
        if authority.matches('@').count() > 1 || tail.contains(['@', '#']) {
            return Err("it contains one of the characters / @ # ? unencoded, perhaps in the password: \
                        write / as %2F, @ as %40, # as %23, ? as %3F"
                .to_owned());
        }
        if rest.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err("it contains a space or a control character: write a space as %20".to_owned());
        }
        let (userinfo, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = userinfo.split_once(':').map_or((userinfo, None), |(user, password)| (user, Some(password)));
        let (path, query) = tail.split_once('?').unwrap_or((tail, ""));
        let path = path.strip_prefix('/').unwrap_or(path);
        if path.contains('/') {
            return Err("the host must be followed by the name of the database, without a further path".to_owned());
        }
        let mut read = Parameters {
            host: decoded(hosts)?,
            dbname: decoded(path)?,
            user: decoded(user)?,
            password: password.map(decoded).transpose()?,
            ..Parameters::default()
        };
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            read.take(parameter)?;
        }
        read.finish()
    }

    /// Whether the URL itself holds a password.
    pub(crate) const fn has_password(&self) -> bool {
        self.password.is_some()
    }

    /// Applies `tls` to remote hosts, and refuses an `sslmode` that is weaker.
    pub(crate) fn secured(mut self, tls: DatabaseTls) -> Result<Self, String> {
        let needed = match self.mode.as_deref() {
            None | Some("verify-full") => DatabaseTls::Verified,
            // sqlx adds sslrootcert to the public authorities: without a check of the host's name, any certificate would be accepted.
            Some("require" | "verify-ca") => DatabaseTls::Unverified,
            Some(_) => DatabaseTls::Off,
        };
        let allowed = matches!(
            (needed, tls),
            (DatabaseTls::Verified, _) | (DatabaseTls::Unverified, DatabaseTls::Unverified | DatabaseTls::Off) | (_, DatabaseTls::Off)
        );
        if let (false, Some(mode), Some(host)) = (allowed, &self.mode, self.hosts.iter().find(|host| !host.is_this_machine())) {
            return Err(format!(
                "sslmode={mode} would let an impostor of {} read the password, and database_tls is {}: write sslmode=verify-full (and \
                 sslrootcert=FILE for a private authority), or set database_tls to {}",
                host.name,
                tls.as_str(),
                needed.as_str()
            ));
        }
        self.tls = tls;
        Ok(self)
    }

    /// The URL for the driver; contains the password.
    pub(crate) fn to_connect(&self) -> String {
        let targets = self.hosts.iter().map(|host| {
            let mode = match self.mode.as_deref() {
                Some(mode) => mode,
                None if host.is_this_machine() => "prefer",
                None => self.tls.mode(),
            };
            let port = host.port.to_string();
            let password = self.password.as_ref().map(|password| ("password", password.expose_secret()));
            let own = [("host", host.name.as_str()), ("port", &port), ("dbname", &self.database), ("sslmode", mode)];
            let rest = self.parameters.iter().map(|(name, value)| (*name, value.as_str()));
            format!("{}={}", Targets::PARAMETER, encoded(&format!("postgres:///?{}", joined(own.into_iter().chain(password).chain(rest)))))
        });
        format!("postgres:///?{}", targets.collect::<Vec<_>>().join("&"))
    }
}

impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts: Vec<_> = self.hosts.iter().map(Host::to_string).collect();
        write!(f, "postgres://{}/{}", hosts.join(","), self.database)
    }
}

fn joined<'a>(parameters: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    parameters.map(|(name, value)| format!("{name}={}", encoded(value))).collect::<Vec<_>>().join("&")
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

fn decoded(text: &str) -> Result<String, String> {
    let mut escapes = text.split('%').skip(1);
    if !escapes.all(|escape| escape.as_bytes().iter().take(2).filter(|byte| byte.is_ascii_hexdigit()).count() == 2) {
        return Err("it contains an unencoded %, perhaps in the password: write it as %25".to_owned());
    }
    match percent_decode_str(text).decode_utf8() {
        Ok(text) if !text.contains('\0') => Ok(text.into_owned()),
        _ => Err("its percent-encoding does not decode to text".to_owned()),
    }
}

/// The parts of a URL, before they are combined.
#[derive(Default)]
struct Parameters {
    host: String,
    port: String,
    dbname: String,
    user: String,
    password: Option<String>,
    mode: Option<String>,
    others: Vec<(&'static str, String)>,
}

impl Parameters {
    fn take(&mut self, parameter: &str) -> Result<(), String> {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let value = decoded(value)?;
        let Some(name) = PARAMETERS.into_iter().find(|known| *known == name) else { return Err(unknown(name)) };
        match name {
            "host" => self.host = value,
            "port" => self.port = value,
            "dbname" => self.dbname = value,
            "user" => self.user = value,
            "password" => self.password = Some(value),
            "sslmode" if MODES.contains(&value.as_str()) => self.mode = Some(value),
            "sslmode" => return Err(format!("sslmode takes {}", MODES.join(", "))),
            // libpq's name for the built-in authorities.
            "sslrootcert" if value == "system" => {}
            "target_session_attrs" if matches!(value.as_str(), "read-write" | "primary") => {}
            "target_session_attrs" => {
                return Err("target_session_attrs takes only read-write, which is always in effect, because the server writes".to_owned());
            }
            name => self.others.push((name, value)),
        }
        Ok(())
    }

    fn finish(self) -> Result<PostgresUrl, String> {
        let defaults = PgConnectOptions::new_without_pgpass();
        let host = if self.host.is_empty() {
            defaults.get_socket().map_or_else(|| defaults.get_host().to_owned(), |folder| folder.display().to_string())
        } else {
            self.host
        };
        let ports: Vec<_> = self.port.split(',').filter(|port| !port.is_empty()).map(port).collect::<Result<_, _>>()?;
        let names: Vec<_> = host.split(',').collect();
        if ports.len() > 1 && ports.len() != names.len() {
            return Err("port takes one port, or one for each host".to_owned());
        }
        let mut hosts = Vec::with_capacity(names.len());
        for (position, text) in names.into_iter().enumerate() {
            let (name, own) = split_port(text)?;
            let named = ports.get(position).or_else(|| ports.first()).copied();
            hosts.push(Host { name: name.to_owned(), port: own.or(named).unwrap_or_else(|| defaults.get_port()) });
        }
        let database = self.dbname;
        if database.is_empty() {
            return Err("the host must be followed by the name of the database".to_owned());
        }
        let mut parameters = self.others;
        if !self.user.is_empty() {
            parameters.push(("user", self.user));
        }
        let password = self.password.filter(|password| !password.is_empty()).map(SecretString::from);
        let mode = self.mode.or_else(|| std::env::var("PGSSLMODE").ok().filter(|mode| MODES.contains(&mode.as_str())));
        Ok(PostgresUrl { hosts, database, password, parameters, mode, tls: DatabaseTls::Verified })
    }
}

fn port(text: &str) -> Result<u16, String> {
    let port = text.parse().ok().filter(|port| *port > 0);
    port.ok_or_else(|| {
        "the colon after the host is not followed by a port; if this is a password, it must be followed by @ and the host".to_owned()
    })
}

/// Splits a host from its port, if it has one. An IPv6 address may be in brackets.
fn split_port(text: &str) -> Result<(&str, Option<u16>), String> {
    let bare = text.starts_with('/') || (text.parse::<IpAddr>().is_ok());
    let (name, own) = match text.rfind(':') {
        Some(at) if !bare && !text[at..].contains(']') => (&text[..at], Some(port(&text[at + 1..])?)),
        _ => (text, None),
    };
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    let fits = address.is_some_and(|address| address.parse::<IpAddr>().is_ok())
        || name.starts_with('/')
        || name.parse::<IpAddr>().is_ok()
        || (!name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_')));
    if fits { Ok((address.unwrap_or(name), own)) } else { Err("its host is invalid".to_owned()) }
}

/// The error for an unknown parameter. It repeats the name only if it resembles a known one: it may be a part of a password.
fn unknown(name: &str) -> String {
    /// Names that other programs use.
    const ALIASES: [(&str, &str); 4] = [("ssl", "sslmode"), ("schema", "options"), ("username", "user"), ("database", "dbname")];
    let plain: String = name.to_lowercase().chars().filter(char::is_ascii_alphanumeric).collect();
    let likeness = |known: &str| strsim::jaro_winkler(&plain, &known.replace('_', ""));
    let alias = ALIASES.into_iter().find(|(alias, _)| *alias == plain).map(|(_, known)| known);
    let best = PARAMETERS.into_iter().max_by(|one, other| likeness(one).total_cmp(&likeness(other))).filter(|best| likeness(best) > 0.8);
    match alias.or(best) {
        Some("options") => format!("it has no parameter {name}; choose a schema with options=-csearch_path%3DNAME"),
        Some(known) => format!("it has no parameter {name}; did you mean {known}?"),
        None => format!("one of its parameters is unknown; the known ones are {}", PARAMETERS.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::*;

    fn refused(rest: &str) -> String {
        PostgresUrl::parse(rest).err().unwrap_or_else(|| panic!("{rest} is taken"))
    }

    fn mode(rest: &str, tls: DatabaseTls) -> Result<Vec<String>, String> {
        let connect = PostgresUrl::parse(rest).unwrap().secured(tls)?.to_connect();
        let url = Url::parse(&connect).unwrap();
        let targets = url.query_pairs().map(|(_, target)| Url::parse(&target).unwrap());
        Ok(targets.map(|target| target.query_pairs().find(|(name, _)| name == "sslmode").unwrap().1.into_owned()).collect())
    }

    #[test]
    fn op3_an_unencoded_character_is_named_and_no_part_of_the_password_is_shown() {
        for c in ['/', '@', '#', '?'] {
            for rest in [format!("u:hunter2{c}tail@db/d"), format!("u:12{c}tail@db/d"), format!("u:p{c}p%@db/d")] {
                let error = refused(&rest);
                assert!(error.contains(&format!("{c} as %")), "{rest}: {error}");
                assert!(!["hunter", "tail", "12"].iter().any(|part| error.contains(part)), "{error}");
            }
        }
        assert!(refused("u:100%@db/d").contains("%25"));
        for rest in ["db/d?password=hun&zyx2", "db/d?password=hun&zyx=2", "u:zyx2", "u:zyx2/d"] {
            let error = refused(rest);
            assert!(!error.contains("zyx"), "{error}");
        }
        let encoded = PostgresUrl::parse("u:a%2F%40%23%3F%25b@db/d").unwrap();
        assert_eq!(encoded.password.unwrap().expose_secret(), "a/@#?%b");
    }

    #[test]
    fn op4_an_unknown_parameter_is_refused_with_the_nearest_one() {
        for (parameter, nearest) in [
            ("sslmod=require", "did you mean sslmode?"),
            ("ssl=true", "did you mean sslmode?"),
            ("ssl_mode=require", "did you mean sslmode?"),
            ("SSLMODE=require", "did you mean sslmode?"),
            ("schema=auth", "options=-csearch_path"),
            ("passwd=hunter2", "did you mean password?"),
        ] {
            let error = refused(&format!("db/d?{parameter}"));
            assert!(error.contains(nearest) && !error.contains("hunter2"), "{parameter}: {error}");
        }
    }

    #[test]
    fn hd4_tls_to_remote_hosts_is_verified_unless_the_setting_says_otherwise() {
        use DatabaseTls::{Off, Unverified, Verified};

        for local in ["localhost/d", "127.0.0.1/d", "127.1.2.3:5433/d", "[::1]/d", "%2Frun%2Fpostgresql/d", "/d?host=/run"] {
            assert_eq!(mode(local, Verified).unwrap(), ["prefer"], "{local}");
        }
        for remote in ["db/d", "10.0.0.5/d", "0.0.0.0/d", "[::ffff:127.0.0.1]/d", "localhost.example/d", "/d?host=db"] {
            let modes = [Verified, Unverified, Off].map(|tls| mode(remote, tls).unwrap());
            assert_eq!(modes, [["verify-full"], ["require"], ["prefer"]], "{remote}");
        }
        assert_eq!(mode("localhost,db/d", Verified).unwrap(), ["prefer", "verify-full"]);
        for (given, least) in
            [("require", "unverified"), ("verify-ca", "unverified"), ("prefer", "off"), ("allow", "off"), ("disable", "off")]
        {
            let error = mode(&format!("a,db/d?sslmode={given}"), Verified).unwrap_err();
            assert!(error.contains(&format!("sslmode={given}")) && error.contains(&format!("database_tls to {least}")), "{error}");
            assert_eq!(mode(&format!("db/d?sslmode={given}"), Unverified).is_ok(), least == "unverified", "{given}");
            assert_eq!(mode(&format!("db/d?sslmode={given}"), Off).unwrap(), [given]);
            assert_eq!(mode(&format!("localhost/d?sslmode={given}"), Verified).unwrap(), [given]);
        }
    }

    #[test]
    fn op6_a_url_may_name_several_hosts() {
        for several in ["u@a:5432,[::2]:5433/d?target_session_attrs=read-write", "/d?host=a,::2&port=5432,5433&user=u"] {
            assert_eq!(PostgresUrl::parse(several).unwrap().to_string(), "postgres://a:5432,[::2]:5433/d");
        }
        assert!(refused("a,b/d?target_session_attrs=standby").contains("read-write"));
        assert!(refused("a,b,c/d?port=1,2").contains("one for each host"));
    }
}
