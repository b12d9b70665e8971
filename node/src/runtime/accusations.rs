//! Accusations and convictions, in words: for `log` and `why`.

use frith_protocol::agreement::{Ballot, BallotKind};
use frith_protocol::state::{Accuse, Contradiction, ConvictedKey, Conviction};

pub(super) fn conviction_words(conviction: &Conviction) -> String {
    let (whose, key, until) = match &conviction.key {
        ConvictedKey::Voting(key) => {
            ("voting key", key, "the charter is amended without it, or with a fresh voting key of its own")
        }
        ConvictedKey::Identity(key) => ("key", key, "it rotates that key"),
    };
    format!(
        "Convicted at height {}: its {whose} {} contradicted itself, which nobody had to endorse. It has no rights, but for its vote if \
         it has a seat, until {until}.",
        conviction.height,
        key.short()
    )
}

/// What an accusation of whoever is called `subject` says.
pub(super) fn accusation_words(accuse: &Accuse, subject: &str) -> String {
    match &accuse.contradiction {
        Contradiction::Ballots(first, second) => format!(
            "{subject} contradicted itself in iteration {} of epoch {}: it signed {} and {}",
            first.ballot.iteration,
            first.ballot.epoch,
            ballot_words(&first.ballot),
            ballot_words(&second.ballot)
        ),
        Contradiction::Rotations(first, _) => {
            format!("{subject} rotated twice as number {}: its keys have two owners", first.sequence)
        }
        Contradiction::Holds(first, second) => format!(
            "{subject} gave slot {} of day {} to two holds: of {} and of {}",
            first.slot,
            first.day(),
            first.subject.short(),
            second.subject.short()
        ),
    }
}

fn ballot_words(ballot: &Ballot) -> String {
    let block = ballot.block.short();
    match ballot.kind {
        BallotKind::Propose => format!("a proposal of {block}"),
        BallotKind::Vote => format!("a vote for {block}"),
        BallotKind::Dummy => "that it had given up".into(),
        BallotKind::Finalise => format!("that {block} is final"),
    }
}
