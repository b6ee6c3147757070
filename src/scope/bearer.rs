//! What is known of each identity: asked with its own credentials, once for all who wait.

use std::sync::{Arc, Mutex, PoisonError};

use http::header::{
    ACCEPT, ACCEPT_CHARSET, ACCEPT_LANGUAGE, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, RANGE,
};
use http::{HeaderMap, HeaderName};

use super::answers::Bearer;
use super::settling::Settling;
use crate::cache::Asked;
use crate::key::fields::Fields;
use crate::key::headers::{HeaderRules, Role};
use crate::outcome::Refusal;

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
    pub(super) found: Result<Arc<Bearer>, Refusal>,
}

/// What is known of one identity.
#[derive(Debug, Default)]
pub(super) struct Known {
    last: Mutex<Option<Answer>>,
    pub(super) settling: Mutex<Settling>,
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
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer.clone());
        answer
    }

    fn last(&self) -> Option<Answer> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
