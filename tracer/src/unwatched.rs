//! PHP that a session does not watch. As a program like any it would run whatever script it is given: it has no grants.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::Result;
use introspect::{Image, introspect};
use shared::profile::{Profile, Who};
use shared::site::Name;

use crate::cli::hinted;
use crate::images::through_process;

/// Why nothing is granted to it, as profiles count that.
pub const CAUSE: &str = "php-not-watched";

/// Whether a program is PHP. A file that is not there is none.
pub fn is_php(program: &Name) -> bool {
    image_of(program).is_some()
}

/// Errors: the profile grants something to PHP that is none of these images.
pub fn check(profile: &Profile, images: &[&Image]) -> Result<()> {
    let named = profile.grants.iter().filter_map(|grant| match &grant.who {
        Who::Program { program, .. } => Some(program),
        Who::Sites(_) => None,
    });
    let mut programs: Vec<&Name> = named.collect();
    programs.sort_unstable();
    programs.dedup();
    let Some(program) = programs.into_iter().find(|program| is_unwatched(program, images)) else {
        return Ok(());
    };
    let watched: Vec<PathBuf> = images.iter().map(|image| image.path.clone()).collect();
    Err(hinted(
        format!(
            "the profile has grants for the program {program}, which is PHP and not watched: any script would do"
        ),
        format!(
            "name it, too, and learn again what its scripts do: --profile --force {}",
            options(&watched, program)
        ),
    ))
}

/// What makes a session watch it beside what it watches.
pub fn options(watched: &[PathBuf], program: &Name) -> String {
    let all = watched.iter().map(|path| path.display().to_string()).chain([program.to_string()]);
    all.map(|path| format!("--php {path}")).collect::<Vec<_>>().join(" ")
}

fn image_of(program: &Name) -> Option<Image> {
    let path = path_of(program);
    path.is_absolute().then(|| introspect(path).ok())?
}

fn path_of(program: &Name) -> &Path {
    Path::new(OsStr::from_bytes(program.as_bytes()))
}

fn is_unwatched(program: &Name, images: &[&Image]) -> bool {
    // Below another root (a container's) the program has the path that it has there.
    let is_named = |image: &&Image| inside_of_root(&image.path) == path_of(program);
    let Some(php) = image_of(program) else { return false };
    !images.iter().any(|image| image.id == php.id || is_named(image))
}

/// A path without its `/proc/PID/root`.
fn inside_of_root(path: &Path) -> PathBuf {
    let inside = || path.strip_prefix(through_process(path)?.join("root")).ok();
    inside().map_or_else(|| path.into(), |inside| Path::new("/").join(inside))
}

#[cfg(test)]
mod tests {
    use super::{inside_of_root, is_php, options};
    use std::path::Path;

    #[test]
    fn paths_inside_of_a_container_are_those_of_its_programs() {
        for (path, inside) in [
            ("/proc/12/root/usr/bin/php8.2", "/usr/bin/php8.2"),
            ("/proc/12/exe", "/proc/12/exe"),
            ("/usr/bin/php8.2", "/usr/bin/php8.2"),
            ("/proc/self/root/bin/php", "/proc/self/root/bin/php"),
        ] {
            assert_eq!(inside_of_root(Path::new(path)), Path::new(inside));
        }
    }

    #[test]
    fn what_is_no_file_is_no_php() {
        for program in ["/nowhere/php", "memfd:php", "/proc/self/exe", "/"] {
            assert!(!is_php(&program.as_bytes().into()), "{program}");
        }
    }

    #[test]
    fn all_images_are_named() {
        let watched = ["/usr/sbin/php-fpm8.2".into()];
        assert_eq!(
            options(&watched, &b"/usr/bin/php8.2"[..].into()),
            "--php /usr/sbin/php-fpm8.2 --php /usr/bin/php8.2"
        );
    }
}
