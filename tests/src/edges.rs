//! The engine against the naive model where random histories seldom come: full blocks, many expired tickets, charters that may not be.

use std::sync::Arc;

use crate::ink::Remembering;
use crate::model::Model;
use crate::people::{Dice, Person, bad_keys, charter, found, people};
use crate::trial::{Met, Trial};
use frith_protocol::identity::{NodeId, verify};
use frith_protocol::limits;
use frith_protocol::state::{Block, Charter, CharterId, Entry, Recovery, State};
use frith_protocol::time::Timestamp;

fn newcomer(name: u32) -> Person {
    Person::numbered(1000 + name)
}

/// A history whose charter lets much happen at once.
fn roomy(seed: u64) -> Trial {
    (seed..)
        .map(Trial::new)
        .find(|trial| {
            let charter = &trial.history.founded.charter;
            let policy = charter.admission;
            policy.tickets
                && policy.approval
                && charter.size() >= 4
                && charter.thresholds.amend < charter.size() as u8
        })
        .expect("such charters are drawn often")
}

/// SPEC 6.7: which places of a block only denials may take.
///
/// # Panics
/// If the two disagree.
pub fn places() {
    let (all, grants) =
        (limits::BLOCK_ENTRIES_MAX, limits::BLOCK_ENTRIES_MAX - limits::BLOCK_DENIALS_RESERVED);
    let mut met = Met::new();
    let mut trial = roomy(1);
    // Enough members to revoke.
    let mut names = 0..;
    let mut admit = |trial: &mut Trial, count: usize| {
        let time = trial.history.model.head().time.plus(1);
        let entries: Vec<Entry> = names
            .by_ref()
            .take(count)
            .map(|name| trial.history.plain_admission(time, &newcomer(name).inception))
            .collect();
        (time, entries)
    };
    for round in 0..2 {
        let (time, entries) = admit(&mut trial, 150 + round);
        let header = trial.history.model.header_at(trial.history.model.head().height + 1, time, &entries);
        assert!(trial.follow(false, Block { header, entries }, &mut met));
    }
    let members: Vec<NodeId> = (0..301).map(|name| newcomer(name).node).collect();
    let cases = [(0, grants), (0, grants + 1), (30, grants - 30), (30, grants - 29), (grants + 1, 0)];
    let cases = cases.into_iter().chain([(grants + 1, 1), (all, 0), (all + 1, 0), (1, grants - 1)]);
    for (denials, newcomers) in cases {
        let (time, granted) = admit(&mut trial, newcomers);
        let mut entries: Vec<Entry> =
            members[..denials].iter().map(|member| trial.history.plain_revocation(*member)).collect();
        entries.extend(granted);
        let header = trial.history.model.header_at(trial.history.model.head().height + 1, time, &entries);
        let block = Arc::new(Block { header, entries });
        let verdict = trial.history.model.check(false, &block);
        trial.compare(verdict, &trial.engine_executes(false, &block), &(denials, newcomers));
        let fits = denials + newcomers <= all && (newcomers == 0 || denials + newcomers <= grants);
        assert_eq!(verdict.is_ok(), fits, "{denials} denials and {newcomers} grants: {verdict:?}");
    }
}

/// SPEC 4.6: which expired tickets a block forgets.
///
/// # Panics
/// If the two disagree.
pub fn forgotten_tickets() {
    let mut met = Met::new();
    let mut trial = roomy(2);
    // More tickets than one block forgets, all of which expire at one time or the next.
    let mut name = 0;
    let start = trial.history.model.head().time;
    for _ in 0..4 {
        let time = trial.history.model.head().time.plus(1);
        let mut entries = Vec::new();
        for _ in 0..200 {
            let newcomer = newcomer(name);
            let terms = trial.history.plain_ticket(name, start.plus(1_000 + u64::from(name % 3)));
            entries.push(trial.history.admission_by(time, &newcomer.inception, terms));
            name += 1;
        }
        let header = trial.history.model.header_at(trial.history.model.head().height + 1, time, &entries);
        assert!(trial.follow(false, Block { header, entries }, &mut met));
    }
    assert_eq!(trial.history.model.facts().tickets.len(), 800);
    // At their expiry tickets can be spent yet. A heartbeat forgets none; each later block with entries forgets its share.
    let mut left = Vec::new();
    for after in [1_000, 2_000, 2_001, 2_002, 2_003] {
        let time = start.plus(after);
        let entries = if after == 2_000 {
            vec![]
        } else {
            name += 1;
            vec![trial.history.plain_admission(time, &newcomer(name).inception)]
        };
        let header = trial.history.model.header_at(trial.history.model.head().height + 1, time, &entries);
        assert!(trial.follow(false, Block { header, entries }, &mut met));
        left.push(trial.history.model.facts().tickets.len());
    }
    assert_eq!(left, [800, 800, 800 - limits::TICKETS_FORGOTTEN_MAX, 0, 0]);
}

/// One change of a charter that may make it one that cannot be founded.
fn spoil_charter(dice: &mut Dice, charter: &mut Charter) {
    let n = charter.endorsers.len();
    let near = |dice: &mut Dice, value: u8| value.wrapping_add(dice.below(3) as u8).wrapping_sub(1);
    let at = dice.below(n);
    match dice.below(29) {
        0 => charter.faults = near(dice, charter.faults),
        1 => charter.thresholds.admit = near(dice, charter.thresholds.admit),
        2 => charter.thresholds.revoke = near(dice, charter.thresholds.revoke),
        3 => charter.thresholds.contain = near(dice, charter.thresholds.contain),
        4 => charter.thresholds.amend = near(dice, charter.thresholds.amend),
        5 => charter.thresholds.amend = *dice.one_of(&[0, n as u8, u8::MAX]),
        6 => charter.epoch = *dice.one_of(&[0, 2, u64::MAX]),
        7 => charter.previous = Some(CharterId([1; 32])),
        8 => charter.endorsers.reverse(),
        9 => charter.endorsers.push(charter.endorsers[at].clone()),
        10 => charter.endorsers.clear(),
        11 => charter.endorsers[at].voting_key = charter.endorsers[dice.below(n)].inception.key,
        12 => charter.endorsers[at].voting_key = *dice.one_of(&bad_keys()),
        13 => charter.endorsers[at].roles = vec!["no such role".into()],
        14 => {
            let second = *dice.one_of(&["gateway", "server", "serverless"]);
            charter.endorsers[at].roles = vec!["server".into(), second.into()];
        }
        15 => charter.name = dice.one_of(&NAMES).to_string(),
        16 => charter.roles.reverse(),
        17 => charter.roles[0].name = dice.one_of(&NAMES).to_string(),
        18 => charter.roles[0].capabilities = vec![dice.one_of(&NAMES).to_string(), "serve".into()],
        19 => charter.last_day = Timestamp(charter.written.0 + dice.below(2) as u64),
        20 => charter.recovery.threshold = dice.below(3) as u8,
        21 => {
            let count = dice.below(3);
            charter.recovery.keys = people()[40..40 + count].iter().map(Person::public).collect();
            charter.recovery.keys.sort();
            charter.recovery.threshold = dice.below(count + 2) as u8;
        }
        22 => charter.recovery = Recovery { keys: vec![charter.endorsers[at].inception.key], threshold: 1 },
        23 => charter.endorsers[at].inception.possession.bytes[dice.below(64)] ^= 1,
        24 | 25 => {
            let (least, bound) = (least_freshness(charter), charter.timing.freshness_ms);
            let near = [0, least, least.saturating_add(1), bound, bound.saturating_add(1), u64::MAX];
            charter.roles[0].freshness_ms = Some(*dice.one_of(&near));
        }
        _ => spoil_timing(dice, charter),
    }
}

/// What freshness must be above.
fn least_freshness(charter: &Charter) -> u64 {
    let timing = &charter.timing;
    let leaders = (u64::from(charter.faults) + 1).saturating_mul(timing.timeout_cap_ms);
    timing.heartbeat_ms.saturating_add(timing.skew_ms).saturating_add(leaders)
}

const NAMES: [&str; 8] = ["", " ", "zz", "naïve", "a\nb", "a\u{85}b", "a\u{7f}", "a\0"];

fn spoil_timing(dice: &mut Dice, charter: &mut Charter) {
    let least = least_freshness(charter);
    let timing = &mut charter.timing;
    let values = [
        0,
        1,
        least,
        least.saturating_add(1),
        timing.freshness_ms,
        timing.freshness_ms.saturating_add(1),
        limits::CHARTER_BOUND_MAX_MS,
        limits::CHARTER_BOUND_MAX_MS + 1,
        limits::MEMBER_LIFETIME_MAX_MS,
        limits::MEMBER_LIFETIME_MAX_MS + 1,
        u64::MAX,
    ];
    let value = *dice.one_of(&values);
    let bounds = [
        &mut timing.heartbeat_ms,
        &mut timing.freshness_ms,
        &mut timing.silence_ms,
        &mut timing.skew_ms,
        &mut timing.first_timeout_ms,
        &mut timing.timeout_cap_ms,
        &mut timing.member_lifetime_ms,
        &mut timing.basis_ms,
        &mut timing.ticket_lifetime_ms,
        &mut timing.proposal_lifetime_ms,
    ];
    let at = dice.below(bounds.len());
    for (place, bound) in bounds.into_iter().enumerate() {
        if place == at {
            *bound = value;
        }
    }
}

/// SPEC 3: which charters can be founded.
///
/// # Panics
/// If the two disagree.
pub fn charters() {
    let check = Remembering;
    for seed in 0..6000 {
        let mut dice = Dice::new(seed);
        let n = 1 + dice.below(8);
        let founders: Vec<&Person> = people()[..n].iter().collect();
        let mut drawn = charter(&founders);
        for _ in 0..dice.below(3) {
            if !drawn.endorsers.is_empty() {
                spoil_charter(&mut dice, &mut drawn);
            }
        }
        let mut founded = found(drawn);
        match dice.below(20) {
            0 => drop(founded.signatures.pop()),
            1 => founded.signatures.reverse(),
            _ => {}
        }
        let verdict = Model::found(&founded);
        let engine = verify(founded.clone(), &check).and_then(|founded| State::genesis(&founded));
        match (&verdict, &engine) {
            (Ok(model), Ok((_, header))) => assert_eq!(header, model.head(), "seed {seed}"),
            (Err(_), Err(_)) => {}
            (Ok(_), Err(fault)) => panic!("seed {seed}: only the engine refuses: {fault}"),
            (Err(why), Ok(_)) => panic!("seed {seed}: only the model refuses, for {why}: {founded:#?}"),
        }
    }
}

/// SPEC 6.7: how many rotations a block holds.
///
/// # Panics
/// If the two disagree.
pub fn rotations() {
    let most = limits::BLOCK_ROTATES_MAX;
    let mut met = Met::new();
    let mut trial = roomy(3);
    let members: Vec<Person> = (0..=most as u32).map(newcomer).collect();
    let time = trial.history.model.head().time.plus(1);
    let entries: Vec<Entry> =
        members.iter().map(|person| trial.history.plain_admission(time, &person.inception)).collect();
    let next = |trial: &Trial| trial.history.model.head().height + 1;
    let header = trial.history.model.header_at(next(&trial), time, &entries);
    assert!(trial.follow(false, Block { header, entries }, &mut met));
    for count in [most + 1, most] {
        let time = trial.history.model.head().time.plus(1);
        let entries: Vec<Entry> =
            members[..count].iter().map(|person| trial.history.plain_rotation(person)).collect();
        let header = trial.history.model.header_at(next(&trial), time, &entries);
        let fits = count <= most;
        assert_eq!(trial.follow(false, Block { header, entries }, &mut met), fits, "{count} rotations");
    }
}

/// SPEC 6.7: how many holds a block records.
///
/// # Panics
/// If the two disagree.
pub fn records() {
    let most = limits::BLOCK_HOLDS_MAX;
    let trial = roomy(5);
    let (model, time) = (&trial.history.model, trial.history.model.head().time.plus(1));
    let slots = usize::from(limits::HOLDS_PER_DAY);
    for count in [most + 1, most] {
        let entries: Vec<Entry> =
            (0..count).map(|at| trial.history.plain_hold(at / slots, (at % slots) as u8)).collect();
        let header = model.header_at(model.head().height + 1, time, &entries);
        let block = Arc::new(Block { header, entries });
        let verdict = model.check(false, &block);
        trial.compare(verdict, &trial.engine_executes(false, &block), &count);
        assert_eq!(verdict.is_ok(), count <= most, "{count} holds: {verdict:?}");
    }
}

/// SPEC 6.7: a block has one amendment at most, though each of two could be it.
///
/// # Panics
/// If the two disagree.
pub fn amendments() {
    let trial = roomy(4);
    let (model, time) = (&trial.history.model, trial.history.model.head().time.plus(10));
    for times in [&[1, 2][..], &[1]] {
        let entries: Vec<Entry> =
            times.iter().map(|written| trial.history.plain_amendment(time, *written)).collect();
        let header = model.header_at(model.head().height + 1, time, &entries);
        let block = Arc::new(Block { header, entries });
        let verdict = model.check(false, &block);
        trial.compare(verdict, &trial.engine_executes(false, &block), &times);
        assert_eq!(verdict.is_ok(), times.len() == 1, "{times:?}: {verdict:?}");
    }
}
