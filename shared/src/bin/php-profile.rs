//! Shows, exports, imports and amends profiles.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use shared::event::{Event, Kind};
use shared::policy::{Reason, lacks_places};
use shared::profile::{
    Constraint, Context, Face, Grant, GrantKey, GrantMode, Profile, ProfileError, Who, builtin_master, caps,
};
use shared::site::{Name, Site, SiteKind, escape};

/// Shows, exports, imports and amends profiles of eBPF PHP Tracer
#[derive(Parser)]
#[command(
    name = "php-profile",
    version,
    after_help = "Exit status: 0 done, 1 failed, 2 wrong usage. A file that exists is replaced as a whole or not at all."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Prints what a profile grants, for people
    Show {
        /// The profile, binary or JSON
        file: PathBuf,
    },
    /// Prints a profile as JSON, in an order that stays the same
    Export {
        /// The profile, binary or JSON
        file: PathBuf,
        /// Writes to this file instead
        #[arg(short, long, value_name = "JSON")]
        output: Option<PathBuf>,
    },
    /// Makes a binary profile of JSON
    Import {
        /// The JSON; `-` for standard input
        json: PathBuf,
        /// The profile to write
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
        /// Replaces a file that exists
        #[arg(long)]
        force: bool,
    },
    /// Adds reviewed violations to a profile
    Allow {
        /// The profile, binary or JSON; it keeps its form
        file: PathBuf,
        /// The events (--events of the tracer); `-` for standard input
        #[arg(long, value_name = "EVENTS")]
        from: PathBuf,
        /// Only those of sites, programs or files whose name, as `show` prints it, contains this, or of which it is the
        /// whole name or file; what is in several files must be said whole. Repeatable
        #[arg(long, value_name = "TEXT")]
        site: Vec<String>,
        /// What becomes of what is added
        #[arg(long, value_enum, default_value_t = Mode::Enforce)]
        mode: Mode,
        /// Prints what would be added, and writes nothing
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Mode {
    /// It is allowed
    Enforce,
    /// It is still a violation, but only logged
    Log,
}

impl From<Mode> for GrantMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Enforce => Self::Enforce,
            Mode::Log => Self::Log,
        }
    }
}

/// What failed, and what to do.
struct Failure {
    what: String,
    hint: String,
}

impl From<ProfileError> for Failure {
    fn from(error: ProfileError) -> Self {
        Self { what: escape(error.to_string().as_bytes()), hint: error.hint() }
    }
}

fn failure(what: impl Into<String>, hint: impl Into<String>) -> Failure {
    Failure { what: what.into(), hint: hint.into() }
}

fn shown(path: &Path) -> String {
    escape(path.as_os_str().as_encoded_bytes())
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { what, hint }) => {
            eprintln!("php-profile: {what}\nHint: {hint}");
            ExitCode::FAILURE
        }
    }
}

fn usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let text = error.to_string();
    let what = text.lines().next().unwrap_or_default();
    let what = what.strip_prefix("error: ").unwrap_or("no command was given");
    eprintln!("php-profile: {what}\nHint: `php-profile --help` lists the commands and their options");
    ExitCode::from(2)
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Show { file } => print(&show(&Profile::load(&file)?)),
        Command::Export { file, output } => {
            let profile = Profile::load(&file)?;
            match output {
                Some(output) => Ok(profile.save_face(&output, Face::Json, true)?),
                None => print(&profile.to_json()),
            }
        }
        Command::Import { json, output, force } => import(&json, &output, force),
        Command::Allow { file, from, site, mode, dry_run } => {
            allow(&file, &from, &site, mode.into(), dry_run)
        }
    }
}

/// A reader that goes away early (`| head`) is no failure.
fn print(text: &str) -> Result<(), Failure> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(failure(format!("cannot write to standard output: {error}"), "is the disk full?"))
        }
        _ => Ok(()),
    }
}

fn open(path: &Path) -> Result<Box<dyn Read>, Failure> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdin().lock()));
    }
    match std::fs::File::open(path) {
        Ok(file) => Ok(Box::new(file)),
        Err(error) => Err(failure(
            format!("cannot read {}: {error}", shown(path)),
            "check the path and its permissions",
        )),
    }
}

fn import(json: &Path, output: &Path, force: bool) -> Result<(), Failure> {
    let mut bytes = Vec::new();
    open(json)?
        .take(caps::FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| failure(format!("cannot read {}: {error}", shown(json)), "is it a file?"))?;
    if bytes.len() as u64 > caps::FILE {
        return Err(ProfileError::TooLarge { size: bytes.len() as u64, cap: caps::FILE }.into());
    }
    if Face::of(&bytes) == Face::Binary && !bytes.is_empty() {
        return Err(failure(
            format!("{} is not JSON", shown(json)),
            "`php-profile export` makes JSON of a profile",
        ));
    }
    let profile = Profile::from_json(&bytes)?;
    profile.save(output, force).map_err(|error| match error {
        ProfileError::Exists { .. } => failure(error.to_string(), "--force replaces it"),
        error => error.into(),
    })?;
    warn_of_grants_without_places(&profile);
    Ok(())
}

fn warn_of_grants_without_places(profile: &Profile) {
    let keys: Vec<String> = profile
        .grants
        .iter()
        .filter(|grant| lacks_places(grant))
        .map(|grant| grant.key().to_string())
        .collect();
    if !keys.is_empty() {
        eprintln!(
            "php-profile: warning: of no effect, since they do not say where: {}\n\
             Hint: {{engine}}, {{internal}} and {{master}} need absolute paths there: \"constraints\": [{{\"path\": [\"/srv/app/data/*\"]}}]",
            keys.join("; ")
        );
    }
}

// ---- show ----

fn show(profile: &Profile) -> String {
    let mut out = String::new();
    show_head(&mut out, profile);
    let by_who = grouped(&profile.grants);
    let (sites, programs): (Vec<_>, Vec<_>) =
        by_who.into_iter().partition(|(who, _)| matches!(who, Who::Sites(_)));
    show_sites(&mut out, &sites);
    if !programs.is_empty() {
        out.push_str("\nOther programs\n");
        for (who, grants) in programs {
            let _ = writeln!(out, "  {who}");
            show_grants(&mut out, &grants);
        }
    }
    if !profile.files.is_empty() {
        out.push_str("\nFiles that may be on a chain, beside those of sites\n");
        for file in &profile.files {
            let _ = writeln!(out, "  {file}");
        }
    }
    out.push_str("\n{master}: built in\n");
    show_grants(&mut out, &builtin_master(profile.view).iter().collect::<Vec<_>>());
    out
}

fn show_head(out: &mut String, profile: &Profile) {
    let learned = &profile.learned;
    let mut row = |name: &str, value: String| {
        let _ = writeln!(out, "{name:<12}{value}");
    };
    let line = |text: &str| escape(text.as_bytes());
    row("PHP", format!("{} ({})", line(&profile.php.version), line(&profile.php.abi)));
    row("View", profile.view.to_string());
    row("Attribution", profile.attribution.to_string());
    row("Operations", profile.operations.to_string());
    row(
        "Learnt",
        format!(
            "{} runs, {} events, {} lost, {} foreign",
            learned.runs, learned.events, learned.lost, learned.foreign
        ),
    );
    if let (Some(started), Some(ended)) = (learned.started, learned.ended) {
        row("", format!("{started:.0} to {ended:.0} on {}", line(&learned.host)));
    }
    for (cause, count) in &learned.unknown {
        row("Not granted", format!("{count} {}", line(cause)));
    }
    let complete =
        if profile.complete { "yes" } else { "NO: records were lost; refused by --sandbox without --force" };
    row("Complete", complete.into());
    row(
        "Content",
        format!(
            "{} sites, {} grants, {} scripts",
            profile.sites().len(),
            profile.grants.len(),
            profile.scripts.len()
        ),
    );
    for root in &profile.roots {
        row("Root", format!("{} = {}", root.name, joined(&root.patterns)));
    }
    if !profile.wrappers.is_empty() {
        row("Wrappers", profile.wrappers.join(" "));
    }
    if profile.context != Context::default() || !profile.files.is_empty() {
        let what = match profile.context {
            Context::Frames(frames) => format!("{frames} nearest user frames"),
            context => format!("{context}, {} files listed", profile.files.len()),
        };
        row("Context", what);
    }
    for generated in &profile.generated {
        let operations: Vec<String> = generated.operations.iter().map(ToString::to_string).collect();
        row("Generated", format!("{}: {}", generated.pattern, operations.join(", ")));
    }
}

fn joined(names: &[Name]) -> String {
    names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

fn grouped(grants: &[Grant]) -> BTreeMap<&Who, Vec<&Grant>> {
    let mut by_who: BTreeMap<&Who, Vec<&Grant>> = BTreeMap::new();
    for grant in grants {
        by_who.entry(&grant.who).or_default().push(grant);
    }
    by_who
}

/// By file; sites without one first.
fn show_sites(out: &mut String, sites: &[(&Who, Vec<&Grant>)]) {
    let mut by_file: BTreeMap<Option<&Name>, Vec<(&Who, &Vec<&Grant>)>> = BTreeMap::new();
    for (who, grants) in sites {
        let file = who.sites().next().and_then(|site| site.file.as_ref());
        by_file.entry(file).or_default().push((who, grants));
    }
    for (file, sites) in by_file {
        match file {
            Some(file) => drop(writeln!(out, "\n{file}")),
            None => out.push_str("\nWithout a file\n"),
        }
        for (who, grants) in sites {
            for site in who.sites() {
                let _ = writeln!(out, "  {site}");
            }
            show_grants(out, grants);
        }
    }
}

fn show_grants(out: &mut String, grants: &[&Grant]) {
    for grant in grants {
        let _ = write!(out, "    {:<24}", grant.operation);
        if grant.seen > 0 {
            let _ = write!(out, " {}x", grant.seen);
        }
        if grant.mode == GrantMode::Log {
            out.push_str(" log only");
        }
        if !grant.sinks.is_empty() {
            let _ = write!(out, " through {}", joined(&grant.sinks));
        }
        for constraint in &grant.constraints {
            match constraint {
                Constraint::Path(patterns) => drop(write!(out, " only {}", joined(patterns))),
                Constraint::Itself => out.push_str(" only the program itself"),
            }
        }
        while out.ends_with(' ') {
            out.pop();
        }
        out.push('\n');
    }
}

// ---- allow ----

/// What the events ask for.
#[derive(Default)]
struct Review {
    grants: Vec<Grant>,
    /// To be listed as files that may be on a chain.
    files: BTreeSet<Name>,
    /// Violations that no grant can allow, by reason.
    never: BTreeMap<&'static str, u64>,
    not_asked_for: u64,
    not_events: u64,
}

fn allow(file: &Path, from: &Path, sites: &[String], mode: GrantMode, dry_run: bool) -> Result<(), Failure> {
    let (mut profile, face) = Profile::load_face(file)?;
    let review = review(&profile, from, sites, mode)?;
    let mut report = String::new();
    let mut new: Vec<Grant> = Vec::new();
    let mut files: Vec<Name> = Vec::new();
    let mut changed = false;
    let known: HashMap<_, _> =
        profile.grants.iter().enumerate().map(|(at, grant)| (grant.key(), at)).collect();
    for grant in review.grants {
        let key = grant.key();
        match known.get(&key).map(|&at| &mut profile.grants[at].mode) {
            None => {
                let log = if mode == GrantMode::Log { " (log only)" } else { "" };
                let _ = writeln!(report, "{} {key}{log}", if dry_run { "would add" } else { "added" });
                new.push(grant);
            }
            Some(known) if *known == GrantMode::Log && mode == GrantMode::Enforce => {
                let _ = writeln!(report, "{} {key}", if dry_run { "would enforce" } else { "now enforced" });
                *known = mode;
                changed = true;
            }
            Some(_) => {}
        }
    }
    for file in review.files.iter().filter(|file| !profile.files.contains(file)) {
        let _ = writeln!(report, "{} the file {file}", if dry_run { "would list" } else { "listed" });
        files.push(file.clone());
    }
    for (reason, count) in &review.never {
        eprintln!("php-profile: {count} violations cannot be allowed by a grant ({reason})");
    }
    if review.not_events > 0 {
        eprintln!("php-profile: {} lines are not events", review.not_events);
    }
    if review.not_asked_for > 0 {
        eprintln!("php-profile: {} violations are of other sites", review.not_asked_for);
    }
    changed |= !new.is_empty() || !files.is_empty();
    if !changed {
        return print("nothing to add\n");
    }
    profile.files.extend(files);
    profile.add(new)?;
    if !dry_run {
        profile.save_face(file, face, true)?;
    }
    print(&report)
}

/// What events ask for with one name.
struct Asked {
    what: What,
    /// How often.
    violations: u64,
}

enum What {
    Grant(Grant),
    /// To be listed.
    File(Name),
}

impl Asked {
    /// As it is shown.
    fn name(&self) -> String {
        match &self.what {
            What::Grant(grant) => grant.who.to_string(),
            What::File(file) => file.to_string(),
        }
    }

    /// The files of the code that it is about, after the program if it is one.
    fn place(&self) -> String {
        let grant = match &self.what {
            What::File(file) => return file.to_string(),
            What::Grant(grant) => grant,
        };
        let program = match &grant.who {
            Who::Program { program, .. } => Some(program.to_string()),
            Who::Sites(_) => None,
        };
        let file = |site: &Site| match &site.file {
            Some(file) => file.to_string(),
            // All phases are one: nobody else gives these names.
            None if site.kind == SiteKind::Engine => "{engine}".to_owned(),
            None => site.to_string(),
        };
        program.into_iter().chain(grant.who.sites().map(file)).collect::<Vec<_>>().join(" < ")
    }
}

fn review(profile: &Profile, from: &Path, sites: &[String], mode: GrantMode) -> Result<Review, Failure> {
    let mut review = Review::default();
    let mut united = United::default();
    for line in BufReader::new(open(from)?).split(b'\n') {
        let line =
            line.map_err(|error| failure(format!("cannot read {}: {error}", shown(from)), "is it a file?"))?;
        if line.trim_ascii().is_empty() {
            continue;
        }
        // A last line that is not whole yet, or another program's.
        let Some(event) = std::str::from_utf8(&line).ok().and_then(|line| Event::from_line(line).ok()) else {
            review.not_events += 1;
            continue;
        };
        let Some(event) = event.filter(|event| event.kind == Kind::Violation) else { continue };
        if let Some(view) = event.view {
            profile.check_view(view)?;
        }
        let reason = event.reason.map_or("no-reason", Reason::name);
        if !united.take(event, mode) {
            *review.never.entry(reason).or_default() += 1;
        }
    }
    let all: Vec<Asked> = united.grants.into_values().chain(united.files.into_values()).collect();
    let wanted = wanted(&all, sites)?;
    for (asked, is_wanted) in all.into_iter().zip(wanted) {
        match asked.what {
            _ if !is_wanted => review.not_asked_for += asked.violations,
            What::Grant(grant) => review.grants.push(grant),
            What::File(file) => drop(review.files.insert(file)),
        }
    }
    Ok(review)
}

/// Which of them `--site` means. Others than who reviews them name classes, functions and folders, so one text must
/// not mean sites of several files.
fn wanted(all: &[Asked], sites: &[String]) -> Result<Vec<bool>, Failure> {
    let names: Vec<(String, String)> = all.iter().map(|asked| (asked.name(), asked.place())).collect();
    let mut wanted = vec![sites.is_empty(); all.len()];
    for text in sites {
        let is_whole = |(name, place): &(String, String)| name == text || place == text;
        let any_whole = names.iter().any(is_whole);
        let means =
            |names: &(String, String)| if any_whole { is_whole(names) } else { names.0.contains(text) };
        let places: BTreeSet<&str> =
            names.iter().filter(|names| means(names)).map(|(_, place)| place.as_str()).collect();
        if places.len() > 1 {
            let places = places.into_iter().collect::<Vec<_>>().join(", ");
            return Err(failure(
                format!("`--site {text}` means sites of several files: {places}"),
                "say one of them whole, or one site as --dry-run shows it; --site may be repeated",
            ));
        }
        wanted.iter_mut().zip(&names).for_each(|(wanted, names)| *wanted |= means(names));
    }
    Ok(wanted)
}

/// Equal ones are one.
#[derive(Default)]
struct United {
    grants: BTreeMap<GrantKey, Asked>,
    files: BTreeMap<Name, Asked>,
}

impl United {
    /// False where nothing could allow it.
    fn take(&mut self, event: Event, mode: GrantMode) -> bool {
        // A file is listed or not: there is no listing for the log only.
        let listable = event.reason == Some(Reason::UnknownContext) && mode == GrantMode::Enforce;
        if let Some(file) = event.unknown_file.clone().filter(|_| listable) {
            let fresh = || Asked { what: What::File(file.clone()), violations: 0 };
            self.files.entry(file.clone()).or_insert_with(fresh).violations += 1;
            return true;
        }
        let grantable = matches!(
            event.reason,
            Some(
                Reason::SiteNotInProfile
                    | Reason::OperationNotInProfile
                    | Reason::ProgramNotInProfile
                    | Reason::UnknownContext
            )
        );
        let Some(key) = event.grant.clone().filter(|_| grantable) else { return false };
        let entry = self.grants.entry(key.clone());
        let asked = entry.or_insert_with(|| Asked { what: What::Grant(key.into_grant(mode)), violations: 0 });
        asked.violations += 1;
        if let What::Grant(grant) = &mut asked.what {
            add_seen(grant, event);
        }
        true
    }
}

fn add_seen(grant: &mut Grant, event: Event) {
    grant.seen = grant.seen.saturating_add(event.count);
    let sample = |name| event.args.text(name).filter(|text| text.len() <= caps::PATH).map(Name::from);
    grant.samples.extend([sample("path"), sample("path2")].into_iter().flatten());
    grant.samples.truncate(caps::SAMPLES);
    if let Some(sink) =
        event.sink.filter(|sink| sink.len() <= caps::NAME && !grant.sinks.contains(&sink.as_str().into()))
    {
        grant.sinks.push(sink.into());
    }
}
