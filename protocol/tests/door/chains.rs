//! Final chains and snapshots from whoever lies: what they can carry besides what is certified, and how long they can keep us.

use std::sync::Arc;

use frith_protocol::door::{Event, Input, Message, Phase, Standing};
use frith_protocol::identity::{BatchCheck, PublicKey, verify};
use frith_protocol::state::{Block, Entry, FinalChain, Kind, Reason, Revoke, Statement};
use rand_core::SeedableRng as _;

use super::mesh::{Mesh, charter};
use super::revoke;

fn verified(message: Message) -> Arc<frith_protocol::identity::Verified<Message>> {
    let check = BatchCheck::new(rand_chacha::ChaCha8Rng::from_seed([1; 32]));
    Arc::new(verify(message, &check).unwrap())
}

fn last_refusal(mesh: &Mesh, key: PublicKey) -> &str {
    mesh.nodes[&key].refused.last().map_or("", String::as_str)
}

/// A follower that is behind by the newest block with entries, and the chain from the block before it on.
fn one_behind(mesh: &mut Mesh) -> (PublicKey, PublicKey, FinalChain) {
    mesh.gossip = false;
    mesh.run(1_000);
    let ticket = mesh.ticket(3);
    let behind = mesh.join(10, Some(ticket.clone()));
    let member = mesh.join(11, Some(ticket.clone()));
    mesh.run(12_000);
    let cut: Vec<_> = mesh.endorsers().into_iter().map(|endorser| (endorser, behind)).collect();
    mesh.cut.extend(cut);
    mesh.join(12, Some(ticket));
    mesh.run(3_000);
    let state = mesh.core(behind).state().unwrap();
    let before = state.last().height - 1;
    let endorser = mesh.endorsers()[0];
    let chain = mesh.core(endorser).chain().unwrap().since(before).expect("it has the newest two");
    assert!(chain.blocks.len() >= 2, "{} blocks", chain.blocks.len());
    (behind, member, chain)
}

#[test]
fn rule_9_2_no_entry_is_believed_that_was_put_under_a_block_which_is_final_already() {
    let mut mesh = Mesh::found(charter(4, 1, 3));
    let (behind, member, mut chain) = one_behind(&mut mesh);
    let forged = Entry {
        statement: Statement {
            domain: mesh.any().domain(),
            kind: Kind::Revoke(Revoke { subject: mesh.id(member), reason: Reason::Compromised }),
        },
        endorsements: Vec::new(),
    };
    let Block { header, mut entries } = (*chain.blocks[0]).clone();
    entries.insert(0, forged);
    chain.blocks[0] = Arc::new(Block { header, entries });
    let head = mesh.core(behind).head().unwrap().height;
    for gossiped in [true, false] {
        let message = verified(Message::Final(Arc::new(chain.clone())));
        let from = mesh.endorsers()[0];
        mesh.input(
            behind,
            if gossiped { Input::Gossiped { from, message } } else { Input::Received { from, message } },
        );
        assert!(last_refusal(&mesh, behind).contains("another body"), "{}", last_refusal(&mesh, behind));
    }
    assert_eq!(mesh.core(behind).head().unwrap().height, head, "it is taken in no part");
    let denied = mesh.nodes[&behind].events.iter().any(|event| matches!(event, Event::Denied { .. }));
    assert!(!denied, "a member was shut out by an entry that no quorum saw");
}

#[test]
fn rule_9_8_one_copy_of_the_newest_head_is_passed_on_and_none_of_an_older_one() {
    let mut mesh = Mesh::found(charter(4, 1, 3));
    let (behind, member, chain) = one_behind(&mut mesh);
    let endorser = mesh.endorsers()[0];
    let passed = |mesh: &mut Mesh, at: PublicKey, chain: &FinalChain| {
        let before = mesh.nodes[&at].refused.len();
        let message = verified(Message::Final(Arc::new(chain.clone())));
        mesh.input(at, Input::Gossiped { from: member, message });
        mesh.nodes[&at].refused.len() == before
    };
    assert!(passed(&mut mesh, behind, &chain), "it is new");
    assert!(!passed(&mut mesh, behind, &chain), "once is enough");
    assert!(passed(&mut mesh, endorser, &chain), "the newest, from its own agreement");
    assert!(!passed(&mut mesh, endorser, &chain));
    mesh.cut.clear();
    mesh.run(30_000);
    assert!(!passed(&mut mesh, behind, &chain), "it is old");
    assert!(!passed(&mut mesh, endorser, &chain));
}

#[test]
fn rule_9_2_a_certified_header_without_its_entries_is_a_gap_and_answers_nothing() {
    let mut mesh = Mesh::found(charter(4, 1, 3));
    let (behind, member, chain) = one_behind(&mut mesh);
    let newest = chain.blocks.last().unwrap().header.clone();
    let newest_alone = mesh.core(mesh.endorsers()[0]).chain().unwrap().chain_of(newest.height).unwrap();
    let mut headers = vec![newest];
    headers.extend(newest_alone.headers);
    let certificate = newest_alone.certificate;
    let message = verified(Message::Final(Arc::new(FinalChain { blocks: Vec::new(), headers, certificate })));
    let head = mesh.core(behind).head().unwrap();
    mesh.input(behind, Input::Received { from: member, message });
    assert!(last_refusal(&mesh, behind).contains("missing"), "{}", last_refusal(&mesh, behind));
    assert_eq!(mesh.core(behind).head().unwrap().height, head.height);
    mesh.stop(behind);
    mesh.start(behind);
    assert_eq!(mesh.core(behind).head().unwrap().height, head.height, "and its store is as it was");
}

#[test]
fn rule_9_4_a_snapshot_is_asked_for_no_longer_once_the_state_came_otherwise() {
    let mut mesh = Mesh::found(charter(4, 1, 3));
    let (behind, _, chain) = one_behind(&mut mesh);
    let from = mesh.endorsers()[0];
    let head = mesh.core(from).chain().unwrap().tip().unwrap();
    let charter = mesh.founded.charter.id();
    let message = verified(Message::Head { charter, tip: Some(Box::new(head)) });
    mesh.input(behind, Input::Received { from, message });
    let message = verified(Message::Final(Arc::new(chain)));
    mesh.input(behind, Input::Gossiped { from, message });
    mesh.cut.clear();
    let before = mesh.snapshots;
    mesh.run(60_000);
    let came = mesh.snapshots - before;
    assert!(came <= 1, "{came} snapshots, and one at most was on its way");
}

#[test]
fn rule_5_18_whoever_was_revoked_while_it_was_away_is_told_when_it_comes_back() {
    let mut mesh = Mesh::found(charter(4, 1, 3));
    mesh.gossip = false;
    mesh.run(1_000);
    let ticket = mesh.ticket(3);
    let away = mesh.join(10, Some(ticket.clone()));
    mesh.run(2_000);
    mesh.stop(away);
    // It lacks a block before the one that revokes it.
    mesh.join(11, Some(ticket));
    mesh.run(3_000);
    revoke(&mut mesh, away);
    mesh.start(away);
    assert_eq!(mesh.core(away).phase(), Phase::Following, "it does not know yet");
    mesh.connect(away);
    mesh.run(1_000);
    assert_eq!(mesh.core(away).phase(), Phase::Gone);
    let told = mesh.nodes[&away].events.iter().any(|event| matches!(event, Event::Dismissed { .. }));
    assert!(told);
    mesh.lose_power(away);
    mesh.start(away);
    assert_eq!(mesh.core(away).phase(), Phase::Gone, "it forgot");
}

#[test]
fn rule_5_18_nobody_is_dismissed_by_entries_that_its_block_does_not_name() {
    let mut mesh = Mesh::found(charter(4, 1, 3));
    let (behind, member, chain) = one_behind(&mut mesh);
    // A gap: the block alone, so that nothing of it can be executed.
    let newest = chain.blocks.last().unwrap().header.height;
    mesh.cut.clear();
    mesh.stop(behind);
    let ticket = mesh.ticket(1);
    mesh.join(13, Some(ticket));
    mesh.run(3_000);
    let after = mesh.core(mesh.endorsers()[0]).state().unwrap().last().height;
    assert!(after > newest);
    let FinalChain { blocks, headers, certificate } =
        mesh.core(mesh.endorsers()[0]).chain().unwrap().chain_of(after).unwrap();
    let subject = mesh.id(behind);
    let kind = Kind::Revoke(Revoke { subject, reason: Reason::Compromised });
    let forged =
        Entry { statement: Statement { domain: mesh.any().domain(), kind }, endorsements: Vec::new() };
    let Block { header, mut entries } = (*blocks[0]).clone();
    entries.insert(0, forged);
    let blocks = vec![Arc::new(Block { header, entries })];
    mesh.start(behind);
    let message = verified(Message::Final(Arc::new(FinalChain { blocks, headers, certificate })));
    mesh.input(behind, Input::Received { from: member, message });
    assert_eq!(mesh.core(behind).phase(), Phase::Following);
    assert_ne!(mesh.core(member).standing_of(&behind), Standing::Gone);
}
