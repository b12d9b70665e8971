//! Charters that change (SPEC 3.8 and 4.12).

use std::collections::BTreeSet;
use std::sync::Arc;

use frith_protocol::encoding::Hash;
use frith_protocol::identity::PublicKey;
use frith_protocol::state::{Amend, Charter, Consent, DomainId, Seat};
use frith_protocol::time::Timestamp;

use super::No;
use super::charters::check_charter;
use super::facts::{ConvictedKey, Conviction, Facts, Standing, key_place};
use super::hashes::{Bytes32, ZERO, consent, digest_of, holds, may_be_introduced, node_id, possession};
use super::rules::{check_basis, is_convicted, is_strictly_sorted, is_suspended, unless};

/// SPEC 1.4: the id of the terms in an `Amend`.
pub(super) fn terms_id(domain: DomainId, amend: &Amend) -> Bytes32 {
    digest_of("terms", &(domain, &amend.charter))
}

/// What needs no state.
pub(super) fn check_signatures(domain: DomainId, amend: &Amend) -> Result<(), No> {
    check_terms_of(domain.0, &amend.charter, &amend.consents)
}

/// SPEC 3.8: terms, and the consents to them.
pub(super) fn check_terms_of(domain: Bytes32, charter: &Charter, consents: &[Consent]) -> Result<(), No> {
    let nodes: Vec<Bytes32> = consents.iter().map(|consent| consent.node.0).collect();
    unless(is_strictly_sorted(&nodes), "4.12 consents out of order")?;
    let bound = charter.endorsers.iter().any(|seat| seat.voting_key.0 != ZERO);
    unless(!bound, "3.8 terms with a voting key")?;
    for Seat { inception, .. } in &charter.endorsers {
        let proven = holds(&inception.key, &possession(inception), &inception.possession);
        unless(proven, "3.8 a possession in the terms")?;
    }
    let terms = digest_of("terms", &(DomainId(domain), charter));
    for said in consents {
        let signed = consent(terms, said);
        unless(may_be_introduced(&said.voting_key), "1.6 voting key of a consent")?;
        unless(holds(&said.key, &signed, &said.signature), "3.8 signature of a consent")?;
        unless(holds(&said.voting_key, &signed, &said.possession), "3.8 possession of a voting key")?;
    }
    Ok(())
}

pub(super) fn seat_of<'a>(charter: &'a Charter, node: &Bytes32) -> Option<&'a Seat> {
    charter.endorsers.iter().find(|seat| node_id(&seat.inception) == *node)
}

/// These terms with the voting keys that consents bind, and those that the silent keep. Whoever has neither keeps the zeros.
fn charter_of(facts: &Facts, terms: &Charter, consents: &[Consent]) -> Charter {
    let mut charter = terms.clone();
    for seat in &mut charter.endorsers {
        let node = node_id(&seat.inception);
        let fresh = consents.iter().find(|consent| consent.node.0 == node);
        let kept = seat_of(facts.charter(), &node);
        if let Some(key) = fresh.map(|it| it.voting_key).or(kept.map(|it| it.voting_key)) {
            seat.voting_key = key;
        }
    }
    charter
}

/// SPEC 4.12, but for the endorsements.
pub(super) fn check(facts: &Facts, height: u64, time: Timestamp, amend: &Amend) -> Result<(), No> {
    let (now, terms) = (facts.charter(), &amend.charter);
    unless(u128::from(terms.epoch) == u128::from(now.epoch) + 1, "4.12 epoch")?;
    let previous = terms.previous.map(|id| id.0);
    unless(previous == Some(digest_of("charter", now)), "4.12 previous charter")?;
    for seat in &terms.endorsers {
        check_seat(facts, time, amend, &node_id(&seat.inception))?;
    }
    let mut fresh = BTreeSet::new();
    for consent in &amend.consents {
        check_consent(facts, terms, consent)?;
        check_basis(facts, height, time, &consent.basis)?;
        unless(fresh.insert(consent.voting_key), "4.12 a voting key in two consents")?;
    }
    check_law(facts, time, terms, &amend.consents)
}

/// What SPEC 4.12 asks of every charter that follows another.
pub(super) fn check_law(
    facts: &Facts,
    time: Timestamp,
    terms: &Charter,
    consents: &[Consent],
) -> Result<(), No> {
    let now = facts.charter();
    unless(now.written < terms.written && terms.written <= time, "4.12 written")?;
    let age = time.0 - terms.written.0;
    unless(age <= now.timing.proposal_lifetime_ms, "4.12 written too long ago")?;
    unless(terms.last_day > time, "4.12 last day")?;
    check_charter(&charter_of(facts, terms, consents))?;
    let free = |key: &PublicKey| !facts.keys.contains_key(&key_place(key));
    unless(terms.recovery.keys.iter().all(free), "4.12 a recovery key is somebody's")?;
    let able = terms.endorsers.iter().map(|seat| node_id(&seat.inception)).filter(|node| {
        let restrained = is_suspended(facts, node, time) || is_convicted(facts, node);
        !facts.gone.contains_key(node) && !restrained
    });
    let able = able.count();
    unless(able >= usize::from(terms.thresholds.amend), "4.12 it strands itself")
}

fn check_seat(facts: &Facts, time: Timestamp, amend: &Amend, node: &Bytes32) -> Result<(), No> {
    let standing = facts.standing.get(node).ok_or("4.12 a seat for who does not stand")?;
    if seat_of(facts.charter(), node).is_some() {
        return Ok(());
    }
    unless(amend.consents.iter().any(|consent| consent.node.0 == *node), "4.12 no consent")?;
    let open = standing.window.from <= time && time < standing.window.until;
    unless(open && !standing.is_restrained(time), "4.12 a seat for who is not effective")
}

pub(super) fn check_consent(facts: &Facts, terms: &Charter, consent: &Consent) -> Result<(), No> {
    unless(seat_of(terms, &consent.node.0).is_some(), "4.12 consent without a seat")?;
    let standing = facts.standing.get(&consent.node.0).ok_or("4.12 consent of who does not stand")?;
    let current = standing.keys.current == consent.key && standing.keys.sequence == consent.sequence;
    unless(current, "4.12 consent not by the current key")?;
    unless(!facts.keys.contains_key(&key_place(&consent.voting_key)), "2.3 the voting key is somebody's")
}

/// SPEC 4.13: which convictions last beyond a charter that gives their owner this seat. Those of the key that it goes on
/// voting by, and of the key that only a rotation puts out of use.
fn left_of(standing: &Standing, seat: Option<&Seat>) -> Vec<Conviction> {
    let lasts = |it: &&Conviction| match it.key {
        ConvictedKey::Voting(key) => seat.is_some_and(|seat| seat.voting_key == key),
        ConvictedKey::Identity(_) => true,
    };
    standing.convictions.iter().filter(lasts).copied().collect()
}

/// SPEC 4.12: what it changes, taken to be valid.
pub(super) fn apply(facts: &mut Facts, time: Timestamp, amend: &Amend) {
    let before: Vec<_> = facts
        .charter()
        .endorsers
        .iter()
        .map(|seat| (seat.voting_key, Hash(node_id(&seat.inception))))
        // SPEC 7.1: of a key that was convicted nothing more is heard.
        .filter(|(key, node)| {
            let of = |standing: &Arc<Standing>| {
                standing.convictions.iter().any(|it| it.key == ConvictedKey::Voting(*key))
            };
            !facts.standing.get(&node.0).is_some_and(of)
        })
        .collect();
    put_in_force(facts, time, &amend.charter, &amend.consents);
    facts.set_previous_voters(before);
}

pub(super) fn put_in_force(facts: &mut Facts, time: Timestamp, terms: &Charter, consents: &[Consent]) {
    let (before, after) = (facts.charter().clone(), charter_of(facts, terms, consents));
    for consent in consents {
        facts.keys.insert(key_place(&consent.voting_key), Hash(consent.node.0));
    }
    for (node, standing) in &mut facts.standing {
        let standing = Arc::make_mut(standing);
        let seat = seat_of(&after, node);
        standing.convictions = left_of(standing, seat);
        match seat {
            Some(seat) => standing.roles = seat.roles.clone(),
            None if seat_of(&before, node).is_some() => {
                standing.window.until = Timestamp(time.0.saturating_add(after.timing.member_lifetime_ms));
            }
            None => {}
        }
        standing.roles.retain(|role| after.roles.iter().any(|known| known.name == *role));
    }
    facts.set_charter(after);
}
