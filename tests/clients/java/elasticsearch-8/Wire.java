import java.util.Map;
import java.util.regex.Pattern;

import org.apache.http.HttpHost;
import org.apache.http.HttpResponseInterceptor;
import org.elasticsearch.client.ResponseException;
import org.elasticsearch.client.RestClient;

import co.elastic.clients.json.jackson.JacksonJsonpMapper;
import co.elastic.clients.transport.ElasticsearchTransport;
import co.elastic.clients.transport.rest_client.RestClientTransport;

/** The way over the wire of version 8. */
final class Wire {
    private Wire() {}

    /** Remembers the headers of the last answer before anybody inflates it. */
    static ElasticsearchTransport to(Engine.Setup setup, Map<String, String> headers) {
        HttpResponseInterceptor remember = (response, context) -> {
            headers.clear();
            for (var header : response.getAllHeaders()) {
                headers.put(header.getName().toLowerCase(), header.getValue());
            }
        };
        var hosts = setup.urls().stream().map(HttpHost::create).toArray(HttpHost[]::new);
        var rest = RestClient.builder(hosts).setCompressionEnabled(setup.compress())
            .setHttpClientConfigCallback(b -> b.addInterceptorFirst(remember)).build();
        return new RestClientTransport(rest, new JacksonJsonpMapper());
    }

    /** Of 409 and others this version makes no exception of its own: that of the low-level client, with the answer's text. */
    static Engine.Raised raised(Throwable error) {
        if (!(error instanceof ResponseException e)) {
            return null;
        }
        var type = Pattern.compile("\"type\":\"([a-z_]+)").matcher(e.getMessage());
        return new Engine.Raised(e.getResponse().getStatusLine().getStatusCode(), type.find() ? type.group(1) : "");
    }
}
