//! SPEC 5.24 to 5.26 through the door: holds given, received, passed on and acted upon.

use std::collections::BTreeSet;
use std::sync::Arc;

use frith_protocol::door::{Alarm, Command, Event, Input, Message, Phase, Standing, Table};
use frith_protocol::identity::{NodeId, PublicKey};
use frith_protocol::limits::HOLDS_PER_DAY;
use frith_protocol::state::{
    Admit, Basis, Endorsement, Entry, Grounds, Hold, HoldTerms, Kind, Reason, Revoke, Statement, Subject,
    Suspend, Window,
};
use frith_protocol::time::Timestamp;

use crate::mesh::{Mesh, charter, key_of};

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// What its operator asks for; what the core refuses, if it does.
fn hold(mesh: &mut Mesh, by: PublicKey, subject: PublicKey, for_ms: u64) -> Option<String> {
    let before = mesh.nodes[&by].refused.len();
    let (subject, until) = (mesh.id(subject), mesh.now.plus(for_ms));
    mesh.input(by, Input::Command(Command::Hold { subject, until, reason: Reason::Compromised }));
    mesh.nodes[&by].refused.get(before).cloned()
}

/// What an endorser that lies may sign: whatever it likes.
fn forged(mesh: &Mesh, by: PublicKey, subject: NodeId, change: impl FnOnce(&mut HoldTerms)) -> Hold {
    let basis = mesh.core(by).chain().unwrap().basis();
    let (domain, until) = (mesh.any().domain(), basis.time.plus(10 * MINUTE));
    let reason = Reason::Unspecified;
    let mut terms = HoldTerms { domain, subject, slot: 0, basis, until, reason };
    change(&mut terms);
    let keys = &mesh.nodes[&by].keys;
    let sequence = keys.rotations.last().map_or(0, |rotation| rotation.sequence);
    Hold::sign(terms, mesh.id(by), sequence, &key_of(&keys.inception, sequence))
}

fn show(mesh: &mut Mesh, from: PublicKey, to: PublicKey, hold: &Hold) {
    mesh.tell(from, to, Message::Hold(Box::new(*hold)));
}

/// What each of these takes it for, now.
fn standings(mesh: &mut Mesh, of: PublicKey, at: &[PublicKey]) -> BTreeSet<Standing> {
    let mut all = BTreeSet::new();
    for key in at {
        mesh.input(*key, Input::Tick);
        all.insert(mesh.core(*key).standing_of(&of));
    }
    all
}

fn only(standing: Standing) -> BTreeSet<Standing> {
    BTreeSet::from([standing])
}

/// A domain with as many members, all by one ticket.
fn with_members(mut mesh: Mesh, count: u8) -> (Mesh, Vec<PublicKey>) {
    let ticket = mesh.ticket(100);
    let members = (0..count).map(|number| {
        let key = mesh.join(10 + number, Some(ticket.clone()));
        mesh.run(500);
        assert_eq!(mesh.core(key).phase(), Phase::Following, "member {number}");
        key
    });
    let members = members.collect();
    (mesh, members)
}

/// The second admission of a member, endorsed by these: as if they had signed it before they knew of a hold.
fn renewal(mesh: &Mesh, member: PublicKey, by: &[PublicKey]) -> Entry {
    let core = mesh.core(by[0]);
    let standing = core.state().unwrap().standing(&mesh.id(member)).unwrap();
    let admit = Admit {
        subject: standing.keys.inception.clone(),
        number: standing.number + 1,
        roles: vec!["server".into()],
        window: Window { from: core.head().unwrap().time, until: mesh.now.plus(DAY) },
        basis: core.chain().unwrap().basis(),
        grounds: Grounds::Approval,
    };
    let statement = Statement { domain: core.domain(), kind: Kind::Admit(Box::new(admit)) };
    let digest = Subject::Statement(statement.clone()).digest();
    let sign = |key: &PublicKey| {
        let inception = &mesh.nodes[key].keys.inception;
        Endorsement::sign(&digest, inception.node_id(), 0, &key_of(inception, 0))
    };
    let mut endorsements: Vec<Endorsement> = by.iter().map(sign).collect();
    endorsements.sort_by_key(|endorsement| endorsement.node);
    Entry { statement, endorsements }
}

/// As an endorser knows it: whoever is held hears of blocks only when it asks.
fn number_of(mesh: &Mesh, member: PublicKey) -> u64 {
    mesh.core(mesh.endorsers()[0]).state().unwrap().standing(&mesh.id(member)).unwrap().number
}

/// How many different heads these have.
fn heads(mesh: &Mesh, of: &[PublicKey]) -> usize {
    let heads = of.iter().map(|key| mesh.core(*key).head().map(|head| head.block));
    heads.collect::<BTreeSet<_>>().len()
}

fn revoke(mesh: &mut Mesh, key: PublicKey, by: &[PublicKey]) {
    let subject = mesh.id(key);
    mesh.decide(Kind::Revoke(Revoke { subject, reason: Reason::Compromised }), by);
    assert!(mesh.core(by[0]).state().unwrap().is_gone(&subject));
}

#[test]
fn rule_5_26_a_hold_restrains_everywhere_on_receipt_and_lapses_by_itself() {
    let (mut mesh, members) = with_members(Mesh::of_four(), 2);
    let (endorsers, [held, other]) = (mesh.endorsers(), [members[0], members[1]]);
    let everybody = [&endorsers[..], &[other]].concat();
    let until = mesh.now.plus(5 * MINUTE);
    // No block is made meanwhile.
    let entries = mesh.any().state().unwrap().last().height;
    assert_eq!(hold(&mut mesh, endorsers[1], held, 5 * MINUTE), None);
    mesh.run(20);
    assert_eq!(standings(&mut mesh, held, &everybody), only(Standing::Suspended));
    assert_eq!(mesh.core(held).phase(), Phase::Restrained, "it knows itself");
    assert_eq!(mesh.any().state().unwrap().last().height, entries);
    let node = mesh.id(held);
    assert!(!mesh.core(other).effective(&node, mesh.now).unwrap().is_yes());
    assert_eq!(mesh.core(other).may_change_at([&held]), Some(until), "a host looks again then");
    let by = mesh.core(other).held(&node, mesh.now).unwrap().by;
    assert_eq!(by, BTreeSet::from([mesh.id(endorsers[1])]));
    // It may follow, and nothing else.
    let told = mesh.tell(held, endorsers[0], Message::Follow { height: 0, head: [0; 8] });
    assert!(matches!(&told[..], [(to, answer)] if *to == held && matches!(**answer, Message::Final(_))));
    let refused = mesh.nodes[&endorsers[0]].refused.len();
    mesh.tell(held, endorsers[0], Message::Same);
    assert!(mesh.nodes[&endorsers[0]].refused[refused].contains("standing does not allow"));
    mesh.run(until.0 - mesh.now.0 - 1);
    assert_eq!(standings(&mut mesh, held, &everybody), only(Standing::Suspended));
    mesh.run(1);
    let all = [&everybody[..], &[held]].concat();
    assert_eq!(standings(&mut mesh, held, &all), only(Standing::Member));
    assert_eq!(mesh.core(held).status(mesh.now).phase, Phase::Following);
}

#[test]
fn rule_5_25_one_endorser_holds_a_member_and_it_takes_f_and_one_to_hold_an_endorser() {
    let mut mesh = Mesh::of_four();
    let endorsers = mesh.endorsers();
    let held = endorsers[3];
    for _ in 0..2 {
        // Twice by the same is by one.
        assert_eq!(hold(&mut mesh, endorsers[0], held, 10 * MINUTE), None);
    }
    mesh.run(100);
    assert_eq!(standings(&mut mesh, held, &endorsers[..3]), only(Standing::Endorser));
    assert_eq!(hold(&mut mesh, endorsers[1], held, 5 * MINUTE), None);
    mesh.run(100);
    assert_eq!(standings(&mut mesh, held, &endorsers[..3]), only(Standing::Suspended));
    assert_eq!(mesh.core(held).phase(), Phase::Restrained);
    // It endorses nothing, and keeps its vote: without it one more crash would stop the log.
    let terms = mesh.ticket_terms(5);
    let id = mesh.propose(Subject::Ticket(terms), &[held]);
    assert!(mesh.nodes[&held].refused.iter().any(|why| why.contains("is held until")));
    assert_eq!(mesh.core(endorsers[0]).proposals().find(|(of, _)| **of == id).map(|_| ()), None);
    mesh.stop(endorsers[2]);
    let before = mesh.core(endorsers[0]).head().unwrap().height;
    mesh.run(MINUTE);
    assert!(mesh.core(endorsers[0]).head().unwrap().height > before + 2);
    // One of the two lapses: one is not enough.
    mesh.run(4 * MINUTE);
    assert_eq!(standings(&mut mesh, held, &endorsers[..2]), only(Standing::Endorser));
}

#[test]
fn rule_5_25_a_restart_frees_nobody_and_gives_no_slot_twice() {
    let (mut mesh, members) = with_members(Mesh::of_four(), 2);
    let endorsers = mesh.endorsers();
    assert_eq!(hold(&mut mesh, endorsers[0], members[0], 10 * MINUTE), None);
    // Power fails before anything of it arrived; what was sent arrives.
    mesh.lose_power(endorsers[0]);
    mesh.run(20);
    mesh.lose_power(endorsers[1]);
    for key in &endorsers[..2] {
        mesh.start(*key);
        mesh.connect(*key);
    }
    assert_eq!(standings(&mut mesh, members[0], &endorsers), only(Standing::Suspended));
    assert_eq!(hold(&mut mesh, endorsers[0], members[1], 10 * MINUTE), None);
    mesh.run(1_000);
    assert_eq!(standings(&mut mesh, members[1], &endorsers), only(Standing::Suspended));
    let told: Vec<&Event> = mesh.nodes.values().flat_map(|node| &node.events).collect();
    assert!(!told.iter().any(|event| matches!(event, Event::Alarm(_))), "nobody contradicted itself");
    let slots: BTreeSet<u8> = mesh.core(endorsers[2]).holds(mesh.now).map(|hold| hold.slot).collect();
    assert_eq!(slots, BTreeSet::from([0, 1]));
}

#[test]
fn rule_5_24_an_endorser_gives_each_slot_of_a_day_once_and_none_without_its_journal() {
    let (mut mesh, members) = with_members(Mesh::of_four(), 1);
    let endorsers = mesh.endorsers();
    for slot in 0..HOLDS_PER_DAY {
        assert_eq!(hold(&mut mesh, endorsers[0], members[0], MINUTE), None, "slot {slot}");
    }
    let why = hold(&mut mesh, endorsers[0], members[0], MINUTE).expect("they are all given");
    assert!(why.contains("all of this day's"), "{why}");
    // Another that lost its store, and is shown what it gave: it goes on after that.
    assert_eq!(hold(&mut mesh, endorsers[1], members[0], MINUTE), None);
    mesh.run(100);
    mesh.stop(endorsers[1]);
    mesh.nodes.get_mut(&endorsers[1]).unwrap().disk.retain(|(table, _), _| *table != Table::Holds);
    mesh.start(endorsers[1]);
    mesh.connect(endorsers[1]);
    mesh.run(100);
    assert_eq!(hold(&mut mesh, endorsers[1], members[0], 2 * MINUTE), None);
    mesh.run(100);
    let by = mesh.id(endorsers[1]);
    let slots = mesh.core(endorsers[2]).holds(mesh.now).filter(|hold| hold.by == by).map(|hold| hold.slot);
    assert_eq!(slots.collect::<Vec<_>>(), [0, 1]);
    // One that knows that it lost its journal gives none.
    mesh.stop(endorsers[2]);
    mesh.nodes.get_mut(&endorsers[2]).unwrap().disk.retain(|(table, _), _| *table != Table::Journal);
    mesh.start(endorsers[2]);
    let why = hold(&mut mesh, endorsers[2], members[0], MINUTE).expect("it cannot know");
    assert!(why.contains("without the journal"), "{why}");
}

#[test]
fn rule_5_26_no_grant_of_the_held_is_signed_packed_or_voted_for_until_the_hold_is_over() {
    let (mut mesh, members) = with_members(Mesh::of_four(), 2);
    let (endorsers, [held, other]) = (mesh.endorsers(), [members[0], members[1]]);
    assert_eq!(hold(&mut mesh, endorsers[0], held, 2 * MINUTE), None);
    mesh.run(50);
    let entry = renewal(&mesh, held, &endorsers[..3]);
    let subject = Subject::Statement(entry.statement.clone());
    let (note, expires) = (String::new(), mesh.now.plus(HOUR));
    mesh.input(endorsers[1], Input::Command(Command::Propose { subject, note, expires }));
    assert!(mesh.nodes[&endorsers[1]].refused.last().unwrap().contains("is held until"));
    // As if all had signed it before.
    for key in &endorsers {
        mesh.tell(held, *key, Message::Submit(Arc::new(entry.clone())));
    }
    let free = renewal(&mesh, other, &endorsers[..3]);
    mesh.tell(other, endorsers[0], Message::Submit(Arc::new(free)));
    mesh.run(MINUTE);
    assert_eq!((number_of(&mesh, held), number_of(&mesh, other)), (1, 2), "everything else goes on");
    let height = mesh.core(endorsers[0]).head().unwrap().height;
    mesh.run(MINUTE + 2_000);
    assert_eq!(number_of(&mesh, held), 2, "it waited");
    // Nobody made blocks of nothing meanwhile.
    assert!(mesh.core(endorsers[0]).head().unwrap().height <= height + 8);
    mesh.assert_equal_heads();
}

#[test]
fn rule_5_26_whoever_refuses_a_block_for_a_hold_shows_it_and_takes_what_others_finalise() {
    let (mut mesh, members) = with_members(Mesh::of_four(), 1);
    let (endorsers, held) = (mesh.endorsers(), members[0]);
    // Two know, and what they passed on was lost.
    let sent = forged(&mesh, endorsers[3], mesh.id(held), |_| {});
    let others = [endorsers[0], endorsers[3]];
    mesh.cut.extend(endorsers[1..3].iter().flat_map(|knows| others.map(|other| (*knows, other))));
    mesh.gossip = false;
    for key in &endorsers[1..3] {
        show(&mut mesh, endorsers[3], *key, &sent);
    }
    mesh.run(50);
    mesh.cut.clear();
    assert_eq!(standings(&mut mesh, held, &endorsers[..1]), only(Standing::Member));
    // It would put this into a block; with only one more vote nothing comes of that. The liar says nothing any more.
    mesh.stop(endorsers[3]);
    let entry = renewal(&mesh, held, &endorsers[..3]);
    mesh.tell(held, endorsers[0], Message::Submit(Arc::new(entry)));
    mesh.run(20_000);
    assert_eq!(standings(&mut mesh, held, &endorsers[..3]), only(Standing::Suspended), "it was shown");
    assert_eq!(number_of(&mesh, held), 1);
    let height = mesh.core(endorsers[0]).head().unwrap().height;
    mesh.run(MINUTE);
    assert!(mesh.core(endorsers[0]).head().unwrap().height >= height + 5, "the log goes on");
    mesh.run(10 * MINUTE);
    assert_eq!(number_of(&mesh, held), 2);
    assert_eq!(heads(&mesh, &endorsers[..3]), 1);
}

#[test]
fn rule_5_26_a_leader_that_does_not_know_of_a_hold_finds_no_votes_for_a_grant_of_the_held() {
    let mut proposed = 0;
    // One of them leads, and proposes before anybody can tell it.
    for ignorant in 0..4 {
        let (mut mesh, members) = with_members(Mesh::of_four(), 1);
        let (endorsers, held) = (mesh.endorsers(), members[0]);
        let (leads, liar) = (endorsers[ignorant], endorsers[(ignorant + 1) % 4]);
        let sent = forged(&mesh, liar, mesh.id(held), |_| {});
        let entry = renewal(&mesh, held, &endorsers[..3]);
        mesh.tell(held, leads, Message::Submit(Arc::new(entry.clone())));
        for key in endorsers.iter().filter(|key| ![leads, liar].contains(key)) {
            show(&mut mesh, liar, *key, &sent);
        }
        mesh.stop(liar);
        proposed += mesh.sent.iter().filter(|(_, _, it)| proposes(it, &entry)).count();
        mesh.run(20_000);
        let number = mesh.core(leads).state().unwrap().standing(&mesh.id(held)).unwrap().number;
        assert_eq!(number, 1, "two of four know, and one is silent");
        assert_eq!(standings(&mut mesh, held, &[leads]), only(Standing::Suspended), "it was shown");
    }
    assert!(proposed > 0, "nobody led who did not know");
}

fn proposes(message: &Message, entry: &Entry) -> bool {
    let Message::Talk(talk) = message else { return false };
    let frith_protocol::agreement::Message::Propose(proposal) = &**talk else { return false };
    proposal.block.entries.contains(entry)
}

#[test]
fn rule_5_26_a_grant_that_the_others_finalise_is_taken_by_whoever_knows_of_the_hold() {
    let (mut mesh, members) = with_members(Mesh::of_four(), 1);
    let (endorsers, held) = (mesh.endorsers(), members[0]);
    let sent = forged(&mesh, endorsers[3], mesh.id(held), |_| {});
    let entry = renewal(&mesh, held, &endorsers[..3]);
    for key in [0, 1, 3] {
        mesh.tell(held, endorsers[key], Message::Submit(Arc::new(entry.clone())));
    }
    // Their proposal is on its way when it hears of the hold, and three of four are enough.
    show(&mut mesh, endorsers[3], endorsers[2], &sent);
    mesh.run(15);
    mesh.run(5_000);
    assert_eq!(number_of(&mesh, held), 2);
    assert_eq!(heads(&mesh, &endorsers), 1);
    assert_eq!(
        standings(&mut mesh, held, &endorsers[..3]),
        only(Standing::Suspended),
        "it rests all the same"
    );
}

#[test]
fn rule_5_25_what_counts_is_by_an_endorser_with_its_current_key_in_time_and_of_somebody_who_stands() {
    let (mut mesh, members) = with_members(Mesh::of_four(), 2);
    let (endorsers, held) = (mesh.endorsers(), members[0]);
    let (node, bound) = (mesh.id(held), mesh.founded.charter.timing.hold_ms);
    let skew = mesh.founded.charter.timing.skew_ms;
    let now = mesh.now;
    let counts = |mesh: &mut Mesh, by: PublicKey, change: &dyn Fn(&mut HoldTerms)| {
        let hold = forged(mesh, by, node, change);
        show(mesh, by, endorsers[0], &hold);
        standings(mesh, held, &endorsers[..1]) == only(Standing::Suspended)
    };
    let at = |time: Timestamp, until: Timestamp| {
        move |terms: &mut HoldTerms| (terms.basis.time, terms.until) = (time, until)
    };
    assert!(!counts(&mut mesh, members[1], &|_| {}), "a member holds nobody");
    let early = now.plus(skew + 1);
    assert!(!counts(&mut mesh, endorsers[1], &at(early, early.plus(MINUTE))), "it is from the future");
    assert!(!counts(&mut mesh, endorsers[1], &at(now, now.plus(bound + 1))), "it lasts too long");
    let other_slot = |terms: &mut HoldTerms| (terms.slot, terms.until) = (1, now);
    assert!(!counts(&mut mesh, endorsers[1], &other_slot), "it is over");
    // Its slot stays spent: another for it is a contradiction, and does not count.
    assert!(!counts(&mut mesh, endorsers[1], &|terms| terms.slot = 1));
    // Nobody looks its basis up: it may not be known here yet.
    let elsewhere = |terms: &mut HoldTerms| {
        let basis = Basis { height: 1_000, block: frith_protocol::state::BlockId([3; 32]), time: now };
        (terms.slot, terms.basis, terms.until) = (2, basis, now.plus(MINUTE));
    };
    assert!(counts(&mut mesh, endorsers[1], &elsewhere));
    mesh.run(MINUTE);
    assert_eq!(standings(&mut mesh, held, &endorsers[..1]), only(Standing::Member));
}

#[test]
fn rule_5_25_the_holds_of_whoever_loses_its_office_or_its_key_end_with_it() {
    let (mut mesh, members) = with_members(Mesh::of_four(), 3);
    let endorsers = mesh.endorsers();
    for (by, member) in endorsers[1..].iter().zip(&members) {
        assert_eq!(hold(&mut mesh, *by, *member, HOUR), None);
    }
    mesh.run(1_000);
    let at = [endorsers[0]];
    for member in &members {
        assert_eq!(standings(&mut mesh, *member, &at), only(Standing::Suspended));
    }
    // Suspended: it rests for as long.
    let (subject, until) = (mesh.id(endorsers[1]), mesh.now.plus(MINUTE));
    let suspend = Suspend { subject, number: 1, until, reason: Reason::Misbehaved };
    mesh.decide(Kind::Suspend(suspend), &[endorsers[0], endorsers[2]]);
    assert_eq!(standings(&mut mesh, members[0], &at), only(Standing::Member));
    mesh.run(MINUTE);
    assert_eq!(standings(&mut mesh, members[0], &at), only(Standing::Suspended));
    // With another key: a thief's holds end when the owner rotates.
    mesh.rotate(endorsers[2]).unwrap();
    mesh.run(2_000);
    assert_eq!(standings(&mut mesh, members[1], &at), only(Standing::Member));
    // Revoked.
    revoke(&mut mesh, endorsers[3], &endorsers[..2]);
    assert_eq!(standings(&mut mesh, members[2], &at), only(Standing::Member));
}

#[test]
fn rule_5_25_two_holds_for_one_slot_shown_to_half_each_hold_nobody_and_tell_of_the_liar() {
    let (mut mesh, members) = with_members(Mesh::of_four(), 2);
    let endorsers = mesh.endorsers();
    let liar = endorsers[3];
    let both = [members[0], members[1]].map(|member| forged(&mesh, liar, mesh.id(member), |_| {}));
    let entries = [members[0], members[1]].map(|member| renewal(&mesh, member, &endorsers[..3]));
    show(&mut mesh, liar, endorsers[0], &both[0]);
    show(&mut mesh, liar, endorsers[1], &both[1]);
    mesh.stop(liar);
    mesh.run(100);
    for member in &members {
        assert_eq!(standings(&mut mesh, *member, &endorsers[..3]), only(Standing::Member));
    }
    let liar_id = mesh.id(liar);
    for key in &endorsers[..3] {
        let caught = |event: &&Event| matches!(event, Event::Alarm(Alarm::HoldsContradict { node, slot: 0, .. }) if *node == liar_id);
        assert_eq!(mesh.nodes[key].events.iter().filter(caught).count(), 1, "told once");
    }
    // Neither divides the endorsers.
    for entry in entries {
        mesh.tell(members[0], endorsers[0], Message::Submit(Arc::new(entry)));
    }
    mesh.run(5_000);
    assert_eq!([members[0], members[1]].map(|member| number_of(&mesh, member)), [2, 2]);
    // A third is not even kept, and a restart forgets neither half.
    mesh.stop(endorsers[0]);
    mesh.start(endorsers[0]);
    let third = forged(&mesh, endorsers[0], liar_id, |_| {}).terms();
    let third = Hold::sign(third, liar_id, 0, &key_of(&mesh.nodes[&liar].keys.inception, 0));
    let before = mesh.nodes[&endorsers[0]].refused.len();
    show(&mut mesh, endorsers[1], endorsers[0], &third);
    assert!(mesh.nodes[&endorsers[0]].refused[before].contains("known already"));
}

#[test]
fn rule_5_26_whoever_was_away_or_has_just_come_is_shown_the_holds_in_force_and_strangers_are_not() {
    let (mut mesh, members) = with_members(Mesh::of_four(), 2);
    let (endorsers, held) = (mesh.endorsers(), members[0]);
    let ticket = mesh.ticket(5);
    mesh.gossip = false;
    mesh.stop(members[1]);
    mesh.stop(endorsers[2]);
    assert_eq!(hold(&mut mesh, endorsers[0], held, HOUR), None);
    // It is in force long before the log knows of it.
    mesh.stop(endorsers[3]);
    for key in [members[1], endorsers[2]] {
        mesh.start(key);
        mesh.connect(key);
    }
    mesh.run(50);
    assert_eq!(standings(&mut mesh, held, &[members[1], endorsers[2]]), only(Standing::Suspended));
    let stranger = mesh.join(90, None);
    mesh.run(1_000);
    let shown = |mesh: &Mesh, to: PublicKey| {
        mesh.sent.iter().any(|(_, of, it)| *of == to && matches!(**it, Message::Hold(_)))
    };
    assert!(!shown(&mesh, stranger));
    let newcomer = mesh.join(91, Some(ticket));
    mesh.run(20_000);
    assert_eq!(mesh.core(newcomer).phase(), Phase::Following);
    assert_eq!(standings(&mut mesh, held, &[newcomer]), only(Standing::Suspended));
}

#[test]
fn rule_5_26_the_log_records_holds_without_anybodys_help_and_brings_them_to_whoever_missed_them() {
    let (mut mesh, members) = with_members(Mesh::of_four(), 2);
    let (endorsers, held) = (mesh.endorsers(), members[0]);
    mesh.gossip = false;
    let signer = mesh.id(endorsers[1]);
    // By a liar that hands nothing in itself, to one endorser only.
    let sent = forged(&mesh, endorsers[1], mesh.id(held), |terms| terms.slot = 6);
    show(&mut mesh, endorsers[1], endorsers[2], &sent);
    mesh.run(2_000);
    let recorded = mesh.any().state().unwrap().standing(&signer).unwrap().holds.expect("it is in the log");
    assert_eq!((recorded.day, recorded.slots), (0, 1 << 6));
    mesh.run(15_000);
    assert_eq!(standings(&mut mesh, held, &members[1..]), only(Standing::Suspended), "it follows by height");
}

#[test]
fn rule_5_26_a_liar_that_floods_holds_to_half_of_the_endorsers_stops_nothing_else() {
    let mut law = charter(4, 1, 3);
    // So that a day has few heartbeats.
    (law.timing.heartbeat_ms, law.timing.freshness_ms) = (HOUR / 6, 6 * HOUR);
    let mut mesh = Mesh::found(law);
    mesh.run(1_000);
    let (mut mesh, members) = with_members(mesh, 20);
    let endorsers = mesh.endorsers();
    let (liar, honest) = (endorsers[3], &endorsers[..3]);
    let flood = |mesh: &mut Mesh, time: Timestamp, first: usize| {
        for slot in 0..HOLDS_PER_DAY {
            let subject = mesh.id(members[(first + usize::from(slot)) % members.len()]);
            let change = |terms: &mut HoldTerms| {
                (terms.slot, terms.basis.time, terms.until) = (slot, time, time.plus(HOUR));
            };
            let hold = forged(mesh, liar, subject, change);
            show(mesh, liar, endorsers[usize::from(slot) % 2], &hold);
            // More of a slot than one is a lie that shows itself; beyond the slots there is none.
            show(mesh, liar, endorsers[2], &hold);
        }
    };
    let held = |mesh: &mut Mesh| {
        let is_held = |key: &&PublicKey| mesh.core(honest[0]).standing_of(key) == Standing::Suspended;
        members.iter().filter(is_held).count()
    };
    // At midnight: of the day that ends, of the one that begins, of one that is to come, and of one that is long over.
    mesh.run(2 * DAY - mesh.now.0 - MINUTE);
    let last = mesh.now;
    flood(&mut mesh, last, 0);
    mesh.run(2 * MINUTE);
    for time in [mesh.now, mesh.now.plus(DAY), Timestamp(5)] {
        flood(&mut mesh, time, 8);
    }
    mesh.run(1_000);
    assert_eq!(held(&mut mesh), 2 * usize::from(HOLDS_PER_DAY), "and no more");
    // Grants of the held wait at all of them; everything else goes on.
    for key in honest {
        for member in &members {
            let entry = renewal(&mesh, *member, honest);
            mesh.tell(*member, *key, Message::Submit(Arc::new(entry)));
        }
    }
    let ticket = mesh.ticket(9);
    let newcomer = mesh.join(70, Some(ticket));
    mesh.run(10_000);
    assert_eq!(mesh.core(newcomer).phase(), Phase::Following);
    let renewed = |mesh: &Mesh| members.iter().filter(|member| number_of(mesh, **member) == 2).count();
    assert_eq!(renewed(&mesh), members.len() - 2 * usize::from(HOLDS_PER_DAY));
    // And so does what ends it: whoever is rid of the liar is rid of its holds.
    revoke(&mut mesh, liar, &honest[..2]);
    mesh.run(2_000);
    assert_eq!(held(&mut mesh), 0);
    assert_eq!(renewed(&mesh), members.len());
    mesh.assert_equal_heads();
}
