//! `frith demo`: the whole story on one machine, in real processes over real sockets with real stores.
//!
//! Every line that claims something was checked before it was told, by asking the nodes' own control sockets.

mod cast;
mod stage;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use frith_protocol::door::Standing;
use frith_protocol::encoding::Hash;
use frith_protocol::identity::NodeId;
use frith_protocol::state::Reason;
use serde_json::Value;

use crate::amendment::Wish;
use crate::control::views::{AmendView, HoldView, PendingView, ProposedView, WhyView};
use crate::control::{Condition, Request};
use cast::{Interrupted, Node, Trouble, frith, mail};
use stage::{Stage, Teller};

const FOUNDERS: [&str; 4] = ["ash", "birch", "cedar", "doug"];
/// Who endorses after one of them was replaced.
const ENDORSERS: [&str; 4] = ["ash", "birch", "cedar", "hazel"];
const BY_TICKET: [&str; 3] = ["elm", "fir", "ginkgo"];

/// Tells the story. Returns what went wrong, if anything did.
///
/// # Errors
/// The first claim that did not hold, or why it could not be tried.
pub fn run(json: bool) -> Result<(), String> {
    let interrupted = Interrupted::watch()?;
    let dir = tempfile::Builder::new().prefix("frith-demo-").tempdir();
    let dir = dir.map_err(|why| format!("cannot make a temporary directory: {why}"))?;
    let mut stage = Stage::new(json);
    stage.say("A trust domain from its founding to a revocation: every node is a process of its own, on this machine's loopback.");
    let mut story = Story { dir: dir.path().to_path_buf(), interrupted, nodes: Vec::new() };
    let ended = story.tell(&mut stage);
    // Kills what still runs.
    drop(story);
    let removed = dir.close().map_err(|why| format!("cannot remove the temporary directory: {why}"));
    let ended = ended.and(removed);
    let told = stage.close(&ended);
    ended.and(told)
}

struct Story {
    dir: PathBuf,
    interrupted: Interrupted,
    nodes: Vec<Node>,
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

fn parse<T: serde::de::DeserializeOwned>(value: Value) -> Result<T, Trouble> {
    serde_json::from_value(value).map_err(|e| format!("an answer of an unknown shape: {e}"))
}

fn expect(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), Trouble> {
    if holds { Ok(()) } else { Err(otherwise()) }
}

impl Story {
    fn tell(&mut self, stage: &mut Stage) -> Result<(), Trouble> {
        stage.step("found", "Four founders found a domain that bears one liar among them (f = 1)", |t| {
            self.found(t)
        })?;
        let ticket = self.dir.join("ticket");
        stage.step("invite", "Three of them countersign a ticket for five newcomers", |t| {
            self.invite(&ticket, t)
        })?;
        stage.step("join by ticket", "Three newcomers join by it, at the same time", |t| {
            self.join_by_ticket(&ticket, t)
        })?;
        stage.step("join by approval", "A fourth has no ticket, and waits for the operators", |t| {
            self.join_by_approval(t)
        })?;
        stage.step("too few endorsers", "A fifth comes while too few endorsers are up", |t| {
            self.too_few_endorsers(&ticket, t)
        })?;
        stage
            .step("kill -9", "An endorser is killed in the middle of agreement", |t| self.kill(&ticket, t))?;
        stage.step(
            "suspend",
            "Nobody knows where a member's machine is: it is suspended, found, released",
            |t| self.suspend(t),
        )?;
        stage.step("rotate", "An endorser's key may have been read: it rotates", |t| self.rotate(t))?;
        stage.step("amend", "A member takes the seat of a founder", |t| self.amend(t))?;
        stage.step(
            "hold",
            "A member's machine is stolen, and nobody is there to agree: it is held",
            |t| self.hold(t),
        )?;
        stage.step("revoke", "The others are there: it is revoked", |t| self.revoke(t))?;
        stage.step("converge", "All hold the same", |t| self.converge(t))?;
        stage.step("stop", "All stop when told", |t| self.stop(t))
    }

    fn node(&mut self, name: &str) -> &mut Node {
        self.nodes.iter_mut().find(|node| node.name == name).expect("the cast is written below")
    }

    fn id(&self, name: &str) -> NodeId {
        self.nodes.iter().find(|node| node.name == name).expect("the cast is written below").id
    }

    fn enter(&mut self, name: &'static str) -> Result<NodeId, Trouble> {
        let node = Node::new(&self.dir, name, &self.interrupted)?;
        let id = node.id;
        self.nodes.push(node);
        Ok(id)
    }

    fn path(&self, name: &str, suffix: &str) -> String {
        self.dir.join(format!("{name}.{suffix}")).display().to_string()
    }

    /// Waits until every running node says that something holds.
    fn all(&mut self, until: &Condition) -> Result<(), Trouble> {
        let mut running = self.nodes.iter_mut().filter(|node| node.is_running());
        running.try_for_each(|node| node.wait(until.clone()))
    }

    fn height(&mut self, name: &str) -> Result<u64, Trouble> {
        Ok(number(&self.node(name).status()?["head"]["height"]))
    }

    // ---- the steps ----

    fn found(&mut self, t: &mut Teller<'_>) -> Result<(), Trouble> {
        t.doing("making keys and cards");
        for name in FOUNDERS {
            self.enter(name)?;
            frith(&["found", "card", "--dir", &self.node(name).dir(), "--out", &self.path(name, "card")])?;
        }
        let cards = FOUNDERS.map(|name| self.path(name, "card"));
        let draft = self.path("home", "draft");
        let mut words = vec!["found", "draft"];
        words.extend(cards.iter().map(String::as_str));
        words.extend(["--name", "home", "--faults", "1", "--admit", "3", "--revoke", "2", "--out", &draft]);
        for timing in ["heartbeat=3s", "first-timeout=1s", "timeout-cap=8s"] {
            words.extend(["--timing", timing]);
        }
        frith(&words)?;
        for name in FOUNDERS {
            frith(&[
                "found",
                "sign",
                &draft,
                "--dir",
                &self.node(name).dir(),
                "--out",
                &self.path(name, "sig"),
            ])?;
        }
        let signatures = FOUNDERS.map(|name| self.path(name, "sig"));
        let mut domains = BTreeSet::new();
        for name in FOUNDERS {
            let dir = self.node(name).dir();
            let mut words = vec!["found", "open", &draft, "--json", "--dir", &dir];
            words.extend(signatures.iter().map(String::as_str));
            let opened: Value = serde_json::from_str(&frith(&words)?).map_err(|e| e.to_string())?;
            domains.insert(opened["domain"].as_str().unwrap_or_default().to_string());
        }
        expect(domains.len() == 1, || format!("the founders opened different domains: {domains:?}"))?;
        let mailed: Vec<&String> = cards.iter().chain([&draft]).chain(&signatures).collect();
        self.no_secret_in(&mailed)?;
        let domain = domains.into_iter().next().unwrap_or_default();
        t.claim(format!("each opened domain {}…, from files that carry no secret", &domain[..16]));

        t.doing("starting the founders");
        for name in FOUNDERS {
            self.node(name).start(None)?;
        }
        self.all(&Condition::Peers { at_least: 3 })?;
        t.claim("each is connected to the three others");
        self.all(&Condition::Height { at_least: 1 })?;
        t.claim("the first block is final at all four");
        Ok(())
    }

    /// That no file of `mailed` contains any secret key.
    fn no_secret_in(&self, mailed: &[&String]) -> Result<(), Trouble> {
        let read = |path: &Path| fs::read_to_string(path).map_err(|why| format!("{}: {why}", path.display()));
        for node in &self.nodes {
            let dir = node.home.keys();
            let files = fs::read_dir(&dir).map_err(|why| format!("{}: {why}", dir.display()))?;
            for file in files {
                let text = read(&file.map_err(|why| format!("{}: {why}", dir.display()))?.path())?;
                let secret = text.lines().find_map(|line| line.strip_prefix("secret "));
                let secret = secret.ok_or("a key file without a secret")?;
                for path in mailed {
                    let clean = !read(Path::new(path))?.contains(secret);
                    expect(clean, || format!("{path} contains a secret key of {}", node.name))?;
                }
            }
        }
        Ok(())
    }

    fn invite(&mut self, ticket: &Path, t: &mut Teller<'_>) -> Result<(), Trouble> {
        let request = Request::Invite {
            roles: vec!["member".into()],
            uses: 5,
            lifetime_ms: 3_600_000,
            note: String::new(),
        };
        let ProposedView { id, .. } = parse(self.node("ash").ask(&request)?)?;
        t.claim("ash proposes it; one signature is not enough");
        let early = self.node("ash").ask(&Request::Ticket { id: id.to_string() });
        expect(early.is_err(), || "a ticket was printed that only one endorser had signed".into())?;
        for name in ["birch", "cedar"] {
            self.endorse(name, &id)?;
        }
        self.node("ash").wait(Condition::Countersigned { id: id.to_string() })?;
        let pending: Vec<PendingView> = parse(self.node("ash").ask(&Request::Pending {})?)?;
        let signed = pending.iter().find(|one| one.id == id).map_or(0, |one| one.endorsed_by.len());
        expect(signed == 3, || format!("{signed} signatures instead of 3"))?;
        let printed = self.node("ash").ask(&Request::Ticket { id: id.to_string() })?;
        mail(ticket, printed["ticket"].as_str().ok_or("no ticket was printed")?)?;
        t.claim("birch and cedar countersign; ash prints it");
        Ok(())
    }

    /// An operator endorses, once it is there to be endorsed.
    fn endorse(&mut self, name: &str, id: &Hash) -> Result<(), Trouble> {
        let interrupted = self.interrupted.clone();
        let node = self.node(name);
        interrupted.until(&format!("{name} sees what it is to endorse"), || {
            let pending: Vec<PendingView> = parse(node.ask(&Request::Pending {})?)?;
            Ok(pending.iter().any(|one| one.id == *id).then_some(()))
        })?;
        node.ask(&Request::Endorse { id: id.to_string() })?;
        Ok(())
    }

    fn join_by_ticket(&mut self, ticket: &Path, t: &mut Teller<'_>) -> Result<(), Trouble> {
        for name in BY_TICKET {
            self.enter(name)?;
        }
        for name in BY_TICKET {
            self.node(name).start(Some(ticket))?;
        }
        for name in BY_TICKET {
            t.doing(&format!("{name} gathers endorsements"));
            self.node(name).wait(Condition::Member {})?;
        }
        t.claim(format!("{} hold the certificate of their own admission", BY_TICKET.join(", ")));
        for name in BY_TICKET {
            let node = self.id(name);
            self.all(&Condition::Admitted { node: node.to_string() })?;
        }
        let members = number(&self.node("doug").status()?["members"]);
        expect(members == 7, || format!("doug counts {members} members instead of 7"))?;
        t.claim("all seven nodes count all three as members");
        let why = self.all_say(self.id("elm"), Standing::Member, "Admitted at height")?;
        t.claim(format!("and say why, of elm: {why}"));
        Ok(())
    }

    fn join_by_approval(&mut self, t: &mut Teller<'_>) -> Result<(), Trouble> {
        let anchor = self.node("birch").ask(&Request::Anchor {})?;
        let paper = self.dir.join("anchor");
        mail(&paper, anchor["anchor"].as_str().ok_or("no anchor was printed")?)?;
        let hazel = self.enter("hazel")?;
        self.node("hazel").start(Some(&paper))?;
        t.doing("hazel asks the endorsers");
        for name in FOUNDERS {
            self.node(name).wait(Condition::Waiting { at_least: 1 })?;
        }
        let phase = self.node("hazel").status()?["phase"].clone();
        let members = number(&self.node("ash").status()?["members"]);
        expect(phase == "joining" && members == 7, || format!("hazel is {phase}, of {members} members"))?;
        t.claim("hazel's request is in every operator's queue, and hazel is no member");

        let pending: Vec<PendingView> = parse(self.node("ash").ask(&Request::Pending {})?)?;
        let asked = pending.iter().find(|one| one.subject == Some(hazel) && !one.met);
        let id = asked.map(|one| one.id).ok_or("hazel's request is not in ash's queue")?;
        for name in ["ash", "birch"] {
            self.endorse(name, &id)?;
        }
        let admitted = self.node("hazel").status()?["joining"].is_null();
        expect(!admitted, || "two yeses of three admitted hazel".into())?;
        t.claim("two operators say yes: still no member");
        self.endorse("doug", &id)?;
        self.node("hazel").wait(Condition::Member {})?;
        self.all(&Condition::Admitted { node: hazel.to_string() })?;
        let why = self.all_say(hazel, Standing::Member, "Admitted at height")?;
        t.claim(format!("a third says yes: hazel is a member everywhere: {why}"));
        Ok(())
    }

    fn too_few_endorsers(&mut self, ticket: &Path, t: &mut Teller<'_>) -> Result<(), Trouble> {
        for name in ["cedar", "doug"] {
            self.node(name).stop()?;
        }
        t.claim("cedar and doug are stopped: two endorsers are left, and admission needs three");
        let iris = self.enter("iris")?;
        self.node("iris").start(Some(ticket))?;
        t.doing("iris asks whom it can reach");
        let interrupted = self.interrupted.clone();
        let node = self.node("iris");
        interrupted.until("iris has the endorsements of ash and birch", || {
            let status = node.status()?;
            Ok((status["joining"][0] == 2 && status["joining"][1] == 3).then_some(()))
        })?;
        t.claim("iris has two endorsements of three, and waits");
        for name in ["ash", "birch"] {
            let why = self.node(name).ask(&Request::Why { node: iris.to_string() });
            let known = why.is_ok_and(|why| !why["member"].is_null());
            expect(!known, || format!("{name} takes iris for a member"))?;
        }
        t.claim("neither of the two takes it for a member");
        self.node("doug").start(None)?;
        self.node("iris").wait(Condition::Member {})?;
        self.all(&Condition::Admitted { node: iris.to_string() })?;
        t.claim("doug comes back: iris is a member everywhere");
        self.node("cedar").start(None)?;
        let height = self.height("ash")?;
        self.node("cedar").wait(Condition::Height { at_least: height })?;
        self.node("cedar").wait(Condition::Admitted { node: iris.to_string() })?;
        t.claim("cedar comes back, and learns what it missed");
        Ok(())
    }

    fn kill(&mut self, ticket: &Path, t: &mut Teller<'_>) -> Result<(), Trouble> {
        self.all(&Condition::Peers { at_least: 3 })?;
        let juniper = self.enter("juniper")?;
        self.node("juniper").start(Some(ticket))?;
        t.doing("an entry goes round");
        self.node("doug").wait(Condition::Deliberating {})?;
        self.node("doug").kill()?;
        t.claim("doug is killed with SIGKILL while juniper's admission waits for its vote");
        self.node("juniper").wait(Condition::Member {})?;
        self.all(&Condition::Admitted { node: juniper.to_string() })?;
        t.claim("the three others finalise it without doug");
        let height = self.height("ash")? + 1;
        t.doing("the log goes on");
        self.node("ash").wait(Condition::Height { at_least: height })?;
        t.claim(format!("the log goes on: height {height} is final"));
        self.node("doug").start(None)?;
        self.node("doug").wait(Condition::Height { at_least: height })?;
        self.node("doug").wait(Condition::Admitted { node: juniper.to_string() })?;
        let status = self.node("doug").status()?;
        let sound = status["phase"] == "endorsing"
            && status["journal_lost"].is_null()
            && status["damage"].as_array().is_some_and(Vec::is_empty);
        expect(sound, || format!("doug did not come back as an endorser: {status}"))?;
        t.claim("doug starts again from its own journal, catches up, and endorses");
        for node in &self.nodes {
            let status = node.status()?;
            expect(status["alarms"].as_array().is_some_and(Vec::is_empty), || {
                format!("{} raises an alarm: {}", node.name, status["alarms"])
            })?;
        }
        t.claim("no node saw doug contradict itself");
        Ok(())
    }

    /// Waits until every node says that `of` is a `standing`, and gives one reason that each of them gives for it.
    fn all_say(&self, of: NodeId, standing: Standing, reason: &str) -> Result<String, Trouble> {
        let mut said = BTreeSet::new();
        // Whoever is gone is told nothing more by anybody.
        for node in self.nodes.iter().filter(|node| node.id != of || standing != Standing::Gone) {
            let why = self.interrupted.until(&format!("{} calls {of} {standing:?}", node.name), || {
                let why: WhyView = parse(node.ask(&Request::Why { node: of.to_string() })?)?;
                Ok((why.standing == standing).then_some(why))
            })?;
            let found = why.because.iter().find(|sentence| sentence.contains(reason)).cloned();
            said.insert(found.ok_or_else(|| {
                format!("{} gives other reasons than {reason:?}: {:?}", node.name, why.because)
            })?);
        }
        let first = said.first().cloned().unwrap_or_default();
        expect(said.len() == 1, || format!("they give different reasons: {said:?}"))?;
        Ok(first)
    }

    fn suspend(&mut self, t: &mut Teller<'_>) -> Result<(), Trouble> {
        let ginkgo = self.id("ginkgo");
        let (node, note) = (ginkgo.to_string(), String::new());
        let request = Request::Suspend {
            node: node.clone(),
            for_ms: None,
            reason: Reason::Unspecified,
            note: note.clone(),
        };
        let ProposedView { id, .. } = parse(self.node("ash").ask(&request)?)?;
        self.endorse("birch", &id)?;
        let why = self.all_say(ginkgo, Standing::Suspended, "Suspended at height")?;
        t.claim(format!("ash and birch suspend ginkgo, and all ten nodes say why: {why}"));
        let phase = self.node("ginkgo").status()?["phase"].clone();
        expect(phase == "restrained", || format!("ginkgo is {phase}"))?;

        let ProposedView { id, .. } = parse(self.node("ash").ask(&Request::Release { node, note })?)?;
        for name in ["birch", "cedar"] {
            self.endorse(name, &id)?;
        }
        let why = self.all_say(ginkgo, Standing::Member, "Released from a suspension")?;
        self.node("ginkgo").wait(Condition::Member {})?;
        t.claim(format!("ash, birch and cedar release it, a member again everywhere: {why}"));
        Ok(())
    }

    fn rotate(&mut self, t: &mut Teller<'_>) -> Result<(), Trouble> {
        let mut peers = Vec::new();
        for node in &self.nodes {
            peers.push((node.name, number(&node.status()?["connected"]) as usize));
        }
        let old = self.node("cedar").status()?["key"].clone();
        self.node("cedar").ask(&Request::Rotate { next_key: None })?;
        t.doing("cedar's rotation becomes final");
        // Not before the old key is destroyed, and cedar speaks by the new one.
        self.node("cedar").wait(Condition::Rotated { at_least: 1 })?;
        let new = self.node("cedar").status()?["key"].clone();
        expect(old != new, || format!("cedar speaks by {new} as before"))?;
        t.claim("cedar speaks by the key that it had committed to, in the same process, and the old one is destroyed");
        for (name, before) in peers {
            self.node(name).wait(Condition::Peers { at_least: before })?;
        }
        let cedar = self.id("cedar");
        let why = self.all_say(cedar, Standing::Endorser, "Its key is number 1")?;
        t.claim(format!("nobody has dropped out, and all ten nodes say of cedar: {why}"));
        Ok(())
    }

    fn amend(&mut self, t: &mut Teller<'_>) -> Result<(), Trouble> {
        let (hazel, doug) = (self.id("hazel"), self.id("doug"));
        let wish = Wish { add: vec![hazel.to_string()], remove: vec![doug.to_string()], ..Wish::default() };
        let request = Request::Amend { wish: Box::new(wish), dry_run: false, note: String::new() };
        let AmendView { id, .. } = parse(self.node("ash").ask(&request)?)?;
        for name in ["birch", "cedar"] {
            self.endorse(name, &id)?;
        }
        self.interrupted.until("ash knows of three yeses", || {
            let ash = self.nodes.iter().find(|node| node.name == "ash").ok_or("ash is there")?;
            let pending: Vec<PendingView> = parse(ash.ask(&Request::Pending {})?)?;
            let asked = pending.iter().find(|one| one.id == id);
            Ok(asked.filter(|one| one.endorsed_by.len() == 3 && one.must_consent == [hazel]).map(drop))
        })?;
        let epoch = self.node("ash").status()?["charter"]["epoch"].clone();
        expect(epoch == 1, || format!("epoch {epoch} began without hazel's consent"))?;
        t.claim("ash, birch and cedar say yes to hazel in doug's seat: hazel has not consented, and nothing changes");
        self.endorse("hazel", &id)?;
        self.all(&Condition::Epoch { at_least: 2 })?;
        t.claim("hazel consents with a fresh voting key: epoch 2 begins at all ten nodes");
        let why = self.all_say(hazel, Standing::Endorser, "Seated since height")?;
        t.claim(format!("hazel is an endorser: {why}"));
        let why = self.all_say(doug, Standing::Member, "It lost its seat at height")?;
        t.claim(format!("doug is a member: {why}"));
        let phases =
            ["hazel", "doug"].map(|name| self.node(name).status().map(|status| status["phase"].clone()));
        let [hazel, doug] = phases;
        let (hazel, doug) = (hazel?, doug?);
        expect(hazel == "endorsing" && doug == "following", || format!("hazel is {hazel}, doug is {doug}"))?;
        Ok(())
    }

    fn hold(&mut self, t: &mut Teller<'_>) -> Result<(), Trouble> {
        let fir = self.id("fir");
        let request = Request::Hold { node: fir.to_string(), for_ms: 1_799_999, reason: Reason::Compromised };
        let HoldView { needed, held, .. } = parse(self.node("ash").ask(&request)?)?;
        expect(held && needed == 1, || format!("of a member's hold {needed} are needed"))?;
        let why = self.all_say(fir, Standing::Suspended, "Held by")?;
        t.claim(format!(
            "ash holds fir, on its own word and for half an hour at most; all ten nodes say why: {why}"
        ));
        for node in self.nodes.iter().filter(|node| node.name != "fir") {
            let why: WhyView = parse(node.ask(&Request::Why { node: fir.to_string() })?)?;
            let member = why.member.ok_or_else(|| format!("{} knows no fir", node.name))?;
            expect(member.effective == "held", || format!("to {} fir is {}", node.name, member.effective))?;
        }
        let phase = self.node("fir").status()?["phase"].clone();
        expect(phase == "restrained", || format!("fir is {phase}"))?;
        t.claim("the nine others count it as held, and fir itself says that it is restrained");
        Ok(())
    }

    fn revoke(&mut self, t: &mut Teller<'_>) -> Result<(), Trouble> {
        let fir = self.id("fir");
        let key = self.node("fir").status()?["key"].clone();
        let request =
            Request::Revoke { node: fir.to_string(), reason: Reason::Compromised, note: "stolen".into() };
        let ProposedView { id, .. } = parse(self.node("ash").ask(&request)?)?;
        self.endorse("hazel", &id)?;
        t.claim("ash and hazel, who is an endorser now, revoke fir; two are enough");
        for node in self.nodes.iter_mut().filter(|node| node.name != "fir") {
            node.wait(Condition::Gone { node: fir.to_string() })?;
        }
        let why = self.all_say(fir, Standing::Gone, "Revoked for good")?;
        t.claim(format!("fir is gone at all nine other nodes: {why}"));
        t.doing("fir loses its connections");
        self.cut_off(&key)?;
        t.claim("none of them is connected to it, and it is connected to none");

        let turned_away = self.turned_away()?;
        self.node("fir").stop()?;
        self.node("fir").start(None)?;
        let interrupted = self.interrupted.clone();
        t.doing("fir tries to come back");
        interrupted.until("the endorsers turn fir away", || {
            Ok((self.turned_away()? >= turned_away + 3).then_some(()))
        })?;
        self.cut_off(&key)?;
        t.claim("fir starts again, knocks, and is turned away");
        Ok(())
    }

    /// Waits until nobody is connected to the node with `key`, nor it to anybody.
    fn cut_off(&self, key: &Value) -> Result<(), Trouble> {
        self.interrupted.until("nobody is connected to fir", || {
            for node in &self.nodes {
                let status = node.status()?;
                let peers = status["net"]["peers"].as_array().cloned().unwrap_or_default();
                let connected = if node.name == "fir" {
                    !peers.is_empty()
                } else {
                    peers.iter().any(|peer| peer["key"] == *key)
                };
                if connected {
                    return Ok(None);
                }
            }
            Ok(Some(()))
        })
    }

    /// How many connections the endorsers have refused.
    fn turned_away(&self) -> Result<u64, Trouble> {
        let mut sum = 0;
        for node in self.nodes.iter().filter(|node| ENDORSERS.contains(&node.name)) {
            let metrics = node.ask(&Request::Metrics {})?;
            let text = metrics["prometheus"].as_str().unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix("frith_net_denied_total "));
            sum +=
                line.and_then(|count| count.trim().parse::<u64>().ok()).ok_or("a node counts no denials")?;
        }
        Ok(sum)
    }

    fn converge(&mut self, t: &mut Teller<'_>) -> Result<(), Trouble> {
        t.doing("heads settle");
        let here: Vec<&Node> = self.nodes.iter().filter(|node| node.name != "fir").collect();
        let (height, root) = self.interrupted.until("all heads and roots are equal", || {
            let mut heads = BTreeSet::new();
            for node in &here {
                let head = node.status()?["head"].clone();
                heads.insert((
                    number(&head["height"]),
                    head["block"].to_string(),
                    head["state_root"].to_string(),
                ));
            }
            let first = heads.first().cloned();
            Ok(first.filter(|_| heads.len() == 1).map(|(height, _, root)| (height, root)))
        })?;
        let root = root.trim_matches('"').get(..16).unwrap_or_default().to_string();
        let count = here.len();
        t.claim(format!("{count} nodes, one head: height {height}, state root {root}…"));
        for node in here {
            let status = node.status()?;
            let (members, gone) = (number(&status["members"]), number(&status["gone"]));
            expect((members, gone) == (9, 1), || {
                format!("{} counts {members} members, {gone} gone", node.name)
            })?;
        }
        t.claim("each counts nine members, and one gone");
        Ok(())
    }

    fn stop(&mut self, t: &mut Teller<'_>) -> Result<(), Trouble> {
        let count = self.nodes.len();
        for node in &mut self.nodes {
            t.doing(&format!("{} stops", node.name));
            node.stop()?;
        }
        t.claim(format!("{count} processes ended cleanly on SIGTERM"));
        Ok(())
    }
}
