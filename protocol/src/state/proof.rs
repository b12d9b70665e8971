//! Proof that something stands in the state of a final block, or does not (SPEC 7.2, 7.3).

use serde::{Deserialize, Serialize};

use super::block::Header;
use super::charter::Charter;
use super::map::MapProof;
use super::maps::{MapName, Roots, SpineItem, charter_slot};
use super::value::State;
use crate::encoding::{Hash, decode};
use crate::fault::Fault;
use crate::limits;
use crate::planted::{Bug, loosened};

/// Proof of what one of the state's maps has under a key, or that it has nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StateProof {
    /// Which map.
    pub map: MapName,
    /// The roots of all maps: what the state root is of.
    pub roots: Roots,
    /// From that map's root down.
    pub path: MapProof,
}

impl StateProof {
    /// The encoded value under `key` in the state of this root; `None` if there is none.
    ///
    /// # Errors
    /// [`Fault::BadProof`] if it does not lead to that root.
    pub fn check(&self, state_root: &Hash, key: &[u8; 32]) -> Result<Option<&[u8]>, Fault> {
        if self.roots.state_root() != *state_root && !loosened(Bug::AnyRoots) {
            return Err(Fault::BadProof);
        }
        self.path.check(&self.roots.of(self.map), key).map_err(|_| Fault::BadProof)
    }
}

impl State {
    /// Proof of what `map` has under `key`.
    pub fn proof(&self, map: MapName, key: &[u8; 32]) -> StateProof {
        let maps = &self.0.maps;
        let path = match map {
            MapName::Standing => maps.standing.proof(key),
            MapName::Gone => maps.gone.proof(key),
            MapName::Keys => maps.keys.proof(key),
            MapName::Tickets => maps.tickets.proof(key),
            MapName::Spine => maps.spine.proof(key),
        };
        StateProof { map, roots: self.0.roots, path }
    }
}

/// Proof of the charter in force.
pub(crate) fn charter_proof(state: &State) -> StateProof {
    state.proof(MapName::Spine, &charter_slot())
}

/// The charter that `proof` shows in the state after the block of `header`.
///
/// # Errors
/// [`Fault::BadProof`] if it shows none; [`Fault::BadCharter`] if no charter is one like that.
pub(crate) fn charter_proven(proof: &StateProof, header: &Header) -> Result<Charter, Fault> {
    if proof.map != MapName::Spine {
        return Err(Fault::BadProof);
    }
    let item = proof.check(&header.state_root, &charter_slot())?.ok_or(Fault::BadProof)?;
    let item = decode("the charter of a proof", item, 2 * limits::CHARTER_BYTES_MAX)?;
    let SpineItem::Charter(charter) = item else { return Err(Fault::BadProof) };
    charter.check()?;
    Ok(*charter)
}
