//! Links between nodes: how long a message takes, whether it arrives, whether twice, and who is cut off from whom.

use serde::{Deserialize, Serialize};

use super::NodeIndex;
use super::random::{Concern, Random, mix, scaled};

/// How links behave when nothing is broken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkRules {
    /// The fastest link's one-way delay.
    pub latency_min_us: u64,
    /// The slowest link's. Each pair's own delay is drawn once, evenly between the two, and is the same both ways.
    pub latency_max_us: u64,
    /// Each message takes up to this much longer, drawn for each: so messages overtake one another.
    pub jitter_us: u64,
    /// How many messages in a million are lost.
    pub loss_ppm: u32,
    /// How many in a million arrive twice.
    pub duplicate_ppm: u32,
    /// How long an end of a connection that went silent takes to notice.
    pub notice_us: u64,
}

impl Default for LinkRules {
    fn default() -> Self {
        LinkRules {
            latency_min_us: 10_000,
            latency_max_us: 100_000,
            jitter_us: 0,
            loss_ppm: 0,
            duplicate_ppm: 0,
            notice_us: 10_000_000,
        }
    }
}

/// What becomes of a message: after how many microseconds it arrives, if it does, and after how many again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fate {
    /// The first arrival.
    pub arrives: Option<u64>,
    /// A second one.
    pub again: Option<u64>,
}

/// A division of the nodes into sides that do not hear one another.
#[derive(Clone, Debug)]
struct Cut {
    id: u32,
    /// The side of each node, by index; beyond the end, side 0.
    side: Vec<u8>,
}

impl Cut {
    fn side(&self, node: NodeIndex) -> u8 {
        self.side.get(node.index()).copied().unwrap_or(0)
    }
}

/// All links of one domain.
#[derive(Clone, Debug)]
pub struct Network {
    rules: LinkRules,
    table: u64,
    random: Random,
    cuts: Vec<Cut>,
}

impl Network {
    /// Links by `rules`, drawn from the seed.
    pub fn new(rules: LinkRules, seed: u64, part: u64) -> Network {
        let mut random = Random::new(seed, part, Concern::Network);
        Network { table: random.bits(), rules, random, cuts: Vec::new() }
    }

    /// The rules in force.
    pub fn rules(&self) -> &LinkRules {
        &self.rules
    }

    /// Changes how many messages are lost.
    pub fn set_loss(&mut self, ppm: u32) {
        self.rules.loss_ppm = ppm;
    }

    /// Changes how many messages arrive twice.
    pub fn set_duplicates(&mut self, ppm: u32) {
        self.rules.duplicate_ppm = ppm;
    }

    /// The one-way delay between two nodes, in microseconds, without jitter. Nothing is stored: the pair and the seed decide.
    pub fn latency_us(&self, a: NodeIndex, b: NodeIndex) -> u64 {
        let (low, high) = (self.rules.latency_min_us, self.rules.latency_max_us);
        let drawn = mix([self.table, u64::from(a.0.min(b.0)), u64::from(a.0.max(b.0))]);
        low + scaled(drawn, high - low + 1)
    }

    /// Whether anything at all is cut.
    pub fn is_cut(&self) -> bool {
        !self.cuts.is_empty()
    }

    /// Whether `a` and `b` hear one another.
    pub fn reaches(&self, a: NodeIndex, b: NodeIndex) -> bool {
        self.cuts.iter().all(|cut| cut.side(a) == cut.side(b))
    }

    /// Divides the nodes: each group of `sides` hears itself only, and so do the nodes that none of them names.
    pub fn cut(&mut self, id: u32, sides: &[Vec<NodeIndex>]) {
        let mut side = Vec::new();
        for (number, group) in sides.iter().enumerate() {
            for node in group {
                if side.len() <= node.index() {
                    side.resize(node.index() + 1, 0);
                }
                side[node.index()] = u8::try_from(number + 1).expect("a partition has few sides");
            }
        }
        self.cuts.push(Cut { id, side });
    }

    /// Takes a division back.
    pub fn heal(&mut self, id: u32) {
        self.cuts.retain(|cut| cut.id != id);
    }

    /// Draws what becomes of a message from `a` to `b`.
    pub fn fate(&mut self, a: NodeIndex, b: NodeIndex) -> Fate {
        let lost = self.random.chance(self.rules.loss_ppm);
        let twice = self.random.chance(self.rules.duplicate_ppm);
        if !self.reaches(a, b) {
            return Fate { arrives: None, again: None };
        }
        let base = self.latency_us(a, b);
        let arrives = (!lost).then(|| base + self.jitter());
        let again = twice.then(|| base + self.jitter());
        Fate { arrives, again }
    }

    fn jitter(&mut self) -> u64 {
        match self.rules.jitter_us {
            0 => 0,
            most => self.random.below(most + 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(rules: LinkRules) -> Network {
        Network::new(rules, 3, 0)
    }

    #[test]
    fn a_link_is_as_slow_one_way_as_the_other_and_within_its_bounds() {
        let network = network(LinkRules::default());
        let mut seen = std::collections::BTreeSet::new();
        for (a, b) in (0..40).flat_map(|a| (0..40).map(move |b| (NodeIndex(a), NodeIndex(b)))) {
            let latency = network.latency_us(a, b);
            assert_eq!(latency, network.latency_us(b, a));
            assert!((10_000..=100_000).contains(&latency));
            seen.insert(latency);
        }
        assert!(seen.len() > 700, "{} of 820 delays differ", seen.len());
        assert!(*seen.first().unwrap() < 11_000 && *seen.last().unwrap() > 99_000);
    }

    #[test]
    fn loss_and_duplication_are_drawn_for_each_message() {
        let rules = LinkRules { loss_ppm: 100_000, duplicate_ppm: 20_000, ..LinkRules::default() };
        let mut network = network(rules);
        let fates: Vec<Fate> = (0..50_000).map(|_| network.fate(NodeIndex(1), NodeIndex(2))).collect();
        let lost = fates.iter().filter(|fate| fate.arrives.is_none()).count();
        let twice = fates.iter().filter(|fate| fate.again.is_some()).count();
        assert!(lost.abs_diff(5_000) < 300 && twice.abs_diff(1_000) < 150, "{lost} {twice}");
    }

    #[test]
    fn a_cut_separates_its_sides_from_each_other_and_from_everybody_else_until_it_heals() {
        let mut network = network(LinkRules::default());
        let [a, b, c, d] = [0, 1, 2, 3].map(NodeIndex);
        network.cut(9, &[vec![a, b], vec![c]]);
        assert!(network.reaches(a, b) && !network.reaches(a, c) && !network.reaches(a, d));
        assert!(!network.reaches(c, d) && network.reaches(d, NodeIndex(70)));
        assert_eq!(network.fate(a, c).arrives, None);
        network.cut(10, &[vec![b]]);
        network.heal(9);
        assert!(network.reaches(a, c) && !network.reaches(a, b));
        network.heal(10);
        assert!(network.reaches(a, b) && !network.is_cut());
    }
}
