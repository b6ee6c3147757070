//! What may be sent twice.

use http::Method;
use percent_encoding::percent_decode_str;

use crate::elastic::api::route;

/// Whether a request may be sent twice: a search or the like, whatever its method, and every other GET and HEAD. Not what
/// opens or turns over something that the engine keeps, whatever its method: the first sending may have done so (RFC 9110
/// 9.2.2). A search with `scroll` would leave a context behind that nobody knows the id of, and the next page of a scroll
/// or of an SQL cursor would be the one after it. A point in time is opened by POST, and is no read for that alone.
pub(super) fn may_repeat(method: &Method, path: &str, query: Option<&str>) -> bool {
    if opens_scroll(query) || turns_pages(path) {
        return false;
    }
    let api = route(method, path, query).api;
    api.is_read() && !api.is_asynchronous()
        || api.is_several()
        || matches!(*method, Method::GET | Method::HEAD)
}

/// Whether answers are pages, of which each asking turns one over, or each asking may leave a search that is kept.
fn turns_pages(path: &str) -> bool {
    path.contains("_search/scroll")
        || path.split('/').any(|segment| matches!(segment, "_sql" | "_ppl" | "sql" | "_eql"))
}

/// The engines take `;` between parameters as they take `&`, and decode names.
fn opens_scroll(query: Option<&str>) -> bool {
    let mut pairs = query.unwrap_or_default().split(['&', ';']);
    pairs.any(|pair| {
        let name = pair.split('=').next().unwrap_or_default();
        percent_decode_str(name).eq("scroll".bytes())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_reads_are_sent_twice() {
        for (request, expected) in [
            ("POST /logs/_search", true),
            ("GET /logs/_search?size=1", true),
            ("GET /logs/_search?scroll=1m", false),
            ("POST /logs/_search?size=1&scroll=1m", false),
            ("POST /logs/_search?size=1;%73croll=1m", false),
            ("POST /logs/_search?scroll", false),
            ("POST /logs/_search?q=scroll&scroll_size=1", true),
            ("POST /_search/template?scroll=1m", false),
            ("POST /scroll/_search", true),
            ("POST /logs/_pit?keep_alive=1m", false),
            ("POST /logs/_search/point_in_time?keep_alive=1m", false),
            ("GET /_sql?format=json", false),
            ("GET /_plugins/_ppl", false),
            ("GET /_xpack/sql", false),
            ("GET /logs/_eql/search?keep_on_completion=true", false),
            ("POST /logs/_async_search", false),
            ("POST /logs/_field_caps", true),
            ("POST /_count", true),
            ("POST /_msearch", true),
            ("POST /a/_msearch/template", true),
            ("GET /logs/_doc/1", true),
            ("HEAD /logs", true),
            ("GET /_search/scroll", false),
            ("GET /_search/scroll/abc", false),
            ("POST /_search/scroll", false),
            ("POST /logs/_doc", false),
            ("PUT /logs/_doc/1", false),
            ("POST /_bulk", false),
            ("DELETE /logs", false),
            ("POST /logs/_refresh", false),
        ] {
            let (method, path) = request.split_once(' ').unwrap();
            let (path, query) =
                path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
            assert_eq!(may_repeat(&method.parse().unwrap(), path, query), expected, "{request}");
        }
    }
}
