//! Unix sockets: who may connect is decided by the mode of the file and by the folder.

use std::{
    fs, io,
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use tokio::net::{UnixListener, UnixSocket, UnixStream};

use crate::server::custody::{self, Exposed, SecretFile};

/// Why a Unix socket cannot be used. Each text says how to fix it.
#[derive(Debug, thiserror::Error)]
pub(super) enum SocketError {
    #[error(transparent)]
    Exposed(#[from] Exposed),
    #[error("{} exists and is not a socket: give another path, or remove it", .0.display())]
    NotASocket(PathBuf),
    #[error("another process listens on {}: stop it, or give another path", .0.display())]
    InUse(PathBuf),
    #[error("cannot listen on {}: {source}; its folder must exist, and this user must be allowed to write to it", path.display())]
    Failed { path: PathBuf, source: io::Error },
}

/// A socket that is bound, but not listened on yet.
#[derive(Debug)]
pub(super) struct BoundSocket {
    socket: UnixSocket,
    file: SocketFile,
}

/// The file of a socket. It is removed when this is dropped, unless another one is in its place.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    id: (u64, u64),
}

impl BoundSocket {
    /// Binds a socket with this mode. The file of a process that has ended is replaced.
    pub(super) async fn bind(path: &Path, mode: u32) -> Result<Self, SocketError> {
        let failed = |source| SocketError::Failed { path: path.to_owned(), source };
        // In a folder that everyone may write to, anyone could put a socket of his own in this place and receive the requests of the app.
        custody::require_private(SecretFile::Socket, path)?;
        remove_stale(path).await?;
        let socket = UnixSocket::new_stream().map_err(failed)?;
        socket.bind(path).map_err(failed)?;
        let made = fs::symlink_metadata(path).map_err(failed)?;
        let file = SocketFile { path: path.to_owned(), id: (made.dev(), made.ino()) };
        // No one can connect before `listen`, so the mode that the file is created with does not matter.
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed)?;
        Ok(Self { socket, file })
    }

    /// Listens on it.
    pub(super) fn listen(self) -> Result<(UnixListener, SocketFile), SocketError> {
        const QUEUE: u32 = 4096;
        let Self { socket, file } = self;
        let listener = socket.listen(QUEUE).map_err(|source| SocketError::Failed { path: file.path.clone(), source })?;
        Ok((listener, file))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == self.id) {
            // If it stays, the next start removes it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes the socket of a process that has ended. Refuses one on which a process listens, and every other file.
async fn remove_stale(path: &Path) -> Result<(), SocketError> {
    let failed = |source| SocketError::Failed { path: path.to_owned(), source };
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    if !found.file_type().is_socket() {
        return Err(SocketError::NotASocket(path.to_owned()));
    }
    match UnixStream::connect(path).await {
        Ok(_) => Err(SocketError::InUse(path.to_owned())),
        // Its queue is full.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(SocketError::InUse(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path).map_err(failed),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn gd4_a_socket_is_private_replaces_a_stale_one_and_leaves_everything_else_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("orders.sock");
        let (listening, file) = BoundSocket::bind(&path, 0o600).await.unwrap().listen().unwrap();
        assert_eq!(mode(&path), 0o600);
        let refused = BoundSocket::bind(&path, 0o600).await.unwrap_err();
        assert!(matches!(refused, SocketError::InUse(_)), "{refused}");
        drop(listening);
        let bound = BoundSocket::bind(&path, 0o660).await.unwrap();
        assert_eq!(mode(&path), 0o660, "no process listened on the old one");
        drop(file);
        assert!(path.exists(), "the end of the first process does not remove the socket of the second");
        drop(bound);
        assert!(!path.exists());

        fs::write(&path, "notes").unwrap();
        let refused = BoundSocket::bind(&path, 0o600).await.unwrap_err();
        assert!(matches!(refused, SocketError::NotASocket(_)), "{refused}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "notes");
        let missing = BoundSocket::bind(&folder.path().join("missing/orders.sock"), 0o600).await.unwrap_err();
        assert!(missing.to_string().contains("its folder must exist"), "{missing}");
    }

    #[tokio::test]
    async fn gd4_a_socket_in_a_folder_that_everyone_may_write_to_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let open = folder.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
        let refused = BoundSocket::bind(&open.join("orders.sock"), 0o600).await.unwrap_err();
        assert!(matches!(refused, SocketError::Exposed(_)), "{refused}");
        assert!(refused.to_string().contains("anyone can replace the file"), "{refused}");
        fs::set_permissions(&open, fs::Permissions::from_mode(0o1777)).unwrap();
        BoundSocket::bind(&open.join("orders.sock"), 0o600).await.unwrap();
    }
}
