//! The outbox in a file.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io::{self, BufRead as _, BufReader, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{Outbox, OutboxEntry};
use crate::error::Source;
use crate::files::{folder_of, make_folder, private, write_whole};

/// A file past this size is rewritten once most of it is about entries that are gone.
const COMPACT_BYTES: u64 = 256 * 1024;

/// Keeps messages in a file of mode 0600, one JSON object a line: `{"add":{…}}` or `{"done":"<id>"}`.
///
/// Lines are only appended, and those that add are synced before their messages go out. A line cut off by a crash is dropped.
/// The file belongs to one process at a time: a lock beside it, named like it with `.lock` behind, sees to that.
#[derive(Debug)]
pub struct FileOutbox {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    /// Opened when first needed. Only ever locked on a thread that may block.
    log: Mutex<Option<Log>>,
}

impl FileOutbox {
    /// An outbox in the file `path`. Its folder is made, with mode 0700, when it is first used.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            shared: Arc::new(Shared {
                path: path.into(),
                log: Mutex::new(None),
            }),
        }
    }

    async fn with_log<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Log) -> io::Result<T> + Send + 'static,
    ) -> Result<T, Source> {
        let shared = Arc::clone(&self.shared);
        tokio::task::spawn_blocking(move || {
            let mut slot = shared.log.lock().unwrap_or_else(PoisonError::into_inner);
            let mut log = match slot.take() {
                Some(log) => log,
                None => Log::open(&shared.path)?,
            };
            let result = work(&mut log);
            // After an error the file is read anew: what of a line reached it isn't known.
            if result.is_ok() {
                *slot = Some(log);
            }
            result
        })
        .await
        .map_err(|e| Arc::new(e) as Source)?
        .map_err(|e| Arc::new(e) as Source)
    }
}

#[async_trait]
impl Outbox for FileOutbox {
    async fn load(&self) -> Result<Vec<OutboxEntry>, Source> {
        self.with_log(|log| Ok(log.entries.values().cloned().collect()))
            .await
    }

    async fn add(&self, entries: &[OutboxEntry]) -> Result<(), Source> {
        let entries = entries.to_vec();
        self.with_log(move |log| log.add(entries)).await
    }

    async fn remove(&self, client_message_ids: &[String]) -> Result<(), Source> {
        let ids = client_message_ids.to_vec();
        self.with_log(move |log| log.remove(&ids)).await
    }
}

/// A line of the file.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Line {
    Add(OutboxEntry),
    Done(String),
}

/// The file, open and read.
#[derive(Debug)]
struct Log {
    path: PathBuf,
    file: File,
    bytes: u64,
    /// By their place in the order of adding.
    entries: BTreeMap<u64, OutboxEntry>,
    places: BTreeMap<String, u64>,
    last_place: u64,
    /// Held as long as the file is open.
    _lock: File,
}

impl Log {
    fn open(path: &Path) -> io::Result<Self> {
        make_folder(folder_of(path))?;
        let lock = lock(path)?;
        let file = private()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        let mut log = Self {
            path: path.to_owned(),
            file,
            bytes: 0,
            entries: BTreeMap::new(),
            places: BTreeMap::new(),
            last_place: 0,
            _lock: lock,
        };
        log.read()?;
        Ok(log)
    }

    /// Reads the file and cuts off what a crash left of a line.
    fn read(&mut self) -> io::Result<()> {
        let mut reader = BufReader::new(&self.file);
        let mut lines = Vec::new();
        let mut bytes = 0;
        let mut line = Vec::new();
        loop {
            line.clear();
            let n = reader.read_until(b'\n', &mut line)?;
            if n == 0 || line.last() != Some(&b'\n') {
                break;
            }
            let line = serde_json::from_slice::<Line>(&line).map_err(io::Error::from)?;
            lines.push(line);
            bytes += n as u64;
        }
        for line in lines {
            self.apply(line);
        }
        self.file.set_len(bytes)?;
        self.file.seek(SeekFrom::Start(bytes))?;
        self.bytes = bytes;
        Ok(())
    }

    fn apply(&mut self, line: Line) {
        match line {
            Line::Add(entry) => {
                let id = entry.client_message_id.clone();
                if let std::collections::btree_map::Entry::Vacant(place) = self.places.entry(id) {
                    self.last_place += 1;
                    place.insert(self.last_place);
                    self.entries.insert(self.last_place, entry);
                }
            }
            Line::Done(id) => {
                if let Some(place) = self.places.remove(&id) {
                    self.entries.remove(&place);
                }
            }
        }
    }

    fn add(&mut self, entries: Vec<OutboxEntry>) -> io::Result<()> {
        let lines: Vec<_> = entries.into_iter().map(Line::Add).collect();
        self.append(lines)?;
        self.file.sync_data()
    }

    fn remove(&mut self, ids: &[String]) -> io::Result<()> {
        let known = ids.iter().filter(|id| self.places.contains_key(*id));
        let lines: Vec<_> = known.cloned().map(Line::Done).collect();
        self.append(lines)?;
        if self.bytes > COMPACT_BYTES {
            self.compact()?;
        }
        Ok(())
    }

    fn append(&mut self, lines: Vec<Line>) -> io::Result<()> {
        let text = written(&lines)?;
        self.file.write_all(&text)?;
        self.bytes += text.len() as u64;
        for line in lines {
            self.apply(line);
        }
        Ok(())
    }

    /// Rewrites the file without what is done, if that is most of it.
    fn compact(&mut self) -> io::Result<()> {
        let lines: Vec<_> = self.entries.values().cloned().map(Line::Add).collect();
        let text = written(&lines)?;
        if text.len() as u64 > self.bytes / 2 {
            return Ok(());
        }
        write_whole(&self.path, &text)?;
        self.file = private().read(true).write(true).open(&self.path)?;
        self.bytes = self.file.seek(SeekFrom::End(0))?;
        Ok(())
    }
}

fn written(lines: &[Line]) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    for line in lines {
        serde_json::to_writer(&mut text, line)?;
        text.push(b'\n');
    }
    Ok(text)
}

fn lock(path: &Path) -> io::Result<File> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let file = private()
        .write(true)
        .create(true)
        .truncate(false)
        .open(PathBuf::from(name))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(io::Error::new(
            io::ErrorKind::ResourceBusy,
            "another process, or another client of this one, uses this outbox",
        )),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use chat_core::model::RoomId;

    use super::*;

    fn entry(n: u32) -> OutboxEntry {
        OutboxEntry {
            user_id: None,
            room_id: RoomId(1),
            client_message_id: format!("id-{n}"),
            content: format!("text {n}\nwith a second line"),
        }
    }

    async fn ids(outbox: &FileOutbox) -> Vec<String> {
        let entries = outbox.load().await.expect("readable");
        entries.into_iter().map(|e| e.client_message_id).collect()
    }

    #[tokio::test]
    async fn entries_survive_in_their_order_until_they_are_done() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a/outbox");
        let outbox = FileOutbox::new(&path);
        let added = outbox.add(&[entry(1), entry(2), entry(3)]).await;
        added.expect("kept");
        outbox.remove(&["id-2".into()]).await.expect("forgotten");
        drop(outbox);
        let again = FileOutbox::new(&path);
        assert_eq!(again.load().await.expect("readable"), [entry(1), entry(3)]);
    }

    #[tokio::test]
    async fn a_line_cut_at_any_byte_is_dropped_and_the_rest_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("outbox");
        let outbox = FileOutbox::new(&path);
        outbox.add(&[entry(1), entry(2)]).await.expect("kept");
        drop(outbox);
        let whole = fs::read(&path).expect("readable");
        let first = whole.iter().position(|b| *b == b'\n').expect("a line") + 1;
        for cut in first..whole.len() {
            fs::write(&path, &whole[..cut]).expect("writable");
            let outbox = FileOutbox::new(&path);
            assert_eq!(ids(&outbox).await, ["id-1"], "cut at {cut}");
            outbox.add(&[entry(3)]).await.expect("kept");
            drop(outbox);
            let outbox = FileOutbox::new(&path);
            assert_eq!(ids(&outbox).await, ["id-1", "id-3"]);
            // Nor is anything left of it behind what is written next, however short that is.
            drop(outbox);
            fs::write(&path, &whole[..cut]).expect("writable");
            FileOutbox::new(&path)
                .remove(&["id-1".into()])
                .await
                .expect("forgotten");
            assert!(ids(&FileOutbox::new(&path)).await.is_empty());
        }
    }

    #[tokio::test]
    async fn a_file_of_what_is_done_is_rewritten() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("outbox");
        let outbox = FileOutbox::new(&path);
        outbox.add(&[entry(0)]).await.expect("kept");
        for n in 1..=40 {
            let mut long = entry(n);
            long.content = "x".repeat(10_000);
            let id = long.client_message_id.clone();
            outbox.add(&[long]).await.expect("kept");
            outbox.remove(&[id]).await.expect("forgotten");
        }
        let size = fs::metadata(&path).expect("there").len();
        assert!(size < COMPACT_BYTES, "{size} bytes");
        outbox.add(&[entry(99)]).await.expect("kept");
        assert_eq!(ids(&outbox).await, ["id-0", "id-99"]);
    }

    #[tokio::test]
    async fn an_outbox_in_use_is_refused_to_another() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("outbox");
        let outbox = FileOutbox::new(&path);
        assert!(ids(&outbox).await.is_empty());
        assert!(FileOutbox::new(&path).load().await.is_err());
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn only_its_owner_can_read_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("outbox");
        FileOutbox::new(&path).add(&[entry(1)]).await.expect("kept");
        let mode = fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
