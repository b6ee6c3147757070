import java.net.URI;
import java.util.Map;

import org.apache.hc.core5.http.HttpResponseInterceptor;

import co.elastic.clients.json.jackson.JacksonJsonpMapper;
import co.elastic.clients.transport.ElasticsearchTransport;
import co.elastic.clients.transport.rest5_client.Rest5ClientTransport;
import co.elastic.clients.transport.rest5_client.low_level.Rest5Client;

/** The way over the wire of version 9. */
final class Wire {
    private Wire() {}

    /** Remembers the headers of the last answer before anybody inflates it. */
    static ElasticsearchTransport to(Engine.Setup setup, Map<String, String> headers) {
        HttpResponseInterceptor remember = (response, entity, context) -> {
            headers.clear();
            for (var header : response.getHeaders()) {
                headers.put(header.getName().toLowerCase(), header.getValue());
            }
        };
        var hosts = setup.urls().stream().map(URI::create).toArray(URI[]::new);
        var rest = Rest5Client.builder(hosts).setCompressionEnabled(setup.compress())
            .setHttpClientConfigCallback(b -> b.addResponseInterceptorFirst(remember)).build();
        return new Rest5ClientTransport(rest, new JacksonJsonpMapper());
    }

    /** This version has an exception of its own for each error. */
    static Engine.Raised raised(Throwable error) {
        return null;
    }
}
