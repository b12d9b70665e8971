//! Which charters are refused, and why (SPEC 3.1–3.4, 3.7, 3.9): one that cannot be safe, or cannot be live, is not worth signing.

use std::collections::BTreeSet;

use super::charter::{Charter, RoleName, Timing};
use crate::encoding::encoded_len;
use crate::fault::Fault;
use crate::identity::PublicKey;
use crate::limits;
use crate::planted::{Bug, loosened};

fn require(holds: bool, why: impl FnOnce() -> String) -> Result<(), Fault> {
    if holds { Ok(()) } else { Err(Fault::BadCharter { why: why() }) }
}

/// Whether `name` can be the name of a domain, role or capability: short, and nothing that could play tricks on a terminal.
pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= limits::NAME_BYTES_MAX && !name.chars().any(char::is_control)
}

fn require_name(what: &str, name: &str) -> Result<(), Fault> {
    require(is_name(name), || {
        let max = limits::NAME_BYTES_MAX;
        format!("{what} {name:?} is not 1 to {max} bytes without control characters")
    })
}

fn require_order<T: Ord>(what: &str, items: &[T]) -> Result<(), Fault> {
    require(items.is_sorted_by(|a, b| a < b), || {
        format!("{what} are not in strict order: one is out of place or repeated")
    })
}

impl Charter {
    /// Whether this charter can be safe and live.
    ///
    /// # Errors
    /// [`Fault::BadCharter`] names the first thing that is wrong with it.
    pub fn check(&self) -> Result<(), Fault> {
        self.check_terms()?;
        self.check_keys(self.endorsers.iter().map(|seat| &seat.voting_key))
    }

    /// The same of its terms (SPEC 3.8), whose voting keys are not there yet.
    ///
    /// # Errors
    /// As [`Charter::check`].
    pub fn check_terms(&self) -> Result<(), Fault> {
        self.check_shape()?;
        self.check_thresholds()?;
        self.check_timing()?;
        self.check_keys([].iter())?;
        let (bytes, max) = (encoded_len(self), limits::CHARTER_BYTES_MAX);
        require(bytes <= max, || format!("it has {bytes} encoded bytes, and at most {max} are allowed"))
    }

    fn check_shape(&self) -> Result<(), Fault> {
        let epoch = self.epoch;
        require(epoch >= 1, || "epochs start at 1".into())?;
        require(self.previous.is_none() == (epoch == 1), || {
            format!("a charter of epoch 1, and no other, has no previous one; this is of epoch {epoch}")
        })?;
        require_name("the domain's name", &self.name)?;
        require(self.last_day > self.written, || "its last day is not after the day it was written".into())?;

        let (n, max) = (self.size(), limits::ENDORSERS_MAX);
        require((1..=max).contains(&n), || format!("it has {n} endorsers, and 1 to {max} are allowed"))?;
        let nodes: Vec<_> = self.endorsers.iter().map(|seat| seat.node_id()).collect();
        require_order("the endorsers", &nodes)?;

        let (roles, max) = (self.roles.len(), limits::ROLES_MAX);
        require(roles <= max, || format!("it has {roles} roles, and at most {max} are allowed"))?;
        require_order("the roles", &self.roles.iter().map(|role| &role.name).collect::<Vec<_>>())?;
        for role in &self.roles {
            require_name("the role", &role.name)?;
            let (count, max) = (role.capabilities.len(), limits::CAPABILITIES_MAX);
            require(count <= max, || {
                format!("the role {:?} has {count} capabilities, and at most {max} are allowed", role.name)
            })?;
            require_order(&format!("the capabilities of {:?}", role.name), &role.capabilities)?;
            role.capabilities.iter().try_for_each(|name| require_name("the capability", name))?;
        }
        for (seat, node) in self.endorsers.iter().zip(&nodes) {
            require_order(&format!("the roles of {node:?}"), &seat.roles)?;
            if let Some(role) = seat.roles.iter().find(|role| !self.has_role(role)) {
                return require(false, || format!("the seat of {node:?} has the unknown role {role:?}"));
            }
        }
        Ok(())
    }

    fn check_thresholds(&self) -> Result<(), Fault> {
        let (n, f, q) = (self.size(), usize::from(self.faults), self.quorum());
        require(n > 3 * f, || {
            format!("{n} endorsers cannot bear {f} faulty ones: n ≥ 3f+1 = {} is needed", 3 * f + 1)
        })?;
        let within = |name: &str, value: u8, least: usize| {
            require((least..=n - f).contains(&usize::from(value)), || {
                format!(
                    "the threshold `{name}` is {value}; with n = {n}, f = {f} it must be {least} to {}",
                    n - f
                )
            })
        };
        within("amend", self.thresholds.amend, q - usize::from(q > 1 && loosened(Bug::AmendBelowQuorum)))?;
        within(
            "admit",
            self.thresholds.admit,
            (f + 1).max(n.min(2 - usize::from(loosened(Bug::OneAdmits)))),
        )?;
        within("revoke", self.thresholds.revoke, f + 1)?;
        within("contain", self.thresholds.contain, f + 1)?;

        let (keys, threshold) = (self.recovery.keys.len(), usize::from(self.recovery.threshold));
        require(keys <= limits::ENDORSERS_MAX, || {
            format!("it has {keys} recovery keys, and at most {} are allowed", limits::ENDORSERS_MAX)
        })?;
        require_order("the recovery keys", &self.recovery.keys)?;
        require(threshold <= keys && (threshold > 0) == (keys > 0), || {
            format!("recovery by {threshold} of {keys} keys can never be, or needs nobody")
        })
    }

    fn check_timing(&self) -> Result<(), Fault> {
        // Taken apart, so that a bound added later cannot be forgotten here.
        let Timing {
            heartbeat_ms,
            freshness_ms,
            silence_ms,
            skew_ms,
            first_timeout_ms,
            timeout_cap_ms,
            member_lifetime_ms,
            basis_ms,
            ticket_lifetime_ms,
            proposal_lifetime_ms,
            hold_ms,
        } = self.timing;
        let bound = limits::CHARTER_BOUND_MAX_MS;
        for (name, value, least, most) in [
            ("heartbeat_ms", heartbeat_ms, 1, bound),
            ("freshness_ms", freshness_ms, 1, bound),
            ("silence_ms", silence_ms, 1, bound),
            ("skew_ms", skew_ms, 0, bound),
            ("first_timeout_ms", first_timeout_ms, 1, bound),
            ("timeout_cap_ms", timeout_cap_ms, 1, bound),
            ("member_lifetime_ms", member_lifetime_ms, 1, limits::MEMBER_LIFETIME_MAX_MS),
            ("basis_ms", basis_ms, 1, bound),
            ("ticket_lifetime_ms", ticket_lifetime_ms, 1, bound),
            ("proposal_lifetime_ms", proposal_lifetime_ms, 1, bound),
            ("hold_ms", hold_ms, 0, limits::HOLD_MAX_MS),
        ] {
            require((least..=most).contains(&value), || {
                format!("{name} is {value}, and must be {least} to {most}")
            })?;
        }
        require(first_timeout_ms <= timeout_cap_ms, || {
            format!("first_timeout_ms ({first_timeout_ms}) is above timeout_cap_ms ({timeout_cap_ms})")
        })?;
        // Each was just found to be at most a year, and f at most 255: nothing here overflows.
        let least = heartbeat_ms + skew_ms + (u64::from(self.faults) + 1) * timeout_cap_ms;
        require(freshness_ms > least || loosened(Bug::FreshnessShort), || {
            format!(
                "freshness_ms ({freshness_ms}) must be above heartbeat_ms + skew_ms + (f+1) · timeout_cap_ms = {least}: an idle \
                 domain with f dead leaders would go stale"
            )
        })?;
        require(silence_ms > freshness_ms, || {
            format!("silence_ms ({silence_ms}) must be above freshness_ms ({freshness_ms})")
        })?;
        for role in &self.roles {
            let Some(bound) = role.freshness_ms else { continue };
            require(bound > least && bound <= freshness_ms, || {
                let name = &role.name;
                format!(
                    "the role {name:?} bounds freshness to {bound} ms, and it must be above {least}, or an idle domain would go stale \
                     for it, and at most the charter's freshness_ms, {freshness_ms}"
                )
            })?;
        }
        Ok(())
    }

    fn check_keys<'a>(&'a self, voting: impl Iterator<Item = &'a PublicKey>) -> Result<(), Fault> {
        let seats = self.endorsers.iter().map(|seat| &seat.inception.key);
        let mut seen: BTreeSet<&PublicKey> = BTreeSet::new();
        for key in seats.chain(voting).chain(&self.recovery.keys) {
            key.check().map_err(|why| Fault::BadKey { key: *key, why })?;
            require(seen.insert(key) || loosened(Bug::KeysTwice), || format!("the key {key} occurs twice"))?;
        }
        Ok(())
    }

    /// The bound on freshness for whoever has these roles: the tightest of theirs, and the charter's (SPEC 9.5).
    pub fn freshness_for(&self, roles: &[RoleName]) -> u64 {
        let bounds = self.roles.iter().filter(|role| roles.contains(&role.name));
        bounds.filter_map(|role| role.freshness_ms).fold(self.timing.freshness_ms, u64::min)
    }

    /// Whether there is a role of this name.
    pub fn has_role(&self, name: &str) -> bool {
        self.roles.binary_search_by(|role| role.name.as_str().cmp(name)).is_ok()
    }
}
