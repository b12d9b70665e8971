//! What is left of an epoch that is over: its keys, its certificates, its last day (SPEC 8.20, 9.11, 9.13, 9.14).

use std::sync::Arc;

use frith_protocol::agreement::{Ballot, BallotKind, Certificate, Message as Said};
use frith_protocol::door::{Alarm, Command, Event, Input, Message, Phase, Table};
use frith_protocol::encoding::Hash;
use frith_protocol::identity::{PublicKey, SecretKey};
use frith_protocol::state::{FinalChain, Header};
use frith_protocol::time::Timestamp;

use super::amendments::{amended, epoch, next, propose, say_yes, still_agree_on_blocks, with_member};
use super::mesh::{Mesh, charter};

/// One more charter, to which these say yes.
fn amend_again(mesh: &mut Mesh, yes: &[PublicKey]) {
    let terms = next(mesh, &[], &[], |charter| charter.timing.heartbeat_ms -= 1);
    let before = epoch(mesh, yes[0]);
    let id = propose(mesh, yes[0], terms);
    say_yes(mesh, id, &yes[1..]);
    mesh.run(3_000);
    assert_eq!(epoch(mesh, yes[0]), before + 1);
}

fn voting_key(mesh: &Mesh, key: PublicKey) -> PublicKey {
    let state = mesh.any().state().unwrap();
    state.seat_of(&mesh.id(key)).unwrap().voting_key
}

fn last_refusal(mesh: &Mesh, key: PublicKey) -> &str {
    mesh.nodes[&key].refused.last().map_or("", String::as_str)
}

fn has_alarm(mesh: &Mesh, key: PublicKey) -> bool {
    mesh.nodes[&key].events.iter().any(|event| matches!(event, Event::Alarm(Alarm::Forked { .. })))
}

/// The header of the newest block with entries at this node: of an amended mesh, the last of its first epoch.
fn end(mesh: &Mesh, key: PublicKey) -> Header {
    mesh.core(key).state().unwrap().last().clone()
}

/// A heartbeat at this height after `end`, with a certificate by the voting keys that the founders began with: stolen, or not destroyed.
fn certified_by_old_keys(mesh: &Mesh, end: &Header, height: u64) -> Message {
    let header = Header {
        height,
        parent: end.id(),
        previous: end.id(),
        time: end.time.plus(1),
        entries_root: Hash::ZERO,
        ..end.clone()
    };
    let domain = mesh.any().domain();
    let ballot = Ballot { domain, epoch: 1, iteration: 99, kind: BallotKind::Finalise, block: header.id() };
    let keys = mesh.endorsers().into_iter().map(|key| &mesh.nodes[&key].keys.voting[0]);
    let mut votes: Vec<_> = keys.map(|key| (key.public(), key.sign(&ballot.digest()))).collect();
    votes.sort();
    let certificate = Certificate { ballot, votes };
    Message::Final(Arc::new(FinalChain { blocks: vec![], headers: vec![header], certificate }))
}

#[test]
fn rule_8_20_a_voting_key_that_the_new_charter_does_not_name_is_forgotten_and_signs_nothing() {
    let (mut mesh, member, leaving) = amended();
    let endorsers = mesh.endorsers();
    let old: Vec<PublicKey> = endorsers.iter().map(|key| mesh.nodes[key].keys.voting[0].public()).collect();
    for (endorser, old) in endorsers.iter().zip(&old) {
        let held: Vec<PublicKey> = mesh.core(*endorser).voting_keys().collect();
        assert!(!held.contains(old), "it holds the key of an epoch that is over");
        assert!(*endorser == leaving || held.contains(&voting_key(&mesh, *endorser)));
    }
    let before = mesh.sent.len();
    for endorser in &endorsers {
        let from = if *endorser == member { endorsers[0] } else { member };
        mesh.tell(from, *endorser, Message::Talk(Arc::new(Said::AskNewest { epoch: 1 })));
    }
    still_agree_on_blocks(&mut mesh);
    for (_, _, message) in &mesh.sent[before..] {
        let Message::Talk(talk) = &**message else { continue };
        let ballot = match &**talk {
            Said::Propose(proposal) => &proposal.vote,
            Said::Ballot(vote) => vote,
            Said::Newest(Some(vote)) => vote,
            _ => continue,
        };
        assert!(!old.contains(&ballot.voter), "{ballot:?}");
    }
}

#[test]
fn rule_8_20_who_lost_its_journal_votes_again_by_a_fresh_key_and_not_before() {
    let (mut mesh, _) = with_member();
    let endorsers = mesh.endorsers();
    let victim = endorsers[3];
    // Just as many as it takes, so that nothing is decided without the victim's yes.
    let yes = [endorsers[0], victim, endorsers[1]];
    mesh.stop(victim);
    mesh.nodes.get_mut(&victim).unwrap().disk.retain(|(table, _), _| *table != Table::Journal);
    mesh.start(victim);
    mesh.connect(victim);
    mesh.run(5_000);
    let lost = |mesh: &Mesh| mesh.core(victim).status(mesh.now).journal_lost.is_some();
    assert!(lost(&mesh));
    // It says yes, but every key that it has may have signed what nobody knows.
    let key = voting_key(&mesh, victim);
    amend_again(&mut mesh, &yes);
    assert_eq!((epoch(&mesh, victim), voting_key(&mesh, victim)), (2, key));
    assert!(lost(&mesh));
    mesh.stop(victim);
    mesh.start(victim);
    mesh.connect(victim);
    still_agree_on_blocks(&mut mesh);
    assert!(lost(&mesh), "a restart gave it back");

    let fresh = SecretKey::from_seed([99; 32]);
    mesh.nodes.get_mut(&victim).unwrap().keys.voting.push(fresh.clone());
    mesh.input(victim, Input::Command(Command::FreshVotingKey(fresh.clone())));
    amend_again(&mut mesh, &yes);
    assert_eq!(voting_key(&mesh, victim), fresh.public());
    assert!(!lost(&mesh));
    // Three of four must vote, and one of them is the one that came back.
    mesh.stop(endorsers[0]);
    mesh.run(60_000);
    let newest = mesh.core(victim).head().unwrap();
    assert!(newest.age_ms < 30_000, "{newest:?}");
}

#[test]
fn rule_9_11_a_chain_across_epochs_is_refused_and_its_parts_are_taken() {
    let (mut mesh, member, leaving) = amended();
    mesh.run(1_000);
    let end = end(&mesh, member);
    // Whoever left its seat follows, and misses what comes now.
    let cut: Vec<_> = mesh.nodes.keys().map(|key| (*key, leaving)).collect();
    mesh.cut.extend(cut);
    mesh.run(30_000);
    let head = mesh.core(leaving).head().unwrap().height;
    let of_next = mesh.core(member).chain().unwrap().since(end.height).expect("the tail goes back so far");
    let last = mesh.core(member).chain().unwrap().chain_of(end.height).unwrap();
    assert_eq!(last.tip().map(Header::id), Some(end.id()), "the last block is final by its own certificate");
    let across = FinalChain { blocks: last.blocks, ..of_next.clone() };
    assert!(of_next.blocks.is_empty() && across.tip().unwrap().epoch == 2);
    mesh.tell(member, leaving, Message::Final(Arc::new(across)));
    assert!(last_refusal(&mesh, leaving).contains("not of one epoch"), "{}", last_refusal(&mesh, leaving));
    assert_eq!(mesh.core(leaving).head().unwrap().height, head);
    mesh.tell(member, leaving, Message::Final(Arc::new(of_next)));
    assert!(mesh.core(leaving).head().unwrap().height > head);
}

#[test]
fn rule_9_13_a_block_of_the_epoch_before_beyond_its_last_one_shows_a_fork() {
    let (mut mesh, member, leaving) = amended();
    let end = end(&mesh, member);
    // The last block itself is known, with a certificate by whichever of its voters.
    let last = mesh.core(member).chain().unwrap().chain_of(end.height).unwrap();
    mesh.tell(member, leaving, Message::Final(Arc::new(last)));
    assert!(!has_alarm(&mesh, leaving));
    let beyond = certified_by_old_keys(&mesh, &end, end.height + 1);
    mesh.tell(member, leaving, beyond);
    assert!(has_alarm(&mesh, leaving), "{:?}", mesh.nodes[&leaving].refused);
}

#[test]
fn rule_9_13_another_block_beside_the_last_one_of_the_epoch_before_shows_a_fork() {
    let (mut mesh, member, leaving) = amended();
    let end = end(&mesh, member);
    let beside = certified_by_old_keys(&mesh, &end, end.height);
    mesh.tell(member, leaving, beside);
    assert!(has_alarm(&mesh, leaving), "{:?}", mesh.nodes[&leaving].refused);
}

#[test]
fn rule_9_13_what_is_older_than_the_epoch_before_is_void_and_convicts_nobody() {
    let (mut mesh, member, leaving) = amended();
    let end = end(&mesh, member);
    let endorsers: Vec<_> = mesh.endorsers().into_iter().filter(|key| *key != leaving).collect();
    amend_again(&mut mesh, &endorsers);
    mesh.run(1_000);
    assert_eq!(epoch(&mesh, leaving), 3);
    let beyond = certified_by_old_keys(&mesh, &end, end.height + 1);
    mesh.tell(member, leaving, beyond);
    assert!(last_refusal(&mesh, leaving).contains("long over"), "{}", last_refusal(&mesh, leaving));
    assert!(!has_alarm(&mesh, leaving));
    still_agree_on_blocks(&mut mesh);
}

#[test]
fn rule_9_14_a_newcomer_whose_charter_is_past_its_last_day_is_told_and_who_is_awake_goes_on() {
    let mut founding = charter(4, 1, 3);
    founding.last_day = Timestamp(100_000);
    let mut mesh = Mesh::found(founding);
    mesh.run(50_000);
    let old = mesh.any().anchor(vec![]).unwrap();
    let ticket = mesh.ticket(9);
    mesh.run(51_000);
    let late = mesh.join_by(10, old, Some(ticket));
    mesh.run(5_000);
    let told = |event: &Event| matches!(event, Event::JoinFailed { why } if why.contains("last day"));
    let events = &mesh.nodes[&late].events;
    assert!(events.iter().any(told), "{events:?}");
    mesh.nodes.remove(&late);
    still_agree_on_blocks(&mut mesh);
    // The endorsers are awake, and write a charter with a later one.
    let endorsers = mesh.endorsers();
    let terms = next(&mesh, &[], &[], |charter| charter.last_day = Timestamp(100_000_000));
    let id = propose(&mut mesh, endorsers[0], terms);
    say_yes(&mut mesh, id, &endorsers[1..]);
    mesh.run(3_000);
    assert_eq!(epoch(&mesh, endorsers[0]), 2);
    let newer = mesh.any().anchor(vec![]).unwrap();
    let ticket = mesh.ticket(2);
    let newcomer = mesh.join_by(11, newer, Some(ticket));
    mesh.run(15_000);
    assert_eq!(mesh.core(newcomer).phase(), Phase::Following, "{:?}", mesh.nodes[&newcomer].events);
}
