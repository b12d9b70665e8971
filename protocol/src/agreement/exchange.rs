//! Talking with other endorsers: what is taken from them, what is asked of them and what they are answered (SPEC 8.11).

use std::collections::BTreeSet;

use super::ballot::{BallotKind, Certificate, Have, Message, Proposal, Vote, Want};
use super::engine::{Agreement, Lack, Parked, Turn};
use super::planted::Planted;
use super::seam::{Accepted, Ledger, Output, Signer, Value, Voter};
use super::tally::Round;
use crate::fault::Fault;
use crate::limits;
use crate::state::BlockId;

impl<B: Value, V: Voter, P: Value> Agreement<B, V, P> {
    /// Checks all of a message before any of it is taken. Gives the ids of the blocks in it that the ledger has accepted.
    pub(super) fn check_message<L: Ledger<Block = B>>(
        &self,
        from: V,
        message: &Message<B, V, P>,
        ledger: &mut L,
    ) -> Result<BTreeSet<BlockId>, Fault> {
        if from == self.config.me || !self.config.voters.contains(&from) {
            return Err(Fault::NotAllowed { what: "agreement" });
        }
        let same_epoch = |epoch: u64| {
            if epoch == self.config.epoch {
                Ok(())
            } else {
                Err(Fault::Unknown { what: "the epoch that it asks about" })
            }
        };
        let within = |what, count, max| {
            if count > max { Err(Fault::TooMany { what, count, max }) } else { Ok(()) }
        };
        let mut here = BTreeSet::new();
        match message {
            Message::Propose(proposal) => {
                self.check_proposal(from, proposal, ledger)?;
                if self.has_room_for(proposal) && self.accepts(&proposal.block, ledger)? {
                    here.insert(proposal.vote.ballot.block);
                }
            }
            Message::Ballot(vote) => {
                self.config.check_ballot(&vote.ballot)?;
                if vote.voter != from {
                    return Err(Fault::BadBallot { why: "it is not the sender's" });
                }
                if vote.ballot.kind == BallotKind::Propose {
                    return Err(Fault::BadBallot { why: "a proposal comes with its block" });
                }
            }
            Message::Certificate(certificate) => self.check_certificate(certificate)?,
            Message::Want(want) => {
                same_epoch(want.epoch)?;
                within("blocks that are wanted", want.blocks.len(), limits::WANTED_MAX)?;
            }
            Message::Have(have) => {
                within("certificates of an answer", have.certificates.len(), limits::WANTED_MAX)?;
                within("blocks of an answer", have.blocks.len(), limits::WANTED_MAX)?;
                have.certificates.iter().try_for_each(|certificate| self.check_certificate(certificate))?;
                let missing = self.missing_blocks();
                for block in &have.blocks {
                    let id = ledger.id(block);
                    if missing.contains(&id) && self.accepts(block, ledger)? {
                        here.insert(id);
                    }
                }
            }
            Message::AskNewest { epoch } => same_epoch(*epoch)?,
            Message::Newest(None) => {}
            Message::Newest(Some(vote)) => {
                self.config.check_ballot(&vote.ballot)?;
                if vote.voter != self.config.me {
                    return Err(Fault::BadBallot { why: "it is not ours, which was asked for" });
                }
            }
        }
        Ok(here)
    }

    fn check_proposal<L: Ledger<Block = B>>(
        &self,
        from: V,
        proposal: &Proposal<B, V, P>,
        ledger: &L,
    ) -> Result<(), Fault> {
        let Proposal { vote, block, grounds } = proposal;
        self.config.check_ballot(&vote.ballot)?;
        let iteration = vote.ballot.iteration;
        if vote.ballot.kind != BallotKind::Propose {
            return Err(Fault::BadBallot { why: "it comes with a block and does not propose it" });
        }
        if vote.voter != from || vote.voter != self.config.leader(iteration) {
            return Err(Fault::NotTheLeader { iteration });
        }
        if vote.ballot.block != ledger.id(block) {
            return Err(Fault::BadBallot { why: "it names another block than the one it comes with" });
        }
        let (count, max) = (grounds.len(), limits::WANTED_MAX);
        if count > max {
            return Err(Fault::TooMany { what: "certificates of a proposal", count, max });
        }
        if grounds.iter().any(|certificate| certificate.ballot.iteration >= iteration) {
            return Err(Fault::BadBallot { why: "it stands on certificates that are not older than it" });
        }
        grounds.iter().try_for_each(|certificate| self.check_certificate(certificate))
    }

    /// Whether the body of a proposal may cost us anything: it is the first of its iteration, and not too far from ours.
    fn has_room_for(&self, proposal: &Proposal<B, V, P>) -> bool {
        let ballot = proposal.vote.ballot;
        let is_near = ballot.iteration > self.head.iteration
            && ballot.iteration <= self.iteration.saturating_add(limits::PROPOSALS_AHEAD_MAX);
        let first = self
            .round(ballot.iteration)
            .and_then(|round| round.said(BallotKind::Propose, proposal.vote.voter));
        is_near && first.is_none_or(|first| first == ballot.block)
    }

    /// Whether the block is here, or can be by the ledger's word. The sender is to blame if it is invalid (SPEC 6.9).
    fn accepts<L: Ledger<Block = B>>(&self, block: &B, ledger: &mut L) -> Result<bool, Fault> {
        if self.is_here(ledger.id(block)) {
            return Ok(true);
        }
        match ledger.accept(block) {
            Accepted::Yes => Ok(true),
            Accepted::ParentMissing => Ok(false),
            Accepted::Invalid(fault) => Err(fault),
        }
    }

    /// Takes a message that was checked.
    pub(super) fn take_message<L: Ledger<Block = B>, S: Signer<P> + ?Sized>(
        &mut self,
        from: V,
        message: Message<B, V, P>,
        here: &BTreeSet<BlockId>,
        turn: &mut Turn<'_, L, S, V, P>,
    ) {
        match message {
            Message::Propose(proposal) => {
                let has_room = self.has_room_for(&proposal);
                let Proposal { vote, block, grounds } = *proposal;
                for certificate in grounds {
                    self.learn(certificate, true, turn.out);
                }
                let iteration = vote.ballot.iteration;
                self.record(vote, turn.out);
                if has_room && iteration > self.head.iteration {
                    self.keep(from, block, here, turn);
                }
                turn.outrun = iteration > self.iteration;
                // A leader that proposes where others have gone on does not know that they have.
                let way_on = self.way_on_from(iteration);
                if let Some(certificate) = way_on.filter(|_| self.may_answer(from)) {
                    turn.out.push(Output::Send { to: from, message: Message::Certificate(certificate) });
                }
            }
            Message::Ballot(vote) => {
                let iteration = vote.ballot.iteration;
                self.record(vote, turn.out);
                turn.outrun = iteration > self.iteration;
            }
            Message::Certificate(certificate) => {
                self.learn(certificate, true, turn.out);
            }
            Message::Want(want) => self.answer(from, &want, turn),
            Message::Have(have) => {
                let missing = self.missing_blocks();
                for block in have.blocks {
                    if missing.contains(&turn.ledger.id(&block)) {
                        self.keep(from, block, here, turn);
                    }
                }
                for certificate in have.certificates {
                    self.learn(certificate, true, turn.out);
                }
                if !self.head.delivered && !self.is_here(self.head.block) {
                    self.tell_behind(turn.out);
                }
            }
            Message::AskNewest { epoch: _ } => {
                if self.may_answer(from) {
                    let newest = self.newest.get(&from).cloned();
                    turn.out.push(Output::Send { to: from, message: Message::Newest(newest) });
                }
            }
            Message::Newest(newest) => {
                self.unanswered.remove(&from);
                if let Some(vote) = newest {
                    self.compare_with_journal(&vote, turn.out);
                }
            }
        }
    }

    /// Keeps a block that the ledger has accepted, or that waits for its parent.
    fn keep<L: Ledger<Block = B>, S: ?Sized>(
        &mut self,
        from: V,
        block: B,
        here: &BTreeSet<BlockId>,
        turn: &mut Turn<'_, L, S, V, P>,
    ) {
        let (id, parent, height) =
            (turn.ledger.id(&block), turn.ledger.parent(&block), turn.ledger.height(&block));
        if self.is_here(id) {
            // This body was not looked at: the one that the ledger accepted stays.
        } else if here.contains(&id) {
            self.parked.remove(&id);
            self.known.insert(id, block);
        } else if height > self.head.height {
            self.parked.entry(id).or_insert(Parked { from, parent, height, block });
        }
    }

    fn way_on_from(&self, iteration: u64) -> Option<Certificate<V, P>> {
        if iteration >= self.iteration {
            return None;
        }
        self.round(iteration.max(self.head.iteration))?.way_on().cloned()
    }

    /// Counts an answer. A peer's claim on our bandwidth is bounded by iteration.
    fn may_answer(&mut self, peer: V) -> bool {
        let answers = self.answered.entry(peer).or_insert(0);
        *answers += 1;
        *answers <= limits::ANSWERS_PER_ITERATION_MAX
    }

    fn answer<L: Ledger<Block = B>, S: ?Sized>(
        &mut self,
        from: V,
        want: &Want,
        turn: &mut Turn<'_, L, S, V, P>,
    ) {
        let mut certificates = Vec::new();
        if want.from_iteration > 0 {
            let newer = self.rounds.range(want.from_iteration.max(self.head.iteration)..);
            certificates
                .extend(newer.flat_map(|(_, round)| round.certificates()).take(limits::WANTED_MAX).cloned());
        }
        // Only what the ledger accepted: whoever passes an invalid body on is blamed for it.
        let asked = want.blocks.iter().take(limits::WANTED_BLOCKS_MAX);
        let blocks: Vec<B> = asked.filter_map(|id| self.known.get(id)).cloned().collect();
        if (certificates.is_empty() && blocks.is_empty()) || !self.may_answer(from) {
            return;
        }
        let have = Box::new(Have { certificates, blocks });
        turn.out.push(Output::Send { to: from, message: Message::Have(have) });
    }

    fn body(&self, id: BlockId) -> Option<&B> {
        self.known.get(&id).or_else(|| self.parked.get(&id).map(|parked| &parked.block))
    }

    /// Certified blocks, and their ancestors, of which there is no body here.
    pub(super) fn missing_blocks(&self) -> Vec<BlockId> {
        let mut missing = BTreeSet::new();
        let certified = self.rounds.values().filter_map(|round| round.notarised());
        for mut id in certified {
            while !self.is_here(id) {
                match self.parked.get(&id) {
                    Some(parked) if parked.height > self.head.height + 1 => id = parked.parent,
                    Some(_) => break,
                    None => {
                        missing.insert(id);
                        break;
                    }
                }
            }
        }
        missing.into_iter().take(limits::WANTED_BLOCKS_MAX).collect()
    }

    /// Asks for what holds us up, each thing once of each peer in an iteration. Whoever showed that it is ahead of us, or that there is
    /// something, is asked first; all others when the iteration times out.
    pub(super) fn ask<L: Ledger<Block = B>, S: ?Sized>(&mut self, turn: &mut Turn<'_, L, S, V, P>) {
        let mut from_iteration = if turn.outrun { Some(self.iteration) } else { None };
        let mut blocks = BTreeSet::new();
        let mut lacks = Vec::new();
        if self.may_propose() {
            lacks.extend(self.parent_to_propose().err());
        }
        let proposal = self.votable();
        if let Some(id) = proposal
            && let Some(block) = self.body(id)
        {
            lacks.extend(self.stands_on(turn.ledger.parent(block)).err());
            if turn.ledger.ends_epoch(block) {
                // It may have been notarised before, by a certificate that is not here.
                lacks.extend(self.stands_on(id).err());
            }
        }
        for lack in lacks {
            match lack {
                Lack::Certificate(iteration) => {
                    from_iteration =
                        Some(from_iteration.map_or(iteration, |least: u64| least.min(iteration)));
                }
                Lack::Block(block) => {
                    blocks.insert(block);
                }
                Lack::Hope => {}
            }
        }
        // Otherwise a body is likely on its way from its leader.
        let is_held_up =
            !self.head.delivered || !blocks.is_empty() || proposal.is_some_and(|id| !self.is_here(id));
        let blocks: Vec<BlockId> = if is_held_up { self.missing_blocks() } else { Vec::new() };
        let to = turn.source.or_else(|| self.holder_of(*blocks.first()?, 0));
        let Some(to) = to else { return };
        let from_iteration =
            from_iteration.filter(|iteration| self.asked.insert((to, *iteration))).unwrap_or(0);
        let blocks: Vec<BlockId> =
            blocks.into_iter().filter(|id| self.asked_blocks.insert((to, *id))).collect();
        if from_iteration > 0 || !blocks.is_empty() {
            let want = Want { epoch: self.config.epoch, from_iteration, blocks };
            turn.out.push(Output::Send { to, message: Message::Want(want) });
        }
    }

    /// Somebody who should have the block: of those who voted for it, another one at each attempt.
    fn holder_of(&self, block: BlockId, attempt: u32) -> Option<V> {
        let of_it =
            self.rounds.values().flat_map(Round::certificates).find(|held| held.ballot.block == block);
        let mut holders: Vec<V> = match of_it {
            Some(certificate) => certificate.votes.iter().map(|(voter, _)| *voter).collect(),
            None => self.config.voters.clone(),
        };
        holders.retain(|voter| *voter != self.config.me);
        let count = holders.len().max(1);
        holders.get(attempt as usize % count).copied()
    }

    /// The certificates that a proposal on `parent` stands on, as many as fit, the newest.
    pub(super) fn grounds(&self, parent: BlockId) -> Vec<Certificate<V, P>> {
        let mut grounds = Vec::new();
        for (_, round) in self.rounds.range(..self.iteration).rev() {
            if grounds.len() == limits::WANTED_MAX {
                break;
            }
            let is_base = round.notarised() == Some(parent);
            let certificate =
                if is_base { round.notarisation() } else { round.certificate(BallotKind::Dummy) };
            grounds.extend(certificate.cloned());
            if is_base {
                break;
            }
        }
        grounds.reverse();
        grounds
    }

    /// What shows others where we stand: the certificate by which the iteration was entered, our ballots in it, and our finalises that
    /// did not yet come to anything.
    fn standing<L: Ledger<Block = B>>(&self, ledger: &L) -> Vec<Message<B, V, P>> {
        let me = self.config.me;
        let own = |iteration: u64, kind| {
            self.round(iteration).and_then(|round| round.ballot(kind, me)).map(|(block, proof)| {
                let ballot = self.ballot(iteration, kind, block);
                Vote { ballot, voter: me, proof }
            })
        };
        let mut said: Vec<Message<B, V, P>> = Vec::new();
        said.extend(self.way_on_from(self.iteration - 1).map(Message::Certificate));
        let unfinal = self.rounds.range(self.head.iteration + 1..self.iteration).rev();
        let finalises = unfinal.filter_map(|(iteration, _)| own(*iteration, BallotKind::Finalise));
        said.extend(finalises.take(limits::FINALISES_RESENT_MAX).map(Message::Ballot));
        if self.is_voting() {
            if let Some(vote) = own(self.iteration, BallotKind::Propose)
                && let Some(block) = self.body(vote.ballot.block)
            {
                let grounds = self.grounds(self.base_of(ledger, vote.ballot.block, block));
                said.push(Message::Propose(Box::new(Proposal { vote, block: block.clone(), grounds })));
            }
            said.extend(own(self.iteration, BallotKind::Vote).map(Message::Ballot));
            said.extend(own(self.iteration, BallotKind::Dummy).map(Message::Ballot));
        }
        said
    }

    /// Says to all again what the iteration hangs on, and asks all for what they know.
    pub(super) fn resend<L: Ledger<Block = B>>(&mut self, ledger: &L, out: &mut Vec<Output<B, V, P>>) {
        self.asked.clear();
        self.asked_blocks.clear();
        self.answered.clear();
        if self.is_planted(Planted::NeverResend) {
            return;
        }
        for message in self.standing(ledger) {
            self.broadcast(message, out);
        }
        let want =
            Want { epoch: self.config.epoch, from_iteration: self.unsettled_from(), blocks: Vec::new() };
        self.broadcast(Message::Want(want), out);
        let blocks = self.missing_blocks();
        if let Some(to) = blocks.first().and_then(|id| self.holder_of(*id, self.timers.resends)) {
            let want = Want { epoch: self.config.epoch, from_iteration: 0, blocks };
            out.push(Output::Send { to, message: Message::Want(want) });
        }
        for to in &self.unanswered {
            out.push(Output::Send { to: *to, message: Message::AskNewest { epoch: self.config.epoch } });
        }
        if !self.head.delivered {
            self.tell_behind(out);
        }
    }

    /// From where on a certificate could be news: after the newest final one, unless that is so long ago that the answer could not hold
    /// the newest.
    fn unsettled_from(&self) -> u64 {
        let kinds = 3;
        (self.head.iteration + 1).max(self.iteration.saturating_sub(limits::WANTED_MAX as u64 / kinds))
    }

    fn tell_behind(&self, out: &mut Vec<Output<B, V, P>>) {
        let proof = self.round(self.head.iteration).and_then(|round| round.certificate(BallotKind::Finalise));
        out.extend(proof.map(|certificate| Output::Behind { certificate: certificate.clone() }));
    }

    /// A connection came about: what was sent before it is lost.
    pub(super) fn greet<L: Ledger<Block = B>>(&self, peer: V, ledger: &L, out: &mut Vec<Output<B, V, P>>) {
        if peer == self.config.me || !self.config.voters.contains(&peer) {
            return;
        }
        let mut said = self.standing(ledger);
        let epoch = self.config.epoch;
        said.push(Message::Want(Want { epoch, from_iteration: self.unsettled_from(), blocks: Vec::new() }));
        if self.unanswered.contains(&peer) {
            said.push(Message::AskNewest { epoch });
        }
        out.extend(said.into_iter().map(|message| Output::Send { to: peer, message }));
    }
}
