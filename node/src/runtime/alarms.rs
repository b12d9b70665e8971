//! What an operator should know, and do: alarms in words.

use frith_protocol::door::Alarm;
use frith_protocol::state::ConvictedKey;

pub(super) fn gone_in_words(height: Option<u64>) -> String {
    let at = height.map_or_else(String::new, |height| format!(" at height {height}"));
    format!(
        "this node was revoked{at}, for good: no peer speaks to it any more, and it does nothing but answer here; to join again takes \
         a new identity (`frith join` in another directory)"
    )
}

/// What an operator should know, and do.
pub(super) fn in_words(alarm: &Alarm) -> String {
    match alarm {
        Alarm::Forked { height, ours, theirs } => format!(
            "two final blocks contradict each other at height {height} ({ours:?} here, {theirs:?} elsewhere): more than f \
             endorsers lie; this node grants nothing more; compare `frith log` with the other operators"
        ),
        Alarm::DoesNotExecute { height, why } => format!(
            "the final block at height {height} does not execute here: {why}; this node answers «stale» from now on; compare \
             versions with the other operators"
        ),
        Alarm::JournalLost { why } => format!(
            "this endorser's journal is lost ({why}): it signs nothing more, so that it cannot contradict itself; the others go on \
             as long as a quorum is left; the next `frith amend` that it endorses gives it a fresh voting key"
        ),
        Alarm::Contradiction { key, iteration } => format!(
            "an endorser contradicted itself in iteration {iteration}: voting key {key}; the proof is on its way into the log, and \
             nobody need do anything for that"
        ),
        Alarm::Convicted { node, key: ConvictedKey::Voting(key), height } => format!(
            "endorser {node} is convicted at height {height}: its voting key {key} contradicted itself; it keeps its vote and \
             nothing else; find out what happened on that machine, then `frith amend` without it, or with a fresh voting key of its \
             own (node/README.md, «An endorser is convicted»)"
        ),
        Alarm::Convicted { node, key: ConvictedKey::Identity(key), height } => format!(
            "{node} is convicted at height {height}: its key {key} signed two holds for one slot; its rights rest until it rotates \
             (`frith rotate` there); first find out who has that key (node/README.md, «An endorser is convicted»)"
        ),
        Alarm::RotatedTwice { node, sequence } => format!(
            "{node} rotated twice as number {sequence}: its keys have two owners; the proof is on its way into the log, and it will \
             be gone for good: let its owner join anew"
        ),
        Alarm::HoldsContradict { node, day, slot } => format!(
            "{node} gave slot {slot} of day {day} to two holds that differ, so neither counts: it lies, or runs twice, or was restored \
             from a backup; the proof is on its way into the log, and its rights rest from then on until it rotates"
        ),
        Alarm::RecoveryShown { height, block } => format!(
            "the recovery quorum has signed that the log goes on otherwise from height {height} (block {block:?}); nothing comes of \
             it while the log lives; if nobody of you signed it, its keys are in other hands: `frith amend` to others"
        ),
        Alarm::RecoveryForgets { subject } => format!(
            "a recovery that was shown forgets {subject}, who is gone or suspended here, and is not taken: draft it anew on this node \
             (`frith recover draft`)"
        ),
        Alarm::RecoveredTwice { height, ours, theirs } => format!(
            "the recovery quorum has signed two ways to go on ({ours:?} at height {height} was taken here; another is {theirs:?}): \
             whoever took the other one is in another domain from now on, and has to begin anew from an anchor of this one"
        ),
        Alarm::DroppedBranch { theirs } => format!(
            "others go on with a branch that the recovery dropped (block {theirs:?}): the domain is split; decide which of the two is \
             yours, and begin anew from an anchor of it on the nodes of the other"
        ),
        Alarm::Cloned { node } => format!(
            "two machines run {node} at once: stop one of them, for good; if you did not copy it, its key is in other hands \
             (node/README.md, «Two machines run one identity»)"
        ),
        Alarm::ClockRanBack { by_ms } => {
            format!(
                "this machine's clock ran backwards by {}; check its time service",
                crate::words::rough_span(*by_ms)
            )
        }
        Alarm::ClockFarOff { by_ms, ahead } => format!(
            "this machine's clock is {} {} the newest block; check its time service",
            crate::words::rough_span(*by_ms),
            if *ahead { "ahead of" } else { "behind" }
        ),
    }
}
