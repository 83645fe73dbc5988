//! Which files and paths are meant.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{Generated, caps};
use crate::site::Name;

/// Names that PHP gives to code that no path leads to. No file can have them:
/// a plain file's name is always resolved to an absolute path.
pub(crate) const FILELESS: [&[u8]; 3] = [b"Command line code", b"Standard input code", b"php shell code"];

/// What PHP appends to a file's name for code that was made while running.
pub(crate) const EVALUATED: [&[u8]; 5] = [
    b" : eval()'d code",
    b" : assert code",
    b" : runtime-created function",
    b" : regexp code",
    b" : mbregex replace",
];

/// Whether a path matches a pattern. `*` stands for any bytes of one component,
/// `\` takes the next byte as it is; all else is literal. A path with a `.`, `..`
/// or empty component matches nothing (fails closed).
pub fn matches(pattern: &[u8], path: &[u8]) -> bool {
    !path.is_empty() && !has_odd_components(path) && glob(pattern, path)
}

/// `.`, `..`, or nothing between two slashes or after the last.
pub(super) fn has_odd_components(path: &[u8]) -> bool {
    let relative = path.strip_prefix(b"/").unwrap_or(path);
    relative.split(|&byte| byte == b'/').any(|part| matches!(part, b"" | b"." | b".."))
}

/// Goes back only to the last `*`: linear in practice, never exponential.
fn glob(pattern: &[u8], path: &[u8]) -> bool {
    let (mut p, mut s) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while s < path.len() {
        let (literal, width) = match pattern.get(p) {
            Some(b'*') => {
                star = Some((p + 1, s));
                p += 1;
                continue;
            }
            Some(b'\\') if p + 1 < pattern.len() => (Some(pattern[p + 1]), 2),
            Some(&byte) => (Some(byte), 1),
            None => (None, 0),
        };
        if literal == Some(path[s]) {
            p += width;
            s += 1;
            continue;
        }
        match star {
            Some((after, from)) if path[from] != b'/' => {
                star = Some((after, from + 1));
                p = after;
                s = from + 1;
            }
            _ => return false,
        }
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}

/// A pattern that matches exactly these bytes.
pub fn escape_pattern(path: &[u8]) -> Vec<u8> {
    path.iter()
        .flat_map(|&byte| [Some(b'\\').filter(|_| matches!(byte, b'*' | b'\\')), Some(byte)])
        .flatten()
        .collect()
}

/// Whether PHP made this code while running: the name of such code is that of
/// the file that made it, a line, and what made it.
pub fn is_evaluated(file: &[u8]) -> bool {
    EVALUATED.iter().any(|suffix| file.ends_with(suffix))
}

/// The name of eval'd code without its lines: `/a.php : eval()'d code`.
pub fn without_lines(file: &[u8]) -> Cow<'_, [u8]> {
    if !is_evaluated(file) {
        return Cow::Borrowed(file);
    }
    let mut out = Vec::with_capacity(file.len());
    let mut rest = file;
    while let Some(at) = EVALUATED.iter().filter_map(|made| find(rest, made).map(|at| (at, made.len()))).min()
    {
        let (before, after) = rest.split_at(at.0 + at.1);
        out.extend_from_slice(without_line(&before[..at.0]));
        out.extend_from_slice(&before[at.0..]);
        rest = after;
    }
    out.extend_from_slice(rest);
    Cow::Owned(out)
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// Cuts `(12)` off the end.
fn without_line(name: &[u8]) -> &[u8] {
    let Some(inner) = name.strip_suffix(b")") else { return name };
    let digits = inner.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    match inner[..inner.len() - digits].strip_suffix(b"(") {
        Some(before) if digits > 0 => before,
        _ => name,
    }
}

/// Whether a file's name can be believed: a plain absolute path, or one of the
/// names that PHP gives to the command line. Stream wrappers can call
/// themselves anything else.
pub fn is_trusted_file(file: &[u8]) -> bool {
    (file.starts_with(b"/") && !has_odd_components(file)) || FILELESS.contains(&file)
}

/// Whether it is written as `root:relative`.
pub(super) fn is_stored(file: &[u8]) -> bool {
    let Some(colon) = file.iter().position(|&byte| byte == b':') else { return false };
    let (name, relative) = (&file[..colon], &file[colon + 1..]);
    is_root_name(name) && !relative.is_empty() && !relative.starts_with(b"/") && !has_odd_components(relative)
}

fn is_root_name(name: &[u8]) -> bool {
    !name.is_empty()
        && name.len() <= 32
        && name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(byte))
}

/// A named place: files in a directory that matches are stored as `name:relative`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Root {
    /// Letters, digits, `.`, `_` and `-`, at most 32.
    pub name: String,
    /// Absolute; `*` stands for any bytes of one component.
    pub patterns: Vec<Name>,
}

impl Root {
    /// `app=/srv/app/releases/*`; the error is for people.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (name, pattern) = text
            .split_once('=')
            .ok_or_else(|| format!("`{text}` is not NAME=PATTERN, as in app=/srv/app/releases/*"))?;
        let pattern = if pattern.len() > 1 { pattern.strip_suffix('/').unwrap_or(pattern) } else { pattern };
        let root = Self { name: name.into(), patterns: vec![pattern.into()] };
        root.check().map_err(|what| format!("`{text}`: {what}"))?;
        Ok(root)
    }

    /// Adds it to a list; patterns of the same name are united.
    pub fn add_to(self, roots: &mut Vec<Self>) {
        match roots.iter_mut().find(|root| root.name == self.name) {
            Some(root) => {
                root.patterns.extend(self.patterns);
                root.patterns.sort();
                root.patterns.dedup();
            }
            None => roots.push(self),
        }
    }

    pub(super) fn check(&self) -> Result<(), &'static str> {
        if !is_root_name(self.name.as_bytes()) {
            return Err("a root's name has from 1 to 32 letters, digits, `.`, `_` or `-`");
        }
        if self.patterns.is_empty() || self.patterns.len() > caps::ROOTS {
            return Err("a root has from 1 to 64 patterns");
        }
        let odd = |pattern: &Name| {
            !pattern.starts_with(b"/") || has_odd_components(pattern) || pattern.len() > caps::PATH
        };
        if self.patterns.iter().any(odd) {
            return Err("a root's pattern is an absolute path without `.`, `..` and empty components");
        }
        Ok(())
    }

    /// What follows the directory that matches.
    fn relative<'a>(&self, file: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        self.patterns.iter().filter_map(move |pattern| {
            let depth = pattern.split(|&byte| byte == b'/').count() - 1;
            let (end, _) = file.iter().enumerate().filter(|(_, byte)| **byte == b'/').nth(depth)?;
            glob(pattern, &file[..end]).then(|| &file[end + 1..])
        })
    }
}

/// Every way in which the roots would store this file, the longest pattern's first;
/// the file itself last. Nothing where the name cannot be believed.
pub(crate) fn stored_names(roots: &[Root], file: &[u8]) -> Vec<Name> {
    if !is_trusted_file(file) {
        return Vec::new();
    }
    let mut names: Vec<(usize, Name)> = roots
        .iter()
        .flat_map(|root| {
            root.relative(file).map(move |relative| {
                let stored = [root.name.as_bytes(), b":", relative].concat();
                (relative.len(), Name::from(stored))
            })
        })
        .filter(|(_, name)| name.len() <= caps::NAME)
        .collect();
    names.sort();
    names.dedup();
    names.into_iter().map(|(_, name)| name).chain([Name::from(file)]).collect()
}

/// Whether one of [`stored_names`] is what is wanted. Allocates nothing: it is asked before a signal is sent.
pub(crate) fn any_stored_name(roots: &[Root], file: &[u8], wanted: impl Fn(&[u8]) -> bool) -> bool {
    if !is_trusted_file(file) {
        return false;
    }
    let mut buffer = [0; caps::NAME];
    let mut stored = roots.iter().flat_map(|root| root.relative(file).map(move |rest| (&root.name, rest)));
    let rooted = stored.any(|(root, rest)| {
        let (colon, len) = (root.len(), root.len() + 1 + rest.len());
        let Some(name) = buffer.get_mut(..len) else { return false };
        name[..colon].copy_from_slice(root.as_bytes());
        name[colon] = b':';
        name[colon + 1..].copy_from_slice(rest);
        wanted(name)
    });
    rooted || wanted(file)
}

/// Whether a stored name is one of generated code.
pub(super) fn is_generated(generated: &[Generated], stored: &[u8]) -> bool {
    generated.iter().any(|generated| generated_match(&generated.pattern, stored))
}

/// Eval'd code is meant only by patterns that say so.
pub(crate) fn generated_match(pattern: &[u8], stored: &[u8]) -> bool {
    is_evaluated(pattern) == is_evaluated(stored) && matches(pattern, stored)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_star_stays_within_a_component() {
        assert!(matches(b"/tmp/*", b"/tmp/a"));
        assert!(matches(b"/tmp/*.tmp", b"/tmp/a.tmp.tmp"));
        assert!(matches(b"/srv/*/cache/*", b"/srv/a/cache/b"));
        assert!(matches(b"/*a*b", b"/xxaxxb"));
        assert!(!matches(b"/tmp/*", b"/tmp/a/b"));
        assert!(!matches(b"/tmp/*", b"/tmp/"));
        assert!(!matches(b"/tmp/*", b"/tmp/.."));
        assert!(!matches(b"/tmp/*/x", b"/tmp/../x"));
        assert!(!matches(b"/tmp/*", b"/tmp//a"));
        assert!(!matches(b"/tmp/*", b"/var/a"));
        assert!(!matches(b"/tmp/a", b"/tmp/a/"));
        assert!(!matches(b"/tmp/..", b"/tmp/.."));
        assert!(!matches(b"", b""));
        assert!(matches(br"/tmp/\*", b"/tmp/*") && !matches(br"/tmp/\*", b"/tmp/a"));
    }

    #[test]
    fn lines_are_cut_off_evaluated_code() {
        assert_eq!(*without_lines(b"/a.php(3) : eval()'d code"), *b"/a.php : eval()'d code");
        assert_eq!(
            *without_lines(b"/a(1).php(3) : eval()'d code(12) : eval()'d code"),
            *b"/a(1).php : eval()'d code : eval()'d code"
        );
        assert_eq!(*without_lines(b"/a.php(3) : assert code"), *b"/a.php : assert code");
        assert_eq!(*without_lines(b"/a.php(3)"), *b"/a.php(3)");
    }

    #[test]
    fn files_are_stored_relative_to_roots() {
        let roots = [
            Root::parse("app=/srv/app/releases/*").unwrap(),
            Root::parse("lib=/srv/app/releases/*/vendor").unwrap(),
        ];
        let stored = |file: &str| {
            stored_names(&roots, file.as_bytes()).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(
            stored("/srv/app/releases/42/src/a.php"),
            ["app:src/a.php", "/srv/app/releases/42/src/a.php"]
        );
        assert_eq!(
            stored("/srv/app/releases/42/vendor/x/a.php"),
            ["lib:x/a.php", "app:vendor/x/a.php", "/srv/app/releases/42/vendor/x/a.php"]
        );
        assert_eq!(stored("/srv/app/releases/a.php"), ["/srv/app/releases/a.php"]);
        assert_eq!(stored("/srv/app/shared/42/a.php"), ["/srv/app/shared/42/a.php"]);
        for forged in [
            "app:src/a.php",
            "phar:///srv/app/releases/42/a.php",
            "data:,x",
            "/srv/app/releases/../x/a.php",
            "",
        ] {
            assert!(stored(forged).is_empty(), "{forged}");
        }
        assert_eq!(stored("Command line code"), ["Command line code"]);
    }

    #[test]
    fn roots_are_checked() {
        for wrong in [
            "app",
            "=/srv",
            "a:b=/srv",
            "a/b=/srv",
            "app=srv",
            "app=",
            "app=/",
            "app=/srv/../x",
            "app=/srv//x",
        ] {
            assert!(Root::parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(Root::parse("app=/srv/").unwrap().patterns, [Name::from("/srv")]);
    }

    #[test]
    fn evaluated_code_needs_a_pattern_that_says_so() {
        assert!(generated_match(b"app:cache/*", b"app:cache/a.php"));
        assert!(!generated_match(b"app:cache/*", b"app:cache/a.php : eval()'d code"));
        assert!(generated_match(b"app:cache/* : eval()'d code", b"app:cache/a.php : eval()'d code"));
    }

    proptest! {
        #[test]
        fn an_escaped_path_matches_itself_only(path in "/[a-c*\\\\]{1,6}(/[a-c*\\\\]{1,6}){0,2}", other in "/[a-c*\\\\/]{1,9}") {
            let pattern = escape_pattern(path.as_bytes());
            prop_assert!(matches(&pattern, path.as_bytes()));
            prop_assert_eq!(matches(&pattern, other.as_bytes()), path == other);
        }

        #[test]
        fn any_stored_name_is_one_of_all(file in "(/[ab]{1,2}){1,4}", wanted in "(r|q):[ab/]{1,6}|(/[ab]{1,2}){1,4}") {
            let roots = [Root::parse("r=/a/*").unwrap(), Root::parse("q=/*").unwrap()];
            let all = stored_names(&roots, file.as_bytes());
            prop_assert_eq!(
                any_stored_name(&roots, file.as_bytes(), |name| name == wanted.as_bytes()),
                all.iter().any(|name| name.as_bytes() == wanted.as_bytes())
            );
            prop_assert!(all.iter().all(|one| any_stored_name(&roots, file.as_bytes(), |name| name == one.as_bytes())));
        }

        #[test]
        fn any_bytes_are_matched_or_not(pattern: Vec<u8>, path: Vec<u8>) {
            matches(&pattern, &path);
            stored_names(&[Root::parse("a=/*").unwrap()], &path);
            without_lines(&path);
        }
    }
}
