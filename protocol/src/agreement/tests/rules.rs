//! SPEC 8, rule by rule.

use super::bench::*;
use crate::agreement::*;

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
    assert_eq!(ballots(&out, Propose).len(), 1);
    assert_eq!(
        ballots(&out, Real),
        ballots(&out, Propose).iter().map(|b| Ballot { kind: Real, ..*b }).collect::<Vec<_>>()
    );
}

#[test]
fn four_seats_finalise_a_block_in_four_steps() {
    let n = 4;
    let mut seats: Vec<Bench> = (0..n).map(|me| Bench::new(n, me)).collect();
    let lead = usize::from(leader(n, 1));
    let mut wave: Vec<(V, Talk)> = broadcasts(lead as u8, &seats[lead].entry(0));
    let mut steps = 0;
    while seats.iter().any(|seat| seat.ledger.head == genesis()) {
        steps += 1;
        let mut next = Vec::new();
        for (from, message) in wave {
            for me in (0..n).filter(|me| *me != from) {
                let out = seats[usize::from(me)].hear(from, message.clone());
                next.extend(broadcasts(me, &out));
            }
        }
        wave = next;
        assert!(steps < 10, "nothing becomes final");
    }
    assert_eq!(steps, 3, "proposal, votes, finalises");
    let heads: Vec<_> = seats.iter().map(|seat| seat.ledger.head).collect();
    assert!(heads.windows(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(ballots(&seats[0].tick(), Dummy), []);
    assert_eq!(ballots(&seats[0].tick(), Finalise), []);
}

fn broadcasts(from: V, out: &Out) -> Vec<(V, Talk)> {
    out.iter()
        .filter_map(|output| match output {
            Output::Broadcast(message) => Some((from, message.clone())),
            _ => None,
        })
        .collect()
}
