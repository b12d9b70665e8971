//! Each oracle bites on a planted violation, and on nothing else. Here S1, S2, S3, S7 and S8.

mod ballots;
mod law;

use std::collections::BTreeSet;
use std::sync::Arc;

use frith_protocol::agreement::{Ballot, BallotKind, Vote};
use frith_protocol::encoding::Hash;
use frith_protocol::identity::{BatchCheck, Inception, NodeId, Rotation, SecretKey, Signature, verify};
use frith_protocol::state::{
    Accuse, AdmissionPolicy, Admit, Basis, Block, BlockId, Charter, Contradiction, DomainId, Endorsement,
    Entry, Founded, Grounds, Header, Hold, HoldTerms, Kind, Reason, Recovery, Release, Revoke, Role, Rotate,
    Seat, State, Statement, Suspend, Thresholds, Timing, Window,
};
use frith_protocol::time::Timestamp;
use frith_simulator::engine::{Instant, NodeIndex};
use frith_simulator::oracles::{Domain, History, Invariant};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

const A: NodeIndex = NodeIndex(0);
const B: NodeIndex = NodeIndex(1);
const NOW: Instant = Instant::from_ms(7);

fn key(byte: u8) -> SecretKey {
    SecretKey::from_seed([byte; 32])
}

fn block(byte: u8) -> BlockId {
    BlockId([byte; 32])
}

fn inception(byte: u8) -> Inception {
    Inception::new(&key(byte), &key(byte + 100).public())
}

fn charter() -> Charter {
    let mut endorsers: Vec<Seat> = (1..=4)
        .map(|byte| Seat {
            inception: inception(byte),
            voting_key: key(byte + 50).public(),
            roles: vec!["member".into()],
        })
        .collect();
    endorsers.sort_by_key(Seat::node_id);
    Charter {
        previous: None,
        epoch: 1,
        name: "planted".into(),
        written: Timestamp::ZERO,
        endorsers,
        faults: 1,
        thresholds: Thresholds { admit: 3, revoke: 2, contain: 2, amend: 3 },
        recovery: Recovery::default(),
        roles: vec![Role { name: "member".into(), capabilities: Vec::new(), freshness_ms: None }],
        timing: Timing {
            heartbeat_ms: 10_000,
            freshness_ms: 60_000,
            silence_ms: 1_000_000,
            skew_ms: 1_000,
            first_timeout_ms: 1_000,
            timeout_cap_ms: 4_000,
            member_lifetime_ms: 1_000_000,
            basis_ms: 100_000,
            ticket_lifetime_ms: 100_000,
            proposal_lifetime_ms: 100_000,
            hold_ms: 3_600_000,
        },
        admission: AdmissionPolicy { tickets: true, approval: true },
        last_day: Timestamp(u64::MAX),
    }
}

fn genesis() -> (State, Header) {
    let charter = charter();
    let by_id = |seat: &Seat| (1..=4).find(|byte| inception(*byte).node_id() == seat.node_id()).unwrap();
    let signatures: Vec<Signature> =
        charter.endorsers.iter().map(|seat| charter.sign_founding(&key(by_id(seat)))).collect();
    let check = BatchCheck::new(ChaCha20Rng::from_seed([0; 32]));
    State::genesis(&verify(Founded { charter, signatures }, &check).unwrap()).unwrap()
}

fn endorsers() -> BTreeSet<NodeId> {
    (1..=4).map(|byte| inception(byte).node_id()).collect()
}

fn history(endorsers: BTreeSet<NodeId>) -> History {
    History::new(Domain {
        number: 3,
        genesis: genesis().1.id(),
        endorsers,
        admit: 3,
        revoke: 2,
        contain: 2,
        amend: 3,
        quorum: 3,
        faulty: [inception(1).node_id()].into(),
    })
}

fn entry(kind: Kind, by: &[u8]) -> Entry {
    let statement = Statement { domain: DomainId::default(), kind };
    let digest = Hash(statement.id().0);
    let mut endorsements: Vec<Endorsement> = by
        .iter()
        .map(|byte| Endorsement::sign(&digest, inception(*byte).node_id(), 0, &key(*byte)))
        .collect();
    endorsements.sort();
    Entry { statement, endorsements }
}

fn admit(whom: u8, number: u64, by: &[u8]) -> Entry {
    let basis = Basis { height: 0, block: BlockId::NONE, time: Timestamp::ZERO };
    let window = Window { from: Timestamp::ZERO, until: Timestamp(9) };
    let (subject, roles, grounds) = (inception(whom), Vec::new(), Grounds::Approval);
    entry(Kind::Admit(Box::new(Admit { subject, number, roles, window, basis, grounds })), by)
}

fn revoke(whom: u8, by: &[u8]) -> Entry {
    entry(Kind::Revoke(Revoke { subject: inception(whom).node_id(), reason: Reason::Unspecified }), by)
}

fn suspend(whom: u8, number: u64, until: u64, by: &[u8]) -> Entry {
    let (subject, until) = (inception(whom).node_id(), Timestamp(until));
    entry(Kind::Suspend(Suspend { subject, number, until, reason: Reason::Unspecified }), by)
}

fn release(whom: u8, number: u64, by: &[u8]) -> Entry {
    let basis = Basis { height: 0, block: BlockId::NONE, time: Timestamp::ZERO };
    entry(Kind::Release(Release { subject: inception(whom).node_id(), number, basis }), by)
}

/// By whatever proof: the oracle takes the log's word that it is one, and asks who may be accused at all.
fn accuse(whom: u8, by: &[u8]) -> Entry {
    let subject = inception(whom).node_id();
    let rotation = Rotation::new(&subject, 1, &key(whom), &key(1).public());
    let ballot = Ballot {
        domain: DomainId::default(),
        epoch: 1,
        iteration: 1,
        kind: BallotKind::Vote,
        block: block(1),
    };
    let voting = key(whom + 50);
    let vote = Vote { ballot, voter: voting.public(), proof: voting.sign(&ballot.digest()) };
    let contradiction = match whom {
        9 => Contradiction::Rotations(rotation, rotation),
        _ => Contradiction::Ballots(vote.clone(), vote),
    };
    entry(Kind::Accuse(Box::new(Accuse { subject, contradiction })), by)
}

/// Of two holds in one slot: until whoever gave them rotates.
fn accuse_of_holds(whom: u8) -> Entry {
    let subject = inception(whom).node_id();
    let basis = Basis { height: 0, block: BlockId::NONE, time: Timestamp::ZERO };
    let (domain, until) = (DomainId::default(), Timestamp(60));
    let terms = HoldTerms { domain, subject, slot: 0, basis, until, reason: Reason::Unspecified };
    let hold = Hold::sign(terms, subject, 0, &key(whom));
    entry(Kind::Accuse(Box::new(Accuse { subject, contradiction: Contradiction::Holds(hold, hold) })), &[])
}

/// The header of a block after `header`, a millisecond later.
fn next(header: &Header) -> Header {
    let (id, time) = (header.id(), header.time.plus(1));
    Header { height: header.height + 1, previous: id, parent: id, time, ..header.clone() }
}

/// Blocks with these entries, one after the other, as A tells of them: what breaks.
fn told(blocks: &[&[Entry]]) -> Vec<Invariant> {
    let mut history = history(endorsers());
    let mut header = genesis().1;
    for entries in blocks {
        header = next(&header);
        let block = Block { header: header.clone(), entries: entries.to_vec() };
        history.is_final(NOW, A, header.height, header.id());
        history.enters(NOW, A, &Arc::new(block));
    }
    history.violations().iter().map(|violation| violation.invariant).collect()
}

#[test]
fn a_history_by_the_rules_breaks_nothing() {
    assert_eq!(told(&[&[admit(9, 1, &[1, 2, 3])], &[revoke(9, &[1, 2]), admit(8, 1, &[2, 3, 4])]]), []);
    assert_eq!(told(&[&[admit(9, 1, &[1, 2, 3])], &[revoke(9, &[9])]]), [], "anybody may leave");
    assert_eq!(told(&[&[admit(9, 1, &[1, 2, 3])], &[admit(9, 2, &[1, 2, 3])]]), [], "a renewal");
}

#[test]
fn an_admission_that_is_one_endorser_short_breaks_s1() {
    assert_eq!(told(&[&[admit(9, 1, &[1, 2])]]), [Invariant::S1]);
    assert_eq!(told(&[&[admit(9, 1, &[1, 2, 7])]]), [Invariant::S1], "one of them is no endorser");
    assert_eq!(told(&[&[admit(9, 1, &[1, 2, 2])]]), [Invariant::S1], "the same one twice");
    assert_eq!(told(&[&[admit(9, 3, &[1, 2, 3])]]), [Invariant::S1], "its number is not the next");
    assert_eq!(
        told(&[&[revoke(1, &[2, 3])], &[admit(9, 1, &[1, 2, 3])]]),
        [Invariant::S1],
        "one of them is gone"
    );
}

fn renew(whom: u8, number: u64, by: &[u8]) -> Entry {
    let Kind::Admit(mut admit) = admit(whom, number, by).statement.kind else { unreachable!("it is one") };
    admit.grounds = Grounds::Renewal;
    entry(Kind::Admit(admit), by)
}

#[test]
fn a_renewal_of_somebody_who_is_no_member_or_has_a_seat_breaks_s1_and_of_somebody_gone_s2() {
    let first = || admit(9, 1, &[1, 2, 3]);
    assert_eq!(told(&[&[first()], &[renew(9, 2, &[1, 2, 3])]]), []);
    assert_eq!(told(&[&[first()], &[renew(9, 2, &[1, 2])]]), [Invariant::S1], "one endorser short");
    assert_eq!(told(&[&[renew(9, 1, &[1, 2, 3])]]), [Invariant::S1], "it never came");
    assert_eq!(told(&[&[renew(1, 1, &[2, 3, 4])]]), [Invariant::S1], "it has a seat");
    let gone = told(&[&[first()], &[revoke(9, &[1, 2])], &[renew(9, 1, &[1, 2, 3])]]);
    assert!(gone.contains(&Invariant::S2), "{gone:?}");
}

#[test]
fn whoever_takes_somebody_for_valid_on_a_block_that_is_too_old_breaks_s8() {
    let says = |age_ms: u64, valid: Option<NodeId>| {
        let mut history = history(endorsers());
        history.answers(NOW, A, age_ms, 60_000, valid);
        history.violations().iter().map(|violation| violation.invariant).collect::<Vec<_>>()
    };
    let somebody = Some(inception(1).node_id());
    assert_eq!(says(60_001, somebody), [Invariant::S8]);
    assert_eq!(says(60_000, somebody), [], "it is fresh");
    assert_eq!(says(60_001, None), [], "it answers stale");
}

#[test]
fn a_revocation_that_is_one_endorser_short_breaks_s1() {
    assert_eq!(told(&[&[revoke(2, &[1])]]), [Invariant::S1]);
}

#[test]
fn an_admission_of_somebody_who_is_gone_breaks_s2() {
    let broke = told(&[&[admit(9, 1, &[1, 2, 3])], &[revoke(9, &[1, 2])], &[admit(9, 1, &[1, 2, 3])]]);
    assert_eq!(broke, [Invariant::S2]);
}

#[test]
fn suspensions_by_the_rules_break_nothing() {
    assert_eq!(
        told(&[&[suspend(1, 1, 99, &[2, 3])], &[release(1, 1, &[2, 3, 4])], &[admit(9, 1, &[1, 2, 3])]]),
        []
    );
    // The second block is of time 2.
    assert_eq!(told(&[&[suspend(1, 1, 2, &[2, 3])], &[admit(9, 1, &[1, 2, 3])]]), [], "it has lapsed");
    assert_eq!(told(&[&[suspend(1, 1, 9, &[2, 3])], &[suspend(1, 2, 99, &[2, 3])]]), [], "longer");
}

#[test]
fn an_endorsement_or_a_renewal_of_whoever_is_suspended_breaks_s1() {
    let suspended = || suspend(1, 1, 99, &[2, 3]);
    assert_eq!(told(&[&[suspended()], &[admit(9, 1, &[1, 2, 3])]]), [Invariant::S1]);
    assert_eq!(told(&[&[suspended()], &[revoke(2, &[1, 3])]]), [Invariant::S1]);
    assert_eq!(told(&[&[suspended()], &[admit(1, 1, &[2, 3, 4])]]), [Invariant::S1]);
}

#[test]
fn a_suspension_or_release_that_is_one_endorser_short_or_of_another_number_breaks_s1() {
    let suspended = || suspend(9, 1, 99, &[2, 3]);
    let then = |entry: Entry| told(&[&[admit(9, 1, &[1, 2, 3])], &[suspended()], &[entry]]);
    assert_eq!(told(&[&[suspend(1, 1, 99, &[2])]]), [Invariant::S1]);
    assert_eq!(told(&[&[suspend(9, 1, 99, &[1, 2])]]), [Invariant::S1], "nobody admitted it");
    assert_eq!(then(suspend(9, 3, 99, &[1, 2])), [Invariant::S1]);
    assert_eq!(then(release(9, 1, &[1, 2])), [Invariant::S1]);
    assert_eq!(then(release(9, 2, &[1, 2, 3])), [Invariant::S1]);
    assert_eq!(told(&[&[release(1, 0, &[2, 3, 4])]]), [Invariant::S1], "nobody suspended it");
}

#[test]
fn a_conviction_of_whoever_may_lie_breaks_nothing_and_of_anybody_else_s7() {
    assert_eq!(told(&[&[accuse(1, &[])]]), []);
    assert_eq!(told(&[&[accuse(2, &[])]]), [Invariant::S7]);
    assert_eq!(told(&[&[accuse(1, &[2])]]), [Invariant::S1], "somebody endorsed it");
    assert_eq!(told(&[&[revoke(1, &[2, 3])], &[accuse(1, &[])]]), [Invariant::S1], "it was gone");
    let out: &[&[Entry]] = &[&[admit(9, 1, &[2, 3, 4])], &[accuse(9, &[])], &[admit(9, 1, &[2, 3, 4])]];
    assert_eq!(told(out), [Invariant::S7, Invariant::S2], "two rotations remove whoever made them");
}

#[test]
fn an_endorsement_or_a_renewal_of_whoever_is_convicted_breaks_s1() {
    assert_eq!(told(&[&[accuse(1, &[])], &[admit(9, 1, &[1, 2, 3])]]), [Invariant::S1]);
    assert_eq!(told(&[&[accuse(1, &[])], &[admit(1, 1, &[2, 3, 4])]]), [Invariant::S1]);
    assert_eq!(told(&[&[accuse(1, &[])], &[admit(9, 1, &[2, 3, 4])]]), []);
}

#[test]
fn a_conviction_by_holds_ends_when_its_owner_rotates_and_one_by_ballots_does_not() {
    let subject = inception(1).node_id();
    let rotation = Rotation::new(&subject, 1, &key(101), &key(102).public());
    let rotates = || entry(Kind::Rotate(Rotate { subject, rotations: vec![rotation] }), &[]);
    let anew = || admit(1, 1, &[2, 3, 4]);
    assert_eq!(told(&[&[accuse_of_holds(1)], &[anew()]]), [Invariant::S1]);
    assert_eq!(told(&[&[accuse_of_holds(1)], &[rotates()], &[anew()]]), []);
    assert_eq!(told(&[&[accuse(1, &[])], &[rotates()], &[anew()]]), [Invariant::S1]);
    assert_eq!(told(&[&[accuse_of_holds(2)]]), [Invariant::S7]);
}

#[test]
fn a_convicted_one_whose_rights_do_not_rest_breaks_s2() {
    let mut history = history(endorsers());
    let (state, header) = genesis();
    history.enters(NOW, A, &Arc::new(Block { header: next(&header), entries: vec![accuse(1, &[])] }));
    history.treats(NOW, A, Timestamp(98), |_| false);
    assert_eq!(history.violations(), []);
    history.treats(NOW, A, Timestamp(98), |subject| *subject == inception(1).node_id());
    history.compare(NOW, A, &state);
    let broke: Vec<_> = history.violations().iter().map(|violation| violation.invariant).collect();
    assert_eq!(broke, [Invariant::S2, Invariant::S2]);
}

#[test]
fn a_suspended_one_that_is_treated_as_effective_breaks_s2_once_for_each_who_does() {
    let mut history = history(endorsers());
    let (state, header) = genesis();
    let block = Block { header: next(&header), entries: vec![suspend(4, 1, 99, &[1, 2])] };
    history.enters(NOW, A, &Arc::new(block));
    history.treats(NOW, A, Timestamp(98), |_| false);
    history.treats(NOW, A, Timestamp(99), |_| true);
    assert_eq!(history.violations(), [], "it is not, or not any more");
    for node in [A, A, B] {
        history.treats(NOW, node, Timestamp(98), |subject| *subject == inception(4).node_id());
    }
    let broke: Vec<_> =
        history.violations().iter().map(|violation| (violation.invariant, violation.node)).collect();
    assert_eq!(broke, [(Invariant::S2, A), (Invariant::S2, B)]);

    // The history says that it is suspended; the state knows of nothing.
    history.compare(NOW, A, &state);
    assert_eq!(history.violations().len(), 3);
    assert!(history.violations()[2].what.contains("do not rest"), "{:?}", history.violations());
}

#[test]
fn two_blocks_that_are_final_at_one_height_break_s3() {
    let mut history = history(endorsers());
    assert!(history.is_final(NOW, A, 5, block(1)));
    assert!(!history.is_final(NOW, B, 5, block(1)));
    assert!(!history.is_final(NOW, B, 6, block(2)) || history.violations().is_empty());
    assert_eq!(history.violations(), []);
    history.is_final(NOW, B, 5, block(3));
    let [violation] = history.violations() else { panic!("{:?}", history.violations()) };
    assert_eq!((violation.invariant, violation.node), (Invariant::S3, B));
}

#[test]
fn a_block_that_does_not_follow_the_newest_breaks_s3() {
    let mut history = history(endorsers());
    let header = Header { height: 1, previous: block(9), ..genesis().1 };
    history.enters(NOW, A, &Arc::new(Block { header, entries: Vec::new() }));
    assert_eq!(history.violations().len(), 1);
    assert_eq!(history.violations()[0].invariant, Invariant::S3);
}

#[test]
fn a_state_that_says_what_the_history_says_breaks_nothing() {
    let mut history = history(endorsers());
    history.holds(NOW, A, 0, &genesis().0);
    history.holds(NOW, B, 0, &genesis().0);
    assert_eq!(history.violations(), []);
}

#[test]
fn a_member_whom_nobody_admitted_breaks_s1_and_one_who_was_revoked_s2() {
    let stranger = inception(4).node_id();
    let mut without: BTreeSet<NodeId> = endorsers();
    without.remove(&stranger);
    let mut history = self::history(without);
    history.holds(NOW, A, 0, &genesis().0);
    let broke: Vec<_> = history.violations().iter().map(|violation| violation.invariant).collect();
    assert_eq!(broke, [Invariant::S1]);

    // The history says that it is gone; the state has it stand.
    let mut history = self::history(endorsers());
    let (state, header) = genesis();
    history.enters(NOW, A, &Arc::new(Block { header: next(&header), entries: vec![revoke(4, &[1, 2])] }));
    history.compare(NOW, A, &state);
    let broke: BTreeSet<_> = history.violations().iter().map(|violation| violation.invariant).collect();
    assert_eq!(broke, [Invariant::S2].into());
}

#[test]
fn a_member_who_does_not_stand_breaks_s3() {
    let mut with = endorsers();
    with.insert(inception(9).node_id());
    let mut history = self::history(with);
    history.holds(NOW, A, 0, &genesis().0);
    assert_eq!(history.violations()[0].invariant, Invariant::S3);
}

#[test]
fn two_state_roots_at_one_height_break_s3() {
    let mut history = history(endorsers());
    let (state, _) = genesis();
    history.holds(NOW, A, 0, &state);
    let mut other = charter();
    other.thresholds.revoke = 3;
    let by_id = |seat: &Seat| (1..=4).find(|byte| inception(*byte).node_id() == seat.node_id()).unwrap();
    let signatures = other.endorsers.iter().map(|seat| other.sign_founding(&key(by_id(seat)))).collect();
    let check = BatchCheck::new(ChaCha20Rng::from_seed([0; 32]));
    let (other, _) =
        State::genesis(&verify(Founded { charter: other, signatures }, &check).unwrap()).unwrap();
    history.holds(NOW, B, 0, &other);
    let [violation] = history.violations() else { panic!("{:?}", history.violations()) };
    assert_eq!((violation.invariant, violation.node), (Invariant::S3, B));
}

#[test]
fn what_a_recovery_drops_was_never_there_and_what_it_keeps_is_judged_as_before() {
    let mut history = history(endorsers()).that_may_be_recovered();
    let genesis = genesis().1;
    let mut header = genesis.clone();
    let mut enter = |history: &mut History, entries: Vec<Entry>| {
        header = next(&header);
        let block = Arc::new(Block { header: header.clone(), entries });
        history.is_final(NOW, A, block.header.height, block.id());
        history.enters(NOW, A, &block);
        block.id()
    };
    let base = enter(&mut history, vec![admit(8, 1, &[1, 2, 3])]);
    enter(&mut history, vec![admit(9, 1, &[1, 2, 3]), revoke(4, &[1, 2])]);
    assert_eq!((history.newest().1, history.number_of(&inception(9).node_id())), (2, 1));

    history.drops_above(1);
    assert_eq!(history.newest(), (base, 1));
    assert_eq!(history.number_of(&inception(9).node_id()), 0, "it came on the branch that is dropped");
    assert_eq!(history.number_of(&inception(8).node_id()), 1);
    assert!(history.gone().is_empty());
    assert!(history.is_final(NOW, B, 2, block(7)), "another block may be final there now");
    assert_eq!(history.violations(), []);
    history.is_final(NOW, B, 1, block(7));
    assert_eq!(history.violations().len(), 1, "but not below");
}
