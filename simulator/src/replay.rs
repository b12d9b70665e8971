//! A failing run on disk: the scenario's text, the seed, and the faults that happened. All that it takes to see it again.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::engine::Plan;
use crate::run::{Finished, Options};
use crate::scenario::{BadScenario, Scenario};

/// A recorded run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Which version of the simulator wrote it.
    pub version: String,
    /// The scenario's name.
    pub scenario: String,
    /// Its text.
    pub text: String,
    /// The seed.
    pub seed: u64,
    /// How many newcomers came, if not as many as the text says.
    pub newcomers: Option<u32>,
    /// The faults, by domain.
    pub plans: Vec<Plan>,
    /// How it ended.
    pub exit: u8,
    /// What broke.
    pub broke: Vec<String>,
    /// The hash of the trace: a replay by the same build has the same.
    pub trace_hash: String,
}

/// Why a record cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum BadRecord {
    /// It cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// It is no record.
    #[error("{}: it is no recorded run: {source}", path.display())]
    Format {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// Its scenario is not one.
    #[error(transparent)]
    Scenario(#[from] BadScenario),
}

impl Record {
    /// The record of a run.
    pub fn of(scenario: &Scenario, newcomers: Option<u32>, finished: &Finished) -> Record {
        let violations = finished.violations.iter().map(ToString::to_string);
        Record {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            scenario: scenario.name.clone(),
            text: scenario.text.clone(),
            seed: finished.report.seed,
            newcomers,
            plans: finished.plans.clone(),
            exit: finished.exit as u8,
            broke: violations.chain(finished.disappointments.iter().cloned()).collect(),
            trace_hash: finished.report.trace_hash.to_string(),
        }
    }

    /// Writes it into `directory`. Where.
    ///
    /// # Errors
    /// [`BadRecord::File`] if that cannot be done.
    pub fn write(&self, directory: &Path) -> Result<PathBuf, BadRecord> {
        let path = directory.join(format!("{}-{}.replay.json", self.scenario.replace('/', "-"), self.seed));
        let failed = |source| BadRecord::File { path: path.clone(), source };
        std::fs::create_dir_all(directory).map_err(failed)?;
        let text = serde_json::to_string_pretty(self).expect("a record always encodes");
        std::fs::write(&path, text).map_err(failed)?;
        Ok(path)
    }

    /// Reads one.
    ///
    /// # Errors
    /// [`BadRecord`] says why it is none.
    pub fn read(path: &Path) -> Result<Record, BadRecord> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| BadRecord::File { path: path.to_owned(), source })?;
        serde_json::from_str(&text).map_err(|source| BadRecord::Format { path: path.to_owned(), source })
    }

    /// What is to be run to see it again.
    ///
    /// # Errors
    /// [`BadRecord::Scenario`] if its text is no scenario of this version.
    pub fn scenario(&self) -> Result<(Scenario, Options), BadRecord> {
        let mut scenario = Scenario::parse(&self.scenario, &self.scenario, self.text.clone())?;
        if let Some(newcomers) = self.newcomers {
            scenario = scenario.with_newcomers(newcomers)?;
        }
        let options =
            Options { seed: Some(self.seed), plans: Some(self.plans.clone()), ..Options::default() };
        Ok((scenario, options))
    }
}
