use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tickcast_session::Secret;
use tokio::task::JoinHandle;
use tracing::warn;

/// Stores secrets durably in one file, beside the venue loop: the newest wins, and the loop never waits for the disk.
pub(crate) struct Keeper {
    /// Where to; without a file nothing can be kept.
    file: Option<PathBuf>,
    writing: Option<(u64, JoinHandle<io::Result<()>>)>,
    /// The newest that waits for the one being written; an older one that waited is overtaken by it.
    waiting: Option<(u64, Secret)>,
}

/// Bytes of a kept secret at most.
const BYTES_MAX: u64 = 64 * 1024;
/// Time for the last secret to reach the disk when stopping.
const FINISH_WITHIN: Duration = Duration::from_secs(5);

impl Keeper {
    pub(crate) fn new(file: Option<PathBuf>) -> Self {
        Self { file, writing: None, waiting: None }
    }

    /// Begins to store a secret; [`Keeper::next`] tells how it went.
    pub(crate) fn keep(&mut self, number: u64, secret: Secret) {
        if self.writing.is_some() {
            self.waiting = Some((number, secret));
            return;
        }
        let file = self.file.clone();
        let write = move || match file {
            Some(file) => write(&file, &secret),
            None => Err(io::Error::new(io::ErrorKind::NotFound, "no file is set to keep it in")),
        };
        self.writing = Some((number, tokio::task::spawn_blocking(write)));
    }

    /// Waits until a secret is stored or could not be; for ever where none is on its way.
    ///
    /// # Cancel safety
    /// Nothing is lost when it is dropped: the writing goes on by itself.
    pub(crate) async fn next(&mut self) -> (u64, Result<(), String>) {
        let Some((number, writing)) = &mut self.writing else { return std::future::pending().await };
        let number = *number;
        let result = match writing.await {
            Ok(result) => result.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        self.writing = None;
        if let Some((number, secret)) = self.waiting.take() {
            self.keep(number, secret);
        }
        (number, result)
    }

    /// Waits for what is on its way, within bounds.
    pub(crate) async fn finish(mut self) {
        let all = async {
            while self.writing.is_some() {
                if let (_, Err(error)) = self.next().await {
                    warn!(error, "could not store new tokens");
                }
            }
        };
        if tokio::time::timeout(FINISH_WITHIN, all).await.is_err() {
            warn!("new tokens may not be stored: the disk does not answer");
        }
    }
}

/// Reads what was kept in this file; `None` where nothing was yet.
///
/// # Errors
/// Where there is a file that cannot be read, is far too long or is no text.
pub fn read_kept(file: &Path) -> io::Result<Option<Secret>> {
    let mut text = String::new();
    match File::open(file) {
        Ok(opened) => opened.take(BYTES_MAX + 1).read_to_string(&mut text)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if text.len() as u64 > BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the file is too long"));
    }
    Ok(Some(Secret::new(text)))
}

/// Finds out whether a secret could be kept in this file: puts an empty one beside it and takes it away again.
///
/// # Errors
/// Where its folder does not take a file.
pub fn try_to_keep(file: &Path) -> io::Result<()> {
    // Another process may be keeping a secret in the same file right now: what it writes aside is not touched.
    let mut aside = file.as_os_str().to_owned();
    aside.push(format!(".try-{:016x}", fastrand::u64(..)));
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
    fs::remove_file(&aside)
}

/// Writes aside, makes sure of it, and renames: whenever power fails, either the old text is there or the new one.
fn write(file: &Path, secret: &Secret) -> io::Result<()> {
    let mut aside = file.as_os_str().to_owned();
    aside.push(".new");
    let aside = PathBuf::from(aside);
    let result = write_aside(&aside, secret).and_then(|()| {
        fs::rename(&aside, file)?;
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    });
    if result.is_err() {
        let _ = fs::remove_file(&aside);
    }
    result
}

fn write_aside(aside: &Path, secret: &Secret) -> io::Result<()> {
    // A leftover of an earlier life may belong to somebody else or be a link: never written into.
    match fs::remove_file(aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(aside)?;
    // The process's mask may take bits away, but never the file's privacy.
    opened.set_permissions(fs::Permissions::from_mode(0o600))?;
    opened.write_all(secret.expose().as_bytes())?;
    opened.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of its own that is removed afterwards.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("tickcast-keep-{name}-{}", std::process::id()));
            fs::create_dir_all(&folder).unwrap();
            Self(folder)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    #[tokio::test]
    async fn a_secret_is_stored_privately_and_read_back() {
        let folder = Folder::new("roundtrip");
        let file = folder.0.join("tokens");
        assert_eq!(read_kept(&file).unwrap(), None);
        fs::write(folder.0.join("tokens.new"), "half of an earlier life").unwrap();
        let mut keeper = Keeper::new(Some(file.clone()));
        keeper.keep(7, secret("first"));
        assert_eq!(keeper.next().await, (7, Ok(())));
        keeper.keep(8, secret("second"));
        keeper.finish().await;
        assert_eq!(read_kept(&file).unwrap(), Some(secret("second")));
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 1, "nothing is left aside");
    }

    #[tokio::test]
    async fn the_newest_overtakes_what_still_waits() {
        let folder = Folder::new("newest");
        let file = folder.0.join("tokens");
        let mut keeper = Keeper::new(Some(file.clone()));
        for (number, text) in [(1, "one"), (2, "two"), (3, "three")] {
            keeper.keep(number, secret(text));
        }
        assert_eq!(keeper.next().await, (1, Ok(())));
        assert_eq!(keeper.next().await, (3, Ok(())));
        assert_eq!(read_kept(&file).unwrap(), Some(secret("three")));
    }

    #[tokio::test]
    async fn a_disk_that_does_not_take_it_is_said_and_the_old_text_stays() {
        let folder = Folder::new("refused");
        let file = folder.0.join("tokens");
        fs::write(&file, "old").unwrap();
        fs::create_dir(folder.0.join("tokens.new")).unwrap();
        let mut keeper = Keeper::new(Some(file.clone()));
        keeper.keep(1, secret("new"));
        assert!(keeper.next().await.1.is_err());
        assert_eq!(read_kept(&file).unwrap(), Some(secret("old")));
        let mut keeper = Keeper::new(None);
        keeper.keep(1, secret("new"));
        assert!(keeper.next().await.1.unwrap_err().contains("no file"));
    }
}
