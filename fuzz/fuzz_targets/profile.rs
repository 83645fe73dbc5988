//! Profile files that lie. Each input is read as a profile; of one that is taken, everything is made that goes into
//! the kernel's maps, and every bound is looked at that the kernel side relies on.
#![no_main]

use std::collections::HashSet;
use std::hash::Hash;

use libfuzzer_sys::fuzz_target;
use sha2::{Digest as _, Sha256};
use shared::intf;
use shared::policy::table::{Tables, op_info};
use shared::policy::{ArgsView, Policy, Verdict};
use shared::profile::{Profile, View};
use shared::site::{Name, Site};

const HEADER: usize = 52;
const GENERATION: u32 = 7;

fuzz_target!(|input: &[u8]| {
    read(input);
    // No mutation would ever find the right checksum.
    if let Some(sealed) = sealed(input) {
        read(&sealed);
    }
});

/// With the length and the checksum of its payload.
fn sealed(input: &[u8]) -> Option<Vec<u8>> {
    let (header, payload) = input.split_at_checked(HEADER)?;
    let length = (payload.len() as u64).to_le_bytes();
    Some([&header[..12], &length, Sha256::digest(payload).as_slice(), payload].concat())
}

fn read(bytes: &[u8]) {
    match Profile::from_bytes(bytes) {
        Ok(profile) => look_at(&profile),
        Err(error) => assert_for_people(&error.to_string(), &error.hint()),
    }
}

/// It is shown on a terminal.
fn assert_for_people(message: &str, hint: &str) {
    assert!(!hint.is_empty(), "no hint: {message:?}");
    assert!(!message.chars().chain(hint.chars()).any(char::is_control), "not escaped: {message:?}, {hint:?}");
}

fn look_at(profile: &Profile) {
    profile.check().expect("what was read was checked");
    assert_eq!(&Profile::from_bytes(&profile.to_bytes()).expect("what is written is read"), profile);
    assert_eq!(&Profile::from_json(profile.to_json().as_bytes()).expect("what is written is read"), profile);
    if let Err(error) = profile.check_php("8.4.1", false) {
        assert_for_people(&error.to_string(), &error.hint());
    }
    let mut merged = profile.clone();
    if merged.merge(profile.clone()).is_ok() {
        merged.check().expect("what was merged was checked");
    }
    for grant in &profile.grants {
        assert_no_control(&grant.key().to_string());
    }

    let policy = Policy::new(profile);
    assert_fails_closed(profile, &policy);
    let own = [Name::from("/run/php-tracer.sock")];
    match Tables::new(&policy, [1, 2], GENERATION, &own) {
        Ok(tables) => look_at_tables(profile, &tables),
        Err(error) => assert_for_people(&error.to_string(), &error.hint()),
    }
}

fn assert_no_control(text: &str) {
    assert!(!text.chars().any(char::is_control), "not escaped: {text:?}");
}

/// Whatever is granted, it is granted to nobody who could not be told.
fn assert_fails_closed(profile: &Profile, policy: &Policy) {
    let odd = ["", "a.php", "app:a.php", "phar:///srv/a.php", "vfs:///srv/a.php", "/srv/../a.php"];
    let nobody: Vec<Site> = odd.into_iter().map(Site::main).chain([Site::unknown()]).collect();
    for grant in &profile.grants {
        let args = ArgsView { path: Some(b"/tmp/a"), path2: Some(b"/tmp/a"), exe: Some(b"/tmp/a") };
        for site in &nobody {
            let verdict = policy.site(site).decide(grant.operation, &args);
            assert_ne!(verdict, Verdict::Allowed, "{site:?}: {}", grant.operation);
        }
    }
    for file in odd {
        assert!(!policy.knows_file(file.as_bytes()), "{file}");
    }
}

fn keys<K: Copy + Eq + Hash, V>(entries: &[(K, V)]) -> HashSet<K> {
    let keys: HashSet<K> = entries.iter().map(|(key, _)| *key).collect();
    assert_eq!(keys.len(), entries.len(), "a key is there twice");
    keys
}

fn look_at_tables(profile: &Profile, tables: &Tables) {
    let policies = keys(&tables.policies);
    let rules = keys(&tables.rules);
    keys(&tables.nodes);
    let states = tables.automaton.len();
    assert!(states <= intf::AUTOMATON_STATES_MAX as usize);
    let is_state = |state: u16| assert!(usize::from(state) < states, "no state {state}");

    is_state(tables.head.names);
    is_state(tables.head.once);
    for row in &tables.automaton {
        row.next.into_iter().for_each(is_state);
        for way in row.roots {
            assert!(usize::from(way.root) <= profile.roots.len());
        }
        if row.generated != 0 {
            let id = intf::hash128 { lo: row.generated.into(), hi: 0 };
            assert!(policies.iter().any(|k| k.kind == intf::POLICY_GENERATED as u16 && k.id == id));
        }
    }

    let info = op_info();
    let index = |op: usize| usize::from(info[op]) & intf::OP_INDEX as usize;
    let op_of: Vec<Option<u32>> = {
        let mut ops = vec![None; intf::OP_BITS as usize + 1];
        (0..info.len()).filter(|op| index(*op) != 0).for_each(|op| ops[index(op)] = Some(op as u32));
        ops
    };
    let bits = |words: &[u64]| -> Vec<usize> {
        (0..words.len() * 64).filter(|bit| words[bit / 64] >> (bit % 64) & 1 != 0).collect()
    };
    let nodes = tables.nodes.len() as u32;
    for (key, policy) in &tables.policies {
        assert_eq!(key.generation, GENERATION);
        assert!(key.node <= nodes);
        for bit in bits(&policy.allowed).into_iter().chain(bits(&policy.asking)) {
            let op = op_of[bit + 1].expect("the bit of an operation");
            let nr = op >> intf::CLASS_BITS;
            assert!(
                nr != 321 && !(profile.view == View::Syscall && (425..=427).contains(&nr)),
                "granted: {nr}"
            );
        }
        let owners: Vec<u32> = policy.owners.into_iter().filter(|owner| *owner != 0).collect();
        for bit in bits(&policy.asking) {
            let of_op = |owner: &u32| intf::rule_key {
                generation: GENERATION,
                owner: *owner,
                op: op_of[bit + 1].expect("the bit of an operation"),
                ..Default::default()
            };
            assert!(owners.iter().any(|owner| rules.contains(&of_op(owner))), "rules that are not there");
        }
    }
    for (_, of_op) in &tables.rules {
        assert!((1..=intf::RULES_MAX).contains(&of_op.n));
        for rule in &of_op.rule[..of_op.n as usize] {
            rule.paths.into_iter().for_each(is_state);
        }
    }
    for (key, to) in &tables.nodes {
        assert!(key.node < *to && *to <= nodes, "from {} to {to} of {nodes}", key.node);
    }
}
