//! SPEC 5, where it takes a forged or a withheld message to see the rule.

use std::sync::Arc;

use frith_protocol::door::{Command, Event, Input, Keys, Message, Phase, Table};
use frith_protocol::encoding::{Hash, encode};
use frith_protocol::identity::PublicKey;
use frith_protocol::joining::{Answer, Draft, Retry, Shown, Ticket, Verdict, spend_digest};
use frith_protocol::limits::SPARE_ENDORSEMENTS_PER_TICKET;
use frith_protocol::state::{
    Admit, Endorsement, Entry, Grounds, Kind, Reason, Revoke, Statement, StatementId, Subject, Window,
};

use crate::mesh::{LATENCY_MS, Mesh, charter, keys};

/// Four founders of whom one may lie; three endorse an admission.
fn mesh() -> Mesh {
    let mut mesh = Mesh::found(charter(4, 1, 3));
    mesh.run(1_000);
    mesh
}

/// The admission that a newcomer would draft now.
fn admission(mesh: &Mesh, newcomer: &Keys, ticket: Option<&Ticket>) -> Statement {
    let basis = mesh.any().chain().unwrap().basis();
    let charter = &mesh.founded.charter;
    let admit = Admit {
        subject: newcomer.inception.clone(),
        number: 1,
        roles: vec!["server".into()],
        window: Window { from: basis.time, until: basis.time.plus(charter.timing.member_lifetime_ms) },
        basis,
        grounds: ticket.map_or(Grounds::Approval, |ticket| Grounds::Ticket(Box::new(ticket.terms.clone()))),
    };
    Statement { domain: mesh.founded.domain(), kind: Kind::Admit(Box::new(admit)) }
}

fn draft_by_ticket(mesh: &Mesh, newcomer: &Keys, ticket: &Ticket) -> Draft {
    let spend = spend_digest(&ticket.terms.id(), &newcomer.inception.node_id());
    let shown = Shown {
        countersignatures: ticket.countersignatures.clone(),
        spend: frith_protocol::identity::SecretKey::from_seed(ticket.secret).sign(&spend),
    };
    let statement = admission(mesh, newcomer, Some(ticket));
    Draft { statement, shown: Some(shown), note: String::new() }
}

/// The statement with the endorsements of these founders, whatever they would say to it.
fn signed(mesh: &Mesh, statement: Statement, endorsers: &[PublicKey]) -> Arc<Entry> {
    let subject = Subject::Statement(statement.clone()).digest();
    let mut endorsements: Vec<Endorsement> = endorsers
        .iter()
        .map(|key| Endorsement::sign(&subject, mesh.id(*key), 0, &mesh.nodes[key].keys.identity))
        .collect();
    endorsements.sort_by_key(|endorsement| endorsement.node);
    Arc::new(Entry { statement, endorsements })
}

/// The draft that a newcomer has sent last.
fn drafted(mesh: &Mesh, newcomer: PublicKey) -> Draft {
    let draft = mesh.sent.iter().rev().find_map(|(from, _, message)| match &**message {
        Message::AskEndorsement(draft) if *from == newcomer => Some((**draft).clone()),
        _ => None,
    });
    draft.expect("it has drafted")
}

/// The one answer among what was sent.
fn verdict(sent: &[(PublicKey, Arc<Message>)]) -> &Verdict {
    let [(_, message)] = sent else { panic!("one answer was expected: {sent:?}") };
    let Message::Answer(answer) = &**message else { panic!("an answer was expected: {message:?}") };
    &answer.verdict
}

fn is_over(mesh: &Mesh, newcomer: PublicKey) -> bool {
    mesh.nodes[&newcomer].events.iter().any(|event| matches!(event, Event::JoinFailed { .. }))
}

fn declined(statement: StatementId, retry: Retry) -> Message {
    let verdict = Verdict::Declined { why: "because".into(), retry };
    Message::Answer(Box::new(Answer { statement, verdict }))
}

fn refused(statement: StatementId, retry: Retry) -> Message {
    Message::Refused { statement, why: "because".into(), retry }
}

#[test]
fn rule_5_1_the_secret_of_a_ticket_is_printed_and_never_sent() {
    let mut mesh = mesh();
    let ticket = mesh.ticket(1);
    assert_eq!(ticket.countersignatures.len(), usize::from(mesh.founded.charter.thresholds.admit));
    let printed: Ticket = ticket.to_string().parse().expect("what was printed can be read");
    assert_eq!(printed.secret, ticket.secret);
    let key = mesh.join(10, Some(ticket.clone()));
    mesh.run(2_000);
    assert!(mesh.sent.iter().any(|(from, ..)| *from == key));
    for (_, _, message) in &mesh.sent {
        let bytes = encode(&**message);
        assert!(!bytes.windows(32).any(|window| window == ticket.secret), "{message:?}");
    }
    assert_eq!(mesh.core(key).phase(), Phase::Following);
}

#[test]
fn rule_5_1_a_ticket_that_too_few_countersigned_admits_nobody() {
    let mut mesh = mesh();
    let mut ticket = mesh.ticket(1);
    ticket.countersignatures.pop();
    let key = mesh.join(10, Some(ticket));
    mesh.run(60_000);
    assert_eq!(mesh.core(key).phase(), Phase::Joining);
}

#[test]
fn rule_5_5_an_endorser_stores_what_it_signs_and_resends_it_when_it_would_sign_no_more() {
    let mut mesh = mesh();
    let ticket = mesh.ticket(1);
    let endorser = mesh.endorsers()[0];
    let newcomer = keys(10);
    let draft = draft_by_ticket(&mesh, &newcomer, &ticket);
    let id = draft.statement.id();
    let from = newcomer.identity.public();
    let ask = |mesh: &mut Mesh| {
        let sent = mesh.tell(from, endorser, Message::AskEndorsement(Box::new(draft.clone())));
        verdict(&sent).clone()
    };
    let first = ask(&mut mesh);
    assert!(matches!(first, Verdict::Endorsed(_)), "{first:?}");
    let at = (Table::Endorsed, id.0.to_vec());
    assert!(mesh.nodes[&endorser].disk.contains_key(&at), "it is stored when it leaves");
    // The basis is too old for it now; what it has signed is signed.
    mesh.run(mesh.founded.charter.timing.basis_ms / 2 + 60_000);
    assert_eq!(ask(&mut mesh), first);
    mesh.stop(endorser);
    mesh.start(endorser);
    assert_eq!(ask(&mut mesh), first, "after a restart");
    let mut other = draft.clone();
    other.note = "another draft, on the same basis".into();
    let Kind::Admit(admit) = &mut other.statement.kind else { panic!("of an admission") };
    admit.window.until = admit.window.from.plus(3_600_000);
    let sent = mesh.tell(from, endorser, Message::AskEndorsement(Box::new(other)));
    assert!(matches!(verdict(&sent), Verdict::Declined { retry: Retry::NewerBasis, .. }), "{sent:?}");
}

#[test]
fn rule_5_9_a_refusal_that_lasts_ends_a_joining_when_f_plus_1_say_so() {
    let mut mesh = mesh();
    let newcomer = mesh.join(10, None);
    mesh.run(1_000);
    let statement = drafted(&mesh, newcomer).statement.id();
    let endorsers = mesh.endorsers();
    // One that lies may say so again and again, and anybody may who is no endorser.
    let stranger = keys(20).identity.public();
    for from in [endorsers[0], endorsers[0], stranger] {
        mesh.tell(from, newcomer, refused(statement, Retry::Never));
        assert!(!is_over(&mesh, newcomer));
    }
    mesh.tell(endorsers[1], newcomer, refused(StatementId([9; 32]), Retry::Never));
    assert!(!is_over(&mesh, newcomer), "it was of another draft");
    mesh.tell(endorsers[1], newcomer, refused(statement, Retry::Never));
    assert!(is_over(&mesh, newcomer));
}

#[test]
fn rule_5_9_a_draft_that_too_many_decline_for_good_ends_a_joining() {
    let mut mesh = mesh();
    let newcomer = mesh.join(10, None);
    mesh.run(1_000);
    let id = Hash(drafted(&mesh, newcomer).statement.id().0);
    let endorsers = mesh.endorsers();
    mesh.input(endorsers[0], Input::Command(Command::Decline(id)));
    mesh.run(1_000);
    assert!(!is_over(&mesh, newcomer), "three are left, and three are enough");
    mesh.input(endorsers[1], Input::Command(Command::Decline(id)));
    mesh.run(1_000);
    assert!(is_over(&mesh, newcomer));
}

#[test]
fn rule_5_9_what_may_be_an_endorsers_lag_ends_no_joining() {
    let mut mesh = mesh();
    let newcomer = mesh.join(10, None);
    mesh.run(1_000);
    let statement = drafted(&mesh, newcomer).statement.id();
    for endorser in mesh.endorsers() {
        mesh.tell(endorser, newcomer, declined(statement, Retry::Later));
        mesh.tell(endorser, newcomer, refused(statement, Retry::Later));
    }
    assert!(!is_over(&mesh, newcomer));
    // It goes on with the same draft: operators may still say yes to it.
    for endorser in mesh.endorsers() {
        mesh.input(endorser, Input::Command(Command::Endorse(Hash(statement.0))));
    }
    mesh.run(2_000);
    assert_eq!(mesh.core(newcomer).phase(), Phase::Following);
}

#[test]
fn rule_5_10_a_draft_stays_until_too_few_are_left_who_neither_ask_for_a_newer_basis_nor_decline() {
    for said in [
        [Retry::NewerBasis, Retry::NewerBasis],
        [Retry::Never, Retry::NewerBasis],
        [Retry::NewerBasis, Retry::Never],
    ] {
        let mut mesh = mesh();
        let newcomer = mesh.join(10, None);
        mesh.run(1_000);
        let statement = drafted(&mesh, newcomer).statement.id();
        let endorsers = mesh.endorsers();
        let asks_anew = |sent: &[(PublicKey, Arc<Message>)]| {
            sent.iter().any(|(_, message)| matches!(**message, Message::AskHead))
        };
        // One alone may lie.
        let sent = mesh.tell(endorsers[0], newcomer, declined(statement, said[0]));
        assert!(!asks_anew(&sent), "{said:?}: {sent:?}");
        let sent = mesh.tell(endorsers[1], newcomer, declined(statement, said[1]));
        assert!(asks_anew(&sent), "{said:?}: {sent:?}");
    }
}

#[test]
fn rule_5_13_an_entry_that_waits_and_has_become_invalid_gives_way_to_another() {
    let mut mesh = mesh();
    let endorsers = mesh.endorsers();
    // No block is made meanwhile.
    mesh.stop(endorsers[2]);
    mesh.stop(endorsers[3]);
    let newcomer = keys(10);
    let from = newcomer.identity.public();
    let hand_in = |mesh: &mut Mesh, hours: u64| {
        let mut statement = admission(mesh, &newcomer, None);
        let Kind::Admit(admit) = &mut statement.kind else { panic!("of an admission") };
        admit.basis.time = mesh.now;
        admit.window.until = admit.window.from.plus(hours * 3_600_000);
        let entry = signed(mesh, statement, &endorsers[..3]);
        mesh.tell(from, endorsers[0], Message::Submit(Arc::clone(&entry)));
        let accepted = |event: &Event| matches!(event, Event::Accepted { statement } if *statement == entry.statement.id());
        mesh.nodes[&endorsers[0]].events.iter().any(accepted)
    };
    let basis_ms = mesh.founded.charter.timing.basis_ms;
    assert!(hand_in(&mut mesh, 24));
    assert!(!hand_in(&mut mesh, 25), "one waits already");
    mesh.run(basis_ms / 2);
    assert!(!hand_in(&mut mesh, 26), "what waits is valid still");
    mesh.run(basis_ms / 2 + 1);
    assert!(hand_in(&mut mesh, 27), "what waits can never become valid again");
    assert_eq!(mesh.core(endorsers[0]).status(mesh.now).waiting, 1);
}

#[test]
fn rule_5_16_whoever_is_in_by_another_of_its_entries_gets_the_proof_and_no_refusal() {
    let mut mesh = mesh();
    let endorsers = mesh.endorsers();
    let newcomer = keys(10);
    let from = newcomer.identity.public();
    let entry = |mesh: &Mesh, hours: u64| {
        let mut statement = admission(mesh, &newcomer, None);
        let Kind::Admit(admit) = &mut statement.kind else { panic!("of an admission") };
        admit.window.until = admit.window.from.plus(hours * 3_600_000);
        Message::Submit(signed(mesh, statement, &endorsers[..3]))
    };
    // One endorser hears of the first, and of nothing else.
    mesh.gossip = false;
    let last = endorsers[3];
    mesh.cut.extend(endorsers[..3].iter().flat_map(|other| [(*other, last), (last, *other)]));
    let (first, second) = (entry(&mesh, 24), entry(&mesh, 25));
    mesh.tell(from, last, first);
    mesh.tell(from, endorsers[0], second);
    mesh.run(5_000);
    mesh.cut.clear();
    mesh.run(30_000);
    let told = mesh.sent.iter().filter(|(by, to, _)| (*by, *to) == (last, from));
    let told: Vec<&Message> = told.map(|(_, _, message)| &**message).collect();
    assert!(matches!(told[..], [Message::Final(_)]), "{told:?}");
}

#[test]
fn rule_5_14_for_one_ticket_an_endorser_signs_its_uses_and_a_few_more() {
    let mut mesh = mesh();
    let ticket = mesh.ticket(2);
    let endorser = mesh.endorsers()[0];
    let most = 2 + SPARE_ENDORSEMENTS_PER_TICKET as u8;
    let ask = |mesh: &mut Mesh, name: u8| {
        let newcomer = keys(name);
        let draft = draft_by_ticket(mesh, &newcomer, &ticket);
        let from = newcomer.identity.public();
        verdict(&mesh.tell(from, endorser, Message::AskEndorsement(Box::new(draft)))).clone()
    };
    for name in 10..10 + most {
        let said = ask(&mut mesh, name);
        assert!(matches!(said, Verdict::Endorsed(_)), "{name}: {said:?}");
    }
    let said = ask(&mut mesh, 10 + most);
    assert!(matches!(said, Verdict::Declined { retry: Retry::Later, .. }), "{said:?}");
    // Who has its endorsement gets it again.
    assert!(matches!(ask(&mut mesh, 10), Verdict::Endorsed(_)));
}

/// To whom `by` has handed the entry with this statement.
fn handed_to(mesh: &Mesh, by: PublicKey, statement: StatementId) -> Vec<PublicKey> {
    let handed = |(from, to, message): &(PublicKey, PublicKey, Arc<Message>)| match &**message {
        Message::Submit(entry) if *from == by && entry.statement.id() == statement => Some(*to),
        _ => None,
    };
    let mut all: Vec<PublicKey> = mesh.sent.iter().filter_map(handed).collect();
    all.sort();
    all
}

fn all_but(mesh: &Mesh, one: PublicKey) -> Vec<PublicKey> {
    let mut others: Vec<PublicKey> = mesh.endorsers().into_iter().filter(|key| *key != one).collect();
    others.sort();
    others
}

#[test]
fn rule_5_15_what_operators_made_is_handed_to_all_endorsers_at_once() {
    let mut mesh = mesh();
    let ticket = mesh.ticket(1);
    let member = mesh.join(10, Some(ticket));
    mesh.run(2_000);
    let endorsers = mesh.endorsers();
    let revoke = Revoke { subject: mesh.id(member), reason: Reason::Compromised };
    let statement = Statement { domain: mesh.founded.domain(), kind: Kind::Revoke(revoke) };
    let (id, subject) = (statement.id(), Subject::Statement(statement));
    let (digest, expires) = (subject.digest(), mesh.now.plus(60_000));
    let propose = Command::Propose { subject, note: String::new(), expires };
    mesh.input(endorsers[0], Input::Command(propose));
    mesh.run(2 * LATENCY_MS);
    // The second yes is the one that it takes.
    mesh.input(endorsers[1], Input::Command(Command::Endorse(digest)));
    assert_eq!(handed_to(&mesh, endorsers[1], id), all_but(&mesh, endorsers[1]));
}

#[test]
fn rule_5_15_what_a_newcomer_handed_in_is_handed_on_after_half_of_the_first_time_out() {
    let mut mesh = mesh();
    let endorsers = mesh.endorsers();
    let statement = admission(&mesh, &keys(10), None);
    let (id, entry) = (statement.id(), signed(&mesh, statement, &endorsers[..3]));
    // No block is made meanwhile.
    mesh.stop(endorsers[2]);
    mesh.stop(endorsers[3]);
    mesh.tell(keys(10).identity.public(), endorsers[0], Message::Submit(entry));
    let half = mesh.founded.charter.timing.first_timeout_ms / 2;
    mesh.run(half - 1);
    assert_eq!(handed_to(&mesh, endorsers[0], id), []);
    mesh.run(1);
    assert_eq!(handed_to(&mesh, endorsers[0], id), all_but(&mesh, endorsers[0]));
}

#[test]
fn rule_5_15_what_is_in_a_block_by_then_is_not_handed_on() {
    let mut mesh = mesh();
    let endorsers = mesh.endorsers();
    let statement = admission(&mesh, &keys(10), None);
    let (id, entry) = (statement.id(), signed(&mesh, statement, &endorsers[..3]));
    for endorser in &endorsers {
        mesh.tell(keys(10).identity.public(), *endorser, Message::Submit(Arc::clone(&entry)));
    }
    mesh.run(10_000);
    for endorser in &endorsers {
        assert_eq!(handed_to(&mesh, *endorser, id), []);
    }
}

#[test]
fn rule_5_16_whoever_waits_for_an_entry_gets_the_chain_that_proves_it() {
    let mut mesh = mesh();
    mesh.gossip = false;
    let endorsers = mesh.endorsers();
    let newcomer = keys(10).identity.public();
    let entry = signed(&mesh, admission(&mesh, &keys(10), None), &endorsers[..3]);
    let before = mesh.sent.len();
    mesh.tell(newcomer, endorsers[0], Message::Submit(Arc::clone(&entry)));
    mesh.run(2_000);
    let told: Vec<PublicKey> = mesh.sent[before..]
        .iter()
        .filter_map(|(from, to, message)| match &**message {
            Message::Final(chain) if *to == newcomer => {
                assert!(chain.blocks.iter().any(|block| block.entries.contains(&entry)), "{chain:?}");
                Some(*from)
            }
            _ => None,
        })
        .collect();
    assert_eq!(told, [endorsers[0]]);
}
