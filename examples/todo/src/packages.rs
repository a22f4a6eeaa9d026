//! Backbone and Underscore for the page at `/backbone/`, which are not part of this program: npm brings them beside its source.

use std::{
    fs::{File, TryLockError},
    io,
    path::{Path, PathBuf},
    process::Stdio,
};

use tokio::process::Command;

/// Where `package-lock.json` is, if this runs where it was built.
pub(crate) fn folder() -> Option<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR"));
    source.join("package-lock.json").is_file().then(|| source.to_owned())
}

/// Has npm install the packages, if they are not there. Whatever becomes of it, one line in the log says so.
pub(crate) async fn install(folder: PathBuf) {
    if is_installed(&folder) {
        return;
    }
    let npm = if cfg!(windows) { "npm.cmd" } else { "npm" };
    match npm_ci(npm.as_ref(), &folder).await {
        Ok(()) => tracing::info!("npm brought the packages of the page at /backbone/"),
        Err(error) => tracing::warn!("the page at /backbone/ lacks its packages: {error}"),
    }
}

/// npm writes this file last: without it the folder is what was left of an install that did not end.
fn is_installed(folder: &Path) -> bool {
    folder.join("node_modules/.package-lock.json").is_file()
}

async fn npm_ci(npm: &Path, folder: &Path) -> io::Result<()> {
    // One at a time, as each begins with an empty folder. Any file will do that npm does not read; the lock goes with this process.
    let lock = File::open(folder.join("src/packages.rs"))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(io::Error::other("another todo is installing them")),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    // The one before may just have ended.
    if is_installed(folder) {
        return Ok(());
    }
    let installed = Command::new(npm)
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
        .current_dir(folder)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|error| io::Error::new(error.kind(), format!("npm cannot be run: {error}")))?;
    if installed.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&installed.stderr);
    let first = said.lines().find(|line| line.starts_with("npm error")).unwrap_or_default();
    Err(io::Error::other(format!("`npm ci` failed ({}) {first}", installed.status)))
}

#[cfg(all(test, unix))]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    /// A folder like this one, with a program in the place of npm.
    fn folder(script: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("src")).unwrap();
        fs::write(folder.path().join("src/packages.rs"), "").unwrap();
        let npm = folder.path().join("npm");
        fs::write(&npm, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&npm, fs::Permissions::from_mode(0o755)).unwrap();
        (folder, npm)
    }

    #[tokio::test]
    async fn npm_installs_what_the_lock_file_says() {
        let (folder, npm) = folder(r#"mkdir node_modules && echo "$*" > node_modules/.package-lock.json"#);
        assert!(!is_installed(folder.path()));
        npm_ci(&npm, folder.path()).await.unwrap();
        assert!(is_installed(folder.path()));
        let arguments = fs::read_to_string(folder.path().join("node_modules/.package-lock.json")).unwrap();
        assert!(arguments.starts_with("ci --ignore-scripts"), "{arguments}");
    }

    #[tokio::test]
    async fn what_npm_says_against_it_is_told() {
        let (folder, npm) =
            folder("echo npm warn x >&2; echo npm error code E404 >&2; echo npm error y >&2; exit 1");
        let error = npm_ci(&npm, folder.path()).await.unwrap_err().to_string();
        assert_eq!(error, "`npm ci` failed (exit status: 1) npm error code E404");
        let error = npm_ci(Path::new("/nowhere/npm"), folder.path()).await.unwrap_err().to_string();
        assert!(error.starts_with("npm cannot be run: "), "{error}");
    }

    #[tokio::test]
    async fn two_do_not_install_at_once() {
        let (folder, npm) = folder("touch ran");
        let lock = File::open(folder.path().join("src/packages.rs")).unwrap();
        lock.lock().unwrap();
        let error = npm_ci(&npm, folder.path()).await.unwrap_err().to_string();
        assert_eq!(error, "another todo is installing them");
        assert!(!folder.path().join("ran").exists());
    }

    #[test]
    fn this_is_run_where_it_was_built() {
        let folder = super::folder().unwrap();
        assert!(folder.join("src/packages.rs").is_file(), "what is locked");
        assert!(folder.join("package.json").is_file());
    }
}
