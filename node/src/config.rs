//! How one node is set up: a short TOML file, over which the environment and then flags prevail.
//!
//! Few settings, since most of what a node does is its domain's charter's to say.

use std::fs;
use std::io;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use libp2p::Multiaddr;
use serde::{Deserialize, Serialize};

use crate::addresses::check_dialable;
use crate::words::{BadToml, from_toml};

/// The port that nodes listen on unless told otherwise.
pub const PORT: u16 = 5747;

/// How one node is set up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where it listens.
    pub listen: Vec<Multiaddr>,
    /// Where others reach it, if that is not where it listens.
    pub external: Vec<Multiaddr>,
    /// Addresses to try at every start, besides those that it remembers.
    pub peers: Vec<Multiaddr>,
    /// Whether it looks for its domain's nodes in the local network.
    pub mdns: bool,
    /// After how many days it rotates its key by itself; never, if that is not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotate_every_days: Option<NonZeroU16>,
    /// Whether it keeps every final block, and serves what others have removed.
    pub archive: bool,
    /// What it logs, and how.
    pub log: LogConfig,
}

/// What a node logs, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// What is worth a line, in the words of `tracing`'s `EnvFilter`.
    pub filter: String,
    /// For people or for machines.
    pub format: LogFormat,
}

/// For whom a log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// People.
    #[default]
    Pretty,
    /// Machines: one JSON object a line.
    Json,
}

impl Default for Config {
    fn default() -> Config {
        let address = |text: String| Multiaddr::from_str(&text).expect("our own defaults are addresses");
        Config {
            listen: vec![
                address(format!("/ip4/0.0.0.0/udp/{PORT}/quic-v1")),
                address(format!("/ip4/0.0.0.0/tcp/{PORT}")),
            ],
            external: Vec::new(),
            peers: Vec::new(),
            mdns: false,
            rotate_every_days: None,
            archive: false,
            log: LogConfig::default(),
        }
    }
}

impl Default for LogConfig {
    fn default() -> LogConfig {
        LogConfig { filter: "warn,frith_node=info".into(), format: LogFormat::Pretty }
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what its fields are")]
pub enum ConfigError {
    #[error("{path}: cannot read the configuration: {why}")]
    Io { path: PathBuf, why: io::Error },
    #[error(transparent)]
    Bad(#[from] BadToml),
    #[error("{path}: {setting}: {why}")]
    Undialable { path: PathBuf, setting: &'static str, why: String },
}

/// What flags and environment say; `None` where they say nothing. (clap puts flags before the environment.)
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the field of the same name in `Config`")]
pub struct Overrides {
    pub listen: Option<Vec<Multiaddr>>,
    pub external: Option<Vec<Multiaddr>>,
    pub peers: Option<Vec<Multiaddr>>,
    pub mdns: Option<bool>,
    pub log_filter: Option<String>,
    pub log_format: Option<LogFormat>,
}

impl Config {
    /// The configuration in the file at `path`, or the defaults if there is no such file; with `overrides` over it.
    ///
    /// # Errors
    /// If there is a file and it cannot be used.
    pub fn load(path: &Path, overrides: Overrides) -> Result<Config, ConfigError> {
        let config = match fs::read_to_string(path) {
            Ok(text) => from_toml(&text, path)?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => Config::default(),
            Err(why) => return Err(ConfigError::Io { path: path.to_path_buf(), why }),
        };
        let config = config.with(overrides);
        // Flags and environment were looked at when they were read.
        for (setting, addresses) in [("external", &config.external), ("peers", &config.peers)] {
            for address in addresses {
                check_dialable(address).map_err(|why| ConfigError::Undialable {
                    path: path.to_path_buf(),
                    setting,
                    why,
                })?;
            }
        }
        Ok(config)
    }

    fn with(self, overrides: Overrides) -> Config {
        let Overrides { listen, external, peers, mdns, log_filter, log_format } = overrides;
        Config {
            listen: listen.unwrap_or(self.listen),
            external: external.unwrap_or(self.external),
            peers: peers.unwrap_or(self.peers),
            mdns: mdns.unwrap_or(self.mdns),
            rotate_every_days: self.rotate_every_days,
            archive: self.archive,
            log: LogConfig {
                filter: log_filter.unwrap_or(self.log.filter),
                format: log_format.unwrap_or(self.log.format),
            },
        }
    }

    /// This configuration as a file, with what each setting is for.
    pub fn to_commented_toml(&self) -> String {
        let list = |addresses: &[Multiaddr]| match addresses {
            [] => "[]".to_string(),
            some => {
                let lines: String = some.iter().map(|address| format!("  \"{address}\",\n")).collect();
                format!("[\n{lines}]")
            }
        };
        let format = match self.log.format {
            LogFormat::Pretty => "pretty",
            LogFormat::Json => "json",
        };
        format!(
            "\
# How this node is set up. Flags prevail over the environment, which prevails over this file.
# Everything that a whole domain must agree on is in its charter instead.

# Where the node listens (FRITH_LISTEN, --listen). Port 0 takes any free one.
listen = {listen}

# Where others reach it, if that is not where it listens: behind a NAT or a proxy (FRITH_EXTERNAL, --external).
external = {external}

# Addresses to try at every start, besides those that the node remembers (FRITH_PEERS, --peer).
peers = {peers}

# Look for nodes of the same domain in the local network (FRITH_MDNS, --mdns).
mdns = {mdns}

# Rotate the key by itself every so many days. The next key must then lie in keys/, where a thief of the machine finds it.
{rotate}

# Keep every final block, and serve what others have removed. Costs disk without end, and nothing else.
archive = {archive}

[log]
# What is worth a line: error, warn, info, debug, trace; for all, or by module (FRITH_LOG, --log).
filter = {filter:?}

# pretty for people, json for machines; both to stderr (FRITH_LOG_FORMAT, --log-format).
format = \"{format}\"
",
            listen = list(&self.listen),
            external = list(&self.external),
            peers = list(&self.peers),
            mdns = self.mdns,
            archive = self.archive,
            rotate = self.rotate_every_days.map_or("# rotate_every_days = 30".into(), |days| format!("rotate_every_days = {days}")),
            filter = self.log.filter,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("frith.toml");
        fs::write(&path, text).unwrap();
        (dir, path)
    }

    #[test]
    fn the_commented_defaults_are_the_defaults_and_name_every_setting() {
        let text = Config::default().to_commented_toml();
        let read: Config = from_toml(&text, Path::new("default")).unwrap();
        assert_eq!(read, Config::default());
        // Not only by default: each setting is there in so many words.
        let table: toml::Table = toml::from_str(&text).unwrap();
        assert_eq!(table, toml::Table::try_from(Config::default()).unwrap());
    }

    #[test]
    fn a_configuration_survives_being_written_and_read() {
        let config = Config {
            listen: vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()],
            external: vec!["/dns4/a.example/udp/5747/quic-v1".parse().unwrap()],
            peers: vec!["/ip6/::1/tcp/1".parse().unwrap()],
            mdns: true,
            rotate_every_days: NonZeroU16::new(30),
            archive: true,
            log: LogConfig { filter: "warn,frith_node=\"x\"".into(), format: LogFormat::Json },
        };
        let (_dir, path) = written(&config.to_commented_toml());
        assert_eq!(Config::load(&path, Overrides::default()).unwrap(), config);
    }

    #[test]
    fn flags_and_environment_prevail_over_the_file_one_by_one() {
        let (_dir, path) = written("mdns = true\n[log]\nfilter = \"debug\"\n");
        let overrides = Overrides { mdns: Some(false), ..Overrides::default() };
        let config = Config::load(&path, overrides).unwrap();
        assert!(!config.mdns);
        assert_eq!(config.log.filter, "debug");
        assert_eq!(config.listen, Config::default().listen);
    }

    #[test]
    fn no_file_means_the_defaults() {
        let config = Config::load(Path::new("/nowhere/frith.toml"), Overrides::default()).unwrap();
        assert_eq!(config, Config::default());
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line_and_what_was_meant() {
        let (_dir, path) = written("mdns = true\nlisen = []\n");
        let text = Config::load(&path, Overrides::default()).unwrap_err().to_string();
        for part in ["frith.toml", "line 2", "lisen", "did you mean `listen`?"] {
            assert!(text.contains(part), "{part:?} is missing in: {text}");
        }
        let (_dir, path) = written("[log]\nfromat = \"json\"\n");
        let text = Config::load(&path, Overrides::default()).unwrap_err().to_string();
        assert!(text.contains("line 2") && text.contains("did you mean `format`?"), "{text}");
    }

    #[test]
    fn an_address_that_nobody_could_dial_is_refused_with_its_setting() {
        let (_dir, path) = written("external = [\"/ip4/192.0.2.1/udp/5747\"]\n");
        let text = Config::load(&path, Overrides::default()).unwrap_err().to_string();
        assert!(text.contains("frith.toml: external: nobody can dial /ip4/192.0.2.1/udp/5747"), "{text}");
    }

    #[test]
    fn a_value_of_the_wrong_kind_is_refused_with_its_line() {
        let (_dir, path) = written("\nlisten = [\"127.0.0.1:80\"]\n");
        let text = Config::load(&path, Overrides::default()).unwrap_err().to_string();
        assert!(text.contains("line 2"), "{text}");
        let (_dir, path) = written("[log]\nformat = \"jsn\"\n");
        let text = Config::load(&path, Overrides::default()).unwrap_err().to_string();
        assert!(text.contains("did you mean `json`?"), "{text}");
    }
}
