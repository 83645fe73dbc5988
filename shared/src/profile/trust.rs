//! Whether a profile file may decide what is enforced.

use std::fs::{File, Metadata, OpenOptions};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Component, Path, PathBuf};

use super::{Profile, ProfileError, file};
use crate::site::escape;

/// Bits of a mode.
const OTHERS_WRITE: u32 = 0o022;
const STICKY: u32 = 0o1000;

impl Profile {
    /// Loads a profile that will be enforced. Fails closed: refused are a file
    /// or a directory above it that others can write or own, a symbolic link,
    /// and, unless `force`, a profile with losses.
    pub fn load_for_sandbox(path: &Path, force: bool) -> Result<Self, ProfileError> {
        let read = |source| ProfileError::Read { path: path.into(), source };
        let untrusted = |why: String| ProfileError::Untrusted { path: path.into(), why };
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(path)
            .map_err(|source| match source.raw_os_error() {
                Some(libc::ELOOP) => untrusted("it is a symbolic link".into()),
                _ => read(source),
            })?;
        let metadata = opened.metadata().map_err(read)?;
        if !metadata.is_file() {
            return Err(untrusted("it is not a regular file".into()));
        }
        check_file(&metadata).map_err(untrusted)?;
        let absolute = std::path::absolute(path).map_err(read)?;
        check_directories(&absolute).map_err(untrusted)?;
        let resolved = std::fs::canonicalize(path).map_err(read)?;
        check_directories(&resolved).map_err(untrusted)?;
        let there = resolved.symlink_metadata().map_err(read)?;
        if (there.dev(), there.ino()) != (metadata.dev(), metadata.ino()) {
            return Err(untrusted("it was replaced while it was opened".into()));
        }
        let profile = load_open(&opened, path)?;
        if !force {
            profile.check_complete()?;
        }
        Ok(profile)
    }
}

fn load_open(opened: &File, path: &Path) -> Result<Profile, ProfileError> {
    Profile::from_bytes(&file::read_bounded(opened, path)?)
}

fn owner_is_trusted(metadata: &Metadata) -> bool {
    metadata.uid() == 0 || metadata.uid() == nix::unistd::geteuid().as_raw()
}

fn check_file(metadata: &Metadata) -> Result<(), String> {
    if metadata.mode() & OTHERS_WRITE != 0 {
        return Err(format!("others can write it (mode {:04o})", metadata.mode() & 0o7777));
    }
    if !owner_is_trusted(metadata) {
        return Err(format!("user {} owns it", metadata.uid()));
    }
    Ok(())
}

/// Each directory on the way, so that nobody else can put another file there.
fn check_directories(path: &Path) -> Result<(), String> {
    let mut directory = PathBuf::new();
    let mut components: Vec<Component<'_>> = path.components().collect();
    components.pop();
    for component in components {
        directory.push(component);
        let shown = escape(directory.as_os_str().as_encoded_bytes());
        // Not followed: where a link leads to is checked as part of the real path.
        let metadata = directory.symlink_metadata().map_err(|error| format!("{shown}: {error}"))?;
        if metadata.is_dir() && metadata.mode() & OTHERS_WRITE != 0 && metadata.mode() & STICKY == 0 {
            return Err(format!(
                "others can write the directory {shown} (mode {:04o})",
                metadata.mode() & 0o7777
            ));
        }
        if !owner_is_trusted(&metadata) {
            return Err(format!("user {} owns the directory {shown}", metadata.uid()));
        }
    }
    Ok(())
}
