//! The files of access tokens' keys.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use chat_core::auth::SigningKey;
use chat_core::random::{Random as _, SystemRandom};

use crate::serve::StartError;

fn refused(path: &Path, why: &dyn std::fmt::Display) -> StartError {
    StartError::new(format!("the signing key {}: {why}", path.display()))
}

/// The signing key in this file.
///
/// # Errors
/// It isn't there, or can't be used.
pub(crate) fn read(path: &Path) -> Result<SigningKey, StartError> {
    let text = fs::read_to_string(path).map_err(|e| refused(path, &e))?;
    let key = SigningKey::from_pem(&text).map_err(|e| refused(path, &e))?;
    // The group may read it: so a container that isn't root's gets a secret as a file.
    if fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o037 != 0) {
        tracing::warn!(
            "others can read or change the signing key {}: `chmod 600` it",
            path.display()
        );
    }
    Ok(key)
}

/// The signing key in this file, made where there is none: for a server that is alone on its database.
///
/// # Errors
/// As [`read`] and [`make`].
pub(crate) fn read_or_make(path: &Path) -> Result<SigningKey, StartError> {
    match path.try_exists() {
        Ok(false) => {
            let key = make(path)?;
            tracing::info!("made the signing key {}", path.display());
            Ok(key)
        }
        Ok(true) | Err(_) => read(path),
    }
}

/// Makes a signing key in a file that isn't there yet, for its owner alone. It is there as a whole or not at all.
///
/// # Errors
/// The file is there already, or can't be written.
pub(crate) fn make(path: &Path) -> Result<SigningKey, StartError> {
    let key = SigningKey::generate(&SystemRandom).map_err(|e| refused(path, &e))?;
    write_new(path, &key.to_pem()).map_err(|e| match e.kind() {
        io::ErrorKind::AlreadyExists => refused(path, &"is there already, and is not overwritten"),
        io::ErrorKind::NotFound => refused(path, &"there is no such directory to make it in"),
        _ => refused(path, &e),
    })?;
    Ok(key)
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let draft = PathBuf::from(format!("{}.{:x}", path.display(), SystemRandom.id()));
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            // Unlike a rename, a link replaces nothing.
            fs::hard_link(&draft, path)
        });
    let removed = fs::remove_file(&draft);
    written.and(removed)?;
    let directory = path.parent().filter(|p| !p.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_for_its_owner_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("key.pem");
        let made = read_or_make(&path).expect("made");
        let mode = fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let read = read_or_make(&path).expect("read");
        assert_eq!(read.verify_key(), made.verify_key());
        assert!(
            make(&path)
                .expect_err("there")
                .to_string()
                .contains("not overwritten")
        );
        assert_eq!(fs::read_dir(directory.path()).expect("listed").count(), 1);
    }

    #[test]
    fn a_key_that_is_none_is_refused_with_its_path() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("key.pem");
        fs::write(&path, "nonsense").expect("written");
        let error = read_or_make(&path).expect_err("refused").to_string();
        assert!(
            error.contains("key.pem") && error.contains("PEM"),
            "{error}"
        );
        assert!(!error.contains("nonsense"));
    }
}
