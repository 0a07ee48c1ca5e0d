//! `sealwright man`: prints the man page of the program, or writes the pages of all commands.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use clap::{Args, Command, builder::Resettable};
use clap_mangen::{
    Man as Page,
    roff::{Roff, bold, roman},
};

use super::{
    error::Error,
    output::say,
    settings::{places, sentences},
};
use crate::server::config::PROGRAM;

#[derive(Debug, Args)]
pub(super) struct Man {
    /// Write the pages of all commands into this folder, instead of printing that of the program
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    out: Option<PathBuf>,
}

impl Man {
    pub(super) fn run(self, program: Command) -> Result<(), Error> {
        let mut program = program.disable_help_subcommand(true);
        program.build();
        let Some(folder) = self.out else {
            let text = render(program).map_err(Error::Output)?;
            return say(String::from_utf8_lossy(&text).trim_end());
        };
        let count = fs::create_dir_all(&folder).and_then(|()| write_all(program, &folder));
        let count = count.map_err(|source| Error::ManPages { folder: folder.clone(), source })?;
        say(&format!("wrote {count} pages to {}; read one with `man {}`", folder.display(), folder.join("sealwright.1").display()))
    }
}

/// The left part of a page's footer.
const SOURCE: &str = concat!("sealwright ", env!("CARGO_PKG_VERSION"));
/// An argument of the page's title that is present and empty. Without it, the next argument would be read as the date. A date of the
/// build would make two builds of one source differ.
const NO_DATE: &str = "\"\"";

/// Writes the pages of a command and of those below it, and returns how many.
fn write_all(command: Command, folder: &Path) -> io::Result<usize> {
    let mut count = 1;
    for command in command.get_subcommands().filter(|command| !command.is_hide_set()) {
        count += write_all(command.clone(), folder)?;
    }
    let path = folder.join(Page::new(command.clone()).get_filename());
    fs::write(path, render(command)?)?;
    Ok(count)
}

fn render(command: Command) -> io::Result<Vec<u8>> {
    let is_settings = command.get_name() == "settings";
    let refers_to_settings = command.get_after_help().is_some();
    let mut text = Vec::new();
    // SEE ALSO replaces the section EXTRA, which would hold the last lines of the help.
    let page = Page::new(command.after_help(Resettable::Reset)).manual("Sealwright").source(SOURCE).date(NO_DATE);
    page.render(&mut text)?;
    if refers_to_settings {
        let mut roff = Roff::new();
        roff.control("SH", ["SEE ALSO"]).text([bold("sealwright-settings"), roman("(1): all settings and their environment variables")]);
        text.write_all(roff.to_roff().as_bytes())?;
    }
    if is_settings {
        write_settings(&mut text)?;
    }
    Ok(text)
}

/// The section that lists all settings.
fn write_settings(page: &mut impl Write) -> io::Result<()> {
    let mut roff = Roff::new();
    roff.control("SH", ["SETTINGS"]);
    for setting in PROGRAM.settings {
        let default = setting.default.map(|value| format!(" [default: {value}]")).unwrap_or_default();
        roff.control("TP", []).text([bold(setting.name), roman(default)]);
        roff.text([roman(places(&PROGRAM, setting).join(", "))]).control("br", []).text([roman(sentences(setting))]);
    }
    page.write_all(roff.to_roff().as_bytes())
}
