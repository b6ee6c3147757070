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
    Audience, Decision, Entry, Epoch, Eviction, Fetched, Lifetime, PUBLICATION, Proof, Stamp, Storable,
    Store, decide,
};
use escache::control::{self, Control};
use escache::elastic::api::Api;
use escache::elastic::filter_path::Widening;
use escache::elastic::params::Params;
use escache::elastic::target::Target;
use escache::generation::{Generation, Known as Before, Layer, Metadata, Sandwich, StateVersion, Tag};
use escache::outcome::{CacheStatus, Outcome, Refusal};
use escache::respond;
use escache::rounds::Needed;
use escache::stats::Stats;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use tokio::time::Instant;

use crate::engine::{Part, Shape, Shown, State};
use crate::proxy::Without;

static BASE: LazyLock<Instant> = LazyLock::new(Instant::now);

static STATS: LazyLock<Stats> = LazyLock::new(Stats::default);

/// So far apart that no rounding of the proxy's puts two into one.
const APART: Duration = Duration::from_micros(10);

fn at(rank: u8) -> Instant {
    *BASE + Duration::from_secs(1) + APART * u32::from(rank)
}

fn asked(rank: u8) -> Stamp {
    Stamp { at: at(rank), wall: SystemTime::UNIX_EPOCH }
}

/// A generation in a cluster state, with a hash for the model checker.
#[derive(Clone)]
pub(crate) struct Known(Generation);

impl Known {
    /// What stands for the cluster state.
    pub(crate) fn state(&self) -> u64 {
        self.0.state()
    }

    /// Whether what was asked for under it may not live for as long as it is current.
    pub(crate) fn lives_briefly(&self) -> bool {
        self.0.longest_life().is_some()
    }

    fn identity(&self) -> (Tag, u64) {
        (self.0.tag(), self.0.state())
    }
}

impl PartialEq for Known {
    fn eq(&self, other: &Known) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for Known {}

impl Hash for Known {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
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
    Asks(Layer),
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
    Progress::Asks(sandwich.next_layer())
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
        Heard::Version(version) => sandwich.version(&state_version(*version)),
    }
}

fn state_version(version: u8) -> StateVersion {
    let json = format!(r#"{{"cluster_uuid":"c","version":{version},"state_uuid":"s{version}"}}"#);
    StateVersion::read(json.as_bytes()).expect("version")
}

/// What stands for the cluster state of this version.
pub(crate) fn state(version: u8) -> u64 {
    state_version(version).digest()
}

/// What those have in common who share a flight.
pub(crate) fn moment(found: &Known, without: Without) -> Tag {
    if without == Without::Moment { found.0.tag() } else { found.0.moment() }
}

fn metadata(without: Without, shape: &Shape, state: &State) -> Arc<Metadata> {
    let State { version, index, mapping, lives, joined } = state;
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
    let (other, others_table) = match *joined && without != Without::Metadata {
        true => OTHER,
        false => ("", ""),
    };
    let json = format!(
        r#"{{"cluster_uuid":"c","version":{version},"state_uuid":"s{version}",
        "metadata":{{"indices":{{{other}"logs":{{"mapping_version":{mapping},"settings_version":1,"aliases_version":1,
        "state":"open","settings":{{"index":{{"uuid":"u{index}","number_of_shards":"{shards}"{interval}}}}}}}}}}},
        "routing_table":{{"indices":{{{others_table}"logs":{{"shards":{{{}}}}}}}}},"nodes":{{"n":{{"ephemeral_id":"e"}}}}}}"#,
        table.join(",")
    );
    let target = Target::new(Some("logs,other*"), &Params::default());
    Arc::new(Metadata::read(&target, json.as_bytes(), Some(b"{}"), b"{}").expect("metadata"))
}

/// What metadata and routing table show of the index that joins.
const OTHER: (&str, &str) = (
    r#""other":{"mapping_version":1,"settings_version":1,"aliases_version":1,"state":"open",
    "settings":{"index":{"uuid":"o","number_of_shards":"1"}}},"#,
    r#""other":{"shards":{"0":[{"node":"n","state":"STARTED","primary":true,"allocation_id":{"id":"o"}}]}},"#,
);

/// And the counters.
const OTHERS_COUNTERS: &str = r#""other":{"uuid":"o","shards":{"0":[{"routing":{"state":"STARTED","primary":true,"node":"n"},
    "refresh":{"total":1,"external_total":1},"merges":{"current":0,"total":0},
    "seq_no":{"max_seq_no":0,"local_checkpoint":0}}]}},"#;

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
    let other = if shown[0].joined { OTHERS_COUNTERS } else { "" };
    format!(
        r#"{{"_shards":{{"total":1,"successful":1,"failed":0}},
        "indices":{{{other}"logs":{{"uuid":"u{index}","shards":{{{}}}}}}}}}"#,
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

/// A stored answer. The entry is made anew whenever it is needed, since what confirms one changes it in its place.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Stored {
    pub(crate) generation: Known,
    pub(crate) parts: Vec<Part>,
    /// `index.search.idle.after` has passed since its search.
    pub(crate) past: bool,
    /// When it had come, until it is confirmed.
    pub(crate) landed: Option<u8>,
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {:?}", self.generation, self.parts)
    }
}

impl Stored {
    fn make(&self) -> Entry {
        let answer = answer(&self.generation, false).expect("it was stored");
        let indices = STATS.indices(self.generation.0.metadata().names());
        let entry = Entry::new(answer, &self.generation.0, asked(0), indices, Audience::Unproven);
        match self.landed {
            Some(landed) => entry.landed(at(landed)),
            None => {
                entry.confirm_by_giver(self.generation.0.state());
                entry
            }
        }
    }

    /// Not to be confirmed.
    fn entry(&self) -> Arc<Entry> {
        type Memo = HashMap<(Known, Option<u8>), Arc<Entry>>;
        thread_local!(static MEMO: RefCell<Memo> = RefCell::default());
        let key = (self.generation.clone(), self.landed);
        MEMO.with_borrow_mut(|memo| Arc::clone(memo.entry(key).or_insert_with(|| Arc::new(self.make()))))
    }
}

/// An answer, if it may be stored at all.
fn answer(generation: &Known, shows_a_hit: bool) -> Option<Storable> {
    let body = Bytes::from_static(br#"{"took":1,"timed_out":false,"_shards":{"total":1,"successful":1,"skipped":0,"failed":0},"hits":{}}"#);
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    if shows_a_hit {
        let hit = respond::with_status(
            Response::new(escache::upstream::Body::empty()),
            &CacheStatus::new(Outcome::Hit),
        );
        headers.extend(hit.headers().clone());
    }
    let fetched = Fetched { status: StatusCode::OK, headers, body, took: Duration::ZERO };
    Storable::check(&fetched, Api::Search, Widening::None, &generation.0.extent()).ok()
}

/// An answer as an entry that needs no confirmation, if it may be stored at all. `underneath`: it came out of a cache
/// between us and the engine.
pub(crate) fn entry(parts: &[Part], generation: &Known, underneath: bool, careless: bool) -> Option<Stored> {
    answer(generation, underneath && !careless)?;
    let (generation, parts) = (generation.clone(), parts.to_vec());
    Some(Stored { generation, parts, past: false, landed: None })
}

/// Whether the entry may be served to a request whose reading found this.
pub(crate) fn may_serve(stored: &Stored, found: &Known, started: u8, without: Without) -> bool {
    let proof = Proof::Reading { generation: &found.0, started: at(started) };
    let now = asked(started + 1);
    let late = if stored.past && without != Without::LongestLife { IDLE_AFTER } else { Duration::ZERO };
    let now = Stamp { at: now.at + late, wall: now.wall + late };
    matches!(decide(&stored.entry(), proof, Lifetime::default(), now), Decision::Serve { .. })
}

/// A reading that started at `started` has found this cluster state. Between two moments there may be any time, so there is
/// as much as a publication may take.
pub(crate) fn confirm(stored: &mut Stored, state: u64, started: u8) {
    confirm_by(stored, |entry| entry.confirm(state, at(started) + PUBLICATION));
}

/// Who gave the answer has applied this state, asked after the answer had come.
pub(crate) fn confirm_by_giver(stored: &mut Stored, state: u64) {
    confirm_by(stored, |entry| entry.confirm_by_giver(state));
}

fn confirm_by(stored: &mut Stored, confirm: impl FnOnce(&Entry)) {
    if stored.landed.is_some() {
        let entry = stored.make();
        confirm(&entry);
        if entry.is_confirmed() {
            stored.landed = None;
        }
    }
}

/// Whether the tag of the entry was read in this cluster state.
pub(crate) fn is_of_state(stored: &Stored, found: &Known) -> bool {
    stored.generation.state() == found.state()
}

/// Whether the search of a flight that began `IDLE_AFTER` ago may be shared under this generation.
pub(crate) fn may_board_late(found: &Known, without: Without) -> bool {
    without == Without::LongestLife || found.0.longest_life().is_none_or(|limit| IDLE_AFTER <= limit)
}

/// `index.search.idle.after`, as it is where nobody sets it.
const IDLE_AFTER: Duration = Duration::from_secs(30);

/// Whether the entry was asked for under this generation.
pub(crate) fn is_under(stored: &Stored, found: &Known) -> bool {
    stored.entry().tag() == found.0.tag()
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
        store(now).insert(key, stored.entry(), asked)
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
