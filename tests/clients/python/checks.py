"""What each Python client must be able to do through escache. `python checks.py` runs it for the client that is installed.

Environment: CLIENT_URL (escache), CLIENT_DIRECT (the engine without it), CLIENT_TAP (tap.py's control listener), CLIENT_ENGINE (such as elasticsearch-8).
Prints a line per check: `ok NAME - note`, `not ok NAME - reason`, `skip NAME - reason`.
"""

import json
import os
import sys
import traceback
import urllib.parse
import urllib.request

URL = os.environ["CLIENT_URL"]
DIRECT = os.environ["CLIENT_DIRECT"]
TAP = os.environ["CLIENT_TAP"]
ENGINE = os.environ["CLIENT_ENGINE"]
OPENSEARCH = ENGINE.startswith("opensearch")

if OPENSEARCH:
    import opensearchpy as package
    from opensearchpy import OpenSearch as Client
    from opensearchpy import helpers
    from opensearchpy.connection.http_urllib3 import Urllib3HttpConnection
else:
    # read by elasticsearch-py 7: it then asks for the API by its version, as 8 and 9 always do
    os.environ["ELASTIC_CLIENT_APIVERSIONING"] = "1"
    import elasticsearch as package
    from elasticsearch import Elasticsearch as Client
    from elasticsearch import helpers

VERSION = package.__version__ if isinstance(package.__version__, tuple) else package.__versionstr__
MAJOR = int(VERSION[0]) if isinstance(VERSION, tuple) else int(VERSION.split(".")[0])
# elasticsearch-py 8 and 9 hand out an answer's headers; the older design takes a connection class instead
MODERN = not OPENSEARCH and MAJOR >= 8
INDEX = "clients-py-%s%d" % ("os" if OPENSEARCH else "es", MAJOR)
COUNT = 250
seen = {}

if not MODERN:
    if not OPENSEARCH:
        from elasticsearch import Urllib3HttpConnection

    class Connection(Urllib3HttpConnection):
        """The client's own, which also remembers the headers of the last answer."""

        def perform_request(self, *args, **kwargs):
            status, headers, body = super().perform_request(*args, **kwargs)
            seen.clear()
            seen.update({name.lower(): value for name, value in headers.items()})
            return status, headers, body


class Skip(Exception):
    """The check does not apply here."""


def client(url=URL, **options):
    if not MODERN:
        options.setdefault("connection_class", Connection)
    return Client([url], **options)


def search(of, body, opaque=None):
    """An answer and its headers, names in lower case."""
    if MODERN:
        answer = (of.options(opaque_id=opaque) if opaque else of).search(index=INDEX, body=body)
        return answer.body, {name.lower(): value for name, value in answer.meta.headers.items()}
    headers = {"headers": {"X-Opaque-Id": opaque}} if opaque else {}
    answer = of.search(index=INDEX, body=body, **headers)
    return answer, dict(seen)


def total(answer):
    return answer["hits"]["total"]["value"]


def arrived(part):
    with urllib.request.urlopen(TAP + "/requests?path=" + urllib.parse.quote(part, safe="")) as answer:
        return json.load(answer)


def fail(path, status, times):
    body = json.dumps({"path": path, "status": status, "times": times}).encode()
    urllib.request.urlopen(urllib.request.Request(TAP + "/fail", data=body)).close()


def same(found, expected, what=""):
    if found != expected:
        raise AssertionError("%s: found %r, not %r" % (what, found, expected))


def until_hit(of, body, opaque=None):
    """Repeats a search until it is a hit, since an index may still be settling; (answer, headers, tries)."""
    for tries in range(1, 11):
        answer, headers = search(of, body, opaque)
        if headers.get("x-cache") == "HIT":
            return answer, headers, tries
    raise AssertionError("no HIT in 10 tries: %s" % headers.get("cache-status"))


def documents(first, count):
    return [{"_index": INDEX, "_id": str(n), "n": n, "title": "document %d" % n} for n in range(first, first + count)]


def product(es):
    """The client accepts what it meets as its own product, by GET / or by X-Elastic-Product on each answer."""
    if ENGINE == "elasticsearch-8":
        # without GET /; this client looks at the header of each answer
        assert es.cluster.health()["number_of_nodes"] == 1
        return "by X-Elastic-Product; the engine that is tried has no GET /"
    same(es.ping(), True, "ping")
    number = es.info()["version"]["number"]
    assert number.startswith(ENGINE[-1] + "."), number
    return "engine " + number


def setup(es):
    if MODERN:
        es.options(ignore_status=404).indices.delete(index=INDEX)
    else:
        es.indices.delete(index=INDEX, ignore=404)
    es.indices.create(
        index=INDEX,
        body={
            "settings": {"number_of_shards": 1, "number_of_replicas": 0},
            "mappings": {"properties": {"n": {"type": "integer"}, "title": {"type": "text"}}},
        },
    )


def bulk(es):
    setup(es)
    same(helpers.bulk(es, documents(0, COUNT), chunk_size=100, refresh=True), (COUNT, []), "bulk")
    results = list(helpers.streaming_bulk(es, [{**documents(0, 1)[0], "_op_type": "create"}], raise_on_error=False))
    same([(ok, item["create"]["status"]) for ok, item in results], [(False, 409)], "streaming_bulk")
    try:
        helpers.bulk(es, [{"_index": INDEX, "_id": "bad", "n": "no number"}])
    except helpers.BulkIndexError as error:
        same([list(item.values())[0]["status"] for item in error.errors], [400], "BulkIndexError")
    else:
        raise AssertionError("an item that cannot be indexed raised nothing")
    same(es.count(index=INDEX)["count"], COUNT, "count")
    return "%d documents" % COUNT


def cache(es):
    body = {"query": {"match": {"title": "document"}}, "size": 3, "sort": [{"n": "asc"}]}
    first, headers = search(es, body)
    same(headers["x-cache"], "MISS", "first search")
    same(total(first), COUNT, "first search")
    again, headers, tries = until_hit(es, body)
    same(again, first, "hit")
    es.index(index=INDEX, id="late", body={"n": -1, "title": "late document"}, refresh="true")
    after, headers = search(es, body)
    same(headers["x-cache"], "MISS", "after a write and refresh")
    same((total(after), after["hits"]["hits"][0]["_id"]), (COUNT + 1, "late"), "after a write and refresh")
    same(total(until_hit(es, body)[0]), COUNT + 1, "hit after the write")
    # behind escache's back
    client(DIRECT).delete(index=INDEX, id="late", refresh="true")
    same(total(search(es, body)[0]), COUNT, "after the delete")
    return "HIT at try %d" % (tries + 1)


def compat(es):
    if OPENSEARCH:
        raise Skip("OpenSearch's client has no compatibility headers")
    body = {"query": {"term": {"n": 11}}}
    missed = search(es, body)[1]
    kept = until_hit(es, body)[1]
    wanted = "compatible-with=%d" % MAJOR
    request = [r for r in arrived(INDEX + "/_search") if r["method"] == "POST"][-1]
    for name in ("accept", "content-type"):
        assert wanted in request["headers"][name], request["headers"][name]
    engine = search(client(DIRECT), body)[1]["content-type"]
    same((missed["content-type"], kept["content-type"]), (engine, engine), "content type of a miss and of a hit")
    return engine


def gzip(es):
    zipped = client(http_compress=True)
    extra = documents(COUNT, 100)
    same(helpers.bulk(zipped, extra, refresh=True)[0], 100, "bulk")
    same(arrived("_bulk")[-1]["headers"].get("content-encoding"), "gzip", "coding of the bulk")
    body = {"query": {"match_all": {}}, "size": 100, "sort": [{"n": "desc"}]}
    verdicts = []
    while len(verdicts) < 10 and "HIT" not in verdicts:
        answer, headers = search(zipped, body)
        same((total(answer), answer["hits"]["hits"][0]["_id"]), (COUNT + 100, str(COUNT + 99)), "search")
        same(headers.get("content-encoding"), "gzip", "coding of the answer")
        verdicts.append(headers["x-cache"])
    same(verdicts[-1], "HIT", "compressed search")
    plain, headers = search(es, body)
    same(plain["hits"], answer["hits"], "without compression")
    same(headers.get("content-encoding"), None, "coding of an answer without compression")
    helpers.bulk(es, [{"_op_type": "delete", "_index": INDEX, "_id": d["_id"]} for d in extra], refresh=True)
    return "compressed search: " + ", ".join(verdicts)


def scroll(es):
    ids = {hit["_id"] for hit in helpers.scan(es, index=INDEX, query={"query": {"match_all": {}}}, size=60, scroll="1m")}
    same(ids, {str(n) for n in range(COUNT)}, "scan")
    pages = [r for r in arrived("_search/scroll") if r["method"] in ("POST", "GET")]
    assert len(pages) >= 4, pages
    return "%d documents in pages of 60" % len(ids)


def pit(es):
    if OPENSEARCH:
        point = es.create_pit(index=INDEX, params={"keep_alive": "1m"})["pit_id"]
    else:
        point = es.open_point_in_time(index=INDEX, keep_alive="1m")["id"]
    es.index(index=INDEX, id="later", body={"n": 1_000_000, "title": "later"}, refresh="true")
    ids, after = [], None
    while True:
        body = {"pit": {"id": point, "keep_alive": "1m"}, "size": 100, "sort": [{"n": "asc"}]}
        if after:
            body["search_after"] = after
        answer = es.search(body=body)
        point = answer.get("pit_id", point) if not MODERN else answer.body.get("pit_id", point)
        page = answer["hits"]["hits"]
        if not page:
            break
        ids += [hit["_id"] for hit in page]
        after = page[-1]["sort"]
    if OPENSEARCH:
        es.delete_pit(body={"pit_id": [point]})
    else:
        es.close_point_in_time(body={"id": point})
    es.delete(index=INDEX, id="later", refresh="true")
    same(ids, [str(n) for n in range(COUNT)], "pages of the point in time")
    return "%d documents, a later write unseen" % len(ids)


def msearch(es):
    one = {"query": {"range": {"n": {"lt": 10}}}, "size": 0}
    bad = {"sort": ["no_such_field"]}
    lines = [{"index": INDEX}, one, {}, {**one, "size": 1}, {"index": INDEX}, bad, {"index": "clients-none"}, one]
    for _ in range(3):
        found = es.msearch(index=INDEX, body=lines)["responses"]
        same([item.get("status") for item in found], [200, 200, 400, 404], "status of items")
        same([total(item) for item in found[:2]], [10, 10], "items")
        same(found[3]["error"]["type"], "index_not_found_exception", "error of an item")
    es.index(index=INDEX, id="more", body={"n": 5, "title": "more"}, refresh="true")
    same(total(es.msearch(index=INDEX, body=lines)["responses"][0]), 11, "after a write")
    es.delete(index=INDEX, id="more", refresh="true")
    unread = [{}, {"query": {"no_such_query": {}}}, {}, one]
    same(outcome(es, unread), outcome(client(DIRECT), unread), "an item that is no search")
    return "4 items, 2 of them errors"


def outcome(of, lines):
    """The statuses of a multi search, or that of its error."""
    try:
        return [item.get("status") for item in of.msearch(index=INDEX, body=lines)["responses"]]
    except (package.TransportError, package.ApiError if MODERN else package.TransportError) as error:
        return error.status_code, error.error


def errors(es):
    def raised(kind, status, of_type, call):
        try:
            call()
        except kind as error:
            same(error.status_code, status, "status")
            if of_type:
                same(error.error, of_type, "type of the error")
        else:
            raise AssertionError("nothing raised, not %s" % kind)

    bad_request = getattr(package, "BadRequestError", None) or package.RequestError
    raised(package.NotFoundError, 404, None, lambda: es.get(index=INDEX, id="none"))
    for _ in range(2):
        raised(package.NotFoundError, 404, "index_not_found_exception", lambda: es.search(index="clients-none"))
        raised(bad_request, 400, "parsing_exception", lambda: search(es, {"query": {"no_such_query": {}}}))
    conflict = {"index": INDEX, "id": "1", "body": {"n": 1}}
    raised(package.ConflictError, 409, "version_conflict_engine_exception", lambda: es.create(**conflict))
    return "404, 400, 409 with their types"


def retries(es):
    patient = client(max_retries=3, retry_on_timeout=True)
    body = {"query": {"term": {"n": 77}}}
    before = len(arrived(INDEX + "/_search"))
    fail(INDEX + "/_search", 503, 2)
    answer, headers = search(patient, body)
    same((total(answer), headers["x-cache"]), (1, "MISS"), "search")
    same(len(arrived(INDEX + "/_search")) - before, 3, "requests that the engine's side saw")
    fail(INDEX + "/_search", 503, 1)
    try:
        search(client(max_retries=0), {"query": {"term": {"n": 78}}})
    except (package.TransportError, package.ApiError if MODERN else package.TransportError) as error:
        same(error.status_code, 503, "status without retries")
    else:
        raise AssertionError("the 503 was not seen")
    same(total(search(es, {"query": {"term": {"n": 78}}})[0]), 1, "after the failure")
    return "answered at the third try"


def opaque_id(es):
    body = {"query": {"term": {"n": 33}}}
    _, headers = search(es, body, "first-one")
    same((headers["x-cache"], headers.get("x-opaque-id")), ("MISS", "first-one"), "miss")
    same(arrived(INDEX + "/_search")[-1]["headers"].get("x-opaque-id"), "first-one", "at the engine")
    until_hit(es, body)
    _, headers, _ = until_hit(es, body, "second-one")
    same(headers.get("x-opaque-id"), "second-one", "hit")
    return "echoed on MISS and HIT, each its own"


CHECKS = [product, bulk, cache, compat, gzip, scroll, pit, msearch, errors, retries, opaque_id]


def main():
    print("version %s" % (".".join(map(str, VERSION)) if isinstance(VERSION, tuple) else VERSION), flush=True)
    es = client()
    failed = 0
    for check in CHECKS:
        name = check.__name__.replace("_", "-")
        try:
            print("ok %s - %s" % (name, check(es)), flush=True)
        except Skip as reason:
            print("skip %s - %s" % (name, reason), flush=True)
        except Exception as error:
            failed += 1
            traceback.print_exc()
            print("not ok %s - %s: %s" % (name, type(error).__name__, str(error)[:300]), flush=True)
    sys.exit(1 if failed else 0)


main()
