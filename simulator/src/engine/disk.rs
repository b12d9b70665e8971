//! A disk: what was written, how much of it would be there again after a crash, and what a bad one does to it.
//!
//! Writes of two kinds go their own ways, each in order. *Synced* ones are durable when the program is told so, and nothing that
//! rests on them leaves the node before. *Restorable* ones become durable with the next periodic flush. A killed process loses
//! nothing that it has written; a loss of power keeps what is durable, and any beginning of the rest.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::random::Random;
use super::time::Instant;

/// One change of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// In which table.
    pub table: u8,
    /// Under which key.
    pub key: Vec<u8>,
    /// What; `None` removes it.
    pub value: Option<Arc<[u8]>>,
    /// Whether nothing may be sent before it is durable.
    pub synced: bool,
}

/// What a program finds when it starts, in (table, key) order.
pub type Image = BTreeMap<(u8, Vec<u8>), Arc<[u8]>>;

/// What is on a disk, as a program that starts finds it.
#[derive(Clone, Copy, Debug)]
pub struct Store<'a> {
    /// All records.
    pub image: &'a Image,
    /// The places of records that were found to be damaged since the last start, and set aside.
    pub damaged: &'a [(u8, Vec<u8>)],
}

/// How disks behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskRules {
    /// How long a synced write takes until it is durable.
    pub sync_us: u64,
    /// How often restorable writes are flushed.
    pub flush_us: u64,
}

impl Default for DiskRules {
    fn default() -> Self {
        DiskRules { sync_us: 200, flush_us: 500_000 }
    }
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The process died; its machine goes on, and what it wrote is in the kernel's hands.
    Killed,
    /// The machine lost power.
    PowerLost,
}

/// One node's disk.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    durable: Image,
    /// Written, and durable from the given instant on.
    synced: VecDeque<(Instant, Write)>,
    restorable: VecDeque<(Instant, Write)>,
    kept: BTreeMap<u32, Image>,
    damaged: Vec<(u8, Vec<u8>)>,
    writes: u64,
    forgetful: bool,
}

impl Disk {
    /// A disk that counts what is written and keeps nothing: for a node of which it is known beforehand that it never restarts.
    pub fn forgetful() -> Disk {
        Disk { forgetful: true, ..Disk::default() }
    }

    /// Takes `write`, which will be durable at `durable_at`, but no earlier than those of its kind before it.
    pub fn write(&mut self, write: Write, now: Instant, durable_at: Instant) {
        self.writes += 1;
        if self.forgetful {
            return;
        }
        self.settle(now);
        let queue = if write.synced { &mut self.synced } else { &mut self.restorable };
        // A flush that a program asked for may end after the next periodic one would have.
        let durable_at = queue.back().map_or(durable_at, |(before, _)| durable_at.max(*before));
        queue.push_back((durable_at, write));
    }

    /// The program wants everything that it has written to be durable at `durable_at`.
    pub fn sync_all(&mut self, durable_at: Instant) {
        for (at, _) in &mut self.restorable {
            *at = durable_at.min(*at);
        }
    }

    /// Puts a record straight onto the disk of a node that is down.
    pub fn put(&mut self, write: Write) {
        apply(&mut self.durable, write);
    }

    /// How many writes there were.
    pub fn writes(&self) -> u64 {
        self.writes
    }

    fn settle(&mut self, now: Instant) {
        for queue in [&mut self.synced, &mut self.restorable] {
            while queue.front().is_some_and(|(at, _)| *at <= now) {
                let (_, write) = queue.pop_front().expect("it was just looked at");
                apply(&mut self.durable, write);
            }
        }
    }

    /// The program ends at `now`: decides what of its last writes there will be.
    pub fn end(&mut self, now: Instant, how: Ending, random: &mut Random) {
        self.settle(now);
        for queue in [&mut self.synced, &mut self.restorable] {
            let survive = match how {
                Ending::Killed => queue.len() as u64,
                Ending::PowerLost => random.below(queue.len() as u64 + 1),
            };
            let tail = std::mem::take(queue);
            for (_, write) in tail.into_iter().take(survive as usize) {
                apply(&mut self.durable, write);
            }
        }
    }

    /// What a program that starts now finds.
    ///
    /// # Panics
    /// If the disk is [`Disk::forgetful`]: whoever made it said that the node never restarts.
    pub fn store(&self) -> Store<'_> {
        assert!(!self.forgetful || self.writes == 0, "a node restarts whose disk keeps nothing");
        Store { image: &self.durable, damaged: &self.damaged }
    }

    /// A program has started, and knows what is damaged.
    pub fn started(&mut self) {
        self.damaged.clear();
    }

    /// Remembers what is durable at `now`, to come back to.
    pub fn keep(&mut self, now: Instant, name: u32) {
        self.settle(now);
        self.kept.insert(name, self.durable.clone());
    }

    /// Another disk with all that is durable here at `now`.
    ///
    /// # Panics
    /// If the disk is [`Disk::forgetful`].
    pub fn copy(&mut self, now: Instant) -> Disk {
        assert!(!self.forgetful, "a disk is copied that keeps nothing");
        self.settle(now);
        Disk { durable: self.durable.clone(), ..Disk::default() }
    }

    /// Puts back what [`Disk::keep`] remembered, as an operator with an old backup would. False if it remembered nothing.
    pub fn roll_back(&mut self, name: u32) -> bool {
        let Some(image) = self.kept.get(&name) else { return false };
        self.durable = image.clone();
        self.synced.clear();
        self.restorable.clear();
        true
    }

    /// Takes away one record, of `table` if given: the host found it damaged and set it aside. Says which.
    pub fn damage(&mut self, table: Option<u8>, random: &mut Random) -> Option<(u8, Vec<u8>)> {
        let candidates: Vec<_> =
            self.durable.keys().filter(|(t, _)| table.is_none_or(|table| table == *t)).cloned().collect();
        let unlucky = candidates.get(random.below(candidates.len() as u64) as usize)?;
        self.durable.remove(unlucky);
        self.damaged.push(unlucky.clone());
        Some(unlucky.clone())
    }
}

fn apply(image: &mut Image, write: Write) {
    match write.value {
        Some(value) => image.insert((write.table, write.key), value),
        None => image.remove(&(write.table, write.key)),
    };
}

#[cfg(test)]
mod tests {
    use super::super::random::Concern;
    use super::*;

    const T: fn(u64) -> Instant = Instant::from_ms;

    fn write(key: u8, synced: bool) -> Write {
        Write { table: u8::from(synced), key: vec![key], value: Some([key].into()), synced }
    }

    fn keys(disk: &Disk, synced: bool) -> Vec<u8> {
        disk.store()
            .image
            .keys()
            .filter(|(table, _)| *table == u8::from(synced))
            .map(|(_, key)| key[0])
            .collect()
    }

    /// Ten writes of each kind, one a millisecond; synced ones take one more, restorable ones are flushed at 5 and at 10.
    fn disk() -> Disk {
        let mut disk = Disk::default();
        for ms in 0..10 {
            disk.write(write(ms, true), T(ms.into()), T(u64::from(ms) + 1));
            disk.write(write(ms, false), T(ms.into()), T(if ms < 5 { 5 } else { 10 }));
        }
        disk
    }

    #[test]
    fn a_killed_process_loses_nothing_that_it_wrote() {
        let mut disk = disk();
        disk.end(T(9), Ending::Killed, &mut Random::new(1, 0, Concern::Disks));
        assert_eq!(keys(&disk, true).len(), 10);
        assert_eq!(keys(&disk, false).len(), 10);
    }

    #[test]
    fn a_loss_of_power_keeps_all_that_was_durable_and_a_beginning_of_the_rest() {
        let mut lengths = std::collections::BTreeSet::new();
        for seed in 0..40 {
            let mut disk = disk();
            disk.end(T(9), Ending::PowerLost, &mut Random::new(seed, 0, Concern::Disks));
            let (synced, restorable) = (keys(&disk, true), keys(&disk, false));
            assert!(synced.len() >= 9, "a settled write is gone: {synced:?}");
            assert!(restorable.len() >= 5, "a flushed write is gone: {restorable:?}");
            assert_eq!(restorable, (0..restorable.len() as u8).collect::<Vec<_>>(), "a gap");
            lengths.insert((synced.len(), restorable.len()));
        }
        assert!(lengths.len() > 6, "the tail is always cut at the same place: {lengths:?}");
    }

    #[test]
    fn a_disk_can_go_back_to_an_older_image() {
        let mut disk = Disk::default();
        disk.write(write(1, true), T(0), T(1));
        disk.keep(T(2), 7);
        disk.write(write(2, true), T(3), T(4));
        disk.end(T(5), Ending::Killed, &mut Random::new(1, 0, Concern::Disks));
        assert_eq!(keys(&disk, true), [1, 2]);
        assert!(disk.roll_back(7) && !disk.roll_back(8));
        assert_eq!(keys(&disk, true), [1]);
    }

    #[test]
    fn a_copy_has_what_was_durable_and_goes_its_own_way() {
        let mut disk = Disk::default();
        disk.write(write(1, true), T(0), T(1));
        disk.write(write(2, true), T(1), T(9));
        let mut copy = disk.copy(T(2));
        copy.put(write(3, true));
        assert_eq!(keys(&copy, true), [1, 3]);
        assert_eq!(keys(&disk, true), [1]);
    }

    #[test]
    fn damage_takes_one_record_of_the_table_that_is_asked_for() {
        let mut disk = disk();
        let mut random = Random::new(1, 0, Concern::Disks);
        disk.end(T(9), Ending::Killed, &mut random);
        let (table, key) = disk.damage(Some(1), &mut random).expect("there are ten");
        assert_eq!(table, 1);
        assert!(!keys(&disk, true).contains(&key[0]));
        assert_eq!((keys(&disk, true).len(), keys(&disk, false).len()), (9, 10));
        assert_eq!(disk.damage(Some(9), &mut random), None);
    }

    #[test]
    #[should_panic(expected = "whose disk keeps nothing")]
    fn a_node_that_was_said_never_to_restart_cannot() {
        let mut disk = Disk::forgetful();
        disk.write(write(1, true), T(0), T(1));
        disk.store();
    }

    #[test]
    fn what_a_program_asked_for_is_durable_by_then_and_what_it_writes_later_is_not() {
        let mut disk = Disk::default();
        disk.write(write(1, false), T(0), T(500));
        disk.sync_all(T(2));
        disk.write(write(2, false), T(1), T(500));
        disk.end(T(3), Ending::PowerLost, &mut Random::new(1, 0, Concern::Disks));
        assert!(keys(&disk, false).contains(&1));
        assert_eq!(disk.restorable.len(), 0);
        let mut later = Disk::default();
        later.write(write(1, false), T(0), T(500));
        later.sync_all(T(2));
        later.settle(T(1));
        assert!(keys(&later, false).is_empty(), "not before it is done");
    }
}
