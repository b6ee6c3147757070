//! The command line.

use std::fs;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use super::table::setting;
use super::value::Written;
use super::{Config, ConfigError, Sources, memory};

/// What was asked for on the command line.
#[derive(Debug, Parser)]
#[command(name = "escache", version, about = ABOUT, after_help = AFTER_HELP, max_term_width = 110)]
pub struct Cli {
    /// The settings.
    #[command(flatten)]
    pub options: Options,
    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,
}

const ABOUT: &str = "An exact HTTP cache in front of Elasticsearch or OpenSearch.\n\n\
    Send searches to escache instead of the engine. Repeated searches come from memory, and only while escache has \
    proven that the engine would answer the same. Everything else is passed on unchanged.";

const AFTER_HELP: &str = "Without any option escache listens on 127.0.0.1:9280 and forwards to http://localhost:9200. \
    All other settings are in the configuration file (config/escache.yml has every one, with its default) or in the \
    environment: cache.hits is ESCACHE_CACHE_HITS. A flag wins over the environment, the environment over the file.\n\n\
    Exit codes: 0 done; 1 a running escache does not answer, or FILE cannot be used; 2 the command line is wrong; \
    3 explain: the request is not cacheable, warm: not all is stored; 71 an address cannot be bound; 74 the output cannot \
    be written; 78 the configuration cannot be used.";

/// What to do instead of serving.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Validate the configuration, print the settings in force and where each comes from, and exit (78 if it is not valid)
    Check,
    /// Ask a running escache whether it is ready, at its admin address, and exit (0 if it is): a container's health check
    Health,
    /// Show what a running escache does: hits and misses, memory, why requests are not answered from the cache
    Stats(StatsArgs),
    /// Tell what a running escache would do with a request, and why; exit 3 if it is not cacheable
    Explain(ExplainArgs),
    /// Have a running escache ask the searches of a list, so that their users find them; exit 3 if some could not be stored
    Warm(WarmArgs),
    /// Print a script that completes this command line: bash, zsh, fish, elvish or powershell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page
    Man,
}

/// Which running escache is asked.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct Running {
    /// Where its admin listener is, such as http://127.0.0.1:9281 [default: as its own settings say]
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// A file with the listener's token [default: ESCACHE_ADMIN_TOKEN_FILE or ESCACHE_ADMIN_TOKEN]
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// What `escache stats` takes.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct StatsArgs {
    /// Which one.
    #[command(flatten)]
    pub running: Running,
    /// Show it again and again, with what came in between
    #[arg(long)]
    pub watch: bool,
    /// How often, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    pub every: u32,
}

/// What `escache explain` takes.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct ExplainArgs {
    /// Which one.
    #[command(flatten)]
    pub running: Running,
    /// The request: METHOD /path, headers and body as in Kibana's console (# begins a comment); or the body of a search;
    /// - is standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The index, where FILE has the body alone
    #[arg(long, value_name = "NAME")]
    pub index: Option<String>,
}

/// What `escache warm` takes.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct WarmArgs {
    /// Which one.
    #[command(flatten)]
    pub running: Running,
    /// The searches: JSON objects with path, body, and perhaps method, headers and params, one in a line or in an array;
    /// - is standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// The settings that have a flag.
#[derive(Clone, Debug, Default, Args)]
pub struct Options {
    /// Configuration file, in the style of elasticsearch.yml
    #[arg(long, global = true, value_name = "FILE", env = "ESCACHE_CONFIG")]
    pub config: Option<PathBuf>,

    #[arg(long, global = true, value_name = "HOST:PORT", help = help("listen"))]
    listen: Option<String>,

    #[arg(long, global = true, value_name = "HOST:PORT", help = help("admin.listen"))]
    admin: Option<String>,

    #[arg(long, global = true, value_name = "URL", help = help("upstream.hosts"))]
    upstream: Vec<String>,

    #[arg(long, global = true, value_name = "TIME", help = help("freshness.max_staleness"))]
    max_staleness: Option<String>,

    #[arg(long, global = true, value_name = "TIME", help = help("freshness.ttl_only"))]
    ttl_only: Option<String>,

    #[arg(long, global = true, value_name = "SIZE", help = help("indices.requests.cache.size"))]
    cache_size: Option<String>,
}

impl Options {
    /// Reads the file, the environment and the flags.
    ///
    /// # Errors
    /// Everything that is wrong with them, in words.
    pub fn load(&self) -> Result<Config, ConfigError> {
        Config::read(&Sources {
            file: self.read_file()?,
            environment: environment()?,
            flags: self.flags(),
            memory: memory::available(),
        })
    }

    fn read_file(&self) -> Result<Option<(String, String)>, ConfigError> {
        let Some(path) = self.config.as_ref().filter(|path| !path.as_os_str().is_empty()) else {
            return Ok(None);
        };
        let name = path.display().to_string();
        match fs::read_to_string(path) {
            Ok(text) => Ok(Some((name, text))),
            Err(error) => Err(ConfigError(vec![format!("{name}: cannot be read: {error}")])),
        }
    }

    fn flags(&self) -> Vec<(&'static str, Written)> {
        let one = |name, value: &Option<String>| value.clone().map(|value| (name, Written::One(value)));
        let flags = [
            one("listen", &self.listen),
            one("admin.listen", &self.admin),
            (!self.upstream.is_empty()).then(|| ("upstream.hosts", Written::Many(self.upstream.clone()))),
            one("freshness.max_staleness", &self.max_staleness),
            one("freshness.ttl_only", &self.ttl_only),
            one("indices.requests.cache.size", &self.cache_size),
        ];
        flags.into_iter().flatten().collect()
    }
}

fn environment() -> Result<Vec<(String, String)>, ConfigError> {
    let ours = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
    ours.filter(|(name, _)| name.starts_with("ESCACHE_"))
        .map(|(name, value)| match value.into_string() {
            Ok(value) => Ok((name, value)),
            Err(_) => Err(ConfigError(vec![format!("environment variable {name}: is not UTF-8")])),
        })
        .collect()
}

/// The help of a flag is that of its setting.
fn help(name: &str) -> String {
    let Some(setting) = setting(name) else { return String::new() };
    let repeated = if setting.flag == Some("--upstream") { " Can be given several times." } else { "" };
    format!("{}{repeated} [default: {}]", setting.help, setting.default)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::config::table::TABLE;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_are_those_of_the_table() {
        let mut defined: Vec<String> =
            Cli::command().get_arguments().filter_map(|arg| Some(format!("--{}", arg.get_long()?))).collect();
        let mut listed: Vec<&str> = TABLE.iter().filter_map(|row| row.flag).chain(["--config"]).collect();
        defined.retain(|flag| flag != "--help" && flag != "--version");
        defined.sort_unstable();
        listed.sort_unstable();
        assert_eq!(defined, listed);
    }

    #[test]
    fn every_flag_reaches_its_setting() {
        let mut line = vec!["escache".to_owned()];
        for row in TABLE {
            line.extend(row.flag.into_iter().flat_map(|flag| [flag.to_owned(), row.name.to_owned()]));
        }
        let flags = Cli::try_parse_from(line).unwrap().options.flags();
        assert_eq!(flags.len(), TABLE.iter().filter(|row| row.flag.is_some()).count());
        for (name, written) in flags {
            assert!(
                [Written::One(name.to_owned()), Written::Many(vec![name.to_owned()])].contains(&written),
                "{name}"
            );
        }
    }

    #[test]
    fn flags_stand_before_or_behind_the_command() {
        for line in ["escache --config a check --listen b", "escache check --listen b --config a"] {
            let cli = Cli::try_parse_from(line.split(' ')).unwrap();
            assert_eq!(cli.command, Some(Command::Check));
            assert_eq!((cli.options.config, cli.options.listen), (Some("a".into()), Some("b".to_owned())));
        }
    }
}
