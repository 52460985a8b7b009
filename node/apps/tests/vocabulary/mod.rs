//! The words of the golden scripts. A line is a verb, then words and `name=value` options in any order; `a*5` is
//! `aaaaa`, `\x00` is that byte. The statements of a transaction are divided by `;` (`txn.rs`); `queue.rs` has the words of
//! the queue.

mod queue;
mod txn;

use bytes::Bytes;
use schedia_apps::cluster::{self, Member, Record};
use schedia_apps::tables::{MemoryTables, Range, Tables};
use schedia_apps::{
    App, Applications, At, Command, Epoch, Event, Level, NodeId, Query, Reply, Stop, TABLES, kv, once, sweep,
};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// The applications of one member, and the log that feeds them.
pub(crate) struct Machine {
    apps: Applications,
    tables: MemoryTables,
    at: At,
    events: Vec<Event>,
}

impl Default for Machine {
    fn default() -> Machine {
        let tables = MemoryTables::default();
        let apps = Applications::open(&tables).unwrap();
        Machine { apps, tables, at: At::default(), events: Vec::new() }
    }
}

struct Line<'a> {
    words: Vec<&'a str>,
    options: BTreeMap<&'a str, &'a str>,
}

impl<'a> Line<'a> {
    fn parse(line: &'a str) -> Line<'a> {
        let (options, words): (Vec<_>, Vec<_>) = line.split_whitespace().partition(|word| word.contains('='));
        Line { words, options: options.iter().filter_map(|option| option.split_once('=')).collect() }
    }

    fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.options
            .get(name)
            .map(|text| text.parse().unwrap_or_else(|_| panic!("{name}: no number: {text}")))
    }

    fn word_number(&self, place: usize) -> u64 {
        self.words[place].parse().unwrap_or_else(|_| panic!("no number: {}", self.words[place]))
    }

    fn bytes(&self, name: &str) -> Option<Bytes> {
        self.options.get(name).map(|text| bytes(text))
    }

    fn has(&self, word: &str) -> bool {
        self.words.contains(&word)
    }

    fn text(&self, name: &str) -> Option<String> {
        self.options.get(name).map(|&text| text.to_owned())
    }
}

impl Machine {
    pub(crate) fn run(&mut self, line: &str) -> String {
        let whole = line;
        let line = Line::parse(line);
        let output = match whole.split_once(' ') {
            Some(("txn", statements)) => self.txn(&txn::parse(statements)),
            Some(("once", request)) => self.once(&line, request),
            _ => self.verb(&line),
        };
        let opened = Applications::open(&self.tables).unwrap();
        assert_eq!(opened, self.apps, "memory is not what the tables say after {:?}", line.words);
        output
    }

    fn verb(&mut self, line: &Line<'_>) -> String {
        match line.words[0] {
            "changes" => self.query(kv::Query::Changes(kv::Since {
                range: range(line),
                from: line.options.get("from").map_or(kv::Revision { main: 0, sub: 0 }, |text| place(text)),
                previous: line.has("previous"),
            })),
            "get" => self.query(kv::Query::Get {
                key: bytes(line.words.get(1).unwrap_or(&"")),
                revision: line.number("revision"),
            }),
            "list" => self.query(kv::Query::List(list(line))),
            "revisions" => self.query(kv::Query::Revisions),
            "compactable" => self.query(kv::Query::Compactable {
                now_ms: line.number("now").unwrap(),
                keep_ms: line.number("keep").unwrap(),
                keep_revisions: line.number("revisions").unwrap(),
            }),
            "remove" => self.remove(line.number("max").unwrap_or(usize::MAX)),
            "events" => std::mem::take(&mut self.events).iter().map(event).collect::<Vec<_>>().join(", "),
            "blank" => {
                self.at.index = line.word_number(1);
                format!("index {}", self.at.index)
            }
            "initialize" => self.cluster(line, cluster::Command::Initialize(first_record(line))),
            "add" => {
                let expected = line.number("expected").unwrap();
                self.cluster(line, cluster::Command::AddLearner { member: member(line), expected })
            }
            "update" => {
                let expected = line.number("expected").unwrap();
                self.cluster(line, cluster::Command::UpdateMember { member: member(line), expected })
            }
            "voters" => {
                let (voters, expected) = (ids(&line.words[1..]), line.number("expected").unwrap());
                self.cluster(line, cluster::Command::SetVoters { voters, expected })
            }
            "settle" => self.cluster(line, cluster::Command::Settle { generation: line.word_number(1) }),
            "remove-member" => {
                let (id, expected) = (NodeId(line.word_number(1)), line.number("expected").unwrap());
                self.cluster(line, cluster::Command::RemoveMember { id, expected })
            }
            "raise-level" => {
                let level = Level(line.word_number(1).try_into().unwrap());
                let expected = line.number("expected").unwrap();
                self.cluster(line, cluster::Command::RaiseLevel { level, expected })
            }
            "join" => {
                let Member { name, address, http_url, store_id, .. } = member(line);
                let store_id = store_id.unwrap();
                self.cluster(line, cluster::Command::Join { name, address, http_url, store_id })
            }
            "record" => self.ask(Query::Cluster(cluster::Query::Record)),
            "removed" => self.ask(Query::Cluster(cluster::Query::Removed(NodeId(line.word_number(1))))),
            _ => match queue::parse(line) {
                Some(queue::Asked::Command(command)) => self.apply(line, Command::Queue(command)),
                Some(queue::Asked::Query(query)) => self.ask(Query::Queue(query)),
                None => self.kv(line, write(line)),
            },
        }
    }

    /// One that only reads answers the same as a query, which changes nothing.
    fn txn(&mut self, txn: &kv::Txn) -> String {
        let asked = txn.only_reads().then(|| self.query(kv::Query::Txn(txn.clone())));
        let done = self.apply(&Line::parse(""), Command::Kv(kv::Command::Txn(txn.clone())));
        if let Some(asked) = asked {
            assert_eq!(asked, done, "as a query, and as a command");
        }
        done
    }

    /// `KEY request`, or `PRINCIPAL/KEY request`. What is asked is the whole request but its time.
    fn once(&mut self, line: &Line<'_>, request: &str) -> String {
        let (key, request) = request.split_once(' ').unwrap();
        let (principal, key) = key.split_once('/').unwrap_or(("", key));
        let asked: Vec<&str> = request.split(' ').filter(|word| !word.starts_with("at=")).collect();
        let write = match request.strip_prefix("txn ") {
            Some(statements) => kv::Command::Txn(txn::parse(statements)),
            None => write(&Line::parse(request)),
        };
        let command = once::Command {
            principal: principal.to_owned(),
            key: key.to_owned(),
            fingerprint: once::Fingerprint::of(&[asked.join(" ").as_bytes()]),
            write: once::Write::Kv(write),
        };
        self.apply(line, Command::Once(command))
    }

    fn kv(&mut self, line: &Line<'_>, command: kv::Command) -> String {
        self.apply(line, Command::Kv(command))
    }

    fn cluster(&mut self, line: &Line<'_>, command: cluster::Command) -> String {
        self.apply(line, Command::Cluster(command))
    }

    fn apply(&mut self, line: &Line<'_>, command: Command) -> String {
        self.at.index += 1;
        self.at.time_ms = line.number("at").unwrap_or(self.at.time_ms);
        let before = Applications::digest(&self.tables).unwrap();
        match self.apps.apply(self.at, command, &mut self.tables) {
            Ok((reply, events)) => {
                self.events.extend(events);
                answer(&reply)
            }
            Err(stop) => {
                assert_eq!(Applications::digest(&self.tables).unwrap(), before, "changed by {stop}");
                stopped(&stop)
            }
        }
    }

    fn query(&self, query: kv::Query) -> String {
        self.ask(Query::Kv(query))
    }

    fn ask(&self, query: Query) -> String {
        match self.apps.query(self.at, query, &self.tables) {
            Ok(reply) => answer(&reply),
            Err(stop) => stopped(&stop),
        }
    }

    /// Removes rows as a member's flusher does, batch by batch; the digest must not notice.
    fn remove(&mut self, rows_max: usize) -> String {
        let before = Applications::digest(&self.tables).unwrap();
        let count = |tables: &MemoryTables| -> usize {
            let tables_removed_from = TABLES.iter().filter(|table| table.0 != "kv.swept");
            tables_removed_from.map(|table| tables.scan(*table, Range::all(), false).count()).sum()
        };
        let (rows, mut batches) = (count(&self.tables), 1);
        while sweep(&mut self.tables, rows_max).unwrap() {
            batches += 1;
        }
        let rows = rows - count(&self.tables);
        assert_eq!(
            Applications::digest(&self.tables).unwrap(),
            before,
            "removed rows were part of the state"
        );
        format!("removed rows={rows} batches={batches}")
    }
}

/// A write to the key/value store.
fn write(line: &Line<'_>) -> kv::Command {
    match line.words[0] {
        "put" => kv::Command::Put(kv::Put {
            key: bytes(line.words[1]),
            value: line.words.get(2).map(|word| bytes(word)).unwrap_or_default(),
            if_mod_revision: line.number("if"),
        }),
        "delete" => {
            kv::Command::Delete(kv::Delete { key: bytes(line.words[1]), if_mod_revision: line.number("if") })
        }
        "delete-range" => {
            kv::Command::DeleteRange(kv::DeleteRange { range: range(line), limit: line.number("limit") })
        }
        "compact" => kv::Command::Compact { revision: line.word_number(1) },
        verb => panic!("unknown verb: {verb}"),
    }
}

fn bytes(word: &str) -> Bytes {
    let (text, times) = match word.split_once('*') {
        Some((text, times)) => (text, times.parse().unwrap()),
        None => (word, 1),
    };
    let mut parts = text.split("\\x");
    let mut out = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        out.push(u8::from_str_radix(&part[..2], 16).unwrap());
        out.extend_from_slice(&part.as_bytes()[2..]);
    }
    out.repeat(times).into()
}

fn ids(words: &[&str]) -> BTreeSet<NodeId> {
    let ids = words.iter().filter(|word| !word.contains('=')).flat_map(|word| word.split(','));
    ids.map(|id| NodeId(id.parse().unwrap())).collect()
}

fn range(line: &Line<'_>) -> kv::KeyRange {
    let prefix = kv::KeyRange::prefix(line.bytes("prefix").unwrap_or_default());
    prefix.and(kv::KeyRange { start: line.bytes("start").unwrap_or_default(), end: line.bytes("end") })
}

/// `main.sub`, or `main`.
fn place(text: &str) -> kv::Revision {
    let (main, sub) = text.split_once('.').unwrap_or((text, "0"));
    kv::Revision { main: main.parse().unwrap(), sub: sub.parse().unwrap() }
}

fn list(line: &Line<'_>) -> kv::List {
    let after = line.options.get("after").map(|after| {
        let (key, revision) = after.split_once('@').unwrap();
        kv::Continuation { revision: revision.parse().unwrap(), key: bytes(key) }
    });
    let detail = match () {
        () if line.has("keys-only") => kv::Detail::KeysOnly,
        () if line.has("count-only") => kv::Detail::CountOnly,
        () => kv::Detail::Whole,
    };
    kv::List {
        range: range(line),
        revision: line.number("revision"),
        after,
        limit: line.number("limit").unwrap_or(0),
        detail,
    }
}

fn member(line: &Line<'_>) -> Member {
    let name = line.text("name").unwrap_or_else(|| format!("n{}", line.options["id"]));
    Member {
        id: NodeId(line.number("id").unwrap_or(0)),
        address: line.text("address").unwrap_or_else(|| format!("n{}:7000", name.trim_start_matches('n'))),
        name,
        http_url: line.text("http"),
        store_id: line.options.get("store").map(|text| text.parse().unwrap()),
    }
}

fn first_record(line: &Line<'_>) -> Record {
    let store_id = Some(line.options.get("store").unwrap_or(&"s1").parse().unwrap());
    let seed =
        Member { id: NodeId(1), name: "n1".into(), address: "n1:7000".into(), http_url: None, store_id };
    Record {
        generation: 1,
        members: [(NodeId(1), seed)].into(),
        voters: [NodeId(1)].into(),
        joining: BTreeSet::new(),
        settled: true,
        shards: line.number("shards").unwrap_or(1),
        level: Level(1),
        epoch: Epoch(0),
        managed_by: line.text("managed-by"),
    }
}

fn answer(reply: &Reply) -> String {
    match reply {
        Reply::Kv(reply) => kv_answer(reply),
        Reply::Once(once::Reply { replayed, outcome }) => {
            let outcome = match outcome {
                once::Outcome::Kv(reply) => kv_answer(reply),
                once::Outcome::Refused(refusal) => format!("kept as refused: {refusal}"),
                once::Outcome::Shortened { revision, succeeded } => {
                    format!("{} ... revision={revision}", if *succeeded { "then" } else { "else" })
                }
            };
            if *replayed { format!("again: {outcome}") } else { outcome }
        }
        Reply::Queue(reply) => queue::answer(reply),
        Reply::Cluster(cluster::Reply::Changed { generation, settled }) => {
            format!("generation={generation} settled={settled}")
        }
        Reply::Cluster(cluster::Reply::Record(Some(record))) => record_text(record),
        Reply::Cluster(cluster::Reply::Record(None)) => "none".to_owned(),
        Reply::Cluster(cluster::Reply::Joined { id, generation }) => {
            format!("joined {id} generation={generation}")
        }
        Reply::Cluster(cluster::Reply::Removed(index)) => format!("removed {index:?}"),
    }
}

fn kv_answer(reply: &kv::Reply) -> String {
    match reply {
        kv::Reply::Put { revision, create_revision, version } => {
            format!("put revision={revision} create={create_revision} version={version}")
        }
        kv::Reply::Deleted { revision } => format!("deleted revision={revision}"),
        kv::Reply::Compacted { revision } => format!("compacted revision={revision}"),
        kv::Reply::Got { revision, found: None } => format!("none revision={revision}"),
        kv::Reply::Got { revision, found: Some(found) } => format!("{} revision={revision}", row(found)),
        kv::Reply::Page(page) => page_text(page),
        kv::Reply::Revisions { revision, compacted } => {
            format!("revision={revision} compacted={compacted:?}")
        }
        kv::Reply::Compactable(revision) => format!("{revision:?}"),
        kv::Reply::DeletedRange { revision, deleted, more } => {
            format!("deleted {deleted} revision={revision}{}", if *more { " more" } else { "" })
        }
        kv::Reply::Txn(kv::TxnReply { revision, succeeded, results }) => {
            let branch = if *succeeded { "then" } else { "else" };
            let results: Vec<String> = results.iter().map(txn::result).collect();
            let runs = results.chunk_by(|a, b| a == b).map(|run| match run.len() {
                1 => run[0].clone(),
                times => format!("{times} times {}", run[0]),
            });
            let results = runs.collect::<Vec<_>>().join("; ");
            format!("{branch} {results} revision={revision}").replace("  ", " ")
        }
        kv::Reply::Changes(kv::Changes { revision, changes, next }) => {
            let changes: Vec<String> = changes.iter().map(changed).collect();
            format!("[{}] revision={revision} next={}.{}", changes.join(", "), next.main, next.sub)
        }
    }
}

fn changed(changed: &kv::Changed) -> String {
    let kv::Changed { revision, change, previous } = changed;
    let previous = previous.as_ref().map(|previous| format!(" was {}", row(previous))).unwrap_or_default();
    format!("{}.{} {}{previous}", revision.main, revision.sub, change_text(change))
}

fn change_text(change: &kv::Change) -> String {
    match change {
        kv::Change::Put(found) => format!("put {}", row(found)),
        kv::Change::Delete { key } => format!("delete {}", key.escape_ascii()),
    }
}

fn page_text(page: &kv::Page) -> String {
    let kv::Page { revision, at_revision, count, rows, next } = page;
    let rows: Vec<String> = rows.iter().map(row).collect();
    let mut out = format!("[{}] count={count} revision={revision}", rows.join(" "));
    if at_revision != revision {
        write!(out, " at={at_revision}").unwrap();
    }
    if let Some(next) = next {
        write!(out, " next={}@{}", next.key.escape_ascii(), next.revision).unwrap();
    }
    out
}

/// `key=value@create:mod:version`
fn row(found: &kv::KeyValue) -> String {
    let kv::KeyValue { key, value, create_revision, mod_revision, version, lease } = found;
    assert_eq!(*lease, 0, "no command attaches a lease yet");
    let value =
        if value.len() > 16 { format!("({} bytes)", value.len()) } else { value.escape_ascii().to_string() };
    format!("{}={value}@{create_revision}:{mod_revision}:{version}", key.escape_ascii())
}

fn event(event: &Event) -> String {
    match event {
        Event::Kv(kv::Event { revision, change, previous }) => {
            let previous = previous.map(|at| format!(" was {}.{}", at.main, at.sub)).unwrap_or_default();
            format!("{}.{} {}{previous}", revision.main, revision.sub, change_text(change))
        }
        Event::Cluster(cluster::Event(record)) => record_text(record),
        Event::Queue(found) => queue::event(found),
    }
}

fn record_text(record: &Record) -> String {
    let list = |ids: Vec<String>| ids.join(",");
    let ids = |ids: &BTreeSet<NodeId>| list(ids.iter().map(NodeId::to_string).collect());
    format!(
        "generation={} members={} voters={}{} settled={} level={}",
        record.generation,
        list(record.members.values().map(|member| format!("{}:{}", member.id, member.name)).collect()),
        ids(&record.voters),
        if record.joining.is_empty() { String::new() } else { format!(" joining={}", ids(&record.joining)) },
        record.settled,
        record.level
    )
}

fn stopped(stop: &Stop) -> String {
    match stop {
        Stop::Refused(refusal) => format!("refused: {refusal}"),
        Stop::Broken(reason) => format!("broken: {reason}"),
    }
}
