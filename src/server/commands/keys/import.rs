use std::{path::Path, time::Duration};

use super::{Keys, Successor};
use crate::{
    clock::Timestamp,
    protocol::Algorithm,
    server::{
        commands::{Act, Cause, Error},
        keys::{ForeignKey, KeyFile},
    },
};

impl Keys<'_> {
    /// Reads the file of a private key, without decrypting it.
    pub(crate) fn read_file(path: &Path) -> Result<KeyFile, Error> {
        KeyFile::read(path).map_err(|why| Cause::KeyFile { path: path.to_owned(), why }.into())
    }

    /// Reads the private key of a file, and checks that the server may sign with it.
    pub(crate) fn open_file(file: &KeyFile, algorithm: Algorithm, passphrase: Option<&[u8]>) -> Result<ForeignKey, Error> {
        file.open(algorithm, passphrase).map_err(|why| Cause::KeyFile { path: file.path().to_owned(), why }.into())
    }

    /// What [`Self::import`] would do.
    pub(crate) async fn import_of(&self, key: &ForeignKey, lead: Option<Duration>, now: Timestamp) -> Result<Successor, Error> {
        Ok(self.requests(now).await?.import_of(key, lead).await?)
    }

    /// Publishes a private key from elsewhere as the next one of its algorithm. It signs after the lead, by default the one of the settings.
    pub(crate) async fn import(&self, act: &Act, key: &ForeignKey, lead: Option<Duration>) -> Result<Successor, Error> {
        Ok(self.requests(act.now).await?.import(act, key, lead).await?)
    }
}
