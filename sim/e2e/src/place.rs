use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory of one test for logs and data: kept where the test fails, removed where it does not.
pub struct Place(PathBuf);

impl Place {
    /// A new directory beside the test's executable.
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let thread = std::thread::current();
        let test = thread.name().unwrap_or("test").replace("::", "-");
        let name = format!("{test}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = built_beside().join("e2e").join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Default for Place {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("logs are kept in {}", self.0.display());
        } else {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

/// A program of this workspace, built in the same profile as the running test.
///
/// # Panics
/// Where it is not built.
pub fn binary(name: &str) -> PathBuf {
    let path = built_beside().join(name);
    assert!(path.is_file(), "{} is missing\nrun `cargo build --workspace` first", path.display());
    path
}

/// The profile's directory: test executables lie in `deps` below it.
fn built_beside() -> PathBuf {
    let executable = std::env::current_exe().unwrap();
    executable.ancestors().nth(2).expect("a test lies in target/PROFILE/deps").to_owned()
}
