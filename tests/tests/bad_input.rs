//! Bad input through the core's door: each is refused by name, changes nothing, and nothing is lost.
//!
//! | input | tested |
//! |---|---|
//! | a ticket mistyped, truncated | `protocol/src/joining/printed.rs`, rule 5.3 |
//! | a ticket expired, of another domain, asking for more roles | here |
//! | a ticket spent; two identities racing with one | `protocol/tests/door`, rule 4.6; `protocol/tests/state/admissions.rs` |
//! | a charter that cannot be safe | `protocol/tests/state/charters.rs`; `model_edges.rs` here, at random |
//! | one endorsement short, the same endorser twice, an endorser of another domain | here, handed in; `model.rs` here, at random |
//! | a statement for another domain or number | likewise |
//! | a block with a wrong root, parent, time or leader, by a lying endorser | here; `protocol/tests/state/blocks.rs`; `model.rs`, at random |
//! | a flipped bit in every message | `protocol/tests/state/wire.rs` for bytes and signatures; here for what still holds then |
//! | trailing bytes, oversized, deeply nested, absurd lengths | `protocol/tests/state/bytes.rs`, `wire.rs` |
//! | unknown version | `protocol/tests/state/bytes.rs`, rule 1.7; answered by the node: `node/tests/net.rs` |
//! | a clock far off, or running backwards | here |
//! | a store of another node, from the future, damaged; port, directory, disk | `nodes.rs` here, on real processes |

#![allow(clippy::wildcard_enum_match_arm, reason = "a test looks for one message or event among all")]

use std::collections::BTreeMap;
use std::sync::Arc;

use frith_protocol::agreement::{Ballot, BallotKind, Message as Said, Proposal, Vote};
use frith_protocol::door::{Alarm, Envelope, Error, Event, Input, Message, Phase, open_envelope};
use frith_protocol::encoding::Hash;
use frith_protocol::identity::{PublicKey, Verified};
use frith_protocol::joining::{Application, Ticket};
use frith_protocol::limits::MESSAGE_BYTES_MAX;
use frith_protocol::state::{
    Admit, Basis, Block, BlockId, DomainId, Endorsement, Entry, Grounds, Header, Kind, State, Statement,
    Subject, Window,
};
use frith_protocol::time::Timestamp;
use frith_tests::mesh::{Mesh, person_of};
use frith_tests::people::{DAY, MINUTE, Person, people};

fn settled(n: usize) -> Mesh {
    let mut mesh = Mesh::of(n);
    mesh.run(1_000);
    mesh
}

fn why_it_failed(mesh: &Mesh, newcomer: PublicKey) -> String {
    let failed = mesh.events(newcomer).iter().find_map(|event| match event {
        Event::JoinFailed { why } => Some(why.clone()),
        _ => None,
    });
    failed.unwrap_or_else(|| panic!("nobody told it: {:?}", mesh.events(newcomer)))
}

/// Joins by a ticket and must be told, in these words, why it cannot; no endorser's state changes by it.
fn refused_for(mesh: &mut Mesh, ticket: Ticket, roles: &[&str], words: &str) {
    let endorsers = mesh.endorsers();
    let roots = |mesh: &Mesh| -> Vec<Hash> {
        endorsers.iter().map(|key| mesh.core(*key).state().unwrap().root()).collect()
    };
    let before = roots(mesh);
    let roles = roles.iter().map(|role| (*role).to_owned()).collect();
    let application = Application { anchor: mesh.anchor(), ticket: Some(ticket), roles, note: String::new() };
    let newcomer = mesh.apply(&people()[10], application);
    mesh.run(MINUTE);
    let why = why_it_failed(mesh, newcomer);
    assert!(why.contains(words), "{why}");
    assert_eq!(roots(mesh), before);
    for endorser in &endorsers {
        let status = mesh.core(*endorser).status(mesh.now);
        assert_eq!((status.members, status.waiting), (4, 0), "{status:?}");
    }
}

#[test]
fn an_expired_ticket_is_refused_as_expired() {
    let mut mesh = settled(4);
    let ticket = mesh.ticket(1);
    mesh.run(DAY);
    refused_for(&mut mesh, ticket, &[], "the ticket has expired");
}

#[test]
fn a_ticket_of_another_domain_is_refused_as_such() {
    let mut other = Mesh::of(5);
    other.run(1_000);
    let ticket = other.ticket(1);
    refused_for(&mut settled(4), ticket, &[], "it is for the domain");
}

#[test]
fn a_ticket_that_is_asked_for_more_roles_than_it_gives_is_refused_and_the_role_named() {
    let mut mesh = settled(4);
    let ticket = mesh.ticket(1);
    refused_for(&mut mesh, ticket, &["operator", "server"], "does not give the role \"operator\"");
}

#[test]
fn a_ticket_whose_terms_were_changed_after_they_were_countersigned_gets_nobody_in() {
    let mut mesh = settled(4);
    let mut ticket = mesh.ticket(1);
    ticket.terms.uses = 100;
    let newcomer = mesh.join(&people()[10], Some(ticket));
    mesh.run(MINUTE);
    assert_eq!(mesh.core(newcomer).phase(), Phase::Joining);
    assert!(mesh.endorsers().iter().all(|key| mesh.core(*key).status(mesh.now).members == 4));
}

fn admission(mesh: &Mesh, person: &Person) -> Statement {
    let core = mesh.core(mesh.endorsers()[0]);
    let (head, chain) = (core.head().unwrap(), core.chain().unwrap());
    let admit = Admit {
        subject: person.inception.clone(),
        number: 1,
        roles: vec!["server".into()],
        window: Window { from: head.time, until: head.time.plus(DAY) },
        basis: Basis { height: head.height, block: chain.head_id(), time: head.time },
        grounds: Grounds::Approval,
    };
    Statement { domain: mesh.founded.domain(), kind: Kind::Admit(Box::new(admit)) }
}

fn signed(statement: Statement, by: &[&Person]) -> Entry {
    let digest = Subject::Statement(statement.clone()).digest();
    let mut endorsements: Vec<Endorsement> = by.iter().map(|person| person.endorse(&digest)).collect();
    endorsements.sort_by_key(|endorsement| endorsement.node);
    Entry { statement, endorsements }
}

/// Hands an entry to an endorser, which must change nothing; what it said, or answered.
fn handed_in(mesh: &mut Mesh, entry: Entry) -> String {
    let (stranger, endorser) = (people()[30].public(), mesh.endorsers()[0]);
    let (before, sent) = (mesh.frozen(endorser), mesh.sent.len());
    let said = mesh.tell(stranger, endorser, Message::Submit(Arc::new(entry)));
    assert_eq!(mesh.frozen(endorser).changes(&before), [""; 0]);
    let answered = mesh.sent[sent..].iter().find_map(|sent| match &*sent.message {
        Message::Refused { why, .. } => Some(why.clone()),
        _ => None,
    });
    answered.or_else(|| said.err().map(|error| error.to_string())).unwrap_or_default()
}

#[test]
fn an_entry_with_one_thing_wrong_is_refused_by_name_and_changes_nothing() {
    let mut mesh = settled(4);
    let seats: Vec<&Person> = mesh.endorsers().iter().map(person_of).collect();
    let newcomer = &people()[10];
    let good = admission(&mesh, newcomer);
    let altered = |change: &dyn Fn(&mut Admit)| {
        let mut statement = good.clone();
        if let Kind::Admit(admit) = &mut statement.kind {
            change(admit);
        }
        statement
    };

    let short = signed(good.clone(), &seats[..1]);
    assert!(handed_in(&mut mesh, short).contains("1 endorsements, and 2 are needed"));

    let mut twice = signed(good.clone(), &seats[..1]);
    twice.endorsements.push(twice.endorsements[0]);
    let why = handed_in(&mut mesh, twice);
    assert!(why.contains("misbehaved") && why.contains("out of place or repeated"), "{why}");

    let foreigner = &people()[40];
    let why = handed_in(&mut mesh, signed(good.clone(), &[seats[0], foreigner]));
    assert!(why.contains(&format!("{:?} is not an endorser", foreigner.node)), "{why}");

    let elsewhere = Statement { domain: DomainId([7; 32]), ..good.clone() };
    assert!(handed_in(&mut mesh, signed(elsewhere, &seats[..2])).contains("it is for the domain"));

    let second = altered(&|admit| admit.number = 2);
    assert!(handed_in(&mut mesh, signed(second, &seats[..2])).contains("carries number 2, and 1 is next"));

    let mut forged = signed(good.clone(), &seats[..2]);
    forged.endorsements[0].signature.bytes[5] ^= 1;
    let why = handed_in(&mut mesh, forged);
    assert!(why.contains("misbehaved") && why.contains("does not hold"), "{why}");

    let taken = altered(&|admit| {
        admit.subject = frith_protocol::identity::Inception::new(&seats[0].key, &newcomer.next.public());
    });
    assert!(handed_in(&mut mesh, signed(taken, &seats[..2])).contains("belongs to"));

    let unknown = altered(&|admit| admit.roles = vec!["king".into()]);
    assert!(handed_in(&mut mesh, signed(unknown, &seats[..2])).contains("no role \"king\""));

    // And nothing of it stands in the way of the one that is right.
    let (stranger, endorser) = (newcomer.public(), mesh.endorsers()[0]);
    mesh.tell(stranger, endorser, Message::Submit(Arc::new(signed(good, &seats[..2])))).expect("it is valid");
    mesh.run(5_000);
    assert!(mesh.endorsers().iter().all(|key| mesh.core(*key).status(mesh.now).members == 5));
}

/// A domain whose next leader does not run, and who that is; what it says is said by whoever holds its key.
fn led_by_a_liar() -> (Mesh, PublicKey, u64) {
    let mut mesh = settled(4);
    let iteration = mesh
        .sent
        .iter()
        .filter_map(|sent| match &*sent.message {
            Message::Talk(talk) => match &**talk {
                Said::Certificate(certificate) => Some(certificate.ballot.iteration + 1),
                _ => None,
            },
            _ => None,
        })
        .max()
        .unwrap_or(1);
    let seat = (mesh.founded.charter.epoch + iteration) as usize % 4;
    let liar = mesh.endorsers()[seat];
    mesh.stop(liar);
    // A heartbeat is due, and everybody waits for its leader.
    mesh.run(mesh.founded.charter.timing.heartbeat_ms - 1_000 + 100);
    (mesh, liar, iteration)
}

fn proposal(mesh: &Mesh, by: &Person, iteration: u64, block: Block) -> Message {
    let domain = mesh.founded.domain();
    let ballot = Ballot { domain, epoch: 1, iteration, kind: BallotKind::Propose, block: block.id() };
    let vote = Vote { ballot, voter: by.voting.public(), proof: by.voting.sign(&ballot.digest()) };
    Message::Talk(Arc::new(Said::Propose(Box::new(Proposal {
        vote,
        block: Arc::new(block),
        grounds: vec![],
    }))))
}

/// The votes that a proposal got, and what those who got it said.
fn votes_for(mesh: &mut Mesh, liar: PublicKey, message: &Message) -> (usize, Vec<String>) {
    let (before, mut said) = (mesh.sent.len(), Vec::new());
    let others: Vec<PublicKey> = mesh.endorsers().into_iter().filter(|key| *key != liar).collect();
    for other in others {
        let told = mesh.events(other).len();
        if let Err(error) = mesh.tell(liar, other, message.clone()) {
            said.push(error.to_string());
        }
        said.extend(mesh.events(other)[told..].iter().filter_map(|event| match event {
            Event::Misbehaved { why, .. } => Some(why.clone()),
            _ => None,
        }));
    }
    let is_vote = |message: &Message| matches!(message, Message::Talk(talk) if matches!(&**talk, Said::Ballot(vote) if vote.ballot.kind == BallotKind::Vote));
    let voters: std::collections::BTreeSet<PublicKey> =
        mesh.sent[before..].iter().filter(|sent| is_vote(&sent.message)).map(|sent| sent.from).collect();
    (voters.len(), said)
}

/// A block that the liar could rightly propose now: with one admission in it.
fn right_block(mesh: &Mesh) -> Block {
    let core = mesh.core(mesh.nodes.keys().copied().find(|key| mesh.nodes[key].core.is_some()).unwrap());
    let seats: Vec<&Person> = mesh.endorsers().iter().map(person_of).collect();
    let statement = {
        let head = core.head().unwrap();
        let admit = Admit {
            subject: people()[10].inception.clone(),
            number: 1,
            roles: vec!["server".into()],
            window: Window { from: head.time, until: head.time.plus(DAY) },
            basis: Basis { height: head.height, block: head.block, time: head.time },
            grounds: Grounds::Approval,
        };
        Statement { domain: mesh.founded.domain(), kind: Kind::Admit(Box::new(admit)) }
    };
    let entry = frith_protocol::identity::verify(
        Arc::new(signed(statement, &seats[..2])),
        &frith_tests::people::check(),
    );
    let entry: Verified<Arc<Entry>> = entry.expect("it is signed");
    let state: &State = core.state().unwrap();
    let (block, _, refused) = state.build(core.chain().unwrap().head(), mesh.now, [entry].iter());
    assert!(refused.is_empty(), "{refused:?}");
    (**block).clone()
}

#[test]
fn a_right_block_by_its_leader_gets_every_vote() {
    let (mut mesh, liar, iteration) = led_by_a_liar();
    let block = right_block(&mesh);
    let message = proposal(&mesh, person_of(&liar), iteration, block);
    assert_eq!(votes_for(&mut mesh, liar, &message), (3, vec![]));
}

#[test]
fn a_block_with_a_wrong_root_parent_or_time_gets_no_vote_and_its_proposer_is_named() {
    type Spoil = fn(&mut Header);
    let far = 40 * MINUTE;
    let cases: [(&str, Spoil, &str); 10] = [
        ("state root", |header| header.state_root.0[0] ^= 1, "state root"),
        ("spine root", |header| header.spine_root.0[0] ^= 1, "spine root"),
        ("log root", |header| header.log_root.0[0] ^= 1, "log root"),
        ("entries root", |header| header.entries_root.0[0] ^= 1, "entries root"),
        ("epoch", |header| header.epoch += 1, ""),
        ("height", |header| header.height += 1, ""),
        ("previous", |header| header.previous = BlockId([4; 32]), ""),
        ("time before the parent's", |header| header.time = Timestamp(0), "time"),
        ("time too old", |header| header.time = Timestamp(1), ""),
        ("parent", |header| header.parent = BlockId([4; 32]), ""),
    ];
    for (what, spoil, words) in cases {
        let (mut mesh, liar, iteration) = led_by_a_liar();
        let mut block = right_block(&mesh);
        spoil(&mut block.header);
        let roots: Vec<_> =
            mesh.nodes.values().filter_map(|node| Some(node.core.as_ref()?.state()?.root())).collect();
        let message = proposal(&mesh, person_of(&liar), iteration, block);
        let (votes, said) = votes_for(&mut mesh, liar, &message);
        assert_eq!(votes, 0, "wrong {what}: {said:?}");
        if !words.is_empty() {
            assert!(said.len() == 3 && said.iter().all(|why| why.contains(words)), "wrong {what}: {said:?}");
        }
        let after: Vec<_> =
            mesh.nodes.values().filter_map(|node| Some(node.core.as_ref()?.state()?.root())).collect();
        assert_eq!(after, roots, "wrong {what}");
        // The others go on without it.
        mesh.run(far);
        let heads: Vec<u64> =
            mesh.nodes.values().filter_map(|node| Some(node.core.as_ref()?.head()?.height)).collect();
        assert!(heads.iter().all(|height| *height > 10), "wrong {what}: {heads:?}");
    }
}

#[test]
fn a_block_from_the_future_gets_no_vote_before_its_time() {
    let (mut mesh, liar, iteration) = led_by_a_liar();
    let mut block = right_block(&mesh);
    block.header.time = mesh.now.plus(10 * MINUTE);
    let message = proposal(&mesh, person_of(&liar), iteration, block);
    assert_eq!(votes_for(&mut mesh, liar, &message).0, 0);
}

#[test]
fn a_proposal_by_whoever_does_not_lead_gets_no_vote_and_says_so() {
    let (mut mesh, liar, iteration) = led_by_a_liar();
    let other = mesh.endorsers().into_iter().find(|key| *key != liar).unwrap();
    let block = right_block(&mesh);
    let message = proposal(&mesh, person_of(&other), iteration, block);
    let (votes, said) = votes_for(&mut mesh, other, &message);
    assert_eq!(votes, 0, "{said:?}");
    assert!(said.iter().any(|why| why.contains("does not lead iteration")), "{said:?}");
}

#[test]
fn no_flipped_bit_of_any_message_makes_a_core_panic_or_change_what_it_refuses_to_change() {
    let mut mesh = settled(4);
    let ticket = mesh.ticket(3);
    let member = mesh.join(&people()[10], Some(ticket));
    mesh.join(&people()[11], None);
    mesh.run(20_000);
    mesh.revoke(member);
    // The shortest message of each name, to whoever got it.
    let mut kinds: BTreeMap<String, (PublicKey, PublicKey, Vec<u8>)> = BTreeMap::new();
    let domain = mesh.founded.domain();
    for sent in &mesh.sent {
        let name = match &*sent.message {
            Message::Talk(talk) => format!("Talk {:?}", std::mem::discriminant(&**talk)),
            other => other.name().to_owned(),
        };
        let bytes = Envelope { domain, message: Arc::clone(&sent.message) }.to_bytes();
        let shortest = kinds.entry(name).or_insert((sent.from, sent.to, bytes.clone()));
        if bytes.len() < shortest.2.len() {
            *shortest = (sent.from, sent.to, bytes);
        }
    }
    assert!(kinds.len() >= 15, "{:?}", kinds.keys());
    let (mut reached, mut refused) = (0, 0);
    for (name, (from, to, bytes)) in kinds {
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let Ok((of, message)) = open_envelope(&flipped, MESSAGE_BYTES_MAX) else { continue };
            if of != domain {
                continue;
            }
            let before = mesh.frozen(to);
            let Err(error) = mesh.tell(from, to, message) else {
                reached += 1;
                continue;
            };
            refused += 1;
            assert!(!error.to_string().is_empty());
            assert_eq!(mesh.frozen(to).changes(&before), [""; 0], "{name}, bit {bit}: {error}");
        }
    }
    println!("{refused} refused, {reached} said something else");
    assert!(refused > 1_000);
    mesh.run(MINUTE);
    let heads: Vec<_> =
        mesh.endorsers().iter().map(|key| mesh.core(*key).head().unwrap().state_root).collect();
    assert!(heads.windows(2).all(|pair| pair[0] == pair[1]), "{heads:?}");
}

#[test]
fn rule_9_6_a_clock_that_runs_back_is_reported_and_not_obeyed() {
    let mut mesh = settled(4);
    mesh.run(30_000);
    let endorser = mesh.endorsers()[0];
    let before = mesh.frozen(endorser);
    let told = mesh.events(endorser).len();
    let earlier = Timestamp(mesh.now.0 - 20_000);
    mesh.input_at(endorser, earlier, Input::Tick).expect("a tick is never refused");
    mesh.input_at(endorser, earlier, Input::Tick).expect("a tick is never refused");
    let alarms: Vec<&Event> =
        mesh.events(endorser)[told..].iter().filter(|event| matches!(event, Event::Alarm(_))).collect();
    assert_eq!(alarms.len(), 1, "told once: {alarms:?}");
    assert!(matches!(alarms[0], Event::Alarm(Alarm::ClockRanBack { .. })), "{alarms:?}");
    assert_eq!(mesh.frozen(endorser).changes(&before), [""; 0]);
    mesh.run(MINUTE);
    assert!(mesh.core(endorser).head().unwrap().age_ms < 20_000);
}

#[test]
fn rule_9_5_a_clock_far_ahead_answers_stale_and_is_reported_when_a_block_comes() {
    let mut mesh = settled(4);
    mesh.run(30_000);
    let endorser = mesh.endorsers()[0];
    let node = mesh.id(endorser);
    let hour = mesh.now.plus(60 * MINUTE);
    assert!(mesh.core(endorser).effective(&node, mesh.now).is_some());
    assert!(mesh.core(endorser).effective(&node, hour).is_none(), "stale, and not valid");
    // Its clock jumps; the others' do not, and go on without its vote.
    mesh.input_at(endorser, hour, Input::Tick).expect("a tick is never refused");
    mesh.run(2 * MINUTE);
    let others: Vec<PublicKey> = mesh.endorsers()[1..].to_vec();
    assert!(others.iter().all(|key| mesh.core(*key).head().unwrap().age_ms < 30_000), "the log goes on");
    let alarmed = mesh
        .events(endorser)
        .iter()
        .any(|event| matches!(event, Event::Alarm(Alarm::ClockFarOff { .. } | Alarm::ClockRanBack { .. })));
    assert!(alarmed);
}

#[test]
fn an_unknown_domain_is_refused_by_the_router() {
    use frith_protocol::door::{Effects, Router};
    let answer = Router::new().handle(Timestamp(1), &DomainId([1; 32]), Input::Tick, &mut Effects::new());
    assert!(matches!(answer, Err(Error::Refused(_))), "{answer:?}");
}
