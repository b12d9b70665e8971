//! Taking the seat, and coming back to it (SPEC 8.14).

use std::collections::{BTreeMap, BTreeSet};

use super::ballot::{BallotKind, Message, Vote};
use super::engine::{Agreement, Conduct, Head, Parked, Timers, Turn};
use super::journal::{Journal, JournalRecord};
use super::seam::{Config, Ledger, Output, Signer, Value, Voter};
use super::tally::Round;
use crate::limits;
use crate::time::Timestamp;

/// What the first input has to do, since a start has no outputs and no ledger.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Begin<B> {
    /// Create the journal.
    Fresh,
    /// Hand the ledger these blocks.
    Intact(Vec<B>),
    /// Tell that the journal is lost. `record`: and write it down.
    Lost { why: String, record: bool },
}

impl<B: Value, V: Voter, P: Value> Agreement<B, V, P> {
    /// Takes the seat with what its journal holds. The first input, best a tick at once, does what the start itself cannot.
    ///
    /// # Panics
    /// If `config` names no possible table: no voters or too many, a repeated one, ourselves not among them, a quorum of none, or of
    /// more than all.
    pub fn start(config: Config<V>, journal: Journal<B, V, P>, now: Timestamp) -> Self {
        let distinct: BTreeSet<V> = config.voters.iter().copied().collect();
        assert!(distinct.len() == config.voters.len(), "a voter sits twice");
        assert!(distinct.len() <= limits::ENDORSERS_MAX, "more voters than limits.rs allows");
        assert!(distinct.contains(&config.me), "we have no seat");
        assert!((1..=distinct.len()).contains(&config.quorum), "no quorum can be had");
        let unanswered = distinct.into_iter().filter(|voter| *voter != config.me).collect();
        let head = Head {
            iteration: 0,
            block: config.genesis,
            delivered: true,
            height: config.genesis_height,
            ends_epoch: false,
        };
        let mut this = Agreement {
            config,
            rounds: BTreeMap::new(),
            iteration: 1,
            head,
            known: BTreeMap::new(),
            parked: BTreeMap::new(),
            journalled: BTreeSet::new(),
            floor: 0,
            conduct: Conduct::Votes,
            timers: Timers { deadline: Some(now), ..Timers::default() },
            newest: BTreeMap::new(),
            unanswered,
            asked: BTreeSet::new(),
            asked_blocks: BTreeSet::new(),
            answered: BTreeMap::new(),
            begin: None,
            #[cfg(test)]
            planted: None,
        };
        let begin = match journal {
            Journal::Fresh => Begin::Fresh,
            Journal::Lost(why) => Begin::Lost { why, record: true },
            Journal::Intact(records) => this.restore(records),
        };
        if matches!(begin, Begin::Lost { .. }) {
            this.conduct = Conduct::JournalLost;
        }
        this.begin = Some(begin);
        this
    }

    /// Takes the records in. What they say of other seats, or against one another, makes the journal a lost one.
    fn restore(&mut self, records: Vec<JournalRecord<B, V, P>>) -> Begin<B> {
        let Config { domain, epoch, me, .. } = self.config;
        let mut is_ours = false;
        let mut lost: Option<Begin<B>> = None;
        let mut lose = |why: &str, record: bool| {
            lost.get_or_insert(Begin::Lost { why: why.into(), record });
        };
        let mut blocks = Vec::new();
        let mut own = Vec::new();
        for record in records {
            self.journalled.insert(record.key());
            match record {
                JournalRecord::Seat { domain: theirs, epoch: of, voter } => {
                    is_ours = (theirs, of, voter) == (domain, epoch, me);
                    if !is_ours {
                        lose("the journal is of another domain, epoch or voter", true);
                    }
                }
                JournalRecord::Lost { why } => lose(&why, false),
                JournalRecord::Block { iteration: _, block } => blocks.push(block),
                JournalRecord::Certificate(certificate) => {
                    if self.config.check_certificate(&certificate).is_err() {
                        lose("the journal holds a certificate that is none", true);
                        continue;
                    }
                    let ballot = certificate.ballot;
                    let round: &mut Round<V, P> = self.rounds.entry(ballot.iteration).or_default();
                    for (voter, proof) in certificate.votes.iter().filter(|(voter, _)| *voter != me) {
                        round.take(&Vote { ballot, voter: *voter, proof: proof.clone() });
                    }
                    self.iteration = self.iteration.max(ballot.iteration + 1);
                    if ballot.kind == BallotKind::Finalise && ballot.iteration > self.head.iteration {
                        let (iteration, block) = (ballot.iteration, ballot.block);
                        self.head = Head { iteration, block, delivered: false, ..self.head };
                    }
                    round.put_certificate(certificate);
                }
                JournalRecord::Ballot(vote) => {
                    let fits = vote.voter == me && self.config.check_ballot(&vote.ballot).is_ok();
                    let round = self.rounds.entry(vote.ballot.iteration).or_default();
                    if !fits || round.take(&vote).is_some() {
                        lose("the journal holds a ballot that does not belong there", true);
                    }
                    own.push(vote);
                }
            }
        }
        if !is_ours {
            lose("the journal is missing, or its beginning is", true);
        }
        // Rule 8.9: a ballot lies behind the certificate by which its iteration was entered.
        if own.iter().any(|vote| vote.ballot.iteration > self.iteration) {
            lose("the journal holds a ballot without the certificate that it rests on", true);
        }
        // Rule 8.14: our ballots in certificates count as shown.
        let shown: Vec<_> = self.rounds.values().flat_map(Round::certificates).cloned().collect();
        for certificate in shown {
            let ballot = certificate.ballot;
            let signed = certificate.votes.iter().any(|(voter, _)| *voter == me);
            if signed
                && ballot.iteration >= self.head.iteration
                && self.mine(ballot.iteration, ballot.kind) != Some(ballot.block)
            {
                lose("a certificate in the journal has a ballot of ours that the journal lacks", true);
            }
        }
        self.rounds = self.rounds.split_off(&self.head.iteration);
        lost.unwrap_or(Begin::Intact(blocks))
    }

    pub(super) fn begin<L: Ledger<Block = B>, S: Signer<P> + ?Sized>(
        &mut self,
        begin: Begin<B>,
        turn: &mut Turn<'_, L, S, V, P>,
    ) {
        let is_fresh = begin == Begin::Fresh;
        match begin {
            Begin::Fresh => {
                let Config { domain, epoch, me, .. } = self.config;
                self.persist(JournalRecord::Seat { domain, epoch, voter: me }, turn.out);
            }
            Begin::Intact(blocks) => {
                self.misread();
                for block in blocks {
                    let (parent, height) = (turn.ledger.parent(&block), turn.ledger.height(&block));
                    let id = turn.ledger.id(&block);
                    self.parked.insert(id, Parked { from: self.config.me, parent, height, block });
                }
                turn.ledger_grew = true;
                self.adopt(turn);
                self.deliver(turn);
                self.complete(turn.out);
            }
            Begin::Lost { why, record } => {
                if record {
                    self.persist(JournalRecord::Lost { why: why.clone() }, turn.out);
                }
                turn.out.push(Output::Lost { why });
            }
        }
        self.broadcast(Message::AskNewest { epoch: self.config.epoch }, turn.out);
        if !is_fresh {
            // Whether what was stored was also sent is not known.
            self.resend(turn.ledger, turn.out);
        }
    }

    /// What our own ballots make certain by themselves, if power was lost between the two: where one is a quorum, nobody else will say
    /// anything that completes them.
    fn complete(&mut self, out: &mut Vec<Output<B, V, P>>) {
        let quorum = self.config.quorum;
        let completed = |round: &Round<V, P>, iteration, kind| {
            let block = round.said(kind, self.config.me)?;
            round.completed_by(self.ballot(iteration, kind, block), quorum)
        };
        let certificates: Vec<_> = self
            .rounds
            .iter()
            .flat_map(|(iteration, round)| {
                [BallotKind::Vote, BallotKind::Dummy, BallotKind::Finalise]
                    .into_iter()
                    .filter_map(move |kind| completed(round, *iteration, kind))
            })
            .collect();
        for certificate in certificates {
            self.learn(certificate, true, out);
        }
    }
}
