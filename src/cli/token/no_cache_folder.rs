//! The folder of cached tokens on a system without file modes: there is none, because tokens in it would not be private.

use std::{convert::Infallible, fs::File};

use zeroize::Zeroizing;

use super::unusable::Unusable;
use crate::clock::Timestamp;

/// How the name of a file ends that contains a token.
pub(super) const TOKEN: &str = ".json";

/// No folder.
#[derive(Debug)]
pub(super) struct Folder(Infallible);

impl Folder {
    pub(super) fn open() -> Result<Self, Unusable> {
        Err(Unusable::NoModes)
    }

    pub(super) fn read(&self, _: &str) -> Result<Option<Zeroizing<Vec<u8>>>, Unusable> {
        match self.0 {}
    }

    pub(super) fn replace(&self, _: &str, _: &[u8]) -> Result<(), Unusable> {
        match self.0 {}
    }

    pub(super) fn lock_file(&self, _: &str) -> Result<File, Unusable> {
        match self.0 {}
    }

    pub(super) fn delete_old(&self, _: Timestamp) {
        match self.0 {}
    }
}
