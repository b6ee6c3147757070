//! What may change while escache runs. A request reads it once, at its beginning, and sees nothing else.

use crate::key::headers::HeaderRules;
use crate::policy::Policy;

/// What the operator decided, as it is now.
#[derive(Clone, Debug)]
pub struct Live {
    /// What is cached, and how long.
    pub policy: Policy,
    /// What headers mean. A digest of it is in every key, so that nothing is hit that was stored under other rules.
    pub headers: HeaderRules,
}

impl Live {
    /// These decisions instead. What the store and the watcher were made for stays as it was.
    #[must_use]
    pub fn changed_to(&self, policy: Policy, headers: HeaderRules) -> Live {
        let Policy { ttl_only, expire, stale_if_error, shadow_sample, .. } = self.policy;
        Live { policy: Policy { ttl_only, expire, stale_if_error, shadow_sample, ..policy }, headers }
    }
}
