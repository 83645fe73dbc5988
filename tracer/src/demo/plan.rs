//! `demo/requests.json`: what is asked of the application, and how an attack's success shows.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// The whole file.
#[derive(Debug, Deserialize)]
pub struct Plan {
    /// To be made below the data directory.
    pub directories: Vec<String>,
    /// Content of the file that the application never reads.
    pub secret_text: String,
    /// Played in order.
    pub honest: Vec<Request>,
    /// Each on its own.
    pub attacks: Vec<Attack>,
}

/// One request, sent `repeat` times.
#[derive(Debug, Deserialize)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub headers: BTreeMap<String, String>,
    pub body: String,
    /// Of the answer where nothing is enforced.
    pub status: u16,
    /// Somewhere in the answer's body.
    pub contains: String,
    #[serde(default)]
    pub wait_ms: u64,
    #[serde(default = "once")]
    pub repeat: u32,
}

fn once() -> u32 {
    1
}

/// Requests whose last one does what the profile does not allow.
#[derive(Debug, Deserialize)]
pub struct Attack {
    /// What it is, in a few words.
    pub title: String,
    /// How often it tries.
    pub attempts: u64,
    /// The function does the same for honest reasons: a profile by function lets it.
    pub in_profile: bool,
    pub requests: Vec<Request>,
    pub effect: Effect,
    /// Files to be removed afterwards.
    pub leaves: Vec<String>,
}

/// What can be seen afterwards.
#[derive(Debug, Deserialize)]
pub struct Effect {
    pub kind: EffectKind,
    #[serde(default)]
    pub path: String,
    #[serde(default)]
    pub text: String,
    pub count: u32,
}

/// Where it is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EffectKind {
    FileDeleted,
    FileCreated,
    AnswerContains,
    SinkReceived,
}

/// What the placeholders stand for.
#[derive(Debug, Clone)]
pub struct Places {
    pub data: PathBuf,
    pub secret: PathBuf,
    pub port: u16,
}

impl Places {
    /// `text` with its placeholders replaced; other braces stay.
    pub fn fill(&self, text: &str, n: u32) -> String {
        text.replace("{data}", &self.data.to_string_lossy())
            .replace("{secret}", &self.secret.to_string_lossy())
            .replace("{port}", &self.port.to_string())
            .replace("{n}", &n.to_string())
    }
}

impl Effect {
    /// The files whose fate tells.
    pub fn paths(&self, places: &Places) -> Vec<PathBuf> {
        match self.kind {
            EffectKind::FileDeleted | EffectKind::FileCreated => {
                (1..=self.count).map(|n| places.fill(&self.path, n).into()).collect()
            }
            EffectKind::AnswerContains | EffectKind::SinkReceived => Vec::new(),
        }
    }

    /// How many attempts had their effect.
    pub fn count(&self, places: &Places, answers: &[Vec<u8>], sink: &[String]) -> u64 {
        let texts = (1..=self.count).map(|n| places.fill(&self.text, n));
        let done = match self.kind {
            EffectKind::FileDeleted => self.paths(places).iter().filter(|p| !p.exists()).count(),
            EffectKind::FileCreated => self.paths(places).iter().filter(|p| p.exists()).count(),
            EffectKind::AnswerContains => {
                let text = places.fill(&self.text, 1);
                answers.iter().filter(|a| contains(a, text.as_bytes())).count()
            }
            EffectKind::SinkReceived => {
                texts.filter(|text| sink.iter().any(|line| line.contains(text))).count()
            }
        };
        done as u64
    }
}

/// Whether `part` is somewhere in `whole`.
pub fn contains(whole: &[u8], part: &[u8]) -> bool {
    part.is_empty() || whole.windows(part.len()).any(|w| w == part)
}

/// Makes the data directories and the secret, owned as they must be.
pub fn prepare(plan: &Plan, places: &Places, user: &nix::unistd::User) -> std::io::Result<()> {
    let own = |path: &Path| std::os::unix::fs::chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw()));
    std::fs::create_dir(&places.data)?;
    own(&places.data)?;
    for below in &plan.directories {
        let mut path = places.data.clone();
        for part in Path::new(below) {
            path.push(part);
            if !path.exists() {
                std::fs::create_dir(&path)?;
                own(&path)?;
            }
        }
    }
    std::fs::write(&places.secret, &plan.secret_text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bundled_plan_is_understood() {
        let plan: Plan = serde_json::from_str(crate::demo::bundle::REQUESTS).unwrap();
        assert!(plan.honest.len() >= 20 && plan.attacks.len() >= 4);
        assert!(plan.attacks.iter().all(|a| a.attempts > 0 && !a.requests.is_empty()));
        assert!(plan.attacks.iter().any(|a| a.in_profile), "the limit is shown, too");
    }

    #[test]
    fn placeholders_are_replaced_and_other_braces_stay() {
        let places = Places { data: "/d".into(), secret: "/s".into(), port: 7 };
        assert_eq!(places.fill("{data}/{n} {secret} {port} a:1:{s:1}", 3), "/d/3 /s 7 a:1:{s:1}");
    }

    #[test]
    fn effects_are_counted_by_what_is_there() {
        let places = Places { data: "/nowhere".into(), secret: "/s".into(), port: 7 };
        let effect =
            |kind, text: &str| Effect { kind, path: "{data}/{n}".into(), text: text.into(), count: 3 };
        assert_eq!(effect(EffectKind::FileDeleted, "").count(&places, &[], &[]), 3);
        assert_eq!(effect(EffectKind::FileCreated, "").count(&places, &[], &[]), 0);
        let answers = [b"a secret!".to_vec(), b"none".to_vec()];
        assert_eq!(effect(EffectKind::AnswerContains, "secret").count(&places, &answers, &[]), 1);
        let sink = ["EHLO stolen-1.".to_owned(), "EHLO stolen-3.".to_owned()];
        assert_eq!(effect(EffectKind::SinkReceived, "stolen-{n}.").count(&places, &[], &sink), 2);
    }
}
