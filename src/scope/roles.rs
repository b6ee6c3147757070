//! Which roles of OpenSearch have filters that stay as they are, as far as escache's own credentials may read it.

use std::sync::Arc;

use http::StatusCode;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::Scope;
use super::answers::StillRoles;
use crate::elastic::target::Target;
use crate::generation::Generation;
use crate::outcome::{Reason, Refusal};

/// The roles under one generation of the security index; `None` if they may not be read.
#[derive(Debug, Default)]
pub(super) struct Roles(Mutex<Option<Read>>);

#[derive(Debug)]
struct Read {
    generation: [u8; 32],
    roles: Option<Arc<StillRoles>>,
}

impl Roles {
    /// The roles under this generation, asked once for each. The generation is read again after the roles, so that they
    /// are those of it. That they may not be read is a permission, and so it too stays as it is under one generation.
    pub(super) async fn under(
        &self,
        generation: &Generation,
        scope: &Scope,
        index: Option<&Target>,
    ) -> Result<Option<Arc<StillRoles>>, Refusal> {
        let mut known = self.0.lock().await;
        if let Some(read) = &*known
            && read.generation == *generation.whole()
        {
            return Ok(read.roles.clone());
        }
        let unknown = || Refusal::at(Reason::ScopeUnknown, "roles");
        scope.stats.plain.scope_requests.inc();
        let asked = scope.upstream.ask("/_plugins/_security/api/roles");
        let asked = tokio::time::timeout(scope.settings.timeout, asked).await;
        let roles = match asked.map_err(|_| unknown())?.map_err(|_| unknown())? {
            (StatusCode::OK, _, body) => Some(Arc::new(StillRoles::read(&body).ok_or_else(unknown)?)),
            (StatusCode::FORBIDDEN | StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST, _, _) => None,
            _ => return Err(unknown()),
        };
        let again = scope.watcher.reading(index.ok_or_else(unknown)?, Instant::now()).await;
        if again.found.ok().is_none_or(|again| again.whole() != generation.whole()) {
            return Err(Reason::ScopeSettling.into());
        }
        *known = Some(Read { generation: *generation.whole(), roles: roles.clone() });
        Ok(roles)
    }
}
