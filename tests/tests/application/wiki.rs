//! `DokuWiki`, as Debian packs it, on a php-fpm of the test's own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use e2e::fpm::{Fpm, Setup, age, copy_application, own_all};

/// Who may log in, with [`PASSWORD`].
pub const USERS: [&str; 2] = ["anna", "bert"];
/// Of all users.
pub const PASSWORD: &str = "secret";
const PASSWORD_MD5: &str = "5ebe2294ecd0e0f08eab7690d2a6ee69";
/// Those who come, each with a folder of pages.
pub const VISITORS: [(&str, Option<&str>); 4] =
    [("north", None), ("east", Some("anna")), ("south", None), ("west", Some("bert"))];
/// Pages that each finds there, older than the wiki's own record of changes.
pub const OLD_PAGES: usize = 40;
/// Empties the opcode cache, as who deploys in place does.
pub const RESET: &str = "reset.php";

/// Workers, each of which serves so many requests.
const POOL: &str = "pm = static\npm.max_children = 3\npm.max_requests = 150";

/// Installed in a pool that does not run yet.
pub fn installed() -> Fpm {
    let source = fetched();
    let fpm = Fpm::prepare(Setup {
        source: source.clone(),
        without: is_unused,
        public: String::new(),
        front: "doku.php".into(),
        ready: "id=start".into(),
        pool: "php_flag[display_errors] = off".into(),
        ..Setup::pm(POOL)
    });
    let data = data(&fpm);
    copy_application(&source.join("data"), &data, |_| false);
    for (visitor, _) in VISITORS {
        old_pages(&data.join("pages").join(visitor));
    }
    old_changes(&data.join("meta"));
    own_all(&data);
    configure(&fpm);
    fpm
}

/// Its data lies elsewhere, and half of its files are languages that nobody asks for.
fn is_unused(path: &Path) -> bool {
    let is_language = path.parent().is_some_and(|folder| folder.ends_with("lang"));
    path.ends_with("dokuwiki/data") || (is_language && !path.ends_with("en"))
}

/// Where its pages are.
pub fn data(fpm: &Fpm) -> PathBuf {
    fpm.data().join("wiki")
}

/// What a page says at first.
pub fn old_text(number: usize) -> String {
    format!("====== Old {number} ======\n\nnothing new since then\n\n~~INFO:syntaxplugins~~\n")
}

/// The one that came with it, as text.
pub fn picture() -> &'static str {
    static PICTURE: OnceLock<String> = OnceLock::new();
    PICTURE.get_or_init(|| {
        let bytes = fs::read(fetched().join("data/media/wiki/dokuwiki-128.png")).expect("read a picture");
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn fetched() -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../benches/victims/fetch-app");
    let output = Command::new(script).stderr(Stdio::inherit()).output().expect("run fetch-app");
    assert!(output.status.success(), "the application is not there");
    String::from_utf8(output.stdout).expect("a path").trim().into()
}

/// The records of changes, of pages and of media, which are shortened once a day.
const CHANGES: [(&str, &str); 2] =
    [("_dokuwiki.changes", "wiki:welcome"), ("_media.changes", "wiki:dokuwiki-128.png")];

/// So long that they have to be shortened.
fn old_changes(folder: &Path) {
    const LINES: u64 = 60;
    let then = SystemTime::now() - Duration::from_secs(30 * 86400);
    let then = then.duration_since(SystemTime::UNIX_EPOCH).expect("a time").as_secs();
    for (file, id) in CHANGES {
        let line = |number| format!("{}\t127.0.0.1\tE\t{id}\t\told\t\t1\n", then + number);
        fs::write(folder.join(file), (0..LINES).map(line).collect::<String>()).expect("write changes");
    }
}

/// What is done once a day is due again.
pub fn next_day(fpm: &Fpm) {
    for (file, _) in CHANGES {
        let done = data(fpm).join("meta").join(format!("{file}.trimmed"));
        let file = fs::File::options().append(true).open(&done).expect("it was done while learning");
        file.set_modified(SystemTime::now() - Duration::from_secs(2 * 86400)).expect("set its time");
    }
}

fn old_pages(folder: &Path) {
    fs::create_dir_all(folder).expect("make a folder");
    for number in 0..OLD_PAGES {
        let page = folder.join(format!("old{number}.txt"));
        fs::write(&page, old_text(number)).expect("write a page");
        age(&page);
    }
}

fn configure(fpm: &Fpm) {
    // Its feeds of removed pages end with an error of their own under PHP 8.
    let local = format!(
        "<?php\n$conf['title'] = 'The wiki';\n$conf['savedir'] = '{}';\n$conf['useacl'] = 1;\n\
         $conf['indexdelay'] = 0;\n$conf['rss_show_deleted'] = 0;\nsession_save_path('{}');\n",
        data(fpm).display(),
        fpm.data().join("sessions").display()
    );
    let head = "# <?php exit()?>\n";
    let users = USERS.map(|user| format!("{user}:{PASSWORD_MD5}:{user}:{user}@wiki.example:user\n")).concat();
    for (file, text) in [
        ("conf/local.php", local),
        ("conf/acl.auth.php", format!("{head}*\t@ALL\t16\n")),
        ("conf/users.auth.php", format!("{head}{users}")),
        (RESET, "<?php echo opcache_reset() ? 'emptied' : 'not there';\n".into()),
    ] {
        let path = fpm.app().join(file);
        fs::write(&path, text).expect("write a file of the application");
        age(&path);
    }
}
