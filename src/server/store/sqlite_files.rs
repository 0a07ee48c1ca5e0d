//! Checks the files of an SQLite database before SQLite opens them.
//!
//! SQLite replays any valid `-wal` beside a database file: the log does not name the file that it belongs to. Beside a restored file, the
//! log of the previous file undoes the restore or damages the file, at the first read. So the files are checked first (formats:
//! <https://www.sqlite.org/fileformat2.html> sections 1.3 and 4).

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::Error;

/// The `user_version` of a file that [`Store::backup`](super::Store::backup) created and that is not in use yet: "SWBK".
pub(super) const BACKUP_MARK: u32 = 0x5357_424b;

const HEADER_LEN: usize = 100;
const LOG_HEADER_LEN: usize = 32;
const FRAME_HEADER_LEN: usize = 24;

/// The header of a database file.
#[derive(Debug, Clone, Copy)]
struct Header {
    /// Whether the file is in WAL mode. SQLite sets the mode before it creates a log, and deletes the log before it leaves the mode.
    wal_mode: bool,
    user_version: u32,
}

impl Header {
    /// `None`: the file is missing, empty, or not an SQLite database.
    fn read(path: &Path) -> Option<Self> {
        let mut bytes = [0; HEADER_LEN];
        File::open(path).and_then(|mut file| file.read_exact(&mut bytes)).ok()?;
        bytes.starts_with(b"SQLite format 3\0").then(|| Self { wal_mode: bytes[18] == 2, user_version: big_endian(&bytes, 60) })
    }
}

fn big_endian(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_be_bytes(word)
}

/// Whether the file is a backup that is not in use yet.
pub(super) fn is_backup(path: &Path) -> bool {
    Header::read(path).is_some_and(|header| header.user_version == BACKUP_MARK)
}

fn log_of(path: &Path) -> PathBuf {
    // SQLite follows a link and keeps the log beside the linked file.
    let mut name = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()).into_os_string();
    name.push("-wal");
    name.into()
}

/// Refuses a database file whose `-wal` belongs to another file.
pub(super) fn refuse_foreign_log(path: &Path) -> Result<(), Error> {
    let Some(header) = Header::read(path) else { return Ok(()) };
    let log = log_of(path);
    let failed = |error| Error::File(Arc::new(error));
    let newer = match (fs::metadata(path), fs::metadata(&log)) {
        (Ok(file), Ok(log)) if log.len() > LOG_HEADER_LEN as u64 => file.modified().and_then(|file| Ok(file > log.modified()?)),
        _ => return Ok(()),
    };
    // A file newer than its log was written by a checkpoint, which copies pages from the log, or by a restore.
    let foreign = !header.wal_mode
        || header.user_version == BACKUP_MARK
        || newer.map_err(failed)? && has_no_page_of(path, &log, FRAMES_CHECKED).map_err(failed)?;
    if foreign { Err(Error::ForeignLog { file: path.to_owned(), log }) } else { Ok(()) }
}

/// Number of frames that are checked, from the end of the log. A log of 1,000 frames or more is checkpointed after each commit, so it is
/// longer than this only if a reader blocks checkpoints.
const FRAMES_CHECKED: u64 = 10_000;

/// Whether no checkpoint of this log can have produced the file, according to the last `limit` frames.
///
/// A checkpoint copies the newest version of each page, up to some frame of the log, in ascending order of pages. So at least one page of
/// the file equals that in the log; and if this holds up to some frame, it holds for page 1 too, if an earlier frame contains page 1.
///
/// If the log has more than `limit` frames and none of the last ones is in the file, the log counts as another file's: after a wrong refusal, the operator
/// can do what the error says, whereas a damaged file cannot be repaired.
fn has_no_page_of(path: &Path, log: &Path, limit: u64) -> io::Result<bool> {
    const FIRST_PAGE: u32 = 1;
    let Some(mut log) = Log::open(log)? else { return Ok(false) };
    let frames = log.count()?;
    let (mut file, mut page) = (File::open(path)?, vec![0; log.page.len()]);
    let (mut any_copied, mut first_page_before) = (false, false);
    // From the end, where the last page of an unblocked checkpoint is: it decides most cases.
    for frame in (frames.saturating_sub(limit)..frames).rev() {
        let number = log.page_number(frame)?;
        if any_copied && number != FIRST_PAGE {
            continue;
        }
        log.read_page(frame)?;
        file.seek(SeekFrom::Start(u64::from(number.saturating_sub(1)) * page.len() as u64))?;
        let copied = file.read_exact(&mut page).is_ok() && page == log.page;
        if copied && number == FIRST_PAGE {
            return Ok(false);
        }
        first_page_before |= any_copied;
        any_copied |= copied;
    }
    Ok(frames > 0 && (!any_copied || first_page_before))
}

/// A write-ahead log whose frames are read in any order.
struct Log {
    file: File,
    salts: [u8; 8],
    /// The last page read.
    page: Vec<u8>,
}

impl Log {
    /// `None`: the log has no valid header, or is gone.
    fn open(path: &Path) -> io::Result<Option<Self>> {
        let mut file = match File::open(path) {
            Ok(file) => file,
            // Another process has just closed the database, and SQLite has removed its log.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut header = [0; LOG_HEADER_LEN];
        file.read_exact(&mut header)?;
        // 1 means 65536.
        let page_len = match big_endian(&header, 8) {
            1 => 65536,
            len @ 512..=65536 => len as usize,
            _ => return Ok(None),
        };
        let mut salts = [0; 8];
        salts.copy_from_slice(&header[16..24]);
        Ok(Some(Self { file, salts, page: vec![0; page_len] }))
    }

    fn seek(&mut self, frame: u64, offset: usize) -> io::Result<()> {
        let len = (FRAME_HEADER_LEN + self.page.len()) as u64;
        self.file.seek(SeekFrom::Start(LOG_HEADER_LEN as u64 + frame * len + offset as u64)).map(|_| ())
    }

    fn frame_header(&mut self, frame: u64) -> io::Result<[u8; FRAME_HEADER_LEN]> {
        let mut header = [0; FRAME_HEADER_LEN];
        self.seek(frame, 0)?;
        self.file.read_exact(&mut header)?;
        Ok(header)
    }

    fn page_number(&mut self, frame: u64) -> io::Result<u32> {
        Ok(big_endian(&self.frame_header(frame)?, 0))
    }

    fn read_page(&mut self, frame: u64) -> io::Result<()> {
        self.seek(frame, FRAME_HEADER_LEN)?;
        self.file.read_exact(&mut self.page)
    }

    /// The number of frames. SQLite restarts a log from its beginning, so its frames may be followed by older ones with other salts: a
    /// binary search finds where the salts change.
    fn count(&mut self) -> io::Result<u64> {
        let len = self.file.metadata()?.len().saturating_sub(LOG_HEADER_LEN as u64);
        let (mut valid, mut end) = (0, len / (FRAME_HEADER_LEN + self.page.len()) as u64);
        while valid < end {
            let middle = valid + (end - valid) / 2;
            if self.frame_header(middle)?[8..16] == self.salts { valid = middle + 1 } else { end = middle }
        }
        Ok(valid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE_LEN: usize = 512;

    /// A folder with a database file of these pages, each filled with one byte, and a log of these frames (page number and byte), followed by
    /// `stale` frames of an earlier round.
    fn files(pages: &[u8], frames: &[(u32, u8)], stale: usize) -> (tempfile::TempDir, PathBuf, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let (file, log) = (folder.path().join("a.db"), folder.path().join("a.db-wal"));
        fs::write(&file, pages.iter().flat_map(|fill| [*fill; PAGE_LEN]).collect::<Vec<_>>()).unwrap();
        let mut bytes = vec![0; LOG_HEADER_LEN];
        bytes[8..12].copy_from_slice(&512_u32.to_be_bytes());
        bytes[16..24].copy_from_slice(b"saltsalt");
        let stale = std::iter::repeat_n((&(1, 0), b"SALTsalt"), stale);
        for ((page, fill), salts) in frames.iter().map(|frame| (frame, b"saltsalt")).chain(stale) {
            let mut header = [0; FRAME_HEADER_LEN];
            header[..4].copy_from_slice(&page.to_be_bytes());
            header[8..16].copy_from_slice(salts);
            bytes.extend(header);
            bytes.extend([*fill; PAGE_LEN]);
        }
        fs::write(&log, bytes).unwrap();
        (folder, file, log)
    }

    fn is_foreign(pages: &[u8], frames: &[(u32, u8)], limit: u64) -> bool {
        let foreign = [0, 1, 5].map(|stale| {
            let (_folder, file, log) = files(pages, frames, stale);
            has_no_page_of(&file, &log, limit).unwrap()
        });
        assert!(foreign.iter().all(|other| *other == foreign[0]), "frames of an earlier round change nothing");
        foreign[0]
    }

    #[test]
    fn op8_a_log_that_sqlite_removes_while_it_is_checked_does_no_harm() {
        let (_folder, file, log) = files(&[10], &[(2, 20)], 0);
        assert!(has_no_page_of(&file, &log, 100).unwrap());
        fs::remove_file(&log).unwrap();
        assert!(!has_no_page_of(&file, &log, 100).unwrap());
    }

    #[test]
    fn op8_a_log_is_another_files_if_no_checkpoint_of_it_can_have_left_the_file_as_it_is() {
        let frames = [(2, 20), (1, 10), (2, 21), (3, 30), (1, 11), (2, 22)];
        let foreign = |pages: &[u8]| is_foreign(pages, &frames, 100);
        assert!(!foreign(&[11, 22, 30]), "all was copied");
        assert!(!foreign(&[10, 21, 30]), "a reader blocked the rest");
        assert!(!foreign(&[1, 20]), "up to the first frame");
        assert!(foreign(&[1, 2, 3]), "nothing was copied");
        assert!(foreign(&[1, 22, 30]), "the newest of page 2, and page 1 as it was before the log");
        assert!(foreign(&[1, 21]), "a file of an earlier time that shares a page with the log");
        assert!(foreign(&[]));
        assert!(!is_foreign(&[1, 2], &[], 100), "an empty log");
        assert!(!is_foreign(&[1, 22], &[(2, 21), (2, 22)], 100), "no frame contains page 1");
    }

    #[test]
    fn op8_only_the_end_of_a_long_log_is_read() {
        let mut frames = vec![(2, 20), (1, 10)];
        frames.extend((0..50).map(|fill| (3, fill)));
        assert!(!is_foreign(&[10, 20, 49], &frames, 10), "the last frame is in the file");
        assert!(!is_foreign(&[1, 20, 49], &frames, 10), "page 1 is before the frames that are checked");
        assert!(is_foreign(&[1, 20, 49], &frames, 100));
        assert!(is_foreign(&[10, 20, 3], &frames, 10), "none of the last frames is in the file");
        assert!(!is_foreign(&[10, 20, 3], &frames, 100));
    }
}
