//! Configuration: settings as written (file, environment, flags) -> settings as used (valid by construction).
//!
//! One table names all settings; every surface is made from it. A value that is wrong anywhere is an error, also
//! where another source overrides it, and all errors are told at once.

use std::fmt;

pub mod cli;

mod kinds;
mod memory;
mod nearest;
mod report;
mod rules;
mod settings;
mod table;
mod template;
mod units;
mod value;
mod yaml;

pub use kinds::Address;
pub use settings::Settings;
pub use template::template;

use nearest::nearest;
use table::{Setting, TABLE, Values, setting};
use value::Written;
use yaml::Place;

/// The exit status for a configuration that cannot be used (`EX_CONFIG` of sysexits).
pub const EX_CONFIG: u8 = 78;

/// A configuration that can be used.
#[derive(Debug)]
pub struct Config {
    /// Its settings.
    pub settings: Settings,
    rows: Vec<Row>,
}

/// Everything that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct ConfigError(Vec<String>);

/// What somebody wrote, by where. Not shown by `Debug`: there are secrets among it.
#[derive(Clone, Default)]
struct Sources {
    /// Name and text of the file.
    file: Option<(String, String)>,
    environment: Vec<(String, String)>,
    /// By the name of the setting.
    flags: Vec<(&'static str, Written)>,
    /// How much memory there is.
    memory: Option<u64>,
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.as_ref().map(|(name, _)| name);
        f.debug_struct("Sources").field("file", &file).finish_non_exhaustive()
    }
}

/// A setting with its value and where it comes from.
#[derive(Clone)]
struct Row {
    setting: &'static Setting,
    written: Written,
    origin: Origin,
    /// The value as it was understood.
    shown: String,
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // what was written may be a secret; what is shown never is
        write!(f, "{}: {} ({})", self.setting.name, self.shown, self.origin)
    }
}

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Origin {
    Default,
    File { name: String, line: u64 },
    Variable(String),
    Flag(&'static str),
}

impl Config {
    /// Reads all sources: a flag wins over the environment, that over the file, that over the default.
    fn read(sources: &Sources) -> Result<Config, ConfigError> {
        let mut problems = Vec::new();
        let mut rows: Vec<Row> = TABLE.iter().map(Row::default).collect();
        let mut set =
            |setting: &'static Setting, written: Written, origin: Origin, problems: &mut Vec<String>| {
                match (setting.understand)(&written) {
                    Err(reason) => problems.push(format!("{origin}: {}: {reason}", setting.name)),
                    Ok(shown) => {
                        let row = rows.iter_mut().find(|row| row.setting.name == setting.name);
                        *row.expect("the table has it") = Row { setting, written, origin, shown };
                    }
                }
            };
        for (setting, written, origin) in from_file(sources, &mut problems) {
            set(setting, written, origin, &mut problems);
        }
        for (setting, written, origin) in from_environment(sources, &mut problems) {
            set(setting, written, origin, &mut problems);
        }
        for (name, written) in &sources.flags {
            let setting = setting(name).expect("a flag is made from the table");
            set(setting, written.clone(), Origin::Flag(setting.flag.unwrap_or_default()), &mut problems);
        }
        if !problems.is_empty() {
            return Err(ConfigError(problems));
        }
        let mut written = rows.iter().map(|row| &row.written);
        let values = Values::read(|_| written.next().expect("a row for each setting"))
            .map_err(|e| ConfigError(vec![e]))?;
        let settings = Settings::new(values, sources.memory).map_err(|problems| {
            ConfigError(problems.into_iter().map(|problem| placed(problem, &rows)).collect())
        })?;
        Ok(Config { settings, rows })
    }
}

/// The names of all settings.
pub fn names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|setting| setting.name)
}

/// What was written, to be compared with what is written later; of a file that a setting names, a hash of what it holds.
#[derive(Clone, Debug)]
pub struct Snapshot(Vec<(Row, Option<blake3::Hash>)>);

impl Config {
    /// What was written.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot(self.rows.iter().map(|row| (row.clone(), row.content())).collect())
    }
}

impl Snapshot {
    /// Which settings another configuration has otherwise.
    #[must_use]
    pub fn changes(&self, other: &Snapshot) -> Vec<&'static str> {
        let rows = self.0.iter().zip(&other.0);
        // a secret is not shown, so what was written is looked at
        let secret = |row: &Row| row.shown.contains("****");
        let differ = rows.filter(|((a, held), (b, holds))| {
            a.shown != b.shown || held != holds || secret(a) && a.written != b.written
        });
        differ.map(|((row, _), _)| row.setting.name).collect()
    }

    /// Takes these settings of another configuration for its own.
    pub fn adopt(&mut self, other: Snapshot, names: &[&str]) {
        for (row, new) in self.0.iter_mut().zip(other.0) {
            if names.contains(&new.0.setting.name) {
                *row = new;
            }
        }
    }
}

/// A problem that begins with the name of a setting, with where that setting was written.
fn placed(problem: String, rows: &[Row]) -> String {
    let name = problem.split(':').next().unwrap_or_default();
    match rows.iter().find(|row| row.setting.name == name) {
        Some(row) if row.origin != Origin::Default => format!("{}: {problem}", row.origin),
        _ => problem,
    }
}

type Found = Vec<(&'static Setting, Written, Origin)>;

fn from_file(sources: &Sources, problems: &mut Vec<String>) -> Found {
    let Some((file, text)) = &sources.file else { return Vec::new() };
    let entries = match yaml::entries(text, &place) {
        Ok(entries) => entries,
        Err(unreadable) => {
            let line = unreadable.line.map(|line| format!(":{line}")).unwrap_or_default();
            problems.push(format!("{file}{line}: {}", unreadable.message));
            return Vec::new();
        }
    };
    let mut found = Vec::new();
    for (i, entry) in entries.iter().enumerate() {
        let origin = Origin::File { name: file.clone(), line: entry.line };
        if let Some(first) = entries[..i].iter().find(|other| other.name == entry.name) {
            problems.push(format!("{origin}: {}: is set twice, first in line {}", entry.name, first.line));
        }
        match (setting(&entry.name), &entry.written) {
            (Some(setting), Some(written)) => found.push((setting, written.clone(), origin)),
            _ => {
                let hint = did_you_mean(meant(&entry.name).map(|setting| setting.name));
                problems.push(format!("{origin}: unknown setting [{}]{hint}", entry.name));
            }
        }
    }
    found
}

/// What a name in the file stands for.
fn place(name: &str) -> Place {
    let group = |row: &Setting| row.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'));
    match setting(name) {
        Some(setting) => Place::Value(setting.shape),
        None if TABLE.iter().any(group) => Place::Group,
        None => Place::Unknown,
    }
}

/// A variable without a value is as good as none: that is how compose files and charts leave one out.
fn from_environment(sources: &Sources, problems: &mut Vec<String>) -> Found {
    let mut found = Vec::new();
    for (variable, value) in &sources.environment {
        match TABLE.iter().find(|setting| setting.variable() == *variable) {
            Some(_) if value.is_empty() => {}
            Some(setting) => {
                found.push((setting, Written::One(value.clone()), Origin::Variable(variable.clone())));
            }
            None if !variable.starts_with("ESCACHE_")
                || variable == "ESCACHE_CONFIG"
                || of_kubernetes(variable) => {}
            None => {
                let hint =
                    meant(variable.strip_prefix("ESCACHE_").unwrap_or(variable)).map(Setting::variable);
                problems.push(format!(
                    "unknown environment variable [{variable}]{}",
                    did_you_mean(hint.as_deref())
                ));
            }
        }
    }
    found
}

/// The setting that somebody most likely meant who wrote this: its name or the end of it, or that of its flag.
fn meant(written: &str) -> Option<&'static Setting> {
    let flag = format!("--{}", written.to_lowercase().replace(['_', '.'], "-"));
    let by_flag = TABLE.iter().find(|row| row.flag == Some(flag.as_str()));
    by_flag.or_else(|| setting(nearest(written, TABLE.iter().map(|row| row.name))?))
}

/// Kubernetes tells every container about the services of its namespace. One that is called `escache` has variables
/// that begin as ours do.
fn of_kubernetes(variable: &str) -> bool {
    ["_SERVICE_HOST", "_SERVICE_PORT", "_PORT"].iter().any(|end| variable.ends_with(end))
        || ["_SERVICE_PORT_", "_PORT_"].iter().any(|part| variable.contains(part))
}

fn did_you_mean(name: Option<&str>) -> String {
    name.map_or_else(
        || "; config/escache.yml lists all".to_owned(),
        |name| format!(", did you mean [{name}]?"),
    )
}

impl Row {
    /// What the files hold that are read once, at the start or at a reload: secrets, and what the way to the engine needs.
    fn content(&self) -> Option<blake3::Hash> {
        let name = self.setting.name;
        let upstream = ["certificate", "key", "certificate_authorities"];
        let of_upstream = name.strip_prefix("upstream.ssl.").is_some_and(|name| upstream.contains(&name));
        if !name.ends_with("_file") && !of_upstream {
            return None;
        }
        let paths: Vec<&str> = match &self.written {
            Written::One(paths) => paths.split(',').map(str::trim).collect(),
            Written::Many(paths) => paths.iter().map(String::as_str).collect(),
            Written::Rules(_) => Vec::new(),
        };
        let mut hasher = blake3::Hasher::new();
        for path in paths.iter().filter(|path| !path.is_empty()) {
            let held = std::fs::read(path).unwrap_or_default();
            hasher.update(&(held.len() as u64).to_le_bytes()).update(&held);
        }
        Some(hasher.finalize())
    }

    fn default(setting: &'static Setting) -> Row {
        let written = setting.written_default();
        let shown = (setting.understand)(&written).unwrap_or_default();
        Row { setting, written, origin: Origin::Default, shown }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File { name, line } => write!(f, "{name}:{line}"),
            Origin::Variable(name) => write!(f, "environment variable {name}"),
            Origin::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}

#[cfg(test)]
mod tests;
