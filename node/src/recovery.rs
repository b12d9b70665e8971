//! A domain's way back after its quorum is lost for good, or its log has forked (SPEC 4.15, 9.16 to 9.19): the file that goes round, from the draft to
//! the last signature.
//!
//! It holds everything that is public and nothing that is secret. Whoever signs an offline key's name under it needs no node: but the id that
//! is signed covers a state that only a node can compute, so one asks a node that one trusts first ([`RecoveryFile::block`] says which id).

use std::path::Path;
use std::sync::Arc;

use frith_protocol::agreement::{Ballot, Certificate};
use frith_protocol::identity::{NodeId, PublicKey, SecretKey, Signature};
use frith_protocol::state::{Block, DomainId, Entry, FinalChain, Header, Kind, Recover, Statement};
use serde::{Deserialize, Serialize};

use crate::founding::{FoundingError, read};

/// The format of the file.
const FORMAT: u32 = 1;

/// A recovery on its way: drafted, consented to, signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecoveryFile {
    recovery: u32,
    /// Which domain.
    pub domain: DomainId,
    /// What is said: the block that the log goes on from, who stays out, the next charter, who consented.
    pub recover: Recover,
    /// The header of its block; none before everybody whom it seats has consented.
    pub header: Option<Header>,
    /// By recovery keys, of that block.
    pub signatures: Vec<(PublicKey, Signature)>,
}

impl RecoveryFile {
    /// A draft that nobody has consented to.
    pub fn new(domain: DomainId, recover: Recover) -> RecoveryFile {
        RecoveryFile { recovery: FORMAT, domain, recover, header: None, signatures: Vec::new() }
    }

    /// Reads the file at `path`.
    ///
    /// # Errors
    /// If it is not one.
    pub fn read(path: &Path) -> Result<RecoveryFile, FoundingError> {
        let text = read(path, "read a recovery")?;
        let file: RecoveryFile = serde_json::from_str(&text)
            .map_err(|why| FoundingError::BadRecovery { path: path.into(), why: why.to_string() })?;
        if file.recovery > FORMAT {
            let (theirs, ours) = (file.recovery, FORMAT);
            return Err(FoundingError::Newer { path: path.into(), theirs, ours });
        }
        Ok(file)
    }

    /// The file.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a recovery is plain JSON") + "\n"
    }

    /// Who gets a seat and has not consented yet.
    pub fn silent(&self) -> Vec<NodeId> {
        let Recover { charter, consents, .. } = &self.recover;
        let nodes = charter.endorsers.iter().map(|seat| seat.node_id());
        nodes.filter(|node| !consents.iter().any(|consent| consent.node == *node)).collect()
    }

    /// The block that is signed: its id is what all who sign must see.
    pub fn block(&self) -> Option<Block> {
        let kind = Kind::Recover(Box::new(self.recover.clone()));
        let statement = Statement { domain: self.domain, kind };
        let header = self.header.clone()?;
        Some(Block { header, entries: vec![Entry { statement, endorsements: Vec::new() }] })
    }

    /// The same with the signature of `key`.
    ///
    /// # Errors
    /// If there is nothing to sign yet, or the block is not of what the file says.
    pub fn sign(&mut self, key: &SecretKey) -> Result<(), String> {
        let block = self.block().ok_or_else(|| self.not_yet())?;
        if !block.has_its_entries() {
            return Err(
                "the header in the file is of another recovery than the file says: do not sign it".into()
            );
        }
        let ballot = Ballot::of_recovery(self.domain, block.header.epoch, block.id());
        self.signatures.retain(|(of, _)| *of != key.public());
        self.signatures.push((key.public(), key.sign(&ballot.digest())));
        self.signatures.sort();
        Ok(())
    }

    /// All of it, as nodes take it.
    ///
    /// # Errors
    /// If there is no block yet.
    pub fn chain(&self) -> Result<FinalChain, String> {
        let block = self.block().ok_or_else(|| self.not_yet())?;
        let ballot = Ballot::of_recovery(self.domain, block.header.epoch, block.id());
        let certificate = Certificate { ballot, votes: self.signatures.clone() };
        Ok(FinalChain { blocks: vec![Arc::new(block)], headers: Vec::new(), certificate })
    }

    fn not_yet(&self) -> String {
        let silent: Vec<String> = self.silent().iter().map(NodeId::short).collect();
        format!("it cannot be signed before {} consent: frith recover consent", silent.join(", "))
    }

    /// What it says, a line each.
    pub fn lines(&self) -> Vec<String> {
        let Recover { base, gone, suspended, charter, .. } = &self.recover;
        let mut lines = vec![
            format!("domain {}", self.domain),
            format!("goes on from height {}, block {}", base.height, base.block),
            format!("epoch {}, f = {}", charter.epoch, charter.faults),
        ];
        let silent = self.silent();
        for seat in &charter.endorsers {
            let consented =
                if silent.contains(&seat.node_id()) { "has not consented yet" } else { "consents" };
            lines.push(format!("endorser {} {consented}", seat.node_id()));
        }
        lines.extend(gone.iter().map(|revoke| format!("gone for good: {}", revoke.subject)));
        lines.extend(suspended.iter().map(|suspend| format!("suspended: {}", suspend.subject)));
        if let Some(header) = &self.header {
            lines.push(format!("block to be signed {}", header.id()));
        }
        lines.extend(self.signatures.iter().map(|(key, _)| format!("signed by {key}")));
        lines
    }
}

/// What a recovery says, in one line.
pub(crate) fn in_words(recover: &Recover) -> String {
    let seats: Vec<String> = recover.charter.endorsers.iter().map(|seat| seat.node_id().short()).collect();
    let out = match recover.gone.len() + recover.suspended.len() {
        0 => String::new(),
        out => format!(", {out} kept out"),
    };
    format!(
        "go on from height {} by recovery: epoch {}, endorsers {}, f = {}{out}",
        recover.base.height,
        recover.charter.epoch,
        seats.join(", "),
        recover.charter.faults
    )
}
