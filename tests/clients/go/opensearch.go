// What OpenSearch's Go client must be able to do through escache; ../python/checks.py says which settings and lines there are.
package main

import (
	stdgzip "compress/gzip"
	"context"
	"encoding/json"
	stderrors "errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/opensearch-project/opensearch-go/v4"
	"github.com/opensearch-project/opensearch-go/v4/opensearchapi"
	"github.com/opensearch-project/opensearch-go/v4/opensearchutil"
)

const index = "clients-go-os"

var background = context.Background()

func client(at string, change func(*opensearch.Config)) *opensearchapi.Client {
	config := opensearch.Config{Addresses: []string{os.Getenv(at)}}
	if change != nil {
		change(&config)
	}
	os, err := opensearchapi.NewClient(opensearchapi.Config{Client: config})
	check(err)
	return os
}

// answer is a search's, with its headers.
type answer struct {
	*opensearchapi.SearchResp
	headers http.Header
}

func (a answer) verdict() string { return a.headers.Get("X-Cache") }
func (a answer) total() int      { return a.Hits.Total.Value }

// same as it, but for what differs each time
func (a answer) text() string {
	text, err := json.Marshal(a.Hits)
	check(err)
	return string(text)
}

func try(os *opensearchapi.Client, body object, headers http.Header) (answer, error) {
	found, err := os.Search(background, &opensearchapi.SearchReq{Indices: []string{index}, Body: reader(body), Header: headers})
	if err != nil {
		return answer{}, err
	}
	return answer{found, found.Inspect().Response.Header}, nil
}

func search(os *opensearchapi.Client, body object) answer {
	found, err := try(os, body, nil)
	check(err)
	return found
}

func opaque(os *opensearchapi.Client, body object, id string) answer {
	found, err := try(os, body, http.Header{"X-Opaque-Id": {id}})
	check(err)
	return found
}

// untilHit repeats a search until it is a hit, since an index may still be settling.
func untilHit(os *opensearchapi.Client, body object, ids ...string) answer {
	var last answer
	for range 10 {
		if len(ids) > 0 {
			last = opaque(os, body, ids[0])
		} else {
			last = search(os, body)
		}
		if last.verdict() == "HIT" {
			return last
		}
	}
	panic(fmt.Errorf("no HIT in 10 tries: %s", last.headers.Get("Cache-Status")))
}

func put(os *opensearchapi.Client, id string, document object) {
	found, err := os.Index(background, opensearchapi.IndexReq{
		Index: index, DocumentID: id, Body: reader(document), Params: opensearchapi.IndexParams{Refresh: "true"},
	})
	check(err)
	same("result of a write", found.Result, "created")
}

func remove(os *opensearchapi.Client, id string) {
	found, err := os.Document.Delete(background, opensearchapi.DocumentDeleteReq{
		Index: index, DocumentID: id, Params: opensearchapi.DocumentDeleteParams{Refresh: "true"},
	})
	check(err)
	same("result of a delete", found.Result, "deleted")
}

func product(os *opensearchapi.Client) string {
	info, err := os.Info(background, nil)
	check(err)
	same("distribution", info.Version.Distribution, "opensearch")
	return "engine " + info.Version.Number
}

func bulk(os *opensearchapi.Client) string {
	_, _ = os.Indices.Delete(background, opensearchapi.IndicesDeleteReq{Indices: []string{index}})
	_, err := os.Indices.Create(background, opensearchapi.IndicesCreateReq{Index: index, Body: reader(object{
		"settings": object{"number_of_shards": 1, "number_of_replicas": 0},
		"mappings": object{"properties": object{"n": object{"type": "integer"}, "title": object{"type": "text"}}},
	})})
	check(err)
	indexer, err := opensearchutil.NewBulkIndexer(opensearchutil.BulkIndexerConfig{
		Client: os, Index: index, FlushBytes: 5000, Refresh: "true",
	})
	check(err)
	var refused []int
	add := func(id string, document object) {
		check(indexer.Add(background, opensearchutil.BulkIndexerItem{
			Action: "index", DocumentID: id, Body: reader(document),
			OnFailure: func(_ context.Context, _ opensearchutil.BulkIndexerItem, item opensearchapi.BulkRespItem, _ error) {
				refused = append(refused, item.Status)
			},
		}))
	}
	for i := range count {
		add(fmt.Sprint(i), object{"n": i, "title": fmt.Sprintf("document %d", i)})
	}
	add("bad", object{"n": "no number"})
	check(indexer.Close(background))
	same("indexed", indexer.Stats().NumIndexed, uint64(count))
	same("refused", refused, []int{400})
	return fmt.Sprintf("%d documents", count)
}

func cache(os *opensearchapi.Client) string {
	body := object{"query": object{"match": object{"title": "document"}}, "size": 3, "sort": []object{{"n": "asc"}}}
	first := search(os, body)
	same("first search", []any{first.verdict(), first.total()}, []any{"MISS", count})
	same("hit", untilHit(os, body).text(), first.text())
	put(os, "late", object{"n": -1, "title": "late document"})
	after := search(os, body)
	same("after a write", []any{after.verdict(), after.total(), after.Hits.Hits[0].ID}, []any{"MISS", count + 1, "late"})
	same("hit after the write", untilHit(os, body).total(), count+1)
	// behind escache's back
	remove(client("CLIENT_DIRECT", nil), "late")
	same("after the delete", search(os, body).total(), count)
	return "HIT, after a write MISS"
}

func compat(*opensearchapi.Client) string {
	panic(skip("OpenSearch's client has no compatibility headers"))
}

// seen keeps the headers of the last answer before anybody inflates it.
type seen struct{ last http.Header }

func (s *seen) RoundTrip(request *http.Request) (*http.Response, error) {
	request.Header.Set("Accept-Encoding", "gzip")
	response, err := http.DefaultTransport.RoundTrip(request)
	if err == nil {
		s.last = response.Header.Clone()
		if s.last.Get("Content-Encoding") == "gzip" {
			inflated, err := stdgzip.NewReader(response.Body)
			check(err)
			response.Body = io.NopCloser(inflated)
		}
	}
	return response, err
}

func gzip(os *opensearchapi.Client) string {
	transport := &seen{}
	zipped := client("CLIENT_URL", func(c *opensearch.Config) { c.CompressRequestBody, c.Transport = true, transport })
	body := object{"query": object{"match_all": object{}}, "size": 100, "sort": []object{{"n": "desc"}}}
	plain := search(os, body)
	var verdicts []string
	for len(verdicts) < 10 && !slices.Contains(verdicts, "HIT") {
		found := search(zipped, body)
		same("compressed", found.text(), plain.text())
		verdicts = append(verdicts, found.verdict())
	}
	same("compressed", verdicts[len(verdicts)-1], "HIT")
	same("coding of the answer", transport.last.Get("Content-Encoding"), "gzip")
	missed := n(object{"gte": 22, "lte": 22})
	same("compressed", []any{search(zipped, missed).verdict(), search(os, missed).verdict()}, []any{"MISS", "HIT"})
	sent := arrived(index + "/_search")
	same("coding of the request", sent[len(sent)-1].Headers["content-encoding"], "gzip")
	return "compressed search: " + strings.Join(verdicts, ", ")
}

func scroll(os *opensearchapi.Client) string {
	found := map[string]bool{}
	page, err := os.Search(background, &opensearchapi.SearchReq{
		Indices: []string{index}, Body: reader(object{"size": 60}), Params: opensearchapi.SearchParams{Scroll: time.Minute},
	})
	check(err)
	hits, id := page.Hits.Hits, *page.ScrollID
	for len(hits) > 0 {
		for _, hit := range hits {
			found[hit.ID] = true
		}
		next, err := os.Scroll.Get(background, opensearchapi.ScrollGetReq{
			ScrollID: id, Params: opensearchapi.ScrollGetParams{Scroll: time.Minute},
		})
		check(err)
		hits, id = next.Hits.Hits, *next.ScrollID
	}
	same("documents", len(found), count)
	return fmt.Sprintf("%d documents in pages of 60", len(found))
}

func pit(os *opensearchapi.Client) string {
	opened, err := os.PointInTime.Create(background, opensearchapi.PointInTimeCreateReq{
		Indices: []string{index}, Params: opensearchapi.PointInTimeCreateParams{KeepAlive: time.Minute},
	})
	check(err)
	point := opened.PitID
	put(os, "later", object{"n": 1_000_000, "title": "later"})
	found, body := 0, object{"pit": object{"id": point, "keep_alive": "1m"}, "size": 100, "sort": []object{{"n": "asc"}}}
	for {
		page, err := os.Search(background, &opensearchapi.SearchReq{Body: reader(body)})
		check(err)
		hits := page.Hits.Hits
		if len(hits) == 0 {
			break
		}
		for _, hit := range hits {
			same("document", hit.ID, fmt.Sprint(found))
			found++
		}
		body["search_after"] = hits[len(hits)-1].Sort
	}
	_, err = os.PointInTime.Delete(background, opensearchapi.PointInTimeDeleteReq{PitID: []string{point}})
	check(err)
	remove(os, "later")
	same("documents", found, count)
	return fmt.Sprintf("%d documents, a later write unseen", found)
}

func msearch(os *opensearchapi.Client) string {
	one := `{"query":{"range":{"n":{"lt":10}}},"size":0}` + "\n"
	lines := `{"index":"` + index + `"}` + "\n" + one + "{}\n" + one + "{}\n" + `{"sort":["no_such_field"]}` + "\n" +
		`{"index":"clients-none"}` + "\n" + one
	ask := func() *opensearchapi.MSearchResp {
		found, err := os.MSearch(background, opensearchapi.MSearchReq{Indices: []string{index}, Body: strings.NewReader(lines)})
		check(err)
		return found
	}
	for range 3 {
		var statuses []int
		for _, item := range ask().Responses {
			statuses = append(statuses, item.Status)
		}
		same("items", statuses, []int{200, 200, 400, 404})
	}
	put(os, "more", object{"n": 5, "title": "more"})
	same("after a write", ask().Responses[0].Hits.Total.Value, 11)
	remove(os, "more")
	return "4 items, 2 of them errors"
}

func errors(os *opensearchapi.Client) string {
	raised := func(err error) []any {
		var found *opensearch.StructError
		if !stderrors.As(err, &found) {
			panic(fmt.Errorf("no StructError: %v", err))
		}
		return []any{found.Status, found.Err.Type}
	}
	none, err := os.Document.Get(background, opensearchapi.DocumentGetReq{Index: index, DocumentID: "none"})
	if err == nil {
		panic("a document that is not there is no error")
	}
	same("get", none.Inspect().Response.StatusCode, 404)
	for range 2 {
		_, err := os.Search(background, &opensearchapi.SearchReq{Indices: []string{"clients-none"}})
		same("no index", raised(err), []any{404, "index_not_found_exception"})
		_, err = try(os, object{"query": object{"no_such_query": object{}}}, nil)
		same("no query", raised(err), []any{400, "parsing_exception"})
	}
	_, err = os.Document.Create(background, opensearchapi.DocumentCreateReq{Index: index, DocumentID: "1", Body: reader(object{"n": 1})})
	same("conflict", raised(err), []any{409, "version_conflict_engine_exception"})
	return "404, 400, 409 with their types"
}

func retries(os *opensearchapi.Client) string {
	before := len(arrived(index + "/_search"))
	fail(index+"/_search", 503, 2)
	found := search(os, n(object{"gte": 77, "lte": 77}))
	same("search", []any{found.verdict(), found.total()}, []any{"MISS", 1})
	same("requests", len(arrived(index+"/_search"))-before, 3)
	fail(index+"/_search", 503, 1)
	once := client("CLIENT_URL", func(c *opensearch.Config) { c.DisableRetry = true })
	if _, err := try(once, n(object{"gte": 78, "lte": 78}), nil); err == nil {
		panic("the 503 was not seen")
	}
	same("after the failure", search(os, n(object{"gte": 78, "lte": 78})).total(), 1)
	return "answered at the third try"
}

func opaqueID(os *opensearchapi.Client) string {
	body := n(object{"gte": 33, "lte": 33})
	missed := opaque(os, body, "first-one")
	same("miss", []string{missed.verdict(), missed.headers.Get("X-Opaque-Id")}, []string{"MISS", "first-one"})
	sent := arrived(index + "/_search")
	same("at the engine", sent[len(sent)-1].Headers["x-opaque-id"], "first-one")
	untilHit(os, body)
	same("hit", untilHit(os, body, "second-one").headers.Get("X-Opaque-Id"), "second-one")
	return "echoed on MISS and HIT, each its own"
}

func main() {
	runAll(os.Getenv("CLIENT_VERSION"), client("CLIENT_URL", nil), []step[*opensearchapi.Client]{
		{"product", product}, {"bulk", bulk}, {"cache", cache}, {"compat", compat}, {"gzip", gzip}, {"scroll", scroll},
		{"pit", pit}, {"msearch", msearch}, {"errors", errors}, {"retries", retries}, {"opaque-id", opaqueID},
	})
}
