//! The store: moka, bounded by bytes. The only file that names moka.

use std::borrow::Borrow;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use foldhash::quality::RandomState;
use moka::notification::RemovalCause;
use moka::ops::compute::{CompResult, Op};
use moka::policy::EvictionPolicy;

use super::entry::Entry;
use crate::key::CacheKey;
use crate::stats::Stats;

/// How keys of maps are hashed: seeded by chance, so that nobody outside can choose keys that meet. Keys compare whole, so
/// nothing more hangs on it.
pub type Hashing = RandomState;

/// Which entry goes when there is no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Eviction {
    /// The least recently used.
    #[default]
    Lru,
    /// By frequency and recency; new entries must first prove themselves.
    TinyLfu,
}

/// The purge epoch (R7): a fill is stored, and a flight joined, only within one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Epoch(u64);

/// moka puts off what it has to do, for up to 64 entries: until then they are too many. Of what is larger than this, in
/// bytes, none waits.
const LARGE: u32 = 64 << 10;

/// Entries by key, bounded by bytes.
#[derive(Debug)]
pub struct Store {
    entries: moka::sync::Cache<CacheKey, Arc<Entry>, Hashing>,
    /// Entries of older generations, for `stale_if_error`; they may be among the others too.
    superseded: Option<moka::sync::Cache<CacheKey, Arc<Entry>, Hashing>>,
    epoch: AtomicU64,
    /// Held while something is stored, and to begin an epoch; not to look at it.
    storing: RwLock<()>,
}

impl Store {
    /// A store of at most `capacity` bytes. Entries older than `expire` leave by themselves (they are not served
    /// after that in any case, see [`decide`](super::decide)).
    #[must_use]
    pub fn new(capacity: u64, expire: Option<Duration>, eviction: Eviction, stats: Arc<Stats>) -> Store {
        let listener = move |_: Arc<CacheKey>, entry: Arc<Entry>, cause| {
            entry.indices().resize(-i64::from(entry.weight()));
            match cause {
                RemovalCause::Size => {
                    entry.indices().evictions.inc();
                    stats.plain.evictions_size.inc();
                }
                RemovalCause::Expired => stats.plain.evictions_expired.inc(),
                RemovalCause::Replaced => stats.plain.evictions_replaced.inc(),
                RemovalCause::Explicit => stats.plain.evictions_explicit.inc(),
            }
        };
        let mut builder = moka::sync::Cache::builder()
            .max_capacity(capacity)
            .weigher(|_: &CacheKey, entry: &Arc<Entry>| entry.weight())
            .eviction_policy(match eviction {
                Eviction::Lru => EvictionPolicy::lru(),
                Eviction::TinyLfu => EvictionPolicy::tiny_lfu(),
            })
            .eviction_listener(listener);
        if let Some(expire) = expire {
            builder = builder.time_to_live(expire);
        }
        Store {
            entries: builder.build_with_hasher(Hashing::default()),
            superseded: None,
            epoch: AtomicU64::new(0),
            storing: RwLock::new(()),
        }
    }

    /// The same, but entries that are [superseded](Store::supersede) are kept for this long, in at most so many bytes of
    /// their own.
    #[must_use]
    pub fn keeping_superseded(self, bytes: u64, time: Duration) -> Store {
        let builder = moka::sync::Cache::builder()
            .max_capacity(bytes)
            .weigher(|_: &CacheKey, entry: &Arc<Entry>| entry.weight())
            .eviction_policy(EvictionPolicy::lru())
            .time_to_live(time);
        Store { superseded: Some(builder.build_with_hasher(Hashing::default())), ..self }
    }

    /// The target of this entry has changed since: keeps it for `stale_if_error`, if that is on.
    pub fn supersede(&self, key: CacheKey, entry: &Arc<Entry>) {
        let Some(superseded) = &self.superseded else { return };
        // held while storing: a purge removes it first from the entries, and then waits for this before it looks here
        let _storing = self.storing.read().unwrap_or_else(PoisonError::into_inner);
        if self.entries.get(&key).is_some_and(|known| Arc::ptr_eq(&known, entry)) {
            superseded.insert(key, Arc::clone(entry));
        }
    }

    /// What there is of a key, current or not; the newer one first.
    pub fn any(&self, key: &CacheKey) -> impl Iterator<Item = Arc<Entry>> {
        let superseded = self.superseded.as_ref().and_then(|superseded| superseded.get(key));
        self.entries.get(key).into_iter().chain(superseded)
    }

    /// Removes what there is of a key.
    pub fn remove(&self, key: &CacheKey) {
        self.entries.invalidate(key);
        if let Some(superseded) = &self.superseded {
            superseded.invalidate(key);
        }
    }

    /// How many superseded entries are kept, and their bytes.
    #[must_use]
    pub fn superseded(&self) -> (u64, u64) {
        self.superseded.as_ref().map_or((0, 0), |kept| (kept.entry_count(), kept.weighted_size()))
    }

    /// The entry of a key, whether or not it is still current.
    #[must_use]
    pub fn get(&self, key: &CacheKey) -> Option<Arc<Entry>> {
        self.entries.get(key)
    }

    /// The epoch of now.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        Epoch(self.epoch.load(Ordering::Acquire))
    }

    /// Stores an entry that was asked for within `epoch`. Returns whether it was: not if a purge came in between.
    pub fn insert(&self, key: CacheKey, entry: Arc<Entry>, epoch: Epoch) -> bool {
        let is_large = entry.weight() >= LARGE;
        // held while storing, so that a purge either finds the entry or is seen here
        let storing = self.storing.read().unwrap_or_else(PoisonError::into_inner);
        if self.epoch() != epoch {
            return false;
        }
        if self.entries.policy().max_capacity() == Some(0) {
            // it would be counted, and nothing would tell that it has not stayed
            return true;
        }
        // a flight that lands late must not push out the answer of one that left later, not even one that lands just now
        let stored = self.entries.entry(key).and_compute_with(|known| match known {
            Some(known) if known.value().asked().at > entry.asked().at => Op::Nop,
            _ => {
                entry.indices().resize(i64::from(entry.weight()));
                Op::Put(entry)
            }
        });
        if matches!(stored, CompResult::Inserted(_) | CompResult::ReplacedWith(_))
            && let Some(superseded) = &self.superseded
        {
            superseded.invalidate(&key);
        }
        drop(storing);
        if is_large {
            self.entries.run_pending_tasks();
        }
        true
    }

    /// Removes this entry, if it is still what is stored under the key. Returns whether it was.
    pub fn remove_entry(&self, key: CacheKey, entry: &Arc<Entry>) -> bool {
        let removed = self.entries.entry(key).and_compute_with(|stored| match stored {
            Some(stored) if Arc::ptr_eq(stored.value(), entry) => Op::Remove,
            _ => Op::Nop,
        });
        matches!(removed, CompResult::Removed(_))
    }

    /// Removes the entries whose target is known to have changed since; those that `stale_if_error` wants are kept beside
    /// the others. Looks at all. Returns how many went.
    pub fn sweep(&self) -> u64 {
        let mut removed = 0;
        for (key, entry) in self.entries.iter().filter(|(_, entry)| entry.is_over()) {
            self.supersede(*key, &entry);
            removed += u64::from(self.remove_entry(*key, &entry));
        }
        removed
    }

    /// Begins a new epoch: what is being fetched now will not be stored.
    pub fn raise_epoch(&self) {
        let _storing = self.storing.write().unwrap_or_else(PoisonError::into_inner);
        self.epoch.fetch_add(1, Ordering::AcqRel);
    }

    /// Removes what belongs to one of the indices; everything if `names` is `None`. Returns how many went.
    pub fn purge(&self, names: Option<&[Arc<str>]>) -> u64 {
        self.raise_epoch();
        let mut removed = 0;
        for (key, entry) in &self.entries {
            if names.is_none_or(|names| entry.indices().touches(names)) {
                self.entries.invalidate(&*key);
                removed += 1;
            }
        }
        self.entries.run_pending_tasks();
        if let Some(superseded) = &self.superseded {
            // who has just found an entry that is now removed has kept it by the end of this, or finds it no more
            self.raise_epoch();
            for (key, entry) in superseded {
                if names.is_none_or(|names| entry.indices().touches(names)) {
                    superseded.invalidate(&*key);
                }
            }
        }
        removed
    }

    /// Entries and their bytes, as far as the store has counted.
    #[must_use]
    pub fn size(&self) -> (u64, u64) {
        (self.entries.entry_count(), self.entries.weighted_size())
    }

    /// Lets the store do what it has put off, so that [`size`](Store::size) is exact.
    pub fn settle(&self) {
        self.entries.run_pending_tasks();
        if let Some(superseded) = &self.superseded {
            superseded.run_pending_tasks();
        }
    }

    /// Every entry, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (CacheKey, Arc<Entry>)> {
        self.entries.iter().map(|(key, entry)| (*key, entry))
    }
}

/// A map that forgets what was least used when it holds more than `most`: for everything that clients can grow.
#[derive(Debug)]
pub struct Bounded<K: Hash + Eq + Send + Sync + 'static, V: Clone + Send + Sync + 'static>(
    moka::sync::Cache<K, V, Hashing>,
);

impl<K: Hash + Eq + Send + Sync + 'static, V: Clone + Send + Sync + 'static> Bounded<K, V> {
    /// A map of at most `most` values.
    #[must_use]
    pub fn new(most: u64) -> Bounded<K, V> {
        Bounded(
            moka::sync::Cache::builder()
                .max_capacity(most)
                .eviction_policy(EvictionPolicy::lru())
                .build_with_hasher(Hashing::default()),
        )
    }

    /// A map whose values together weigh at most `most`, by the given weight.
    #[must_use]
    pub fn weighed(most: u64, weight: impl Fn(&K, &V) -> u32 + Send + Sync + 'static) -> Bounded<K, V> {
        let builder = moka::sync::Cache::builder().max_capacity(most).weigher(weight);
        Bounded(builder.eviction_policy(EvictionPolicy::lru()).build_with_hasher(Hashing::default()))
    }

    /// The value of a key.
    #[must_use]
    pub fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.0.get(key)
    }

    /// Whether there is a value of this key.
    #[must_use]
    pub fn contains(&self, key: &K) -> bool {
        self.0.contains_key(key)
    }

    /// The value of a key, made if it is absent; made once, whoever asks at the same time.
    #[must_use]
    pub fn get_or_insert_with(&self, key: K, make: impl FnOnce() -> V) -> V {
        self.0.get_with(key, make)
    }

    /// Stores a value.
    pub fn insert(&self, key: K, value: V) {
        self.0.insert(key, value);
    }

    /// Forgets a value.
    pub fn remove(&self, key: &K) {
        self.0.invalidate(key);
    }

    /// Forgets everything.
    pub fn clear(&self) {
        self.0.invalidate_all();
    }

    /// How many values there are.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.0.run_pending_tasks();
        self.0.entry_count()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every value, in no order.
    pub fn values(&self) -> impl Iterator<Item = V> {
        self.0.iter().map(|(_, value)| value)
    }
}
