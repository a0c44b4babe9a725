//! The login in a file.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;

use super::{Credentials, TokenStore};
use crate::error::Source;
use crate::files::write_whole;

/// Keeps the login in a file of mode 0600, which other processes may share.
///
/// A new login is written beside the file, synced, then renamed over it: a reader finds the old or the new one, never a
/// half. A crash in between leaves at most a file named like it with `.new` behind, of mode 0600 as well.
#[derive(Clone, Debug)]
pub struct FileTokenStore {
    path: Arc<Path>,
}

impl FileTokenStore {
    /// A store in the file `path`. Its folder is made, with mode 0700, when a login is first saved.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into().into(),
        }
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> Result<T, Source> {
        let path = Arc::clone(&self.path);
        tokio::task::spawn_blocking(move || work(&path))
            .await
            .map_err(|e| Arc::new(e) as Source)?
            .map_err(|e| Arc::new(e) as Source)
    }
}

#[async_trait]
impl TokenStore for FileTokenStore {
    async fn load(&self) -> Result<Option<Credentials>, Source> {
        self.blocking(|path| match fs::read(path) {
            // serde_json's text names a place in the file, never what stands there.
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(io::Error::from),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        })
        .await
    }

    async fn save(&self, credentials: &Credentials) -> Result<(), Source> {
        let bytes = serde_json::to_vec(credentials).map_err(|e| Arc::new(e) as Source)?;
        self.blocking(move |path| write_whole(path, &bytes)).await
    }

    async fn clear(&self) -> Result<(), Source> {
        self.blocking(|path| match fs::remove_file(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        })
        .await
    }
}
