# shellcheck shell=sh disable=SC2034 # read by ../run
label="Elasticsearch 7.17.29"
java_min=17
main_class=EsClasspathNode
profile=${ES_PROFILE:-none}
case $profile in
  none) mib=62 ;;
  painless) mib=345 ;;
  *) usage "elasticsearch-7 has the profiles none and painless, not '$profile'" ;;
esac

compile_path() {
  echo "lib/*"
}

launch() {
  modules=
  if [ -d modules ]; then modules=$(find modules -name '*.jar' | sed 's/^/:/' | tr -d '\n'); fi
  run_java -Xshare:auto -Des.set.netty.runtime.available.processors=false -cp "$classes:lib/*$modules" "$@"
}
