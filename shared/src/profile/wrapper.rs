//! Wrappers of streams that application code brings along (vfsStream, clients of object stores), and whose includes
//! are no forgery where the profile lists them.

use super::caps;
use super::pattern::has_odd_components;

/// What PHP and its extensions mean by themselves: other files, other machines, or code in the name itself. An include
/// of these may give code the name of a file that it is not from.
const NEVER: [&str; 19] = [
    "compress.bzip2",
    "compress.lzf",
    "compress.zlib",
    "compress.zstd",
    "data",
    "expect",
    "file",
    "ftp",
    "ftps",
    "glob",
    "http",
    "https",
    "ogg",
    "phar",
    "php",
    "rar",
    "zip",
    "zlib",
    "zstd",
];

/// Whether includes of a scheme (`vfs` of `vfs://a.php`) can be excused at all; the error is for people.
pub fn check_wrapper(scheme: &str) -> Result<(), String> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte);
    let starts = scheme.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
    if !starts || !(2..=caps::WRAPPER).contains(&scheme.len()) || !scheme.bytes().all(is_plain) {
        return Err(format!(
            "a wrapper's scheme has from 2 to {} lower-case letters, digits, `+`, `-` or `.`, a letter first",
            caps::WRAPPER
        ));
    }
    if NEVER.contains(&scheme) || scheme.starts_with("ssh2.") {
        return Err(format!("`{scheme}` is a wrapper of PHP itself: includes from it are never excused"));
    }
    Ok(())
}

/// Whether the name is that of code from one of these wrappers: `vfs://root/a.php`, spelt as the profile spells it.
pub(crate) fn is_wrapped(wrappers: &[String], file: &[u8]) -> bool {
    let rest = |scheme: &String| file.strip_prefix(scheme.as_bytes())?.strip_prefix(b"://");
    wrappers.iter().filter_map(rest).any(|rest| !rest.starts_with(b"/") && !has_odd_components(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_php_brings_is_never_excused() {
        for never in NEVER.iter().chain(&["ssh2.sftp", "ssh2.exec"]) {
            assert!(check_wrapper(never).is_err(), "{never}");
        }
        for wrong in
            ["", "v", "VFS", "File", "vfs://", "vfs:", "1vfs", "v/s", "v s", "v\0s", "\u{e9}vfs", ".a"]
        {
            assert!(check_wrapper(wrong).is_err(), "{wrong}");
        }
        assert!(check_wrapper(&"v".repeat(caps::WRAPPER)).is_ok());
        assert!(check_wrapper(&"v".repeat(caps::WRAPPER + 1)).is_err());
        for right in ["vfs", "s3", "my-app.v2+x", "files", "file2"] {
            assert_eq!(check_wrapper(right), Ok(()), "{right}");
        }
    }

    #[test]
    fn names_are_those_of_listed_wrappers() {
        let listed = ["s3".to_owned(), "vfs".to_owned()];
        for yes in ["vfs://root/a.php", "s3://bucket/a b.php", "vfs://a"] {
            assert!(is_wrapped(&listed, yes.as_bytes()), "{yes}");
        }
        for no in [
            "vfs:/root/a.php",
            "vfs:///etc/a.php",
            "vfs://",
            "vfs://a/../b",
            "vfs://a//b",
            "VFS://root/a.php",
            "xvfs://root/a.php",
            "/vfs://root/a.php",
            "vfs2://root/a.php",
            "/srv/a.php",
        ] {
            assert!(!is_wrapped(&listed, no.as_bytes()), "{no}");
        }
        assert!(!is_wrapped(&[], b"vfs://root/a.php"));
    }
}
