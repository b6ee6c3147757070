# shellcheck shell=sh disable=SC2034 # read by ../run
label="OpenSearch 2.19.4"
java_min=17
mib=74
. "$nodes/opensearch.sh"
