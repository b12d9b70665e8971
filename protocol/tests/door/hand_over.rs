//! Around a change of charter: what liars, strangers, lost disks and bad moments must not bring about (SPEC 4.12, 5.21, 8.14, 8.19, 8.20, 9.4, 9.11, 9.12).

use std::collections::BTreeMap;
use std::sync::Arc;

use frith_protocol::agreement::{BallotKind, Message as Said};
use frith_protocol::door::{Command, Config, Core, Input, Message, Record, Table};
use frith_protocol::following::{Checkpoint, Link, PlainWorkshop, Proof};
use frith_protocol::identity::{PublicKey, SecretKey};
use frith_protocol::state::{BlockId, FinalChain, Header, SnapshotChunk, State};

use super::amendments::{amended, epoch, next, propose, say_yes, with_member};
use super::mesh::{Mesh, charter};

fn secret(n: u8) -> SecretKey {
    SecretKey::from_seed([n; 32])
}

fn tip_of(header: &Header, proof: &Proof) -> FinalChain {
    let headers = std::iter::once(header).chain(&proof.headers).cloned().collect();
    FinalChain { blocks: Vec::new(), headers, certificate: proof.certificate.clone() }
}

fn chunks(checkpoint: &Checkpoint) -> Vec<Arc<SnapshotChunk>> {
    let tip = checkpoint.proof.as_deref().map(|proof| Box::new(tip_of(&checkpoint.header, proof)));
    checkpoint.state.snapshot(tip).into_iter().map(Arc::new).collect()
}

fn cut_all(mesh: &mut Mesh, key: PublicKey) {
    let others: Vec<_> = mesh.nodes.keys().copied().filter(|other| *other != key).collect();
    for other in others {
        mesh.cut.insert((key, other));
        mesh.cut.insert((other, key));
    }
}

/// What `key` said, by epoch, iteration and kind; and pairs that SPEC 8.15 calls contradictions.
fn contradictions(mesh: &Mesh, key: PublicKey) -> Vec<String> {
    let mut said: BTreeMap<(u64, u64), Vec<(BallotKind, BlockId)>> = BTreeMap::new();
    let mut found = Vec::new();
    for (from, _, message) in &mesh.sent {
        if *from != key {
            continue;
        }
        let Message::Talk(talk) = &**message else { continue };
        let ballot = match &**talk {
            Said::Ballot(vote) => vote.ballot,
            Said::Propose(proposal) => proposal.vote.ballot,
            _ => continue,
        };
        let before = said.entry((ballot.epoch, ballot.iteration)).or_default();
        for (kind, block) in before.iter() {
            let dummies = [ballot.kind, *kind].iter().filter(|k| **k == BallotKind::Dummy).count();
            let finalises = [ballot.kind, *kind].iter().filter(|k| **k == BallotKind::Finalise).count();
            if (dummies == 0 && *block != ballot.block) || (dummies == 1 && finalises == 1) {
                found.push(format!(
                    "epoch {} iteration {}: {kind:?} {block:?} and {:?} {:?}",
                    ballot.epoch, ballot.iteration, ballot.kind, ballot.block
                ));
            }
        }
        if !before.contains(&(ballot.kind, ballot.block)) {
            before.push((ballot.kind, ballot.block));
        }
    }
    found.dedup();
    found
}

fn open_with(mesh: &mut Mesh, key: PublicKey, lost: Option<String>) {
    let now = mesh.now;
    let node = mesh.nodes.get_mut(&key).unwrap();
    let records = node
        .disk
        .iter()
        .map(|((table, key), value)| Record { table: *table, key: key.clone(), value: Some(value.clone()) })
        .collect();
    let config = Config {
        keys: node.keys.clone(),
        seed: key.0,
        workshop: Arc::new(PlainWorkshop),
        archive: false,
        journal_lost: lost,
    };
    node.core = Some(Core::open(config, records, now).unwrap());
    mesh.input(key, Input::Tick);
}

/// Whose journal is lost cannot be healed by an amendment, if it restarts between its consent and the block.
#[test]
fn rule_8_20_a_fresh_key_survives_a_restart_of_whoever_lost_its_journal() {
    let (mut mesh, _) = with_member();
    let e = mesh.endorsers();
    let l = e[3];
    mesh.stop(l);
    mesh.nodes.get_mut(&l).unwrap().disk.retain(|(table, _), _| *table != Table::Journal);
    mesh.start(l);
    mesh.connect(l);
    mesh.run(2_000);
    assert!(mesh.core(l).status(mesh.now).journal_lost.is_some());
    assert!(mesh.core(l).lacks_fresh_voting_key());
    mesh.nodes.get_mut(&l).unwrap().keys.voting.push(secret(200));
    mesh.input(l, Input::Command(Command::FreshVotingKey(secret(200))));
    assert!(!mesh.core(l).lacks_fresh_voting_key());
    let terms = next(&mesh, &[], &[], |_| {});
    let id = propose(&mut mesh, e[0], terms);
    say_yes(&mut mesh, id, &[l]);
    mesh.run(100);
    mesh.stop(l);
    mesh.start(l);
    mesh.connect(l);
    mesh.run(1_000);
    let spoilt = mesh.core(l).lacks_fresh_voting_key();
    say_yes(&mut mesh, id, &[e[1]]);
    mesh.run(3_000);
    assert_eq!(epoch(&mesh, l), 2);
    let bound = mesh.any().charter().unwrap().seat_of(&mesh.id(l)).unwrap().voting_key;
    assert_eq!(bound, secret(200).public());
    assert_eq!((mesh.core(l).status(mesh.now).journal_lost.clone(), spoilt), (None, false));
}

/// A stranger shows a genuine link and a spoilt one in one message.
#[test]
fn rule_9_12_a_link_that_is_adopted_is_kept_whatever_follows_it_in_the_message() {
    let (mut mesh, _) = with_member();
    let e = mesh.endorsers();
    let l = e[3];
    cut_all(&mut mesh, l);
    mesh.gossip = true;
    let terms = next(&mesh, &[], &[], |_| {});
    let id = propose(&mut mesh, e[0], terms);
    say_yes(&mut mesh, id, &e[1..3]);
    mesh.run(3_000);
    assert_eq!((epoch(&mesh, e[0]), epoch(&mesh, l)), (2, 1));
    let stranger = secret(99).public();
    let answer = mesh.tell(stranger, e[0], Message::AskLinks { epoch: 1 });
    let Some(Message::Links(links)) = answer.iter().map(|(_, m)| &**m).next() else { panic!("{answer:?}") };
    let mut spoilt: Link = (*links[0]).clone();
    spoilt.header.epoch = 2;
    let both = vec![Arc::clone(&links[0]), Arc::new(spoilt)];
    mesh.tell(stranger, l, Message::Links(both));
    mesh.cut.clear();
    mesh.connect(l);
    mesh.run(30_000);
    assert_eq!(epoch(&mesh, l), 2);
    let kept = |mesh: &Mesh, key| {
        mesh.nodes[&key].disk.contains_key(&(Table::Charters, 2u64.to_be_bytes().to_vec()))
    };
    assert!(kept(&mesh, e[0]));
    assert!(kept(&mesh, l), "the link was never written");
}

#[test]
fn rule_9_12_a_link_that_fewer_than_a_quorum_certified_leads_nowhere() {
    let (mut mesh, _) = with_member();
    let e = mesh.endorsers();
    let l = e[3];
    cut_all(&mut mesh, l);
    let terms = next(&mesh, &[], &[], |_| {});
    let id = propose(&mut mesh, e[0], terms);
    say_yes(&mut mesh, id, &e[1..3]);
    mesh.run(3_000);
    let stranger = secret(99).public();
    let answer = mesh.tell(stranger, e[0], Message::AskLinks { epoch: 1 });
    let Some(Message::Links(links)) = answer.iter().map(|(_, m)| &**m).next() else { panic!("{answer:?}") };
    let mut by_few: Link = (*links[0]).clone();
    by_few.certificate.votes.truncate(2);
    let kept =
        |mesh: &Mesh| mesh.nodes[&l].disk.contains_key(&(Table::Charters, 2u64.to_be_bytes().to_vec()));
    mesh.tell(stranger, l, Message::Links(vec![Arc::new(by_few)]));
    assert!(mesh.nodes[&l].refused.last().is_some_and(|why| why.contains("misbehaved")));
    assert!(!kept(&mesh), "two of four led it to a charter");
    mesh.tell(stranger, l, Message::Links(links.clone()));
    assert!(kept(&mesh), "it was the certificate that was wrong");
}

/// Base and journal are both damaged, the host says so, and the seat is taken as if it were new.
#[test]
fn rule_8_14_a_journal_that_the_host_calls_lost_stays_lost_if_the_base_is_damaged_too() {
    let (mut mesh, m, _) = amended();
    mesh.run(5_000);
    let e = mesh.endorsers();
    assert!(mesh.nodes[&m].disk.keys().any(|(table, _)| *table == Table::Base), "it began from a snapshot");
    mesh.stop(m);
    let lost =
        |(table, _): &(Table, Vec<u8>), _: &mut Arc<[u8]>| !matches!(table, Table::Journal | Table::Base);
    mesh.nodes.get_mut(&m).unwrap().disk.retain(lost);
    open_with(&mut mesh, m, Some("damaged".into()));
    cut_all(&mut mesh, m);
    mesh.input(m, Input::Connected(e[0]));
    let parts = chunks(mesh.core(e[0]).chain().unwrap().checkpoint());
    for chunk in parts {
        mesh.tell(e[0], m, Message::Snapshot(chunk));
    }
    assert!(mesh.core(m).state().is_some(), "{:?}", mesh.nodes[&m].refused);
    let lost = mesh.core(m).status(mesh.now).journal_lost.clone();
    mesh.run(60_000);
    assert_eq!(contradictions(&mesh, m), Vec::<String>::new(), "{lost:?}");
    assert!(lost.is_some());
}

/// A snapshot of the block that ends the epoch which is still the newest here.
#[test]
fn rule_8_19_whoever_takes_a_snapshot_at_the_boundary_takes_its_seat() {
    let (mut mesh, _) = with_member();
    let e = mesh.endorsers();
    let (a, b, c, l) = (e[0], e[1], e[2], e[3]);
    mesh.stop(l);
    let terms = next(&mesh, &[], &[], |_| {});
    let id = propose(&mut mesh, a, terms);
    say_yes(&mut mesh, id, &[b, c]);
    for _ in 0..20_000 {
        if epoch(&mesh, a) == 2 && epoch(&mesh, b) == 2 {
            break;
        }
        mesh.run(1);
    }
    assert_eq!((epoch(&mesh, a), epoch(&mesh, b)), (2, 2));
    mesh.stop(c);
    mesh.run(5_000);
    let before = mesh.core(a).head().unwrap().height;
    assert_eq!(mesh.core(a).chain().unwrap().head().epoch, 1, "nothing of the new epoch is final yet");
    mesh.start(l);
    cut_all(&mut mesh, l);
    mesh.input(l, Input::Connected(a));
    // As if the tail of `a` did not go back so far.
    let chain = mesh.core(a).chain().unwrap();
    let (charter, tip) = (chain.state().charter_id(), chain.tip().map(Box::new));
    let parts = chunks(chain.checkpoint());
    let asked = mesh.tell(a, l, Message::Head { charter, tip });
    assert!(asked.iter().any(|(_, m)| matches!(**m, Message::AskSnapshot { .. })), "{asked:?}");
    for chunk in parts {
        mesh.tell(a, l, Message::Snapshot(chunk));
    }
    assert_eq!(epoch(&mesh, l), 2);
    mesh.cut.clear();
    mesh.connect(l);
    mesh.run(600_000);
    let restart = |mesh: &mut Mesh| {
        mesh.stop(l);
        mesh.start(l);
        mesh.connect(l);
        mesh.run(600_000);
    };
    let first = mesh.core(a).head().unwrap().height;
    restart(&mut mesh);
    let second = mesh.core(a).head().unwrap().height;
    assert!(
        first > before,
        "three of four are here, and the log stands still at {before}; after a restart: {second}; {:?} {:?}",
        mesh.core(l).phase(),
        mesh.core(l).status(mesh.now).journal_lost
    );
}

/// Whoever left its seat by links is shown a snapshot of the epoch that is over, and begins in it anew.
#[test]
fn rule_8_19_nobody_begins_anew_in_an_epoch_that_is_over() {
    let (mut mesh, m, _) = amended();
    mesh.run(15_000);
    let e = mesh.endorsers();
    let (a, b, l) = (e[0], e[1], e[2]);
    assert_eq!(epoch(&mesh, l), 2);
    cut_all(&mut mesh, l);
    // A block with entries in epoch 2, which `l` lacks.
    let newcomer = mesh.join(12, None);
    mesh.cut.insert((newcomer, l));
    mesh.cut.insert((l, newcomer));
    mesh.run(3_000);
    let id = mesh
        .core(a)
        .proposals()
        .find(|(_, proposal)| matches!(proposal.origin, frith_protocol::joining::Origin::Newcomer(_)))
        .map(|(id, _)| *id)
        .expect("its draft waits");
    say_yes(&mut mesh, id, &[a, b, m]);
    mesh.run(3_000);
    let x: State = mesh.core(a).state().unwrap().clone();
    let behind = mesh.core(l).head().unwrap().height;
    assert!(
        x.last().height > behind && x.last().epoch == 2,
        "{:?} {behind} {:?} {:?} {:?}",
        x.last(),
        mesh.nodes[&newcomer].events,
        mesh.nodes[&newcomer].refused,
        mesh.nodes[&a].refused.last()
    );
    let terms = next(&mesh, &[], &[], |_| {});
    let id = propose(&mut mesh, a, terms);
    say_yes(&mut mesh, id, &[b, m]);
    mesh.run(3_000);
    assert_eq!((epoch(&mesh, a), epoch(&mesh, l)), (3, 2));
    // A member shows the link, and then the snapshot.
    let liar = newcomer;
    let _ = liar;
    let liar = e[3];
    let answer = mesh.tell(liar, a, Message::AskLinks { epoch: 2 });
    let links = answer
        .iter()
        .find_map(|(_, message)| match &**message {
            Message::Links(links) => Some(links.clone()),
            _ => None,
        })
        .unwrap();
    let asked = mesh.tell(liar, l, Message::Links(links.clone()));
    assert!(asked.iter().any(|(_, m)| matches!(**m, Message::AskSnapshot { .. })), "{asked:?}");
    let headers = vec![x.last().clone(), links[0].header.clone()];
    let tip = FinalChain { blocks: vec![], headers, certificate: links[0].certificate.clone() };
    for chunk in x.snapshot(Some(Box::new(tip))) {
        mesh.tell(liar, l, Message::Snapshot(Arc::new(chunk)));
    }
    mesh.run(60_000);
    assert_eq!(contradictions(&mesh, l), Vec::<String>::new(), "{:?}", mesh.nodes[&l].refused.last());
}

/// Two endorsers of seven consent with one voting key.
#[test]
fn rule_5_21_liars_who_consent_with_one_key_stop_no_amendment() {
    let mut mesh = Mesh::found(charter(7, 2, 3));
    mesh.run(1_000);
    let e = mesh.endorsers();
    for key in &e[5..] {
        mesh.stop(*key);
        let voting = &mut mesh.nodes.get_mut(key).unwrap().keys.voting;
        voting.truncate(1);
        voting.push(secret(201));
        mesh.start(*key);
        mesh.connect(*key);
    }
    mesh.run(1_000);
    assert_seven_amend(&mut mesh, &e);
}

/// The last two say yes before the others do.
fn assert_seven_amend(mesh: &mut Mesh, e: &[PublicKey]) {
    let terms = next(mesh, &[], &[], |_| {});
    let id = propose(mesh, e[0], terms);
    say_yes(mesh, id, &e[5..]);
    mesh.run(1_000);
    say_yes(mesh, id, &e[1..5]);
    mesh.run(120_000);
    assert_eq!(epoch(mesh, e[0]), 2, "five of seven want it");
}

/// The same without liars: it is their key that stops it.
#[test]
fn rule_5_21_honest_endorsers_who_stay_amend_likewise() {
    let mut mesh = Mesh::found(charter(7, 2, 3));
    mesh.run(1_000);
    let e = mesh.endorsers();
    assert_seven_amend(&mut mesh, &e);
}

/// A yes to a proposal that lapsed, completed by one liar.
#[test]
fn rule_4_12_a_yes_to_terms_does_not_last_for_ever() {
    let mut law = charter(4, 1, 3);
    law.timing.proposal_lifetime_ms = 600_000;
    let mut mesh = Mesh::found(law);
    mesh.run(1_000);
    let e = mesh.endorsers();
    let (a, b, c) = (e[0], e[1], e[2]);
    let terms = next(&mesh, &[], &[], |charter| charter.thresholds.admit = 2);
    let id = propose(&mut mesh, a, terms.clone());
    say_yes(&mut mesh, id, &[b]);
    mesh.run(100);
    let kept = mesh.core(a).proposals().find(|(of, _)| **of == id).unwrap().1.circulated();
    assert_eq!(kept.endorsements.len(), 2);
    for _ in 0..40 {
        mesh.run(100_000);
    }
    assert!(mesh.core(a).proposals().all(|(of, _)| *of != id), "it has lapsed");
    assert_eq!(epoch(&mesh, a), 1);
    propose(&mut mesh, c, terms);
    for to in [a, b, e[3]] {
        mesh.tell(c, to, Message::Circulate(Arc::new(kept.clone())));
    }
    mesh.run(3_000);
    assert_eq!(epoch(&mesh, a), 1, "two operators said yes to what lapsed since, and not again");
}

/// The consent of whoever is added got lost once.
#[test]
fn rule_5_21_a_consent_that_got_lost_is_given_again() {
    let (mut mesh, m) = with_member();
    let e = mesh.endorsers();
    let terms = next(&mesh, &[m], &[e[3]], |_| {});
    let id = propose(&mut mesh, e[0], terms);
    say_yes(&mut mesh, id, &e[1..3]);
    mesh.run(100);
    for key in &e {
        mesh.cut.insert((m, *key));
    }
    say_yes(&mut mesh, id, &[m]);
    mesh.run(100);
    mesh.cut.clear();
    let since = mesh.now;
    while epoch(&mesh, e[0]) == 1 && mesh.now.since(since) < 600_000 {
        mesh.run(10_000);
    }
    let took = mesh.now.since(since);
    assert!(took <= 60_000, "it took {} s, with a heartbeat of 10 s", took / 1000);
}

/// Anybody makes a node ask it, and nobody else, by a certificate of no charter.
#[test]
fn rule_9_11_a_chain_of_a_later_epoch_by_nobody_costs_no_question() {
    let (mut mesh, _) = with_member();
    let e = mesh.endorsers();
    let stranger = secret(98);
    let tip = mesh.core(e[0]).chain().unwrap().tip().unwrap();
    let mut forged = tip.clone();
    forged.certificate.ballot.epoch = 77;
    forged.certificate.votes = vec![(stranger.public(), stranger.sign(&forged.certificate.ballot.digest()))];
    mesh.run(11_000);
    let said = mesh.tell(stranger.public(), e[1], Message::Final(Arc::new(forged)));
    assert!(said.is_empty(), "{:?}", said);
}

/// A newcomer that restarts goes back to its anchor.
#[test]
fn rule_9_12_a_newcomer_that_restarts_holds_the_charter_that_it_adopted() {
    let (mut mesh, _) = with_member();
    let e = mesh.endorsers();
    let anchor = mesh.any().anchor(vec![]).unwrap();
    let old = mesh.any().charter().unwrap().clone();
    let terms = next(&mesh, &[], &[], |_| {});
    let id = propose(&mut mesh, e[0], terms);
    say_yes(&mut mesh, id, &e[1..]);
    mesh.run(3_000);
    let newcomer = mesh.join_by(11, anchor, None);
    mesh.run(3_000);
    assert_eq!(epoch(&mesh, newcomer), 2);
    mesh.stop(newcomer);
    mesh.start(newcomer);
    assert_eq!(epoch(&mesh, newcomer), 2);
    mesh.tell(e[0], newcomer, Message::Charter(Box::new(old)));
    assert_eq!(epoch(&mesh, newcomer), 2);
}

/// A certificate that nobody checked is kept, and shown to others as ours.
#[test]
fn rule_9_4_what_proves_a_snapshot_is_checked_even_if_a_link_proved_its_block() {
    let (mut mesh, _) = with_member();
    let e = mesh.endorsers();
    let l = e[3];
    cut_all(&mut mesh, l);
    let terms = next(&mesh, &[], &[], |_| {});
    let id = propose(&mut mesh, e[0], terms);
    say_yes(&mut mesh, id, &e[1..3]);
    let mut x = None;
    for _ in 0..3_000 {
        mesh.run(1);
        if x.is_none() && epoch(&mesh, e[0]) == 2 {
            x = Some(mesh.core(e[0]).state().unwrap().clone());
        }
    }
    let x: State = x.unwrap();
    let stranger = secret(98);
    let answer = mesh.tell(stranger.public(), e[0], Message::AskLinks { epoch: 1 });
    let Some(Message::Links(links)) = answer.iter().map(|(_, m)| &**m).next() else { panic!("{answer:?}") };
    mesh.tell(e[2], l, Message::Links(links.clone()));
    let mut certificate = links[0].certificate.clone();
    certificate.votes = vec![(stranger.public(), stranger.sign(&certificate.ballot.digest()))];
    let tip = FinalChain { blocks: vec![], headers: vec![links[0].header.clone()], certificate };
    for chunk in x.snapshot(Some(Box::new(tip))) {
        mesh.tell(e[2], l, Message::Snapshot(Arc::new(chunk)));
    }
    assert_eq!(epoch(&mesh, l), 1);
    let refused = mesh.nodes[&l].refused.last().unwrap();
    assert!(refused.contains("not in the charter"), "{refused}");
}
