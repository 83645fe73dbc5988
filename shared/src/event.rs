//! How something is told: one JSON object a line, or one line for people.

use std::fmt::{self, Write as _};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::op::{Args, Op};
use crate::policy::Reason;
use crate::profile::{GrantKey, View};
use crate::site::{Name, OriginEntry, Site, SiteKind, escape, json_escaped, text};

/// The version of events.
pub const VERSION: u32 = 1;

/// Sites of a chain that an event shows.
pub const CHAIN_MAX: usize = crate::intf::CHAIN_MAX as usize;

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A call that nothing allows.
    Violation,
    /// A call, while learning.
    Observed,
    /// Records that were lost.
    Lost,
    /// An identity that may be forged.
    Taint,
    /// Anything else that a person may want to know.
    Notice,
    /// A kind that this version does not know.
    #[serde(other)]
    Other,
}

/// What was done about a violation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It was only told.
    Logged,
    /// The task was killed.
    Killed,
    /// The call returned an error.
    Denied,
    /// The argument was overwritten.
    Rewritten,
    /// It should have been stopped and was not; `cause` says why.
    Missed,
    /// An action that this version does not know.
    #[serde(other)]
    Other,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Logged => "logged",
            Self::Killed => "killed",
            Self::Denied => "denied",
            Self::Rewritten => "rewritten",
            Self::Missed => "missed",
            Self::Other => "other",
        })
    }
}

/// Whether the call did what it was made for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// It did: it was let through.
    Yes,
    /// It did not.
    No,
    /// Its end was not seen.
    #[default]
    #[serde(other)]
    NotSeen,
}

/// A site in an event: names as text, for people and filters. The exact bytes
/// are in `grant`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventSite {
    /// Where the code is; for internal, engine, master and unknown null.
    #[serde(default)]
    pub file: Option<String>,
    /// The class, where there is one.
    #[serde(default)]
    pub class: Option<String>,
    /// The function; for engine the phase.
    #[serde(default)]
    pub function: Option<String>,
    /// The line; null where it is not known.
    #[serde(default)]
    pub line: Option<u32>,
    /// What it is.
    pub kind: SiteKind,
}

impl EventSite {
    /// `line` 0 is not known.
    pub fn new(site: &Site, line: u32) -> Self {
        let shown = |name: &Option<crate::site::Name>| name.as_ref().map(|name| text(name));
        Self {
            file: shown(&site.file),
            class: shown(&site.class),
            function: shown(&site.function),
            line: (line != 0).then_some(line),
            kind: site.kind,
        }
    }

    fn site(&self) -> Site {
        let name = |text: &Option<String>| text.as_deref().map(crate::site::Name::from);
        Site {
            kind: self.kind,
            file: name(&self.file),
            class: name(&self.class),
            function: name(&self.function),
        }
    }
}

/// Escaped: `Uploader::cleanup() at /srv/app/upload.php:42`.
impl fmt::Display for EventSite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.site())?;
        match (&self.file, self.line) {
            (Some(file), Some(line)) => write!(f, " at {}:{line}", escape(file.as_bytes())),
            (Some(file), None) => write!(f, " at {}", escape(file.as_bytes())),
            (None, _) => Ok(()),
        }
    }
}

/// One step of an origin in an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventOrigin {
    /// The site at the fork.
    pub site: EventSite,
    /// The internal function that made the call.
    #[serde(default)]
    pub sink: Option<String>,
}

impl From<&OriginEntry> for EventOrigin {
    fn from(entry: &OriginEntry) -> Self {
        Self { site: EventSite::new(&entry.site, 0), sink: entry.sink.as_ref().map(|sink| text(sink)) }
    }
}

/// One event. What does not apply is null; readers ignore what they do not know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// [`VERSION`]
    pub v: u32,
    /// When, in UTC, to the nanosecond.
    #[serde(with = "nanoseconds")]
    pub ts: Timestamp,
    /// What it is about.
    pub kind: Kind,
    /// This machine's name.
    #[serde(default)]
    pub host: String,
    /// Which run of the tracer.
    #[serde(default)]
    pub session: String,
    /// Checksum of the profile.
    #[serde(default)]
    pub profile: Option<String>,
    /// `profile`, `monitor` or `sandbox`.
    #[serde(default)]
    pub mode: String,
    /// `user-kill`, `kernel-kill`, `rewrite` or `lsm`.
    #[serde(default)]
    pub strategy: String,
    /// The process, in the initial pid namespace.
    #[serde(default)]
    pub pid: u32,
    /// The thread.
    #[serde(default)]
    pub tid: u32,
    /// The parent process.
    #[serde(default)]
    pub ppid: u32,
    /// The process in its own pid namespace.
    #[serde(default)]
    pub nspid: u32,
    /// Start time of the process: nanoseconds since boot.
    #[serde(default)]
    pub start: u64,
    /// The user.
    #[serde(default)]
    pub uid: u32,
    /// The name of the task.
    #[serde(default)]
    pub comm: String,
    /// The executable.
    #[serde(default)]
    pub exe: Option<String>,
    /// The control group.
    #[serde(default)]
    pub cgroup: Option<String>,
    /// The request's main script.
    #[serde(default)]
    pub script: Option<String>,
    /// Where the operation was seen.
    #[serde(default)]
    pub view: Option<View>,
    /// `openat:create`
    #[serde(default)]
    pub operation: Option<String>,
    /// The number of the call.
    #[serde(default)]
    pub nr: Option<u32>,
    /// Its arguments.
    #[serde(default)]
    pub args: Args,
    /// On whose behalf; null in another program.
    #[serde(default)]
    pub site: Option<EventSite>,
    /// The internal function that made the call.
    #[serde(default)]
    pub sink: Option<String>,
    /// Where a descendant comes from, oldest first.
    #[serde(default)]
    pub origin: Vec<EventOrigin>,
    /// Sites, innermost first.
    #[serde(default)]
    pub chain: Vec<EventSite>,
    /// All frames, innermost first: also internal functions and trampolines.
    #[serde(default)]
    pub frames: Vec<EventSite>,
    /// The complete key that would allow it; null where no grant could.
    #[serde(default)]
    pub grant: Option<GrantKey>,
    /// Of `unknown-context`: the file that the profile would have to list; not there where nothing could.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown_file: Option<Name>,
    /// `allowed` or `violation`.
    #[serde(default)]
    pub verdict: Option<String>,
    /// Why it is a violation.
    #[serde(default)]
    pub reason: Option<Reason>,
    /// What was done about it.
    #[serde(default)]
    pub action: Option<Action>,
    /// Of a taint: `request` or `pool`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// Why it was missed, what made a taint, or what a notice says.
    #[serde(default)]
    pub cause: Option<String>,
    /// What the call returned.
    #[serde(default)]
    pub ret: Option<i64>,
    /// Whether it did what it was made for.
    #[serde(default)]
    pub effect: Option<Effect>,
    /// How many it stands for.
    #[serde(default = "one")]
    pub count: u64,
}

/// Arguments that are texts.
pub fn args(texts: impl Iterator<Item = (&'static str, String)>) -> Args {
    Args(texts.map(|(name, text)| (name.to_owned(), text.into())).collect())
}

fn one() -> u64 {
    1
}

/// RFC 3339 with all nine digits.
mod nanoseconds {
    use jiff::Timestamp;
    use serde::{Deserialize as _, Deserializer, Serializer, de};

    pub fn serialize<S: Serializer>(ts: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{ts:.9}"))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl Event {
    /// An event of that kind about nothing yet.
    pub fn new(kind: Kind, ts: Timestamp) -> Self {
        Self {
            v: VERSION,
            ts,
            kind,
            host: String::new(),
            session: String::new(),
            profile: None,
            mode: String::new(),
            strategy: String::new(),
            pid: 0,
            tid: 0,
            ppid: 0,
            nspid: 0,
            start: 0,
            uid: 0,
            comm: String::new(),
            exe: None,
            cgroup: None,
            script: None,
            view: None,
            operation: None,
            nr: None,
            args: Args::default(),
            site: None,
            sink: None,
            origin: Vec::new(),
            chain: Vec::new(),
            frames: Vec::new(),
            grant: None,
            unknown_file: None,
            verdict: None,
            reason: None,
            action: None,
            scope: None,
            cause: None,
            ret: None,
            effect: None,
            count: 1,
        }
    }

    /// Sets what was done: name and number.
    pub fn set_operation(&mut self, op: Op, nr: u32) {
        self.operation = Some(op.to_string());
        self.nr = Some(nr);
    }

    /// One line of JSON, with its newline.
    pub fn to_line(&self) -> String {
        let mut line = serde_json::to_string(self).expect("every part of an event has a JSON face");
        line = json_escaped(line);
        line.push('\n');
        line
    }

    /// Reads one line. Unknown fields are ignored, and events of an unknown
    /// kind or version are `None`.
    pub fn from_line(line: &str) -> Result<Option<Self>, serde_json::Error> {
        /// What all versions have.
        #[derive(Deserialize)]
        struct Mark {
            v: u32,
            kind: Kind,
        }
        let mark: Mark = serde_json::from_str(line)?;
        if mark.v != VERSION || mark.kind == Kind::Other {
            return Ok(None);
        }
        serde_json::from_str(line).map(Some)
    }

    /// For people, escaped:
    /// `denied unlink("/srv/app/config.php") by Uploader::cleanup() at /srv/app/upload.php:42
    /// (operation-not-in-profile) pid 4711`.
    pub fn violation_line(&self) -> String {
        let action = self.action.unwrap_or(Action::Logged);
        let operation = escape(self.operation.as_deref().unwrap_or("unknown").as_bytes());
        let mut line = format!("{action} {operation}({}) by {}", self.shown_args(), self.shown_who());
        let _ = write!(line, " ({}) pid {}", self.shown_reason(action), self.pid);
        match (action, &self.cause) {
            (Action::Missed, Some(cause)) => format!("{line}: {}", escape(cause.as_bytes())),
            _ => line,
        }
    }

    /// Of a taint, likewise: `tainted the request: code-from-a-stream "php://filter/…" by {main} at /srv/app/a.php:3
    /// pid 4711`.
    pub fn taint_line(&self) -> String {
        let plain = |text: &Option<String>| escape(text.as_deref().unwrap_or("unknown").as_bytes());
        let who = self.chain.first().map_or_else(|| "{unknown}".into(), ToString::to_string);
        let mut line = format!("tainted the {}: {}", plain(&self.scope), plain(&self.cause));
        let _ = write!(line, " {} by {who} pid {}", self.shown_args(), self.pid);
        line
    }

    /// Paths, or an address, or a signal: what says most.
    fn shown_args(&self) -> String {
        let quoted = |text: &str| format!("\"{}\"", escape(text.as_bytes()).replace('"', "\\\""));
        let texts: Vec<String> = ["program", "path", "path2"]
            .into_iter()
            .filter_map(|name| self.args.text(name))
            .map(quoted)
            .collect();
        if !texts.is_empty() {
            return texts.join(", ");
        }
        if let Some(address) = self.args.text("address") {
            return match self.args.0.get("port") {
                Some(port) => quoted(&format!("{address}:{port}")),
                None => quoted(address),
            };
        }
        let plain = |name: &str| {
            self.args.0.get(name).map(|value| escape(value.to_string().replace('"', "").as_bytes()))
        };
        ["pid", "signal", "command", "family", "protection"]
            .into_iter()
            .filter_map(plain)
            .collect::<Vec<_>>()
            .join(", ")
    }

    fn shown_reason(&self, action: Action) -> String {
        let reason = self.reason.map_or("", Reason::name);
        match (self.reason, &self.cause) {
            (Some(Reason::UnknownContext), Some(cause)) if action != Action::Missed => {
                format!("{reason}: {}", escape(cause.as_bytes()))
            }
            _ => reason.to_owned(),
        }
    }

    fn shown_who(&self) -> String {
        match (&self.site, &self.origin[..]) {
            (Some(site), _) => site.to_string(),
            (None, []) => escape(self.exe.as_deref().unwrap_or("{unknown}").as_bytes()),
            (None, [.., last]) => {
                format!(
                    "{} from {}",
                    escape(self.exe.as_deref().unwrap_or("{unknown}").as_bytes()),
                    last.site
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::is_deceptive;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn event() -> Event {
        let site = Site::function("/srv/app/upload.php", Some("Uploader".into()), "cleanup");
        let mut event = Event::new(Kind::Violation, "2026-11-22T13:00:00.000000001Z".parse().unwrap());
        event.set_operation(Op::parse("unlink").unwrap(), 87);
        event.args.0.insert("path".into(), "/srv/app/config.php".into());
        event.site = Some(EventSite::new(&site, 42));
        event.reason = Some(Reason::OperationNotInProfile);
        event.action = Some(Action::Denied);
        event.effect = Some(Effect::No);
        event.ret = Some(-1);
        event.pid = 4711;
        event
    }

    #[test]
    fn a_violation_reads_as_documented() {
        assert_eq!(
            event().violation_line(),
            "denied unlink(\"/srv/app/config.php\") by Uploader::cleanup() at /srv/app/upload.php:42 \
             (operation-not-in-profile) pid 4711"
        );
    }

    #[test]
    fn an_unknown_file_is_named() {
        let mut event = event();
        assert!(!event.to_line().contains("unknown_file"));
        event.reason = Some(Reason::UnknownContext);
        event.cause = Some("on its chain: /srv/uploads/a\n.php".into());
        event.unknown_file = Some("/srv/uploads/a\n.php".into());
        assert!(
            event
                .violation_line()
                .ends_with(" (unknown-context: on its chain: /srv/uploads/a\\n.php) pid 4711"),
            "{}",
            event.violation_line()
        );
        assert_eq!(Event::from_line(&event.to_line()).unwrap().unwrap(), event);
    }

    #[test]
    fn a_taint_reads_as_documented() {
        let mut event = Event::new(Kind::Taint, "2026-11-22T13:00:00Z".parse().unwrap());
        assert!(!event.to_line().contains("scope"));
        event.scope = Some("pool".into());
        event.cause = Some("wrapper-of-files-taken-away".into());
        event.args = args([("path", "fi\x1ble".to_owned())].into_iter());
        event.chain = vec![EventSite::new(&Site::main("/srv/app/a.php"), 3)];
        event.pid = 4711;
        assert_eq!(
            event.taint_line(),
            "tainted the pool: wrapper-of-files-taken-away \"fi\\x1ble\" by {main} at /srv/app/a.php:3 pid 4711"
        );
        assert_eq!(Event::from_line(&event.to_line()).unwrap().unwrap(), event);
    }

    #[test]
    fn other_programs_and_calls_read_as_well() {
        let mut event = event();
        event.action = Some(Action::Missed);
        event.cause = Some("recursion".into());
        event.site = None;
        event.exe = Some("/usr/bin/convert".into());
        event.origin =
            vec![EventOrigin { site: EventSite::new(&Site::main("/a.php"), 0), sink: Some("exec".into()) }];
        event.set_operation(Op::parse("connect:inet").unwrap(), 42);
        event.args = Args(json!({"address": "10.0.0.1", "port": 80, "fd": 3}).as_object().unwrap().clone());
        assert_eq!(
            event.violation_line(),
            "missed connect:inet(\"10.0.0.1:80\") by /usr/bin/convert from {main} at /a.php \
             (operation-not-in-profile) pid 4711: recursion"
        );
        event.set_operation(Op::parse("kill:stranger").unwrap(), 62);
        event.args = Args(json!({"pid": 1, "signal": "SIGKILL"}).as_object().unwrap().clone());
        assert!(event.violation_line().starts_with("missed kill:stranger(1, SIGKILL) by "));
    }

    #[test]
    fn every_documented_field_is_in_the_line() {
        let line: Value = serde_json::from_str(&event().to_line()).unwrap();
        let fields = "v ts kind host session profile mode strategy pid tid ppid nspid start uid comm exe cgroup script \
                      view operation nr args site sink origin chain grant verdict reason action ret effect count";
        for field in fields.split_whitespace() {
            assert!(line.get(field).is_some(), "{field}");
        }
        assert_eq!(line["ts"], "2026-11-22T13:00:00.000000001Z");
        assert_eq!(line["v"], 1);
        assert_eq!(
            line["site"],
            json!({"file": "/srv/app/upload.php", "class": "Uploader", "function": "cleanup", "line": 42,
                   "kind": "function"})
        );
        assert_eq!((&line["action"], &line["effect"]), (&json!("denied"), &json!("no")));
    }

    #[test]
    fn seconds_have_nine_digits() {
        let event = Event::new(Kind::Notice, "2026-11-22T13:00:00Z".parse().unwrap());
        assert!(event.to_line().contains("\"2026-11-22T13:00:00.000000000Z\""));
    }

    #[test]
    fn what_is_not_known_is_ignored() {
        let line = r#"{"v":1,"ts":"2026-11-22T13:00:00Z","kind":"violation","new":[1],"action":"frozen"}"#;
        assert_eq!(Event::from_line(line).unwrap().unwrap().action, Some(Action::Other));
        assert_eq!(Event::from_line(r#"{"v":1,"kind":"weather","sky":"blue"}"#).unwrap(), None);
        assert_eq!(Event::from_line(r#"{"v":2,"kind":"violation"}"#).unwrap(), None);
        assert!(Event::from_line("{").is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_become_one_safe_line(bytes: Vec<u8>, odd: String) {
            let mut event = event();
            event.args.0.insert("path".into(), text(&bytes).into());
            event.comm = odd;
            let name = Name::from(if bytes.is_empty() { b"x".to_vec() } else { bytes });
            event.site = Some(EventSite::new(&Site::function(name.clone(), Some(name.clone()), name), 1));
            let line = event.to_line();
            prop_assert!(!line.trim_end_matches('\n').chars().any(is_deceptive));
            prop_assert_eq!(Event::from_line(&line).unwrap().unwrap(), event.clone());
            prop_assert!(!event.violation_line().chars().any(is_deceptive));
        }
    }
}
