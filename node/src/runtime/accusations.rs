//! Accusations and convictions, in words: for `log` and `why`.

use frith_protocol::agreement::{Ballot, BallotKind};
use frith_protocol::state::{Accuse, Contradiction, ConvictedKey, Conviction};

pub(super) fn conviction_words(conviction: &Conviction) -> String {
    let (ConvictedKey::Voting(key), height) = (&conviction.key, conviction.height);
    format!(
        "Convicted at height {height}: its voting key {} contradicted itself, which nobody had to endorse. It has no rights, but for its \
         vote, until the charter is amended without it, or with a fresh voting key of its own.",
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
