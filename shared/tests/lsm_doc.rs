//! The tables of docs/lsm.md are what the code says. `UPDATE=1 cargo test -p shared --test lsm_doc` writes them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

use shared::intf;
use shared::op::lsm::{BY_FUNCTION, HOOKS, seen_as};
use shared::op::{OpSet, Selection};

/// What an event tells of it. Nothing: that it was done.
const TOLD: &[(&str, &str)] = &[
    ("accept", ""),
    ("bind", "address"),
    ("bpf", "command"),
    ("chmod", "path"),
    ("chown", "path"),
    ("chroot", "path"),
    ("clone", "flags"),
    ("connect", "address"),
    ("exec", "program, origin"),
    ("execve", "program"),
    ("fcntl", "command"),
    ("inotify_add_watch", "path"),
    ("ioctl", "command"),
    ("ioprio_set", "process"),
    ("kill", "process, signal"),
    ("link", "both paths"),
    ("listen", "backlog"),
    ("mkdir", "path"),
    ("mknod", "path"),
    ("mmap", "protection"),
    ("mount", "source (text), path"),
    ("move_mount", "both paths"),
    ("move_pages", "process"),
    ("mprotect", "protection"),
    ("msgctl", "id, command"),
    ("msgget", "key"),
    ("msgrcv", "id"),
    ("msgsnd", "id"),
    ("openat", "path, flags"),
    ("pidfd_open", "process"),
    ("pivot_root", "path of the new root"),
    ("prctl", "option"),
    ("prlimit64", "process, resource"),
    ("ptrace", "process"),
    ("rename", "both paths"),
    ("rmdir", "path"),
    ("sched_setscheduler", "process"),
    ("semctl", "id, command"),
    ("semget", "key"),
    ("semop", "id"),
    ("sendto", "address"),
    ("setpriority", "process"),
    ("setuid", "user"),
    ("shmat", "id"),
    ("shmctl", "id, command"),
    ("shmget", "key"),
    ("socket", "family, type"),
    ("symlink", "target (text), path"),
    ("syslog", "type"),
    ("truncate", "path"),
    ("umount2", "path"),
    ("unlink", "path"),
];

fn ops(selection: &str) -> OpSet {
    selection.parse::<Selection>().expect("a selection").ops()
}

fn in_set(set: u32) -> impl Iterator<Item = &'static str> {
    intf::calls().iter().filter(move |call| u32::from(call.sets) & set != 0).map(|call| call.name)
}

fn name_of(op: shared::op::Op) -> &'static str {
    op.call().map_or("exec", |call| call.name)
}

/// Names as code, in one cell.
fn cell<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" ")
}

/// A list of names in lines that are no longer than those of the prose.
fn lines<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut text = String::new();
    for name in names {
        let start = text.rfind('\n').map_or(0, |at| at + 1);
        let room = text.len() == start || text.len() - start + name.len() + 3 <= 120;
        text.push_str(if text.is_empty() || text.ends_with('\n') {
            ""
        } else if room {
            " "
        } else {
            "\n"
        });
        let _ = write!(text, "`{name}`");
    }
    text + "\n"
}

/// For each operation the calls that are seen as it, beside the one of its name.
fn calls_seen() -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    let mut calls: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for op in ops("all").iter().filter(|op| op.call().is_some()) {
        for seen in seen_as(op) {
            let others = calls.entry(name_of(seen)).or_default();
            if name_of(op) != name_of(seen) {
                others.insert(name_of(op));
            }
        }
    }
    calls
}

fn table(names: &[&str], calls: &BTreeMap<&str, BTreeSet<&str>>) -> String {
    let mut text = "| operation | hook | told | also these calls |\n|---|---|---|---|\n".to_owned();
    for name in names {
        let hooks = HOOKS.iter().filter(|hook| hook.calls.contains(name)).map(|hook| hook.name);
        let told = TOLD.iter().find(|(of, _)| of == name).map_or("", |(_, told)| told);
        let others = cell(calls.get(name).into_iter().flatten().copied());
        let row = format!("| `{name}` | {} | {told} | {others} |", cell(hooks));
        let _ = writeln!(text, "{}", row.replace("|  |", "| |").replace("|  |", "| |"));
    }
    text
}

/// The text of a page, with what stands between the marks replaced.
fn put(page: &str, mark: &str, text: &str) -> String {
    let (begin, end) = (format!("<!-- {mark} -->\n"), format!("<!-- end of {mark} -->"));
    let (before, rest) = page.split_once(&begin).expect(mark);
    let (_, after) = rest.split_once(&end).expect(mark);
    format!("{before}{begin}{text}{end}{after}")
}

#[test]
fn tables_are_what_the_code_says() {
    let calls = calls_seen();
    let of_hooks: BTreeSet<&str> = HOOKS.iter().flat_map(|hook| hook.calls).copied().collect();
    for (name, _) in TOLD {
        assert!(of_hooks.contains(name), "{name}");
    }
    let seed: BTreeSet<&str> = in_set(intf::SET_SEED).collect();
    let twenty: Vec<&str> = seed.iter().copied().filter(|name| of_hooks.contains(name)).collect();
    assert_eq!((seed.len(), twenty.len()), (20, 20), "each of the original's is an operation here");
    let by_capability: BTreeSet<&str> =
        HOOKS.iter().filter(|hook| hook.name == "capable").flat_map(|hook| hook.calls).copied().collect();
    let only_capable = |name: &str| {
        by_capability.contains(name) && HOOKS.iter().filter(|hook| hook.calls.contains(&name)).count() == 1
    };
    let (capable, others): (Vec<&str>, Vec<&str>) =
        of_hooks.iter().filter(|name| !seed.contains(*name)).partition(|name| only_capable(name));
    let by_function = BY_FUNCTION.iter().map(|(name, _)| *name);
    let absent: Vec<String> =
        HOOKS.iter().filter_map(|hook| Some(format!("- `{}`: {}.\n", hook.name, hook.optional?))).collect();

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/lsm.md");
    let page = std::fs::read_to_string(&path).expect("docs/lsm.md");
    let mut wanted = put(&page, "the original's twenty", &table(&twenty, &calls));
    wanted = put(&wanted, "the others", &table(&others, &calls));
    wanted = put(&wanted, "by capability", &lines(capable));
    wanted = put(&wanted, "by function", &lines(by_function));
    wanted = put(&wanted, "hooks that may be absent", &absent.concat());
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &wanted).expect("write docs/lsm.md");
    } else {
        assert!(page == wanted, "docs/lsm.md is old: UPDATE=1 cargo test -p shared --test lsm_doc writes it");
    }
}
