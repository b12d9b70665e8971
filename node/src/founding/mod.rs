//! Founding a domain on several machines, by files that can be mailed.
//!
//! Each founder hands out a *card*; somebody makes a *draft* of the charter from the cards; each founder looks at it and hands out a
//! *signature*; with all of them, each founder *opens* the domain in its own directory. All files are public, and none of them lets
//! anybody do anything that the founders did not sign: addresses are hints. No secret key leaves its directory.

mod draft;
mod files;

use std::path::{Path, PathBuf};

use frith_protocol::fault::Fault;
use frith_protocol::identity::{BatchCheck, Inception, NodeId, Verified, verify};
use frith_protocol::limits;
use frith_protocol::state::{Charter, DomainId, Founded};
use rand::rngs::ThreadRng;

pub(crate) use draft::{COMMENTS, Comment, explain, freshen};
pub use draft::{Draft, DraftOptions, TIMINGS, draft, parse_role, parse_role_freshness, parse_timing};
pub use files::{Card, FounderSignature};

use crate::keys::NodeKeys;
use crate::words::BadToml;

/// Why a step of founding cannot be done.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what its fields are")]
pub enum FoundingError {
    #[error("{path}: cannot {what}: {why}")]
    Io { path: PathBuf, what: &'static str, why: std::io::Error },
    #[error("{0}")]
    Toml(#[from] BadToml),
    #[error("{path}: it is {theirs}, and {ours} is wanted here")]
    OtherFile { path: PathBuf, theirs: &'static str, ours: &'static str },
    #[error("{path}: it has format {theirs}, and this frith knows format {ours}: use a newer frith")]
    Newer { path: PathBuf, theirs: u32, ours: u32 },
    #[error("{path}: {why}")]
    BadCard { path: PathBuf, why: String },
    #[error("{first} and {second} are cards of the same founder {node}")]
    TwiceTheSame { node: NodeId, first: PathBuf, second: PathBuf },
    #[error("a charter needs founders: name at least one card")]
    NoCards,
    #[error("{0}")]
    Charter(Fault),
    #[error("{origin}: {fault}")]
    CharterIn { origin: PathBuf, fault: Fault },
    #[error("{origin}: this node ({node}) is none of the founders that it names")]
    NotAFounder { origin: PathBuf, node: NodeId },
    #[error(
        "{origin}: it names another voting key for this node than any in keys/: the draft was made from an old card; make a new card"
    )]
    OtherVotingKey { origin: PathBuf },
    #[error(
        "{path}: it signs the domain {theirs}; the draft {origin} is of {ours}: somebody changed the draft after signing"
    )]
    OtherDraft { path: PathBuf, origin: PathBuf, theirs: DomainId, ours: DomainId },
    #[error("{path}: it is a signature of {node}, who is none of the founders")]
    SignerUnknown { path: PathBuf, node: NodeId },
    #[error("{path}: the signature of {node} does not hold")]
    BadSignature { path: PathBuf, node: NodeId },
    #[error("all {all} founders must sign, and these did not: {missing}")]
    NotAll { all: usize, missing: String },
    #[error("no role can be read from {text:?}: write NAME or NAME=CAPABILITY,CAPABILITY")]
    BadRole { text: String },
    #[error("--role-freshness {text}: {why}")]
    BadRoleFreshness { text: String, why: String },
    #[error("{0}")]
    NoSuchRole(String),
    #[error("the role {name:?} is named twice")]
    TwiceTheRole { name: String },
    #[error("{0}")]
    BadTiming(String),
    #[error("{path}: it is not a recovery's draft: {why}")]
    BadRecovery { path: PathBuf, why: String },
}

/// The check of signatures that this node makes: batches with coefficients that nobody can predict.
pub fn signature_check() -> BatchCheck<ThreadRng> {
    BatchCheck::new(rand::rng())
}

pub(crate) fn read(path: &Path, what: &'static str) -> Result<String, FoundingError> {
    /// No card, draft or signature is longer.
    const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;
    let error = |why| FoundingError::Io { path: path.to_path_buf(), what, why };
    let length = std::fs::metadata(path).map_err(error)?.len();
    if length > FILE_BYTES_MAX {
        return Err(error(std::io::Error::other(format!("{length} bytes are too many for it"))));
    }
    std::fs::read_to_string(path).map_err(error)
}

/// This founder's signature of the draft at `origin`, after checking all that a founder would want checked.
///
/// # Errors
/// If the charter is not one to sign, or not this node's to sign.
pub fn sign(draft: &Draft, origin: &Path, keys: &NodeKeys) -> Result<FounderSignature, FoundingError> {
    let charter = &draft.charter;
    check_ours(charter, origin, keys)?;
    Ok(FounderSignature::new(
        charter.founds(),
        keys.inception.node_id(),
        charter.sign_founding(&keys.identity),
    ))
}

/// That `charter` can be safe, and gives this node its seat under a voting key that it has.
fn check_ours(charter: &Charter, origin: &Path, keys: &NodeKeys) -> Result<(), FoundingError> {
    let origin = || origin.to_path_buf();
    charter.check().map_err(|fault| FoundingError::CharterIn { origin: origin(), fault })?;
    for seat in &charter.endorsers {
        check_inception(&seat.inception)
            .map_err(|fault| FoundingError::CharterIn { origin: origin(), fault })?;
    }
    let node = keys.inception.node_id();
    let seat = charter.seat_of(&node).ok_or_else(|| FoundingError::NotAFounder { origin: origin(), node })?;
    if !keys.voting.iter().any(|key| key.public() == seat.voting_key) {
        return Err(FoundingError::OtherVotingKey { origin: origin() });
    }
    Ok(())
}

fn check_inception(inception: &Inception) -> Result<(), Fault> {
    verify(inception.clone(), &signature_check()).map(drop)
}

/// The founded domain, from the draft at `origin` and all signatures. Every signature is checked, whoever's it is.
///
/// # Errors
/// If one is missing, does not hold, or is of something else; or if the charter or this node's seat in it is not as it must be.
pub fn put_together(
    draft: &Draft,
    origin: &Path,
    signatures: &[(PathBuf, FounderSignature)],
    keys: &NodeKeys,
) -> Result<Verified<Founded>, FoundingError> {
    let charter = &draft.charter;
    check_ours(charter, origin, keys)?;
    let ours = charter.founds();
    for (path, signature) in signatures {
        let (path, node) = (path.clone(), signature.node);
        if signature.domain != ours {
            let (origin, theirs) = (origin.to_path_buf(), signature.domain);
            return Err(FoundingError::OtherDraft { path, origin, theirs, ours });
        }
        let seat = charter
            .seat_of(&node)
            .ok_or_else(|| FoundingError::SignerUnknown { path: path.clone(), node })?;
        if !signature.holds(&seat.inception.key) {
            return Err(FoundingError::BadSignature { path, node });
        }
    }
    let by = |node: NodeId| signatures.iter().find(|(_, signature)| signature.node == node);
    let found: Vec<_> = charter.endorsers.iter().filter_map(|seat| by(seat.node_id())).collect();
    if found.len() < charter.size() {
        let missing: Vec<String> = charter
            .endorsers
            .iter()
            .map(|seat| seat.node_id())
            .filter(|node| by(*node).is_none())
            .map(|node| node.to_string())
            .collect();
        return Err(FoundingError::NotAll { all: charter.size(), missing: missing.join(", ") });
    }
    let signatures = found.iter().map(|(_, signature)| signature.signature).collect();
    let founded = Founded { charter: charter.clone(), signatures };
    verify(founded, &signature_check()).map_err(FoundingError::Charter)
}

/// Refuses addresses that are too many, too long, or not addresses.
fn check_addresses(addresses: &[String]) -> Result<(), String> {
    if addresses.len() > limits::ADDRESSES_MAX {
        return Err(format!(
            "{} addresses, and at most {} are allowed",
            addresses.len(),
            limits::ADDRESSES_MAX
        ));
    }
    for address in addresses {
        if address.len() > limits::ADDRESS_BYTES_MAX {
            return Err(format!("an address of {} bytes is too long", address.len()));
        }
        if let Err(e) = address.parse::<libp2p::Multiaddr>() {
            return Err(format!("{address:?} is not an address like /ip4/192.0.2.7/tcp/5747: {e}"));
        }
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests;
