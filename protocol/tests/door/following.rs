//! SPEC 9, where it takes a forged chain or a count of what was published to see the rule.

use std::collections::BTreeMap;
use std::sync::Arc;

use frith_protocol::agreement::{Ballot, BallotKind, Certificate};
use frith_protocol::door::{Alarm, Event, Message, Phase};
use frith_protocol::fault::Fault;
use frith_protocol::identity::{BatchCheck, PublicKey, SecretKey, Signature, verify};
use frith_protocol::state::{Block, BlockId, FinalChain, Header};
use frith_protocol::time::Timestamp;
use rand_core::SeedableRng;

use crate::mesh::{LATENCY_MS, Mesh, charter, keys};

/// A mesh of four, a follower that is cut off, and what it is missing: two blocks with entries and a heartbeat.
fn behind() -> (Mesh, PublicKey, FinalChain) {
    let mut mesh = Mesh::found(charter(4, 1, 3));
    mesh.gossip = false;
    mesh.run(1_000);
    let ticket = mesh.ticket(3);
    let follower = mesh.join(10, Some(ticket.clone()));
    mesh.run(2_000);
    assert_eq!(mesh.core(follower).phase(), Phase::Following);
    let cut: Vec<_> = mesh.endorsers().into_iter().map(|endorser| (endorser, follower)).collect();
    mesh.cut.extend(cut);
    for name in [11, 12] {
        mesh.join(name, Some(ticket.clone()));
        mesh.run(2_000);
    }
    mesh.run(20_000);
    let height = mesh.core(follower).head().unwrap().height;
    let chain = mesh.core(mesh.endorsers()[0]).chain().unwrap().since(height).unwrap();
    assert_eq!((chain.blocks.len(), chain.headers.len()), (2, 1));
    (mesh, follower, chain)
}

/// What these voters sign together about `tip`, whether or not they should.
fn certified(mesh: &Mesh, tip: &Header, voters: &[SecretKey]) -> Certificate<PublicKey, Signature> {
    let domain = mesh.founded.domain();
    let ballot = Ballot { domain, epoch: 1, iteration: 1_000, kind: BallotKind::Finalise, block: tip.id() };
    let mut votes: Vec<_> =
        voters.iter().map(|voter| (voter.public(), voter.sign(&ballot.digest()))).collect();
    votes.sort_by_key(|(voter, _)| *voter);
    Certificate { ballot, votes }
}

fn voting_keys(names: &[u8]) -> Vec<SecretKey> {
    names.iter().map(|name| keys(*name).voting.swap_remove(0)).collect()
}

/// Hands the follower a chain from an endorser. What it says to it, if it refuses.
fn handed(mesh: &mut Mesh, follower: PublicKey, chain: FinalChain) -> Option<String> {
    let refused = mesh.nodes[&follower].refused.len();
    let endorser = mesh.endorsers()[0];
    mesh.tell(endorser, follower, Message::Final(Arc::new(chain)));
    mesh.nodes[&follower].refused.get(refused).cloned()
}

#[test]
fn rule_9_2_a_chain_is_taken_for_a_quorum_of_distinct_voters_of_the_charter() {
    let (mut mesh, follower, chain) = behind();
    let before = mesh.core(follower).head().unwrap().height;
    let tip = chain.tip().unwrap().clone();
    let by = |mesh: &Mesh, voters: &[u8]| {
        let certificate = certified(mesh, &tip, &voting_keys(voters));
        FinalChain { certificate, ..chain.clone() }
    };
    for (voters, why) in [
        (&[0, 1][..], "fewer than the quorum"),
        (&[], "fewer than the quorum"),
        // Founder 10 is none; its key is good for nothing but to be counted.
        (&[0, 1, 10], "not in the charter"),
        (&[0, 1, 2, 10], "not in the charter"),
    ] {
        let certified = by(&mesh, voters);
        let said = handed(&mut mesh, follower, certified).expect("it is refused");
        assert!(said.contains("misbehaved") && said.contains(why), "{voters:?}: {said}");
    }
    // One voter twice is one voter: this does not even get past the check of signatures.
    let twice = by(&mesh, &[0, 1, 1]);
    let check = BatchCheck::new(rand_chacha::ChaCha8Rng::from_seed([1; 32]));
    let refused = verify(Message::Final(Arc::new(twice)), &check).map(|_| ()).unwrap_err();
    assert!(matches!(refused, Fault::NotInOrder { .. }), "{refused}");
    // Nor is a quorum that says something else a quorum: of another iteration's kind, or of another block.
    let mut votes_only = by(&mesh, &[0, 1, 2]);
    votes_only.certificate.ballot.kind = BallotKind::Vote;
    let ballot = votes_only.certificate.ballot;
    votes_only.certificate.votes = votes_only
        .certificate
        .votes
        .iter()
        .map(|(voter, _)| {
            let key = voting_keys(&[0, 1, 2]).into_iter().find(|key| key.public() == *voter).unwrap();
            (*voter, key.sign(&ballot.digest()))
        })
        .collect();
    let said = handed(&mut mesh, follower, votes_only).expect("it is refused");
    assert!(said.contains("not one of finality"), "{said}");
    let mut of_another = chain.clone();
    of_another.certificate = certified(&mesh, &chain.blocks[0].header, &voting_keys(&[0, 1, 2]));
    let said = handed(&mut mesh, follower, of_another).expect("it is refused");
    assert!(said.contains("for another block"), "{said}");

    assert_eq!(mesh.core(follower).head().unwrap().height, before);
    let right = by(&mesh, &[0, 1, 2]);
    assert_eq!(handed(&mut mesh, follower, right), None);
    assert_eq!(mesh.core(follower).head().unwrap().height, tip.height);
}

#[test]
fn rule_9_2_a_chain_with_a_link_that_does_not_match_is_taken_in_no_part() {
    let (mut mesh, follower, chain) = behind();
    let before = mesh.core(follower).head().unwrap();
    let unlinked = |change: &dyn Fn(&mut FinalChain)| {
        let mut chain = chain.clone();
        change(&mut chain);
        chain
    };
    let cases = [
        // The second block does not follow the first any more; certified it is, with all its descendants.
        unlinked(&|chain| {
            let mut between = (*chain.blocks[1]).clone();
            between.header.previous = BlockId([9; 32]);
            between.header.parent = BlockId([9; 32]);
            chain.blocks[1] = Arc::new(between);
        }),
        unlinked(&|chain| chain.blocks.swap(0, 1)),
        unlinked(&|chain| chain.headers.insert(0, chain.headers[0].clone())),
    ];
    for chain in cases {
        let said = handed(&mut mesh, follower, chain.clone()).expect("it is refused");
        assert!(said.contains("misbehaved") && said.contains("link"), "{said}");
        assert_eq!(mesh.core(follower).head().unwrap().block, before.block);
    }
}

#[test]
fn rule_9_2_a_node_halts_before_a_final_block_that_does_not_execute_and_answers_stale() {
    let (mut mesh, follower, chain) = behind();
    let FinalChain { mut blocks, .. } = chain;
    // All who vote lie: they certify another state after the second block.
    let second: &mut Block = Arc::make_mut(&mut blocks[1]);
    second.header.state_root.0[0] ^= 1;
    let (first, tip) = (blocks[0].header.clone(), blocks[1].header.clone());
    let certificate = certified(&mesh, &tip, &voting_keys(&[0, 1, 2, 3]));
    let node = mesh.id(follower);
    // As fresh as can be.
    mesh.now = tip.time.max(mesh.now);
    assert!(mesh.core(follower).effective(&node, mesh.now).is_some());
    assert_eq!(handed(&mut mesh, follower, FinalChain { blocks, headers: vec![], certificate }), None);

    let core = mesh.core(follower);
    assert_eq!(core.phase(), Phase::Halted);
    assert_eq!(core.head().unwrap().height, first.height, "it stands before the block that does not execute");
    assert_eq!(core.effective(&node, mesh.now), None);
    let alarms: Vec<&Alarm> = mesh.nodes[&follower]
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Alarm(alarm) => Some(alarm),
            _ => None,
        })
        .collect();
    assert!(
        matches!(alarms[..], [Alarm::DoesNotExecute { height, .. }] if *height == tip.height),
        "{alarms:?}"
    );
}

/// Who published each final block, and when: by height.
fn publications(mesh: &Mesh) -> BTreeMap<u64, Vec<(Timestamp, PublicKey, u64)>> {
    let mut all: BTreeMap<u64, Vec<_>> = BTreeMap::new();
    for (at, by, message) in &mesh.published {
        let Message::Final(chain) = &**message else { panic!("{message:?} was published") };
        let iteration = chain.certificate.ballot.iteration;
        all.entry(chain.tip().unwrap().height).or_default().push((*at, *by, iteration));
    }
    all
}

#[test]
fn rule_9_7_the_leader_publishes_at_once_and_if_it_comes_nobody_else_does() {
    let mut mesh = Mesh::found(charter(4, 1, 3));
    mesh.run(60_000);
    let publications = publications(&mesh);
    assert!(publications.len() >= 5, "{publications:?}");
    for (height, by) in publications {
        let [(_, by, iteration)] = by[..] else { panic!("height {height}: {by:?}") };
        assert_eq!(by, mesh.endorsers()[(1 + iteration as usize) % 4], "height {height}");
    }
}

#[test]
fn rule_9_7_each_other_endorser_publishes_after_its_distance_from_the_leader_unless_it_has_come() {
    let mut mesh = Mesh::found(charter(4, 1, 3));
    // Nothing that is published comes.
    mesh.gossip = false;
    mesh.run(18_000);
    let publications = publications(&mesh);
    assert!(!publications.is_empty());
    let first_timeout_ms = mesh.founded.charter.timing.first_timeout_ms;
    for (height, by) in publications {
        let (begun, _, iteration) = by[0];
        assert_eq!(by.len(), 4, "height {height}: {by:?}");
        for (distance, (at, by, _)) in by.into_iter().enumerate() {
            assert_eq!(by, mesh.endorsers()[(1 + iteration as usize + distance) % 4], "height {height}");
            // They learnt that it is final within a message of one another.
            let late = at.0.abs_diff(begun.0 + distance as u64 * first_timeout_ms);
            assert!(late <= 2 * LATENCY_MS, "height {height}: the one at distance {distance} by {late} ms");
        }
    }
}

#[test]
fn a_status_tells_how_old_the_head_is_when_it_is_asked_for_and_not_when_the_core_last_had_to_do() {
    let mut mesh = Mesh::of_four();
    mesh.run(60_000);
    let key = mesh.endorsers()[0];
    let age = |at| mesh.core(key).status(at).head.expect("it has one").age_ms;
    assert_eq!(age(mesh.now.plus(5_000)), age(mesh.now) + 5_000);
}
