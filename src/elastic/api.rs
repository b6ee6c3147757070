//! Which endpoint a method and a path name: the rest-api-spec name, found by whole segments as the engines route.

/// The endpoint of a request by its name in Elastic's rest-api-spec. Only endpoints that escache treats in a way of
/// their own have a variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Api {
    /// `search`: GET or POST `/{index}/_search`, `/_search`.
    Search,
    /// `count`: GET or POST `/{index}/_count`, `/_count`.
    Count,
}

/// Which of the two families of engines, and its version, as `GET /` says. Words of the request language differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Engine {
    /// The family.
    pub distribution: Distribution,
    /// Major and minor version.
    pub version: (u32, u32),
}

/// The two families of engines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Distribution {
    /// Elasticsearch, from 7.17.
    Elasticsearch,
    /// OpenSearch, from 2.0.
    OpenSearch,
}
