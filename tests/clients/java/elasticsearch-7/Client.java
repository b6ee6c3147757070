import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.regex.Pattern;

import org.apache.http.HttpHost;
import org.apache.http.HttpResponseInterceptor;
import org.elasticsearch.ElasticsearchException;
import org.elasticsearch.action.DocWriteRequest;
import org.elasticsearch.action.admin.indices.delete.DeleteIndexRequest;
import org.elasticsearch.action.bulk.BackoffPolicy;
import org.elasticsearch.action.bulk.BulkProcessor;
import org.elasticsearch.action.bulk.BulkRequest;
import org.elasticsearch.action.bulk.BulkResponse;
import org.elasticsearch.action.delete.DeleteRequest;
import org.elasticsearch.action.index.IndexRequest;
import org.elasticsearch.action.search.ClosePointInTimeRequest;
import org.elasticsearch.action.search.MultiSearchRequest;
import org.elasticsearch.action.search.OpenPointInTimeRequest;
import org.elasticsearch.action.search.SearchRequest;
import org.elasticsearch.action.search.SearchResponse;
import org.elasticsearch.action.search.SearchScrollRequest;
import org.elasticsearch.action.support.IndicesOptions;
import org.elasticsearch.action.support.WriteRequest.RefreshPolicy;
import org.elasticsearch.client.RequestOptions;
import org.elasticsearch.client.RestClient;
import org.elasticsearch.client.RestHighLevelClient;
import org.elasticsearch.client.indices.CreateIndexRequest;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.core.TimeValue;
import org.elasticsearch.search.SearchHit;
import org.elasticsearch.search.SearchModule;
import org.elasticsearch.search.builder.PointInTimeBuilder;
import org.elasticsearch.search.builder.SearchSourceBuilder;
import org.elasticsearch.xcontent.DeprecationHandler;
import org.elasticsearch.xcontent.NamedXContentRegistry;
import org.elasticsearch.xcontent.XContentType;

/** The high-level REST client, which ended with version 7.17. */
final class Client implements Engine {
    static final String NAME = "elasticsearch-7";

    private static final RequestOptions PLAIN = RequestOptions.DEFAULT;
    private static final NamedXContentRegistry REGISTRY =
        new NamedXContentRegistry(new SearchModule(Settings.EMPTY, false, List.of()).getNamedXContents());
    private static final Pattern TYPE = Pattern.compile("\\[type=([a-z_]+)");

    private final Map<String, String> headers = Collections.synchronizedMap(new HashMap<>());
    private final RestHighLevelClient es;

    private Client(Setup setup) {
        // before anybody inflates it
        HttpResponseInterceptor remember = (response, context) -> {
            headers.clear();
            for (var header : response.getAllHeaders()) {
                headers.put(header.getName().toLowerCase(), header.getValue());
            }
        };
        var hosts = setup.urls().stream().map(HttpHost::create).toArray(HttpHost[]::new);
        es = new RestHighLevelClient(RestClient.builder(hosts).setCompressionEnabled(setup.compress())
            .setHttpClientConfigCallback(b -> b.addInterceptorFirst(remember)));
    }

    static Engine of(Setup setup) {
        return new Client(setup);
    }

    private static SearchSourceBuilder source(String body) throws Exception {
        var none = DeprecationHandler.THROW_UNSUPPORTED_OPERATION;
        try (var parser = XContentType.JSON.xContent().createParser(REGISTRY, none, body)) {
            return SearchSourceBuilder.fromXContent(parser);
        }
    }

    @Override
    public Map<String, String> headers() {
        return headers;
    }

    @Override
    public String number() throws Exception {
        return es.info(PLAIN).getVersion().getNumber();
    }

    @Override
    public void recreate(String index, String settings) throws Exception {
        es.indices().delete(new DeleteIndexRequest(index).indicesOptions(IndicesOptions.lenientExpandOpen()), PLAIN);
        es.indices().create(new CreateIndexRequest(index).source(settings, XContentType.JSON), PLAIN);
    }

    @Override
    public List<Integer> bulk(String index, Map<String, String> documents) throws Exception {
        var refused = Collections.synchronizedList(new ArrayList<Integer>());
        var listener = new BulkProcessor.Listener() {
            @Override
            public void beforeBulk(long id, BulkRequest request) {
                request.setRefreshPolicy(RefreshPolicy.IMMEDIATE);
            }

            @Override
            public void afterBulk(long id, BulkRequest request, BulkResponse response) {
                Arrays.stream(response.getItems()).filter(item -> item.isFailed())
                    .forEach(item -> refused.add(item.status().getStatus()));
            }

            @Override
            public void afterBulk(long id, BulkRequest request, Throwable failure) {
                refused.add(-1);
            }
        };
        var processor = BulkProcessor.builder((request, after) -> es.bulkAsync(request, PLAIN, after), listener, "checks")
            .setBulkActions(100).setBackoffPolicy(BackoffPolicy.noBackoff()).build();
        documents.forEach((id, text) -> processor.add(new IndexRequest(index).id(id).source(text, XContentType.JSON)));
        if (!processor.awaitClose(60, TimeUnit.SECONDS)) {
            throw new AssertionError("the bulk did not end");
        }
        return refused;
    }

    private void write(IndexRequest request, String document) throws Exception {
        es.index(request.source(document, XContentType.JSON).setRefreshPolicy(RefreshPolicy.IMMEDIATE), PLAIN);
    }

    @Override
    public void put(String index, String id, String document) throws Exception {
        write(new IndexRequest(index).id(id), document);
    }

    @Override
    public void create(String index, String id, String document) throws Exception {
        write(new IndexRequest(index).id(id).opType(DocWriteRequest.OpType.CREATE), document);
    }

    @Override
    public void delete(String index, String id) throws Exception {
        es.delete(new DeleteRequest(index, id).setRefreshPolicy(RefreshPolicy.IMMEDIATE), PLAIN);
    }

    private static Found found(SearchResponse answer) {
        var hits = answer.getHits();
        return new Found(
            Arrays.stream(hits.getHits()).map(SearchHit::getId).toList(),
            Arrays.stream(hits.getHits()).map(hit -> hit.getSortValues().length == 0 ? "" : hit.getSortValues()[0]).toList(),
            hits.getTotalHits() == null ? -1 : hits.getTotalHits().value,
            answer.getScrollId());
    }

    @Override
    public Found search(String index, String body, String opaqueId) throws Exception {
        var options = PLAIN.toBuilder();
        if (opaqueId != null) {
            options.addHeader("X-Opaque-Id", opaqueId);
        }
        return found(es.search(new SearchRequest(new String[] {index}, source(body)), options.build()));
    }

    @Override
    public Found scroll(String index, String body) throws Exception {
        var request = new SearchRequest(new String[] {index}, source(body)).scroll(TimeValue.timeValueMinutes(1));
        return found(es.search(request, PLAIN));
    }

    @Override
    public Found scrollOn(String id) throws Exception {
        return found(es.scroll(new SearchScrollRequest(id).scroll(TimeValue.timeValueMinutes(1)), PLAIN));
    }

    @Override
    public String openPit(String index) throws Exception {
        var request = new OpenPointInTimeRequest(index).keepAlive(TimeValue.timeValueMinutes(1));
        return es.openPointInTime(request, PLAIN).getPointInTimeId();
    }

    @Override
    public Found searchPit(String id, int size, Object after) throws Exception {
        var point = new PointInTimeBuilder(id).setKeepAlive(TimeValue.timeValueMinutes(1));
        var source = new SearchSourceBuilder().pointInTimeBuilder(point).size(size).sort("n");
        if (after != null) {
            source.searchAfter(new Object[] {after});
        }
        return found(es.search(new SearchRequest().source(source), PLAIN));
    }

    @Override
    public void closePit(String id) throws Exception {
        es.closePointInTime(new ClosePointInTimeRequest(id), PLAIN);
    }

    @Override
    public List<Long> msearch(List<Map.Entry<String, String>> searches) throws Exception {
        var request = new MultiSearchRequest();
        for (var search : searches) {
            request.add(new SearchRequest(new String[] {search.getKey()}, source(search.getValue())));
        }
        return Arrays.stream(es.msearch(request, PLAIN).getResponses()).map(item -> {
            if (!item.isFailure()) {
                return item.getResponse().getHits().getTotalHits().value;
            }
            var error = (ElasticsearchException) item.getFailure();
            // of an item's error this client keeps no status: its type stands for it
            return type(error).equals("index_not_found_exception") ? -404L : -400L;
        }).toList();
    }

    private static String type(ElasticsearchException error) {
        var found = TYPE.matcher(error.getDetailedMessage());
        return found.find() ? found.group(1) : "";
    }

    @Override
    public Raised raised(Throwable error) {
        return error instanceof ElasticsearchException e ? new Raised(e.status().getStatus(), type(e)) : null;
    }

    @Override
    public void close() throws Exception {
        es.close();
    }
}
