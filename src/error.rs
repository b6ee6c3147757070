//! What can go wrong between escache and the engine, whose fault it is, and which status that makes.

use http::StatusCode;

/// Why there is no answer of the engine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// There is no connection to the engine.
    #[error("the engine cannot be reached: {0}")]
    Unreachable(String),
    /// The engine was reached, and closed or broke the connection before it answered.
    #[error("the engine closed the connection before it answered: {0}")]
    Closed(String),
    /// What came from the engine is not HTTP/1.1.
    #[error("the engine's answer cannot be read as one of HTTP/1.1: {0}")]
    Unreadable(String),
    /// The engine did not answer in time.
    #[error("the engine did not answer within {0:?}")]
    TimedOut(std::time::Duration),
    /// The answer of the engine broke off.
    #[error("the answer of the engine broke off: {0}")]
    BrokenAnswer(String),
    /// The body of the client's request broke off, or could not be read.
    #[error("the request's body broke off")]
    BrokenRequest,
    /// The body of the client's request came too slowly.
    #[error("the request's body did not come within {0:?} (http.body_timeout)")]
    SlowRequest(std::time::Duration),
    /// The request as a whole took too long.
    #[error("the request took longer than {0:?} (http.request_timeout)")]
    Late(std::time::Duration),
    /// `Cache-Control: only-if-cached`, and there is nothing.
    #[error("only-if-cached: no stored answer can be used")]
    OnlyIfCached,
    /// escache has sent the request itself.
    #[error("this escache has sent the request itself: upstream.hosts leads back to it")]
    Loop,
    /// escache itself is at fault.
    #[error("an error inside escache")]
    Internal,
}

impl ProxyError {
    /// The status for the client.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            ProxyError::Unreachable(_)
            | ProxyError::Closed(_)
            | ProxyError::Unreadable(_)
            | ProxyError::BrokenAnswer(_) => StatusCode::BAD_GATEWAY,
            ProxyError::TimedOut(_) | ProxyError::Late(_) | ProxyError::OnlyIfCached => {
                StatusCode::GATEWAY_TIMEOUT
            }
            ProxyError::BrokenRequest => StatusCode::BAD_REQUEST,
            ProxyError::SlowRequest(_) => StatusCode::REQUEST_TIMEOUT,
            ProxyError::Loop => StatusCode::LOOP_DETECTED,
            ProxyError::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Whether no connection could be made, or none lasted until an answer began.
    #[must_use]
    pub fn is_for_want_of_connection(&self) -> bool {
        matches!(self, ProxyError::Unreachable(_) | ProxyError::Closed(_) | ProxyError::Unreadable(_))
    }

    /// Whether it is for want of an answer of the engine.
    #[must_use]
    pub fn is_for_want_of_answer(&self) -> bool {
        self.is_for_want_of_connection()
            || matches!(self, ProxyError::TimedOut(_) | ProxyError::BrokenAnswer(_))
    }

    /// The `type` in the error's body, after the names of the engines.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            ProxyError::Unreachable(_)
            | ProxyError::Closed(_)
            | ProxyError::Unreadable(_)
            | ProxyError::BrokenAnswer(_) => "bad_gateway_exception",
            ProxyError::TimedOut(_) | ProxyError::Late(_) => "gateway_timeout_exception",
            ProxyError::OnlyIfCached => "only_if_cached_exception",
            ProxyError::BrokenRequest => "broken_request_exception",
            ProxyError::SlowRequest(_) => "request_timeout_exception",
            ProxyError::Loop => "loop_detected_exception",
            ProxyError::Internal => "escache_internal_exception",
        }
    }

    /// What the client may know. The log has the rest.
    #[must_use]
    pub fn public(&self) -> String {
        match self {
            ProxyError::Unreachable(_) => "escache: the engine cannot be reached".to_owned(),
            ProxyError::Closed(_) => {
                "escache: the engine closed the connection before it answered".to_owned()
            }
            ProxyError::Unreadable(_) => {
                "escache: the engine's answer cannot be read as one of HTTP/1.1".to_owned()
            }
            ProxyError::BrokenAnswer(_) => "escache: the answer of the engine broke off".to_owned(),
            other => format!("escache: {other}"),
        }
    }
}
