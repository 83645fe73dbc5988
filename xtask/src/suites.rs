//! THE list of what is tested under other kernels. A suite is a line.

use anyhow::{Result, bail};

use crate::hint::hinted;

/// A test binary, and how it is run.
#[derive(Clone, Copy)]
pub struct Suite {
    /// Its name in the table, and for --suite.
    pub title: &'static str,
    /// The package and the test that cargo builds.
    pub test: (&'static str, &'static str),
    /// The program under test, for `$TRACER`.
    pub tracer: Option<&'static str>,
    /// More environment.
    pub environment: &'static [(&'static str, &'static str)],
    /// How long it may take, with a processor that is emulated: seconds.
    pub seconds: u64,
    /// More words for the kernel's command line.
    pub append: &'static str,
    /// Whether it is for kernels that are too old, and for no others.
    too_old: bool,
}

const PHASE1: Option<&str> = Some("phase1-user-kill");
const PHASE2: Option<&str> = Some("phase2-kernel-kill");
const PHASE3: Option<&str> = Some("phase3-lsm");
const NONE: &[(&str, &str)] = &[];
/// Each decision of the kernel side is judged once more in user space.
const CROSS: &[(&str, &str)] = &[("CROSS_CHECK", "1")];
/// With `--lsm`, for a test binary that knows both.
const AT_HOOKS: &[(&str, &str)] = &[("LSM", "1")];

/// All of them.
pub const SUITES: &[Suite] = &[
    suite("too-old", ("e2e", "cli"), PHASE1, NONE, 900).too_old(),
    suite("phase1-cli", ("e2e", "cli"), PHASE1, NONE, 3600),
    suite("phase1-fpm", ("e2e", "fpm"), PHASE1, NONE, 3600),
    suite("phase1-service", ("e2e", "service"), PHASE1, NONE, 900),
    suite("phase1-versions", ("e2e", "versions"), PHASE1, NONE, 1800),
    suite("phase2-cli", ("e2e", "cli"), PHASE2, CROSS, 3600),
    suite("phase2-fpm", ("e2e", "fpm"), PHASE2, CROSS, 3600),
    suite("phase2-service", ("e2e", "service"), PHASE2, CROSS, 900),
    suite("phase2-versions", ("e2e", "versions"), PHASE2, CROSS, 1800),
    suite("phase1-application", ("e2e", "application"), PHASE1, NONE, 3600),
    suite("phase2-application", ("e2e", "application"), PHASE2, CROSS, 3600),
    suite("phase3-rewrite-application", ("e2e", "application"), PHASE3, NONE, 3600),
    suite("phase3-lsm-application", ("e2e", "application"), PHASE3, AT_HOOKS, 3600),
    suite("phase2-kill", ("e2e", "kill"), PHASE2, NONE, 3600),
    suite("phase1-bypass", ("e2e", "bypass"), PHASE1, NONE, 1800),
    suite("phase2-bypass", ("e2e", "bypass"), PHASE2, NONE, 1800),
    suite("phase3-rewrite-bypass", ("e2e", "bypass"), PHASE3, NONE, 3600),
    suite("phase3-lsm-bypass", ("e2e", "bypass"), PHASE3, AT_HOOKS, 3600),
    suite("phase3-rewrite", ("e2e", "rewrite"), PHASE3, NONE, 3600),
    suite("phase3-rewrite-preempt", ("e2e", "rewrite"), PHASE3, NONE, 900).under("preempt=full"),
    suite("phase3-lsm", ("e2e", "lsm"), PHASE3, NONE, 3600),
    suite("phase3-lsm-preempt", ("e2e", "lsm"), PHASE3, NONE, 1800).under("preempt=full"),
    suite("phase3-lsm-without-bpf", ("e2e", "lsm"), PHASE3, NONE, 1800).under("lsm=landlock,lockdown,yama"),
];

const fn suite(
    title: &'static str,
    test: (&'static str, &'static str),
    tracer: Option<&'static str>,
    environment: &'static [(&'static str, &'static str)],
    seconds: u64,
) -> Suite {
    Suite { title, test, tracer, environment, seconds, append: "", too_old: false }
}

impl Suite {
    /// With these words on the kernel's command line.
    const fn under(mut self, append: &'static str) -> Self {
        self.append = append;
        self
    }

    /// Where nothing works.
    const fn too_old(mut self) -> Self {
        self.too_old = true;
        self
    }

    /// Whether there is something for it to test under this kernel.
    pub fn is_for(&self, version: &str) -> bool {
        let mut numbers = version.split(['.', '-']).map_while(|number| number.parse::<u32>().ok());
        self.too_old == ((numbers.next(), numbers.next()) < (Some(6), Some(1)))
    }
}

/// The suites with these titles or test binaries; all, where none is named.
pub fn named(names: &[String]) -> Result<Vec<Suite>> {
    let is = |suite: &Suite, name: &String| suite.title == name || suite.test.1 == name;
    if let Some(unknown) = names.iter().find(|name| !SUITES.iter().any(|suite| is(suite, name))) {
        bail!(hinted(format!("no suite `{unknown}`"), "`test-kernels --list` lists them"));
    }
    let wanted = |suite: &&Suite| names.is_empty() || names.iter().any(|name| is(suite, name));
    Ok(SUITES.iter().filter(wanted).copied().collect())
}

#[cfg(test)]
mod tests {
    use super::{SUITES, named};

    #[test]
    fn a_suite_is_named_by_its_title_or_its_test_binary() {
        let titles = |names: &[&str]| -> Vec<&str> {
            let names: Vec<_> = names.iter().map(ToString::to_string).collect();
            named(&names).unwrap().iter().map(|suite| suite.title).collect()
        };
        assert_eq!(titles(&["phase2-kill"]), ["phase2-kill"]);
        assert_eq!(titles(&["cli"]), ["too-old", "phase1-cli", "phase2-cli"]);
        assert_eq!(titles(&[]).len(), SUITES.len());
        assert!(named(&["nothing".into()]).is_err());
    }

    #[test]
    fn kernels_that_are_too_old_have_a_suite_of_their_own() {
        let [too_old, cli] = ["too-old", "phase1-cli"].map(|title| named(&[title.into()]).unwrap()[0]);
        assert!(too_old.is_for("5.10.0-46-amd64") && !cli.is_for("5.10.0-46-amd64"));
        assert!(!too_old.is_for("6.1.0-56-amd64") && cli.is_for("6.1.0-56-amd64"));
        assert!(cli.is_for("7.3.4+deb13-amd64"));
    }

    #[test]
    fn titles_are_different() {
        for (number, suite) in SUITES.iter().enumerate() {
            assert!(SUITES[..number].iter().all(|other| other.title != suite.title), "{}", suite.title);
        }
    }
}
