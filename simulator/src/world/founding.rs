//! What there is before a run begins: endorsers with real keys who found a domain, and the ticket that they sign for those who come.

use frith_protocol::door::{Keys, Record, founding_records};
use frith_protocol::fault::Fault;
use frith_protocol::identity::{Inception, PublicKey, SecretKey, Verified, verify};
use frith_protocol::joining::{Anchor, Application, Ticket};
use frith_protocol::state::{
    AdmissionPolicy, Charter, Endorsement, Founded, Header, Recovery, Role, Seat, State, Subject, Thresholds,
    TicketTerms, Timing,
};
use frith_protocol::time::Timestamp;

use super::check::Checker;
use crate::engine::{Random, Write};
use crate::scenario::{By, Script};

/// The one role of simulated members.
pub(super) const ROLE: &str = "member";

/// A domain at its beginning.
pub(super) struct Founding {
    /// Charter and signatures.
    pub(super) founded: Verified<Founded>,
    /// The genesis block.
    pub(super) genesis: Header,
    /// The endorsers' keys, in the order of their seats.
    pub(super) endorsers: Vec<Keys>,
    /// What newcomers join by.
    pub(super) application: Application,
    /// The offline keys that can recover the domain; none unless the script does.
    pub(super) recovery: Vec<SecretKey>,
    /// How many signatures all this took.
    pub(super) signatures: u64,
}

/// The key that a node rotates to from `key`. Nobody in here looks for it.
pub(super) fn next_key(key: &SecretKey) -> SecretKey {
    SecretKey::from_seed(blake3::derive_key("frith simulator next key", &key.seed()))
}

/// Keys of a new node.
///
/// It has so many voting keys: a founder needs one for its seat, and everybody one for each charter that may give it another.
pub(super) fn new_keys(random: &mut Random, voting: usize) -> Keys {
    let identity = SecretKey::from_seed(random.seed());
    let inception = Inception::new(&identity, &next_key(&identity).public());
    let voting = (0..voting).map(|_| SecretKey::from_seed(random.seed())).collect();
    Keys { inception, rotations: Vec::new(), identity, successor: None, voting }
}

/// How many charters the script makes.
pub(super) fn charters_to_come(script: &Script) -> usize {
    script.act.iter().filter(|act| act.amends() || act.recover.is_some()).count()
}

impl Founding {
    /// Founds domain number `number` as the script says.
    ///
    /// # Errors
    /// The [`Fault`] for which the charter is refused.
    pub(super) fn new(
        script: &Script,
        number: u32,
        random: &mut Random,
        checker: &Checker,
    ) -> Result<Founding, Fault> {
        let mesh = &script.mesh;
        let mut endorsers: Vec<Keys> =
            (0..mesh.endorsers).map(|_| new_keys(random, 1 + charters_to_come(script))).collect();
        endorsers.sort_by_key(|keys| keys.inception.node_id());
        let recovers = script.act.iter().any(|act| act.recover.is_some());
        let recovery: Vec<SecretKey> =
            (0..if recovers { 3 } else { 0 }).map(|_| SecretKey::from_seed(random.seed())).collect();
        let charter = charter(script, number, &endorsers, &recovery);
        let signatures = endorsers.iter().map(|keys| charter.sign_founding(&keys.identity)).collect();
        let founded = verify(Founded { charter, signatures }, checker)?;
        let (state, genesis) = State::genesis(&founded)?;
        let mut signatures = 2 * endorsers.len() as u64;

        let domain = founded.domain();
        let anchor =
            Anchor { domain, charter: state.charter_id(), epoch: 1, height: 0, addresses: Vec::new() };
        let ticket = (script.arrivals.by == By::Ticket).then(|| {
            signatures += u64::from(state.charter().thresholds.admit);
            ticket(&state, &anchor, script, &endorsers, random.seed())
        });
        let roles = if ticket.is_some() { Vec::new() } else { vec![ROLE.to_owned()] };
        let application = Application { anchor, ticket, roles, note: "simulated".into() };
        Ok(Founding { founded, genesis, endorsers, application, recovery, signatures })
    }

    /// What the empty disk of an endorser must hold.
    pub(super) fn records(&self, endorser: usize) -> Vec<Record> {
        let voting = self.endorsers[endorser].voting.first().expect("an endorser has a voting key");
        founding_records(&self.founded, &voting.public())
    }
}

/// A record that is put onto a disk by hand.
pub(super) fn by_hand(record: Record) -> Write {
    let value = record.value;
    Write { table: record.table as u8, key: record.key, value, synced: true }
}

fn charter(script: &Script, number: u32, endorsers: &[Keys], recovery: &[SecretKey]) -> Charter {
    let mut offline: Vec<PublicKey> = recovery.iter().map(SecretKey::public).collect();
    offline.sort();
    // More than half of them.
    let recovery = Recovery { threshold: offline.len().div_ceil(2) as u8, keys: offline };
    let mesh = &script.mesh;
    let (n, f) = (usize::from(mesh.endorsers), usize::from(mesh.faults));
    let quorum = u8::try_from((n + f) / 2 + 1).unwrap_or(u8::MAX);
    let least = mesh.faults.saturating_add(1);
    let admit = mesh.admit.unwrap_or_else(|| least.max(2).min(mesh.endorsers));
    let revoke = mesh.revoke.unwrap_or(least);
    let seats = endorsers.iter().map(|keys| Seat {
        inception: keys.inception.clone(),
        voting_key: keys.voting.first().expect("an endorser has a voting key").public(),
        roles: vec![ROLE.to_owned()],
    });
    let timing = &script.timing;
    Charter {
        previous: None,
        epoch: 1,
        name: format!("domain {number}"),
        written: Timestamp::ZERO,
        endorsers: seats.collect(),
        faults: mesh.faults,
        thresholds: Thresholds { admit, revoke, contain: revoke, amend: quorum },
        recovery,
        roles: vec![Role { name: ROLE.to_owned(), capabilities: Vec::new(), freshness_ms: None }],
        timing: Timing {
            heartbeat_ms: timing.heartbeat_ms,
            freshness_ms: timing.freshness_ms,
            silence_ms: timing.silence_ms,
            skew_ms: timing.skew_ms,
            first_timeout_ms: timing.first_timeout_ms,
            timeout_cap_ms: timing.timeout_cap_ms,
            member_lifetime_ms: timing.member_lifetime_ms,
            basis_ms: timing.basis_ms,
            ticket_lifetime_ms: timing.ticket_lifetime_ms,
            proposal_lifetime_ms: timing.proposal_lifetime_ms,
            hold_ms: timing.hold_ms,
        },
        admission: AdmissionPolicy { tickets: true, approval: true },
        last_day: Timestamp(u64::MAX),
    }
}

/// One ticket for everybody who comes, signed by as many endorsers as admit.
fn ticket(state: &State, anchor: &Anchor, script: &Script, endorsers: &[Keys], secret: [u8; 32]) -> Ticket {
    let charter = state.charter();
    let terms = TicketTerms {
        domain: anchor.domain,
        charter: anchor.charter,
        epoch: anchor.epoch,
        height: anchor.height,
        roles: vec![ROLE.to_owned()],
        uses: script.mesh.newcomers.max(1),
        expires: Timestamp(charter.timing.ticket_lifetime_ms),
        key: SecretKey::from_seed(secret).public(),
    };
    let digest = Subject::Ticket(terms.clone()).digest();
    let countersignatures = endorsers
        .iter()
        .take(usize::from(charter.thresholds.admit))
        .map(|keys| Endorsement::sign(&digest, keys.inception.node_id(), 0, &keys.identity))
        .collect();
    Ticket { terms, countersignatures, addresses: Vec::new(), secret }
}
