//! Forks and recoveries under attack, and under a crash at the worst moment (SPEC 8.12, 9.4, 9.16 to 9.20).

use std::sync::Arc;

use frith_protocol::agreement::Message as Said;
use frith_protocol::door::{
    Alarm, Command, Durability, Effects, Event, Input, Message, Phase, Record, Standing, Table,
    returning_record,
};
use frith_protocol::identity::{BatchCheck, PublicKey, SecretKey, Verified, verify};
use frith_protocol::state::{
    Block, Endorsement, Entry, FinalChain, Kind, Reason, Revoke, State, Statement, Subject, Terms,
};
use rand_core::SeedableRng;

use super::mesh::{Mesh, key_of};
use super::recovery::*;

/// The revocation of `subject`, with everybody's yes.
fn revocation(mesh: &Mesh, subject: PublicKey) -> Entry {
    let revoke = Revoke { subject: mesh.id(subject), reason: Reason::Compromised };
    let statement = Statement { domain: mesh.any().domain(), kind: Kind::Revoke(revoke) };
    let digest = Subject::Statement(statement.clone()).digest();
    let sign = |key: &PublicKey| {
        let inception = &mesh.nodes[key].keys.inception;
        Endorsement::sign(&digest, inception.node_id(), 0, &key_of(inception, 0))
    };
    let mut endorsements: Vec<Endorsement> = mesh.endorsers()[..2].iter().map(sign).collect();
    endorsements.sort_by_key(|endorsement| endorsement.node);
    Entry { statement, endorsements }
}

fn checked(entry: Arc<Entry>) -> Verified<Arc<Entry>> {
    let check = BatchCheck::new(rand_chacha::ChaCha8Rng::from_seed([1; 32]));
    verify(entry, &check).unwrap()
}

/// A block that three of the four founders certify, after the newest of `by` or after this one of theirs; and the state after it.
fn certified(
    mesh: &Mesh,
    by: PublicKey,
    after: Option<&(FinalChain, State)>,
    entries: Vec<Entry>,
    ms: u64,
) -> (FinalChain, State) {
    let chain = mesh.core(by).chain().unwrap();
    let (state, head) = match after {
        Some((chain, state)) => (state, chain.tip().unwrap().clone()),
        None => (chain.state(), chain.head().clone()),
    };
    let entries: Vec<_> = entries.into_iter().map(|entry| checked(Arc::new(entry))).collect();
    let (block, state, _) = state.build(&head, mesh.now.plus(ms), entries.iter());
    let keys: Vec<SecretKey> =
        mesh.endorsers()[..3].iter().map(|key| mesh.nodes[key].keys.voting[0].clone()).collect();
    let mut proven = signed(mesh, Block::clone(&block), &keys);
    proven.certificate.ballot.iteration = 900 + ms;
    let digest = proven.certificate.ballot.digest();
    proven.certificate.votes = keys.iter().map(|key| (key.public(), key.sign(&digest))).collect();
    proven.certificate.votes.sort();
    if block.header.is_heartbeat() {
        proven.headers = proven.blocks.drain(..).map(|block| block.header.clone()).collect();
    }
    (proven, state)
}

fn show(mesh: &mut Mesh, from: PublicKey, to: PublicKey, chain: &FinalChain) {
    mesh.tell(from, to, Message::Final(Arc::new(chain.clone())));
}

/// A fork: `left` and `one` hold a block that revokes the third member, and know of the other; `two` holds that other one alone, and is cut off.
fn forked() -> (Mesh, PublicKey, Vec<PublicKey>, (FinalChain, State)) {
    let (mut mesh, members) = mesh();
    let endorsers = mesh.endorsers();
    for liar in &endorsers[..3] {
        mesh.stop(*liar);
    }
    let (left, one, two) = (endorsers[3], members[0], members[1]);
    let entry = revocation(&mesh, members[2]);
    let ours = certified(&mesh, left, None, vec![entry], 1);
    let (beat, _) = certified(&mesh, left, Some(&ours), vec![], 5);
    let theirs = certified(&mesh, left, None, vec![], 2);
    for other in [left, one, members[2]] {
        mesh.cut.extend([(other, two), (two, other)]);
    }
    show(&mut mesh, two, left, &ours.0);
    show(&mut mesh, two, left, &beat);
    mesh.run(1_000);
    show(&mut mesh, one, two, &theirs.0);
    show(&mut mesh, two, left, &theirs.0);
    assert_eq!(mesh.core(left).phase(), Phase::Halted);
    (mesh, left, members, theirs)
}

#[test]
fn rule_8_12_whoever_has_halted_is_led_to_the_other_branch_by_nothing() {
    let (mut mesh, left, members, theirs) = forked();
    let (two, gone) = (members[1], members[2]);
    let head = mesh.core(left).head().unwrap();
    // A head that lies beyond what is held here, as whoever wants another to take a snapshot shows it.
    let (mut tip, _) = certified(&mesh, left, Some(&theirs), vec![], 3);
    tip.blocks.clear();
    let charter = mesh.core(left).state().unwrap().charter_id();
    let sent = mesh.tell(two, left, Message::Head { charter, tip: Some(Box::new(tip)) });
    assert!(sent.iter().all(|(_, message)| !matches!(**message, Message::AskSnapshot { .. })));
    assert!(mesh.nodes[&left].refused.last().unwrap().contains("has halted"));
    mesh.run(60_000);
    assert_eq!(mesh.core(left).head().unwrap().block, head.block);
    assert_eq!(mesh.core(left).standing_of(&gone), Standing::Gone);
}

#[test]
fn rule_9_16_no_link_and_no_snapshot_leads_whoever_knows_better_across_a_recovery() {
    let (mut mesh, left, members) = destroyed();
    let entry = revocation(&mesh, members[2]);
    let base = mesh.core(left).head().unwrap().height;
    let (block, _) = certified(&mesh, left, None, vec![entry], 1);
    // All but one of them know who is gone; whoever does not drafts the recovery.
    let other = members[1];
    for to in [left, members[0], members[2]] {
        mesh.cut.extend([(to, other), (other, to)]);
    }
    show(&mut mesh, members[0], left, &block);
    mesh.run(2 * SILENCE_MS);
    assert_eq!(mesh.core(left).standing_of(&members[2]), Standing::Gone);
    assert_eq!(mesh.core(other).head().unwrap().height, base);
    let chain = recovery(&mesh, other, &[other]);
    mesh.cut.clear();
    bring(&mut mesh, other, &chain);
    assert_eq!(epoch(&mesh, other), 2);
    mesh.connect(other);
    mesh.run(SILENCE_MS);
    for key in [left, members[0]] {
        assert_eq!(epoch(&mesh, key), 1, "it would bring somebody back");
        assert_eq!(mesh.core(key).standing_of(&members[2]), Standing::Gone);
        assert!(has(&mesh, key, |event| matches!(event, Event::Alarm(Alarm::RecoveryForgets { .. }))));
    }
}

#[test]
fn rule_9_4_no_snapshot_brings_anybody_back_whatever_certifies_it() {
    let (mut mesh, left, members) = destroyed();
    let entry = revocation(&mesh, members[2]);
    let (ours, _) = certified(&mesh, left, None, vec![entry], 1);
    let (theirs, state) = certified(&mesh, left, None, vec![], 2);
    let (later, _) = certified(&mesh, left, Some(&(theirs.clone(), state)), vec![], 3);
    let other = members[1];
    for to in [left, members[0], members[2]] {
        mesh.cut.extend([(to, other), (other, to)]);
    }
    show(&mut mesh, members[0], left, &ours);
    show(&mut mesh, members[0], other, &theirs);
    show(&mut mesh, members[0], other, &later);
    mesh.run(2 * SILENCE_MS);
    let chain = recovery(&mesh, other, &[other]);
    bring(&mut mesh, other, &chain);
    // A link to its charter, and its state: from before anybody could show that the log has forked.
    let links = mesh.tell(left, other, Message::AskLinks { epoch: 1 });
    mesh.tell(other, left, (*links[0].1).clone());
    for chunk in 0.. {
        let head = frith_protocol::state::BlockId::NONE;
        let answer = mesh.tell(left, other, Message::AskSnapshot { head, chunk, lean: false });
        let Some((_, snapshot)) = answer.iter().find(|(_, m)| matches!(**m, Message::Snapshot(_))) else {
            break;
        };
        mesh.tell(other, left, (**snapshot).clone());
    }
    assert_eq!(mesh.core(left).standing_of(&members[2]), Standing::Gone);
    assert!(has(&mesh, left, |event| matches!(event, Event::Alarm(Alarm::RecoveryForgets { .. }))));
}

#[test]
fn rule_9_19_a_thief_of_the_recovery_keys_misleads_no_newcomer_whom_living_endorsers_hear() {
    let (mut mesh, members) = mesh();
    let thief = members[0];
    let link = {
        // What the thief has made for itself, in a mesh of its own.
        let (mut alone, members) = self::mesh();
        for endorser in alone.endorsers() {
            alone.stop(endorser);
        }
        alone.run(2 * SILENCE_MS);
        let chain = recovery(&alone, members[0], &members[..1]);
        bring(&mut alone, members[0], &chain);
        assert_eq!(epoch(&alone, members[0]), 2);
        let shown = alone.tell(members[1], members[0], Message::AskLinks { epoch: 1 });
        let links = shown.iter().find_map(|(_, message)| match &**message {
            Message::Links(links) => Some(links.clone()),
            _ => None,
        });
        links.expect("a link to its charter")
    };
    let ticket = mesh.ticket(1);
    let newcomer = mesh.join(20, Some(ticket));
    // Before anybody else says anything.
    mesh.input(newcomer, Input::Connected(thief));
    let charter = mesh.founded.charter.clone();
    mesh.tell(thief, newcomer, Message::Charter(Box::new(charter)));
    mesh.tell(thief, newcomer, Message::Links(link.clone()));
    mesh.run(300_000);
    assert_eq!(mesh.core(newcomer).phase(), Phase::Following);
    assert_eq!(epoch(&mesh, newcomer), 1);

    // Nor one that waits for its operators, and has heard of no newer head for long.
    let waits = mesh.join(21, None);
    mesh.cut.extend(members.iter().map(|member| (*member, waits)));
    mesh.run(900_000);
    mesh.tell(thief, waits, Message::Links(link.clone()));
    mesh.run(200_000);
    assert_eq!(mesh.core(waits).charter().map(|charter| charter.epoch), Some(1));

    // Nor a member that comes back without a state.
    let returner = members[1];
    mesh.stop(returner);
    let height = mesh.any().head().unwrap().height;
    let node = mesh.nodes.get_mut(&returner).unwrap();
    node.disk.retain(|(table, _), _| !matches!(table, Table::Final | Table::Base));
    let record = returning_record(height);
    node.disk.insert((record.table, record.key), record.value.unwrap());
    mesh.start(returner);
    assert_eq!(mesh.core(returner).phase(), Phase::Syncing);
    mesh.tell(thief, returner, Message::Links(link));
    mesh.connect(returner);
    mesh.run(60_000);
    assert_eq!((epoch(&mesh, returner), mesh.core(returner).phase()), (1, Phase::Following));
}

#[test]
fn rule_9_19_a_recovery_that_nobody_executes_ends_nobody() {
    let (mut mesh, members) = mesh();
    let (thief, victim) = (members[0], members[1]);
    let mut block = (*recovery(&mesh, thief, &members[..1]).blocks[0]).clone();
    block.entries.push(revocation(&mesh, victim));
    block.header.entries_root = block.root_of_entries();
    let chain = signed(&mesh, block, &offline_keys()[..2]);
    mesh.stop(victim);
    let node = mesh.nodes.get_mut(&victim).unwrap();
    node.disk.retain(|(table, _), _| !matches!(table, Table::Final | Table::Base));
    let record = returning_record(1);
    node.disk.insert((record.table, record.key), record.value.unwrap());
    mesh.start(victim);
    show(&mut mesh, thief, victim, &chain);
    assert!(!has(&mesh, victim, |event| matches!(event, Event::Dismissed { .. })));
    mesh.connect(victim);
    mesh.run(60_000);
    assert_eq!(mesh.core(victim).phase(), Phase::Following);
}

#[test]
fn rule_9_16_a_recovery_that_a_newer_block_voided_does_not_come_back_when_it_is_shown_again() {
    let (mut mesh, members) = mesh();
    let endorsers = mesh.endorsers();
    let chain = recovery(&mesh, endorsers[3], &[endorsers[3], members[0]]);
    show(&mut mesh, members[0], endorsers[3], &chain);
    assert!(has(&mesh, endorsers[3], |event| matches!(event, Event::RecoveryWaits { .. })));
    mesh.run(60_000);
    assert!(has(&mesh, endorsers[3], |event| matches!(event, Event::RecoveryVoid { .. })));
    show(&mut mesh, members[0], endorsers[3], &chain);
    assert!(mesh.nodes[&endorsers[3]].refused.last().unwrap().contains("the log has gone on since"));
    for lost in &endorsers[..3] {
        mesh.stop(*lost);
    }
    mesh.run(2 * SILENCE_MS);
    assert_eq!(epoch(&mesh, endorsers[3]), 1);
}

#[test]
fn rule_8_12_whoever_saw_two_certificates_alone_shows_the_fork_to_all_when_it_comes() {
    let (mut mesh, members) = mesh();
    let endorsers = mesh.endorsers();
    for liar in &endorsers[..3] {
        mesh.stop(*liar);
    }
    let (left, follower) = (endorsers[3], members[0]);
    let (ours, _) = certified(&mesh, left, None, vec![], 1);
    let (mut theirs, _) = certified(&mesh, left, None, vec![], 2);
    // Of one iteration: so a certificate alone says that there are two.
    let keys: Vec<SecretKey> =
        endorsers[..3].iter().map(|key| mesh.nodes[key].keys.voting[0].clone()).collect();
    theirs.certificate.ballot.iteration = ours.certificate.ballot.iteration;
    let digest = theirs.certificate.ballot.digest();
    theirs.certificate.votes = keys.iter().map(|key| (key.public(), key.sign(&digest))).collect();
    theirs.certificate.votes.sort();
    show(&mut mesh, follower, left, &ours);
    mesh.run(1_000);
    let talk = Said::Certificate(theirs.certificate.clone());
    mesh.tell(endorsers[0], left, Message::Talk(Arc::new(talk)));
    assert_eq!(mesh.core(left).phase(), Phase::Halted, "{:?}", mesh.nodes[&left].refused.last());
    mesh.run(1_000);
    assert_ne!(mesh.core(follower).phase(), Phase::Halted, "nobody could show it why");
    show(&mut mesh, members[1], left, &theirs);
    mesh.run(5_000);
    assert_eq!(mesh.core(follower).phase(), Phase::Halted);
}

#[test]
fn rule_9_4_whoever_lost_its_state_says_nothing_before_it_knows_what_it_knew() {
    let (mut mesh, members) = mesh();
    let (returner, server) = (members[0], members[1]);
    let before = mesh.core(server).head().unwrap().height;
    mesh.run(30_000);
    let reached = mesh.core(server).head().unwrap().height + 1;
    assert!(before < reached);
    mesh.stop(returner);
    let node = mesh.nodes.get_mut(&returner).unwrap();
    node.disk.retain(|(table, _), _| !matches!(table, Table::Final | Table::Base));
    let record = returning_record(reached);
    node.disk.insert((record.table, record.key), record.value.unwrap());
    mesh.start(returner);
    mesh.connect(returner);
    mesh.run(1_000);
    assert_eq!(mesh.core(returner).phase(), Phase::Following);
    assert!(mesh.core(returner).head().unwrap().height < reached);
    assert_eq!(mesh.core(returner).effective(&mesh.id(server), mesh.now), None);
    assert_eq!(mesh.core(returner).standing_of(&server), Standing::Stranger);
    mesh.run(30_000);
    assert!(mesh.core(returner).head().unwrap().height >= reached);
    assert!(mesh.core(returner).effective(&mesh.id(server), mesh.now).is_some());
    assert_eq!(mesh.core(returner).standing_of(&server), Standing::Member);
}

/// The way out of [`forked`]: from the newest block below the fork, under these seats.
fn way_out(mesh: &Mesh, left: PublicKey, seated: &[PublicKey]) -> (u64, FinalChain) {
    let chain = mesh.core(left).chain().unwrap();
    let base = chain.entries_below(chain.state().last().height).unwrap();
    let recover = drafted(mesh, left, seated, Some(base));
    let block = mesh.core(left).recovery_block(recover, mesh.now).unwrap();
    (base, signed(mesh, block, &offline_keys()[..2]))
}

#[test]
fn rule_9_18_whoever_is_killed_while_it_takes_a_recovery_has_taken_it_when_it_is_back() {
    let (mut mesh, left, members, _) = forked();
    let (_, chain) = way_out(&mesh, left, &[left]);
    let node = mesh.nodes.get_mut(&left).unwrap();
    node.sync();
    let before = node.disk.clone();
    let mut effects = Effects::new();
    let now = mesh.now;
    let core = mesh.nodes.get_mut(&left).unwrap().core.as_mut().unwrap();
    core.handle(now, Input::Command(Command::Recover(verified(chain))), &mut effects).unwrap();
    let unsettled = effects.take();
    assert!(unsettled.syncs_all());
    let is_synced = |record: &&Record| record.table.durability() == Durability::Synced;
    let synced: Vec<Record> = unsettled.records().iter().filter(is_synced).cloned().collect();
    let rest: Vec<Record> = unsettled.records().iter().filter(|r| !is_synced(r)).cloned().collect();
    assert!(rest.len() > 3, "a state, a block, and what goes");
    let _ = unsettled.settled();
    for written in 0..=rest.len() {
        let mut disk = before.clone();
        for record in synced.iter().chain(&rest[..written]) {
            match &record.value {
                Some(value) => disk.insert((record.table, record.key.clone()), Arc::clone(value)),
                None => disk.remove(&(record.table, record.key.clone())),
            };
        }
        mesh.nodes.get_mut(&left).unwrap().disk = disk;
        mesh.start(left);
        assert_eq!((epoch(&mesh, left), mesh.core(left).phase()), (2, Phase::Endorsing), "{written} written");
        assert_eq!(mesh.core(left).standing_of(&members[2]), Standing::Gone, "{written} written");
        // And once more, after it has gone on.
        mesh.run(30_000);
        mesh.stop(left);
        mesh.start(left);
        assert_eq!((epoch(&mesh, left), mesh.core(left).phase()), (2, Phase::Endorsing), "{written} written");
        mesh.lose_power(left);
        mesh.now = now;
    }
}

#[test]
fn rule_9_18_what_only_a_dropped_block_proved_is_final_after_a_restart() {
    let (mut mesh, left, members) = destroyed();
    let mut all: Vec<(FinalChain, State)> = Vec::new();
    for (at, member) in members.iter().enumerate() {
        let entry = revocation(&mesh, *member);
        let block = certified(&mesh, left, all.last(), vec![entry], 1 + at as u64);
        all.push(block);
    }
    // In one answer: the last one's certificate is of all three.
    let blocks: Vec<_> = all.iter().flat_map(|(chain, _)| chain.blocks.clone()).collect();
    let certificate = all.last().unwrap().0.certificate.clone();
    let base = blocks[1].header.height;
    show(&mut mesh, members[0], left, &FinalChain { blocks, headers: vec![], certificate });
    mesh.run(2 * SILENCE_MS);
    let recover = drafted(&mesh, left, &[left], Some(base));
    let block = mesh.core(left).recovery_block(recover, mesh.now).unwrap();
    let chain = signed(&mesh, block, &offline_keys()[..2]);
    bring(&mut mesh, left, &chain);
    mesh.run(SILENCE_MS);
    assert_eq!(epoch(&mesh, left), 2);
    // A state to begin from is damaged, so that the blocks must do.
    mesh.stop(left);
    mesh.nodes.get_mut(&left).unwrap().disk.retain(|(table, _), _| *table != Table::Base);
    mesh.start(left);
    assert_eq!((epoch(&mesh, left), mesh.core(left).phase()), (2, Phase::Endorsing));
    for member in &members {
        assert_eq!(mesh.core(left).standing_of(member), Standing::Gone);
    }
}

#[test]
fn rule_9_18_whoever_comes_to_a_recovered_epoch_a_second_time_goes_on_with_its_journal() {
    let (mut mesh, left, members, _) = forked();
    let seated = [left, members[0], members[1]];
    mesh.cut.clear();
    let (base, chain) = way_out(&mesh, left, &seated);
    bring(&mut mesh, left, &chain);
    mesh.connect(left);
    mesh.connect(members[1]);
    mesh.run(60_000);
    assert_eq!(epoch(&mesh, left), 2);
    mesh.stop(left);
    let node = mesh.nodes.get_mut(&left).unwrap();
    let height = |key: &Vec<u8>| key.first_chunk().map(|height| u64::from_be_bytes(*height));
    node.disk.retain(|(table, key), _| match table {
        Table::Base => false,
        Table::Final => height(key).is_some_and(|height| height <= base),
        _ => true,
    });
    mesh.start(left);
    assert_eq!(epoch(&mesh, left), 1);
    mesh.connect(left);
    mesh.run(60_000);
    assert_eq!((epoch(&mesh, left), mesh.core(left).phase()), (2, Phase::Endorsing));
    assert_eq!(mesh.core(left).status(mesh.now).journal_lost, None);
    for key in seated {
        assert!(!has(&mesh, key, |event| matches!(event, Event::Alarm(Alarm::Contradiction { .. }))));
    }
    mesh.assert_equal_heads();
}

#[test]
fn rule_9_18_a_fork_that_was_seen_in_a_log_that_is_lost_halts_nobody_for_ever() {
    let (mut mesh, left, members, _) = forked();
    let (one, seated) = (members[0], [left, members[1]]);
    mesh.cut.clear();
    mesh.run(5_000);
    assert_eq!(mesh.core(one).phase(), Phase::Halted);
    mesh.stop(one);
    let (_, chain) = way_out(&mesh, left, &seated);
    bring(&mut mesh, left, &chain);
    mesh.connect(members[1]);
    mesh.run(60_000);
    // As from a backup of that time.
    let node = mesh.nodes.get_mut(&one).unwrap();
    node.disk.retain(|(table, _), _| !matches!(table, Table::Final | Table::Base));
    let record = returning_record(1);
    node.disk.insert((record.table, record.key), record.value.unwrap());
    for _ in 0..2 {
        mesh.start(one);
        mesh.connect(one);
        mesh.run(200_000);
        assert_eq!((epoch(&mesh, one), mesh.core(one).phase()), (2, Phase::Following));
        mesh.stop(one);
    }
}

#[test]
fn rule_9_20_a_founder_that_lost_its_tables_does_not_begin_at_genesis() {
    let (mut mesh, members) = mesh();
    let founder = mesh.endorsers()[0];
    let terms = Terms::of(mesh.any().domain(), seating(&mesh, founder, &mesh.endorsers()));
    let by = mesh.endorsers();
    mesh.propose(Subject::Terms(Box::new(terms)), &by[..3]);
    mesh.run(5_000);
    assert_eq!(epoch(&mesh, founder), 2);
    mesh.stop(founder);
    let node = mesh.nodes.get_mut(&founder).unwrap();
    node.disk.retain(|(table, _), _| !matches!(table, Table::Final | Table::Base));
    mesh.start(founder);
    assert_eq!(mesh.core(founder).phase(), Phase::Syncing, "it knows of a later charter than the first");
    mesh.connect(founder);
    mesh.run(10_000);
    assert_eq!(mesh.core(founder).standing_of(&members[0]), Standing::Member);
}
