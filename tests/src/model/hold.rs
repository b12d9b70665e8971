//! Holds, for the record (SPEC 4.14, 5.24).

use frith_protocol::encoding::Hash;
use frith_protocol::limits;
use frith_protocol::state::Hold;
use frith_protocol::time::Timestamp;

use super::No;
use super::facts::{Facts, day};
use super::hashes::{Bytes32, digest_of, holds, node_id};
use super::rules::{check_basis, unless};

/// SPEC 5.24: what it signs.
pub fn hold_digest(it: &Hold) -> Hash {
    let Hold { domain, by, sequence, key: _, subject, slot, basis, until, reason, signature: _ } = it;
    Hash(digest_of("hold", &(1u8, 0u8, (domain, by, sequence, subject, slot, basis, until, reason))))
}

/// What needs no state.
pub(super) fn check_signature(it: &Hold) -> Result<(), No> {
    unless(it.slot < limits::HOLDS_PER_DAY, "5.24 slot")?;
    unless(holds(&it.key, &hold_digest(it).0, &it.signature), "5.24 signature of a hold")
}

/// SPEC 4.14.
pub(super) fn check(
    domain: Bytes32,
    facts: &Facts,
    height: u64,
    time: Timestamp,
    it: &Hold,
) -> Result<(), No> {
    unless(it.domain.0 == domain, "4.14 another domain")?;
    let charter = facts.charter();
    let seated = charter.endorsers.iter().any(|seat| node_id(&seat.inception) == it.by.0);
    unless(seated, "4.14 no endorser")?;
    let standing = facts.standing.get(&it.by.0).ok_or("4.14 a revoked endorser")?;
    unless(!standing.is_suspended(time), "4.14 a suspended endorser")?;
    unless(standing.convictions.is_empty(), "4.14 a convicted endorser")?;
    let current = standing.keys.current == it.key && standing.keys.sequence == it.sequence;
    unless(current, "4.14 not the current key")?;
    unless(it.until > it.basis.time, "4.14 it ends before its basis")?;
    unless(it.until.0 - it.basis.time.0 <= charter.timing.hold_ms, "4.14 too long")?;
    check_basis(facts, height, time, &it.basis)?;
    match standing.holds {
        Some((_, newest, _)) if newest > day(it.basis.time) => Err("4.14 of an earlier day"),
        Some((_, newest, slots)) if newest == day(it.basis.time) && slots & (1 << it.slot) != 0 => {
            Err("4.14 a slot twice")
        }
        Some(_) | None => Ok(()),
    }
}

/// SPEC 4.14: what it changes, taken to be valid.
pub(super) fn apply(facts: &mut Facts, height: u64, it: &Hold) {
    let Some(standing) = facts.standing_mut(&it.by.0) else { return };
    let of = day(it.basis.time);
    let before = standing.holds.filter(|(_, newest, _)| *newest == of).map_or(0, |(_, _, slots)| slots);
    standing.holds = Some((height, of, before | 1u8.checked_shl(it.slot.into()).unwrap_or(0)));
}
