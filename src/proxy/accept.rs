//! Accept: the body of a request that may be cached, or why it is not at hand.

use bytes::Bytes;
use http::request::Parts;

use super::{Answered, ClientAddress, Proxy};
use crate::outcome::{CacheStatus, Reason};
use crate::respond;
use crate::upstream::{Body, BodyError, Collected, Excess};

/// Why the body of a request that may be cached is not at hand.
pub(super) enum NotWhole {
    TooLong(Body, Reason),
    Broken(BodyError),
}

/// Accept: the body of a request that may be cached.
pub(super) fn accept(body: Result<Collected, BodyError>) -> Result<Bytes, NotWhole> {
    match body {
        Ok(Collected::Whole(body)) => Ok(body),
        Ok(Collected::TooLong(body, Excess::Limit)) => Err(NotWhole::TooLong(body, Reason::BodyTooLarge)),
        Ok(Collected::TooLong(body, Excess::Memory)) => Err(NotWhole::TooLong(body, Reason::MemoryLimit)),
        Err(error) => Err(NotWhole::Broken(error)),
    }
}

impl Proxy {
    /// The answer to a request whose body was not taken whole.
    pub(super) async fn not_whole(&self, head: &Parts, client: ClientAddress, why: NotWhole) -> Answered {
        match why {
            NotWhole::TooLong(body, reason) => self.bypass(head, body, client, reason.into()).await,
            NotWhole::Broken(error) => {
                (respond::error(&error.of_request()), CacheStatus::bypass(Reason::NotJson))
            }
        }
    }
}
