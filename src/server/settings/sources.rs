use std::{
    collections::HashMap,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};

use toml::Value;

use super::{Error, Program, Values, service_links::is_service_link, values::Given};
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

impl Sources {
    /// The sources of a program in this process: these flags, its environment, and `file`, else the one that a variable such as
    /// `SEALWRIGHT_CONFIG` names, else one such as `sealwright.toml` if there is one.
    #[must_use]
    pub(crate) fn of_process(program: &Program, flags: Vec<(String, String)>, file: Option<PathBuf>) -> Self {
        let ours = |(name, value): (OsString, OsString)| {
            let name = name.into_string().ok().filter(|name| program.name_in(name).is_some())?;
            Some((name, value.to_string_lossy().into_owned()))
        };
        let file_variable = program.file_variable();
        let (files, environment): (Vec<_>, Vec<_>) = std::env::vars_os().filter_map(ours).partition(|(name, _)| *name == file_variable);
        let named = files.into_iter().map(|(_, value)| value).find(|value| !value.is_empty()).map(PathBuf::from);
        // Includes a broken link, so that it is reported.
        let default = || Some(PathBuf::from(program.file)).filter(|path| path.symlink_metadata().is_ok());
        Self { flags, environment, file: file.or(named).or_else(default) }
    }

    /// Merges the sources. Refuses values of other settings than those of `program`; variables of other programs are ignored.
    pub(crate) fn read(self, program: Program) -> Result<Values, Error> {
        let mut given = self
            .file
            .as_deref()
            .filter(|path| !path.as_os_str().is_empty())
            .map(|path| values_of_file(&program, path))
            .transpose()?
            .unwrap_or_default();
        let own =
            self.environment.into_iter().filter_map(|(variable, value)| Some((program.name_in(&variable)?.to_owned(), variable, value)));
        let (service_links, environment): (Vec<_>, Vec<_>) =
            own.partition(|(name, _, value)| program.find(&name.to_lowercase()).is_none() && is_service_link(name, value));
        let mut environment: HashMap<String, String> = environment.into_iter().map(|(_, variable, value)| (variable, value)).collect();
        let named_files = values_of_named_files(&program, &mut environment)?;
        for (variable, text) in environment {
            let name = program.name_in(&variable).unwrap_or_default().to_lowercase();
            let origin = format!("from the environment variable {variable}");
            if program.find(&name).is_none() {
                return Err(Error::Unknown { nearest: program.nearest(&name), name, origin });
            }
            // An empty variable is one that is not set.
            if !text.is_empty() {
                given.insert(name, Given { text, origin });
            }
        }
        given.extend(named_files);
        given.extend(self.flags.into_iter().map(|(name, text)| (name, Given::by_flag(text))));
        let mut service_links: Vec<String> = service_links.into_iter().map(|(_, variable, _)| variable).collect();
        service_links.sort_unstable();
        Values::new(program, given, service_links)
    }
}

/// Reads the configuration file. One that holds a secret must be private.
fn values_of_file(program: &Program, path: &Path) -> Result<HashMap<String, Given>, Error> {
    let refuse = |why: String| Error::File { path: path.to_owned(), why };
    let read = fs::read_to_string(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => refuse("there is no such file".to_owned()),
        _ => refuse(error.to_string()),
    })?;
    let table: toml::Table = toml::from_str(&read).map_err(|error| refuse(syntax_error(&read, &error)))?;
    let origin = format!("from {}", path.display());
    let mut given = HashMap::new();
    for (name, value) in table {
        let setting = program.find(&name);
        let text = if setting.is_some_and(|setting| setting.list) { words(value) } else { text(value) };
        if let Some(secret) = setting.filter(|setting| setting.holds_secret(&text)) {
            let exposed = custody::require_private(SecretFile::Configuration, path);
            exposed.map_err(|exposed| refuse(format!("it contains a secret ({}), and {exposed}", secret.name)))?;
        }
        given.insert(name, Given { text, origin: origin.clone() });
    }
    Ok(given)
}

/// What is wrong with a TOML text and where, without quoting it: the line may contain a password.
fn syntax_error(text: &str, error: &toml::de::Error) -> String {
    let Some(before) = error.span().and_then(|span| text.get(..span.start)) else { return error.message().to_owned() };
    let (line, column) = (before.matches('\n').count() + 1, before.chars().rev().take_while(|c| *c != '\n').count() + 1);
    // Such messages quote the value.
    let message = if error.message().starts_with("invalid type") || error.message().starts_with("invalid value") {
        "the value is invalid"
    } else {
        error.message()
    };
    format!("TOML parse error at line {line}, column {column}: {message}")
}

/// The value of a list: a text, or an array of texts.
fn words(value: Value) -> String {
    match value {
        Value::Array(values) => values.into_iter().map(text).collect::<Vec<_>>().join(" "),
        value => text(value),
    }
}

/// A value as text. No setting allows tables, and only a list allows arrays; no parser accepts these texts for them.
fn text(value: Value) -> String {
    match value {
        Value::String(text) => text,
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Boolean(yes) => yes.to_string(),
        Value::Datetime(time) => time.to_string(),
        Value::Array(_) => "a list".to_owned(),
        Value::Table(_) => "a table".to_owned(),
    }
}

/// Removes the variables that name a file instead of a value, such as `SEALWRIGHT_SEALING_KEY_FILE`, and reads the files. Each setting
/// that may contain a secret has one.
fn values_of_named_files(program: &Program, environment: &mut HashMap<String, String>) -> Result<HashMap<String, Given>, Error> {
    let mut values = HashMap::new();
    for setting in program.settings.iter().filter(|setting| setting.may_be_secret()) {
        let plain = program.variable(setting.name);
        let variable = format!("{plain}_FILE");
        let Some(path) = environment.remove(&variable).filter(|path| !path.is_empty()).map(PathBuf::from) else { continue };
        let refuse = |path: PathBuf, why: String| Error::ValueFile { variable: variable.clone(), path, why };
        if environment.get(&plain).is_some_and(|value| !value.is_empty()) {
            return Err(refuse(path, format!("{plain} is set too: set only one of them")));
        }
        let read = || {
            custody::require_private(SecretFile::Value, &path).map_err(|exposed| exposed.to_string())?;
            fs::read_to_string(&path).map_err(|error| error.to_string())
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
        values.insert(setting.name.to_owned(), Given { text, origin: format!("from the file {}", path.display()) });
    }
    Ok(values)
}
