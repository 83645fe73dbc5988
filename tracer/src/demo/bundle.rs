//! The application and its traffic, as they lie in `demo/`: the binary needs no other file.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};

/// Honest traffic and attacks.
pub const REQUESTS: &str = include_str!("../../../demo/requests.json");

macro_rules! files {
    ($($path:literal),* $(,)?) => { &[$(($path, include_bytes!(concat!("../../../demo/app/", $path)))),*] };
}

/// Everything below `demo/app` (a test compares).
const FILES: &[(&str, &[u8])] = files![
    "bin/thumb.sh",
    "public/index.php",
    "src/Cache.php",
    "src/Config.php",
    "src/Log.php",
    "src/Mailer.php",
    "src/Pages.php",
    "src/Preferences.php",
    "src/Router.php",
    "src/Session.php",
    "src/Storage.php",
    "src/TempFile.php",
    "src/Template.php",
    "src/Thumbnailer.php",
    "src/autoload.php",
    "templates/home.php",
    "templates/layout.php",
    "templates/list.php",
    "templates/login.php",
    "templates/message.php",
    "templates/numbers.php",
    "templates/picture.php",
    "templates/stats.php",
];

/// Writes the application into `folder`: readable by all, writable by nobody but root.
pub fn unpack(folder: &Path) -> Result<()> {
    for (name, content) in FILES {
        let path = folder.join(name);
        let mut made = Vec::new();
        for above in path.ancestors().skip(1).take_while(|a| a.starts_with(folder) && !a.exists()) {
            made.push(above.to_path_buf());
        }
        for dir in made.iter().rev() {
            fs::create_dir(dir).with_context(|| format!("make {}", dir.display()))?;
            fs::set_permissions(dir, fs::Permissions::from_mode(0o755))?;
        }
        fs::write(&path, content).with_context(|| format!("write {}", path.display()))?;
        let permissions = if name.starts_with("bin/") { 0o755 } else { 0o644 };
        fs::set_permissions(&path, fs::Permissions::from_mode(permissions))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::path::PathBuf;

    fn walk(folder: &Path, found: &mut BTreeSet<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            if entry.path().is_dir() {
                walk(&entry.path(), found);
            } else {
                found.insert(entry.path());
            }
        }
    }

    #[test]
    fn holds_the_whole_application() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo/app");
        let mut there = BTreeSet::new();
        walk(&folder, &mut there);
        let held: BTreeSet<PathBuf> = FILES.iter().map(|(name, _)| folder.join(name)).collect();
        assert_eq!(held, there);
    }
}
