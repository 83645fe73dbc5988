//! On whose behalf a call is made: file, class and function, as exact bytes.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize, Serializer};

use crate::intf;

/// A name or a path: any bytes, kept exactly. Cheap to clone.
///
/// In JSON a string where the bytes are UTF-8, `{"hex": "…"}` where not.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Name(Arc<[u8]>);

impl Name {
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<&[u8]> for Name {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }
}

impl From<Vec<u8>> for Name {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl From<&str> for Name {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().into())
    }
}

impl From<String> for Name {
    fn from(text: String) -> Self {
        Self(text.into_bytes().into())
    }
}

impl std::ops::Deref for Name {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl std::borrow::Borrow<[u8]> for Name {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

/// Escaped for a terminal.
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&escape(&self.0))
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", escape(&self.0))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Hex {
    hex: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Face {
    Text(String),
    Hex(Hex),
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => Hex { hex: to_hex(&self.0) }.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Face::deserialize(deserializer)? {
            Face::Text(text) => Ok(text.into()),
            Face::Hex(Hex { hex }) => from_hex(&hex)
                .map(Self::from)
                .ok_or_else(|| de::Error::custom("`hex` must be pairs of hexadecimal digits")),
        }
    }
}

/// Lower-case hexadecimal digits.
pub fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The bytes that hexadecimal digits stand for; `None` where they are not such.
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|value| value as u8);
    if !text.len().is_multiple_of(2) {
        return None;
    }
    text.as_bytes().chunks_exact(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

/// Characters that move the cursor, hide themselves or turn the direction of text.
pub(crate) fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// JSON leaves deceptive characters as they are, and a terminal would obey them. Only texts have them: between
/// texts JSON is printable ASCII and newlines, and in a text a newline is escaped already.
pub(crate) fn json_escaped(json: String) -> String {
    let to_escape = |c: char| is_deceptive(c) && c != '\n';
    if !json.chars().any(to_escape) {
        return json;
    }
    let mut out = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if to_escape(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    out
}

/// Bytes as text that is safe on a terminal: UTF-8 is kept, control characters,
/// invisible ones and bytes that are not UTF-8 are shown as `\n`, `\x1b`, `\u{202e}`, `\xff`.
pub fn escape(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\n' => out.push_str("\\n"),
                '\t' => out.push_str("\\t"),
                '\r' => out.push_str("\\r"),
                c if is_deceptive(c) && c.is_ascii() => drop(write!(out, "\\x{:02x}", u32::from(c))),
                c if is_deceptive(c) => drop(write!(out, "\\u{{{:x}}}", u32::from(c))),
                c => out.push(c),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

/// Bytes as text for JSON: UTF-8 is kept, bytes that are not are shown as `\xff`.
/// For people and filters; exact bytes are kept by [`Name`].
pub fn text(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        out.push_str(chunk.valid());
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

/// What a site is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SiteKind {
    /// A named function or method of a file.
    Function,
    /// The top-level code of a file.
    Main,
    /// Any closure of a file.
    Closure,
    /// An internal function that no user frame called: keyed by its own name.
    Internal,
    /// No PHP code runs; `function` is the phase.
    Engine,
    /// A process that serves no requests and forks those that do.
    Master,
    /// Could not be told. Never granted.
    Unknown,
}

/// The part of a process's life in which no PHP code runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Before the first request.
    Startup,
    /// During a request.
    Request,
    /// From the end of a request to the start of the next.
    Shutdown,
    /// Not known.
    Unknown,
}

impl Phase {
    /// `startup`, `request`, `shutdown` or `unknown`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Startup => "startup",
            Self::Request => "request",
            Self::Shutdown => "shutdown",
            Self::Unknown => "unknown",
        }
    }

    /// The phase of that name.
    pub fn from_name(name: &[u8]) -> Option<Self> {
        [Self::Startup, Self::Request, Self::Shutdown, Self::Unknown]
            .into_iter()
            .find(|phase| phase.name().as_bytes() == name)
    }
}

/// The PHP code on whose behalf a call is made.
///
/// As seen while running, `file` is what PHP calls it; in a profile it may be
/// relative to a root (`app:src/a.php`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Site {
    /// What it is; decides which of the names are there.
    pub kind: SiteKind,
    /// The file; `None` for internal, engine, master and unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<Name>,
    /// The class, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<Name>,
    /// The function; for engine the phase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<Name>,
}

impl Site {
    fn bare(kind: SiteKind) -> Self {
        Self { kind, file: None, class: None, function: None }
    }

    /// A function or (with a class) a method.
    pub fn function(file: impl Into<Name>, class: Option<Name>, function: impl Into<Name>) -> Self {
        Self { kind: SiteKind::Function, file: Some(file.into()), class, function: Some(function.into()) }
    }

    /// Top-level code of a file.
    pub fn main(file: impl Into<Name>) -> Self {
        Self { file: Some(file.into()), ..Self::bare(SiteKind::Main) }
    }

    /// Any closure of a file.
    pub fn closure(file: impl Into<Name>) -> Self {
        Self { file: Some(file.into()), ..Self::bare(SiteKind::Closure) }
    }

    /// An internal function that no user frame called.
    pub fn internal(class: Option<Name>, function: impl Into<Name>) -> Self {
        Self { class, function: Some(function.into()), ..Self::bare(SiteKind::Internal) }
    }

    /// No PHP code runs.
    pub fn engine(phase: Phase) -> Self {
        Self { function: Some(phase.name().into()), ..Self::bare(SiteKind::Engine) }
    }

    /// The fpm master.
    pub fn master() -> Self {
        Self::bare(SiteKind::Master)
    }

    /// Could not be told.
    pub fn unknown() -> Self {
        Self::bare(SiteKind::Unknown)
    }

    /// The phase of an engine site.
    pub fn phase(&self) -> Option<Phase> {
        match self.kind {
            SiteKind::Engine => Phase::from_name(self.function.as_ref()?),
            _ => None,
        }
    }

    /// The site that a record names. Fails closed: what is no site, or has
    /// names that its kind must have missing or too long, is `{unknown}`.
    pub fn from_raw(raw: &intf::site_name) -> Self {
        let site = Self::read(raw).unwrap_or_else(Self::unknown);
        if site.check().is_ok() { site } else { Self::unknown() }
    }

    fn read(raw: &intf::site_name) -> Option<Self> {
        let file = field(&raw.file, raw.file_len)?;
        let class = field(&raw.class_name, raw.class_len)?;
        let function = field(&raw.function, raw.function_len)?;
        let class = (!class.is_empty()).then(|| Name::from(readable_class(&class)));
        Some(match u32::from(raw.kind) {
            intf::SITE_FUNCTION => Self::function(file, class, function),
            intf::SITE_MAIN => Self::main(file),
            intf::SITE_CLOSURE => Self::closure(file),
            intf::SITE_INTERNAL => Self::internal(class, function),
            intf::SITE_ENGINE => Self::engine(Phase::from_name(&function)?),
            intf::SITE_MASTER => Self::master(),
            _ => Self::unknown(),
        })
    }

    /// Whether exactly the names are there that the kind has, each within the cap.
    pub fn check(&self) -> Result<(), &'static str> {
        let (file, class, function) = match self.kind {
            SiteKind::Function => (true, self.class.is_some(), true),
            SiteKind::Main | SiteKind::Closure => (true, false, false),
            SiteKind::Internal => (false, self.class.is_some(), true),
            SiteKind::Engine => (false, false, true),
            SiteKind::Master | SiteKind::Unknown => (false, false, false),
        };
        if (file, class, function) != (self.file.is_some(), self.class.is_some(), self.function.is_some()) {
            return Err("a site has names that its kind does not have, or lacks one");
        }
        let names = || [&self.file, &self.class, &self.function].into_iter().flatten();
        if names().any(|name| name.is_empty()) {
            return Err("a site has an empty name");
        }
        if names().any(|name| name.len() > intf::NAME_CAP as usize) {
            return Err("a site has a name of more than 255 bytes");
        }
        if self.kind == SiteKind::Engine && self.phase().is_none() {
            return Err("an engine site's function must be startup, request, shutdown or unknown");
        }
        Ok(())
    }

    /// Escaped: `Uploader::cleanup() in /srv/app/upload.php`.
    pub fn with_file(&self) -> String {
        match &self.file {
            Some(file) => format!("{self} in {file}"),
            None => self.to_string(),
        }
    }
}

/// The file, where the name is that of a frame's file and of no site.
pub fn file_of(raw: &intf::site_name) -> Option<Name> {
    let file = field(&raw.file, raw.file_len).filter(|file| !file.is_empty())?;
    (u32::from(raw.kind) == intf::SITE_FILE).then(|| file.into())
}

fn field(raw: &[std::ffi::c_char], len: u16) -> Option<Vec<u8>> {
    (u32::from(len) <= intf::NAME_CAP)
        .then(|| raw[..usize::from(len)].iter().map(|&c| u8::from_ne_bytes(c.to_ne_bytes())).collect())
}

/// The engine names an anonymous class `Base@anonymous\0file:line$n`: what
/// follows the NUL differs from request to request, and the file is in the site.
fn readable_class(class: &[u8]) -> &[u8] {
    match class.iter().position(|&byte| byte == 0) {
        Some(end) if class[..end].ends_with(b"@anonymous") => &class[..end],
        _ => class,
    }
}

/// Escaped: `Uploader::cleanup()`, `{main}`, `{closure}`, `{internal unlink}`,
/// `{engine:request}`, `{master}`, `{unknown}`.
impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let empty = Name::default();
        let function = self.function.as_ref().unwrap_or(&empty);
        let class = self.class.as_ref().map(|class| format!("{class}::")).unwrap_or_default();
        let text = match self.kind {
            SiteKind::Function => format!("{class}{function}()"),
            SiteKind::Main => "{main}".into(),
            SiteKind::Closure => "{closure}".into(),
            SiteKind::Internal => format!("{{internal {class}{function}}}"),
            SiteKind::Engine => format!("{{engine:{function}}}"),
            SiteKind::Master => "{master}".into(),
            SiteKind::Unknown => "{unknown}".into(),
        };
        f.pad(&text)
    }
}

/// One step of where a descendant that runs another program comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OriginEntry {
    /// The site at the fork.
    pub site: Site,
    /// The internal function that made the call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sink: Option<Name>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn raw(kind: u32, file: &[u8], class: &[u8], function: &[u8]) -> intf::site_name {
        let mut raw = intf::site_name { kind: kind as u8, ..Default::default() };
        let copy = |to: &mut [std::ffi::c_char], from: &[u8]| {
            to.iter_mut().zip(from).for_each(|(to, &from)| *to = from as std::ffi::c_char);
            from.len() as u16
        };
        raw.file_len = copy(&mut raw.file, file);
        raw.class_len = copy(&mut raw.class_name, class);
        raw.function_len = copy(&mut raw.function, function);
        raw
    }

    #[test]
    fn reads_as_people_write() {
        assert_eq!(
            Site::function("/a.php", Some("Uploader".into()), "cleanup").to_string(),
            "Uploader::cleanup()"
        );
        assert_eq!(Site::function("/a.php", None, "run").to_string(), "run()");
        assert_eq!(Site::main("/a.php").with_file(), "{main} in /a.php");
        assert_eq!(Site::closure("/a.php").to_string(), "{closure}");
        assert_eq!(Site::internal(None, "unlink").to_string(), "{internal unlink}");
        assert_eq!(Site::engine(Phase::Request).to_string(), "{engine:request}");
        assert_eq!(Site::master().to_string(), "{master}");
        assert_eq!(Site::unknown().to_string(), "{unknown}");
    }

    #[test]
    fn records_become_sites() {
        assert_eq!(
            Site::from_raw(&raw(intf::SITE_FUNCTION, b"/a.php", b"A\\B", b"f")),
            Site::function("/a.php", Some("A\\B".into()), "f")
        );
        assert_eq!(Site::from_raw(&raw(intf::SITE_MAIN, b"/a.php", b"Scope", b"")), Site::main("/a.php"));
        assert_eq!(
            Site::from_raw(&raw(intf::SITE_CLOSURE, b"/a.php", b"A", b"{closure:A::f():12}")),
            Site::closure("/a.php")
        );
        assert_eq!(
            Site::from_raw(&raw(intf::SITE_ENGINE, b"", b"", b"request")),
            Site::engine(Phase::Request)
        );
        assert_eq!(
            Site::from_raw(&raw(intf::SITE_FUNCTION, b"/a.php", b"class@anonymous\0/a.php:7$0", b"f")).class,
            Some("class@anonymous".into())
        );
    }

    #[test]
    fn what_cannot_be_told_is_unknown() {
        for kind in [intf::SITE_NONE, intf::SITE_TRAMPOLINE, intf::SITE_UNKNOWN, 200] {
            assert_eq!(Site::from_raw(&raw(kind, b"/a.php", b"", b"f")), Site::unknown());
        }
        assert_eq!(Site::from_raw(&raw(intf::SITE_FUNCTION, b"", b"", b"f")), Site::unknown());
        assert_eq!(Site::from_raw(&raw(intf::SITE_FUNCTION, b"/a.php", b"", b"")), Site::unknown());
        assert_eq!(Site::from_raw(&raw(intf::SITE_ENGINE, b"", b"", b"tea")), Site::unknown());
        let mut long = raw(intf::SITE_MAIN, b"/a.php", b"", b"");
        long.file_len = u16::MAX;
        assert_eq!(Site::from_raw(&long), Site::unknown());
        long.file_len = 256;
        assert_eq!(Site::from_raw(&long), Site::unknown());
    }

    #[test]
    fn escapes_are_visible() {
        assert_eq!(escape(b"a\n\x1b[31m\xff\0\xc3\xa9"), "a\\n\\x1b[31m\\xff\\x00é");
        assert_eq!(escape("\u{202e}gpj.php\u{9b}".as_bytes()), "\\u{202e}gpj.php\\u{9b}");
        assert_eq!(escape(br"App\Uploader"), r"App\Uploader");
    }

    #[test]
    fn names_keep_invalid_bytes_in_json() {
        let name = Name::from(&b"a\xff"[..]);
        assert_eq!(serde_json::to_string(&name).unwrap(), r#"{"hex":"61ff"}"#);
        assert!(serde_json::from_str::<Name>(r#"{"hex":"6"}"#).is_err());
        assert!(serde_json::from_str::<Name>(r#"{"hex":"+1"}"#).is_err());
    }

    proptest! {
        #[test]
        fn escaped_text_has_no_control_character(bytes: Vec<u8>) {
            prop_assert!(!escape(&bytes).chars().any(is_deceptive));
        }

        #[test]
        fn any_text_is_escaped(text: String) {
            prop_assert!(!escape(text.as_bytes()).chars().any(is_deceptive));
        }

        #[test]
        fn names_round_trip_through_json(bytes: Vec<u8>) {
            let name = Name::from(bytes);
            let json = serde_json::to_string(&name).unwrap();
            prop_assert_eq!(serde_json::from_str::<Name>(&json).unwrap(), name);
        }
    }
}
