//! What may change while escache runs. A request reads it once, at its beginning, and sees nothing else.

use std::sync::Arc;

use super::plans::Plans;
use crate::key::headers::HeaderRules;
use crate::policy::Policy;

/// What the operator decided, as it is now.
#[derive(Clone, Debug)]
pub struct Live {
    /// What is cached, and how long.
    pub policy: Policy,
    /// What headers mean. A digest of it is in every key, so that nothing is hit that was stored under other rules.
    pub headers: HeaderRules,
    /// What is understood of requests that came before; by these decisions and no others, so each has its own map.
    pub(super) plans: Arc<Plans>,
}

impl Live {
    /// These decisions, with a second map of at most so many bytes.
    pub(super) fn new(policy: Policy, headers: HeaderRules, plan_bytes: u64) -> Live {
        Live { policy, headers, plans: Arc::new(Plans::new(plan_bytes)) }
    }

    /// These decisions instead. What the store and the watcher were made for stays as it was.
    #[must_use]
    pub fn changed_to(&self, policy: Policy, headers: HeaderRules) -> Live {
        let Policy { ttl_only, expire, stale_if_error, shadow_sample, compression, refresh_ahead, .. } =
            self.policy;
        let policy =
            Policy { ttl_only, expire, stale_if_error, shadow_sample, compression, refresh_ahead, ..policy };
        Live { policy, headers, plans: Arc::new(self.plans.another()) }
    }
}
