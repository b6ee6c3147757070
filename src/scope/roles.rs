//! Which roles of OpenSearch have filters that stay as they are, as far as escache's own credentials may read it.

use std::sync::Arc;

use http::StatusCode;
use tokio::time::Instant;

use super::answers::StillRoles;
use super::bearer::Asker;
use crate::elastic::target::Target;
use crate::generation::Generation;
use crate::outcome::{Reason, Refusal};
use crate::rounds::{Needed, Rounds, Subject};
use crate::stats::ReadingKind;
use crate::watcher::Watcher;

/// The roles that a security index holds.
pub(super) struct Roles {
    pub(super) asker: Arc<Asker>,
    pub(super) watcher: Arc<Watcher>,
    pub(super) index: Target,
}

/// The roles under one generation of the security index; `None` if they may not be read.
pub(super) struct Under {
    generation: [u8; 32],
    roles: Option<Arc<StillRoles>>,
}

impl Subject for Roles {
    type Found = Under;
    type Failure = Refusal;

    async fn measure(&self) -> Result<Under, Refusal> {
        let began = Instant::now();
        let found = self.read().await;
        self.asker.stats.read(ReadingKind::Roles, began.elapsed(), found.is_ok());
        found
    }
}

impl Roles {
    /// The generation is read before and after the roles, so that they are those of it. That they may not be read is a
    /// permission, and so it too stays as it is under one generation.
    async fn read(&self) -> Result<Under, Refusal> {
        let unknown = || Refusal::at(Reason::ScopeUnknown, "roles");
        let before = self.generation(Needed::since(Instant::now())).await?;
        self.asker.stats.plain.scope_requests.inc();
        let asked = self.asker.upstream.ask("/_plugins/_security/api/roles");
        let asked = tokio::time::timeout(self.asker.timeout, asked).await;
        let roles = match asked.map_err(|_| unknown())?.map_err(|_| unknown())? {
            (StatusCode::OK, _, body) => Some(Arc::new(StillRoles::read(&body).ok_or_else(unknown)?)),
            (StatusCode::FORBIDDEN | StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST, _, _) => None,
            _ => return Err(unknown()),
        };
        if self.generation(Needed::after(Instant::now())).await? != before {
            return Err(Reason::ScopeSettling.into());
        }
        Ok(Under { generation: before, roles })
    }

    async fn generation(&self, needed: Needed) -> Result<[u8; 32], Refusal> {
        let reading = self.watcher.reading_in_time(&self.index, needed).await;
        reading
            .found
            .map(|found| *found.whole())
            .map_err(|_| Refusal::at(Reason::ScopeUnknown, "security index"))
    }
}

/// The roles under this generation, asked once for each.
pub(super) async fn under(
    rounds: &Arc<Rounds<Roles>>,
    generation: &Generation,
) -> Result<Option<Arc<StillRoles>>, Refusal> {
    let of = |under: &Under| (under.generation == *generation.whole()).then(|| under.roles.clone());
    if let Some(roles) = rounds.latest().and_then(|latest| of(latest.found.as_ref().ok()?)) {
        return Ok(roles);
    }
    let unknown = || Refusal::at(Reason::ScopeUnknown, "roles");
    let measured = rounds.get(Needed::since(Instant::now())).await.ok_or_else(unknown)?;
    match &measured.found {
        // of another generation: the index has changed since it was read for this request
        Ok(under) => of(under).ok_or_else(|| Reason::ScopeSettling.into()),
        Err(refusal) => Err(refusal.clone()),
    }
}
