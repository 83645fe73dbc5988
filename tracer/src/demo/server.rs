//! PHP's two ways to serve: php-fpm (over `FastCGI`) and its own server (over HTTP).

use std::ffi::OsString;
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::cli::hinted;
use crate::demo::interrupted;
use crate::demo::plan::{Places, Request};

/// A PHP to serve with.
pub struct Php {
    /// The program.
    pub path: PathBuf,
    /// php-fpm, or PHP's own server.
    pub fpm: bool,
    /// "8.2.36"
    pub version: String,
}

/// php-fpm, else php, newest first.
pub fn find_php() -> Result<Php> {
    const VERSIONS: [&str; 8] = ["", "8.5", "8.4", "8.3", "8.2", "8.1", "8.0", "7.4"];
    const MORE: [&str; 4] = ["/usr/sbin", "/usr/local/sbin", "/usr/bin", "/usr/local/bin"];
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).chain(MORE.iter().map(PathBuf::from)).collect();
    let mut why = String::new();
    for program in ["php-fpm", "php"] {
        for version in VERSIONS {
            for candidate in folders.iter().map(|f| f.join(format!("{program}{version}"))) {
                let Ok(path) = candidate.canonicalize() else { continue };
                match introspect::introspect(&path) {
                    Ok(image) => {
                        let version = image.version.unwrap_or_default();
                        return Ok(Php { path, fpm: program == "php-fpm", version });
                    }
                    Err(error) => why = format!(" ({}: {error})", path.display()),
                }
            }
        }
    }
    Err(hinted(format!("no PHP that can be traced is installed{why}"), "apt-get install php-fpm, or php-cli"))
}

/// An answer.
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

/// How to reach the application.
pub struct Server {
    address: Address,
    index: PathBuf,
}

enum Address {
    Fpm(PathBuf),
    BuiltIn(u16),
}

/// How long a server may take to come (back), and to answer.
const PATIENCE: Duration = Duration::from_secs(20);

impl Server {
    /// The command that serves `app` on the data of `places`; its files go into `run`.
    pub fn command(php: &Php, app: &Path, run: &Path, places: &Places) -> Result<(Self, Vec<OsString>)> {
        let index = app.join("public/index.php");
        let (data, mail) = (places.data.display(), places.port);
        if php.fpm {
            let (socket, conf) = (run.join("fpm.sock"), run.join("fpm.conf"));
            fs::write(
                &conf,
                format!(
                    "[global]\nerror_log = {log}\ndaemonize = no\n\
                     [gallery]\nlisten = {socket}\npm = static\npm.max_children = 2\nclear_env = yes\n\
                     php_admin_value[upload_tmp_dir] = {data}/tmp\n\
                     env[GALLERY_DATA] = {data}\nenv[GALLERY_MAIL] = tcp://127.0.0.1:{mail}\n",
                    log = run.join("php.log").display(),
                    socket = socket.display(),
                ),
            )
            .context("write php-fpm's settings")?;
            let command = [php.path.as_os_str().into(), "-y".into(), conf.into(), "-F".into()];
            return Ok((Self { address: Address::Fpm(socket), index }, command.into()));
        }
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        // A killed server is started again, as a service manager would; TERM ends both.
        let script = format!(
            "export GALLERY_DATA={data} GALLERY_MAIL=tcp://127.0.0.1:{mail}\n\
             while :; do \"$@\" >>{log} 2>&1; done",
            log = run.join("php.log").display(),
        );
        let mut command: Vec<OsString> = vec!["/bin/sh".into(), "-c".into(), script.into(), "gallery".into()];
        command.push(php.path.as_os_str().into());
        command.push("-d".into());
        command.push(format!("upload_tmp_dir={data}/tmp").into());
        command.extend(["-S".into(), format!("127.0.0.1:{port}").into()]);
        command.extend(["-t".into(), app.join("public").into(), index.as_os_str().into()]);
        Ok((Self { address: Address::BuiltIn(port), index }, command))
    }

    /// Whether it takes connections.
    pub fn listens(&self) -> bool {
        match &self.address {
            Address::Fpm(socket) => UnixStream::connect(socket).is_ok(),
            Address::BuiltIn(port) => TcpStream::connect((Ipv4Addr::LOCALHOST, *port)).is_ok(),
        }
    }

    /// Sends a request, with `n` in its placeholders. Errors: no (whole) answer came.
    pub fn ask(&self, request: &Request, places: &Places, n: u32) -> io::Result<Answer> {
        let path = places.fill(&request.path, n);
        let body = places.fill(&request.body, n).into_bytes();
        let headers: Vec<(String, String)> =
            request.headers.iter().map(|(name, value)| (name.clone(), places.fill(value, n))).collect();
        let until = Instant::now() + PATIENCE;
        match &self.address {
            Address::Fpm(socket) => {
                let mut stream = patiently(until, || UnixStream::connect(socket))?;
                stream.set_read_timeout(Some(Duration::from_millis(100)))?;
                stream.write_all(&fastcgi(&self.index, &request.method, &path, &headers, &body))?;
                parse_fastcgi(&read_all(&mut stream, until)?)
            }
            Address::BuiltIn(port) => {
                let mut stream = patiently(until, || TcpStream::connect((Ipv4Addr::LOCALHOST, *port)))?;
                stream.set_read_timeout(Some(Duration::from_millis(100)))?;
                stream.write_all(&http(&request.method, &path, &headers, &body))?;
                let answer = read_all(&mut stream, until);
                let _ = stream.shutdown(Shutdown::Both);
                parse_http(&answer?)
            }
        }
    }
}

fn patiently<T>(until: Instant, mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match attempt() {
            Err(_) if Instant::now() < until && !interrupted() => {
                std::thread::sleep(Duration::from_millis(10));
            }
            other => return other,
        }
    }
}

/// Everything until the other side closes.
fn read_all(stream: &mut impl Read, until: Instant) -> io::Result<Vec<u8>> {
    let (mut all, mut some) = (Vec::new(), [0; 16384]);
    loop {
        match stream.read(&mut some) {
            Ok(0) => return Ok(all),
            Ok(n) => all.extend_from_slice(&some[..n]),
            Err(e)
                if matches!(
                    e.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                ) =>
            {
                if interrupted() || Instant::now() > until {
                    return Err(ErrorKind::TimedOut.into());
                }
            }
            Err(e) => return Err(e),
        }
    }
}

fn http(method: &str, path: &str, headers: &[(String, String)], body: &[u8]) -> Vec<u8> {
    let mut head = vec![
        format!("{method} {path} HTTP/1.1"),
        "Host: localhost".into(),
        "Connection: close".into(),
        format!("Content-Length: {}", body.len()),
    ];
    head.extend(headers.iter().map(|(name, value)| format!("{name}: {value}")));
    [head.join("\r\n").as_bytes(), b"\r\n\r\n", body].concat()
}

/// The head's lines, and the body.
fn split_answer(answer: &[u8]) -> Option<(String, &[u8])> {
    let at = answer.windows(4).position(|w| w == b"\r\n\r\n")?;
    Some((String::from_utf8_lossy(&answer[..at]).into_owned(), &answer[at + 4..]))
}

fn gone() -> io::Error {
    io::Error::new(ErrorKind::UnexpectedEof, "the process that served the request went away")
}

fn parse_http(answer: &[u8]) -> io::Result<Answer> {
    let (head, body) = split_answer(answer).ok_or_else(gone)?;
    let status =
        head.split(' ').nth(1).and_then(|s| s.get(..3)).and_then(|s| s.parse().ok()).ok_or_else(gone)?;
    Ok(Answer { status, body: body.to_vec() })
}

const BEGIN: u8 = 1;
const END: u8 = 3;
const PARAMS: u8 = 4;
const STDIN: u8 = 5;
const STDOUT: u8 = 6;
/// The body of `BEGIN`: the role of an application, and no connection kept.
const RESPONDER: [u8; 8] = [0, 1, 0, 0, 0, 0, 0, 0];

fn record(kind: u8, content: &[u8]) -> Vec<u8> {
    let mut record = vec![1, kind, 0, 1];
    record.extend((content.len() as u16).to_be_bytes());
    record.extend([0, 0]);
    record.extend(content);
    record
}

fn fastcgi(index: &Path, method: &str, path: &str, headers: &[(String, String)], body: &[u8]) -> Vec<u8> {
    let index_name = index.to_string_lossy().into_owned();
    let root = index.parent().unwrap_or(index).to_string_lossy().into_owned();
    let length = if body.is_empty() { String::new() } else { body.len().to_string() };
    let query = path.split_once('?').map_or("", |(_, query)| query);
    let mut params: Vec<(String, String)> = [
        ("GATEWAY_INTERFACE", "CGI/1.1"),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("SERVER_SOFTWARE", "demonstration"),
        ("SERVER_NAME", "localhost"),
        ("SERVER_PORT", "80"),
        ("REMOTE_ADDR", "127.0.0.1"),
        ("REQUEST_METHOD", method),
        ("REQUEST_URI", path),
        ("QUERY_STRING", query),
        ("SCRIPT_FILENAME", &index_name),
        ("SCRIPT_NAME", "/index.php"),
        ("DOCUMENT_ROOT", &root),
        ("CONTENT_LENGTH", &length),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    for (name, value) in headers {
        let name = name.to_ascii_uppercase().replace('-', "_");
        let name = if name == "CONTENT_TYPE" { name } else { format!("HTTP_{name}") };
        params.push((name, value.clone()));
    }
    let length = |text: &str| match u8::try_from(text.len()) {
        Ok(short) if short < 128 => vec![short],
        _ => (text.len() as u32 | 1 << 31).to_be_bytes().to_vec(),
    };
    let packed: Vec<u8> = params
        .iter()
        .flat_map(|(name, value)| {
            [length(name), length(value), name.as_bytes().into(), value.as_bytes().into()].concat()
        })
        .collect();
    let mut message = record(BEGIN, &RESPONDER);
    for (kind, content) in [(PARAMS, packed.as_slice()), (STDIN, body)] {
        for part in content.chunks(65535) {
            message.extend(record(kind, part));
        }
        message.extend(record(kind, &[]));
    }
    message
}

fn parse_fastcgi(mut rest: &[u8]) -> io::Result<Answer> {
    let mut output = Vec::new();
    loop {
        let [_, kind, _, _, high, low, padding, _, after @ ..] = rest else { return Err(gone()) };
        let size = usize::from(*high) << 8 | usize::from(*low);
        let content = after.get(..size).ok_or_else(gone)?;
        match *kind {
            STDOUT => output.extend_from_slice(content),
            END => break,
            _ => {}
        }
        rest = after.get(size + usize::from(*padding)..).ok_or_else(gone)?;
    }
    let (head, body) = split_answer(&output).ok_or_else(gone)?;
    let status = head.lines().find_map(|l| l.strip_prefix("Status: ")).and_then(|s| s.get(..3)?.parse().ok());
    Ok(Answer { status: status.unwrap_or(200), body: body.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_parsed_and_broken_ones_refused() {
        let whole =
            [record(STDOUT, b"Status: 404 Not Found\r\nX: y\r\n\r\nno"), record(END, &[0; 8])].concat();
        let answer = parse_fastcgi(&whole).unwrap();
        assert_eq!((answer.status, answer.body.as_slice()), (404, b"no".as_slice()));
        for len in 0..whole.len() - 8 {
            assert!(parse_fastcgi(&whole[..len]).is_err(), "cut at {len}");
        }
        let answer = parse_http(b"HTTP/1.1 303 See Other\r\nLocation: /\r\n\r\nbody").unwrap();
        assert_eq!((answer.status, answer.body.as_slice()), (303, b"body".as_slice()));
        assert!(parse_http(b"").is_err() && parse_http(b"HTTP/1.1 200 OK\r\n").is_err());
    }

    #[test]
    fn long_parameters_have_long_lengths() {
        let long = "x".repeat(300);
        let message = fastcgi(Path::new("/a/index.php"), "GET", &format!("/?{long}"), &[], b"");
        let uri = [&b"\x0b\x80\x00\x01\x2eREQUEST_URI/?x"[..], b"x"].concat();
        assert!(message.windows(uri.len()).any(|w| w == uri));
    }
}
