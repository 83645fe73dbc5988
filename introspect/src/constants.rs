//! What the string constants of an image say: build, version, SAPI.

use crate::Sapi;

/// Facts found in the string constants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Constants {
    /// `ZEND_MODULE_BUILD_ID`, e.g. `API20220829,NTS`.
    pub abi: Option<String>,
    /// What the header `X-Powered-By` says, e.g. `8.2.29` or `8.1.2-1ubuntu2.14`.
    pub version: Option<String>,
    /// The first SAPI whose own name is there.
    pub sapi: Option<Sapi>,
}

/// `ZEND_MODULE_BUILD_ID`, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abi {
    pub api: u32,
    pub zts: bool,
    pub debug: bool,
}

/// Names that a SAPI module has and no other part of PHP: the engine itself has `cgi-fcgi`, `litespeed`, `phpdbg`
/// and `Apache 2.0 Handler` in every build, in checks and credits.
const SAPI_NAMES: [(&[u8], Sapi); 5] = [
    (b"FPM/FastCGI", Sapi::Fpm),
    (b"CGI/FastCGI", Sapi::Cgi),
    (b"Command Line Interface", Sapi::Cli),
    (b"PHP Embedded Library", Sapi::Embed),
    (b"apache2handler", Sapi::Apache),
];

/// Reads all NUL-terminated strings.
pub fn read(areas: &[&[u8]]) -> Constants {
    let mut found = Constants::default();
    for text in areas.iter().flat_map(|area| area.split(|b| *b == 0)).filter(|text| text.len() >= 7) {
        look_at(text, &mut found);
    }
    found
}

/// `text` ends where a string does, but may start before it: the compiler puts tables before the first string.
fn look_at(text: &[u8], found: &mut Constants) {
    let text = &text[text.len().saturating_sub(LONGEST)..];
    if found.sapi.is_none() {
        found.sapi = SAPI_NAMES.iter().find(|(name, _)| text.ends_with(name)).map(|(_, sapi)| *sapi);
    }
    if found.sapi.is_none() && text.starts_with(b"LiteSpeed V") {
        found.sapi = Some(Sapi::Litespeed);
    }
    if found.abi.is_none() {
        found.abi = from(text, b"API2").and_then(as_text).filter(|t| parse_abi(t).is_some());
    }
    if found.version.is_none() {
        let version = from(text, POWERED_BY).and_then(|t| as_text(&t[POWERED_BY.len()..]));
        found.version = version.filter(|v| !v.is_empty());
    }
}

/// Longer strings are not looked for.
const LONGEST: usize = 120;
const POWERED_BY: &[u8] = b"X-Powered-By: PHP/";

/// The end of `text` from the first occurrence of `start`.
fn from<'a>(text: &'a [u8], start: &[u8]) -> Option<&'a [u8]> {
    if text.len() < start.len() {
        return None;
    }
    let at =
        (0..=text.len() - start.len()).find(|at| text[*at] == start[0] && text[*at..].starts_with(start))?;
    Some(&text[at..])
}

/// Printable ASCII.
fn as_text(bytes: &[u8]) -> Option<String> {
    bytes.iter().all(u8::is_ascii_graphic).then(|| String::from_utf8_lossy(bytes).into_owned())
}

/// `API<digits>,(NTS|TS)[,debug][,anything]`.
pub fn parse_abi(text: &str) -> Option<Abi> {
    let mut parts = text.strip_prefix("API")?.split(',');
    let digits = parts.next().filter(|d| d.len() == 8 && d.bytes().all(|b| b.is_ascii_digit()))?;
    let zts = match parts.next()? {
        "TS" => true,
        "NTS" => false,
        _ => return None,
    };
    Some(Abi { api: digits.parse().ok()?, zts, debug: parts.any(|p| p == "debug") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn abi_strings() {
        let abi = |text| parse_abi(text).map(|a| (a.api, a.zts, a.debug));
        assert_eq!(abi("API20220829,NTS"), Some((20_220_829, false, false)));
        assert_eq!(abi("API20240924,TS,debug"), Some((20_240_924, true, true)));
        for wrong in
            ["API420220829,NTS", "API2022082,NTS", "API20220829", "API20220829,", "API+2022082,NTS", "API"]
        {
            assert_eq!(abi(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn strings_are_told_apart() {
        let area = b"\x86\x8a\xf9\xffFPM/FastCGI\0cgi-fcgi\0API420220829,NTS\0API20220829,NTS\0X-Powered-By: PHP/8.2.29\0";
        let expected = Constants {
            abi: Some("API20220829,NTS".into()),
            version: Some("8.2.29".into()),
            sapi: Some(Sapi::Fpm),
        };
        assert_eq!(read(&[b"x", area]), expected);
        assert_eq!(read(&[b"Apache 2.0 Handler\0phpdbg\0litespeed\0cgi-fcgi"]), Constants::default());
    }
}
