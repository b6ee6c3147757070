//! What is known of each identity: asked with its own credentials, once for all who wait.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::header::{
    ACCEPT, ACCEPT_CHARSET, ACCEPT_LANGUAGE, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, RANGE,
};
use http::{HeaderMap, HeaderName};

use super::answers::Bearer;
use super::settling::Settling;
use crate::cache::Asked;
use crate::key::fields::Fields;
use crate::key::headers::{HeaderRules, Role};
use crate::outcome::{Reason, Refusal};

/// The part of a request that tells the engine who asks.
///
/// Every header that is not known to be neutral is part of it, since the engine may look at any of them. The client's
/// address is not: a search that fills the cache is asked without it too.
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
                *name == CONNECTION || rules.role(name) != Role::Neutral && !REPRESENTATION.contains(name)
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
}

/// An answer about an identity.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    /// When its first question was about to be sent.
    pub(super) started: Asked,
    /// Who it is.
    pub(super) found: Result<Arc<Bearer>, Unknown>,
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
    pub(super) fn now(refusal: impl Into<Refusal>) -> Unknown {
        Unknown { refusal: refusal.into(), always: false }
    }

    /// What was told proves nothing, and will not.
    pub(super) fn always(refusal: impl Into<Refusal>) -> Unknown {
        Unknown { refusal: refusal.into(), always: true }
    }
}

/// The place of a refusal that only says that the engine could not be asked in time.
pub(super) const TIMEOUT: &str = "timeout";

/// The place of a refusal that only says that the engine could not answer.
pub(super) const UNREACHED: &str = "unreached";

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
#[derive(Debug, Default)]
pub(super) struct Known {
    last: Mutex<Option<Answer>>,
    pub(super) settling: Mutex<Settling>,
    word: Mutex<Word>,
    turn: tokio::sync::Mutex<()>,
}

impl Known {
    /// An answer that serves: the last one, or a new one. One question is under way at a time. Who comes while it is
    /// waits for the turn, and then the question of the first of them, which started after all of them had come,
    /// serves all of them (group commit). If who asks leaves, the next in the queue asks.
    pub(super) async fn answer(
        &self,
        serves: impl Fn(&Answer) -> bool,
        ask: impl Future<Output = Answer>,
    ) -> Answer {
        if let Some(answer) = self.last().filter(&serves) {
            return answer;
        }
        let _turn = self.turn.lock().await;
        if let Some(answer) = self.last().filter(&serves) {
            return answer;
        }
        let answer = ask.await;
        match &answer.found {
            Ok(bearer) => self.word().told = Some(bearer.digest),
            Err(unknown) if is_silence(&unknown.refusal) => {}
            Err(_) => self.forget(),
        }
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer.clone());
        answer
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

    fn last(&self) -> Option<Answer> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
