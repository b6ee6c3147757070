// What Elastic's Go client must be able to do through escache; ../python/checks.py says which settings and lines there are.
// Its major versions differ in their paths alone: ../run.py puts the one that is tried in the place of v7.
package main

import (
	stdgzip "compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/elastic/go-elasticsearch/v7"
	"github.com/elastic/go-elasticsearch/v7/esapi"
	"github.com/elastic/go-elasticsearch/v7/esutil"
)

// The engine is of the client's own major version.
var (
	major = os.Getenv("CLIENT_ENGINE")[len("elasticsearch-"):]
	index = "clients-go-es" + major
)

// answer is what came back, read to its end.
type answer struct {
	status  int
	headers http.Header
	body    object
}

func client(at string, change func(*elasticsearch.Config)) *elasticsearch.Client {
	config := elasticsearch.Config{Addresses: []string{os.Getenv(at)}}
	if change != nil {
		change(&config)
	}
	es, err := elasticsearch.NewClient(config)
	check(err)
	return es
}

func read(response *esapi.Response, err error) answer {
	check(err)
	defer response.Body.Close()
	body := io.Reader(response.Body)
	if response.Header.Get("Content-Encoding") == "gzip" {
		body, err = stdgzip.NewReader(body)
		check(err)
	}
	text, err := io.ReadAll(body)
	check(err)
	out := answer{status: response.StatusCode, headers: response.Header}
	if len(text) > 0 {
		check(json.Unmarshal(text, &out.body))
	}
	return out
}

func search(es *elasticsearch.Client, body object, options ...func(*esapi.SearchRequest)) answer {
	options = append(options, es.Search.WithIndex(index), es.Search.WithBody(reader(body)))
	return read(es.Search(options...))
}

func hits(a answer) []any     { return a.body["hits"].(object)["hits"].([]any) }
func total(of object) int     { return int(of["hits"].(object)["total"].(object)["value"].(float64)) }
func verdict(a answer) string { return a.headers.Get("X-Cache") }
func kind(a answer) string    { return a.body["error"].(object)["type"].(string) }

// untilHit repeats a search until it is a hit, since an index may still be settling.
func untilHit(es *elasticsearch.Client, body object, options ...func(*esapi.SearchRequest)) answer {
	var last answer
	for range 10 {
		if last = search(es, body, options...); verdict(last) == "HIT" {
			return last
		}
	}
	panic(fmt.Errorf("no HIT in 10 tries: %s", last.headers.Get("Cache-Status")))
}

func put(es *elasticsearch.Client, id string, document object) {
	found := read(es.Index(index, reader(document), es.Index.WithDocumentID(id), es.Index.WithRefresh("true")))
	same("status of a write", found.status, 201)
}

func remove(es *elasticsearch.Client, id string) {
	same("status of a delete", read(es.Delete(index, id, es.Delete.WithRefresh("true"))).status, 200)
}

func product(es *elasticsearch.Client) string {
	if major == "8" {
		// without GET /; this client looks at the header of each answer
		same("nodes", read(es.Cluster.Health()).body["number_of_nodes"], 1.0)
		return "by X-Elastic-Product; the engine that is tried has no GET /"
	}
	number := read(es.Info()).body["version"].(object)["number"].(string)
	same("engine", strings.HasPrefix(number, major+"."), true)
	return "engine " + number
}

func bulk(es *elasticsearch.Client) string {
	read(es.Indices.Delete([]string{index}, es.Indices.Delete.WithIgnoreUnavailable(true)))
	made := object{
		"settings": object{"number_of_shards": 1, "number_of_replicas": 0},
		"mappings": object{"properties": object{"n": object{"type": "integer"}, "title": object{"type": "text"}}},
	}
	same("index", read(es.Indices.Create(index, es.Indices.Create.WithBody(reader(made)))).status, 200)
	indexer, err := esutil.NewBulkIndexer(esutil.BulkIndexerConfig{Client: es, Index: index, FlushBytes: 5000, Refresh: "true"})
	check(err)
	var refused []int
	add := func(id string, document object) {
		check(indexer.Add(context.Background(), esutil.BulkIndexerItem{
			Action: "index", DocumentID: id, Body: reader(document),
			OnFailure: func(_ context.Context, _ esutil.BulkIndexerItem, item esutil.BulkIndexerResponseItem, _ error) {
				refused = append(refused, item.Status)
			},
		}))
	}
	for i := range count {
		add(fmt.Sprint(i), object{"n": i, "title": fmt.Sprintf("document %d", i)})
	}
	add("bad", object{"n": "no number"})
	check(indexer.Close(context.Background()))
	same("flushed", indexer.Stats().NumFlushed, uint64(count))
	same("refused", refused, []int{400})
	return fmt.Sprintf("%d documents", count)
}

func cache(es *elasticsearch.Client) string {
	body := object{"query": object{"match": object{"title": "document"}}, "size": 3, "sort": []object{{"n": "asc"}}}
	first := search(es, body)
	same("first search", verdict(first), "MISS")
	same("first search", total(first.body), count)
	same("hit", untilHit(es, body).body, first.body)
	put(es, "late", object{"n": -1, "title": "late document"})
	after := search(es, body)
	same("after a write", verdict(after), "MISS")
	same("after a write", total(after.body), count+1)
	same("after a write", hits(after)[0].(object)["_id"], "late")
	same("hit after the write", total(untilHit(es, body).body), count+1)
	// behind escache's back
	remove(client("CLIENT_DIRECT", nil), "late")
	same("after the delete", total(search(es, body).body), count)
	return "HIT, after a write MISS"
}

func compat(*elasticsearch.Client) string {
	tell := func(c *elasticsearch.Config) { c.EnableCompatibilityMode = true }
	es := client("CLIENT_URL", tell)
	body := n(object{"gte": 11, "lte": 11})
	missed := search(es, body)
	sent := arrived(index + "/_search")
	same("at the engine", strings.Contains(sent[len(sent)-1].Headers["accept"], "compatible-with="+major), true)
	found := untilHit(es, body)
	kind := search(client("CLIENT_DIRECT", tell), body).headers.Get("Content-Type")
	same("type of the answers", []string{missed.headers.Get("Content-Type"), found.headers.Get("Content-Type")}, []string{kind, kind})
	return "compatible-with=" + major
}

func gzip(es *elasticsearch.Client) string {
	zipped := client("CLIENT_URL", func(c *elasticsearch.Config) { c.CompressRequestBody = true })
	body := object{"query": object{"match_all": object{}}, "size": 100, "sort": []object{{"n": "desc"}}}
	plain := search(es, body)
	var verdicts []string
	for len(verdicts) < 10 && !slices.Contains(verdicts, "HIT") {
		found := search(zipped, body)
		same("compressed", found.body["hits"], plain.body["hits"])
		verdicts = append(verdicts, verdict(found))
	}
	same("compressed", verdicts[len(verdicts)-1], "HIT")
	found := search(client("CLIENT_URL", func(c *elasticsearch.Config) {
		// Go's own transport would inflate it before it is seen
		c.Transport = &http.Transport{DisableCompression: true}
		c.CompressRequestBody = true
		c.Header = http.Header{"Accept-Encoding": {"gzip"}}
	}), body)
	same("coding of the answer", found.headers.Get("Content-Encoding"), "gzip")
	missed := n(object{"gte": 22, "lte": 22})
	same("compressed", []any{verdict(search(zipped, missed)), verdict(search(es, missed))}, []any{"MISS", "HIT"})
	sent := arrived(index + "/_search")
	same("coding of the request", sent[len(sent)-1].Headers["content-encoding"], "gzip")
	return "compressed search: " + strings.Join(verdicts, ", ")
}

func scroll(es *elasticsearch.Client) string {
	found := map[string]bool{}
	page := search(es, object{"size": 60}, es.Search.WithScroll(60_000_000_000))
	for len(hits(page)) > 0 {
		for _, hit := range hits(page) {
			found[hit.(object)["_id"].(string)] = true
		}
		id := page.body["_scroll_id"].(string)
		page = read(es.Scroll(es.Scroll.WithBody(reader(object{"scroll_id": id, "scroll": "1m"}))))
	}
	same("documents", len(found), count)
	return fmt.Sprintf("%d documents in pages of 60", len(found))
}

// minute is the time to keep what is opened, of the type that the client's version takes: a text up to 8, then a duration.
func minute[T, O any](_ func([]string, T, ...O) (*esapi.Response, error)) (keep T) {
	switch keep := any(&keep).(type) {
	case *string:
		*keep = "1m"
	case *time.Duration:
		*keep = time.Minute
	}
	return keep
}

func pit(es *elasticsearch.Client) string {
	id := read(es.OpenPointInTime([]string{index}, minute(es.OpenPointInTime))).body["id"].(string)
	put(es, "later", object{"n": 1_000_000, "title": "later"})
	found, body := 0, object{"pit": object{"id": id, "keep_alive": "1m"}, "size": 100, "sort": []object{{"n": "asc"}}}
	for {
		page := hits(read(es.Search(es.Search.WithBody(reader(body)))))
		if len(page) == 0 {
			break
		}
		for _, hit := range page {
			same("document", hit.(object)["_id"], fmt.Sprint(found))
			found++
		}
		body["search_after"] = page[len(page)-1].(object)["sort"]
	}
	// the versions' functions differ in how they take the body
	closed := esapi.ClosePointInTimeRequest{Body: reader(object{"id": id})}
	same("closed", read(closed.Do(context.Background(), es)).status, 200)
	remove(es, "later")
	same("documents", found, count)
	return fmt.Sprintf("%d documents, a later write unseen", found)
}

func msearch(es *elasticsearch.Client) string {
	one := `{"query":{"range":{"n":{"lt":10}}},"size":0}` + "\n"
	lines := `{"index":"` + index + `"}` + "\n" + one + "{}\n" + one + "{}\n" + `{"sort":["no_such_field"]}` + "\n" +
		`{"index":"clients-none"}` + "\n" + one
	ask := func() []any {
		return read(es.Msearch(strings.NewReader(lines), es.Msearch.WithIndex(index))).body["responses"].([]any)
	}
	for range 3 {
		var statuses []float64
		for _, item := range ask() {
			statuses = append(statuses, item.(object)["status"].(float64))
		}
		same("items", statuses, []float64{200, 200, 400, 404})
	}
	put(es, "more", object{"n": 5, "title": "more"})
	same("after a write", total(ask()[0].(object)), 11)
	remove(es, "more")
	return "4 items, 2 of them errors"
}

func errors(es *elasticsearch.Client) string {
	same("get", read(es.Get(index, "none")).status, 404)
	for range 2 {
		none := read(es.Search(es.Search.WithIndex("clients-none")))
		same("no index", []any{none.status, kind(none)}, []any{404, "index_not_found_exception"})
		bad := search(es, object{"query": object{"no_such_query": object{}}})
		same("no query", []any{bad.status, kind(bad)}, []any{400, "parsing_exception"})
	}
	conflict := read(es.Create(index, "1", reader(object{"n": 1})))
	same("conflict", []any{conflict.status, kind(conflict)}, []any{409, "version_conflict_engine_exception"})
	return "404, 400, 409 with their types"
}

func retries(es *elasticsearch.Client) string {
	before := len(arrived(index + "/_search"))
	fail(index+"/_search", 503, 2)
	found := search(es, n(object{"gte": 77, "lte": 77}))
	same("search", []any{found.status, verdict(found), total(found.body)}, []any{200, "MISS", 1})
	same("requests", len(arrived(index+"/_search"))-before, 3)
	fail(index+"/_search", 503, 1)
	once := client("CLIENT_URL", func(c *elasticsearch.Config) { c.DisableRetry = true })
	same("without retries", search(once, n(object{"gte": 78, "lte": 78})).status, 503)
	same("after the failure", total(search(es, n(object{"gte": 78, "lte": 78})).body), 1)
	return "answered at the third try"
}

func opaqueID(es *elasticsearch.Client) string {
	body := n(object{"gte": 33, "lte": 33})
	missed := search(es, body, es.Search.WithOpaqueID("first-one"))
	same("miss", []string{verdict(missed), missed.headers.Get("X-Opaque-Id")}, []string{"MISS", "first-one"})
	sent := arrived(index + "/_search")
	same("at the engine", sent[len(sent)-1].Headers["x-opaque-id"], "first-one")
	untilHit(es, body)
	found := untilHit(es, body, es.Search.WithOpaqueID("second-one"))
	same("hit", found.headers.Get("X-Opaque-Id"), "second-one")
	return "echoed on MISS and HIT, each its own"
}

func main() {
	runAll(elasticsearch.Version, client("CLIENT_URL", nil), []step[*elasticsearch.Client]{
		{"product", product}, {"bulk", bulk}, {"cache", cache}, {"compat", compat}, {"gzip", gzip}, {"scroll", scroll},
		{"pit", pit}, {"msearch", msearch}, {"errors", errors}, {"retries", retries}, {"opaque-id", opaqueID},
	})
}
