//! The JSON face: stable order, one fact a line, made for review and `git diff`.

use std::io;

use serde::{Deserialize, Serialize};
use serde_json::ser::Formatter;

use super::{
    Attribution, Context, Generated, Grant, Learned, Php, Profile, ProfileError, Root, Script, View,
};
use crate::op::Selection;
use crate::site::{Name, escape, json_escaped};

const FORMAT: &str = "php-profile";
const VERSION: u32 = 1;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Face {
    format: String,
    version: u32,
    view: View,
    attribution: Attribution,
    operations: Selection,
    php: Php,
    complete: bool,
    learned: Learned,
    #[serde(default)]
    roots: Vec<Root>,
    #[serde(default)]
    generated: Vec<Generated>,
    #[serde(default)]
    wrappers: Vec<String>,
    #[serde(default)]
    context: Context,
    #[serde(default)]
    files: Vec<Name>,
    #[serde(default)]
    scripts: Vec<Script>,
    #[serde(default)]
    grants: Vec<Grant>,
}

/// Only to tell a newer version from a wrong file.
#[derive(Deserialize)]
struct Mark {
    format: Option<String>,
    version: Option<u32>,
}

/// Everything on one line, with a space after `,` and `:`.
struct OneLine;

impl Formatter for OneLine {
    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}

fn put(out: &mut Vec<u8>, value: &impl Serialize) {
    value
        .serialize(&mut serde_json::Serializer::with_formatter(out, OneLine))
        .expect("every part of a profile has a JSON face");
}

fn put_list(out: &mut Vec<u8>, name: &str, items: &[impl Serialize]) {
    out.extend_from_slice(format!(",\n  \"{name}\": [").as_bytes());
    for (index, item) in items.iter().enumerate() {
        out.extend_from_slice(if index == 0 { b"\n    " } else { b",\n    " });
        put(out, item);
    }
    out.extend_from_slice(if items.is_empty() { b"]" } else { b"\n  ]" });
}

impl Profile {
    /// The profile as JSON, in stable order.
    pub fn to_json(&self) -> String {
        let mut sorted = self.clone();
        sorted.normalize();
        let mut out = Vec::new();
        let mut field = |name: &str, value: &dyn Fn(&mut Vec<u8>)| {
            out.extend_from_slice(if out.is_empty() { b"{\n  \"" } else { b",\n  \"" });
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"\": ");
            value(&mut out);
        };
        field("format", &|out| put(out, &FORMAT));
        field("version", &|out| put(out, &VERSION));
        field("view", &|out| put(out, &sorted.view));
        field("attribution", &|out| put(out, &sorted.attribution));
        field("operations", &|out| put(out, &sorted.operations));
        field("php", &|out| put(out, &sorted.php));
        field("complete", &|out| put(out, &sorted.complete));
        field("learned", &|out| put(out, &sorted.learned));
        // What programs that do not know it would refuse by its name is only there where it says something.
        if sorted.context != Context::default() {
            field("context", &|out| put(out, &sorted.context));
        }
        put_list(&mut out, "roots", &sorted.roots);
        put_list(&mut out, "generated", &sorted.generated);
        // Likewise.
        if !sorted.wrappers.is_empty() {
            put_list(&mut out, "wrappers", &sorted.wrappers);
        }
        if !sorted.files.is_empty() {
            put_list(&mut out, "files", &sorted.files);
        }
        put_list(&mut out, "scripts", &sorted.scripts);
        put_list(&mut out, "grants", &sorted.grants);
        out.extend_from_slice(b"\n}\n");
        json_escaped(String::from_utf8(out).expect("JSON is UTF-8"))
    }

    /// Reads the JSON face. Unknown fields and constraints are refused: a
    /// misspelt one would grant more than was meant.
    pub fn from_json(bytes: &[u8]) -> Result<Self, ProfileError> {
        // It quotes the file, and is shown on a terminal.
        let wrong = |detail: String| ProfileError::Json { detail: escape(detail.as_bytes()) };
        let mark: Mark = serde_json::from_slice(bytes).map_err(|error| wrong(error.to_string()))?;
        if mark.format.as_deref() != Some(FORMAT) {
            return Err(wrong(format!("`format` must be \"{FORMAT}\"")));
        }
        match mark.version {
            Some(VERSION) => {}
            Some(found) if found > VERSION => {
                return Err(ProfileError::FutureVersion { found, newest: VERSION });
            }
            _ => return Err(wrong(format!("`version` must be {VERSION}"))),
        }
        let face: Face = serde_json::from_slice(bytes).map_err(|error| wrong(error.to_string()))?;
        debug_assert_eq!((face.format.as_str(), face.version), (FORMAT, VERSION));
        let mut profile = Self {
            view: face.view,
            attribution: face.attribution,
            operations: face.operations,
            php: face.php,
            roots: face.roots,
            generated: face.generated,
            wrappers: face.wrappers,
            context: face.context,
            files: face.files,
            scripts: face.scripts,
            grants: face.grants,
            learned: face.learned,
            complete: face.complete,
        };
        profile.check()?;
        profile.normalize();
        Ok(profile)
    }
}
