//! Unix sockets with a path: who may connect is decided by the mode of the file and by the folder.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use tokio::net::{UnixListener, UnixSocket, UnixStream};

use crate::server::custody::{self, Exposed};

/// Why nothing can listen at a path. Each text says how to fix it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PathnameError {
    #[error(transparent)]
    Exposed(#[from] Exposed),
    #[error("{} exists and is not a socket: give another path, or remove it", .0.display())]
    NotASocket(PathBuf),
    #[error("something listens on {} already: stop that process, or give another path", .0.display())]
    InUse(PathBuf),
    #[error("cannot listen on {}: {source}; its folder must exist, and this user must be allowed to write to it", path.display())]
    Failed { path: PathBuf, source: io::Error },
}

/// A Unix socket that is listened on.
#[derive(Debug)]
pub(crate) struct PathnameSocket {
    // Dropped first, while the socket is open.
    file: SocketFile,
    listener: UnixListener,
}

/// The file of an open socket.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    /// Device and inode. An open socket keeps its inode, so no other file has the same id until it is closed.
    id: (u64, u64),
    /// Locked while this process may remove the file. It stays: if it were removed, two processes could lock two files of the same name.
    lock: File,
}

impl PathnameSocket {
    /// Listens at `path`, with this mode. The file of a process that was killed is replaced. All of it happens at once: a socket that is
    /// bound and not listened on looks as if its process had ended.
    pub(crate) async fn listen(path: &Path, mode: u32) -> Result<Self, PathnameError> {
        const QUEUE: u32 = 4096;
        let failed = |source| PathnameError::Failed { path: path.to_owned(), source };
        // In a folder that others may write to, they could put a socket of their own in this place and receive the requests of the app.
        custody::require_own_folder(path)?;
        let lock = lock(path)?;
        remove_stale(path).await?;
        let socket = UnixSocket::new_stream().map_err(failed)?;
        socket.bind(path).map_err(failed)?;
        let id = id(&fs::symlink_metadata(path).map_err(failed)?);
        let file = SocketFile { path: path.to_owned(), id, lock };
        // No one can connect before `listen`, so the mode that the file is created with does not matter.
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed)?;
        let listener = socket.listen(QUEUE).map_err(failed)?;
        Ok(Self { file, listener })
    }

    pub(super) const fn listener(&self) -> &UnixListener {
        &self.listener
    }

    /// Removes the file, so that no one connects any more and another process may listen at the path. Connections in the queue stay.
    pub(super) fn withdraw(&self) {
        self.file.remove();
    }

    /// Removes the file, and returns the socket.
    pub(super) fn into_listener(self) -> UnixListener {
        self.listener
    }
}

impl SocketFile {
    fn remove(&self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|found| id(&found) == self.id) {
            // If it stays, the next start removes it.
            let _ = fs::remove_file(&self.path);
        }
        // The end of the process unlocks it, too.
        let _ = self.lock.unlock();
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        self.remove();
    }
}

fn id(file: &fs::Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

/// Locks the path among the processes of this program, so that none removes the socket of another: `orders.sock` by `orders.sock.lock`.
fn lock(path: &Path) -> Result<File, PathnameError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let failed = |source| PathnameError::Failed { path: PathBuf::from(&name), source };
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&name).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(PathnameError::InUse(path.to_owned())),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// Removes the socket of a process that has ended. Refuses one on which a process listens, and every other file.
async fn remove_stale(path: &Path) -> Result<(), PathnameError> {
    let failed = |source| PathnameError::Failed { path: path.to_owned(), source };
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    if !found.file_type().is_socket() {
        return Err(PathnameError::NotASocket(path.to_owned()));
    }
    // Another program takes no lock.
    match UnixStream::connect(path).await {
        Ok(_) => Err(PathnameError::InUse(path.to_owned())),
        // Its queue is full.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(PathnameError::InUse(path.to_owned())),
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

    async fn refused(path: &Path) -> PathnameError {
        PathnameSocket::listen(path, 0o600).await.unwrap_err()
    }

    #[tokio::test]
    async fn gd4_a_socket_is_private_replaces_a_stale_one_and_leaves_everything_else_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("orders.sock");
        // Closing it leaves its file, as the end of a process does.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let socket = PathnameSocket::listen(&path, 0o600).await.unwrap();
        assert_eq!(mode(&path), 0o600);
        assert!(matches!(refused(&path).await, PathnameError::InUse(_)));
        drop(socket);
        assert!(!path.exists());
        drop(PathnameSocket::listen(&path, 0o660).await.unwrap());

        let of_another_program = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert!(matches!(refused(&path).await, PathnameError::InUse(_)));
        drop(of_another_program);
        fs::remove_file(&path).unwrap();
        fs::write(&path, "notes").unwrap();
        assert!(matches!(refused(&path).await, PathnameError::NotASocket(_)));
        assert_eq!(fs::read_to_string(&path).unwrap(), "notes");
        let missing = refused(&folder.path().join("missing/orders.sock")).await;
        assert!(missing.to_string().contains("its folder must exist"), "{missing}");
    }

    #[tokio::test]
    async fn gd4_a_socket_that_is_withdrawn_makes_room_for_another_and_never_removes_that() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("orders.sock");
        let first = PathnameSocket::listen(&path, 0o600).await.unwrap();
        let waits = UnixStream::connect(&path).await.unwrap();
        first.withdraw();
        assert!(!path.exists());
        let second = PathnameSocket::listen(&path, 0o660).await.unwrap();
        assert_ne!(first.file.id, second.file.id, "an inode is not used again while its socket is open");
        first.withdraw();
        first.listener().accept().await.unwrap();
        drop((waits, first.into_listener()));
        assert_eq!(mode(&path), 0o660, "the end of the first process leaves the socket of the second alone");
        assert!(matches!(refused(&path).await, PathnameError::InUse(_)));
    }

    #[tokio::test]
    async fn gd4_a_socket_in_a_folder_that_others_may_write_to_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let open = folder.path().join("open");
        fs::create_dir(&open).unwrap();
        for mode in [0o777, 0o1777, 0o775, 0o757, 0o2770] {
            fs::set_permissions(&open, fs::Permissions::from_mode(mode)).unwrap();
            let refused = refused(&open.join("orders.sock")).await;
            assert!(matches!(refused, PathnameError::Exposed(_)), "{mode:o}: {refused}");
            assert!(refused.to_string().contains("others can replace the socket"), "{refused}");
        }
        fs::set_permissions(&open, fs::Permissions::from_mode(0o755)).unwrap();
        PathnameSocket::listen(&open.join("orders.sock"), 0o600).await.unwrap();
    }
}
