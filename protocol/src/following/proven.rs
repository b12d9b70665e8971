//! What a certificate vouches for, and whether a chain is one: links, epoch, quorum (SPEC 8.1, 9.1, 9.11).

use std::sync::Arc;

use super::chain::Proof;
use crate::agreement::{BallotKind, Certificate};
use crate::fault::Fault;
use crate::identity::{PublicKey, Signature, Verified};
use crate::planted::{Bug, loosened};
use crate::state::{BlockId, Charter, DomainId, FinalChain, Header};

/// The part of `chain` below `height`, proven by the headers of the rest; none if it has no block there.
pub fn chain_below(chain: &FinalChain, height: u64) -> Option<Verified<Arc<FinalChain>>> {
    let (blocks, rest): (Vec<_>, Vec<_>) =
        chain.blocks.iter().cloned().partition(|block| block.header.height < height);
    let headers = rest.iter().map(|block| &block.header).chain(&chain.headers).cloned().collect();
    let certificate = chain.certificate.clone();
    let some = !blocks.is_empty();
    some.then(|| Verified::of_verified_parts(Arc::new(FinalChain { blocks, headers, certificate })))
}

/// A header as a chain without blocks.
pub fn tip_of(header: &Header, proof: &Proof) -> FinalChain {
    let headers = std::iter::once(header).chain(&proof.headers).cloned().collect();
    FinalChain { blocks: Vec::new(), headers, certificate: proof.certificate.clone() }
}

/// Whether `certificate` makes `tip`, of which `id` is the id, final under `charter`: by a quorum of its endorsers (SPEC 8.1), or by its
/// recovery quorum (SPEC 9.17; whether that may be is asked elsewhere). Its signatures were checked.
///
/// # Errors
/// [`Fault::BadCertificate`] says why not.
pub fn check_certificate(
    domain: DomainId,
    charter: &Charter,
    certificate: &Certificate<PublicKey, Signature>,
    tip: &Header,
    id: BlockId,
) -> Result<(), Fault> {
    let wrong = |why| Err(Fault::BadCertificate { why });
    let ballot = &certificate.ballot;
    if ballot.kind != BallotKind::Finalise {
        return wrong("it is not one of finality");
    }
    if ballot.domain != domain {
        return wrong("it is of another domain");
    }
    if ballot.epoch != charter.epoch || tip.epoch != charter.epoch {
        return wrong("it is of another epoch");
    }
    if ballot.block != id {
        return wrong("it is for another block");
    }
    if certificate.is_of_recovery() {
        let recovery = &charter.recovery;
        if !certificate.votes.iter().all(|(key, _)| recovery.keys.contains(key)) {
            return wrong("one of its keys is not a recovery key of the charter");
        }
        // With none there is no such quorum.
        let threshold = usize::from(recovery.threshold);
        let threshold = if loosened(Bug::RecoveredByOne) { 1 } else { threshold };
        if threshold == 0 || certificate.votes.len() < threshold {
            return wrong("its keys are fewer than the recovery quorum");
        }
        return Ok(());
    }
    if !certificate.votes.iter().all(|(key, _)| charter.seat_of_voter(key).is_some()) {
        return wrong("one of its voters is not in the charter");
    }
    if certificate.votes.len() < charter.quorum() && !loosened(Bug::ChainsByFew) {
        return wrong("its voters are fewer than the quorum");
    }
    Ok(())
}

/// Whether each header of the chain, of which `ids` are the ids, follows the one before (SPEC 9.1).
///
/// # Errors
/// A [`Fault`] that names the header that does not.
pub fn check_links(chain: &FinalChain, ids: &[BlockId]) -> Result<(), Fault> {
    // The recovery quorum vouches for its own block, and for nothing that is said to lie before it.
    if chain.certificate.is_of_recovery() && ids.len() != 1 {
        return Err(Fault::BadCertificate { why: "a recovery comes alone" });
    }
    if chain.certificate.is_of_recovery() != chain.blocks.iter().any(|block| block.recovers())
        && !chain.blocks.is_empty()
    {
        return Err(Fault::BadCertificate {
            why: "a recovery is certified by its own quorum, and nothing else is",
        });
    }
    let mut before: Option<(&Header, BlockId)> = None;
    for (header, id) in chain.all_headers().zip(ids) {
        if let Some((before, linked)) = before
            && (header.height <= before.height || (header.parent != linked && header.previous != linked))
            && !loosened(Bug::UnlinkedChains)
        {
            return Err(Fault::WrongHeader { block: *id, what: "the link to the block before" });
        }
        before = Some((header, *id));
    }
    if chain.blocks.iter().any(|block| block.header.is_heartbeat()) {
        return Err(Fault::BadCertificate { why: "a heartbeat stands among the blocks with entries" });
    }
    Ok(())
}

/// SPEC 9.11.
pub(super) fn check_one_epoch(chain: &FinalChain) -> Result<(), Fault> {
    let epoch = chain.certificate.ballot.epoch;
    if chain.all_headers().any(|header| header.epoch != epoch) && !loosened(Bug::ChainsAcrossEpochs) {
        return Err(Fault::BadCertificate { why: "its blocks are not of one epoch" });
    }
    Ok(())
}
