//! `init` and `found`: a node's and a domain's beginning.

use std::fs;

use frith_protocol::door::founding_records;
use frith_protocol::state::AdmissionPolicy;
use serde_json::json;

use super::args::{CardArgs, DraftArgs, InitArgs, OpenArgs, SignArgs};
use super::output::Out;
use super::{CommandError, Done, write_out};
use crate::addresses::{unheard, warning};
use crate::config::{Config, Overrides};
use crate::founding::{
    self, Card, Draft, DraftOptions, FounderSignature, parse_role, parse_role_freshness, parse_timing,
};
use crate::home::Home;
use crate::keys;
use crate::runtime::{Hints, now};
use crate::store::{Owner, Store};

pub(super) fn init(home: &Home, args: InitArgs, out: Out) -> Done {
    let keys = keys::create(home)?;
    let path = home.config();
    let written = !path.exists();
    if written {
        let mut config = Config { external: args.addresses, ..Config::default() };
        if !args.listen.is_empty() {
            config.listen = args.listen;
        }
        if let Some(warning) = warning(&unheard(&config.external, &config.listen)) {
            out.note(&format!("warning: {warning}"));
        }
        fs::write(&path, config.to_commented_toml())
            .map_err(|why| CommandError::usage(format!("{}: cannot write it: {why}", path.display())))?;
    }
    let node = keys.inception.node_id();
    let shown = out.result(&json!({ "node": node, "key": keys.inception.key, "dir": home.dir() }), || {
        format!(
            "node {node}\n\nIts keys are in {}: keep them for yourself. keys/next.key is for the day on which the running key is \
             stolen; move it to where a thief of this machine would not find it.\n",
            home.keys().display()
        )
    })?;
    if !written {
        out.note(&format!("{} was there already and is left as it is", path.display()));
    }
    Ok(shown)
}

pub(super) fn card(home: &Home, args: CardArgs, out: Out) -> Done {
    let keys = keys::load(home)?;
    let config = Config::load(&home.config(), Overrides::default())?;
    let addresses = if args.addresses.is_empty() { config.external } else { args.addresses };
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    if addresses.is_empty() {
        out.note(
            "the card names no address: the other founders will not find this one unless it finds them; \
             see --address, or `external` in D/frith.toml",
        );
    }
    let voting = keys::voting_or_new(home)?;
    let card = Card::new(&keys, voting.public(), addresses).map_err(CommandError::usage)?;
    write_out(args.out.as_ref(), &card.to_toml())
}

pub(super) fn draft(args: DraftArgs, out: Out) -> Done {
    if let Some(out) = args.out.as_ref().filter(|out| !args.force && out.exists()) {
        return Err(CommandError::usage(format!(
            "{}: it is there already, and founders may have signed it; say another --out, or --force to write over it",
            out.display()
        )));
    }
    let mut options = DraftOptions {
        name: args.name,
        faults: args.faults,
        admit: args.admit,
        revoke: args.revoke,
        contain: args.contain,
        amend: args.amend,
        roles: args.roles.iter().map(|text| parse_role(text)).collect::<Result<_, _>>()?,
        role_freshness: args
            .role_freshness
            .iter()
            .map(|text| parse_role_freshness(text))
            .collect::<Result<_, _>>()?,
        recovery: args.recovery.into(),
        admission: AdmissionPolicy { tickets: !args.no_tickets, approval: !args.no_approval },
        ..DraftOptions::default()
    };
    for text in &args.timing {
        parse_timing(&mut options.timing, text)?;
    }
    let read = |path: std::path::PathBuf| Card::read(&path).map(|card| (path, card));
    let cards = args.cards.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let draft = founding::draft(&cards, options, now())?;
    let written = write_out(args.out.as_ref(), &draft.to_commented_toml())?;
    out.note(&draft.summary());
    if draft.charter.recovery.keys.is_empty() {
        out.note("warning    no recovery keys: should a quorum be lost for good, nothing brings this domain back; see --recovery");
    }
    if args.no_tickets && args.no_approval {
        out.note(
            "warning    neither by ticket nor by approval: this charter admits nobody beyond its founders",
        );
    }
    Ok(written)
}

pub(super) fn sign(home: &Home, args: SignArgs, out: Out) -> Done {
    let keys = keys::load(home)?;
    let draft = Draft::read(&args.draft)?;
    let signature = founding::sign(&draft, &args.draft, &keys)?;
    let written = write_out(args.out.as_ref(), &signature.to_toml())?;
    out.note(&draft.summary());
    Ok(written)
}

pub(super) fn open(home: &Home, args: OpenArgs, out: Out) -> Done {
    let keys = keys::load(home)?;
    let draft = Draft::read(&args.draft)?;
    let read = |path: std::path::PathBuf| FounderSignature::read(&path).map(|signature| (path, signature));
    let signatures = args.signatures.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let founded = founding::put_together(&draft, &args.draft, &signatures, &keys)?;

    let node = keys.inception.node_id();
    let domain = founded.domain();
    let voting = founded.charter.seat_of(&node).expect("it was put together for this node").voting_key;
    let others = founded.charter.endorsers.iter().filter(|seat| seat.node_id() != node);
    let of = others
        .filter_map(|seat| Some((seat.inception.key, draft.addresses.get(&seat.node_id())?.clone())))
        .collect();
    let hints = Hints { of, anybody: Vec::new() };
    let records = founding_records(&founded, &voting);
    Store::create(&home.store(), Owner { node, domain }, &records, &[hints.note()])?;
    out.result(&json!({ "node": node, "domain": domain }), || {
        format!(
            "domain {domain} ({:?}) is founded here\n\nStart the node: frith run --dir {}\n",
            founded.charter.name,
            home.dir().display()
        )
    })
}
