//! A small domain in memory, for tests of the state.

use std::sync::Arc;

use frith_protocol::encoding::Hash;
use frith_protocol::fault::Fault;
use frith_protocol::identity::{
    BatchCheck, Inception, KeySequence, NodeId, PublicKey, Rotation, SecretKey, Stateless, Verified, verify,
};
use frith_protocol::state::{
    AdmissionPolicy, Admit, Amend, Basis, Block, Charter, Consent, Endorsement, Entry, Founded, Grounds,
    Header, Hold, HoldTerms, Kind, Parent, Reason, Recovery, Revoke, Role, Rotate, Seat, State, Statement,
    Subject, Terms, Thresholds, TicketTerms, Timing, Window,
};
use frith_protocol::time::Timestamp;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

/// The check that nodes use, with a fixed seed: nobody here predicts it.
pub(crate) fn check() -> BatchCheck<ChaCha20Rng> {
    BatchCheck::new(ChaCha20Rng::from_seed([7; 32]))
}

pub(crate) fn verified<T: Stateless>(value: T) -> Verified<T> {
    verify(value, &check()).expect("what this test made holds")
}

/// Whoever has keys.
#[derive(Clone)]
pub(crate) struct Person {
    pub(crate) key: SecretKey,
    pub(crate) next: SecretKey,
    pub(crate) voting: SecretKey,
    pub(crate) inception: Inception,
    pub(crate) node: NodeId,
}

impl Person {
    pub(crate) fn new(number: u32) -> Person {
        let secret = |purpose: u8| {
            let mut seed = [purpose; 32];
            seed[..4].copy_from_slice(&number.to_le_bytes());
            SecretKey::from_seed(seed)
        };
        let (key, next, voting) = (secret(1), secret(2), secret(3));
        let inception = Inception::new(&key, &next.public());
        let node = inception.node_id();
        Person { key, next, voting, inception, node }
    }

    pub(crate) fn endorse(&self, subject: &Subject) -> Endorsement {
        Endorsement::sign(&subject.digest(), self.node, 0, &self.key)
    }

    pub(crate) fn voting_key_of(&self, epoch: u64) -> SecretKey {
        let mut seed = self.node.0;
        seed[..8].copy_from_slice(&epoch.to_le_bytes());
        SecretKey::from_seed(seed)
    }

    /// Its key of that sequence, if it rotates to one of its own each time.
    pub(crate) fn key_of(&self, sequence: KeySequence) -> SecretKey {
        match sequence {
            0 => self.key.clone(),
            1 => self.next.clone(),
            later => {
                let mut seed = self.key.seed();
                seed[28..].copy_from_slice(&later.to_le_bytes());
                SecretKey::from_seed(seed)
            }
        }
    }

    /// Its rotation to the key of that sequence.
    pub(crate) fn rotation(&self, sequence: KeySequence) -> Rotation {
        let next = self.key_of(sequence + 1).public();
        Rotation::new(&self.node, sequence, &self.key_of(sequence), &next)
    }

    pub(crate) fn public(&self) -> PublicKey {
        self.key.public()
    }
}

pub(crate) const MINUTE: u64 = 60_000;
pub(crate) const DAY: u64 = 24 * 60 * MINUTE;
pub(crate) const START: Timestamp = Timestamp(1_000_000);

/// `n` founders, in the order of their seats.
pub(crate) fn founders(n: u32) -> Vec<Person> {
    let mut people: Vec<Person> = (0..n).map(Person::new).collect();
    people.sort_by_key(|person| person.node);
    people
}

/// A charter that may be founded: the most faults and the least thresholds that `n` allows.
pub(crate) fn charter(founders: &[Person]) -> Charter {
    let n = u8::try_from(founders.len()).expect("few founders");
    let faults = (n - 1) / 3;
    let quorum = (n + faults) / 2 + 1;
    let role =
        |name: &str| Role { name: name.into(), capabilities: vec!["speak".into()], freshness_ms: None };
    Charter {
        previous: None,
        epoch: 1,
        name: "test".into(),
        written: START,
        endorsers: founders
            .iter()
            .map(|p| Seat {
                inception: p.inception.clone(),
                voting_key: p.voting.public(),
                roles: vec!["node".into()],
            })
            .collect(),
        faults,
        thresholds: Thresholds {
            admit: (faults + 1).max(n.min(2)),
            revoke: faults + 1,
            contain: faults + 1,
            amend: quorum,
        },
        recovery: Recovery::default(),
        roles: vec![role("gateway"), role("node"), role("operator")],
        timing: Timing {
            heartbeat_ms: MINUTE,
            freshness_ms: 30 * MINUTE,
            silence_ms: 30 * DAY,
            skew_ms: MINUTE,
            first_timeout_ms: 1000,
            timeout_cap_ms: 30_000,
            member_lifetime_ms: 90 * DAY,
            basis_ms: 30 * MINUTE,
            ticket_lifetime_ms: 7 * DAY,
            proposal_lifetime_ms: 7 * DAY,
            hold_ms: 60 * MINUTE,
        },
        admission: AdmissionPolicy { tickets: true, approval: true },
        last_day: Timestamp(START.0 + 3650 * DAY),
    }
}

pub(crate) fn found(charter: Charter, founders: &[Person]) -> Founded {
    let signatures = founders.iter().map(|p| charter.sign_founding(&p.key)).collect();
    Founded { charter, signatures }
}

/// A domain and the head of its log.
#[derive(Clone)]
pub(crate) struct Domain {
    pub(crate) founders: Vec<Person>,
    pub(crate) founded: Verified<Founded>,
    pub(crate) state: State,
    pub(crate) head: Header,
}

impl Domain {
    pub(crate) fn new(n: u32) -> Domain {
        Domain::with(n, |_| {})
    }

    pub(crate) fn with(n: u32, change: impl FnOnce(&mut Charter)) -> Domain {
        let founders = founders(n);
        let mut charter = charter(&founders);
        change(&mut charter);
        let founded = verified(found(charter, &founders));
        let (state, head) = State::genesis(&founded).expect("the charter is sound");
        Domain { founders, founded, state, head }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.head.time.plus(1000)
    }

    /// An approved first admission with nothing wrong.
    pub(crate) fn admit(&self, person: &Person) -> Admit {
        Admit {
            subject: person.inception.clone(),
            number: self.state.standing(&person.node).map_or(0, |standing| standing.number) + 1,
            roles: vec!["node".into()],
            window: Window { from: self.head.time, until: self.head.time.plus(30 * DAY) },
            basis: Basis { height: self.head.height, block: self.head.id(), time: self.head.time },
            grounds: Grounds::Approval,
        }
    }

    pub(crate) fn terms(&self, number: u8, uses: u32) -> TicketTerms {
        TicketTerms {
            domain: self.state.domain(),
            charter: self.state.charter_id(),
            epoch: 1,
            height: self.head.height,
            roles: vec!["node".into()],
            uses,
            expires: self.head.time.plus(DAY),
            key: SecretKey::from_seed([number; 32]).public(),
        }
    }

    pub(crate) fn statement(&self, kind: Kind) -> Statement {
        Statement { domain: self.state.domain(), kind }
    }

    pub(crate) fn admission(&self, admit: Admit) -> Entry {
        self.endorsed(self.statement(Kind::Admit(Box::new(admit))))
    }

    /// The terms of a next charter: this one's, but for what `change` does.
    pub(crate) fn next_charter(&self, change: impl FnOnce(&mut Charter)) -> Terms {
        let mut charter = self.state.charter().clone();
        charter.previous = Some(self.state.charter_id());
        charter.epoch += 1;
        charter.written = self.head.time.plus(1);
        change(&mut charter);
        charter.endorsers.sort_by_key(Seat::node_id);
        Terms::of(self.state.domain(), charter)
    }

    /// With as many endorsements as it needs, and the consents of these, each with a voting key of its own for that epoch.
    pub(crate) fn amendment(&self, terms: &Terms, consenting: &[&Person]) -> Entry {
        let basis = Basis { height: self.head.height, block: self.head.id(), time: self.head.time };
        let mut consents: Vec<Consent> = consenting
            .iter()
            .map(|person| {
                let voting = person.voting_key_of(terms.charter.epoch);
                Consent::sign(&terms.id(), (person.node, 0, &person.key), &voting, basis)
            })
            .collect();
        consents.sort_by_key(|consent| consent.node);
        let amend = Amend { charter: terms.charter.clone(), consents };
        self.endorsed(self.statement(Kind::Amend(Box::new(amend))))
    }

    pub(crate) fn revocation(&self, subject: NodeId) -> Entry {
        self.endorsed(self.statement(Kind::Revoke(Revoke { subject, reason: Reason::Unspecified })))
    }

    /// With just as many endorsements as its rule asks, by the first founders who still stand.
    pub(crate) fn endorsed(&self, statement: Statement) -> Entry {
        let need = self.state.threshold_for(&Subject::Statement(statement.clone()));
        let able: Vec<&Person> =
            self.founders.iter().filter(|p| !self.state.is_gone(&p.node)).take(need).collect();
        endorsed_by(statement, &able)
    }

    /// The rotations of `subject`, by themselves.
    pub(crate) fn rotate(&self, subject: NodeId, rotations: Vec<Rotation>) -> Entry {
        let statement = self.statement(Kind::Rotate(Rotate { subject, rotations }));
        Entry { statement, endorsements: Vec::new() }
    }

    /// A minute's hold of `subject` on the newest block, with nothing wrong.
    pub(crate) fn hold(&self, by: &Person, subject: NodeId, slot: u8) -> Hold {
        let basis = Basis { height: self.head.height, block: self.head.id(), time: self.head.time };
        let (until, reason) = (basis.time.plus(MINUTE), Reason::Compromised);
        let terms = HoldTerms { domain: self.state.domain(), subject, slot, basis, until, reason };
        Hold::sign(terms, by.node, 0, &by.key)
    }

    /// For the log.
    pub(crate) fn record(&self, hold: &Hold) -> Entry {
        Entry { statement: self.statement(Kind::Hold(Box::new(*hold))), endorsements: Vec::new() }
    }

    pub(crate) fn judge(&self, entry: &Entry) -> Result<(), Fault> {
        self.judge_at(self.now(), entry)
    }

    pub(crate) fn judge_at(&self, time: Timestamp, entry: &Entry) -> Result<(), Fault> {
        self.state.judge(&self.head, time, &verified(Arc::new(entry.clone())))
    }

    /// A block with all these entries, which must be valid, and goes through `execute`.
    pub(crate) fn advance(&mut self, entries: &[Entry]) -> Verified<Arc<Block>> {
        self.advance_to(self.now(), entries)
    }

    pub(crate) fn advance_to(&mut self, time: Timestamp, entries: &[Entry]) -> Verified<Arc<Block>> {
        let waiting: Vec<_> = entries.iter().map(|e| verified(Arc::new(e.clone()))).collect();
        let (block, state, refused) = self.state.build(&self.head, time, waiting.iter());
        assert_eq!(refused, [], "an entry of this test was refused");
        assert_eq!(block.entries.len(), entries.len(), "an entry of this test found no place");
        let again = self.state.execute(Parent::of(&self.head), &verified(Arc::clone(&*block)));
        assert_eq!(again, Ok(state.clone()), "what was built does not execute to the same state");
        executes_on_a_lean_state((&self.state, &self.head), &block, &state);
        self.state = state;
        self.head = block.header.clone();
        block
    }
}

pub(crate) fn endorsed_by(statement: Statement, endorsers: &[&Person]) -> Entry {
    let subject = Subject::Statement(statement.clone());
    let mut endorsements: Vec<_> = endorsers.iter().map(|p| p.endorse(&subject)).collect();
    endorsements.sort_by_key(|e| e.node);
    Entry { statement, endorsements }
}

/// The state after the block of that header, held in part.
pub(crate) fn lean(state: &State, head: &Header) -> State {
    State::restore(state.domain(), head, &state.lean_snapshot(None)).expect("it was just made")
}

/// Whoever holds in part what was before, and is shown what the block touches, comes to the same state (SPEC 7.6).
pub(crate) fn executes_on_a_lean_state(
    (before, head): (&State, &Header),
    block: &Verified<Arc<Block>>,
    after: &State,
) {
    let held = lean(before, head);
    let missing = held.missing_for(std::iter::once(&***block));
    let paths: Vec<_> = missing.iter().filter_map(|place| before.path(place)).collect();
    let shown = held.grafted(missing.iter().zip(&paths)).expect("they were just made");
    let executed = shown.execute(Parent::of(head), block).expect("it was shown all that the block touches");
    assert_eq!(&executed, after);
    // Nobody who stands by now is left out of what it holds.
    assert_eq!(executed.lean_snapshot(None), after.lean_snapshot(None));
    match held.execute(Parent::of(head), block) {
        Ok(same) => assert_eq!(&same, after),
        Err(fault) => {
            assert!(matches!(fault, Fault::PathMissing { .. }), "{fault}");
            assert!(!missing.is_empty(), "a path was missing, and none was named");
        }
    }
}

/// A hash that means nothing.
pub(crate) fn noise(byte: u8) -> Hash {
    Hash([byte; 32])
}

/// An amendment to these terms, endorsed by just these.
pub(crate) fn endorsed_by_terms(entry: Entry, terms: &Terms, endorsers: &[&Person]) -> Entry {
    let subject = Subject::Terms(Box::new(terms.clone()));
    let mut endorsements: Vec<_> = endorsers.iter().map(|p| p.endorse(&subject)).collect();
    endorsements.sort_by_key(|e| e.node);
    Entry { endorsements, ..entry }
}
