//! What is stored, what may be stored, when it may be served, and who shares an upstream search.

mod codings;

mod dearer;

mod entry;

mod flight;

mod freshness;

mod head;

mod origin;

mod storable;

mod store;

pub use self::codings::Codings;
pub use self::dearer::{Costs, Dearer};
pub use self::entry::{Entry, PUBLICATION};
pub use self::flight::{Flights, Waiter};
pub use self::freshness::{Audience, Decision, Lifetime, Proof, StaleIfError, Stamp, decide, decide_stale};
pub use self::head::{EntityTag, StoredHead, is_shared, of_its_own};
pub use self::storable::{Fetched, Storable, shows_a_cache};
pub use self::store::{Bounded, Epoch, Eviction, Hashing, Store};
