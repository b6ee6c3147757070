//! The only file that calls escache: its functions on what the model's engine shows. They are pure, so their answers are
//! remembered; nothing is computed here that the proxy computes.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use escache::cache::{
    Asked, Audience, Decision, Entry, Epoch, Eviction, Fetched, Lifetime, Proof, Storable, Store, decide,
};
use escache::control::{self, Control};
use escache::elastic::api::Api;
use escache::elastic::filter_path::Widening;
use escache::elastic::params::Params;
use escache::elastic::target::Target;
use escache::generation::{Generation, Known as Before, Metadata, Question, Sandwich, StateVersion};
use escache::outcome::{CacheStatus, Outcome, Refusal};
use escache::respond;
use escache::rounds::Needed;
use escache::stats::Stats;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use tokio::time::Instant;

use crate::engine::{Part, Shape, Shown, State};
use crate::proxy::Without;

static BASE: LazyLock<Instant> = LazyLock::new(Instant::now);

fn at(rank: u8) -> Instant {
    *BASE + Duration::from_secs(1) + Duration::from_nanos(rank.into())
}

fn asked(rank: u8) -> Asked {
    Asked { at: at(rank), wall: SystemTime::UNIX_EPOCH }
}

/// A generation, with a hash for the model checker.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Known(Generation);

impl Hash for Known {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.tag().hash(state);
    }
}

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.tag().to_string()[..4])
    }
}

/// What the engine has answered in a reading.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Heard {
    Metadata(State),
    Counters(Vec<Shown>),
    Version(u8),
}

/// How far a reading is.
#[derive(Clone, Debug)]
pub(crate) enum Progress {
    Asks(Question),
    Ended(Option<Known>),
}

/// What a reading leaves for the next one: the state and the counters that it was whole with.
pub(crate) type Left = (State, Vec<Shown>);

/// What a reading that began with `known` and has heard this does next.
pub(crate) fn reading(without: Without, shape: &Shape, known: &Option<Left>, heard: &[Heard]) -> Progress {
    type Memo = HashMap<(Option<Left>, Vec<Heard>), Progress>;
    thread_local!(static MEMO: RefCell<HashMap<(Without, u8, bool), Memo>> = RefCell::default());
    MEMO.with_borrow_mut(|memo| {
        let memo = memo.entry((without, shape.shards, shape.explicit)).or_default();
        let key = (known.clone(), heard.to_vec());
        memo.entry(key).or_insert_with(|| replay(without, shape, known.as_ref(), heard)).clone()
    })
}

fn replay(without: Without, shape: &Shape, known: Option<&Left>, heard: &[Heard]) -> Progress {
    let known = known.map(|(state, shown)| {
        let mut before = Sandwich::new(None);
        for heard in [Heard::Metadata(state.clone()), Heard::Counters(shown.clone())] {
            assert!(tell(&mut before, without, shape, &heard).is_ok_and(|whole| whole.is_none()));
        }
        let closed = tell(&mut before, without, shape, &Heard::Version(state.version));
        closed.ok().flatten().expect("what was whole is whole")
    });
    let mut sandwich = Sandwich::new(known);
    for heard in heard {
        match tell(&mut sandwich, without, shape, heard) {
            Ok(None) => {}
            Ok(Some(whole)) => return Progress::Ended(Some(Known(whole.generation))),
            Err(_) => return Progress::Ended(None),
        }
    }
    Progress::Asks(sandwich.question())
}

fn tell(
    sandwich: &mut Sandwich,
    without: Without,
    shape: &Shape,
    heard: &Heard,
) -> Result<Option<Before>, Refusal> {
    match heard {
        Heard::Metadata(state) => sandwich.metadata(metadata(without, shape, state)),
        Heard::Counters(shown) => {
            sandwich.counters(counters_json(without, shape.shards, shown).into(), None)?;
            Ok(None)
        }
        Heard::Version(version) => {
            let json = format!(r#"{{"cluster_uuid":"c","version":{version},"state_uuid":"s{version}"}}"#);
            sandwich.version(&StateVersion::read(json.as_bytes()).expect("version"))
        }
    }
}

fn metadata(without: Without, shape: &Shape, state: &State) -> Arc<Metadata> {
    let State { version, index, mapping, lives } = state;
    let shards = if without == Without::Vector { 1 } else { shape.shards };
    let interval = if shape.explicit { r#","refresh_interval":"1s""# } else { "" };
    let (index, mapping, lives) = match without {
        Without::Metadata => (0, 0, vec![0; lives.len()]),
        _ => (*index, *mapping, lives.clone()),
    };
    let copies: Vec<String> = lives
        .iter()
        .map(|life| {
            format!(r#"{{"node":"n","state":"STARTED","primary":true,"allocation_id":{{"id":"{life}"}}}}"#)
        })
        .collect();
    let table: Vec<String> =
        copies.iter().enumerate().map(|(number, copy)| format!(r#""{number}":[{copy}]"#)).collect();
    let json = format!(
        r#"{{"cluster_uuid":"c","version":{version},"state_uuid":"s{version}",
        "metadata":{{"indices":{{"logs":{{"mapping_version":{mapping},"settings_version":1,"aliases_version":1,
        "state":"open","settings":{{"index":{{"uuid":"u{index}","number_of_shards":"{shards}"{interval}}}}}}}}}}},
        "routing_table":{{"indices":{{"logs":{{"shards":{{{}}}}}}}}},"nodes":{{"n":{{"ephemeral_id":"e"}}}}}}"#,
        table.join(",")
    );
    let target = Target::new(Some("logs"), &Params::default());
    Arc::new(Metadata::read(&target, json.as_bytes(), Some(b"{}"), b"{}").expect("metadata"))
}

fn counters_json(without: Without, shards: u8, shown: &[Shown]) -> String {
    let index = if without == Without::Metadata { 0 } else { shown[0].index };
    let mut copies: Vec<Shown> = shown.to_vec();
    for copy in &mut copies {
        match without {
            Without::SeqNo => (copy.max_seq_no, copy.checkpoint) = (0, 0),
            Without::Checkpoint => copy.checkpoint = 0,
            Without::Merges => (copy.merges, copy.merging) = (0, 0),
            Without::Refresh => (copy.total, copy.external) = (0, 0),
            Without::Total => copy.total = 0,
            _ => {}
        }
    }
    let mut per_shard: Vec<Vec<Shown>> =
        copies.chunks(copies.len() / usize::from(shards)).map(<[Shown]>::to_vec).collect();
    match without {
        // the first copy of all alone
        Without::R3 => {
            let others = per_shard.iter_mut().flatten().skip(1);
            others.for_each(|copy| *copy = Shown::default());
        }
        // `level=cluster`: sums, and `indexing.index_total` in place of the sequence numbers
        Without::Vector => {
            let mut sum = Shown::default();
            for copy in &copies {
                sum.total += copy.total;
                sum.external += copy.external;
                sum.merges += copy.merges;
                sum.merging += copy.merging;
                sum.max_seq_no += copy.indexed as i8;
            }
            per_shard = vec![vec![sum]];
        }
        _ => {}
    }
    let shards: Vec<String> = per_shard
        .iter()
        .enumerate()
        .map(|(number, copies)| {
            let copies: Vec<String> = copies.iter().enumerate().map(copy_json).collect();
            format!(r#""{number}":[{}]"#, copies.join(","))
        })
        .collect();
    format!(
        r#"{{"_shards":{{"total":1,"successful":1,"failed":0}},
        "indices":{{"logs":{{"uuid":"u{index}","shards":{{{}}}}}}}}}"#,
        shards.join(",")
    )
}

fn copy_json((number, copy): (usize, &Shown)) -> String {
    let Shown { total, external, merging, merges, max_seq_no, checkpoint, .. } = copy;
    format!(
        r#"{{"routing":{{"state":"STARTED","primary":{},"node":"n{number}"}},
        "refresh":{{"total":{total},"external_total":{external}}},
        "merges":{{"current":{merging},"total":{merges}}},
        "seq_no":{{"max_seq_no":{max_seq_no},"local_checkpoint":{checkpoint}}}}}"#,
        number == 0
    )
}

/// Whether a reading that started then, ended or under way, may answer a request that needs one from `needed` on.
pub(crate) fn serves(started: u8, needed: u8, mark: Option<u8>) -> bool {
    Needed::since(at(needed)).marked(mark.map(at)).serves(at(started))
}

/// A stored answer.
#[derive(Clone)]
pub(crate) struct Stored {
    pub(crate) entry: Arc<Entry>,
    pub(crate) parts: Vec<Part>,
    /// `index.search.idle.after` has passed since its search.
    pub(crate) past: bool,
}

impl PartialEq for Stored {
    fn eq(&self, other: &Stored) -> bool {
        self.parts == other.parts && self.past == other.past && self.entry.tag() == other.entry.tag()
    }
}

impl Eq for Stored {}

impl Hash for Stored {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.entry.tag(), &self.parts, self.past).hash(state);
    }
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?}", self.entry.tag(), self.parts)
    }
}

/// An answer as an entry, if it may be stored at all. `underneath`: it came out of a cache between us and the engine.
pub(crate) fn entry(parts: &[Part], generation: &Known, underneath: bool, careless: bool) -> Option<Stored> {
    let body = Bytes::from_static(br#"{"took":1,"timed_out":false,"_shards":{"total":1,"successful":1,"skipped":0,"failed":0},"hits":{}}"#);
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    if underneath && !careless {
        let hit = respond::with_status(
            Response::new(escache::upstream::Body::empty()),
            &CacheStatus::new(Outcome::Hit),
        );
        headers.extend(hit.headers().clone());
    }
    let fetched = Fetched { status: StatusCode::OK, headers, body, took: Duration::ZERO };
    let answer = Storable::check(&fetched, Api::Search, Widening::None, &generation.0.extent()).ok()?;
    let indices = Stats::default().indices(generation.0.metadata().names());
    let entry =
        Arc::new(Entry::new(answer, &generation.0, asked(0), indices, Audience::Unproven).confirmed());
    Some(Stored { entry, parts: parts.to_vec(), past: false })
}

/// Whether the entry may be served to a request whose reading found this.
pub(crate) fn may_serve(stored: &Stored, found: &Known, started: u8, without: Without) -> bool {
    let proof = Proof::Reading { generation: &found.0, started: at(started) };
    let now = asked(started + 1);
    let late = if stored.past && without != Without::LongestLife { IDLE_AFTER } else { Duration::ZERO };
    let now = Asked { at: now.at + late, wall: now.wall + late };
    matches!(decide(&stored.entry, proof, Lifetime::default(), now), Decision::Serve { .. })
}

/// Whether the search of a flight that began `IDLE_AFTER` ago may be shared under this generation.
pub(crate) fn may_board_late(found: &Known, without: Without) -> bool {
    without == Without::LongestLife || found.0.longest_life().is_none_or(|limit| IDLE_AFTER <= limit)
}

/// `index.search.idle.after`, as it is where nobody sets it.
const IDLE_AFTER: Duration = Duration::from_secs(30);

/// Whether the entry was asked for under this generation.
pub(crate) fn is_under(stored: &Stored, found: &Known) -> bool {
    stored.entry.tag() == found.0.tag()
}

fn store(epoch: u8) -> Store {
    let store = Store::new(1 << 20, None, Eviction::Lru, Arc::default());
    (0..epoch).for_each(|_| store.raise_epoch());
    store
}

/// The epoch after so many raises.
pub(crate) fn epoch(raises: u8) -> Epoch {
    thread_local!(static MEMO: RefCell<HashMap<u8, Epoch>> = RefCell::default());
    MEMO.with_borrow_mut(|memo| *memo.entry(raises).or_insert_with(|| store(raises).epoch()))
}

/// Whether a store in this epoch takes an answer that was asked for in that one.
pub(crate) fn admits(now: u8, asked: Epoch, stored: &Stored) -> bool {
    thread_local!(static MEMO: RefCell<HashMap<(u8, Epoch), bool>> = RefCell::default());
    let insert = || {
        let key = escache::key::CacheKey::of(&escache::key::Inputs {
            engine: "c",
            api: "search",
            target: None,
            detail: None,
            params: &Params::default(),
            headers: &HeaderMap::new(),
            rules: &escache::key::headers::HeaderRules::default(),
            identity: &escache::key::identity::Identity::of(
                &HeaderMap::new(),
                &escache::key::headers::HeaderRules::default(),
            ),
            body: None,
        });
        store(now).insert(key, Arc::clone(&stored.entry), asked)
    };
    MEMO.with_borrow_mut(|memo| *memo.entry((now, asked)).or_insert_with(insert))
}

/// Whether an escache underneath, with a bound, may answer a fill of ours without a reading of its own.
pub(crate) fn inner_may_be_late() -> bool {
    static ANSWER: LazyLock<bool> = LazyLock::new(|| {
        let mut headers = HeaderMap::new();
        control::for_fill(&mut headers);
        !Control::of(&headers).bound(Duration::from_secs(60), Duration::ZERO).is_zero()
    });
    *ANSWER
}
