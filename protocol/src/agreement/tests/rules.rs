//! SPEC 8, rule by rule: 8.1 to 8.10. The seat on the bench is seat 0 of four unless said otherwise: it leads iteration 3.

use super::bench::*;
use crate::agreement::*;
use crate::fault::Fault;
use crate::state::{BlockId, DomainId};

use BallotKind::{Dummy, Finalise, Propose, Vote as Real};

#[test]
fn one_endorser_alone_finalises_in_the_call_that_brings_the_entry() {
    let mut bench = Bench::new(1, 0);
    let out = bench.entry(0);
    assert_eq!(finals(&out).len(), 1);
    assert_eq!(bench.ledger.entries_up_to(bench.ledger.head), Some(1));
    assert!(!out.iter().any(|output| matches!(output, Output::Broadcast(_) | Output::Send { .. })));
}

#[test]
fn an_idle_leader_that_gets_an_entry_proposes_and_votes_in_that_same_call() {
    let mut bench = Bench::new(4, leader(4, 1));
    let out = bench.entry(0);
    let proposed = ballots(&out, Propose);
    assert_eq!(proposed.len(), 1);
    assert_eq!(ballots(&out, Real), [Ballot { kind: Real, ..proposed[0] }]);
}

#[test]
fn an_entry_is_final_after_three_messages_in_a_row_and_then_all_are_quiet() {
    let n = 4;
    let mut seats: Vec<Bench> = (0..n).map(|me| Bench::new(n, me)).collect();
    let first = leader(n, 1);
    let mut wave: Vec<(V, Talk)> =
        broadcasts(&seats[usize::from(first)].entry(0)).into_iter().map(|message| (first, message)).collect();
    let mut steps = 0;
    while !wave.is_empty() {
        steps += 1;
        let mut next = Vec::new();
        for (from, message) in wave {
            for me in (0..n).filter(|me| *me != from) {
                let out = seats[usize::from(me)].hear(from, message.clone());
                assert_eq!(sent_to(&out, from), []);
                next.extend(broadcasts(&out).into_iter().map(|message| (me, message)));
            }
        }
        wave = next;
        let finished = seats.iter().filter(|seat| seat.ledger.head != genesis()).count();
        assert_eq!(finished, if steps < 3 { 0 } else { 4 }, "after {steps} steps");
    }
    for seat in &mut seats {
        seat.tick();
        assert_eq!(
            seat.seat.next_deadline(),
            Some(seat.ledger.heartbeat_due()),
            "an idle seat waits for nothing else"
        );
        assert_eq!(seat.tick(), []);
    }
}

#[test]
fn rule_8_1_a_certificate_needs_a_quorum_of_distinct_voters_of_the_roster_in_order() {
    let mut bench = Bench::new(4, 0);
    let block = block_on(&bench, genesis(), 0).id();
    let good = certificate(&[1, 2, 3], 1, Real, block);
    let with_ballot = |change: fn(&mut Ballot)| {
        let mut bad = good.clone();
        change(&mut bad.ballot);
        bad
    };
    for bad in [
        certificate(&[1, 2], 1, Real, block),
        certificate(&[1, 2, 2], 1, Real, block),
        certificate(&[1, 3, 2], 1, Real, block),
        certificate(&[1, 2, 9], 1, Real, block),
        certificate(&[1, 2, 3], 1, Propose, block),
    ] {
        assert!(matches!(bench.refuses(1, Message::Certificate(bad)), Fault::BadCertificate { .. }));
    }
    let other = DomainId([8; 32]);
    let bad = Certificate { ballot: Ballot { domain: other, ..good.ballot }, ..good.clone() };
    assert_eq!(
        bench.refuses(1, Message::Certificate(bad)),
        Fault::OtherDomain { theirs: other, ours: DOMAIN }
    );
    let bad = with_ballot(|ballot| ballot.epoch = 2);
    assert!(matches!(bench.refuses(1, Message::Certificate(bad)), Fault::Unknown { .. }));
    for change in [
        (|ballot| ballot.iteration = 0) as fn(&mut Ballot),
        |ballot| ballot.iteration = u64::MAX,
        |ballot| ballot.block = BlockId::NONE,
        |ballot| ballot.kind = Dummy,
    ] {
        let bad = with_ballot(change);
        assert!(matches!(bench.refuses(1, Message::Certificate(bad)), Fault::BadBallot { .. }));
    }
    bench.hear(1, Message::Certificate(good));
    assert_eq!(bench.seat.iteration(), 2);
}

#[test]
fn rule_8_1_ballots_for_different_blocks_make_no_certificate() {
    let mut bench = Bench::new(4, 0);
    let (one, other) = (block_on(&bench, genesis(), 0).id(), block_on(&bench, genesis(), 1).id());
    bench.hear(1, said(1, 1, Real, one));
    bench.hear(2, said(2, 1, Real, other));
    bench.hear(3, said(3, 1, Finalise, one));
    assert_eq!(bench.seat.iteration(), 1);
    let out = bench.hear(3, said(3, 1, Real, one));
    assert_eq!(bench.seat.iteration(), 1, "two for one, one for the other");
    assert_eq!(out, []);
}

#[test]
fn rule_8_1_a_finality_certificate_serves_wherever_a_notarisation_does() {
    let (mut bench, block) = voted();
    bench.hear(1, Message::Certificate(certificate(&[1, 2, 3], 1, Finalise, block.id())));
    assert_eq!(bench.seat.iteration(), 2);
    let next = block_on(&bench, block.id(), 0);
    let out = bench.hear(leader(4, 2), proposal(4, 2, &next, vec![]));
    assert_eq!(ballots(&out, Real), [ballot(2, Real, next.id())]);
}

#[test]
fn rule_8_1_one_ballot_that_is_a_quorum_is_a_certificate_also_if_power_was_lost_between_the_two() {
    let mut bench = Bench::new(1, 0);
    bench.entry(0);
    let head = bench.ledger.head;
    // The vote of the first iteration was the last thing to be written.
    bench.journal.retain(|key, _| match key.slot {
        Slot::Seat | Slot::Block | Slot::Ballot(Propose | Real) => true,
        Slot::Lost | Slot::Certificate(_) | Slot::Ballot(Dummy | Finalise) => false,
    });
    bench.ledger.head = genesis();
    assert_eq!(finals(&bench.restart())[0].id(), head);
}

#[test]
fn rule_8_2_any_certificate_of_an_iteration_leads_to_the_next_from_wherever_it_is() {
    let mut bench = Bench::new(4, 1);
    let block = block_on(&bench, genesis(), 0).id();
    for (kind, block, iteration) in
        [(Dummy, BlockId::NONE, 5), (Real, block, 6), (Finalise, block, 9), (Dummy, BlockId::NONE, 4)]
    {
        let before = bench.seat.iteration();
        bench.hear(2, Message::Certificate(certificate(&[0, 2, 3], iteration, kind, block)));
        assert_eq!(bench.seat.iteration(), before.max(iteration + 1));
    }
}

#[test]
fn rule_8_3_the_leader_is_the_seat_epoch_plus_iteration_and_nobody_else_may_propose() {
    let config = Config { epoch: 6, ..config(4, 0) };
    assert_eq!([1, 2, 3, u64::MAX].map(|iteration| config.leader(iteration)), [3, 0, 1, 1]);
    let mut bench = Bench::new(4, 0);
    let block = block_on(&bench, genesis(), 0);
    let Message::Propose(theirs) = proposal(4, 1, &block, vec![]) else { unreachable!() };
    assert_eq!(bench.refuses(1, Message::Propose(theirs.clone())), Fault::NotTheLeader { iteration: 1 });
    let vote = Vote { voter: 1, proof: 1, ..theirs.vote.clone() };
    let usurped = Message::Propose(Box::new(Proposal { vote, ..*theirs }));
    assert_eq!(bench.refuses(1, usurped), Fault::NotTheLeader { iteration: 1 });
}

#[test]
fn rule_8_4_a_leader_proposes_once_in_an_iteration() {
    let mut bench = Bench::new(4, leader(4, 1));
    assert_eq!(ballots(&bench.entry(0), Propose).len(), 1);
    assert_eq!(ballots(&bench.entry(1), Propose), []);
}

#[test]
fn rule_8_4_of_two_proposals_of_a_leader_the_second_is_proof_and_gets_no_vote() {
    let (mut bench, block) = voted();
    let other = block_on(&bench, genesis(), 2);
    let out = bench.hear(leader(4, 1), proposal(4, 1, &other, vec![]));
    assert_eq!(ballots(&out, Real), []);
    let proof = contradictions(&out);
    assert_eq!(proof.len(), 1);
    assert_eq!((proof[0].0.ballot.block, proof[0].1.ballot.block), (block.id(), other.id()));
}

#[test]
fn rule_8_4_a_proposal_waits_for_the_dummies_between_and_its_leader_is_asked_for_them() {
    let mut bench = Bench::new(4, 3);
    bench.hear(1, Message::Certificate(certificate(&[0, 1, 2], 2, Dummy, BlockId::NONE)));
    bench.hear(1, said(1, 1, Dummy, BlockId::NONE));
    let block = block_on(&bench, genesis(), 0);
    let out = bench.hear(0, proposal(4, 3, &block, vec![]));
    assert_eq!(ballots(&out, Real), []);
    assert_eq!(sent_to(&out, 0), [Message::Want(Want { epoch: 1, from_iteration: 1, blocks: vec![] })]);
    let first = certificate(&[0, 1, 2], 1, Dummy, BlockId::NONE);
    let out = bench.hear(0, Message::Have(Box::new(Have { certificates: vec![first], blocks: vec![] })));
    assert_eq!(ballots(&out, Real), [ballot(3, Real, block.id())]);
}

#[test]
fn rule_8_4_a_proposal_brings_its_grounds_along() {
    let dummies =
        |voters| [1, 2].map(|iteration| certificate(voters, iteration, Dummy, BlockId::NONE)).to_vec();
    let mut leading = Bench::new(4, 0);
    for ground in dummies(&[1, 2, 3]) {
        leading.hear(1, Message::Certificate(ground));
    }
    let sent = broadcasts(&leading.entry(0)).into_iter().find_map(|message| {
        if let Message::Propose(proposal) = message { Some(proposal.grounds) } else { None }
    });
    assert_eq!(sent, Some(dummies(&[1, 2, 3])));

    let mut bench = Bench::new(4, 3);
    let block = block_on(&bench, genesis(), 0);
    let out = bench.hear(0, proposal(4, 3, &block, dummies(&[0, 1, 2])));
    assert_eq!(ballots(&out, Real), [ballot(3, Real, block.id())]);
}

#[test]
fn rule_8_4_a_proposal_that_skips_a_notarised_block_gets_no_vote() {
    let (mut bench, _) = notarised();
    let beside = block_on(&bench, genesis(), 2);
    let out = bench.hear(leader(4, 2), proposal(4, 2, &beside, vec![]));
    assert_eq!(ballots(&out, Real), []);
}

#[test]
fn rule_8_4_where_a_block_was_notarised_and_a_dummy_too_a_proposal_may_stand_on_either_side() {
    for skips in [false, true] {
        let (mut bench, block) = notarised();
        bench.hear(1, Message::Certificate(certificate(&[1, 2, 3], 1, Dummy, BlockId::NONE)));
        let parent = if skips { genesis() } else { block.id() };
        let next = block_on(&bench, parent, 2);
        let out = bench.hear(leader(4, 2), proposal(4, 2, &next, vec![]));
        assert_eq!(ballots(&out, Real), [ballot(2, Real, next.id())]);
    }
}

#[test]
fn rule_8_4_a_leader_stands_on_the_newest_notarised_block_that_is_here() {
    let block = block_on(&Bench::new(4, 3), genesis(), 1);
    for body_is_here in [true, false] {
        let mut bench = Bench::new(4, 3);
        if body_is_here {
            bench.hear(leader(4, 1), proposal(4, 1, &block, vec![]));
        }
        bench.hear(1, Message::Certificate(certificate(&[0, 1, 2], 1, Dummy, BlockId::NONE)));
        bench.hear(1, Message::Certificate(certificate(&[0, 1, 2], 1, Real, block.id())));
        let out = bench.entry(5);
        let proposed = ballots(&out, Propose);
        assert_eq!(proposed.len(), 1);
        let parent = bench.ledger.blocks[&proposed[0].block].0.parent;
        assert_eq!(parent, if body_is_here { block.id() } else { genesis() });
    }
}

#[test]
fn rule_8_5_a_leader_proposes_on_an_unfinal_tip_after_half_the_time_out() {
    let mut bench = Bench::new(4, leader(4, 2));
    let block = block_on(&bench, genesis(), 0);
    bench.hear(leader(4, 1), proposal(4, 1, &block, vec![]));
    let out = bench.hear(0, Message::Certificate(certificate(&[0, 1, 2], 1, Real, block.id())));
    assert_eq!(ballots(&out, Propose), []);
    assert_eq!(bench.seat.next_deadline(), Some(bench.now.plus(FIRST_TIMEOUT_MS / 2)));
    let out = bench.next_tick();
    assert_eq!(ballots(&out, Propose).len(), 1);
}

#[test]
fn rule_8_5_a_leader_proposes_a_waiting_entry_on_an_unfinal_tip_at_once() {
    let mut bench = Bench::new(4, leader(4, 2));
    let block = block_on(&bench, genesis(), 0);
    bench.hear(leader(4, 1), proposal(4, 1, &block, vec![]));
    bench.ledger.waiting = 1;
    let out = bench.hear(0, Message::Certificate(certificate(&[0, 1, 2], 1, Real, block.id())));
    assert_eq!(ballots(&out, Propose).len(), 1);
}

#[test]
fn rule_8_5_a_heartbeat_waits_for_a_final_tip() {
    let mut bench = Bench::new(4, leader(4, 2));
    let block = block_on(&bench, genesis(), 0);
    bench.hear(leader(4, 1), proposal(4, 1, &block, vec![]));
    bench.now = bench.ledger.heartbeat_due();
    let out = bench.hear(0, Message::Certificate(certificate(&[0, 1, 2], 1, Real, block.id())));
    assert_eq!(ballots(&out, Propose), []);
}

#[test]
fn rule_8_5_a_leader_that_gave_up_does_not_propose() {
    let mut bench = Bench::new(4, leader(4, 1));
    bench.hear(1, said(1, 1, Dummy, BlockId::NONE));
    bench.hear(3, said(3, 1, Dummy, BlockId::NONE));
    // The two make work; with our own dummy the iteration would end, so theirs must not count towards that here.
    let out = bench.next_tick();
    assert_eq!(ballots(&out, Dummy), [ballot(1, Dummy, BlockId::NONE)]);
    assert_eq!(bench.seat.iteration(), 2);
    let mut bench = Bench::new(7, leader(7, 1));
    for peer in [3, 4, 5] {
        bench.hear(peer, said(peer, 1, Dummy, BlockId::NONE));
    }
    bench.next_tick();
    assert_eq!(bench.seat.iteration(), 1);
    assert_eq!(ballots(&bench.entry(0), Propose), []);
}

#[test]
fn rule_8_6_an_invalid_block_is_refused_and_a_valid_one_may_still_come() {
    let mut bench = Bench::new(4, 0);
    let good = block_on(&bench, genesis(), 1);
    let bad = Tiny { body_is_good: false, ..good.clone() };
    assert!(matches!(bench.refuses(leader(4, 1), proposal(4, 1, &bad, vec![])), Fault::BadBlock { .. }));
    let out = bench.hear(leader(4, 1), proposal(4, 1, &good, vec![]));
    assert_eq!(ballots(&out, Real), [ballot(1, Real, good.id())]);
}

#[test]
fn rule_8_6_a_proposal_ahead_of_our_clock_is_voted_for_when_the_clock_has_come_near() {
    let mut bench = Bench::new(4, 0);
    let time = bench.now.plus(SKEW_MS + 100);
    let early = bench.ledger.child(genesis(), time, 0);
    let out = bench.hear(leader(4, 1), proposal(4, 1, &early, vec![]));
    assert_eq!(ballots(&out, Real), []);
    assert_eq!(bench.seat.next_deadline(), Some(bench.now.plus(100)));
    assert_eq!(ballots(&bench.next_tick(), Real), [ballot(1, Real, early.id())]);
}

#[test]
fn rule_8_6_no_vote_follows_a_dummy_and_no_vote_is_cast_outside_the_current_iteration() {
    let mut bench = Bench::new(4, 0);
    bench.entry(0);
    assert_eq!(ballots(&bench.next_tick(), Dummy).len(), 1);
    let block = block_on(&bench, genesis(), 1);
    assert_eq!(ballots(&bench.hear(leader(4, 1), proposal(4, 1, &block, vec![])), Real), []);

    let mut bench = Bench::new(4, 0);
    bench.hear(1, Message::Certificate(certificate(&[1, 2, 3], 1, Dummy, BlockId::NONE)));
    let late = bench.hear(leader(4, 1), proposal(4, 1, &block, vec![]));
    assert_eq!(ballots(&late, Real), []);
    let early = block_on(&bench, genesis(), 2);
    let out = bench.hear(leader(4, 4), proposal(4, 4, &early, vec![]));
    assert_eq!(ballots(&out, Real), []);
}

#[test]
fn rule_8_6_a_proposal_that_came_early_is_voted_for_once_its_iteration_is_entered() {
    let mut bench = Bench::new(4, 0);
    let block = block_on(&bench, genesis(), 0);
    bench.hear(leader(4, 2), proposal(4, 2, &block, vec![]));
    let out = bench.hear(1, Message::Certificate(certificate(&[1, 2, 3], 1, Dummy, BlockId::NONE)));
    assert_eq!(ballots(&out, Real), [ballot(2, Real, block.id())]);
}

#[test]
fn rule_8_6_a_proposal_is_voted_for_when_its_parent_comes_after_it() {
    let mut bench = Bench::new(4, 0);
    let parent = block_on(&bench, genesis(), 1);
    let child =
        Tiny { parent: parent.id(), height: 2, time: parent.time.plus(1), entries: 2, body_is_good: true };
    let ground = certificate(&[1, 2, 3], 1, Real, parent.id());
    let out = bench.hear(leader(4, 2), proposal(4, 2, &child, vec![ground]));
    assert_eq!(ballots(&out, Real), []);
    let want = Want { epoch: 1, from_iteration: 0, blocks: vec![parent.id()] };
    assert_eq!(sent_to(&out, leader(4, 2)), [Message::Want(want)]);
    let out = bench.hear(3, Message::Have(Box::new(Have { certificates: vec![], blocks: vec![parent] })));
    assert_eq!(ballots(&out, Real), [ballot(2, Real, child.id())]);
}

#[test]
fn rule_8_7_an_endorser_gives_up_once_on_the_time_out_and_also_after_a_vote() {
    let (mut bench, _) = voted();
    assert_eq!(bench.seat.next_deadline(), Some(bench.now.plus(FIRST_TIMEOUT_MS)));
    assert_eq!(ballots(&bench.next_tick(), Dummy), [ballot(1, Dummy, BlockId::NONE)]);
    assert!(
        !bench
            .journal
            .values()
            .any(|record| matches!(record, JournalRecord::Ballot(vote) if vote.ballot.kind == Finalise))
    );
    let signed = bench.journal.len();
    bench.next_tick();
    assert_eq!(bench.journal.len(), signed, "a second time-out signs nothing new");
}

#[test]
fn rule_8_7_a_dummy_never_follows_a_finalise() {
    let (mut bench, _) = notarised();
    for _ in 0..5 {
        let out = bench.next_tick();
        assert!(!ballots(&out, Dummy).contains(&ballot(1, Dummy, BlockId::NONE)));
    }
}

#[test]
fn rule_8_8_a_finalise_never_follows_a_dummy() {
    let (mut bench, block) = voted();
    bench.next_tick();
    let out = bench.hear(1, Message::Certificate(certificate(&[1, 2, 3], 1, Real, block.id())));
    assert_eq!(bench.seat.iteration(), 2);
    assert_eq!(ballots(&out, Finalise), []);
}

#[test]
fn rule_8_8_a_finalise_needs_no_vote_and_no_body_and_comes_once() {
    let mut bench = Bench::new(4, 1);
    let block = block_on(&bench, genesis(), 0).id();
    let notarisation = Message::Certificate(certificate(&[0, 2, 3], 1, Real, block));
    let out = bench.hear(2, notarisation.clone());
    assert_eq!(ballots(&out, Finalise), [ballot(1, Finalise, block)]);
    assert_eq!(ballots(&bench.hear(3, notarisation), Finalise), []);
}

#[test]
fn rule_8_8_a_finalise_also_comes_after_the_iteration_was_left() {
    let mut bench = Bench::new(4, 1);
    let block = block_on(&bench, genesis(), 0).id();
    bench.hear(2, Message::Certificate(certificate(&[0, 2, 3], 1, Dummy, BlockId::NONE)));
    let out = bench.hear(2, Message::Certificate(certificate(&[0, 2, 3], 1, Real, block)));
    assert_eq!(bench.seat.iteration(), 2);
    assert_eq!(ballots(&out, Finalise), [ballot(1, Finalise, block)]);
}

#[test]
fn rule_8_8_no_finalise_for_another_block_than_the_one_voted_for_or_proposed() {
    let (mut bench, _) = voted();
    let other = block_on(&bench, genesis(), 2).id();
    let out = bench.hear(1, Message::Certificate(certificate(&[1, 2, 3], 1, Real, other)));
    assert_eq!(ballots(&out, Finalise), []);

    let mut leading = Bench::new(4, leader(4, 1));
    // A leader whose clock lags votes for its own block at once: so hold back the vote by the block's time.
    leading.entry(0);
    let out = leading.hear(1, Message::Certificate(certificate(&[0, 1, 3], 1, Real, other)));
    assert_eq!(ballots(&out, Finalise), []);
}

#[test]
fn rule_8_9_what_a_ballot_rests_on_is_pushed_before_it() {
    let mut bench = Bench::new(4, 3);
    let block = block_on(&bench, genesis(), 0);
    let grounds: Vec<_> =
        [1, 2].map(|iteration| certificate(&[0, 1, 2], iteration, Dummy, BlockId::NONE)).to_vec();
    let out = bench.hear(0, proposal(4, 3, &block, grounds.clone()));
    let sent = out
        .iter()
        .position(|output| *output == Output::Broadcast(said(3, 3, Real, block.id())))
        .expect("no vote");
    let mut needed: Vec<Entry> = grounds.into_iter().map(JournalRecord::Certificate).collect();
    needed.push(JournalRecord::Block { iteration: 3, block: block.clone() });
    needed.push(JournalRecord::Ballot(vote(3, 3, Real, block.id())));
    for record in needed {
        assert!(out[..sent].contains(&Output::Persist(record.clone())), "sent before {record:?}");
    }
}

#[test]
fn rule_8_9_a_body_that_lost_its_ballot_with_the_power_gives_way_to_the_one_that_is_named() {
    let me = leader(4, 1);
    let mut bench = Bench::new(4, me);
    let unnamed = block_on(&bench, genesis(), 2);
    let record = JournalRecord::Block { iteration: 1, block: unnamed };
    bench.journal.insert(record.key(), record.clone());
    bench.restart();
    let proposed = ballots(&bench.entry(0), Propose);
    let kept = &bench.journal[&record.key()];
    assert!(
        matches!(kept, JournalRecord::Block { block, .. } if block.id() == proposed[0].block),
        "{kept:?}"
    );
}

#[test]
fn rule_8_10_an_idle_endorser_waits_for_nothing_but_the_heartbeat() {
    let mut bench = Bench::new(4, 0);
    assert_eq!(bench.seat.next_deadline(), Some(bench.ledger.heartbeat_due()));
    bench.now = bench.now.plus(HEARTBEAT_MS / 2);
    assert_eq!(bench.tick(), []);
    let out = bench.entry(0);
    assert_eq!(out, [], "seat 0 does not lead");
    assert_eq!(bench.seat.next_deadline(), Some(bench.now.plus(FIRST_TIMEOUT_MS)));
    bench.ledger.waiting = 0;
    bench.handle(Input::WorkChanged);
    assert_eq!(bench.seat.next_deadline(), Some(bench.ledger.heartbeat_due()), "the entry has gone");
}

#[test]
fn rule_8_10_the_time_out_doubles_for_each_iteration_since_the_final_block_but_the_first_up_to_the_cap() {
    let mut bench = Bench::new(4, 1);
    bench.entry(0);
    let mut timeouts = Vec::new();
    for iteration in 1..=7 {
        bench.handle(Input::WorkChanged);
        let entered = bench.now;
        // Seat 1 leads iteration 4 and proposes there at once; nobody answers.
        bench.next_tick();
        timeouts.push(bench.now.since(entered));
        bench.hear(2, Message::Certificate(certificate(&[0, 2, 3], iteration, Dummy, BlockId::NONE)));
    }
    assert_eq!(timeouts, [1_000, 1_000, 2_000, 4_000, 8_000, 8_000, 8_000]);
}

#[test]
fn rule_8_10_as_many_dummies_as_must_hold_an_honest_one_are_work() {
    let mut bench = Bench::new(4, 0);
    bench.hear(1, said(1, 1, Dummy, BlockId::NONE));
    assert_eq!(bench.seat.next_deadline(), Some(bench.ledger.heartbeat_due()), "one alone may lie");
    bench.hear(2, said(2, 1, Dummy, BlockId::NONE));
    assert_eq!(bench.seat.next_deadline(), Some(bench.now.plus(FIRST_TIMEOUT_MS)));
    assert_eq!(ballots(&bench.next_tick(), Dummy).len(), 1);
    assert_eq!(bench.seat.iteration(), 2);
}
