# shellcheck shell=sh disable=SC2034 # read by ../run
label="Elasticsearch 9.4.3"
java_min=21
mib=925
. "$nodes/elasticsearch.sh"

launch() {
  run_elasticsearch --enable-native-access=org.elasticsearch.nativeaccess,org.apache.lucene.core \
    --add-modules=jdk.incubator.vector -- "$@"
}
