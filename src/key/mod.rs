//! The key: blake3 of the canonical request. Two requests with equal keys are the same question.

/// The key of a cached answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CacheKey(pub [u8; 32]);
