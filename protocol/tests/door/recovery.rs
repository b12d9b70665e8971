//! A domain that lost its quorum for good, or whose log has forked, and its way back (SPEC 4.15, 9.16 to 9.19).

use std::sync::Arc;

use frith_protocol::agreement::{Ballot, Certificate};
use frith_protocol::door::{Alarm, Command, Effects, Event, Input, Message, Phase, Standing, Table};
use frith_protocol::identity::{BatchCheck, PublicKey, SecretKey, Verified, verify};
use frith_protocol::state::{Block, Charter, FinalChain, Kind, Reason, Recover, Revoke, Seat, Subject};
use rand_core::SeedableRng;

use super::mesh::{Mesh, charter};

pub const SILENCE_MS: u64 = 600_000;

pub fn offline_keys() -> Vec<SecretKey> {
    let mut keys: Vec<SecretKey> = (201..204).map(|name| SecretKey::from_seed([name; 32])).collect();
    keys.sort_by_key(SecretKey::public);
    keys
}

/// Four founders, two of three offline keys to recover the domain by, and three members.
pub fn mesh() -> (Mesh, Vec<PublicKey>) {
    let mut charter = charter(4, 1, 3);
    charter.timing.silence_ms = SILENCE_MS;
    charter.recovery.keys = offline_keys().iter().map(SecretKey::public).collect();
    charter.recovery.threshold = 2;
    let mut mesh = Mesh::found(charter);
    mesh.run(1_000);
    let ticket = mesh.ticket(3);
    let members = (10..13).map(|name| mesh.join(name, Some(ticket.clone()))).collect();
    mesh.run(5_000);
    (mesh, members)
}

/// The charter that seats just these, going on from that of `by`.
pub fn seating(mesh: &Mesh, by: PublicKey, seated: &[PublicKey]) -> Charter {
    let state = mesh.core(by).state().unwrap();
    let mut next = state.charter().clone();
    next.previous = Some(state.charter_id());
    next.epoch += 1;
    next.written = mesh.now;
    next.endorsers = seated
        .iter()
        .map(|key| Seat {
            inception: mesh.nodes[key].keys.inception.clone(),
            voting_key: PublicKey::BLANK,
            roles: vec!["server".into()],
        })
        .collect();
    next.endorsers.sort_by_key(Seat::node_id);
    let seats = seated.len() as u8;
    next.faults = (seats - 1) / 3;
    next.thresholds =
        super::mesh::charter(seats, next.faults, seats.min(2).max(seats.div_ceil(2))).thresholds;
    next
}

/// Drafted at `by`, with the consents of all whom it seats.
pub fn drafted(mesh: &Mesh, by: PublicKey, seated: &[PublicKey], base: Option<u64>) -> Recover {
    let charter = seating(mesh, by, seated);
    let mut recover = mesh.core(by).draft_recovery(charter, base, vec![], vec![]).unwrap();
    consent(mesh, &mut recover, seated);
    recover
}

pub fn consent(mesh: &Mesh, recover: &mut Recover, seated: &[PublicKey]) {
    recover.consents =
        seated.iter().map(|key| mesh.core(*key).consent_to_recovery(recover).unwrap()).collect();
    recover.consents.sort_by_key(|consent| consent.node);
}

pub fn signed(mesh: &Mesh, block: Block, keys: &[SecretKey]) -> FinalChain {
    let ballot = Ballot::of_recovery(mesh.founded.domain(), block.header.epoch, block.id());
    let mut votes: Vec<_> = keys.iter().map(|key| (key.public(), key.sign(&ballot.digest()))).collect();
    votes.sort();
    FinalChain { blocks: vec![Arc::new(block)], headers: vec![], certificate: Certificate { ballot, votes } }
}

/// All of it, signed by two offline keys.
pub fn recovery(mesh: &Mesh, by: PublicKey, seated: &[PublicKey]) -> FinalChain {
    let recover = drafted(mesh, by, seated, None);
    let block = mesh.core(by).recovery_block(recover, mesh.now).unwrap();
    signed(mesh, block, &offline_keys()[..2])
}

pub fn verified(chain: FinalChain) -> Verified<Arc<FinalChain>> {
    let check = BatchCheck::new(rand_chacha::ChaCha8Rng::from_seed([1; 32]));
    verify(Arc::new(chain), &check).unwrap()
}

pub fn bring(mesh: &mut Mesh, to: PublicKey, chain: &FinalChain) {
    mesh.input(to, Input::Command(Command::Recover(verified(chain.clone()))));
}

pub fn epoch(mesh: &Mesh, key: PublicKey) -> u64 {
    mesh.core(key).state().unwrap().charter().epoch
}

pub fn has(mesh: &Mesh, key: PublicKey, is: impl Fn(&Event) -> bool) -> bool {
    mesh.nodes[&key].events.iter().any(is)
}

/// Three of four endorsers burn down; who is left, and the members.
pub fn destroyed() -> (Mesh, PublicKey, Vec<PublicKey>) {
    let (mut mesh, members) = mesh();
    let endorsers = mesh.endorsers();
    for lost in &endorsers[..3] {
        mesh.stop(*lost);
    }
    (mesh, endorsers[3], members)
}

#[test]
fn rule_9_16_a_domain_that_lost_its_quorum_goes_on_after_the_bound_of_silence() {
    let (mut mesh, left, members) = destroyed();
    mesh.run(SILENCE_MS / 2);
    let seated = [&[left][..], &members].concat();
    let before = mesh.core(left).head().unwrap();
    let chain = recovery(&mesh, left, &seated);
    bring(&mut mesh, members[0], &chain);
    mesh.run(SILENCE_MS / 4);
    for key in &seated {
        assert_eq!(epoch(&mesh, *key), 1, "the silence is not long enough");
        assert!(has(&mesh, *key, |event| matches!(event, Event::RecoveryWaits { .. })));
    }
    mesh.run(SILENCE_MS / 2);
    for key in &seated {
        assert!(has(&mesh, *key, |event| matches!(event, Event::Recovered { epoch: 2, dropped: 0, .. })));
        assert_eq!(mesh.core(*key).phase(), Phase::Endorsing);
        let head = mesh.core(*key).head().unwrap();
        assert!(head.height > before.height + 2 && head.age_ms < 30_000, "{head:?}");
    }
    mesh.assert_equal_heads();
    // The log is one for those who come later, too.
    let terms = mesh.ticket_terms(1);
    let id = mesh.propose(Subject::Ticket(terms.clone()), &seated[..3]);
    let countersignatures = mesh.met(seated[0], id).expect("the new endorsers countersign");
    let secret = [78; 32];
    let ticket = frith_protocol::joining::Ticket { terms, countersignatures, addresses: vec![], secret };
    let newcomer = mesh.join(20, Some(ticket));
    mesh.run(20_000);
    assert_eq!(mesh.core(newcomer).phase(), Phase::Following, "{:?}", mesh.nodes[&newcomer].events);
    // And it is what it was after a restart of everybody.
    for key in &seated {
        mesh.stop(*key);
    }
    for key in &seated {
        mesh.start(*key);
        assert_eq!((epoch(&mesh, *key), mesh.core(*key).phase()), (2, Phase::Endorsing));
    }
    seated.iter().for_each(|key| mesh.connect(*key));
    mesh.run(60_000);
    assert!(mesh.core(left).head().unwrap().age_ms < 30_000);
}

#[test]
fn rule_9_16_whoever_is_left_alone_is_recovered_by_its_own_operator() {
    let (mut mesh, left, members) = destroyed();
    members.iter().for_each(|member| mesh.stop(*member));
    mesh.run(2 * SILENCE_MS);
    let chain = recovery(&mesh, left, &[left]);
    mesh.tell(members[0], left, Message::Final(Arc::new(chain.clone())));
    mesh.run(SILENCE_MS);
    assert_eq!(epoch(&mesh, left), 1, "it listens to nobody");
    bring(&mut mesh, left, &chain);
    // Neither kill nor restart makes it forget.
    mesh.lose_power(left);
    mesh.start(left);
    mesh.run(30_000);
    assert_eq!(epoch(&mesh, left), 1, "not before the freshness bound, even so");
    mesh.run(60_000);
    assert_eq!((epoch(&mesh, left), mesh.core(left).phase()), (2, Phase::Endorsing));
    assert!(mesh.core(left).head().unwrap().age_ms < 30_000);
}

#[test]
fn rule_9_16_stolen_recovery_keys_move_nobody_in_a_living_domain() {
    let (mut mesh, members) = mesh();
    let (endorsers, thief) = (mesh.endorsers(), members[0]);
    let chain = recovery(&mesh, thief, &members);
    let everybody: Vec<PublicKey> = mesh.nodes.keys().copied().collect();
    for key in everybody.iter().filter(|key| **key != thief) {
        mesh.tell(thief, *key, Message::Final(Arc::new(chain.clone())));
    }
    mesh.run(3 * SILENCE_MS);
    for key in everybody.iter().filter(|key| **key != thief) {
        assert_eq!(epoch(&mesh, *key), 1);
        assert!(has(&mesh, *key, |event| matches!(event, Event::Alarm(Alarm::RecoveryShown { .. }))));
        assert!(has(&mesh, *key, |event| matches!(event, Event::RecoveryVoid { .. })));
    }
    assert!(mesh.core(endorsers[0]).head().unwrap().age_ms < 30_000, "the log went on");
    // Nor anybody who lay in the same drawer, and was away for longer than the bound.
    mesh.stop(endorsers[2]);
    mesh.run(2 * SILENCE_MS);
    mesh.start(endorsers[2]);
    mesh.tell(thief, endorsers[2], Message::Final(Arc::new(chain)));
    mesh.connect(endorsers[2]);
    mesh.run(SILENCE_MS);
    assert_eq!(epoch(&mesh, endorsers[2]), 1);
    mesh.assert_equal_heads();
}

#[test]
fn rule_9_16_a_clock_far_ahead_talks_no_node_out_of_a_living_domain() {
    let (mut mesh, members) = mesh();
    let (victim, thief) = (members[0], members[1]);
    let mut effects = Effects::new();
    let ahead = mesh.now.plus(5 * SILENCE_MS);
    // In one leap; from then on time stands still at this node, far beyond every block.
    mesh.nodes
        .get_mut(&victim)
        .unwrap()
        .core
        .as_mut()
        .unwrap()
        .handle(ahead, Input::Tick, &mut effects)
        .unwrap();
    let _ = effects.take();
    for _ in 0..30 {
        let chain = recovery(&mesh, thief, &members);
        mesh.tell(thief, victim, Message::Final(Arc::new(chain)));
        mesh.run(10_000);
    }
    assert_eq!(epoch(&mesh, victim), 1);
    mesh.assert_equal_heads();
}

#[test]
fn rule_9_17_fewer_keys_than_the_threshold_or_others_recover_nothing() {
    let (mut mesh, left, members) = destroyed();
    mesh.run(2 * SILENCE_MS);
    let block = (*recovery(&mesh, left, &members).blocks[0]).clone();
    let keys = offline_keys();
    let endorsers: Vec<SecretKey> =
        mesh.endorsers().iter().map(|key| mesh.nodes[key].keys.voting[0].clone()).collect();
    let strangers = [SecretKey::from_seed([1; 32]), SecretKey::from_seed([2; 32])];
    for keys in [&keys[..1], &endorsers[..], &strangers, &[keys[0].clone(), strangers[0].clone()]] {
        let chain = signed(&mesh, block.clone(), keys);
        mesh.tell(members[0], left, Message::Final(Arc::new(chain)));
        let refused = mesh.nodes[&left].refused.last().unwrap();
        assert!(refused.contains("misbehaved"), "{refused}");
    }
    // Ballots of endorsers make no `Recover` final, and the recovery quorum nothing else.
    let mut voted = signed(&mesh, block.clone(), &endorsers);
    voted.certificate.ballot.iteration = 7;
    let digest = voted.certificate.ballot.digest();
    voted.certificate.votes = endorsers.iter().map(|key| (key.public(), key.sign(&digest))).collect();
    voted.certificate.votes.sort();
    let mut other = block.clone();
    other.entries = mesh.any().chain().unwrap().recent_blocks().next().unwrap().block.entries.clone();
    other.header.entries_root = other.root_of_entries();
    for chain in [voted, signed(&mesh, other, &keys[..2])] {
        mesh.tell(members[0], left, Message::Final(Arc::new(chain)));
        let refused = mesh.nodes[&left].refused.last().unwrap();
        assert!(refused.contains("misbehaved"), "{refused}");
    }
    assert_eq!(epoch(&mesh, left), 1);
    let chain = signed(&mesh, block, &keys[1..]);
    bring(&mut mesh, left, &chain);
    assert_eq!(epoch(&mesh, left), 2, "{:?}", mesh.nodes[&left].refused.last());
}

#[test]
fn rule_9_16_a_recovery_that_forgets_somebody_who_is_gone_is_refused() {
    let (mut mesh, members) = mesh();
    let endorsers = mesh.endorsers();
    let base = mesh.any().head().unwrap().height;
    let [kept, out, _] = members[..] else { panic!("three members") };
    let revoke = Revoke { subject: mesh.id(out), reason: Reason::Compromised };
    mesh.decide(Kind::Revoke(revoke), &endorsers[..2]);
    for lost in &endorsers[..3] {
        mesh.stop(*lost);
    }
    mesh.run(2 * SILENCE_MS);
    let seated = [endorsers[3], kept];
    let mut forgetful = drafted(&mesh, kept, &seated, Some(base));
    assert_eq!(forgetful.gone, [revoke], "the draft names it");
    let remembers = forgetful.clone();
    forgetful.gone.clear();
    let block = mesh.core(kept).recovery_block(forgetful, mesh.now).unwrap();
    let chain = signed(&mesh, block, &offline_keys()[..2]);
    bring(&mut mesh, kept, &chain);
    assert_eq!(epoch(&mesh, kept), 1);
    let refused = mesh.nodes[&kept].refused.last().unwrap();
    assert!(refused.contains("forgets"), "{refused}");
    let block = mesh.core(kept).recovery_block(remembers, mesh.now).unwrap();
    let chain = signed(&mesh, block, &offline_keys()[..2]);
    bring(&mut mesh, kept, &chain);
    mesh.run(60_000);
    for key in seated {
        assert_eq!(epoch(&mesh, key), 2, "{:?}", mesh.nodes[&key].refused);
        assert!(mesh.core(key).state().unwrap().is_gone(&mesh.id(out)));
        assert_eq!(mesh.core(key).standing_of(&out), Standing::Gone);
    }
}

#[test]
fn rule_9_18_what_comes_of_a_dropped_branch_is_void_with_an_alarm() {
    let (mut mesh, members) = mesh();
    let endorsers = mesh.endorsers();
    let left = endorsers[3];
    // A partition longer than the bound: three go on, and the others hear nothing of it.
    let cut: Vec<_> = endorsers[..3]
        .iter()
        .flat_map(|there| members.iter().chain([&left]).flat_map(|here| [(*there, *here), (*here, *there)]))
        .collect();
    mesh.cut.extend(cut);
    mesh.run(2 * SILENCE_MS);
    let seated = [&[left][..], &members].concat();
    let chain = recovery(&mesh, left, &seated);
    bring(&mut mesh, left, &chain);
    mesh.run(60_000);
    assert!(seated.iter().all(|key| epoch(&mesh, *key) == 2));
    assert_eq!(epoch(&mesh, endorsers[0]), 1);
    mesh.cut.clear();
    mesh.connect(left);
    mesh.run(60_000);
    // Each side goes on by itself, and says so.
    assert_eq!((epoch(&mesh, left), epoch(&mesh, endorsers[0])), (2, 1));
    assert!(has(&mesh, left, |event| matches!(event, Event::Alarm(Alarm::DroppedBranch { .. }))));
    assert!(has(&mesh, endorsers[0], |event| matches!(event, Event::Alarm(Alarm::RecoveryShown { .. }))));
    for key in [left, endorsers[0]] {
        assert_eq!(mesh.core(key).phase(), Phase::Endorsing, "nobody halts");
        assert!(mesh.core(key).head().unwrap().age_ms < 30_000);
    }
}

#[test]
fn rule_9_18_of_two_recoveries_the_one_taken_first_holds() {
    let (mut mesh, left, members) = destroyed();
    mesh.run(2 * SILENCE_MS);
    let one = recovery(&mesh, left, &[left, members[0]]);
    mesh.now = mesh.now.plus(1);
    let other = recovery(&mesh, left, &[left, members[1]]);
    bring(&mut mesh, left, &one);
    mesh.run(5_000);
    let head =
        |mesh: &Mesh| mesh.core(left).chain().unwrap().held(one.blocks[0].header.height).unwrap().block.id();
    assert_eq!(head(&mesh), one.blocks[0].id());
    mesh.tell(members[1], left, Message::Final(Arc::new(other)));
    assert_eq!(head(&mesh), one.blocks[0].id());
    assert!(has(&mesh, left, |event| matches!(event, Event::Alarm(Alarm::RecoveredTwice { .. }))));
}

/// Certified by three of the four founders, on the newest block of `by`: one of two ways in which the log goes on.
pub fn liars_block(mesh: &Mesh, by: PublicKey, after_ms: u64, iteration: u64) -> FinalChain {
    let chain = mesh.core(by).chain().unwrap();
    let (state, head) = (chain.state(), chain.head());
    let (block, _, _) = state.build(head, mesh.now.plus(after_ms), [].iter());
    let keys: Vec<SecretKey> =
        mesh.endorsers()[..3].iter().map(|key| mesh.nodes[key].keys.voting[0].clone()).collect();
    let mut proven = signed(mesh, Block::clone(&block), &keys);
    proven.certificate.ballot.iteration = iteration;
    let digest = proven.certificate.ballot.digest();
    proven.certificate.votes = keys.iter().map(|key| (key.public(), key.sign(&digest))).collect();
    proven.certificate.votes.sort();
    proven.headers = proven.blocks.drain(..).map(|block| block.header.clone()).collect();
    proven
}

#[test]
fn rule_9_16_a_log_that_forked_goes_on_from_before_the_fork() {
    let (mut mesh, members) = mesh();
    let endorsers = mesh.endorsers();
    // The liars are away; what they have signed is there twice.
    for liar in &endorsers[..3] {
        mesh.stop(*liar);
    }
    let (left, one, two) = (endorsers[3], members[0], members[1]);
    let base = mesh.core(left).head().unwrap();
    let [ours, theirs] = [1, 2].map(|which| liars_block(&mesh, left, which, 900 + which));
    mesh.cut.extend([(left, two), (two, left), (one, two), (two, one)]);
    mesh.tell(one, left, Message::Final(Arc::new(ours.clone())));
    mesh.tell(one, two, Message::Final(Arc::new(theirs)));
    assert_eq!(mesh.core(two).head().unwrap().height, base.height + 1);
    mesh.cut.clear();
    mesh.tell(two, left, Message::Final(Arc::new(ours)));
    mesh.connect(two);
    mesh.run(30_000);
    for key in [left, one, two, members[2]] {
        assert_eq!(
            mesh.core(key).phase(),
            Phase::Halted,
            "{key:?}: whoever knows one branch is shown the other"
        );
    }
    // Not after a silence, but at once.
    let seated = [&[left][..], &members].concat();
    let recover = drafted(&mesh, left, &seated, Some(base.height));
    let block = mesh.core(left).recovery_block(recover, mesh.now).unwrap();
    let chain = signed(&mesh, block, &offline_keys()[..2]);
    mesh.stop(two);
    mesh.start(two);
    assert_eq!(mesh.core(two).phase(), Phase::Halted, "a restart heals no fork");
    bring(&mut mesh, left, &chain);
    mesh.connect(two);
    mesh.run(30_000);
    for key in seated {
        assert_eq!((epoch(&mesh, key), mesh.core(key).phase()), (2, Phase::Endorsing));
        assert_eq!(
            mesh.core(key).chain().unwrap().held(base.height + 1).unwrap().block.id(),
            chain.blocks[0].id()
        );
        mesh.stop(key);
        mesh.start(key);
        assert_eq!((epoch(&mesh, key), mesh.core(key).phase()), (2, Phase::Endorsing));
    }
    mesh.assert_equal_heads();
}

#[test]
fn rule_9_18_a_charter_on_the_dropped_branch_is_dropped_and_its_keys_vote_for_nothing() {
    let (mut mesh, members) = mesh();
    let (endorsers, base) = (mesh.endorsers(), mesh.any().head().unwrap().height);
    let left = endorsers[3];
    mesh.archiving = true;
    mesh.stop(left);
    mesh.start(left);
    mesh.connect(left);
    mesh.run(60_000);
    let charter = seating(&mesh, endorsers[0], &endorsers);
    let terms = frith_protocol::state::Terms::of(mesh.any().domain(), charter);
    let subject = Subject::Terms(Box::new(terms));
    mesh.propose(subject, &[left, endorsers[0], endorsers[1]]);
    mesh.run(3_000);
    assert_eq!(epoch(&mesh, left), 2);
    let archived = |mesh: &Mesh| -> Vec<u64> {
        let all = mesh.nodes[&left].disk.keys().filter(|(table, _)| *table == Table::Archive);
        all.map(|(_, key)| u64::from_be_bytes(key[..].try_into().unwrap())).collect()
    };
    let dropped = *archived(&mesh).last().expect("it keeps the amendment");
    assert!(dropped > base + 1);
    let amended = mesh.core(left).state().unwrap().seat_of(&mesh.id(left)).unwrap().voting_key;
    for lost in &endorsers[..3] {
        mesh.stop(*lost);
    }
    mesh.run(2 * SILENCE_MS);
    let seated = [&[left][..], &members].concat();
    let mut charter = seating(&mesh, left, &seated);
    (charter.previous, charter.epoch) = (Some(mesh.founded.charter.id()), 2);
    let bring_to = |mesh: &mut Mesh, charter: &Charter| {
        let mut recover =
            mesh.core(left).draft_recovery(charter.clone(), Some(base), vec![], vec![]).unwrap();
        consent(mesh, &mut recover, &seated);
        let block = mesh.core(left).recovery_block(recover, mesh.now).unwrap();
        bring(mesh, left, &signed(mesh, block, &offline_keys()[1..]));
        mesh.run(60_000);
    };
    bring_to(&mut mesh, &charter);
    let refused = mesh.nodes[&left].refused.last().unwrap();
    assert!(refused.contains("its epoch is not after all that began here"), "{refused}");
    charter.epoch = 5;
    bring_to(&mut mesh, &charter);
    for key in &seated {
        assert_eq!((epoch(&mesh, *key), mesh.core(*key).phase()), (5, Phase::Endorsing));
        let state = mesh.core(*key).state().unwrap();
        assert_eq!(state.owner_of(&amended), None, "the charter that bound it is dropped");
        assert!(mesh.core(*key).voting_keys().all(|key| key != amended));
        mesh.stop(*key);
        mesh.start(*key);
        assert_eq!((epoch(&mesh, *key), mesh.core(*key).phase()), (5, Phase::Endorsing));
    }
    assert_eq!(archived(&mesh), [base + 1], "the recovery alone follows the base");
    // It lay on the disk still when this node was stopped.
    let again = seating(&mesh, left, &seated);
    let again = mesh.core(left).draft_recovery(again, None, vec![], vec![]).unwrap();
    assert_ne!(mesh.core(left).consent_to_recovery(&again).map(|consent| consent.voting_key), Ok(amended));
    seated.iter().for_each(|key| mesh.connect(*key));
    mesh.run(60_000);
    mesh.assert_equal_heads();
    assert!(mesh.core(left).head().unwrap().age_ms < 30_000);
}

#[test]
fn rule_9_19_newcomers_and_sleepers_go_across_a_recovery_and_none_below_its_anchor() {
    let (mut mesh, left, members) = destroyed();
    let sleeper = members[2];
    mesh.stop(sleeper);
    mesh.run(2 * SILENCE_MS);
    let anchor = mesh.core(left).anchor(vec![]).unwrap();
    let seated = [&[left][..], &members[..2]].concat();
    let chain = recovery(&mesh, left, &seated);
    bring(&mut mesh, left, &chain);
    mesh.run(60_000);
    let later = frith_protocol::joining::Anchor { height: anchor.height + 1, ..anchor.clone() };
    let [before, after] = [(30, anchor), (31, later)].map(|(name, anchor)| mesh.join_by(name, anchor, None));
    let waits = |mesh: &Mesh, newcomer: PublicKey| {
        mesh.core(left).proposals().any(|(_, proposal)| {
            let Subject::Statement(statement) = &proposal.subject else { return false };
            statement.subject() == Some(mesh.id(newcomer))
        })
    };
    mesh.run(10_000);
    assert!(!waits(&mesh, before), "it listens first whether the domain lives without the recovery");
    mesh.run(60_000);
    for newcomer in [before, after] {
        let why = "whose anchor is above the base, holds a final block there";
        assert_eq!(waits(&mesh, newcomer), newcomer == before, "{why}");
    }
    mesh.start(sleeper);
    assert_eq!(epoch(&mesh, sleeper), 1);
    mesh.connect(sleeper);
    mesh.run(5_000);
    assert_eq!(epoch(&mesh, sleeper), 1, "it has not listened for long enough");
    mesh.run(120_000);
    assert_eq!((epoch(&mesh, sleeper), mesh.core(sleeper).phase()), (2, Phase::Following));
    assert!(mesh.core(sleeper).head().unwrap().age_ms < 30_000);
}
