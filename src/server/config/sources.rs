use std::{collections::HashMap, ffi::OsString, path::PathBuf};

use config::{Environment, File, FileFormat, Value, ValueKind};

use super::{Error, SETTINGS, Setting, Why, service_links::is_service_link};
use crate::server::custody::{self, SecretFile};

/// The sources of settings.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// Settings from the command line, by name; they take precedence over all others.
    pub flags: Vec<(String, String)>,
    /// `SEALWRIGHT_*` variables, by full name.
    pub environment: Vec<(String, String)>,
    /// A TOML file, which must exist; it takes precedence only over the defaults.
    pub file: Option<PathBuf>,
}

const PREFIX: &str = "SEALWRIGHT";
/// Names the file; it is not a setting.
const FILE_VARIABLE: &str = "SEALWRIGHT_CONFIG";
const DEFAULT_FILE: &str = "sealwright.toml";
/// The origin of a value of the command line.
const FLAG: &str = "from a flag";

impl Sources {
    /// The sources of this process: these flags, its environment, and `file`, else `SEALWRIGHT_CONFIG`, else
    /// `sealwright.toml` if there is one.
    #[must_use]
    pub fn of_process(flags: Vec<(String, String)>, file: Option<PathBuf>) -> Self {
        let ours = |(name, value): (OsString, OsString)| {
            let name = name.into_string().ok().filter(|name| name.starts_with("SEALWRIGHT_"))?;
            Some((name, value.to_string_lossy().into_owned()))
        };
        let (files, environment): (Vec<_>, Vec<_>) = std::env::vars_os().filter_map(ours).partition(|(name, _)| name == FILE_VARIABLE);
        let named = files.into_iter().map(|(_, value)| value).find(|value| !value.is_empty()).map(PathBuf::from);
        // Includes a broken link, so that it is reported.
        let default = || Some(PathBuf::from(DEFAULT_FILE)).filter(|path| path.symlink_metadata().is_ok());
        Self { flags, environment, file: file.or(named).or_else(default) }
    }

    /// Merges the sources. Refuses unknown settings.
    pub(super) fn read(self) -> Result<Values, Error> {
        let mut builder = config::Config::builder();
        let path = self.file.unwrap_or_default();
        if !path.as_os_str().is_empty() {
            builder = builder.add_source(File::from(path.as_path()).format(FileFormat::Toml));
        }
        let (service_links, environment): (Vec<_>, Vec<_>) = self.environment.into_iter().partition(|(variable, value)| {
            let name = variable.strip_prefix("SEALWRIGHT_").unwrap_or(variable);
            find(&name.to_lowercase()).is_none() && is_service_link(name, value)
        });
        let mut environment: HashMap<String, String> = environment.into_iter().collect();
        let from_files = values_from_files(&mut environment)?;
        // Checks names as they were given, because the library may split them into nested keys.
        for variable in environment.keys() {
            let name = variable.strip_prefix("SEALWRIGHT_").unwrap_or(variable).to_lowercase();
            if find(&name).is_none() {
                return Err(Error::Unknown { nearest: nearest(&name), name, origin: format!("from the environment variable {variable}") });
            }
        }
        builder = builder.add_source(Environment::with_prefix(PREFIX).ignore_empty(true).source(Some(environment)));
        let read = builder.build().map_err(|error| Error::File { path: path.clone(), why: without_excerpt(&error.to_string()) })?;
        let mut values = HashMap::new();
        let table = read.cache.into_table().map_err(|error| Error::File { path: path.clone(), why: error.to_string() })?;
        for (name, value) in table {
            let from_file = value.origin().is_some_and(|origin| origin != "the environment");
            if from_file && let Some(secret) = find(&name).filter(|setting| holds_secret(setting, &value)) {
                let why =
                    |exposed| Error::File { path: path.clone(), why: format!("it contains a secret ({}), and {exposed}", secret.name) };
                custody::require_private(SecretFile::Configuration, &path).map_err(why)?;
            }
            let origin = match value.origin() {
                Some("the environment") => format!("from the environment variable {PREFIX}_{}", name.to_uppercase()),
                Some(file) => format!("from {file}"),
                None => format!("from {}", path.display()),
            };
            values.insert(name, (text(value), origin));
        }
        values.extend(from_files);
        values.extend(self.flags.into_iter().map(|(name, value)| (name, (value, FLAG.to_owned()))));
        if let Some((name, (_, origin))) = values.iter().find(|(name, _)| find(name).is_none()) {
            return Err(Error::Unknown { name: name.clone(), origin: origin.clone(), nearest: nearest(name) });
        }
        let mut service_links: Vec<String> = service_links.into_iter().map(|(variable, _)| variable).collect();
        service_links.sort_unstable();
        Ok(Values { set: values, service_links })
    }
}

/// Removes the variables that name a file instead of a value, such as `SEALWRIGHT_SEALING_KEY_FILE`, and reads the files. Each setting
/// that may contain a secret has one.
fn values_from_files(environment: &mut HashMap<String, String>) -> Result<HashMap<String, (String, String)>, Error> {
    let mut values = HashMap::new();
    for setting in SETTINGS.iter().filter(|setting| setting.may_be_secret()) {
        let plain = format!("{PREFIX}_{}", setting.name.to_uppercase());
        let variable = format!("{plain}_FILE");
        let Some(path) = environment.remove(&variable).filter(|path| !path.is_empty()).map(PathBuf::from) else { continue };
        let refuse = |path: PathBuf, why: String| Error::ValueFile { variable: variable.clone(), path, why };
        if environment.get(&plain).is_some_and(|value| !value.is_empty()) {
            return Err(refuse(path, format!("{plain} is set too: set only one of them")));
        }
        let read = || {
            custody::require_private(SecretFile::Value, &path).map_err(|exposed| exposed.to_string())?;
            std::fs::read_to_string(&path).map_err(|error| error.to_string())
        };
        let text = match read() {
            Ok(text) => text,
            Err(why) => return Err(refuse(path, why)),
        };
        let text = text.strip_suffix('\n').unwrap_or(&text);
        let text = text.strip_suffix('\r').unwrap_or(text).to_owned();
        if text.is_empty() {
            return Err(refuse(path, "it is empty".to_owned()));
        }
        values.insert(setting.name.to_owned(), (text, format!("from the file {}", path.display())));
    }
    Ok(values)
}

/// An error message about a file without the quoted lines, which may contain a password.
fn without_excerpt(why: &str) -> String {
    let excerpt = |line: &&str| line.trim_start().trim_start_matches(|c: char| c.is_ascii_digit()).trim_start().starts_with('|');
    why.lines().filter(|line| !excerpt(line) && !line.trim().is_empty()).collect::<Vec<_>>().join(": ")
}

/// A value as text. No setting allows tables and lists, and no parser accepts these texts for them.
fn text(value: Value) -> String {
    match value.kind {
        ValueKind::Table(_) => "a table".to_owned(),
        ValueKind::Array(_) => "a list".to_owned(),
        _ => value.into_string().unwrap_or_default(),
    }
}

/// Whether other users must not read the value of a setting.
fn holds_secret(setting: &Setting, value: &Value) -> bool {
    let text = value.clone().into_string().unwrap_or_default();
    let user = text.split_once("://").and_then(|(_, rest)| rest.rsplit_once('@')).map_or("", |(user, _)| user);
    setting.secret || setting.name == "database_url" && (user.contains(':') || text.contains("password="))
}

fn find(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name == name)
}

/// The setting whose name is most similar to `name`, if any is similar enough.
fn nearest(name: &str) -> Option<&'static str> {
    let likeness = |setting: &Setting| strsim::jaro_winkler(&name.to_lowercase(), setting.name);
    let best = SETTINGS.iter().max_by(|one, other| likeness(one).total_cmp(&likeness(other)))?;
    (likeness(best) > 0.7).then_some(best.name)
}

/// The values that were set, with their origins.
#[derive(Debug)]
pub(super) struct Values {
    set: HashMap<String, (String, String)>,
    /// Ignored variables that Kubernetes set.
    pub(super) service_links: Vec<String>,
}

impl Values {
    /// The value of a setting that has a default.
    pub(super) fn parse<T>(&self, name: &'static str, parse: impl Fn(&str) -> Result<T, Why>) -> Result<T, Error> {
        self.parse_if_any(name, parse)?.ok_or_else(|| self.refuse(name, None))
    }

    /// The value of a setting that may be absent.
    pub(super) fn parse_if_any<T>(&self, name: &'static str, parse: impl Fn(&str) -> Result<T, Why>) -> Result<Option<T>, Error> {
        let given = self.set.get(name).map(|(value, _)| value.as_str());
        let value = given.or_else(|| find(name).and_then(|setting| setting.default));
        value.map(parse).transpose().map_err(|why| self.refuse(name, why))
    }

    /// Whether the value of a setting was given on the command line.
    pub(super) fn is_flag(&self, name: &str) -> bool {
        self.set.get(name).is_some_and(|(_, origin)| origin == FLAG)
    }

    /// The error for the value of a setting.
    pub(super) fn refuse(&self, name: &'static str, why: Why) -> Error {
        let (value, origin) = self.set.get(name).cloned().unwrap_or_else(|| ("missing".to_owned(), "not set".to_owned()));
        let hidden = find(name).is_none_or(Setting::may_be_secret);
        let shown = if hidden { "not shown because it may be secret".to_owned() } else { format!("{value:?}") };
        Error::Value { name, value: shown, origin, why, allowed: find(name).map_or("", |setting| setting.allowed) }
    }
}
