//! What every part of the benchmark has at hand, and how it starts its servers.

use super::Options;
use super::places::Places;
use super::report::Report;
use super::servers::{self, Kind, Server, Setup};
use crate::Failure;
use crate::node;
use crate::process::Process;

/// Options, servers and report of a run.
pub(super) struct Stage<'a> {
    pub(super) options: &'a Options,
    pub(super) setup: Setup,
    /// All that runs, in the order in which it was started.
    pub(super) processes: &'a mut Vec<Process>,
    pub(super) report: &'a mut Report,
}

impl Stage<'_> {
    /// The same with nothing pinned: an engine has both processors, as the others have.
    pub(super) fn free(&mut self) -> Stage<'_> {
        let setup = Setup { places: Places::free(), ..self.setup.clone() };
        Stage { options: self.options, setup, processes: self.processes, report: self.report }
    }

    /// What answers as an engine would.
    pub(super) async fn upstream(&mut self) -> Result<Server, Failure> {
        servers::upstream(&self.setup, self.processes).await
    }

    /// An engine, with what the part before this one left in its folder.
    pub(super) async fn engine(&mut self, folder: &str) -> Result<Server, Failure> {
        let folder = self.setup.work.join(folder);
        let Options { nodes, engine, .. } = self.options;
        let client = node::start(nodes, engine, &folder, self.processes).await?;
        let pid = self.processes.last().map(Process::id).ok_or("the engine has no process")?;
        Ok(Server { kind: Kind::Direct, client, admin: None, pid })
    }

    /// The same with nothing: one that has to recover hundreds of indices first starts late.
    pub(super) async fn new_engine(&mut self, folder: &str) -> Result<Server, Failure> {
        let _ = std::fs::remove_dir_all(self.setup.work.join(folder));
        self.engine(folder).await
    }

    /// A server in front of another.
    pub(super) async fn serve(&mut self, kind: Kind, upstream: &Server) -> Result<Server, Failure> {
        servers::serve(kind, upstream.base(), &self.setup, self.processes).await
    }

    /// Those of these kinds that are installed here.
    pub(super) async fn serve_all(
        &mut self,
        kinds: &[Kind],
        upstream: &Server,
    ) -> Result<Vec<Server>, Failure> {
        let mut all = Vec::new();
        for kind in kinds.iter().filter(|kind| servers::is_here(**kind)) {
            all.push(self.serve(*kind, upstream).await?);
        }
        Ok(all)
    }
}
