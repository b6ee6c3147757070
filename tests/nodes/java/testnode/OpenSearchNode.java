package testnode;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Map;

import org.opensearch.Version;
import org.opensearch.common.settings.KeyStoreWrapper;
import org.opensearch.common.settings.Settings;
import org.opensearch.env.Environment;
import org.opensearch.node.InternalSettingsPreparer;
import org.opensearch.node.Node;
import org.opensearch.plugins.PluginInfo;

/** OpenSearch 2 and 3: the server, its modules and plugins are on the class path. */
public final class OpenSearchNode extends Node {

    /** Each is used if it is there; 3 renamed most of them to ...ModulePlugin. */
    private static final String[] PLUGINS = {
        "org.opensearch.transport.Netty4",
        "org.opensearch.painless.Painless",
        "org.opensearch.script.mustache.Mustache",
        "org.opensearch.script.expression.Expression",
        "org.opensearch.analysis.common.CommonAnalysis",
        "org.opensearch.search.aggregations.matrix.MatrixAggregation",
        "org.opensearch.geo.Geo",
        "org.opensearch.ingest.common.IngestCommon",
        "org.opensearch.index.mapper.MapperExtras",
        "org.opensearch.join.ParentJoin",
        "org.opensearch.percolator.Percolator",
        "org.opensearch.index.rankeval.RankEval",
        "org.opensearch.index.reindex.Reindex",
        "org.opensearch.search.pipeline.common.SearchPipelineCommon",
        "org.opensearch.security.OpenSearchSecurity",
    };

    /** 2 takes classes, 3 takes PluginInfo: to the compiler both are a Collection. */
    @SuppressWarnings({"unchecked", "rawtypes"})
    private OpenSearchNode(Environment environment, Collection plugins) {
        super(environment, plugins, false);
    }

    public static void main(String[] args) throws Exception {
        Launcher.run(args, OpenSearchNode::start);
    }

    private static AutoCloseable start(Map<String, String> with, Path config) throws Exception {
        if (!Files.exists(KeyStoreWrapper.keystorePath(config))) {
            KeyStoreWrapper.create().save(config, new char[0]);
        }
        Settings.Builder settings = Settings.builder().put("script.disable_max_compilations_rate", true);
        with.forEach(settings::put);
        String managers = settings.remove("cluster.initial_master_nodes"); // the name that both engines know; deprecated here
        if (managers != null) {
            settings.put("cluster.initial_cluster_manager_nodes", managers);
        }
        List<Object> plugins = new ArrayList<>();
        String painless = "";
        for (String name : PLUGINS) {
            Class<?> plugin = find(name);
            if (plugin == null) {
                System.err.println("plugin not on the class path: " + name);
                continue;
            }
            if (name.endsWith("Painless")) {
                painless = plugin.getName();
            }
            // Painless can be extended: what brings an allow-list of its own says so here
            boolean extendsPainless = name.endsWith("CommonAnalysis") || name.endsWith("IngestCommon");
            plugins.add(Version.CURRENT.major < 3 ? plugin
                : new PluginInfo(plugin.getName(), "on the class path", "NA", Version.CURRENT, "21", plugin.getName(), null,
                    extendsPainless ? List.of(painless) : List.of(), false));
        }
        return new OpenSearchNode(InternalSettingsPreparer.prepareEnvironment(
            settings.build(), Map.of(), config, () -> with.get("node.name")), plugins).start();
    }

    private static Class<?> find(String name) {
        for (String ending : new String[] {"Plugin", "ModulePlugin"}) {
            try {
                return Class.forName(name + ending);
            } catch (ClassNotFoundException absent) {
                // the next spelling, or none
            }
        }
        return null;
    }
}
