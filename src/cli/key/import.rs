use std::{
    io::{self, IsTerminal},
    path::PathBuf,
    time::Duration,
};

use clap::Args;
use zeroize::Zeroizing;

use super::rotate::{Next, sentences};
use crate::{
    cli::{
        Operator,
        algorithm::algorithm,
        confirmation::Confirmation,
        error::Error,
        first_line::first_line,
        output::{Output, positive_duration},
    },
    protocol::Algorithm,
    server::commands::Keys,
};

/// Make a private key from elsewhere the next one of its algorithm: it is published now, and signs after the lead
///
/// The file is PKCS#8, PKCS#1 or SEC 1, as PEM or DER, and only its owner may read it. The key keeps its id only if that is its thumbprint
/// (RFC 7638). While another key waits for its turn, none is imported: only one at a time does.
#[derive(Debug, Args)]
pub(in crate::cli) struct Import {
    /// The file of the private key
    file: PathBuf,
    /// The algorithm that it signs with
    #[arg(long = "alg", value_name = "ALGORITHM", value_parser = algorithm())]
    algorithm: Algorithm,
    /// Read the passphrase of an encrypted key from the first line of standard input; without this, it is prompted for
    #[arg(long)]
    passphrase_stdin: bool,
    /// How long it is published before it signs, at least 2h [default: the setting key_publish_lead]
    #[arg(long, value_name = "DURATION", value_parser = positive_duration)]
    lead: Option<Duration>,
    #[command(flatten)]
    confirmation: Confirmation,
    #[command(flatten)]
    output: Output,
}

/// The size of the buffer into which OpenSSL lets a passphrase be written (`PEM_BUFSIZE`).
const LONGEST_PASSPHRASE: usize = 1024;

impl Import {
    pub(super) async fn run(self, operator: &Operator) -> Result<(), Error> {
        let file = Keys::read_file(&self.file)?;
        let passphrase = if file.is_encrypted() { Some(self.passphrase()?) } else { None };
        let key = Keys::open_file(&file, self.algorithm, passphrase.as_ref().map(|passphrase| passphrase.as_slice()))?;
        drop((file, passphrase));

        // Refuses before it asks.
        let keys = operator.commands.keys();
        let planned = keys.import_of(&key, self.lead, operator.act.now).await?;
        self.confirmation.require(async { Ok(format!("{} Continue?", sentences(&planned, "is published now, and"))) }).await?;
        let done = keys.import(&operator.act_now(), &key, self.lead).await?;
        self.output.print(&Next::from(&done), |_| sentences(&done, "is published, and"))
    }

    fn passphrase(&self) -> Result<Zeroizing<Vec<u8>>, Error> {
        let passphrase = match self.passphrase_stdin {
            true => first_line(LONGEST_PASSPHRASE)?,
            false if io::stdin().is_terminal() => Some(from_terminal()?).filter(|typed| typed.len() <= LONGEST_PASSPHRASE),
            false => return Err(Error::NoPassphrase(self.file.clone())),
        };
        match passphrase {
            None => Err(Error::Passphrase("has more than 1,024 bytes")),
            Some(passphrase) if passphrase.is_empty() => Err(Error::Passphrase("is empty")),
            Some(passphrase) => Ok(passphrase),
        }
    }
}

/// Prompts without echo.
fn from_terminal() -> Result<Zeroizing<Vec<u8>>, Error> {
    let passphrase = rpassword::prompt_password("Passphrase: ").map_err(Error::Input)?;
    Ok(Zeroizing::new(passphrase.into_bytes()))
}
