//! The key: blake3 of the canonical request. Two requests with equal keys are the same question.
