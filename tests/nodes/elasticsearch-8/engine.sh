# shellcheck shell=sh disable=SC2034 # read by ../run
label="Elasticsearch 8.19"
java_min=17
profile=${ES_PROFILE:-lean}
case $profile in
  lean) mib=66 ;;
  full) mib=890 ;;
  *) usage "elasticsearch-8 has the profiles lean and full, not '$profile'" ;;
esac
. "$nodes/elasticsearch.sh"

# Central has the module's jars; the descriptor that a distribution puts beside them is ours.
after_download() {
  [ "$profile" = lean ] || return 0
  version=$(basename dist/elasticsearch/lib/elasticsearch-8.*.jar .jar)
  version=${version#elasticsearch-}
  cat >dist/elasticsearch/modules/transport-netty4/plugin-descriptor.properties <<END
name=transport-netty4
description=netty4
version=$version
elasticsearch.version=$version
java.version=17
classname=org.elasticsearch.transport.netty4.Netty4Plugin
modulename=org.elasticsearch.transport.netty4
extended.plugins=
has.native.controller=false
END
}

launch() {
  run_elasticsearch -Des.set.netty.runtime.available.processors=false -- "$@"
}
