//! `sealwright client add-key`, and the key of a new client.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;

use super::view;
use crate::{
    cli::{
        Operator,
        algorithm::algorithm,
        error::Error,
        first_line::is_standard_input,
        output::{Output, positive_duration},
    },
    protocol::{Algorithm, ClientId, KeyId},
    server::commands::{self, ClientKey, GeneratedKey, view::Viewed},
};

/// Add a public key to a client, by which it authenticates without a secret (private_key_jwt); its other keys and its secrets stay valid
///
/// The file is a JWK, or a public key or certificate in PEM. The app signs with the private key, which the server never sees.
#[derive(Debug, Args)]
pub(in crate::cli) struct AddKey {
    id: ClientId,
    /// The file of the public key, - for standard input; with --generate, the new file of the private key
    file: PathBuf,
    /// Generate a key pair: the private key is written to FILE, for the app, and its public key is added
    #[arg(long)]
    generate: bool,
    /// The algorithm of the key, by which alone it may sign [default: that of its JWK or its type; with --generate ES256]
    #[arg(long = "alg", value_name = "ALGORITHM", value_parser = algorithm())]
    algorithm: Option<Algorithm>,
    /// The id of the key, which the app names in the header of what it signs [default: the `kid` of the JWK, or the thumbprint of RFC 7638]
    #[arg(long, allow_hyphen_values = true, conflicts_with = "generate")]
    kid: Option<KeyId>,
    /// How long the key is valid; without it, it does not expire
    #[arg(long, value_name = "DURATION", value_parser = positive_duration)]
    expires_in: Option<Duration>,
    #[command(flatten)]
    output: Output,
}

/// The key of a new client.
#[derive(Debug, Args)]
pub(in crate::cli) struct FirstKey {
    /// Generate a key instead of a secret, and write its private half to FILE
    #[arg(long = "key", value_name = "FILE", conflicts_with = "public_key")]
    generate: Option<PathBuf>,
    /// Its public key instead of a secret: the file of a JWK or in PEM
    #[arg(long, value_name = "FILE")]
    public_key: Option<PathBuf>,
}

/// A key to add. A private key that was just written is removed if its public half was certainly not added.
pub(super) struct KeyToAdd {
    pub(super) key: ClientKey,
    written: Option<PathBuf>,
}

impl AddKey {
    pub(super) async fn run(self, operator: &Operator) -> Result<(), Error> {
        let Self { id, file, generate, algorithm, kid, expires_in, output } = self;
        let to_add = if generate { KeyToAdd::generate(&file, algorithm)? } else { KeyToAdd::read(&file, kid, algorithm)? };
        let (clients, act) = (operator.commands.clients(), &operator.act);
        let added = clients.add_key(act, id.clone(), to_add.key.clone(), expires_in).await;
        let ((), note) = to_add.outcome(added)?;
        output.print(&clients.find(&id).await?.view(act.now), view::client_with_credentials)?;
        note.map_or(Ok(()), |note| output.print_ended(&note))
    }
}

impl FirstKey {
    /// The key that the options name, if any.
    pub(super) fn to_add(&self) -> Result<Option<KeyToAdd>, Error> {
        match (&self.generate, &self.public_key) {
            (Some(file), _) => KeyToAdd::generate(file, None).map(Some),
            (None, Some(file)) => KeyToAdd::read(file, None, None).map(Some),
            (None, None) => Ok(None),
        }
    }
}

impl KeyToAdd {
    fn generate(file: &Path, algorithm: Option<Algorithm>) -> Result<Self, Error> {
        let failed = |why| Error::PrivateKeyFile { file: file.to_owned(), why };
        if is_standard_input(file) {
            return Err(failed("- is standard input; name a file".to_owned()));
        }
        let generated = GeneratedKey::new(algorithm.unwrap_or(Algorithm::Es256)).map_err(failed)?;
        generated.write(file).map_err(|error| failed(error.to_string()))?;
        Ok(Self { key: generated.public, written: Some(file.to_owned()) })
    }

    fn read(file: &Path, kid: Option<KeyId>, algorithm: Option<Algorithm>) -> Result<Self, Error> {
        let text = read(file).map_err(|error| Error::PublicKeyFile { file: file.to_owned(), why: error.to_string() })?;
        let key = ClientKey::read(&text, kid, algorithm).map_err(|why| Error::NotAClientKey { file: file.to_owned(), why })?;
        Ok(Self { key, written: None })
    }

    /// Says where the written private key is, if its public half was added. If it certainly was not, the file is removed.
    pub(super) fn outcome<T>(self, added: Result<T, commands::Error>) -> Result<(T, Option<String>), Error> {
        let Some(file) = self.written else { return Ok((added?, None)) };
        match added {
            Ok(added) => {
                let note = format!("The private key is in {}, for the app alone: move it there, and keep no copy.", file.display());
                Ok((added, Some(note)))
            }
            Err(error) if error.has_changed_nothing() => {
                // It has never been used.
                let _ = fs::remove_file(file);
                Err(error.into())
            }
            Err(source) => Err(Error::KeyPerhapsAdded { file, source: source.into() }),
        }
    }
}

/// Reads a file that has at most one byte more than a key may have.
fn read(file: &Path) -> io::Result<String> {
    let limit = ClientKey::LONGEST_FILE as u64 + 1;
    let mut text = String::new();
    if is_standard_input(file) {
        io::stdin().lock().take(limit).read_to_string(&mut text)?;
    } else {
        fs::File::open(file)?.take(limit).read_to_string(&mut text)?;
    }
    Ok(text)
}
