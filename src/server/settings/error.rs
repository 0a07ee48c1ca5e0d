use std::path::PathBuf;

/// Why a configuration is invalid. Every text names the setting and the allowed values.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file cannot be read or is not TOML.
    #[error("the configuration file {} cannot be used: {why}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// No setting has this name.
    #[error("unknown setting {name} ({origin}){}", nearest.map(|name| format!("; did you mean {name}?")).unwrap_or_default())]
    Unknown {
        /// The name that was given.
        name: String,
        /// Its source.
        origin: String,
        /// The setting with the most similar name.
        nearest: Option<&'static str>,
    },
    /// A file that a variable names instead of a value cannot be used.
    #[error("the file {} given by {variable} cannot be used: {why}", path.display())]
    ValueFile {
        /// The variable.
        variable: String,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The setting does not allow the value.
    #[error("the setting {name} is {value} ({origin}): {}expected {allowed}", why.as_deref().map(|why| format!("{why}; ")).unwrap_or_default())]
    Value {
        /// The setting.
        name: &'static str,
        /// The value that was given, unless it is secret.
        value: String,
        /// Its source.
        origin: String,
        /// What is wrong with the value, if that is not obvious.
        why: Option<String>,
        /// The allowed values.
        allowed: &'static str,
    },
}
