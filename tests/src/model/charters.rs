//! Which charters are refused (SPEC 3).

use frith_protocol::encoding::encode;
use frith_protocol::identity::PublicKey;
use frith_protocol::limits;
use frith_protocol::state::{Charter, Founded};

use super::No;
use super::hashes::{Bytes32, digest, digest_of, holds, may_be_introduced, node_id, possession};
use super::rules::{is_strictly_sorted, unless};

fn is_name(name: &str) -> bool {
    (1..=limits::NAME_BYTES_MAX).contains(&name.len()) && !name.chars().any(char::is_control)
}

/// SPEC 3.5.
pub(super) fn check_founded(founded: &Founded) -> Result<(), No> {
    let charter = &founded.charter;
    unless(charter.previous.is_none(), "3.1 not a founding charter")?;
    check_charter(charter)?;
    unless(founded.signatures.len() == charter.endorsers.len(), "3.5 not all founders signed")?;
    let signed = digest("founding", &digest_of("domain", charter));
    for (seat, signature) in charter.endorsers.iter().zip(&founded.signatures) {
        let inception = &seat.inception;
        unless(
            holds(&inception.key, &possession(inception), &inception.possession),
            "2.1 possession does not hold",
        )?;
        unless(holds(&inception.key, &signed, signature), "3.5 signature of a founder")?;
    }
    Ok(())
}

/// SPEC 3.1 to 3.4, 3.7 and 3.9.
///
/// # Errors
/// The rule that it breaks.
pub fn check_charter(charter: &Charter) -> Result<(), No> {
    let n = charter.endorsers.len() as i64;
    let f = i64::from(charter.faults);
    unless((charter.epoch == 1) == charter.previous.is_none(), "3.7 epoch")?;
    unless(encode(charter).len() <= limits::CHARTER_BYTES_MAX, "3.9 a charter too long")?;
    unless((1..=limits::ENDORSERS_MAX as i64).contains(&n), "3.2 endorsers")?;
    let nodes: Vec<Bytes32> = charter.endorsers.iter().map(|seat| node_id(&seat.inception)).collect();
    unless(is_strictly_sorted(&nodes), "3.1 endorsers out of order")?;

    unless(n > 3 * f, "3.2 n")?;
    let quorum = (n + f) / 2 + 1;
    let [admit, revoke, contain, amend] = {
        let t = charter.thresholds;
        [t.admit, t.revoke, t.contain, t.amend].map(i64::from)
    };
    unless((quorum..=n - f).contains(&amend), "3.2 amend")?;
    unless([admit, revoke, contain].iter().all(|t| (f + 1..=n - f).contains(t)), "3.2 thresholds")?;
    unless(admit >= n.min(2), "3.2 one alone admits")?;

    check_timing(charter)?;
    check_keys(charter)?;
    check_names(charter)
}

/// SPEC 3.3.
fn check_timing(charter: &Charter) -> Result<(), No> {
    let t = &charter.timing;
    unless(t.heartbeat_ms >= 1, "3.3 heartbeat")?;
    unless(1 <= t.first_timeout_ms && t.first_timeout_ms <= t.timeout_cap_ms, "3.3 time-outs")?;
    let least = u128::from(t.heartbeat_ms)
        + u128::from(t.skew_ms)
        + (u128::from(charter.faults) + 1) * u128::from(t.timeout_cap_ms);
    unless(u128::from(t.freshness_ms) > least, "3.3 freshness")?;
    for bound in charter.roles.iter().filter_map(|role| role.freshness_ms) {
        unless(u128::from(bound) > least && bound <= t.freshness_ms, "3.3 freshness of a role")?;
    }
    unless(t.silence_ms > t.freshness_ms, "3.3 silence")?;
    let lifetimes = [t.member_lifetime_ms, t.basis_ms, t.ticket_lifetime_ms, t.proposal_lifetime_ms];
    unless(lifetimes.iter().all(|lifetime| *lifetime > 0), "3.3 a lifetime of nothing")?;
    unless(t.member_lifetime_ms <= limits::MEMBER_LIFETIME_MAX_MS, "3.3 member lifetime")?;
    unless(t.hold_ms <= limits::HOLD_MAX_MS, "3.10 holds")?;
    let bounds = [
        t.heartbeat_ms,
        t.freshness_ms,
        t.silence_ms,
        t.skew_ms,
        t.first_timeout_ms,
        t.timeout_cap_ms,
        t.basis_ms,
        t.ticket_lifetime_ms,
        t.proposal_lifetime_ms,
    ];
    unless(bounds.iter().all(|bound| *bound <= limits::CHARTER_BOUND_MAX_MS), "3.3 a bound beyond limits.rs")
}

/// SPEC 3.4.
fn check_keys(charter: &Charter) -> Result<(), No> {
    let seats = charter.endorsers.iter().flat_map(|seat| [seat.inception.key, seat.voting_key]);
    let mut keys: Vec<PublicKey> = seats.chain(charter.recovery.keys.iter().copied()).collect();
    unless(keys.iter().all(may_be_introduced), "1.6 a key of the charter")?;
    keys.sort();
    unless(is_strictly_sorted(&keys), "3.4 a key twice")
}

/// SPEC 3.7.
fn check_names(charter: &Charter) -> Result<(), No> {
    unless(is_name(&charter.name), "3.7 name")?;
    let roles: Vec<&str> = charter.roles.iter().map(|role| role.name.as_str()).collect();
    unless(roles.len() <= limits::ROLES_MAX && is_strictly_sorted(&roles), "3.7 roles")?;
    for role in &charter.roles {
        unless(is_name(&role.name), "3.7 name")?;
        unless(
            role.capabilities.len() <= limits::CAPABILITIES_MAX && is_strictly_sorted(&role.capabilities),
            "3.7 capabilities",
        )?;
        unless(role.capabilities.iter().all(|capability| is_name(capability)), "3.7 name")?;
    }
    for seat in &charter.endorsers {
        let known = seat.roles.iter().all(|role| roles.contains(&role.as_str()));
        unless(known && is_strictly_sorted(&seat.roles), "3.7 roles of a seat")?;
    }
    let recovery = &charter.recovery;
    unless(is_strictly_sorted(&recovery.keys), "3.7 recovery keys out of order")?;
    let threshold = usize::from(recovery.threshold);
    unless(
        threshold <= recovery.keys.len() && (threshold == 0) == recovery.keys.is_empty(),
        "3.7 recovery threshold",
    )?;
    unless(charter.last_day > charter.written, "3.7 last day")
}
