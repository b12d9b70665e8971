//! Conversations that collect endorsements: a newcomer's admission, and proposals among endorsers (SPEC 5).

mod newcomer;
mod printed;
mod proposals;
mod renewal;
mod ticket;
mod waiting;

pub use newcomer::{Application, Newcomer, Step};
pub use printed::NotPrinted;
pub use proposals::{Decision, Origin, Proposal, Proposals};
pub use renewal::Renewal;
pub use ticket::{
    Anchor, Answer, Circulated, Draft, KeyHistory, Retry, Shown, Ticket, Verdict, spend_digest,
};
pub use waiting::{Offered, Waiting};
