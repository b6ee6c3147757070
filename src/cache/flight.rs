//! A flight: one upstream search that several waiting requests share.
//!
//! Ways in which a wait can end: the flight lands; the flight is lost (its task panicked), then each waiter asks for
//! itself; the waiter leaves. A flight runs on a task of its own, so that a leader that hangs up strands nobody; when
//! the last waiter has left, the task is dropped, and with it the upstream request.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio::time::Instant;

/// The flights under way. Which requests may share one (R5) is decided by what the caller puts into the key: the cache
/// key, the generation that the caller's own reading found, and the purge epoch.
#[derive(Debug)]
pub struct Flights<K, T>(Mutex<HashMap<K, Flight<T>>>);

#[derive(Debug)]
struct Flight<T> {
    began: Instant,
    landing: Arc<watch::Sender<Option<T>>>,
}

impl<K, T> Default for Flights<K, T> {
    fn default() -> Flights<K, T> {
        Flights(Mutex::default())
    }
}

/// A seat on a flight. Dropping it is leaving.
#[derive(Debug)]
pub struct Waiter<T> {
    landing: watch::Receiver<Option<T>>,
    /// Whether this request started the flight.
    pub leads: bool,
}

impl<T: Clone> Waiter<T> {
    /// Waits until the flight lands; `None` if it is lost.
    pub async fn landed(mut self) -> Option<T> {
        self.landing.wait_for(Option::is_some).await.ok()?.clone()
    }
}

impl<K, T> Flights<K, T>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    T: Clone + Send + Sync + 'static,
{
    /// Takes a seat on the flight of `key`, if it began at `not_before` or later, or starts one. `cancelled` is called if
    /// everybody leaves before it lands.
    pub fn board<F>(
        self: &Arc<Self>,
        key: &K,
        not_before: Option<Instant>,
        fly: impl FnOnce() -> F,
        cancelled: impl FnOnce() + Send + 'static,
    ) -> Waiter<T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let under_way = self.lock();
        if let Some(flight) = under_way.get(key)
            && not_before.is_none_or(|earliest| flight.began >= earliest)
        {
            return Waiter { landing: flight.landing.subscribe(), leads: false };
        }
        self.start(under_way, key, fly, cancelled)
    }

    /// Starts a flight of `key`, if none is under way.
    pub fn lead<F>(
        self: &Arc<Self>,
        key: &K,
        fly: impl FnOnce() -> F,
        cancelled: impl FnOnce() + Send + 'static,
    ) -> Option<Waiter<T>>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let under_way = self.lock();
        (!under_way.contains_key(key)).then(|| self.start(under_way, key, fly, cancelled))
    }

    fn start<F>(
        self: &Arc<Self>,
        mut under_way: MutexGuard<'_, HashMap<K, Flight<T>>>,
        key: &K,
        fly: impl FnOnce() -> F,
        cancelled: impl FnOnce() + Send + 'static,
    ) -> Waiter<T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let (sender, landing) = watch::channel(None);
        let sender = Arc::new(sender);
        // an older flight of the same key goes on for those who are aboard
        under_way.insert(key.clone(), Flight { began: Instant::now(), landing: Arc::clone(&sender) });
        drop(under_way);
        let gate = Gate { flights: Arc::clone(self), key: key.clone(), sender };
        let flight = fly();
        tokio::spawn(async move {
            tokio::select! {
                biased;
                landed = flight => gate.land(landed),
                () = gate.deserted() => cancelled(),
            }
        });
        Waiter { landing, leads: true }
    }

    /// How many are under way.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<K, T> Flights<K, T> {
    fn lock(&self) -> MutexGuard<'_, HashMap<K, Flight<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes the flight for boarding, whichever way it ends.
struct Gate<K: Hash + Eq, T> {
    flights: Arc<Flights<K, T>>,
    key: K,
    sender: Arc<watch::Sender<Option<T>>>,
}

impl<K: Hash + Eq, T> Gate<K, T> {
    fn close(&self) {
        self.remove_from(&mut self.flights.lock());
    }

    /// Unless another flight has taken the place.
    fn remove_from(&self, under_way: &mut HashMap<K, Flight<T>>) {
        if under_way.get(&self.key).is_some_and(|flight| Arc::ptr_eq(&flight.landing, &self.sender)) {
            under_way.remove(&self.key);
        }
    }

    fn land(&self, landed: T) {
        self.close();
        self.sender.send_replace(Some(landed));
    }

    /// Completes when the last waiter has left and none can come any more.
    async fn deserted(&self) {
        self.sender.closed().await;
        while !self.close_if_deserted() {
            self.sender.closed().await;
        }
    }

    /// Boarding takes the same lock, so nobody can come in between.
    fn close_if_deserted(&self) -> bool {
        let mut under_way = self.flights.lock();
        let deserted = self.sender.receiver_count() == 0;
        if deserted {
            self.remove_from(&mut under_way);
        }
        deserted
    }
}

impl<K: Hash + Eq, T> Drop for Gate<K, T> {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn equal_keys_share_one_flight_even_if_the_leader_leaves() {
        let flights = Arc::new(Flights::<u8, &str>::default());
        let (go, calls) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
        let board = |key: u8| {
            let (go, calls) = (Arc::clone(&go), Arc::clone(&calls));
            flights.board(
                &key,
                None,
                move || async move {
                    calls.fetch_add(1, Ordering::SeqCst);
                    go.notified().await;
                    "landed"
                },
                || {},
            )
        };
        let leader = board(1);
        let followers: Vec<_> = (0..10).map(|_| board(1)).collect();
        assert!(leader.leads && followers.iter().all(|f| !f.leads));
        drop(leader);
        tokio::task::yield_now().await;
        go.notify_one();
        for follower in followers {
            assert_eq!(follower.landed().await, Some("landed"));
        }
        assert_eq!(calls.load(Ordering::SeqCst), 1);
        assert!(flights.is_empty());
        assert!(board(1).leads);
    }

    #[tokio::test]
    async fn a_deserted_flight_is_dropped() {
        struct Dropped(Arc<Notify>);
        impl Drop for Dropped {
            fn drop(&mut self) {
                self.0.notify_one();
            }
        }
        let flights = Arc::new(Flights::<u8, ()>::default());
        let (dropped, cancelled) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (held, told) = (Dropped(Arc::clone(&dropped)), Arc::clone(&cancelled));
        let waiter = flights.board(
            &1,
            None,
            move || async move {
                let _held = held;
                std::future::pending::<()>().await;
            },
            move || told.notify_one(),
        );
        tokio::task::yield_now().await;
        drop(waiter);
        cancelled.notified().await;
        dropped.notified().await;
        assert!(flights.is_empty());
    }

    #[tokio::test]
    async fn a_lost_flight_strands_nobody() {
        let flights = Arc::new(Flights::<u8, ()>::default());
        let waiter = flights.board(&1, None, || async { panic!("on purpose") }, || {});
        assert_eq!(waiter.landed().await, None);
        assert!(flights.is_empty());
    }

    #[tokio::test]
    async fn who_wants_a_younger_flight_starts_one() {
        let flights = Arc::new(Flights::<u8, u8>::default());
        let go = Arc::new(Notify::new());
        let board = |not_before, landed| {
            let go = Arc::clone(&go);
            let fly = move || async move {
                go.notified().await;
                landed
            };
            flights.board(&1, not_before, fly, || {})
        };
        let old = board(None, 1);
        let young = board(Some(Instant::now() + std::time::Duration::from_nanos(1)), 2);
        let third = board(None, 3);
        assert!(young.leads && !third.leads);
        tokio::task::yield_now().await;
        go.notify_waiters();
        assert_eq!(
            (old.landed().await, young.landed().await, third.landed().await),
            (Some(1), Some(2), Some(2))
        );
        assert!(flights.is_empty());
    }
}
