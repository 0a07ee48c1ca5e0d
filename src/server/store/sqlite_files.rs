//! What the files of an SQLite database say before SQLite opens them.
//!
//! SQLite replays whatever valid `-wal` lies beside a database file: the log does not name the file that it belongs to. Beside a file
//! that was restored, the log of the former one undoes the restore or damages the file, and it does so at the first read. So the files are
//! looked at first (formats: <https://www.sqlite.org/fileformat2.html> sections 1.3 and 4).

use std::{
    fs::{self, File},
    io::{self, BufReader, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::Error;

/// The `user_version` of a file that [`Store::backup`](super::Store::backup) made and that no one has taken into use yet: "SWBK".
pub(super) const BACKUP_MARK: u32 = 0x5357_424b;

const HEADER_LEN: usize = 100;
const LOG_HEADER_LEN: usize = 32;
const FRAME_HEADER_LEN: usize = 24;

/// The header of a database file.
#[derive(Debug, Clone, Copy)]
struct Header {
    /// Whether the file is in WAL mode. SQLite writes that before it makes a log, and deletes the log before it takes it back.
    logs: bool,
    user_version: u32,
}

impl Header {
    /// `None`: the file is missing, empty, or no SQLite database.
    fn read(path: &Path) -> Option<Self> {
        let mut bytes = [0; HEADER_LEN];
        File::open(path).and_then(|mut file| file.read_exact(&mut bytes)).ok()?;
        bytes.starts_with(b"SQLite format 3\0").then(|| Self { logs: bytes[18] == 2, user_version: big_endian(&bytes, 60) })
    }
}

fn big_endian(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_be_bytes(word)
}

/// Whether the file is a backup that no one has taken into use yet.
pub(super) fn is_backup(path: &Path) -> bool {
    Header::read(path).is_some_and(|header| header.user_version == BACKUP_MARK)
}

fn log_of(path: &Path) -> PathBuf {
    // SQLite follows a link to the file and keeps the log beside that.
    let mut name = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()).into_os_string();
    name.push("-wal");
    name.into()
}

/// Refuses a database file whose `-wal` is that of another file.
pub(super) fn refuse_foreign_log(path: &Path) -> Result<(), Error> {
    let Some(header) = Header::read(path) else { return Ok(()) };
    let log = log_of(path);
    let failed = |error| Error::File(Arc::new(error));
    let newer = match (fs::metadata(path), fs::metadata(&log)) {
        (Ok(file), Ok(log)) if log.len() > LOG_HEADER_LEN as u64 => file.modified().and_then(|file| Ok(file > log.modified()?)),
        _ => return Ok(()),
    };
    // A file that was written later than its log was written by a checkpoint, which copies pages out of the log, or by a restore.
    let foreign =
        !header.logs || header.user_version == BACKUP_MARK || newer.map_err(failed)? && has_nothing_of(path, &log).map_err(failed)?;
    if foreign { Err(Error::ForeignLog { file: path.to_owned(), log }) } else { Ok(()) }
}

/// Whether no checkpoint of this log can have left the file as it is.
///
/// A checkpoint copies the newest version of each page, up to some frame of the log, in ascending order of pages. So some page is in the
/// file as the log has it; and when that is so up to a frame, it is so for page 1, if a frame before that one holds it.
fn has_nothing_of(path: &Path, log: &Path) -> io::Result<bool> {
    const FIRST_PAGE: u32 = 1;
    let mut log = BufReader::with_capacity(256 * 1024, File::open(log)?);
    let mut header = [0; LOG_HEADER_LEN];
    log.read_exact(&mut header)?;
    // 1 stands for 65536.
    let page_len = match big_endian(&header, 8) {
        1 => 65536,
        len @ 512..=65536 => len as usize,
        _ => return Ok(false),
    };
    let salts = &header[16..24];
    let (mut frame, mut page, mut ours) = ([0; FRAME_HEADER_LEN], vec![0; page_len], vec![0; page_len]);
    let mut file = File::open(path)?;
    let (mut frames, mut last_copied, mut first_page_at, mut first_page_copied) = (0_u64, None, None, false);
    while log.read_exact(&mut frame).is_ok() && frame[8..16] == *salts && log.read_exact(&mut page).is_ok() {
        let number = big_endian(&frame, 0);
        file.seek(SeekFrom::Start(u64::from(number.saturating_sub(1)) * page_len as u64))?;
        let copied = file.read_exact(&mut ours).is_ok() && ours == page;
        if copied {
            last_copied = Some(frames);
        }
        if number == FIRST_PAGE {
            first_page_at.get_or_insert(frames);
            first_page_copied |= copied;
        }
        frames += 1;
    }
    let without_first_page = !first_page_copied && first_page_at.is_some_and(|at| last_copied.is_some_and(|copied| at < copied));
    Ok(frames > 0 && (last_copied.is_none() || without_first_page))
}
