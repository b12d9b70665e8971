//! Where log lines go: to stderr, so that stdout stays for what was asked for.
//!
//! Nothing secret can be logged: [`frith_protocol::identity::SecretKey`] and tickets show no secret however they are printed.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::{LogConfig, LogFormat};

/// Why logging cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("the log filter {filter:?} is not one: {why}; examples: info, or warn,frith_node=debug")]
pub struct BadFilter {
    filter: String,
    why: String,
}

/// Sets up logging for the whole process. A second call changes nothing.
///
/// # Errors
/// If the filter does not parse.
pub fn start(config: &LogConfig) -> Result<(), BadFilter> {
    let filter = EnvFilter::try_new(&config.filter)
        .map_err(|e| BadFilter { filter: config.filter.clone(), why: e.to_string() })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let set = match config.format {
        LogFormat::Pretty => builder.with_ansi(colour).with_target(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    // Somebody set it up before us, as in tests: theirs stands.
    drop(set);
    Ok(())
}
