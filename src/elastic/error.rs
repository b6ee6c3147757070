//! Errors in the shape that users' tools know: `{"error":{"root_cause":[..],"type":..,"reason":..},"status":..}`.

use bytes::Bytes;
use serde_json::json;

/// The body of an error as the engines write it (`ElasticsearchException.generateFailureXContent`).
#[must_use]
pub fn body(status: u16, kind: &str, reason: &str) -> Bytes {
    let cause = json!({"type": kind, "reason": reason});
    json!({"error": {"root_cause": [cause], "type": kind, "reason": reason}, "status": status})
        .to_string()
        .into()
}

#[cfg(test)]
mod tests {
    #[test]
    fn has_the_engines_shape() {
        assert_eq!(
            super::body(502, "bad_gateway", "no \"luck\""),
            concat!(
                r#"{"error":{"root_cause":[{"type":"bad_gateway","reason":"no \"luck\""}],"#,
                r#""type":"bad_gateway","reason":"no \"luck\""},"status":502}"#
            )
        );
    }
}
