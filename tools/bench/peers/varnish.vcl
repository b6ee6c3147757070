vcl 4.1;
# Varnish with the body of a POST in its key. {...} is filled in by tools/bench/servers.rs.
import std;
import bodyaccess;

backend default { .host = "{host}"; .port = "{port}"; }

sub vcl_recv {
  unset req.http.X-Body;
  if (req.method == "POST" && req.url ~ "/_search$") {
    std.cache_req_body(512KB);
    set req.http.X-Body = "yes";
    return (hash);
  }
  return (pass);
}

sub vcl_hash {
  if (req.http.X-Body) { bodyaccess.hash_req_body(); }
}

sub vcl_backend_fetch {
  # a fetch that fills the cache becomes a GET otherwise
  if (bereq.http.X-Body) { set bereq.method = "POST"; }
  return (fetch);
}
