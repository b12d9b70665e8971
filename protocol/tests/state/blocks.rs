//! SPEC 6: how blocks follow one another.

use std::sync::Arc;

use frith_protocol::encoding::{Hash, Label, digest, encoded_len};
use frith_protocol::fault::Fault;
use frith_protocol::identity::Verified;
use frith_protocol::limits;
use frith_protocol::state::{Block, Entry, Header, Kind, Parent, State, TicketTerms};
use frith_protocol::time::Timestamp;

use crate::domain::{Domain, Person, endorsed_by, noise, verified};

/// RFC 6962 §2.1, written as there: split at the largest power of two below the length.
fn naive_merkle(items: &[Hash]) -> Hash {
    match items {
        [] => Hash([0; 32]),
        [one] => digest(Label::MerkleLeaf, &one.0),
        more => {
            let split = 1 << (more.len() - 1).ilog2();
            let (left, right) = more.split_at(split);
            digest(Label::MerkleNode, &[naive_merkle(left).0, naive_merkle(right).0].concat())
        }
    }
}

fn naive_log_root(ids: &[Hash]) -> Hash {
    let count = (ids.len() as u64).to_le_bytes();
    digest(Label::Log, &[&count[..], &naive_merkle(ids).0].concat())
}

fn admissions(domain: &Domain, numbers: std::ops::Range<u32>) -> Vec<Entry> {
    numbers.map(|i| domain.admission(domain.admit(&Person::new(i)))).collect()
}

/// A sound block on the head of `domain`, and what is said of it once `change` was made.
fn verdict(domain: &Domain, change: impl FnOnce(&mut Block)) -> Result<State, Fault> {
    let waiting: Vec<_> =
        admissions(domain, 1000..1003).into_iter().map(|entry| verified(Arc::new(entry))).collect();
    let (block, ..) = domain.state.build(&domain.head, domain.now(), waiting.iter());
    let mut block = (**block).clone();
    change(&mut block);
    domain.state.execute(Parent::of(&domain.head), &verified(Arc::new(block)))
}

#[track_caller]
fn wrong(result: Result<State, Fault>, expected: &str) {
    match result {
        Err(Fault::WrongHeader { what, .. }) => assert_eq!(what, expected),
        other => panic!("{other:?} is not about {expected}"),
    }
}

#[test]
fn rule_6_1_blocks_with_entries_are_chained_past_heartbeats() {
    let mut domain = Domain::new(4);
    let genesis = domain.head.id();
    domain.advance(&[]);
    assert_eq!(domain.head.previous, genesis);
    domain.advance(&[]);
    let first = domain.advance(&admissions(&domain, 100..101));
    assert_eq!((first.header.height, first.header.previous), (3, genesis));
    domain.advance(&[]);
    let second = domain.advance(&admissions(&domain, 101..102));
    assert_eq!((second.header.height, second.header.previous), (5, first.id()));
    assert_eq!(domain.state.last(), &second.header);
}

#[test]
fn rule_6_1_a_follower_that_skipped_heartbeats_reaches_the_same_state() {
    let mut domain = Domain::new(4);
    let follower = domain.state.clone();
    let mut blocks = Vec::new();
    for i in 0..5 {
        domain.advance(&[]);
        blocks.push(domain.advance(&admissions(&domain, 100 + i..101 + i)));
        domain.advance(&[]);
    }
    let reached = blocks.iter().try_fold(follower, |state, block| state.execute(Parent::Skipped, block));
    let reached = reached.expect("every block links by `previous`");
    assert_eq!(reached, domain.state);
    assert_eq!(reached.check_heartbeat(Parent::Skipped, &domain.head), Ok(()));
}

#[test]
fn rule_6_1_a_follower_cannot_skip_a_block_with_entries() {
    let mut domain = Domain::new(4);
    let follower = domain.state.clone();
    domain.advance(&admissions(&domain, 100..101));
    let second = domain.advance(&admissions(&domain, 101..102));
    wrong(follower.execute(Parent::Skipped, &second), "`previous`");
}

#[test]
fn rule_6_2_height_time_epoch_and_parent_follow_the_parent() {
    let mut domain = Domain::new(4);
    domain.advance(&[]);
    assert!(verdict(&domain, |_| {}).is_ok());
    wrong(verdict(&domain, |b| b.header.epoch = 2), "the epoch");
    wrong(verdict(&domain, |b| b.header.height += 1), "the height");
    wrong(verdict(&domain, |b| b.header.height -= 1), "the height");
    wrong(verdict(&domain, |b| b.header.height = u64::MAX), "the height");
    wrong(verdict(&domain, |b| b.header.parent = noise(1).into()), "the parent");
    let parent_time = domain.head.time;
    for time in [parent_time, Timestamp::ZERO] {
        let result = verdict(&domain, |b| b.header.time = time);
        assert!(matches!(result, Err(Fault::WrongTime { .. })), "{result:?}");
    }
}

#[test]
fn rule_6_2_a_known_parent_must_be_the_head_of_this_state() {
    let mut domain = Domain::new(4);
    let before = domain.clone();
    domain.advance(&admissions(&domain, 100..101));
    // The state of before, with a parent that stands on more than it holds.
    let block = domain.clone().advance(&[]);
    let other = before.state.check_heartbeat(Parent::of(&domain.head), &block.header);
    assert!(matches!(other, Err(Fault::WrongHeader { .. })), "{other:?}");
    // A parent that no state leads to.
    let mut made_up = before.head.clone();
    made_up.time = made_up.time.plus(5);
    let mut header = before.clone().advance(&[]).header.clone();
    header.parent = made_up.id();
    let fault = before.state.check_heartbeat(Parent::of(&made_up), &header);
    assert!(matches!(fault, Err(Fault::WrongHeader { what: "the parent", .. })), "{fault:?}");
}

#[test]
fn rule_6_2_whoever_skipped_heartbeats_checks_height_parent_and_time_as_far_as_it_can() {
    let mut domain = Domain::new(4);
    domain.advance(&admissions(&domain, 100..101));
    let state = domain.state.clone();
    for _ in 0..3 {
        domain.advance(&[]);
    }
    let sound = domain.head.clone();
    assert_eq!((sound.height, state.last().height), (4, 1));
    let check = |change: &dyn Fn(&mut Header)| {
        let mut header = sound.clone();
        change(&mut header);
        state.check_heartbeat(Parent::Skipped, &header)
    };
    assert_eq!(check(&|_| {}), Ok(()));
    let bad_header = |result: Result<(), Fault>, part: &str| match result {
        Err(Fault::WrongHeader { what, .. }) => assert_eq!(what, part),
        other => panic!("{other:?} is not about {part}"),
    };
    bad_header(check(&|h| h.height = 1), "the height");
    bad_header(check(&|h| h.height = 0), "the height");
    bad_header(check(&|h| h.parent = state.last_id()), "the parent");
    bad_header(check(&|h| h.height = 2), "the parent");
    let last = state.last().time;
    let at = |ms: u64| check(&|h: &mut Header| h.time = last.plus(ms));
    assert_eq!(at(3), Ok(()));
    assert!(matches!(at(2), Err(Fault::WrongTime { .. })));
    assert!(matches!(check(&|h| h.time = Timestamp::ZERO), Err(Fault::WrongTime { .. })));
    assert!(matches!(check(&|h| h.height = u64::MAX), Err(Fault::WrongTime { .. })));
}

#[test]
fn rule_6_3_the_entries_root_is_the_merkle_root_of_the_statements_in_order() {
    let mut domain = Domain::new(4);
    for count in [1, 2, 3, 4, 5, 7, 8, 9] {
        let first = count * 100;
        let block = domain.advance(&admissions(&domain, first..first + count));
        let ids: Vec<Hash> = block.entries.iter().map(|e| Hash(e.statement.id().0)).collect();
        assert_eq!(block.header.entries_root, naive_merkle(&ids), "{count}");
    }
    wrong(verdict(&domain, |b| b.header.entries_root = noise(1)), "the entries root");
    wrong(verdict(&domain, |b| b.entries.swap(0, 1)), "the entries root");
    wrong(verdict(&domain, |b| drop(b.entries.pop())), "the entries root");
    wrong(verdict(&domain, |b| b.header.entries_root = Hash::ZERO), "the entries root");
    wrong(verdict(&domain, |b| b.entries.clear()), "the entries root");
}

#[test]
fn rule_6_4_the_log_root_is_of_all_earlier_blocks_with_entries() {
    let mut domain = Domain::new(4);
    let mut ids: Vec<Hash> = Vec::new();
    assert_eq!(domain.head.log_root, naive_log_root(&ids));
    ids.push(Hash(domain.head.id().0));
    for i in 0..20 {
        let block = domain.advance(&admissions(&domain, 100 + i..101 + i));
        assert_eq!(block.header.log_root, naive_log_root(&ids), "{i}");
        ids.push(Hash(block.id().0));
        let heartbeat = domain.advance(&[]);
        assert_eq!(heartbeat.header.log_root, naive_log_root(&ids), "{i}");
        assert_eq!(domain.state.log_len(), ids.len() as u64);
    }
    wrong(verdict(&domain, |b| b.header.log_root = noise(1)), "the log root");
}

#[test]
fn rule_6_5_the_roots_are_those_after_the_entries() {
    let domain = Domain::new(4);
    wrong(verdict(&domain, |b| b.header.state_root = noise(1)), "the state root");
    let before = domain.state.root();
    wrong(verdict(&domain, |b| b.header.state_root = before), "the state root");
    wrong(verdict(&domain, |b| b.header.spine_root = noise(1)), "the spine root");
    wrong(verdict(&domain, |b| b.header.previous = noise(1).into()), "`previous`");
}

#[test]
fn rule_6_6_a_heartbeat_changes_nothing_but_the_time() {
    let mut domain = Domain::new(4);
    domain.advance(&admissions(&domain, 100..103));
    let before = domain.state.clone();
    let block = domain.advance(&[]);
    assert!(block.header.is_heartbeat());
    assert_eq!(domain.state, before);
    let sound = block.header.clone();
    let parent = before.last().clone();
    let refused = |change: &dyn Fn(&mut Header)| {
        let mut header = sound.clone();
        change(&mut header);
        before.check_heartbeat(Parent::of(&parent), &header).is_err()
    };
    assert!(!refused(&|_| {}));
    assert!(!refused(&|h| h.time = h.time.plus(1)));
    assert!(refused(&|h| h.state_root = noise(1)));
    assert!(refused(&|h| h.spine_root = noise(1)));
    assert!(refused(&|h| h.log_root = noise(1)));
    assert!(refused(&|h| h.entries_root = noise(1)));
    assert!(refused(&|h| h.previous = noise(1).into()));
    assert!(refused(&|h| h.parent = noise(1).into()));
    assert!(refused(&|h| h.epoch = 2));
    assert!(refused(&|h| h.height += 1));
    assert!(refused(&|h| h.time = parent.time));
}

#[test]
fn rule_6_7_denials_come_first() {
    let mut domain = Domain::new(4);
    let people: Vec<Person> = (100..103).map(Person::new).collect();
    domain.advance(&people.iter().map(|p| domain.admission(domain.admit(p))).collect::<Vec<_>>());
    let mut entries = admissions(&domain, 200..203);
    entries.insert(2, domain.revocation(people[0].node));
    let waiting: Vec<_> = entries.into_iter().map(|e| verified(Arc::new(e))).collect();
    let (block, ..) = domain.state.build(&domain.head, domain.now(), waiting.iter());
    let denials: Vec<bool> = block.entries.iter().map(|e| e.statement.is_denial()).collect();
    assert_eq!(denials, [true, false, false, false]);
    let mut swapped = (**block).clone();
    swapped.entries.swap(0, 1);
    swapped.header.entries_root = swapped.root_of_entries();
    let verdict = domain.state.execute(Parent::of(&domain.head), &verified(Arc::new(swapped)));
    assert!(matches!(
        verdict,
        Err(Fault::BadBlock {
            what: "its denials, rotations, grants, records and amendment are not in that order",
            ..
        })
    ));
}

type Waiting = Vec<Verified<Arc<Entry>>>;

/// A domain with 40 members to revoke, and more grants than a block takes.
fn crowded() -> (Domain, Waiting, Waiting) {
    let mut domain = Domain::new(1);
    let people: Vec<Person> = (100..140).map(Person::new).collect();
    domain.advance(&people.iter().map(|p| domain.admission(domain.admit(p))).collect::<Vec<_>>());
    let grants = admissions(&domain, 1000..1300).into_iter().map(|e| verified(Arc::new(e))).collect();
    let denials = people.iter().map(|p| verified(Arc::new(domain.revocation(p.node)))).collect();
    (domain, grants, denials)
}

#[test]
fn rule_6_7_the_last_places_of_a_block_are_kept_for_denials() {
    let (domain, grants, denials) = crowded();
    let built = |waiting: Vec<&Verified<Arc<Entry>>>| {
        let (block, _, refused) = domain.state.build(&domain.head, domain.now(), waiting.into_iter());
        assert_eq!(refused, [], "what finds no place is not at fault");
        block.entries.len()
    };
    assert_eq!(built(grants.iter().collect()), 224);
    assert_eq!(built(grants.iter().chain(&denials).collect()), 224);
    assert_eq!(built(grants.iter().take(100).chain(&denials).collect()), 140);

    // A leader that packs one grant more is refused, whatever its roots say.
    let (block, ..) = domain.state.build(&domain.head, domain.now(), grants.iter());
    let mut more = (**block).clone();
    more.entries.push((**grants[224]).clone());
    more.header.entries_root = more.root_of_entries();
    let verdict = domain.state.execute(Parent::of(&domain.head), &verified(Arc::new(more)));
    let what = "another entry is in a place that is kept for denials";
    assert!(matches!(verdict, Err(Fault::BadBlock { what: w, .. }) if w == what));
}

#[test]
fn rule_6_7_a_block_has_at_most_256_entries() {
    let (domain, grants, _) = crowded();
    let (block, ..) = domain.state.build(&domain.head, domain.now(), grants.iter());
    let mut more = (**block).clone();
    more.entries = grants[..257].iter().map(|e| (***e).clone()).collect();
    let verdict = frith_protocol::identity::verify(more, &crate::domain::check());
    assert!(matches!(verdict, Err(Fault::TooMany { count: 257, max: 256, .. })));
}

#[test]
fn rule_6_7_a_block_is_no_longer_than_its_limit() {
    // As long as an admission can be: 32 roles with the longest names, twice (its own, its ticket's).
    let name = |i: u32| format!("{i:064}");
    let mut domain = Domain::with(1, |c| {
        c.roles = (0..32)
            .map(|i| frith_protocol::state::Role {
                name: name(i),
                capabilities: Vec::new(),
                freshness_ms: None,
            })
            .collect();
        c.endorsers[0].roles.clear();
    });
    let founder = domain.founders[0].clone();
    let roles: Vec<String> = (0..32).map(name).collect();
    let terms = TicketTerms { roles: roles.clone(), ..domain.terms(1, 1000) };
    let entries: Vec<Entry> = (0..200)
        .map(|i| {
            let mut admit = domain.admit(&Person::new(7000 + i));
            admit.roles = roles.clone();
            admit.grounds = frith_protocol::state::Grounds::Ticket(Box::new(terms.clone()));
            endorsed_by(domain.statement(Kind::Admit(Box::new(admit))), &[&founder])
        })
        .collect();
    let each = encoded_len(&entries[0]);
    let waiting: Vec<_> = entries.iter().map(|e| verified(Arc::new(e.clone()))).collect();
    let (block, _, refused) = domain.state.build(&domain.head, domain.now(), waiting.iter());
    assert_eq!(refused, []);
    assert_eq!(block.entries.len(), limits::ENTRIES_BYTES_MAX / each);
    assert!(block.entries.len() < 200);
    let mut more = (**block).clone();
    more.entries.push(entries[block.entries.len()].clone());
    more.header.entries_root = more.root_of_entries();
    let verdict = domain.state.execute(Parent::of(&domain.head), &verified(Arc::new(more)));
    assert!(matches!(verdict, Err(Fault::TooMany { what: "bytes of a block's entries", .. })));
    domain.advance(&entries[..block.entries.len()]);
}

#[test]
fn rule_6_7_no_entry_is_longer_than_its_limit() {
    // As many endorsers, roles and long names as there can be.
    let people = crate::domain::founders(u32::try_from(limits::ENDORSERS_MAX).expect("few"));
    let domain = Domain::new(1);
    let roles: Vec<String> = (0..limits::ROLES_MAX).map(|i| format!("{i:064}")).collect();
    let terms =
        TicketTerms { roles: roles.clone(), expires: Timestamp(u64::MAX), ..domain.terms(1, 100_000) };
    let mut admit = domain.admit(&Person::new(7000));
    (admit.roles, admit.number) = (roles, u64::MAX);
    admit.grounds = frith_protocol::state::Grounds::Ticket(Box::new(terms.clone()));
    let all: Vec<&Person> = people.iter().collect();
    let entry = endorsed_by(domain.statement(Kind::Admit(Box::new(admit.clone()))), &all);
    let bytes = encoded_len(&*verified(entry));
    assert!((limits::ENTRY_BYTES_MAX / 2..=limits::ENTRY_BYTES_MAX).contains(&bytes), "{bytes}");

    // One byte more in a name is refused, also where only the ticket says it.
    let long = vec!["x".repeat(limits::NAME_BYTES_MAX + 1)];
    let too_long = |admit| {
        let entry = endorsed_by(domain.statement(Kind::Admit(Box::new(admit))), &all);
        let verdict = frith_protocol::identity::verify(entry, &crate::domain::check());
        matches!(verdict, Err(Fault::TooMany { what: "bytes of a role's name", .. }))
    };
    assert!(too_long(frith_protocol::state::Admit { roles: long.clone(), ..admit.clone() }));
    let terms = Box::new(TicketTerms { roles: long, ..terms });
    assert!(too_long(frith_protocol::state::Admit {
        grounds: frith_protocol::state::Grounds::Ticket(terms),
        ..admit
    }));
}

#[test]
fn states_cross_threads() {
    fn crosses<T: Send + Sync + 'static>() {}
    crosses::<State>();
}

#[test]
fn rule_6_8_one_invalid_entry_voids_the_block() {
    let domain = Domain::new(4);
    let wrong_number = verdict(&domain, |b| {
        let mut admit = domain.admit(&Person::new(1002));
        admit.number = 2;
        b.entries[2] = domain.admission(admit);
        let ids: Vec<Hash> = b.entries.iter().map(|e| Hash(e.statement.id().0)).collect();
        b.header.entries_root = naive_merkle(&ids);
    });
    assert!(matches!(wrong_number, Err(Fault::WrongNumber { theirs: 2, expected: 1, .. })));
    let doubled = verdict(&domain, |b| {
        b.entries[2] = b.entries[1].clone();
        let ids: Vec<Hash> = b.entries.iter().map(|e| Hash(e.statement.id().0)).collect();
        b.header.entries_root = naive_merkle(&ids);
    });
    assert!(matches!(doubled, Err(Fault::WrongNumber { theirs: 1, expected: 2, .. })));
}

#[test]
fn rule_6_8_each_entry_is_judged_in_the_state_just_before_it() {
    // An admission and its renewal in one block: the second is valid only after the first.
    let domain = Domain::new(4);
    let person = Person::new(1000);
    let (first, mut second) = (domain.admit(&person), domain.admit(&person));
    second.number = 2;
    let entries = [domain.admission(first), domain.admission(second)];
    let waiting: Vec<_> = entries.iter().map(|e| verified(Arc::new(e.clone()))).collect();
    let (block, state, refused) = domain.state.build(&domain.head, domain.now(), waiting.iter());
    assert_eq!((block.entries.len(), refused.len()), (2, 0));
    assert_eq!(domain.state.execute(Parent::of(&domain.head), &block), Ok(state));
    let (block, _, refused) = domain.state.build(&domain.head, domain.now(), waiting.iter().rev());
    assert_eq!((block.entries.len(), refused.len()), (1, 1));
}

#[test]
fn rule_6_9_bodies_that_differ_in_who_endorsed_are_judged_each_for_itself() {
    let domain = Domain::new(4);
    let statement = domain.statement(Kind::Admit(Box::new(domain.admit(&Person::new(1000)))));
    let of = |endorsers: &[&Person]| endorsed_by(statement.clone(), endorsers);
    let [a, b, c, _] = &domain.founders[..] else { unreachable!("there are four founders") };
    let waiting = verified(Arc::new(of(&[a, b])));
    let (block, state, _) = domain.state.build(&domain.head, domain.now(), [&waiting].into_iter());
    let with = |entry: Entry| {
        let body = Block { header: block.header.clone(), entries: vec![entry] };
        assert_eq!(body.id(), block.id());
        domain.state.execute(Parent::of(&domain.head), &verified(Arc::new(body)))
    };
    assert_eq!(with(of(&[b, c])), Ok(state));
    assert_eq!(with(of(&[c])), Err(Fault::TooFewEndorsements { have: 1, need: 2 }));
}

#[test]
fn a_block_is_never_earlier_than_its_parent_whatever_the_clock_says() {
    let domain = Domain::new(4);
    let (block, ..) = domain.state.build(&domain.head, Timestamp::ZERO, std::iter::empty());
    assert_eq!(block.header.time, domain.head.time.plus(1));
}

#[test]
fn execution_leaves_the_state_that_it_started_from_alone() {
    let mut domain = Domain::new(4);
    let before = domain.state.clone();
    let (root, members) = (before.root(), before.member_count());
    let block = domain.advance(&admissions(&domain, 100..150));
    assert_eq!((before.root(), before.member_count()), (root, members));
    assert_eq!(before.execute(Parent::Skipped, &block), Ok(domain.state.clone()));
    assert_eq!(before.execute(Parent::Skipped, &block), Ok(domain.state));
}
