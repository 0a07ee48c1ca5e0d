use super::Setting;

/// How the variables of each program begin. One belongs to the program with the longest of these beginnings.
const PREFIXES: [&str; 3] = [Program::SERVER, Program::GUARD, Program::ATTACH];

/// The secret of the client for which a command gets tokens.
pub(crate) const CLIENT_SECRET: &str = "SEALWRIGHT_CLIENT_SECRET";
/// The password of the user for whom a command gets tokens.
pub(crate) const USER_PASSWORD: &str = "SEALWRIGHT_USER_PASSWORD";
/// Variables that are not settings. Someone who runs a server may also get tokens, in the same shell.
const NO_SETTINGS: [&str; 2] = [CLIENT_SECRET, USER_PASSWORD];

/// A program that has settings of its own. Several can run on one machine, with the same environment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Program {
    /// Its settings, in the order in which they are listed.
    pub(crate) settings: &'static [Setting],
    /// How its variables begin.
    pub(crate) prefix: &'static str,
    /// The file that is read if none is named.
    pub(crate) file: &'static str,
}

impl Program {
    pub(crate) const SERVER: &'static str = "SEALWRIGHT_";
    pub(crate) const GUARD: &'static str = "SEALWRIGHT_GUARD_";
    pub(crate) const ATTACH: &'static str = "SEALWRIGHT_ATTACH_";

    /// The variable of a setting.
    pub(crate) fn variable(&self, setting: &str) -> String {
        format!("{}{}", self.prefix, setting.to_uppercase())
    }

    /// The variable that names the file. It is not a setting.
    pub(super) fn file_variable(&self) -> String {
        self.variable("config")
    }

    /// The name of the setting that a variable sets, in capitals. `None` if it is a variable of another program, or not a setting.
    pub(super) fn name_in<'a>(&self, variable: &'a str) -> Option<&'a str> {
        if NO_SETTINGS.contains(&variable) {
            return None;
        }
        let owner = PREFIXES.into_iter().filter(|prefix| variable.starts_with(prefix)).max_by_key(|prefix| prefix.len())?;
        variable.strip_prefix(self.prefix).filter(|_| owner == self.prefix)
    }

    /// The setting with this name.
    pub(crate) fn find(&self, name: &str) -> Option<&'static Setting> {
        self.settings.iter().find(|setting| setting.name == name)
    }

    /// The setting whose name is most similar to `name`, if any is similar enough.
    pub(super) fn nearest(&self, name: &str) -> Option<&'static str> {
        let likeness = |setting: &Setting| strsim::jaro_winkler(&name.to_lowercase(), setting.name);
        let best = self.settings.iter().max_by(|one, other| likeness(one).total_cmp(&likeness(other)))?;
        (likeness(best) > 0.7).then_some(best.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_belongs_to_one_program() {
        let of = |prefix| Program { settings: &[], prefix, file: "" };
        let named = |variable: &str| {
            [Program::SERVER, Program::GUARD, Program::ATTACH].map(|prefix| of(prefix).name_in(variable).map(str::to_owned))
        };
        let some = |name: &str| Some(name.to_owned());
        assert_eq!(named("SEALWRIGHT_LISTEN"), [some("LISTEN"), None, None]);
        assert_eq!(named("SEALWRIGHT_GUARD_LISTEN"), [None, some("LISTEN"), None]);
        assert_eq!(named("SEALWRIGHT_ATTACH_TO"), [None, None, some("TO")]);
        assert_eq!(named("SEALWRIGHT_GUARDED"), [some("GUARDED"), None, None], "an unknown one, which the server refuses");
        assert_eq!(named(CLIENT_SECRET), [None, None, None]);
        assert_eq!(named("PATH"), [None, None, None]);
    }
}
