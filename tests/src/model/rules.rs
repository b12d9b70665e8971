//! When an entry is valid (SPEC 4).

use frith_protocol::limits;
use frith_protocol::state::{
    Admit, Basis, BlockId, Endorsement, Entry, Grounds, Kind, Release, Revoke, Rotate, Statement, Suspend,
    TicketTerms, Window,
};
use frith_protocol::time::Timestamp;

use super::amend;
use super::facts::{Facts, Standing, day, key_place, rotations_on, ticket_place};
use super::hashes::{
    Bytes32, commitment, digest_of, endorsement, holds, may_be_introduced, node_id, possession, rotation,
};
use super::{Model, No};
use super::{accuse, hold, recover};

pub(super) fn unless(holds: bool, no: No) -> Result<(), No> {
    if holds { Ok(()) } else { Err(no) }
}

pub(super) fn is_strictly_sorted<T: Ord>(items: &[T]) -> bool {
    items.windows(2).all(|pair| pair[0] < pair[1])
}

/// What needs no state: order, keys, signatures.
pub(super) fn check_signatures(entry: &Entry) -> Result<(), No> {
    let nodes: Vec<Bytes32> = entry.endorsements.iter().map(|endorsement| endorsement.node.0).collect();
    unless(is_strictly_sorted(&nodes), "4.3 endorsements out of order")?;
    let subject = endorsed(&entry.statement);
    for Endorsement { node, sequence, key, signature } in &entry.endorsements {
        let signed = endorsement(subject, node.0, *sequence);
        unless(holds(key, &signed, signature), "1.5 signature of an endorsement")?;
    }
    match &entry.statement.kind {
        Kind::Revoke(_) | Kind::Suspend(_) | Kind::Release(_) => Ok(()),
        Kind::Recover(it) => recover::check_signatures(entry.statement.domain.0, it),
        Kind::Hold(it) => hold::check_signature(it),
        Kind::Accuse(it) => accuse::check_signatures(it),
        Kind::Rotate(rotate) => {
            let count = rotate.rotations.len();
            unless((1..=limits::ROTATIONS_PER_ENTRY_MAX).contains(&count), "4.11 how many rotations")?;
            for one in &rotate.rotations {
                unless(may_be_introduced(&one.key), "1.6 key rotated to")?;
                let signed = rotation(rotate.subject.0, one);
                unless(holds(&one.key, &signed, &one.signature), "2.4 signature of a rotation")?;
            }
            Ok(())
        }
        Kind::Amend(it) => amend::check_signatures(entry.statement.domain, it),
        Kind::Admit(admit) => {
            let inception = &admit.subject;
            unless(may_be_introduced(&inception.key), "1.6 first key")?;
            unless(
                holds(&inception.key, &possession(inception), &inception.possession),
                "2.1 possession does not hold",
            )?;
            match &admit.grounds {
                Grounds::Approval | Grounds::Renewal => Ok(()),
                Grounds::Ticket(terms) => {
                    unless(may_be_introduced(&terms.key), "1.6 ticket key")?;
                    unless(is_strictly_sorted(&terms.roles), "4.6 roles of the ticket out of order")?;
                    unless((1..=limits::TICKET_USES_MAX).contains(&terms.uses), "4.6 uses that no ticket has")
                }
            }
        }
    }
}

/// SPEC 4.2: what endorsements of a statement sign.
pub(super) fn endorsed(statement: &Statement) -> Bytes32 {
    match &statement.kind {
        Kind::Amend(it) => amend::terms_id(statement.domain, it),
        Kind::Admit(_)
        | Kind::Revoke(_)
        | Kind::Suspend(_)
        | Kind::Release(_)
        | Kind::Rotate(_)
        | Kind::Accuse(_)
        | Kind::Hold(_)
        | Kind::Recover(_) => digest_of("statement", statement),
    }
}

/// Whether `entry` is valid in a block at `height` and `time`, after what `facts` hold.
pub(super) fn judge(
    model: &Model,
    facts: &Facts,
    base: Option<BlockId>,
    height: u64,
    time: Timestamp,
    entry: &Entry,
) -> Result<(), No> {
    unless(entry.statement.domain.0 == model.domain(), "4.1 another domain")?;
    let thresholds = facts.charter().thresholds;
    match &entry.statement.kind {
        Kind::Admit(admit) => {
            check_admit(model, facts, height, time, admit)?;
            let need = usize::from(thresholds.admit);
            unless(entry.endorsements.len() >= need, "4.5 too few endorsements")?;
            check_endorsers(facts, time, &entry.endorsements)
        }
        Kind::Revoke(revoke) => {
            check_revoke(facts, time, revoke)?;
            if let [only] = &entry.endorsements[..]
                && only.node == revoke.subject
            {
                return check_current_key(facts, only);
            }
            let need = usize::from(thresholds.revoke);
            unless(entry.endorsements.len() >= need, "4.7 too few endorsements")?;
            check_endorsers(facts, time, &entry.endorsements)
        }
        Kind::Suspend(suspend) => {
            check_suspend(facts, time, suspend)?;
            let need = usize::from(thresholds.contain);
            unless(entry.endorsements.len() >= need, "4.9 too few endorsements")?;
            check_endorsers(facts, time, &entry.endorsements)
        }
        Kind::Release(release) => {
            check_release(facts, height, time, release)?;
            let need = usize::from(thresholds.admit);
            unless(entry.endorsements.len() >= need, "4.10 too few endorsements")?;
            check_endorsers(facts, time, &entry.endorsements)
        }
        Kind::Amend(it) => {
            amend::check(facts, height, time, it)?;
            let need = usize::from(thresholds.amend);
            unless(entry.endorsements.len() >= need, "4.12 too few endorsements")?;
            check_endorsers(facts, time, &entry.endorsements)
        }
        Kind::Recover(it) => {
            unless(entry.endorsements.is_empty(), "4.15 endorsed")?;
            recover::check(facts, base, height, time, it)
        }
        Kind::Hold(it) => {
            hold::check(model.domain(), facts, height, time, it)?;
            unless(entry.endorsements.is_empty(), "4.14 endorsed")
        }
        Kind::Accuse(it) => {
            unless(entry.endorsements.is_empty(), "4.13 endorsed")?;
            accuse::check(model.domain(), facts, time, it)
        }
        Kind::Rotate(rotate) => {
            check_rotate(facts, time, rotate)?;
            unless(entry.endorsements.is_empty(), "4.11 endorsed")
        }
    }
}

/// SPEC 4.4.
fn check_endorsers(facts: &Facts, time: Timestamp, endorsements: &[Endorsement]) -> Result<(), No> {
    for endorsement in endorsements {
        let seated =
            facts.charter().endorsers.iter().any(|seat| node_id(&seat.inception) == endorsement.node.0);
        unless(seated, "4.4 no endorser")?;
        unless(!facts.gone.contains_key(&endorsement.node.0), "4.4 a revoked endorser")?;
        unless(!is_suspended(facts, &endorsement.node.0, time), "4.4 a suspended endorser")?;
        unless(!is_convicted(facts, &endorsement.node.0), "4.4 a convicted endorser")?;
        check_current_key(facts, endorsement)?;
    }
    Ok(())
}

fn check_current_key(facts: &Facts, endorsement: &Endorsement) -> Result<(), No> {
    let standing = facts.standing.get(&endorsement.node.0).ok_or("4.4 who signs does not stand")?;
    unless(
        standing.keys.current == endorsement.key && standing.keys.sequence == endorsement.sequence,
        "4.4 not the current key",
    )
}

/// SPEC 4.5.
fn check_admit(model: &Model, facts: &Facts, height: u64, time: Timestamp, admit: &Admit) -> Result<(), No> {
    let Admit { subject, number, roles, window, basis, grounds } = admit;
    let (charter, node) = (facts.charter(), node_id(subject));
    let standing = facts.standing.get(&node);

    unless(!facts.gone.contains_key(&node), "4.5 the subject is gone")?;
    unless(!is_suspended(facts, &node, time), "4.5 the subject is suspended")?;
    unless(!is_convicted(facts, &node), "4.5 the subject is convicted")?;
    let next = standing.map_or(1, |standing| standing.number + 1);
    unless(*number == next, "4.5 number")?;
    let owner = facts.keys.get(&key_place(&subject.key));
    unless(owner.is_none_or(|owner| owner.0 == node), "2.3 the key is another's")?;

    unless(is_strictly_sorted(roles), "4.5 roles out of order")?;
    let known = |role: &String| charter.roles.iter().any(|known| known.name == *role);
    unless(roles.iter().all(known), "4.5 unknown role")?;

    unless(window.from <= time && time < window.until, "4.5 window not open")?;
    let lifetime = window.until.0 - window.from.0;
    unless(lifetime <= charter.timing.member_lifetime_ms, "4.5 window too long")?;

    check_basis(facts, height, time, basis)?;

    unless(standing.is_some() || facts.standing.len() < limits::MEMBERS_MAX, "4.5 the domain is full")?;
    match grounds {
        Grounds::Approval => unless(charter.admission.approval, "4.5 no approval here"),
        Grounds::Renewal => check_renewal(facts, time, roles, window, &node),
        Grounds::Ticket(terms) => {
            unless(charter.admission.tickets, "4.5 no tickets here")?;
            check_ticket(model, facts, time, roles, terms)?;
            unless(standing.is_none(), "4.6 a ticket for who stands")
        }
    }
}

/// SPEC 4.5, with grounds `Renewal`.
fn check_renewal(
    facts: &Facts,
    time: Timestamp,
    roles: &[String],
    window: &Window,
    node: &Bytes32,
) -> Result<(), No> {
    let (charter, standing) = (facts.charter(), facts.standing.get(node));
    let Standing { window: before, roles: held, limited, .. } =
        &**standing.ok_or("4.5 a renewal of who does not stand")?;
    let seated = charter.endorsers.iter().any(|seat| node_id(&seat.inception) == *node);
    unless(!seated, "4.5 a renewal of a seat")?;
    unless(!limited, "4.5 a renewal of what was limited")?;
    let silent = u128::from(before.until.0) + u128::from(charter.timing.silence_ms);
    unless(u128::from(time.0) < silent, "4.5 a renewal too late")?;
    unless(roles.iter().all(|role| held.contains(role)), "4.5 a role that it does not stand with")?;
    let middle = before.from.0 + (before.until.0 - before.from.0) / 2;
    unless(window.from.0 >= middle, "4.5 a renewal too early")?;
    let lifetime = window.until.0 - window.from.0;
    unless(lifetime == charter.timing.member_lifetime_ms, "4.5 a renewal for another time")
}

/// SPEC 4.6.
fn check_ticket(
    model: &Model,
    facts: &Facts,
    time: Timestamp,
    roles: &[String],
    terms: &TicketTerms,
) -> Result<(), No> {
    unless(terms.domain.0 == model.domain(), "4.6 a ticket of another domain")?;
    unless(time <= terms.expires, "4.6 an expired ticket")?;
    unless(roles.iter().all(|role| terms.roles.contains(role)), "4.6 a role beyond the ticket")?;
    let used = facts.tickets.get(&ticket_place(terms)).copied().unwrap_or(0);
    unless(used < terms.uses, "4.6 a spent ticket")
}

/// SPEC 4.5.
pub(super) fn check_basis(facts: &Facts, height: u64, time: Timestamp, basis: &Basis) -> Result<(), No> {
    unless(basis.height < height, "4.5 basis not below the block")?;
    unless(basis.time <= time, "4.5 basis later than the block")?;
    unless(time.0 - basis.time.0 <= facts.charter().timing.basis_ms, "4.5 basis too old")
}

pub(super) fn is_suspended(facts: &Facts, node: &Bytes32, time: Timestamp) -> bool {
    facts.standing.get(node).is_some_and(|standing| standing.is_suspended(time))
}

/// SPEC 4.13.
pub(super) fn is_convicted(facts: &Facts, node: &Bytes32) -> bool {
    facts.standing.get(node).is_some_and(|standing| !standing.convictions.is_empty())
}

/// SPEC 4.7, 4.9 and 4.13: with `subject` restrained, enough others remain.
pub(super) fn leaves_enough(facts: &Facts, time: Timestamp, subject: &Bytes32) -> bool {
    let seats: Vec<Bytes32> = facts.charter().endorsers.iter().map(|seat| node_id(&seat.inception)).collect();
    let left = seats
        .iter()
        .filter(|seat| *seat != subject)
        .filter(|seat| !facts.gone.contains_key(*seat))
        .filter(|seat| !is_suspended(facts, seat, time) && !is_convicted(facts, seat))
        .count();
    !seats.contains(subject) || left >= usize::from(facts.charter().thresholds.amend)
}

/// SPEC 4.7, but for the endorsements.
fn check_revoke(facts: &Facts, time: Timestamp, revoke: &Revoke) -> Result<(), No> {
    unless(!facts.gone.contains_key(&revoke.subject.0), "4.7 gone already")?;
    unless(facts.standing.contains_key(&revoke.subject.0), "4.7 unknown")?;
    unless(leaves_enough(facts, time, &revoke.subject.0), "4.7 it would strand the charter")
}

/// SPEC 4.9, but for the endorsements.
fn check_suspend(facts: &Facts, time: Timestamp, suspend: &Suspend) -> Result<(), No> {
    let Suspend { subject, number, until, reason: _ } = suspend;
    unless(!facts.gone.contains_key(&subject.0), "4.9 gone")?;
    let standing = facts.standing.get(&subject.0).ok_or("4.9 unknown")?;
    unless(*number == standing.suspensions + 1, "4.9 number")?;
    unless(*until > time, "4.9 over before it begins")?;
    if standing.is_suspended(time) {
        let (longer, _, _) = standing.suspension.expect("it is suspended");
        unless(*until >= longer, "4.9 shorter than the one in force")?;
    }
    unless(leaves_enough(facts, time, &subject.0), "4.9 it would strand the charter")
}

/// SPEC 4.11, but for the endorsements.
fn check_rotate(facts: &Facts, time: Timestamp, rotate: &Rotate) -> Result<(), No> {
    let Rotate { subject, rotations } = rotate;
    unless(!facts.gone.contains_key(&subject.0), "4.11 gone")?;
    let standing = facts.standing.get(&subject.0).ok_or("4.11 unknown")?;
    let (mut sequence, mut next) = (standing.keys.sequence, standing.keys.next);
    for one in rotations {
        unless(one.sequence == sequence + 1, "2.4 sequence")?;
        unless(commitment(&one.key) == next, "2.4 another key than was committed to")?;
        (sequence, next) = (one.sequence, one.next);
    }
    for (at, one) in rotations.iter().enumerate() {
        unless(!facts.keys.contains_key(&key_place(&one.key)), "2.3 a key that is somebody's")?;
        unless(rotations[..at].iter().all(|before| before.key != one.key), "2.3 a key twice")?;
    }
    let today = rotations_on(day(time), standing);
    unless(today < limits::ROTATE_ENTRIES_PER_DAY, "4.11 too often in a day")
}

/// SPEC 4.10, but for the endorsements.
fn check_release(facts: &Facts, height: u64, time: Timestamp, release: &Release) -> Result<(), No> {
    let Release { subject, number, basis } = release;
    unless(!facts.gone.contains_key(&subject.0), "4.10 gone")?;
    let standing = facts.standing.get(&subject.0).ok_or("4.10 unknown")?;
    unless(*number == standing.suspensions, "4.10 number")?;
    unless(standing.is_suspended(time), "4.10 not suspended")?;
    check_basis(facts, height, time, basis)
}
