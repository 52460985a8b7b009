//! What each command makes of the record: one function each, all with the same order of checks.
//!
//! 1. Already as asked: answered again, whatever generation the caller knows. That makes every verb repeatable.
//! 2. Planned from another generation: stale.
//! 3. The change before is not settled: in progress.
//! 4. What was asked makes no sense.

use super::{Cluster, Command, MEMBERS_MAX, Member, Record, Refusal, SHARDS_MAX, put_removed, removed};
use crate::tables::Tables;
use crate::{At, Level, NodeId, Stop};
use std::collections::BTreeSet;

/// The record as it will be; `None` if it is as asked.
type Changed = Result<Option<Record>, Stop>;

impl Cluster {
    pub(super) fn changed(&self, at: At, command: Command, tables: &mut dyn Tables) -> Changed {
        match command {
            Command::Initialize(first) => self.initialize(first),
            Command::AddLearner { member, expected } => self.add_learner(at, member, expected, tables),
            Command::SetVoters { voters, expected } => self.set_voters(voters, expected, tables),
            Command::Settle { generation } => self.settle(generation),
            Command::RemoveMember { id, expected } => self.remove_member(at, id, expected, tables),
            Command::UpdateMember { member, expected } => self.update_member(member, expected, tables),
            Command::RaiseLevel { level, expected } => self.raise_level(level, expected),
            Command::Join { name, address, http_url, store_id } => {
                self.join(Member { id: NodeId(at.index), name, address, http_url, store_id: Some(store_id) })
            }
        }
    }

    fn initialize(&self, first: Record) -> Changed {
        check(&first)?;
        let Some(record) = &self.record else { return Ok(Some(first)) };
        let difference = |what: &str| Refusal::AlreadyInitialized { difference: what.to_owned() };
        if record.shards != first.shards {
            return Err(difference(&format!("it has {} shards", record.shards)).into());
        }
        if record.managed_by != first.managed_by {
            return Err(difference("it is managed by somebody else").into());
        }
        let same = |(id, seed): (&NodeId, &Member)| {
            record.members.get(id).is_some_and(|member| member.store_id == seed.store_id)
        };
        if !first.members.iter().all(same) {
            return Err(difference("it began on another disk").into());
        }
        Ok(None)
    }

    fn add_learner(&self, at: At, member: Member, expected: u64, tables: &dyn Tables) -> Changed {
        let record = self.initialized()?;
        if record.members.get(&member.id) == Some(&member) {
            return Ok(None);
        }
        let mut next = record.next(expected)?;
        let id = member.id;
        if let Some(index) = removed(tables, id)? {
            return Err(Refusal::Removed { id, index }.into());
        }
        if let Some(other) = record.members.get(&id) {
            return Err(Refusal::OtherMember { id, difference: difference(other, &member) }.into());
        }
        // An id is the index of a blank entry, so every id ever given out is lower than this entry's.
        if id.0 == 0 || id.0 >= at.index {
            return Err(Refusal::IdNotGiven { id }.into());
        }
        next.members.insert(id, member);
        check(&next)?;
        Ok(Some(next))
    }

    fn set_voters(&self, voters: BTreeSet<NodeId>, expected: u64, tables: &dyn Tables) -> Changed {
        let record = self.initialized()?;
        if record.voters == voters {
            return Ok(None);
        }
        let mut next = record.next(expected)?;
        for &id in &voters {
            record.member(id, tables)?;
        }
        next.joining.retain(|id| !voters.contains(id));
        next.voters = voters;
        check(&next)?;
        Ok(Some(next))
    }

    fn settle(&self, generation: u64) -> Changed {
        let record = self.initialized()?;
        if record.generation != generation {
            return Err(Refusal::Stale { current: record.generation }.into());
        }
        Ok((!record.settled).then(|| Record { settled: true, ..record.clone() }))
    }

    fn remove_member(&self, at: At, id: NodeId, expected: u64, tables: &mut dyn Tables) -> Changed {
        let record = self.initialized()?;
        if removed(tables, id)?.is_some() {
            return Ok(None);
        }
        let mut next = record.next(expected)?;
        record.member(id, tables)?;
        if record.voters.contains(&id) {
            return Err(Refusal::StillVotes { id }.into());
        }
        next.members.remove(&id);
        next.joining.remove(&id);
        put_removed(tables, id, at.index);
        Ok(Some(next))
    }

    fn update_member(&self, member: Member, expected: u64, tables: &dyn Tables) -> Changed {
        let record = self.initialized()?;
        if record.members.get(&member.id) == Some(&member) {
            return Ok(None);
        }
        let mut next = record.next(expected)?;
        let id = member.id;
        let current = record.member(id, tables)?;
        if current.store_id.is_some() && current.store_id != member.store_id {
            return Err(Refusal::OtherMember { id, difference: difference(current, &member) }.into());
        }
        next.members.insert(id, member);
        check(&next)?;
        Ok(Some(next))
    }

    fn raise_level(&self, level: Level, expected: u64) -> Changed {
        let record = self.initialized()?;
        if level <= record.level {
            return Ok(None);
        }
        let next = record.next(expected)?;
        if level > Level::MAX {
            // The proposer saw that every member supports it, so this one must not go on pretending to.
            return Err(Stop::Broken(format!(
                "the cluster goes to level {level}, this release knows up to {}: run a newer release",
                Level::MAX
            )));
        }
        // Membership is untouched: nothing is left to settle.
        Ok(Some(Record { level, settled: true, ..next }))
    }

    fn join(&self, member: Member) -> Changed {
        let record = self.initialized()?;
        if let Some(by) = &record.managed_by {
            return Err(Refusal::Managed { by: by.clone() }.into());
        }
        if record.members.values().any(|known| known.store_id == member.store_id) {
            return Ok(None);
        }
        let mut next = record.next(record.generation)?;
        let elsewhere = |known: &&Member| known.name == member.name && known.address != member.address;
        if let Some(Member { id, address, .. }) = record.members.values().find(elsewhere) {
            return Err(Refusal::NameTaken { id: *id, address: address.clone() }.into());
        }
        next.joining.insert(member.id);
        next.members.insert(member.id, member);
        check(&next)?;
        Ok(Some(next))
    }

    fn initialized(&self) -> Result<&Record, Refusal> {
        self.record.as_ref().ok_or(Refusal::NotInitialized)
    }
}

impl Record {
    /// The record to be changed, one generation on and not settled, if the change may begin.
    fn next(&self, expected: u64) -> Result<Record, Refusal> {
        if self.generation != expected {
            Err(Refusal::Stale { current: self.generation })
        } else if !self.settled {
            Err(Refusal::ChangeInProgress { current: self.generation })
        } else {
            Ok(Record { generation: self.generation + 1, settled: false, ..self.clone() })
        }
    }

    fn member(&self, id: NodeId, tables: &dyn Tables) -> Result<&Member, Stop> {
        if let Some(member) = self.members.get(&id) {
            return Ok(member);
        }
        Err(match removed(tables, id)? {
            Some(index) => Refusal::Removed { id, index },
            None => Refusal::UnknownMember { id },
        }
        .into())
    }
}

/// In what a member differs from what was asked, for people.
fn difference(member: &Member, asked: &Member) -> String {
    let Member { id: _, name, address, http_url, store_id } = member;
    if *store_id != asked.store_id {
        let store_id = store_id.as_ref().map_or("unknown", |id| id.as_str());
        format!("its disk is {store_id}")
    } else if *name != asked.name {
        format!("its name is {name:?}")
    } else if *address != asked.address {
        format!("its address is {address:?}")
    } else {
        format!("its client URL is {:?}", http_url.as_deref().unwrap_or(""))
    }
}

/// Whether a record makes sense: bounds that keep it small, and the invariants of [`super`].
fn check(record: &Record) -> Result<(), Refusal> {
    let Record {
        generation: _,
        members,
        voters,
        joining,
        settled: _,
        shards,
        level: _,
        epoch: _,
        managed_by,
    } = record;
    let invalid = |reason: String| Err(Refusal::Invalid { reason });
    if !(1..=SHARDS_MAX).contains(shards) {
        return invalid(format!("a cluster has 1 to {SHARDS_MAX} shards, not {shards}"));
    }
    if members.len() > MEMBERS_MAX {
        return invalid(format!("a cluster has at most {MEMBERS_MAX} members"));
    }
    if voters.is_empty() {
        return invalid("a cluster has at least one voter".to_owned());
    }
    if let Some(id) = voters.iter().find(|id| !members.contains_key(id)) {
        return Err(Refusal::UnknownMember { id: *id });
    }
    if joining.iter().any(|id| voters.contains(id) || !members.contains_key(id)) {
        return invalid("who is joining is a member without a vote".to_owned());
    }
    if managed_by.as_ref().is_some_and(|name| !(1..=253).contains(&name.len())) {
        return invalid("the manager's name has 1 to 253 bytes".to_owned());
    }
    let mut stores = BTreeSet::new();
    for (id, member) in members {
        let Member { id: own, name, address, http_url, store_id } = member;
        if id != own {
            return invalid(format!("member {id} stands under the id {own}"));
        }
        if !(1..=253).contains(&name.len()) {
            return invalid(format!("the name of member {id} has 1 to 253 bytes"));
        }
        if !(1..=260).contains(&address.len()) {
            return invalid(format!("the peer address of member {id} has 1 to 260 bytes"));
        }
        if http_url.as_ref().is_some_and(|url| !(1..=2_048).contains(&url.len())) {
            return invalid(format!("the client URL of member {id} has 1 to 2048 bytes"));
        }
        if let Some(store_id) = store_id
            && !stores.insert(store_id)
        {
            return invalid(format!("two members on one disk: {store_id}"));
        }
    }
    Ok(())
}
