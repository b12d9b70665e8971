//! The whole state as chunks, and back (SPEC 7.4).

use std::borrow::Borrow;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::block::{FinalChain, Header};
use super::charter::DomainId;
use super::map::{Map, Part, Value};
use super::maps::{Gone, MapName, Maps, SpineItem, charter_slot};
use super::merkle::Frontier;
use super::rules::Law;
use super::value::{Inner, State};
use crate::encoding::{decode, encode};
use crate::fault::Fault;
use crate::identity::{NodeId, Sheet, Stateless};
use crate::limits;
use crate::planted::{Bug, loosened};

/// A part of a snapshot: items of the state's maps, in order.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SnapshotChunk {
    /// Proof that the head it is under is final: a chain without blocks; none for genesis.
    pub tip: Option<Box<FinalChain>>,
    /// Which part this is.
    pub index: u32,
    /// Of how many.
    pub of: u32,
    /// Encoded items, each with the map that it belongs to and its key.
    pub items: Vec<SnapshotItem>,
}

/// One item of the state: which map, key, encoded value.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SnapshotItem {
    /// Which map: the discriminant of [`MapName`]; one more than the last for what lies beside the maps; two and three more for the maps of
    /// those who are gone and of keys, where they are told in part (SPEC 7.7).
    pub map: u8,
    /// Under which key.
    pub key: [u8; 32],
    /// Its encoding.
    pub value: Vec<u8>,
}

impl Stateless for SnapshotChunk {
    fn inspect(&self, sheet: &mut Sheet) -> Result<(), Fault> {
        let (count, max) = (self.items.len(), limits::SNAPSHOT_CHUNK_ITEMS_MAX);
        if count > max {
            return Err(Fault::TooMany { what: "items of a snapshot chunk", count, max });
        }
        let count = self.items.iter().map(|item| item.value.len()).sum();
        let max = limits::SNAPSHOT_CHUNK_BYTES_MAX;
        if count > max {
            return Err(Fault::TooMany { what: "bytes of a snapshot chunk", count, max });
        }
        self.tip.iter().try_for_each(|tip| tip.inspect(sheet))
    }
}

/// What a state is made of beside its maps. It is no part of the state root, and needs none: the header's id is the tip's
/// `previous`, or the tip itself, and the header names the log root of the frontier.
#[derive(Serialize, Deserialize)]
struct Beside {
    last: Header,
    log_before: Frontier,
}

const BESIDE: u8 = MapName::Spine as u8 + 1;
const GONE_IN_PART: u8 = BESIDE + 1;
const KEYS_IN_PART: u8 = BESIDE + 2;

/// Parts of a tree in one item.
const PARTS_PER_ITEM: usize = 1024;

impl State {
    /// The state as chunks under `tip`, each within the limits of a message: as much as is held of it.
    pub fn snapshot(&self, tip: Option<Box<FinalChain>>) -> Vec<SnapshotChunk> {
        let maps = &self.0.maps;
        if !self.is_whole() {
            return self.in_part(&maps.gone.held_parts(), &maps.keys.held_parts(), tip);
        }
        let items = items(MapName::Standing, &maps.standing)
            .chain(items(MapName::Gone, &maps.gone))
            .chain(items(MapName::Keys, &maps.keys))
            .chain(items(MapName::Tickets, &maps.tickets))
            .chain(items(MapName::Spine, &maps.spine))
            .chain([self.beside()]);
        chunks(items, tip.as_deref())
    }

    /// A lean state (SPEC 7.5) as chunks, whatever is held here beyond that.
    pub fn lean_snapshot(&self, tip: Option<Box<FinalChain>>) -> Vec<SnapshotChunk> {
        let maps = &self.0.maps;
        let (gone, keys) = maps.kept_in_a_lean_state(&self.0.law);
        self.in_part(&maps.gone.parts(&gone), &maps.keys.parts(&keys), tip)
    }

    fn in_part(
        &self,
        gone: &[Part<Gone>],
        keys: &[Part<NodeId>],
        tip: Option<Box<FinalChain>>,
    ) -> Vec<SnapshotChunk> {
        let maps = &self.0.maps;
        let items = items(MapName::Standing, &maps.standing)
            .chain(items(MapName::Tickets, &maps.tickets))
            .chain(items(MapName::Spine, &maps.spine))
            .chain([self.beside()])
            .chain(items_in_part(GONE_IN_PART, gone))
            .chain(items_in_part(KEYS_IN_PART, keys));
        chunks(items, tip.as_deref())
    }

    fn beside(&self) -> SnapshotItem {
        let beside = Beside { last: self.0.last.clone(), log_before: self.0.log_before.clone() };
        SnapshotItem { map: BESIDE, key: [0; 32], value: encode(&beside) }
    }

    /// The state under `tip`, a final header of `domain`, from all chunks of a snapshot in order.
    ///
    /// # Errors
    /// [`Fault::WrongSnapshot`] if it is not the state of that header; [`Fault::Malformed`] if an item does not decode. In either case
    /// whoever sent the chunks is to blame.
    pub fn restore<C: Borrow<SnapshotChunk>>(
        domain: DomainId,
        tip: &Header,
        chunks: &[C],
    ) -> Result<State, Fault> {
        let chunks: Vec<&SnapshotChunk> = chunks.iter().map(Borrow::borrow).collect();
        let numbered = (0u32..).zip(&chunks).all(|(index, chunk)| chunk.index == index);
        if !numbered || chunks.iter().any(|chunk| chunk.of as usize != chunks.len()) {
            return Err(Fault::WrongSnapshot);
        }
        let items = || chunks.iter().flat_map(|chunk| &chunk.items);
        if !items().is_sorted_by(|a, b| (a.map, a.key) < (b.map, b.key)) {
            return Err(Fault::NotInOrder { what: "the items of a snapshot", rule: "7.4" });
        }
        let of = |map: u8| items().filter(move |item| item.map == map);
        if of(BESIDE).any(|item| item.key != [0; 32]) || items().any(|item| item.map > KEYS_IN_PART) {
            return Err(Fault::WrongSnapshot);
        }
        let beside = of(BESIDE).next().map(value::<Beside>).transpose()?;
        let maps = Maps {
            standing: map_of(of(MapName::Standing as u8))?,
            gone: map_or_part(of(MapName::Gone as u8), of(GONE_IN_PART))?,
            keys: map_or_part(of(MapName::Keys as u8), of(KEYS_IN_PART))?,
            tickets: map_of(of(MapName::Tickets as u8))?,
            spine: map_of(of(MapName::Spine as u8))?,
        };
        let Beside { last, log_before } = beside.ok_or(Fault::WrongSnapshot)?;
        // Whoever sent the chunks wrote `last` and the frontier: nothing is done with either before the tip vouches for it.
        let is_tip = *tip == last || tip.is_heartbeat() && tip.previous == last.id();
        if !is_tip || !log_before.is_whole() || log_before.log_root() != last.log_root {
            return Err(Fault::WrongSnapshot);
        }
        let roots = maps.roots();
        let whole = roots.state_root() == last.state_root && roots.of(MapName::Spine) == last.spine_root;
        if !whole && !loosened(Bug::AnySnapshot) {
            return Err(Fault::WrongSnapshot);
        }
        let law = match maps.spine.get(&charter_slot()) {
            Some(SpineItem::Charter(charter)) if charter.epoch > 1 || charter.founds() == domain => {
                Law::new(domain, (**charter).clone())
            }
            Some(SpineItem::Charter(_) | SpineItem::Voters(_)) | None => return Err(Fault::WrongSnapshot),
        };
        let is_whole = maps.gone.is_whole() && maps.keys.is_whole();
        if !is_whole && !maps.holds_what_stands(&law) && !loosened(Bug::LeanWithoutSome) {
            return Err(Fault::WrongSnapshot);
        }
        Ok(State(Arc::new(Inner::new(Arc::new(law), maps, roots, last, log_before))))
    }
}

/// These items as chunks under `tip`, each within the limits of a message.
fn chunks(items: impl Iterator<Item = SnapshotItem>, tip: Option<&FinalChain>) -> Vec<SnapshotChunk> {
    let mut parts: Vec<Vec<SnapshotItem>> = vec![Vec::new()];
    let mut bytes = 0;
    for item in items {
        let part = parts.last_mut().expect("there is a part from the start");
        let full = part.len() == limits::SNAPSHOT_CHUNK_ITEMS_MAX
            || bytes + item.value.len() + ITEM_OVERHEAD_BYTES > limits::SNAPSHOT_CHUNK_BYTES_MAX;
        if full && !part.is_empty() {
            parts.push(Vec::new());
            bytes = 0;
        }
        bytes += item.value.len() + ITEM_OVERHEAD_BYTES;
        parts.last_mut().expect("a part was just pushed, or is there").push(item);
    }
    let of = u32::try_from(parts.len()).expect("a domain has fewer items than that");
    let tip = tip.cloned().map(Box::new);
    (0..of).zip(parts).map(|(index, items)| SnapshotChunk { tip: tip.clone(), index, of, items }).collect()
}

/// What an item takes beyond its value, at most: map, key, length.
const ITEM_OVERHEAD_BYTES: usize = 1 + 32 + 9;

fn items<V: Value>(name: MapName, map: &Map<V>) -> impl Iterator<Item = SnapshotItem> {
    map.iter().map(move |(key, value)| {
        // Kept for as long as the snapshot is served: no room to spare.
        let mut value = encode(value);
        value.shrink_to_fit();
        SnapshotItem { map: name as u8, key: *key, value }
    })
}

/// A map that is told in part.
fn items_in_part<V: Serialize>(name: u8, parts: &[Part<V>]) -> impl Iterator<Item = SnapshotItem> {
    (0u64..).zip(parts.chunks(PARTS_PER_ITEM)).map(move |(at, parts)| {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&at.to_be_bytes());
        SnapshotItem { map: name, key, value: encode(parts) }
    })
}

/// The map of these items; or of those, if it is told in part.
fn map_or_part<'a, V: Value + Clone + DeserializeOwned>(
    whole: impl Iterator<Item = &'a SnapshotItem>,
    in_part: impl Iterator<Item = &'a SnapshotItem>,
) -> Result<Map<V>, Fault> {
    let (map, mut in_part) = (map_of(whole)?, in_part.peekable());
    match (in_part.peek().is_none(), map.is_empty()) {
        (true, _) => return Ok(map),
        (false, true) => {}
        (false, false) => return Err(Fault::WrongSnapshot),
    }
    // An item at a time, and none after the first that fits no tree: parts take two bytes on the wire, and many times that here.
    let mut wrong = None;
    let parts = in_part.map_while(|item| match value::<Vec<Part<V>>>(item) {
        Ok(parts) if parts.len() <= PARTS_PER_ITEM => Some(parts),
        Ok(_) => {
            wrong = Some(Fault::WrongSnapshot);
            None
        }
        Err(fault) => {
            wrong = Some(fault);
            None
        }
    });
    let map = Map::of_parts(parts.flatten());
    match wrong {
        Some(fault) => Err(fault),
        None => map.ok_or(Fault::WrongSnapshot),
    }
}

/// The map of these items, which are in the order of their keys.
fn map_of<'a, V: Value + DeserializeOwned>(
    items: impl Iterator<Item = &'a SnapshotItem>,
) -> Result<Map<V>, Fault> {
    let items: Vec<_> = items.map(|item| Ok((item.key, value(item)?))).collect::<Result<_, Fault>>()?;
    Ok(Map::of_rising(items.into_iter()))
}

fn value<V: Serialize + DeserializeOwned>(item: &SnapshotItem) -> Result<V, Fault> {
    Ok(decode("an item of a snapshot", &item.value, limits::SNAPSHOT_CHUNK_BYTES_MAX)?)
}
