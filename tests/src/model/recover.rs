//! Logs that go on by the word of the recovery quorum (SPEC 4.15). Who signed is no matter of execution.

use std::collections::BTreeSet;

use frith_protocol::identity::PublicKey;
use frith_protocol::limits;
use frith_protocol::state::{BlockId, Recover};
use frith_protocol::time::Timestamp;

use super::No;
use super::amend::{check_consent, check_law, check_terms_of, put_in_force, seat_of};
use super::facts::{Facts, Gone};
use super::hashes::{Bytes32, ZERO, digest_of, node_id};
use super::rules::{is_strictly_sorted, unless};

/// What needs no state.
pub(super) fn check_signatures(domain: Bytes32, it: &Recover) -> Result<(), No> {
    let gone: Vec<Bytes32> = it.gone.iter().map(|it| it.subject.0).collect();
    let suspended: Vec<Bytes32> = it.suspended.iter().map(|it| it.subject.0).collect();
    unless(is_strictly_sorted(&gone) && is_strictly_sorted(&suspended), "4.15 denials out of order")?;
    let most = limits::RECOVERY_DENIALS_MAX;
    unless(gone.len() <= most && suspended.len() <= most, "4.15 too many denials")?;
    check_terms_of(domain, &it.charter, &it.consents)
}

/// SPEC 4.15.
pub(super) fn check(
    facts: &Facts,
    base: Option<BlockId>,
    height: u64,
    time: Timestamp,
    it: &Recover,
) -> Result<(), No> {
    let base = base.ok_or("4.15 nobody packs it")?;
    let fits = it.base.block == base && u128::from(it.base.height) + 1 == u128::from(height);
    unless(fits && it.base.time < time, "4.15 another base")?;
    for one in &it.gone {
        unless(!facts.gone.contains_key(&one.subject.0), "4.15 gone already")?;
    }
    for one in &it.suspended {
        let standing = facts.standing.get(&one.subject.0).ok_or("4.15 suspended without standing")?;
        unless(it.gone.iter().all(|gone| gone.subject != one.subject), "4.15 gone and suspended")?;
        unless(one.number > standing.suspensions, "4.15 number of a suspension")?;
        unless(one.until > time, "4.15 a suspension that is over")?;
        let longer = standing.suspension.is_some_and(|(until, _, _)| time < until && one.until < until);
        unless(!longer, "4.15 a suspension shortened")?;
    }
    let mut after = facts.clone();
    deny(&mut after, height, it);
    let (now, terms) = (facts.charter(), &it.charter);
    unless(terms.previous.map(|id| id.0) == Some(digest_of("charter", now)), "4.15 previous charter")?;
    let later = terms.epoch.checked_sub(now.epoch);
    unless(later.is_some_and(|by| (1..=limits::RECOVERY_EPOCHS_MAX).contains(&by)), "4.15 epoch")?;
    for seat in &terms.endorsers {
        let node = node_id(&seat.inception);
        let standing = after.standing.get(&node).ok_or("4.15 a seat for who does not stand")?;
        unless(it.consents.iter().any(|consent| consent.node.0 == node), "4.15 no consent")?;
        let had_one = seat_of(now, &node).is_some();
        unless(had_one || !standing.is_restrained(time), "4.15 a seat for who is restrained")?;
    }
    let mut fresh: BTreeSet<PublicKey> = BTreeSet::new();
    for consent in &it.consents {
        check_consent(&after, terms, consent)?;
        unless(consent.basis == it.base, "4.15 a consent on another basis")?;
        unless(fresh.insert(consent.voting_key), "4.15 a voting key in two consents")?;
    }
    check_law(&after, time, terms, &it.consents)
}

fn deny(facts: &mut Facts, height: u64, it: &Recover) {
    for one in &it.gone {
        let stood = facts.standing.remove(&one.subject.0);
        // Of whom nobody knows a key, none is kept.
        let key = stood.map_or(PublicKey(ZERO), |standing| standing.keys.current);
        facts.gone.insert(one.subject.0, Gone { height, reason: one.reason, key });
    }
    for one in &it.suspended {
        if let Some(standing) = facts.standing_mut(&one.subject.0) {
            standing.suspensions = one.number;
            standing.suspension = Some((one.until, height, one.reason));
        }
    }
}

/// SPEC 4.15: what it changes, taken to be valid.
pub(super) fn apply(facts: &mut Facts, height: u64, time: Timestamp, it: &Recover) {
    deny(facts, height, it);
    put_in_force(facts, time, &it.charter, &it.consents);
    facts.set_previous_voters(Vec::new());
}
