use super::*;

fn around(release: &str, lockdown: Option<&str>, lsms: Option<&str>) -> Surroundings {
    Surroundings {
        release: release.into(),
        securityfs: lsms.is_some(),
        lockdown: lockdown.map(Into::into),
        lsms: lsms.map(Into::into),
        lsm_programs: true,
    }
}

fn refused(error: &str, not_permitted: bool) -> Found {
    Found::Refused(Refusal { step: "load", error: error.into(), not_permitted })
}

fn not_permitted() -> Found {
    refused("Operation not permitted", true)
}

fn all_work() -> Findings {
    Findings {
        base: Found::Works,
        signal: Found::Works,
        write: Found::Works,
        lsm_hook: Found::Works,
        security_function: Found::NotTried,
    }
}

/// Why it fails, and the hint.
fn fails(verdict: &Verdict) -> (&str, &str) {
    match verdict {
        Verdict::Fails(reason) => (&reason.why, &reason.hint),
        other => panic!("it works: {other:?}"),
    }
}

const LIST: &str = "capability,landlock,lockdown,yama";

#[test]
fn the_selected_word_is_in_brackets() {
    assert_eq!(selected("none [integrity] confidentiality\n"), "integrity");
    assert_eq!(selected(""), "unknown");
}

#[test]
fn the_boot_parameter_keeps_what_is_active() {
    assert_eq!(boot_parameter(LIST), "lsm=landlock,lockdown,yama,bpf");
    assert_eq!(boot_parameter(""), "lsm=bpf");
    assert_eq!(around("6.1.0", None, Some("capability,yama,bpf")).lsm_parameter(), "lsm=capability,yama,bpf");
}

#[test]
fn bpf_is_a_whole_name_in_the_list() {
    assert!(lists_bpf("lockdown,bpf"));
    assert!(!lists_bpf("lockdown,nobpf"));
}

#[test]
fn the_version_is_two_numbers() {
    assert_eq!(around("6.12.117+deb12-amd64", None, None).version(), (6, 12));
    assert_eq!(around("7.3-rc1", None, None).version(), (7, 3));
    assert_eq!(around("", None, None).version(), (0, 0));
}

#[test]
fn an_error_is_told_by_its_root() {
    use libbpf_rs::ErrorExt;
    let error = libbpf_rs::Error::from_raw_os_error(libc::EPERM).context("failed to load an object");
    let told = Refusal::new("load", &error);
    assert!(told.not_permitted);
    assert!(told.error.starts_with("Operation not permitted"), "{told:?}");
}

#[test]
fn all_can_work() {
    let verdicts = judge(&all_work(), &around("6.1.0", Some("none"), Some("lockdown,bpf")));
    assert!(verdicts.iter().all(|v| matches!(v, Verdict::Works(_))), "{verdicts:?}");
}

#[test]
fn an_old_kernel_is_told_what_it_lacks() {
    let found = Findings { base: refused("Invalid argument", false), ..all_work() };
    for verdict in judge(&found, &around("5.10.0-46-amd64", None, Some(LIST))) {
        let (why, hint) = fails(&verdict);
        assert_eq!(why, "Linux 5.10 has no task storage for programs at the system calls");
        assert_eq!(hint, "boot Linux 6.1 or later");
    }
    let newer = judge(&found, &around("5.15.0", None, Some(LIST)));
    assert!(fails(&newer[0]).0.starts_with("Linux 5.15 is too old: "));
}

#[test]
fn confidentiality_forbids_everything() {
    let found = Findings { base: refused("Invalid argument", false), ..all_work() };
    let verdicts = judge(&found, &around("6.1.0", Some("confidentiality"), Some(LIST)));
    assert!(fails(&verdicts[3]).1.contains("without lockdown=confidentiality"));
    let unread = judge(&found, &around("6.1.0", None, None));
    assert!(fails(&unread[0]).1.starts_with("mount -t securityfs"));
}

#[test]
fn rewriting_is_told_with_the_lockdown_mode() {
    let found = Findings { write: refused("Invalid argument", false), ..all_work() };
    let why = |lockdown, lsms| {
        let verdicts = judge(&found, &around("6.1.0", lockdown, lsms));
        let (why, hint) = fails(&verdicts[2]);
        assert!(hint.contains("phase2-kernel-kill"));
        assert_eq!(verdicts.iter().filter(|v| matches!(v, Verdict::Works(_))).count(), 3);
        (why.to_owned(), hint.to_owned())
    };
    let (told, hint) = why(Some("integrity"), Some(LIST));
    assert!(told.starts_with("lockdown is integrity: "), "{told}");
    assert!(hint.starts_with("boot without lockdown=integrity"), "{hint}");
    let (told, hint) = why(None, None);
    assert!(told.contains("securityfs is not mounted"), "{told}");
    assert!(hint.starts_with("mount -t securityfs"), "{hint}");
    assert!(why(Some("none"), Some(LIST)).0.contains("another policy"));
    assert!(why(None, Some(LIST)).0.contains("no lockdown"));
}

#[test]
fn rewriting_kills_too() {
    let found = Findings { signal: Found::NoEffect, ..all_work() };
    let verdicts = judge(&found, &around("6.1.0", Some("none"), Some(LIST)));
    assert!(fails(&verdicts[1]).0.contains("bpf_send_signal"));
    assert!(fails(&verdicts[2]).0.contains("bpf_send_signal"));
}

#[test]
fn a_hook_that_never_runs_is_told_with_the_boot_parameter() {
    let state = judge_lsm(&Found::NeverRuns, &not_permitted(), &around("6.1.0", None, Some(LIST)));
    let LsmState::NeverRuns(reason) = state else { panic!("{state:?}") };
    assert!(reason.why.contains("never runs: bpf is not among the active LSMs"), "{reason:?}");
    assert!(reason.why.contains("fmod_ret/security_* is refused at load: Operation not"), "{reason:?}");
    assert_eq!(reason.hint, "boot with lsm=landlock,lockdown,yama,bpf");
    let unread = judge_lsm(&Found::NeverRuns, &Found::NeverRuns, &around("6.1.0", None, None));
    let LsmState::NeverRuns(reason) = unread else { panic!("{unread:?}") };
    assert!(reason.hint.starts_with("mount -t securityfs"), "{reason:?}");
}

#[test]
fn the_fallback_counts_and_says_what_is_better() {
    let found = Findings { lsm_hook: Found::NeverRuns, security_function: Found::Works, ..all_work() };
    let verdicts = judge(&found, &around("6.1.0", None, Some(LIST)));
    let Verdict::WorksLess(reason) = &verdicts[3] else { panic!("{verdicts:?}") };
    assert!(reason.why.starts_with("through fmod_ret/security_*"), "{reason:?}");
    assert_eq!(reason.hint, "boot with lsm=landlock,lockdown,yama,bpf");
}

#[test]
fn a_refused_hook_is_a_policy_or_a_kernel_option() {
    let mut around = around("6.1.0", None, Some(LIST));
    let told = |around: &Surroundings| match judge_lsm(&not_permitted(), &not_permitted(), around) {
        LsmState::Refused(reason) => reason,
        other => panic!("{other:?}"),
    };
    assert!(told(&around).why.contains("a policy of this machine forbids them"));
    around.lsm_programs = false;
    assert!(told(&around).hint.contains("CONFIG_BPF_LSM"));
}
