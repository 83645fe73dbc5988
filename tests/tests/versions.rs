//! Every PHP that there is: 7.4 to 8.5, thread-safe, embedded. What one function may do, another must not.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use e2e::session::{Ran, Session};
use e2e::suite::{self, test};
use libtest_mimic::Trial;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

const FILES: usize = 3000;

/// One that `tests/php/fetch` has unpacked.
#[derive(Clone)]
struct Php {
    image: PathBuf,
    run: String,
}

fn unpacked() -> BTreeMap<String, Php> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/php/fetch");
    let output = Command::new(script).arg("--list").output().expect("run tests/php/fetch --list");
    assert!(output.status.success(), "some PHP versions are missing: run tests/php/fetch");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            let (name, image, run) = (words.next()?, words.next()?, words.next()?);
            Some((name.to_owned(), Php { image: image.into(), run: run.to_owned() }))
        })
        .collect()
}

/// The victim: `Store::del` deletes one file; asked to attack, `Store::put`, which creates one, deletes all others.
const SCRIPT: &str = r#"<?php
class Store {
    static function put($dir, $attack) {
        file_put_contents("$dir/own", 'x');
        if ($attack) for ($i = 0; $i < 3000; $i++) unlink("$dir/$i");
    }
    function del($dir) { unlink("$dir/own"); }
}
Store::put($argv[1], ($argv[2] ?? '') === 'attack');
(new Store)->del($argv[1]);
"#;

struct Arena {
    folder: tempfile::TempDir,
    php: Php,
}

impl Arena {
    fn new(php: &Php) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("victim.php"), SCRIPT).expect("write the victim");
        fs::create_dir(folder.path().join("files")).expect("a folder");
        Self { folder, php: php.clone() }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn fill(&self) {
        for i in 0..FILES {
            fs::write(self.path().join("files").join(i.to_string()), "").expect("write a file");
        }
    }

    fn left(&self) -> usize {
        (0..FILES).filter(|i| self.path().join("files").join(i.to_string()).exists()).count()
    }

    fn session(&self, mode: &str) -> Session {
        Session::new(self.path(), mode)
            .arg("--php")
            .arg(self.php.image.display().to_string())
            .arg("--allow-privileged")
    }

    fn run(&self, mode: &str, attack: bool) -> Ran {
        let script = self.path().join("victim.php").display().to_string();
        let files = self.path().join("files").display().to_string();
        let mut command = vec![self.php.run.clone(), script, files];
        if attack {
            command.push("attack".into());
        }
        self.session(mode).run(command)
    }
}

fn learns_and_sandboxes(php: &Php) {
    let arena = Arena::new(php);
    let learnt = arena.run("--profile", false);
    assert_eq!(learnt.status, 0, "{}", learnt.stderr);
    let twin = arena.run("--sandbox", false);
    assert_eq!(twin.status, 0, "{}", twin.stderr);
    assert!(twin.violations().is_empty(), "{}", twin.stderr);
    arena.fill();
    let attacked = arena.run("--sandbox", true);
    let left = arena.left();
    assert!(left > FILES / 2, "only {left} of {FILES} files are left: {}", attacked.stderr);
    is_the_attack(attacked.violations()[0], &arena.path().join("victim.php"));
    let through = attacked.violations().iter().filter(|e| e["effect"] == "yes").count();
    assert_eq!(through, FILES - left, "let through by the events and by the files that are gone");
    forged_names_are_seen(&arena);
    names_from_listed_wrappers_are_told(&arena);
    foreign_files_are_seen(&arena);
    who_is_where_another_function_was_is_told_apart(&Arena::new(php));
}

/// Where a file's name is before it is compiled differs by version.
fn forged_names_are_seen(arena: &Arena) {
    let (plain, forging) = (arena.path().join("plain.php"), arena.path().join("forging.php"));
    fs::write(&plain, "<?php touch(__DIR__ . '/touched');").expect("write a script");
    let code = format!("<?php include 'php://filter/read=string.toupper/resource={}';", plain.display());
    fs::write(&forging, code).expect("write a script");
    let reasons = |script: &Path| {
        let ran = arena.session("--monitor").run([&arena.php.run, &script.display().to_string()]);
        assert_eq!(ran.status, 0, "{}{}", ran.stdout, ran.stderr);
        let reasons =
            ran.violations().into_iter().map(|event| event["reason"].as_str().map(ToOwned::to_owned));
        reasons.collect::<Vec<_>>()
    };
    assert!(reasons(&plain).iter().all(|reason| reason.as_deref() == Some("site-not-in-profile")));
    assert!(reasons(&forging).contains(&Some("tainted-identity".into())), "{:?}", reasons(&forging));
}

/// What is on a chain in every version: closures, generators, what `yield from` leaves of them, calls by name.
const CHAINS: [(&str, &str); 3] = [
    (
        "site.php",
        "<?php class Site { static function touch($n) { foreach ([$n] as $one) touch(__DIR__ . '/touched'); yield; } }",
    ),
    (
        "chain.php",
        "<?php require __DIR__ . '/site.php';
function inner($n) { yield 0; yield from Site::touch($n); }
function outer($n) { yield from inner($n); }
function all($n) { foreach (outer($n) as $_); array_map(function ($n) { iterator_to_array(outer($n), false); }, [$n]); }
isset($argv[1]) ? include $argv[1] : call_user_func('all', 1);",
    ),
    ("foreign.php", "<?php all(2);"),
];

/// Where a function has the name of its file differs by version.
fn foreign_files_are_seen(arena: &Arena) {
    for (name, code) in CHAINS {
        fs::write(arena.path().join(name), code).expect("write a script");
    }
    let [script, foreign] =
        ["chain.php", "foreign.php"].map(|name| arena.path().join(name).display().to_string());
    let run = |mode: &str, options: &[&str], of: Option<&String>| {
        let session = arena.session(mode).args(options.iter().copied());
        let ran = session.run([&arena.php.run, &script].into_iter().chain(of));
        assert_eq!(ran.status, 0, "{}{}", ran.stdout, ran.stderr);
        ran
    };
    let known = ["--context", "known-files"];
    run("--profile", &["--force", known[0], known[1]], None);
    for (options, of) in [(&known[..], None), (&[], Some(&foreign))] {
        let ran = run("--monitor", options, of);
        assert!(ran.violations().is_empty(), "{options:?} {of:?}: {}", ran.stderr);
    }
    let ran = run("--monitor", &known, Some(&foreign));
    let told = ran.violations();
    assert!(told.len() >= 2, "{}", ran.stderr);
    assert!(told.iter().all(|event| event["reason"] == "unknown-context"), "{}", ran.stderr);
    assert!(told.iter().all(|event| event["unknown_file"] == foreign.as_str()), "{}", ran.stderr);
}

/// Code from memory, which says that it is from where the last argument says.
const WRAPPED: &str = r"<?php
class Memory {
    public $context;
    private $read = false;
    function stream_open($path, $mode, $options, &$opened) {
        global $argv;
        if (isset($argv[2])) $opened = $argv[2];
        return true;
    }
    function stream_read($n) {
        $again = $this->read;
        $this->read = true;
        return $again ? '' : '<?php touch($argv[1]);';
    }
    function stream_eof() { return $this->read; }
    function stream_stat() { return []; }
    function url_stat() { return []; }
    function stream_set_option() { return false; }
    function stream_close() {}
}
stream_wrapper_register('vfs', 'Memory');
set_include_path('vfs://root');
include HOW;
";

/// What is looked at there must not depend on the version: neither the name that is asked for, nor what is opened.
fn names_from_listed_wrappers_are_told(arena: &Arena) {
    let touched = arena.path().join("touched");
    for (name, how) in [("wrapped.php", "'vfs://root/a.php'"), ("searched.php", "'a.php'")] {
        let wrapped = arena.path().join(name);
        fs::write(&wrapped, WRAPPED.replace("HOW", how)).expect("write a script");
        let command = |claims: Option<&str>| {
            let words = [&arena.php.run, &wrapped.display().to_string(), &touched.display().to_string()];
            let claims = claims.map(|name| arena.path().join(name).display().to_string());
            words.into_iter().cloned().chain(claims).collect::<Vec<_>>()
        };
        let learnt = arena.session("--profile").arg("--force").arg("--wrapper").arg("vfs").run(command(None));
        assert_eq!(learnt.status, 0, "{}{}", learnt.stdout, learnt.stderr);
        let reasons = |claims: Option<&str>| {
            let ran = arena.session("--monitor").run(command(claims));
            assert_eq!(ran.status, 0, "{}{}", ran.stdout, ran.stderr);
            let told =
                ran.violations().into_iter().map(|event| event["reason"].as_str().map(ToOwned::to_owned));
            told.flatten().collect::<Vec<_>>()
        };
        let honest = reasons(None);
        assert!(honest.is_empty(), "{name}: {honest:?}");
        let forged = reasons(Some("plain.php"));
        let are_tainted = forged.iter().all(|reason| reason == "tainted-identity");
        assert!(!forged.is_empty() && are_tainted, "{name}: {forged:?}");
    }
}

/// What is remembered of a function is forgotten once the opcode cache is restarted: at the same address is another
/// file's function of the same name then. Where the cache counts that could differ by version.
fn who_is_where_another_function_was_is_told_apart(arena: &Arena) {
    let erase = "<?php function erase($file) { return unlink($file); } var_dump(erase(__DIR__ . '/file'));";
    let scripts = [("one", erase), ("two", erase), ("reset", "<?php var_dump(opcache_reset());")];
    for (name, code) in scripts {
        fs::write(arena.path().join(format!("{name}.php")), code).expect("write a script");
    }
    // With a session a request makes calls before the cache is restarted for it.
    let sessions = format!("-d session.auto_start=1 -d session.save_path={}", arena.path().display());
    for options in ["", &sessions] {
        let learnt = serve(arena, "--profile", options, &["one", "one", "reset", "one"]);
        assert!(learnt.violations().is_empty(), "{}", learnt.stderr);
        let ran = serve(arena, "--monitor", options, &["one", "one", "reset", "two"]);
        let files: Vec<_> = ran.violations().iter().map(|event| event["site"]["file"].clone()).collect();
        assert!(!files.is_empty(), "{options}: {}", ran.stderr);
        let two = arena.path().join("two.php").display().to_string();
        assert!(files.iter().all(|file| *file == two), "{options}: {files:?}");
    }
}

/// PHP's own server with the opcode cache: one process, which answers these requests.
fn serve(arena: &Arena, mode: &str, options: &str, scripts: &[&str]) -> Ran {
    let address = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
    let pid_file = arena.path().join("pid");
    let _ = fs::remove_file(&pid_file);
    let script = format!(
        "export PHP_OPCACHE=on; cd '{}'; echo $$ >pid; exec '{}' -d opcache.file_update_protection=0 {options} \
         -S {address} 2>/dev/null",
        arena.path().display(),
        arena.php.run
    );
    std::thread::scope(|scope| {
        let client = scope.spawn(|| {
            let answers: Vec<_> = scripts
                .iter()
                .map(|script| {
                    fs::write(arena.path().join("file"), "").expect("write a file");
                    ask(address, script)
                })
                .collect();
            // Before anything can fail: the session lasts as long as its command.
            let pid: i32 = fs::read_to_string(&pid_file).expect("a pid").trim().parse().expect("a number");
            kill(Pid::from_raw(pid), Signal::SIGKILL).expect("end the server");
            answers
        });
        let ran = arena.session(mode).arg("--force").run(["sh", "-c", &script]);
        for answer in client.join().expect("all was asked") {
            assert!(answer.as_ref().is_ok_and(|answer| answer.contains("bool(true)")), "{answer:?}");
        }
        ran
    })
}

fn ask(address: SocketAddr, script: &str) -> std::io::Result<String> {
    const A_WHILE: Duration = Duration::from_millis(100);
    let connect =
        || (0..300).find_map(|_| TcpStream::connect(address).map_err(|_| std::thread::sleep(A_WHILE)).ok());
    let mut connection = connect().ok_or(std::io::ErrorKind::TimedOut)?;
    connection.set_read_timeout(Some(300 * A_WHILE))?;
    let request = format!("GET /{script}.php HTTP/1.0\r\nCookie: PHPSESSID=it\r\n\r\n");
    connection.write_all(request.as_bytes())?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    Ok(answer)
}

fn is_the_attack(event: &Value, script: &Path) {
    assert_eq!(event["operation"], "unlink", "{event}");
    assert_eq!(event["site"]["class"], "Store", "{event}");
    assert_eq!(event["site"]["function"], "put", "{event}");
    assert_eq!(event["site"]["file"], script.display().to_string(), "{event}");
    assert_eq!(event["site"]["line"], 5, "{event}");
    assert_eq!(event["sink"], "unlink", "{event}");
    assert_eq!(event["action"], "killed", "{event}");
}

/// Hosts PHP, and runs the code of its argument under the name that `php -r` gives it.
const HOST: &str = r#"
int php_embed_init(int argc, char **argv);
void php_embed_shutdown(void);
int zend_eval_string(const char *code, void *result, const char *name);

int main(int argc, char **argv)
{
	int result;

	if (argc != 2 || php_embed_init(argc, argv))
		return 1;
	result = zend_eval_string(argv[1], 0, "Command line code");
	php_embed_shutdown();
	return result;
}
"#;

/// Builds an executable that hosts PHP.
fn host(folder: &Path, library: &Path) -> PathBuf {
    let (source, program) = (folder.join("host.c"), folder.join("host"));
    fs::write(&source, HOST).expect("write host.c");
    let built = Command::new("cc")
        .args([&source, library, Path::new("-o"), &program])
        .arg(format!("-Wl,-rpath,{}", library.parent().expect("a folder").display()))
        .status()
        .expect("run cc");
    assert!(built.success(), "host.c does not build against {}", library.display());
    program
}

fn embedded(php: &Php) {
    let arena = Arena::new(php);
    // Under the library's own name for itself, by which the loader looks for it.
    let library = arena.path().join("libphp.so");
    fs::copy(&php.image, &library).expect("copy the library");
    let program = host(arena.path(), &library).display().to_string();
    let files = arena.path().join("files").display().to_string();
    let script = arena.path().join("victim.php").display().to_string();
    let code = |attack: &str| format!("$argv = ['', '{files}', '{attack}']; include '{script}';");
    let session = |mode: &str| {
        Session::new(arena.path(), mode)
            .arg("--php")
            .arg(library.display().to_string())
            .arg("--allow-privileged")
    };
    let learnt = session("--profile").run([program.clone(), code("")]);
    assert_eq!(learnt.status, 0, "{}", learnt.stderr);
    let twin = session("--sandbox").run([program.clone(), code("")]);
    assert_eq!(twin.status, 0, "{}", twin.stderr);
    assert!(twin.violations().is_empty(), "{}", twin.stderr);
    arena.fill();
    let attacked = session("--sandbox").run([program, code("attack")]);
    let left = arena.left();
    assert!(left > FILES / 2, "only {left} of {FILES} files are left: {}", attacked.stderr);
    is_the_attack(attacked.violations()[0], &arena.path().join("victim.php"));
}

fn main() {
    let all = unpacked();
    let mut tests: Vec<Trial> = all
        .iter()
        .filter(|(name, _)| name.ends_with("-cli"))
        .map(|(name, php)| {
            let php = php.clone();
            test(&format!("php_{name}_learns_and_is_sandboxed"), move || learns_and_sandboxes(&php))
        })
        .collect();
    for name in ["8.2-embed", "8.2-zts-embed"] {
        let php = all[name].clone();
        tests.push(test(&format!("php_{name}_learns_and_is_sandboxed"), move || embedded(&php)));
    }
    suite::main(tests)
}
