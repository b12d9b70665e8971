//! Going on without a quorum: SPEC 4.15.

use frith_protocol::fault::Fault;
use frith_protocol::identity::PublicKey;
use frith_protocol::state::{
    Basis, Block, Consent, Effective, Entry, Header, Kind, Parent, Reason, Recover, Revoke, Seat, State,
    Subject, Suspend, Terms,
};
use frith_protocol::time::Timestamp;

use crate::domain::{DAY, Domain, Person, executes_on_a_lean_state, verified};

/// Four founders and three members, and a silence of forty days.
fn domain() -> (Domain, Vec<Person>) {
    let mut domain = Domain::new(4);
    let members: Vec<Person> = (100..103).map(Person::new).collect();
    let entries: Vec<Entry> = members.iter().map(|member| domain.admission(domain.admit(member))).collect();
    domain.advance(&entries);
    (domain, members)
}

fn basis(domain: &Domain) -> Basis {
    Basis { height: domain.head.height, block: domain.head.id(), time: domain.head.time }
}

fn later(domain: &Domain) -> Timestamp {
    domain.head.time.plus(40 * DAY)
}

fn consent(terms: &Terms, person: &Person, basis: Basis) -> Consent {
    let voting = person.voting_key_of(terms.charter.epoch);
    Consent::sign(&terms.id(), (person.node, 0, &person.key), &voting, basis)
}

/// One founder and the members sit, and whoever else is named stays out.
fn recover(domain: &Domain, seated: &[&Person], change: impl FnOnce(&mut Recover)) -> Recover {
    let mut seats: Vec<Seat> = seated
        .iter()
        .map(|person| Seat {
            inception: person.inception.clone(),
            voting_key: PublicKey::BLANK,
            roles: vec!["node".into()],
        })
        .collect();
    seats.sort_by_key(Seat::node_id);
    let terms = domain.next_charter(|charter| {
        charter.endorsers = seats;
        charter.written = later(domain);
    });
    let mut recover = Recover {
        base: basis(domain),
        gone: vec![],
        suspended: vec![],
        charter: terms.charter,
        consents: vec![],
    };
    change(&mut recover);
    if recover.consents.is_empty() {
        let terms = recover.terms(domain.state.domain());
        recover.consents = seated.iter().map(|person| consent(&terms, person, recover.base)).collect();
        recover.consents.sort_by_key(|consent| consent.node);
    }
    recover
}

fn recovered(domain: &Domain, recover: Recover) -> Result<(Block, State), Fault> {
    let (block, state) = domain.state.recovered(recover, later(domain).plus(1))?;
    let again = domain.state.execute(Parent::of(&domain.head), &verified(std::sync::Arc::new(block.clone())));
    assert_eq!(again.as_ref(), Ok(&state), "what was built does not execute to the same state");
    executes_on_a_lean_state(
        (&domain.state, &domain.head),
        &verified(std::sync::Arc::new(block.clone())),
        &state,
    );
    Ok((block, state))
}

fn all<'a>(domain: &'a Domain, members: &'a [Person]) -> Vec<&'a Person> {
    std::iter::once(&domain.founders[0]).chain(members).collect()
}

#[test]
fn rule_4_15_others_take_the_seats_by_fresh_keys_though_their_windows_have_closed() {
    let (domain, members) = domain();
    let seated = all(&domain, &members);
    let lapsed = domain.state.effective(&members[0].node, later(&domain));
    assert_eq!(lapsed, Effective::Lapsed, "nobody could renew it");
    let (block, state) =
        recovered(&domain, recover(&domain, &seated, |_| {})).expect("nothing is wrong with it");
    assert!(block.recovers() && block.ends_its_epoch());
    assert_eq!(state.charter().epoch, 2);
    for person in &seated {
        let voting_key = state.seat_of(&person.node).expect("it sits").voting_key;
        assert_eq!(voting_key, person.voting_key_of(2).public());
        assert_eq!(state.effective(&person.node, later(&domain)), Effective::Yes);
    }
    assert!(!state.has_seat(&domain.founders[1].node));
}

#[test]
fn rule_4_15_everybody_consents_on_the_base_with_a_key_that_nobody_has() {
    let (domain, members) = domain();
    let seated = all(&domain, &members);
    let whole = recover(&domain, &seated, |_| {});
    let terms = whole.terms(domain.state.domain());
    // Not even a founder keeps its key.
    let without = recover(&domain, &seated, |recover| {
        recover.consents = whole.consents.iter().filter(|c| c.node != seated[0].node).copied().collect();
    });
    let refused = recovered(&domain, without).expect_err("one has not consented");
    assert!(matches!(refused, Fault::BadConsent { node, .. } if node == seated[0].node), "{refused}");
    for (voting, basis) in [
        (seated[0].voting.clone(), whole.base),
        (seated[0].voting_key_of(2), Basis { height: whole.base.height - 1, ..whole.base }),
    ] {
        let other = Consent::sign(&terms.id(), (seated[0].node, 0, &seated[0].key), &voting, basis);
        let with = recover(&domain, &seated, |recover| {
            recover.consents.clone_from(&whole.consents);
            recover.consents.retain(|consent| consent.node != other.node);
            recover.consents.push(other);
            recover.consents.sort_by_key(|consent| consent.node);
        });
        assert!(recovered(&domain, with).is_err());
    }
}

#[test]
fn rule_4_15_its_block_follows_the_base_and_holds_nothing_else() {
    let (mut domain, members) = domain();
    let seated = all(&domain, &members);
    let whole = recover(&domain, &seated, |_| {});
    for base in [
        Basis { height: whole.base.height + 1, ..whole.base },
        Basis { time: later(&domain).plus(1), ..whole.base },
    ] {
        let elsewhere = recover(&domain, &seated, |recover| recover.base = base);
        let header = |block: Block| Header { height: domain.head.height + 1, ..block.header };
        let built = domain.state.recovered(elsewhere, later(&domain).plus(1)).map(|(block, _)| {
            let block = Block { header: header(block.clone()), ..block };
            domain.state.execute(Parent::of(&domain.head), &verified(std::sync::Arc::new(block)))
        });
        assert!(!matches!(built, Ok(Ok(_))), "{built:?}");
    }
    // A heartbeat that is not known to whoever skipped it may be the base: its id is enough.
    let (mut block, _) = recovered(&domain, whole.clone()).expect("nothing is wrong with it");
    block.entries.insert(0, domain.revocation(members[2].node));
    block.header.entries_root = block.root_of_entries();
    let block = verified(std::sync::Arc::new(block));
    let refused = domain.state.execute(Parent::of(&domain.head), &block).expect_err("there is more in it");
    assert!(matches!(refused, Fault::BadBlock { .. }), "{refused}");
    // No leader packs one, whoever hands it in.
    let statement = domain.statement(Kind::Recover(Box::new(whole)));
    let entry = Entry { statement, endorsements: vec![] };
    let refused = domain.judge_at(later(&domain).plus(1), &entry).expect_err("it is no entry to vote for");
    assert!(matches!(refused, Fault::BadRecovery { .. }), "{refused}");
    let mut endorsed = entry.clone();
    endorsed.endorsements.push(domain.founders[0].endorse(&Subject::Statement(entry.statement.clone())));
    assert!(domain.judge_at(later(&domain).plus(1), &endorsed).is_err());
    let waiting = [verified(std::sync::Arc::new(entry))];
    let (block, _, refused) = domain.state.build(&domain.head, later(&domain), waiting.iter());
    assert!(block.entries.is_empty() && refused.len() == 1);
    domain.advance(&[domain.revocation(members[2].node)]);
}

#[test]
fn rule_4_15_its_charter_follows_that_of_the_base_by_one_epoch_or_more() {
    let (domain, members) = domain();
    let seated = all(&domain, &members);
    for (epoch, good) in [(1, false), (2, true), (9, true), (u64::MAX, false)] {
        let (fault, _) = match recovered(&domain, recover(&domain, &seated, |r| r.charter.epoch = epoch)) {
            Ok((_, state)) => (None, state.charter().epoch),
            Err(fault) => (Some(fault), 0),
        };
        assert_eq!(fault.is_none(), good, "epoch {epoch}: {fault:?}");
    }
    let other = recover(&domain, &seated, |r| r.charter.previous = None);
    assert!(matches!(recovered(&domain, other), Err(Fault::BadCharter { .. })));
    // What no charter may be, this one may not be either.
    let unsafe_ = recover(&domain, &seated, |r| r.charter.thresholds.amend = 1);
    assert!(matches!(recovered(&domain, unsafe_), Err(Fault::BadCharter { .. })));
}

#[test]
fn rule_4_15_whoever_it_names_stays_out_also_if_it_never_stood() {
    let (domain, members) = domain();
    let founder = &domain.founders[0];
    let seated = [founder, &domain.founders[1], &domain.founders[2], &members[0]];
    let unknown = Person::new(555);
    let mut gone: Vec<Revoke> = [members[1].node, unknown.node]
        .map(|subject| Revoke { subject, reason: Reason::Compromised })
        .to_vec();
    gone.sort_by_key(|revoke| revoke.subject);
    let until = later(&domain).plus(DAY);
    let rests = |number| Suspend { subject: members[2].node, number, until, reason: Reason::Unspecified };
    let named = recover(&domain, &seated, |r| {
        (r.gone, r.suspended) = (gone.clone(), vec![rests(3)]);
    });
    let (_, state) = recovered(&domain, named).expect("nothing is wrong with it");
    assert!(state.is_gone(&members[1].node) && state.is_gone(&unknown.node));
    assert_eq!(state.standing(&members[1].node), None);
    assert!(state.standing(&members[2].node).expect("it stands").suspended(later(&domain)).is_some());
    assert_eq!(state.standing(&members[2].node).expect("it stands").suspensions, 3);

    let mut unordered = gone.clone();
    unordered.reverse();
    let late = Suspend { until: later(&domain), ..rests(3) };
    let stranger = Suspend { subject: unknown.node, ..rests(3) };
    for (gone, suspended) in [
        (unordered, vec![]),
        (vec![gone[0], gone[0]], vec![]),
        (vec![], vec![rests(0)]),
        (vec![], vec![late]),
        (vec![], vec![stranger]),
        // Whoever is gone gets no seat.
        (vec![Revoke { subject: founder.node, reason: Reason::Unspecified }], vec![]),
    ] {
        let bad = recover(&domain, &seated, |r| {
            (r.gone, r.suspended) = (gone.clone(), suspended.clone());
        });
        assert!(recovered(&domain, bad).is_err(), "{gone:?} {suspended:?}");
    }
}
