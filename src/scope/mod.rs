//! The proof of scope: what shows that who asks may still see what an entry shows.
//!
//! A role that is changed from one filter on documents to another leaves every search 200, every counter of the
//! target and the cluster state as they were. So permissions have a generation of their own, which becomes part of the
//! generation that a request compares. It is made from
//!
//! - **the security index** (OpenSearch; Elasticsearch where escache's own credentials may read its statistics): its
//!   generation, read as that of any target. Users, roles and mappings are documents in it, so every change of one
//!   moves its counters, and they never come back to what they were;
//! - **what the engine says of the bearer**, asked with the client's own credentials: OpenSearch's `authinfo`,
//!   Elasticsearch's `_authenticate` and `_privileges`. It covers what is kept elsewhere: expired tokens, groups in a
//!   directory, roles in files.
//!
//! Both are read after the request arrived (or within its bound), and shared by group commit, as readings of targets
//! are. So R1 to R3 hold for the whole: what an entry carries was read before its search was sent, what decides about
//! it was read after the request arrived, and only equality counts. Anonymous requests to an engine that has users are
//! no exception: what the anonymous user may do can change.
//!
//! # The enforcement gap
//!
//! Nodes enforce a change some time *after* the security index shows it (seen: up to 0.4 s with two nodes). In
//! between, a search whose reading already showed the new state runs under the old roles. Stored under that reading, it
//! would serve the old documents until the next change. The rule: **a search is shared or stored only if it is sent at
//! least `auth.enforcement_gap` after the end of the first reading that showed the present state**; before that,
//! requests are forwarded one by one (`scope-settling`). Why this is enough, for a change made at `c`, enforced on every
//! node before `c + gap`, and a search sent at `s` under a reading `F`:
//!
//! 1. `F` shows the change. The first reading that showed it ended at `e >= c`, for a reading shows only what has
//!    happened. So `s >= e + gap >= c + gap`: every node enforces it. It does not matter how long before `e` the change
//!    was made: dating it later than it was only costs hits. (Dating it by the start of the last reading that did not
//!    show it would be the *earliest* time at which it can have been made, and with readings seconds apart an answer
//!    within the gap would be stored.)
//! 2. `F` does not show the change, and the search runs under the new roles, or under both on different nodes. Then the
//!    entry carries a generation from before the change, and the counters never show that again: it can never be
//!    served. Nor can others board its flight who arrive after the change: their reading differs.
//! 3. Two changes at `c1 < c2`, of which the first is settled. A reading that shows `c2` begins a new gap. One that does
//!    not is case 2 for `c2`.
//! 4. Readings of one target end in the order in which they start, but requests may come to look at them in another. A
//!    reading that started before the newest that was looked at and shows something else is of the past: its request is
//!    forwarded, and it does not begin a new gap (`Settling::note`).
//! 5. **First sight**: after a start of escache, or of another cluster behind the address, the present state may be as
//!    young as a moment. Its gap begins with the first reading, which is made at the start.
//! 6. A request joins a flight whose search was sent before it arrived. Both readings show the same generation, which
//!    was settled when the search was sent, so at both times the roles enforced are those of that generation.
//! 7. With a bound the reading may be older than the request. It then shows less, not more: cases 1 and 2 hold as they
//!    are, and the bound is one for permissions too.
//!
//! The gap is 5 s by default: an order of magnitude above what was seen, as much as a node may pause for its garbage
//! collection before others take notice; its price is that identities are not cached for 5 s after a change of any role.
//!
//! # What the bearer's answer cannot show
//!
//! Unlike counters it can come back to what it was: changed between the reading and the search, and back before the
//! next reading, it would show nothing. So it is asked once more *after* the search, and the answer stored only if it
//! is the same (`Scope::confirms`). Groups in a directory, and roles in files, are known to each node by a copy of its own,
//! for minutes. So what is asked again is the host that has answered the search: the answer is stored only if that host
//! says of the bearer what the reading of the tag says. What is left, on Elasticsearch without a readable security index: roles that are
//! changed and changed back within one search, or within the gap and unseen by any request of the same user between.
//!
//! # Filters that move
//!
//! A filter with `now`, a template, a script, or a look at other documents lets other documents through although nothing
//! changes. Elasticsearch shows the filters in `_privileges`. OpenSearch shows them to administrators only: where
//! escache's credentials may read the roles, those of the bearer must all be free of such filters. Otherwise the operator
//! has to say so (`auth.static_roles`); who says nothing has requests with an identity forwarded.

mod answers;

mod bearer;

mod roles;

mod survey;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::HeaderMap;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use self::bearer::{Asker, Credentials, Identified, Identity, Proof, Unknown};
use self::roles::Roles;
use self::survey::{Facts, Kind};
use crate::cache::{Audience, Bounded};
use crate::elastic::target::Target;
use crate::generation::{Generation, Settling};
use crate::key::headers::HeaderRules;
use crate::outcome::{Reason, Refusal};
use crate::rounds::{Measured, Needed, Pace, Rounds};
use crate::stats::Stats;
use crate::upstream::Upstream;
use crate::watcher::Watcher;

/// What is understood of an engine's answer about users or roles, for those who try to break it.
#[doc(hidden)]
#[derive(Debug)]
pub struct Understood {
    /// The roles by `authinfo`, and by `_authenticate` with the text as privileges, too.
    pub bearers: [Option<Vec<String>>; 2],
    /// The roles whose filters let the same documents through until the role changes.
    pub still_roles: Option<Vec<String>>,
}

/// Reads a text as each of these answers.
#[doc(hidden)]
#[must_use]
pub fn understood(body: &[u8]) -> Understood {
    let authenticated =
        answers::Bearer::of_authenticate(body).map(|bearer| match answers::Privileges::read(body) {
            Some(privileges) => bearer.with(&privileges),
            None => bearer,
        });
    let bearers = [answers::Bearer::of_authinfo(body), authenticated].map(|bearer| Some(bearer?.roles));
    let still_roles = answers::StillRoles::read(body).map(|roles| roles.names().cloned().collect());
    Understood { bearers, still_roles }
}

/// `auth.proof`: what is taken as proof.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Way {
    /// On OpenSearch the security index; on Elasticsearch the privileges, and the security index if it can be read.
    #[default]
    Auto,
    /// The security index, and that the engine still knows the bearer.
    SecurityIndex,
    /// What Elasticsearch says of the bearer's privileges, and nothing else.
    Privileges,
    /// Nothing.
    None,
}

/// How permissions are proven.
#[derive(Clone, Debug)]
pub struct ScopeSettings {
    /// `auth.proof`
    pub way: Way,
    /// `auth.enforcement_gap`
    pub gap: Duration,
    /// `auth.static_roles`
    pub static_roles: bool,
    /// `auth.security_index`; `None`: by its usual name, or as the nodes' settings say.
    pub index: Option<String>,
    /// `limits.max_identities`
    pub max_identities: u64,
    /// Questions that may be under way at once.
    pub max_concurrent: usize,
    /// How long one may take.
    pub timeout: Duration,
}

/// After a refused question about an identity its requests are forwarded for this long before the engine is asked again.
const PAUSE: Duration = Duration::from_secs(1);

/// Proves scope.
#[derive(Debug)]
pub struct Scope {
    settings: ScopeSettings,
    asker: Arc<Asker>,
    watcher: Arc<Watcher>,
    pace: Arc<Pace>,
    facts: ArcSwap<Facts>,
    /// Whether the engine had no users when it last told; kept when it does not tell.
    open: AtomicBool,
    index: Mutex<Settling>,
    roles: Bounded<Target, Arc<Rounds<Roles>>>,
    known: Bounded<[u8; 32], Arc<Identified>>,
    /// What single hosts say, where there are several.
    by_host: Bounded<([u8; 32], usize), Arc<Identified>>,
}

/// How many security indices are known at once: there is one, and after a change of the cluster behind the address
/// perhaps another.
const MOST_INDICES: u64 = 4;

/// What was asked of a bearer.
type Told = Measured<answers::Bearer, Unknown>;

/// What was found about the scope of a request.
pub enum Found {
    /// The engine has no users: a request that names nobody is everybody's.
    Free,
    /// Proven.
    Proven(Proven),
    /// There is no way to prove it.
    Unproven(Refusal),
}

/// A scope that was proven by readings of which the first started at `started`.
pub struct Proven {
    /// What is to be compared, with the generation of the target.
    pub digest: [u8; 32],
    /// When the older reading of it started.
    pub started: Instant,
    /// To ask once more after the search.
    pub bearer: Confirm,
}

/// What the engine has to prove scope by.
struct Means<'a> {
    kind: Kind,
    index: Option<&'a Target>,
}

/// The bearer of a request, and what the engine said of it.
#[derive(Clone)]
pub struct Confirm {
    credentials: Arc<Credentials>,
    kind: Kind,
    digest: [u8; 32],
}

impl Scope {
    /// A scope that knows nothing of the engine yet: it proves nothing before the first [`survey`](Scope::survey).
    #[must_use]
    pub fn new(
        settings: ScopeSettings,
        upstream: Arc<Upstream>,
        watcher: Arc<Watcher>,
        stats: Arc<Stats>,
    ) -> Scope {
        let renewals = (settings.max_concurrent / 2).max(1);
        let permits = Semaphore::new(settings.max_concurrent);
        Scope {
            pace: Arc::new(Pace::new(watcher.wall(), PAUSE, settings.timeout, renewals)),
            asker: Arc::new(Asker { upstream, stats, permits, timeout: settings.timeout }),
            watcher,
            facts: ArcSwap::default(),
            open: AtomicBool::new(false),
            index: Mutex::default(),
            roles: Bounded::new(MOST_INDICES),
            known: Bounded::weighed(settings.max_identities, |_: &[u8; 32], known: &Arc<Identified>| {
                known.places()
            }),
            by_host: Bounded::weighed(
                settings.max_identities,
                |_: &([u8; 32], usize), known: &Arc<Identified>| known.places(),
            ),
            settings,
        }
    }

    /// How many identities are known.
    #[must_use]
    pub fn identities(&self) -> u64 {
        self.known.len()
    }

    /// Forgets what was seen, as after a change of the cluster behind the address: its gap begins anew.
    pub fn forget(&self) {
        self.known.clear();
        self.by_host.clear();
        *self.index.lock().unwrap_or_else(PoisonError::into_inner) = Settling::default();
    }

    /// What [`of`](Scope::of) finds without asking anybody: that the engine has no users, and the request names none.
    #[must_use]
    pub fn at_hand(&self, anonymous: bool) -> Option<Found> {
        (anonymous && matches!(**self.facts.load(), Facts::Open)).then_some(Found::Free)
    }

    /// What proves that the sender of these headers, which mean what `rules` say, may see now what it may see, by readings
    /// that serve.
    ///
    /// # Errors
    /// Why the request has to be forwarded although there is a way to prove it: the proof failed, or says no.
    pub async fn of(
        &self,
        rules: &HeaderRules,
        anonymous: bool,
        head: &HeaderMap,
        needed: Needed,
    ) -> Result<Found, Refusal> {
        let facts = self.facts.load_full();
        let Means { kind, index } = match self.means(&facts) {
            Ok(Some(means)) => means,
            Ok(None) if anonymous => return Ok(Found::Free),
            Ok(None) => return Ok(Found::Unproven(Reason::ScopeUnknown.into())),
            Err(place) => return Ok(unproven(place)),
        };
        let credentials = Arc::new(Credentials::of(head, rules));
        let (security, (told, known_long)) =
            tokio::join!(self.security(index, needed), self.bearer(&credentials, kind, needed));
        let Some(told) = told else { return Err(Refusal::at(Reason::ScopeUnknown, "bearer")) };
        let bearer = match &told.found {
            Ok(found) => found,
            Err(unknown) if unknown.always => return Ok(Found::Unproven(unknown.refusal.clone())),
            Err(unknown) => return Err(unknown.refusal.clone()),
        };
        let mut proven = Proven {
            digest: bearer.digest,
            started: told.started.at,
            bearer: Confirm { credentials, kind, digest: bearer.digest },
        };
        // it was readable when it was chosen
        let Some((generation, started, settled)) = security? else {
            if !known_long {
                return Err(Reason::ScopeSettling.into());
            }
            self.note(&proven, None);
            return Ok(Found::Proven(proven));
        };
        // where roles also come from files, their counters are not all that has to settle
        if !settled || kind == Kind::Elasticsearch && !known_long {
            return Err(Reason::ScopeSettling.into());
        }
        if kind != Kind::Elasticsearch && !self.settings.static_roles {
            let Some(index) = index else { return Ok(unproven("security index")) };
            let still = roles::under(&self.roles_of(index), &generation).await?;
            if !still.is_some_and(|still| still.holds(&bearer.roles)) {
                return Ok(unproven("document filter of a role"));
            }
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(generation.whole()).update(&bearer.digest);
        proven.digest = *hasher.finalize().as_bytes();
        proven.started = proven.started.min(started);
        self.note(&proven, Some(*generation.whole()));
        Ok(Found::Proven(proven))
    }

    /// By what scope is proven; `None` if the engine has no users.
    ///
    /// # Errors
    /// What is missing.
    fn means<'a>(&self, facts: &'a Facts) -> Result<Option<Means<'a>>, &'static str> {
        let (kind, index) = match facts {
            Facts::Open => return Ok(None),
            Facts::Unknown => return Err("engine"),
            Facts::Secured { kind, index } => (*kind, index.as_ref()),
        };
        let index = match (self.settings.way, kind) {
            (Way::None, _) | (Way::Privileges, Kind::OpenSearch) => return Err("auth.proof"),
            (Way::Privileges, _) => None,
            (Way::SecurityIndex, _) | (Way::Auto, Kind::OpenSearch) => Some(index.ok_or("security index")?),
            (Way::Auto, _) => index,
        };
        let kind = if self.settings.way == Way::SecurityIndex { kind.without_privileges() } else { kind };
        Ok(Some(Means { kind, index }))
    }

    /// What a proof is made of, for `explain`: the security index by its name, and the questions about the bearer. Empty
    /// where the engine has no users, or there is no way.
    #[must_use]
    pub fn proven_by(&self) -> Vec<String> {
        let facts = self.facts.load();
        let Ok(Some(Means { kind, index })) = self.means(&facts) else { return Vec::new() };
        let index = index.map(|index| format!("the counters of {index}"));
        index.into_iter().chain(kind.questions().iter().map(|&question| question.to_owned())).collect()
    }

    /// Remembers a proof, for [`last`](Scope::last).
    fn note(&self, proven: &Proven, security: Option<[u8; 32]>) {
        let Confirm { credentials, digest, .. } = &proven.bearer;
        if let Some(known) = self.known.get(&credentials.digest) {
            known.rounds.subject.prove(Proof { bearer: *digest, security, digest: proven.digest });
        }
    }

    /// What the last successful readings have shown of the sender of these headers, for `stale_if_error`. Asks nobody.
    #[must_use]
    pub fn last(&self, rules: &HeaderRules, anonymous: bool, head: &HeaderMap) -> Audience {
        if self.open.load(Ordering::Acquire) {
            return if anonymous { Audience::Everybody } else { Audience::Unproven };
        }
        let security = self.index.lock().unwrap_or_else(PoisonError::into_inner).newest();
        let known = self.known.get(&Credentials::of(head, rules).digest);
        known
            .and_then(|known| known.rounds.subject.proven(security))
            .map_or(Audience::Unproven, Audience::Proven)
    }

    /// The engine has turned the sender of these headers away: what was proven before holds no more.
    pub fn turned_away(&self, rules: &HeaderRules, head: &HeaderMap) {
        if let Some(known) = self.known.get(&Credentials::of(head, rules).digest) {
            known.rounds.subject.forget();
        }
    }

    /// Whether the host of this number, asked now, says the same of the bearer as the engine did before.
    pub async fn confirms(&self, confirm: &Confirm, host: usize) -> bool {
        let needed = Needed::since(Instant::now());
        let Confirm { credentials, kind, .. } = confirm;
        let told = if self.asker.upstream.has_one_host() {
            self.bearer(credentials, *kind, needed).await.0
        } else {
            self.bearer_at(host, credentials, *kind, needed).await
        };
        told.is_some_and(|told| told.found.as_ref().is_ok_and(|bearer| bearer.digest == confirm.digest))
    }

    /// The generation of the security index, when its reading started, and whether it has settled.
    async fn security(
        &self,
        index: Option<&Target>,
        needed: Needed,
    ) -> Result<Option<(Generation, Instant, bool)>, Refusal> {
        let Some(index) = index else { return Ok(None) };
        let reading = self.watcher.reading_in_time(index, needed).await;
        let generation = reading.found.map_err(|_| Refusal::at(Reason::ScopeUnknown, "security index"))?;
        // credentials that do not see the index at all would have a reading of nothing, which never changes
        if generation.metadata().names().is_empty() {
            return Err(Refusal::at(Reason::ScopeUnknown, "security index"));
        }
        let settled = self.index.lock().unwrap_or_else(PoisonError::into_inner).note(
            *generation.whole(),
            reading.started,
            Instant::now(),
            self.settings.gap,
        );
        Ok(Some((generation, reading.started, settled)))
    }

    /// What the engine says of a bearer, by questions that serve; `None` if who asked was lost. And whether it has said so
    /// for the enforcement gap.
    async fn bearer(
        &self,
        credentials: &Arc<Credentials>,
        kind: Kind,
        needed: Needed,
    ) -> (Option<Arc<Told>>, bool) {
        let make = || {
            let identity = Identity::new(Arc::clone(&self.asker), Arc::new(credentials.kept()), kind);
            let rounds = Arc::new(Rounds::new(identity, Arc::clone(&self.pace)));
            Arc::new(Identified { rounds, settling: Mutex::default() })
        };
        let mut known = self.known.get_or_insert_with(credentials.digest, make);
        // the engine tells in another way than it did when this one was first seen
        if known.rounds.subject.kind != kind {
            known = make();
            self.known.insert(credentials.digest, Arc::clone(&known));
        }
        let Some(told) = known.rounds.get(needed).await else { return (None, false) };
        // looked at anew each time: with a bound one answer serves for longer than it takes to settle
        let settled = told.found.as_ref().is_ok_and(|bearer| {
            let mut settling = known.settling.lock().unwrap_or_else(PoisonError::into_inner);
            settling.note(bearer.digest, told.started.at, Instant::now(), self.settings.gap)
        });
        (Some(told), settled)
    }

    /// What one host says of a bearer, by questions that serve.
    async fn bearer_at(
        &self,
        host: usize,
        credentials: &Arc<Credentials>,
        kind: Kind,
        needed: Needed,
    ) -> Option<Arc<Told>> {
        let make = || {
            let identity =
                Identity::new(Arc::clone(&self.asker), Arc::new(credentials.kept()), kind).at(host);
            let rounds = Arc::new(Rounds::new(identity, Arc::clone(&self.pace)));
            Arc::new(Identified { rounds, settling: Mutex::default() })
        };
        let key = (credentials.digest, host);
        let mut known = self.by_host.get_or_insert_with(key, make);
        if known.rounds.subject.kind != kind {
            known = make();
            self.by_host.insert(key, Arc::clone(&known));
        }
        known.rounds.get(needed).await
    }

    fn roles_of(&self, index: &Target) -> Arc<Rounds<Roles>> {
        self.roles.get_or_insert_with(index.clone(), || {
            let (asker, watcher) = (Arc::clone(&self.asker), Arc::clone(&self.watcher));
            Arc::new(Rounds::new(Roles { asker, watcher, index: index.clone() }, Arc::clone(&self.pace)))
        })
    }
}

fn unproven(place: &str) -> Found {
    Found::Unproven(Refusal::at(Reason::ScopeUnknown, place))
}
