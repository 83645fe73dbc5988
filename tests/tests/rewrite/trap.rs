//! What attackers reach for: objects N-K, the K-th of the N-th attacker, or something that counts.

use std::fs::{self, File};
use std::io::Read;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use e2e::arena::{Target, USER, listen, make_fifo, open_folder};

/// A fresh folder for one operation.
pub struct Trap {
    /// Where it is.
    pub folder: PathBuf,
    /// Attackers.
    pub count: usize,
    /// Objects of each.
    pub tries: usize,
    effect: Effect,
    counter: Counter,
}

/// How the operation's effect is told.
#[derive(Clone, Copy, PartialEq)]
enum Effect {
    Gone,
    Made,
    Moved,
    Emptied,
    Private,
    Touched,
    Counted,
}

enum Counter {
    None,
    Pipe(File),
    Connections(TcpListener),
    UnixConnections(UnixListener),
    Bytes(TcpListener),
    Datagrams(UdpSocket),
    Signals(Target),
}

fn effect_of(operation: &str) -> Effect {
    match operation {
        "rename" | "rename-from-literal" => Effect::Moved,
        "open-truncate" | "truncate" | "ftruncate" => Effect::Emptied,
        "chmod" => Effect::Private,
        "touch-empty" => Effect::Touched,
        "connect-unix" | "connect-inet" | "sendto" | "sendmsg" | "sendto-stream" | "kill" | "write" => {
            Effect::Counted
        }
        "mkdir" | "symlink" | "link" | "link-empty" | "mknod" | "create" | "openat2" | "openat2-literal"
        | "bind-unix" | "execve" | "vfork-execve" | "clone3" | "fork" | "exec" | "system" => Effect::Made,
        _ => Effect::Gone,
    }
}

/// Older than anything that happens in a test.
fn long_ago() -> SystemTime {
    SystemTime::now() - Duration::from_secs(3600)
}

fn is_recent(path: &Path) -> bool {
    let modified = fs::metadata(path).and_then(|m| m.modified()).expect("the time of a file");
    modified > SystemTime::now() - Duration::from_secs(1800)
}

impl Trap {
    /// In this folder; what was there is gone.
    pub fn set(folder: &Path, operation: &str, count: usize, tries: usize) -> Self {
        let _ = fs::remove_dir_all(folder);
        open_folder(folder);
        // Who becomes another program is gone after one.
        let tries = if matches!(operation, "exec" | "execve" | "vfork-execve") { 1 } else { tries };
        let effect = effect_of(operation);
        let counter = match operation {
            "connect-inet" => Counter::Connections(listen()),
            "sendto-stream" => Counter::Bytes(listen()),
            "connect-unix" => {
                let listener = UnixListener::bind(folder.join("socket")).expect("listen");
                listener.set_nonblocking(true).expect("do not wait");
                open(&folder.join("socket"), 0o777);
                Counter::UnixConnections(listener)
            }
            "sendto" | "sendmsg" => {
                let socket = UdpSocket::bind("127.0.0.1:0").expect("bind");
                socket.set_nonblocking(true).expect("do not wait");
                Counter::Datagrams(socket)
            }
            "kill" => Counter::Signals(Target::start(USER)),
            "write" => Counter::Pipe(make_fifo(&folder.join("fifo"))),
            _ => Counter::None,
        };
        let trap = Self { folder: folder.into(), count, tries, effect, counter };
        if matches!(operation, "link" | "link-empty") {
            fs::write(folder.join("file"), "precious").expect("write a file");
            open(&folder.join("file"), 0o666);
        }
        let is_there = !matches!(effect, Effect::Made | Effect::Counted);
        for object in trap.objects().filter(|_| is_there) {
            trap.put(&object, operation == "rmdir");
        }
        if effect == Effect::Touched {
            File::open(folder).and_then(|f| f.set_modified(long_ago())).expect("set its time");
        }
        trap
    }

    fn put(&self, object: &Path, folder: bool) {
        if folder {
            fs::create_dir(object).expect("make a folder");
        } else {
            fs::write(object, "precious").expect("write a file");
            open(object, 0o666);
            if self.effect == Effect::Touched {
                let file = File::options().append(true).open(object).expect("open a file");
                file.set_modified(long_ago()).expect("set its time");
            }
        }
        chown(object, Some(USER), Some(USER)).expect("chown");
    }

    fn object(&self, attacker: usize, object: usize) -> PathBuf {
        self.folder.join(format!("{attacker}-{object}"))
    }

    fn objects(&self) -> impl Iterator<Item = PathBuf> {
        let all = (0..self.count).flat_map(|n| (0..self.tries).map(move |k| (n, k)));
        all.map(|(n, k)| self.object(n, k)).collect::<Vec<_>>().into_iter()
    }

    /// The last argument of the attack.
    pub fn extra(&self) -> String {
        match &self.counter {
            Counter::Connections(listener) | Counter::Bytes(listener) => {
                listener.local_addr().expect("its address").port().to_string()
            }
            Counter::Datagrams(socket) => socket.local_addr().expect("its address").port().to_string(),
            Counter::Signals(target) => target.id().to_string(),
            _ => "0".into(),
        }
    }

    fn had_effect(&self, object: &Path) -> bool {
        match self.effect {
            Effect::Gone => !object.exists(),
            Effect::Made => object.symlink_metadata().is_ok(),
            Effect::Moved => object.with_file_name(format!("{}.moved", name(object))).exists(),
            Effect::Emptied => fs::metadata(object).is_ok_and(|m| m.len() == 0),
            Effect::Private => fs::metadata(object).is_ok_and(|m| m.permissions().mode() & 0o777 == 0o600),
            Effect::Touched => is_recent(object),
            Effect::Counted => false,
        }
    }

    /// Calls that had their effect: of all attackers, and of the one with most. What is counted is consumed.
    pub fn leaks(&self) -> (usize, usize) {
        if self.effect == Effect::Touched {
            assert!(!is_recent(&self.folder), "rewriting made it touch another file");
        }
        if self.effect == Effect::Counted {
            let counted = self.counted();
            return (counted, usize::from(counted > 0));
        }
        let of = |n| (0..self.tries).filter(|k| self.had_effect(&self.object(n, *k))).count();
        let each: Vec<usize> = (0..self.count).map(of).collect();
        (each.iter().sum(), each.into_iter().max().unwrap_or(0))
    }

    fn counted(&self) -> usize {
        let mut bytes = [0; 4096];
        match &self.counter {
            Counter::Pipe(pipe) => {
                let mut pipe = pipe;
                pipe.read(&mut bytes).unwrap_or(0)
            }
            Counter::Connections(listener) => std::iter::from_fn(|| listener.accept().ok()).count(),
            Counter::UnixConnections(listener) => std::iter::from_fn(|| listener.accept().ok()).count(),
            Counter::Bytes(listener) => std::iter::from_fn(|| listener.accept().ok())
                .map(|(mut stream, _)| {
                    stream.set_nonblocking(true).expect("do not wait");
                    stream.read(&mut bytes).unwrap_or(0)
                })
                .sum(),
            Counter::Datagrams(socket) => std::iter::from_fn(|| socket.recv(&mut bytes).ok()).count(),
            Counter::Signals(target) => target.queued(),
            Counter::None => 0,
        }
    }
}

fn open(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("open a file");
}

fn name(path: &Path) -> String {
    path.file_name().expect("a name").to_string_lossy().into_owned()
}
