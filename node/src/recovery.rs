//! A domain's way back after its quorum is lost for good, or its log has forked (SPEC 4.15, 9.16 to 9.19).

use frith_protocol::state::Recover;

/// What a recovery says, in one line.
pub(crate) fn in_words(recover: &Recover) -> String {
    let seats: Vec<String> = recover.charter.endorsers.iter().map(|seat| seat.node_id().short()).collect();
    let out = match recover.gone.len() + recover.suspended.len() {
        0 => String::new(),
        out => format!(", {out} kept out"),
    };
    format!(
        "go on from height {} by recovery: epoch {}, endorsers {}, f = {}{out}",
        recover.base.height,
        recover.charter.epoch,
        seats.join(", "),
        recover.charter.faults
    )
}
