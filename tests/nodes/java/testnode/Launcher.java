package testnode;

import java.io.IOException;
import java.io.InputStream;
import java.io.PrintStream;
import java.net.HttpURLConnection;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.stream.Stream;

import javax.net.ssl.HttpsURLConnection;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

/**
 * What the nodes of all engines share: options, settings, the READY line, and their end.
 *
 * <pre>--port N --data DIR [--transport-port N] [--seed-hosts H:P,...] [--name NAME] [--cluster NAME]
 * [-E key=value]... [--die-with-stdin [--remove-data]] [--wait-for PATH]</pre>
 *
 * Port 0 (the default for transport) takes a free one. Without --seed-hosts the node makes a cluster of its own; with it,
 * it joins one. Once HTTP is bound and a master is known, prints one line to stdout:
 *
 * <pre>READY http://127.0.0.1:9200 transport=127.0.0.1:9300 ms=5500</pre>
 *
 * --wait-for PATH: not before GET PATH answers 200. --die-with-stdin: ends at once when stdin does, which happens when
 * whoever holds its other end dies; --remove-data: the data directory goes then, too.
 */
final class Launcher {

    /** The one step that differs: settings and a config directory become a running node. */
    interface Engine {
        AutoCloseable start(Map<String, String> settings, Path config) throws Exception;
    }

    private final Map<String, String> settings = new LinkedHashMap<>();
    private String name = "node-1";
    private String seeds = "";
    private String waitFor = "";
    private Path data;
    private boolean dieWithStdin;
    private boolean removeData;

    private Launcher() {}

    static void run(String[] args, Engine engine) throws Exception {
        long begin = System.nanoTime();
        PrintStream stdout = System.out;
        System.setOut(System.err); // some plugins chatter; stdout is for READY
        Launcher launcher = new Launcher();
        launcher.parse(args);
        if (launcher.dieWithStdin) {
            launcher.watchStdin();
        }
        CountDownLatch stopped = new CountDownLatch(1);
        AutoCloseable node;
        try {
            Files.createDirectories(Path.of(launcher.settings.get("path.logs"))); // a node writes its ports there but does not make it
            node = engine.start(launcher.settings, Files.createDirectories(launcher.data.resolve("config")));
        } catch (Throwable e) {
            e.printStackTrace();
            Runtime.getRuntime().halt(1); // threads of a half-started node would keep the process
            return;
        }
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            try {
                node.close();
            } catch (Exception e) {
                e.printStackTrace();
            } finally {
                stopped.countDown();
            }
        }, "close-node"));
        String url = launcher.url();
        if (!launcher.waitFor.isEmpty()) {
            launcher.awaitOk(url + launcher.waitFor);
        }
        stdout.println("READY " + url + " transport=" + launcher.bound("transport")
            + " ms=" + (System.nanoTime() - begin) / 1_000_000);
        stdout.flush();
        stopped.await();
    }

    private void parse(String[] args) {
        set("http.port", "9200");
        set("transport.port", "0");
        set("cluster.name", "testnode");
        for (int i = 0; i < args.length; i++) {
            String option = args[i];
            if (option.equals("--die-with-stdin")) {
                dieWithStdin = true;
                continue;
            }
            if (option.equals("--remove-data")) {
                removeData = true;
                continue;
            }
            if (i + 1 == args.length) {
                throw new IllegalArgumentException(option + " needs a value");
            }
            String value = args[++i];
            switch (option) {
                case "--port" -> set("http.port", value);
                case "--transport-port" -> set("transport.port", value);
                case "--cluster" -> set("cluster.name", value);
                case "--data" -> data = Path.of(value).toAbsolutePath();
                case "--name" -> name = value;
                case "--seed-hosts" -> seeds = value;
                case "--wait-for" -> waitFor = value;
                case "-E" -> set(value.substring(0, value.indexOf('=')), value.substring(value.indexOf('=') + 1));
                default -> throw new IllegalArgumentException("unknown option " + option);
            }
        }
        if (data == null) {
            throw new IllegalArgumentException("--data DIR is required");
        }
        settings.putIfAbsent("path.home", data.toString());
        settings.putIfAbsent("path.data", data.resolve("data").toString());
        settings.putIfAbsent("path.logs", data.resolve("logs").toString());
        settings.putIfAbsent("path.repo", data.resolve("repo").toString());
        settings.putIfAbsent("node.name", name);
        settings.putIfAbsent("node.portsfile", "true");
        settings.putIfAbsent("discovery.initial_state_timeout", "170s"); // READY means that a master is known; 30s is little under load
        settings.putIfAbsent("network.host", "127.0.0.1");
        settings.putIfAbsent("cluster.routing.allocation.disk.threshold_enabled", "false");
        settings.putIfAbsent("action.destructive_requires_name", "false");
        // set even if empty: the default range of ports is never probed
        settings.putIfAbsent("discovery.seed_hosts", seeds);
        if (seeds.isEmpty()) {
            settings.putIfAbsent("cluster.initial_master_nodes", name);
        }
    }

    private void set(String key, String value) {
        settings.put(key, value);
    }

    private String url() throws IOException {
        boolean tls = Boolean.parseBoolean(settings.get("plugins.security.ssl.http.enabled"));
        return (tls ? "https://" : "http://") + bound("http");
    }

    /** The address that was bound, as the node writes it down itself (node.portsfile). */
    private String bound(String what) throws IOException {
        List<String> addresses = Files.readAllLines(Path.of(settings.get("path.logs")).resolve(what + ".ports"));
        return addresses.stream().filter(a -> a.startsWith("127.0.0.1:")).findFirst().orElse(addresses.get(0));
    }

    private void awaitOk(String url) throws Exception {
        SSLContext trust = url.startsWith("https") ? trustOf(data.resolve("config/ca.pem")) : null;
        for (int tries = 0; tries < 600; tries++) {
            HttpURLConnection connection = (HttpURLConnection) URI.create(url).toURL().openConnection();
            if (trust != null) {
                ((HttpsURLConnection) connection).setSSLSocketFactory(trust.getSocketFactory());
            }
            try {
                if (connection.getResponseCode() == 200) {
                    return;
                }
            } catch (IOException notYet) {
                // the next try tells
            } finally {
                connection.disconnect();
            }
            Thread.sleep(100);
        }
        throw new IllegalStateException(url + " has not answered 200 for a minute");
    }

    private static SSLContext trustOf(Path pem) throws Exception {
        KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null, null);
        try (InputStream in = Files.newInputStream(pem)) {
            store.setCertificateEntry("ca", CertificateFactory.getInstance("X.509").generateCertificate(in));
        }
        TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(store);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, trust.getTrustManagers(), null);
        return context;
    }

    private void watchStdin() {
        Thread watch = new Thread(() -> {
            try {
                while (System.in.read() >= 0) {
                    // nothing is said to a node this way
                }
            } catch (IOException gone) {
                // the same as its end
            }
            if (removeData) {
                removeData();
            }
            Runtime.getRuntime().halt(0);
        }, "watch-stdin");
        watch.setDaemon(true);
        watch.start();
    }

    /** Tried again, as the node may be writing still. */
    private void removeData() {
        for (int tries = 0; tries < 20 && Files.exists(data); tries++) {
            try (Stream<Path> found = Files.walk(data)) {
                found.sorted(Comparator.reverseOrder()).forEach(path -> path.toFile().delete());
            } catch (IOException | RuntimeException changing) {
                // the next try sees what is left
            }
        }
    }
}
