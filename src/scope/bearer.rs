//! What is known of each identity: asked with its own credentials, once for all who wait.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCEPT, ACCEPT_CHARSET, ACCEPT_LANGUAGE, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, RANGE,
};
use http::{HeaderMap, HeaderName, StatusCode};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::answers::{Bearer, Privileges};
use super::survey::{ABSENT, Kind, is_silent};
use crate::cache::{of_its_own, shows_a_cache};
use crate::generation::Settling;
use crate::key::fields::Fields;
use crate::key::headers::{HeaderRole, HeaderRules};
use crate::outcome::{Reason, Refusal};
use crate::rounds::{Failure, Rounds, Subject};
use crate::stats::{ReadingKind, Stats};
use crate::upstream::Upstream;

/// The part of a request that tells the engine who asks.
///
/// Every header that is not known to be neutral is part of it, since the engine may look at any of them. The client's
/// address is, where the request tells of addresses ([`tell_of_client`](crate::upstream::tell_of_client)); otherwise a
/// search that fills the cache is asked without it too.
#[derive(Clone)]
pub(super) struct Credentials {
    pub(super) headers: HeaderMap,
    pub(super) digest: [u8; 32],
}

/// Headers that say how the answer is to be written, or what of it.
const REPRESENTATION: [HeaderName; 6] =
    [ACCEPT, ACCEPT_CHARSET, ACCEPT_LANGUAGE, CONTENT_ENCODING, CONTENT_TYPE, RANGE];

impl Credentials {
    pub(super) fn of(head: &HeaderMap, rules: &HeaderRules) -> Credentials {
        let mut names: Vec<&HeaderName> = head
            .keys()
            // what `Connection` names does not reach the engine, so it goes along to have the same effect
            .filter(|name| {
                *name == CONNECTION
                    || rules.role(name) != HeaderRole::Neutral && !REPRESENTATION.contains(name)
            })
            .collect();
        names.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
        let (mut headers, mut fields) = (HeaderMap::new(), Fields::new("escache 1 bearer"));
        for name in names {
            fields.put_header(name, head);
            for value in head.get_all(name) {
                headers.append(name.clone(), value.clone());
            }
        }
        Credentials { headers, digest: fields.finish() }
    }

    /// The same to be kept: nothing of a connection's buffer lives as long as it.
    pub(super) fn kept(&self) -> Credentials {
        let mut kept = self.clone();
        kept.headers.values_mut().for_each(|value| *value = of_its_own(value));
        kept
    }
}

/// Who asks the engine about identities.
#[derive(Debug)]
pub(super) struct Asker {
    pub(super) upstream: Arc<Upstream>,
    pub(super) stats: Arc<Stats>,
    /// Questions that may be under way at once.
    pub(super) permits: Semaphore,
    /// How long one may take.
    pub(super) timeout: Duration,
}

/// An identity, and how the engine tells of it.
pub(super) struct Identity {
    asker: Arc<Asker>,
    credentials: Arc<Credentials>,
    pub(super) kind: Kind,
    /// The one host that is asked; any, if none is said.
    host: Option<usize>,
    word: Mutex<Word>,
}

/// Why it is not known who asks.
#[derive(Clone, Debug)]
pub(super) struct Unknown {
    pub(super) refusal: Refusal,
    /// The engine has no way to tell it to this bearer, at no time. Otherwise it failed to, or it does not know the
    /// bearer: then a lifetime (`auth.entry_ttl`) must not stand in for the proof.
    pub(super) always: bool,
}

impl Unknown {
    /// Nothing was told this time, or that the engine does not know the bearer.
    fn now(refusal: impl Into<Refusal>) -> Unknown {
        Unknown { refusal: refusal.into(), always: false }
    }

    /// What was told proves nothing, and will not.
    fn always(place: &str) -> Unknown {
        Unknown { refusal: Refusal::at(Reason::ScopeUnknown, place), always: true }
    }
}

impl Failure for Unknown {
    fn lasts(&self) -> bool {
        self.refusal.lasts()
    }

    fn mends(&self) -> bool {
        self.refusal.mends()
    }
}

/// The place of a refusal that only says that the engine could not be asked in time.
const TIMEOUT: &str = "timeout";

/// The place of a refusal that only says that the engine could not answer.
const UNREACHED: &str = "unreached";

/// Whether the engine has said nothing, rather than no.
fn is_silence(refusal: &Refusal) -> bool {
    refusal.reason == Reason::ReadingsLimit || [TIMEOUT, UNREACHED].contains(&refusal.place.as_str())
}

/// What was last known of an identity from the engine's own mouth; a failure to ask takes nothing back.
#[derive(Debug, Default)]
struct Word {
    /// The digest of what it said of the bearer last.
    told: Option<[u8; 32]>,
    proof: Option<Proof>,
}

/// A scope that was proven.
#[derive(Clone, Copy, Debug)]
pub(super) struct Proof {
    /// By this word of the engine on the bearer,
    pub(super) bearer: [u8; 32],
    /// this generation of the security index, where that is part of it,
    pub(super) security: Option<[u8; 32]>,
    /// and this is what stands for it in entries.
    pub(super) digest: [u8; 32],
}

/// What is known of one identity.
#[derive(Debug)]
pub(super) struct Identified {
    pub(super) rounds: Arc<Rounds<Identity>>,
    pub(super) settling: Mutex<Settling>,
}

impl Identified {
    /// How many places it takes among those that are known.
    pub(super) fn places(&self) -> u32 {
        places(&self.rounds.subject.credentials.headers)
    }
}

/// One place for each 4 KiB of what requests carry. Who sends much, perhaps without being anybody, is not to fill the
/// memory.
fn places(headers: &HeaderMap) -> u32 {
    const PLACE: usize = 4 << 10;
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    u32::try_from(1 + bytes / PLACE).unwrap_or(u32::MAX)
}

impl Subject for Identity {
    type Found = Bearer;
    type Failure = Unknown;

    async fn measure(&self) -> Result<Bearer, Unknown> {
        let Ok(_permit) = self.asker.permits.try_acquire() else {
            return Err(Unknown::now(Reason::ReadingsLimit));
        };
        let began = Instant::now();
        let asked = tokio::time::timeout(self.asker.timeout, self.ask());
        let late = || Err(Unknown::now(Refusal::at(Reason::ScopeUnknown, TIMEOUT)));
        let found = asked.await.unwrap_or_else(|_| late());
        self.asker.stats.read(ReadingKind::Identity, began.elapsed(), found.is_ok());
        match &found {
            Ok(bearer) => self.word().told = Some(bearer.digest),
            Err(unknown) if is_silence(&unknown.refusal) => {}
            Err(_) => self.forget(),
        }
        found
    }
}

impl Identity {
    pub(super) fn new(asker: Arc<Asker>, credentials: Arc<Credentials>, kind: Kind) -> Identity {
        Identity { asker, credentials, kind, host: None, word: Mutex::default() }
    }

    /// The same, as this host knows it.
    pub(super) fn at(self, host: usize) -> Identity {
        Identity { host: Some(host), ..self }
    }

    /// A scope was proven: by what the engine said of the bearer, and the generation of the security index.
    pub(super) fn prove(&self, proof: Proof) {
        self.word().proof = Some(proof);
    }

    /// The engine has said no: nothing is proven until it is proven anew.
    pub(super) fn forget(&self) {
        *self.word() = Word::default();
    }

    /// The last scope that was proven, if what the engine has said since agrees with it. `security` is the newest
    /// generation of the security index.
    pub(super) fn proven(&self, security: Option<[u8; 32]>) -> Option<[u8; 32]> {
        let word = self.word();
        let holds = |proof: &Proof| {
            word.told == Some(proof.bearer) && (proof.security.is_none() || proof.security == security)
        };
        word.proof.filter(holds).map(|proof| proof.digest)
    }

    fn word(&self) -> MutexGuard<'_, Word> {
        self.word.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(&self) -> Result<Bearer, Unknown> {
        let unknown = |place: &'static str| move || Unknown::always(place);
        match self.kind {
            Kind::OpenSearch => {
                let told = self.told("/_plugins/_security/authinfo").await?;
                Bearer::of_authinfo(&told).ok_or_else(unknown("authinfo"))
            }
            Kind::ElasticsearchUsers => {
                let told = self.told("/_security/_authenticate").await?;
                Bearer::of_authenticate(&told).ok_or_else(unknown("_authenticate"))
            }
            Kind::Elasticsearch => {
                let (told, privileges) = tokio::try_join!(
                    self.told("/_security/_authenticate"),
                    self.told("/_security/user/_privileges")
                )?;
                let bearer = Bearer::of_authenticate(&told).ok_or_else(unknown("_authenticate"))?;
                let privileges = Privileges::read(&privileges).ok_or_else(unknown("_privileges"))?;
                if privileges.moving {
                    return Err(Unknown::always("_privileges.indices.query"));
                }
                Ok(bearer.with(&privileges))
            }
        }
    }

    async fn told(&self, question: &str) -> Result<Bytes, Unknown> {
        self.asker.stats.plain.scope_requests.inc();
        match self.asker.upstream.ask_as(question, &self.credentials.headers, self.host).await {
            Ok((StatusCode::OK, headers, body)) if !shows_a_cache(&headers) => Ok(body),
            Ok((status, _, _)) => {
                tracing::debug!(%status, question, "the engine does not tell who asks");
                let place = if is_silent(status) { UNREACHED } else { "bearer" };
                // there is no such endpoint, or this bearer may not ask it
                let always = ABSENT.contains(&status) || status == StatusCode::FORBIDDEN;
                Err(Unknown { refusal: Refusal::at(Reason::ScopeUnknown, place), always })
            }
            Err(error) => {
                tracing::debug!(%error, question, "the engine does not tell who asks");
                Err(Unknown::now(Refusal::at(Reason::ScopeUnknown, UNREACHED)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn who_sends_much_takes_many_places() {
        let with = |length: usize| {
            let mut head = HeaderMap::new();
            head.insert("x-unknown", HeaderValue::try_from("a".repeat(length)).unwrap());
            places(&Credentials::of(&head, &HeaderRules::default()).headers)
        };
        assert_eq!((with(20), with(4_000), with(30_000)), (1, 1, 8));
    }
}
