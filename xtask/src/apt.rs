//! Asks apt about a Debian suite that this machine does not use, without touching the machine's own state.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::hint::{hinted, program};

/// Some suites, and where they are archived.
pub struct Suites {
    /// Of the main archive.
    pub main: &'static [&'static str],
    /// Of the security archive.
    pub security: &'static [&'static str],
}

/// What apt knows of some suites.
pub struct Apt {
    state: TempDir,
}

impl Apt {
    /// Reads the lists of these suites.
    pub fn update(suites: &Suites) -> Result<Self> {
        let state = tempfile::tempdir().context("cannot make a folder for apt")?;
        for folder in ["lists/partial", "archives/partial"] {
            fs::create_dir_all(state.path().join(folder)).context("cannot make a folder for apt")?;
        }
        fs::write(state.path().join("status"), "")?;
        fs::write(state.path().join("sources.list"), sources(suites)?)?;
        let apt = Self { state };
        apt.run("apt-get", &["-qq", "update"], Path::new("/"))
            .with_context(|| format!("cannot read the lists of Debian {}", suites.main.join(", ")))?;
        Ok(apt)
    }

    /// The names of all packages that begin like this.
    pub fn names(&self, prefix: &str) -> Result<Vec<String>> {
        let output = self.run("apt-cache", &["pkgnames", prefix], Path::new("/"))?;
        Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
    }

    /// Downloads packages into a folder.
    pub fn download(&self, packages: &[String], folder: &Path) -> Result<()> {
        let words: Vec<&str> =
            ["-qq", "download"].into_iter().chain(packages.iter().map(String::as_str)).collect();
        self.run("apt-get", &words, folder)?;
        Ok(())
    }

    fn run(&self, name: &str, words: &[&str], folder: &Path) -> Result<Output> {
        let state = self.state.path().display();
        let output = Command::new(program(name)?)
            .args(["-o", "Debug::NoLocking=1", "-o", "APT::Sandbox::User=", "-o", "Acquire::Languages=none"])
            .args(["-o", "APT::Architecture=amd64", "-o", "APT::Architectures::=amd64"])
            .args(["-o", "Dir::Etc::sourceparts=/dev/null"])
            .arg(format!("-oDir::Etc::sourcelist={state}/sources.list"))
            .arg(format!("-oDir::State={state}"))
            .arg(format!("-oDir::State::lists={state}/lists"))
            .arg(format!("-oDir::State::status={state}/status"))
            .arg(format!("-oDir::Cache={state}"))
            .arg(format!("-oDir::Cache::archives={state}/archives"))
            .args(words)
            .current_dir(folder)
            .output()
            .with_context(|| format!("cannot run {name}"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{name} {} failed: {}", words.join(" "), said.trim());
        Ok(output)
    }
}

fn sources(suites: &Suites) -> Result<String> {
    let archives = archives();
    let main = archives.iter().find(|uri| !uri.contains("security"));
    let Some(main) = main else {
        bail!(hinted(
            "no Debian archive in /etc/apt",
            "name one in /etc/apt/sources.list: the kernels are Debian's"
        ));
    };
    let security = archives
        .iter()
        .find(|uri| uri.contains("security"))
        .cloned()
        .unwrap_or_else(|| format!("{}-security", main.trim_end_matches('/')));
    let all = suites.main.iter().map(|suite| (main, suite));
    let all = all.chain(suites.security.iter().map(|suite| (&security, suite)));
    Ok(all.map(|(uri, suite)| format!("deb {uri} {suite} main")).collect::<Vec<_>>().join("\n") + "\n")
}

/// The archives that this machine uses.
fn archives() -> Vec<String> {
    let mut files = vec!["/etc/apt/sources.list".into()];
    let parts = fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten();
    files.extend(parts.map(|entry| entry.path()));
    let texts = files.iter().filter(|file| {
        file.extension().is_some_and(|extension| extension == "list" || extension == "sources")
    });
    texts.filter_map(|file| fs::read_to_string(file).ok()).flat_map(|text| uris(&text)).collect()
}

/// The addresses in a file of either form; Debian's own, as those of others have no kernels.
fn uris(text: &str) -> Vec<String> {
    let of_line = |line: &str| -> Vec<String> {
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            Some("URIs:") => words.map(str::to_owned).collect(),
            Some("deb") => words.find(|word| word.contains(":/")).map(str::to_owned).into_iter().collect(),
            _ => Vec::new(),
        }
    };
    let all = text.lines().flat_map(of_line);
    all.filter(|uri| uri.trim_end_matches('/').rsplit('/').next().is_some_and(|n| n.starts_with("debian")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::uris;

    #[test]
    fn both_forms_of_source_files_are_read() {
        let text = "Types: deb\nURIs: http://a.example/debian http://b.example/debian-security/\nSuites: x\n";
        assert_eq!(uris(text), ["http://a.example/debian", "http://b.example/debian-security/"]);
        let text = "# deb http://no.example/debian x main\ndeb [signed-by=/k] http://a.example/debian x main\n\
                    deb-src http://s.example/debian x main\ndeb http://other.example/node x main\n";
        assert_eq!(uris(text), ["http://a.example/debian"]);
    }
}
