# shellcheck shell=sh disable=SC2034 # read by ../run
# Users, password NAME-pw: admin, alice (reads logs-*), bob (logs-* of team b, without the field secret), carol (nothing),
# monitor and watcher2 (what a watcher needs, without and with the security index), proxy (may impersonate alice and bob).
label="OpenSearch 2.19.4 with its security plugin"
java_min=17
mib=117
. "$nodes/opensearch.sh"

# A CA, a certificate of the node and one of the administrator, all made at the first start; and who may do what.
prepare() {
  config=$data/config
  mkdir -p "$config"
  chmod 700 "$config"
  (
    umask 077
    cd "$config" || exit
    [ -d opensearch-security ] || cp -R "$nodes/$engine/security-config" opensearch-security
    [ ! -f node.pem ] || exit 0
    if [ -n "$certs" ]; then
      cp "$certs"/ca.* "$certs"/node.* "$certs"/admin.* .
    else
      need_openssl
      make_certificates >openssl.log 2>&1 || { cat openssl.log >&2; exit 1; }
    fi
  )
}

make_certificates() {
  openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj /CN=testca -keyout ca.key -out ca.pem \
    -addext basicConstraints=critical,CA:TRUE || return
  printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n' >extensions
  for who in node admin; do
    openssl req -newkey rsa:2048 -nodes -subj /CN=$who -keyout $who.key -out $who.csr || return
    openssl x509 -req -in $who.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 3650 -extfile extensions -out $who.pem || return
  done
  rm -f ./*.csr extensions
}

launch() {
  tls=true
  [ -z "${CLEAR:-}" ] || tls=false
  class=$1
  shift
  run_opensearch "$class" --wait-for /_plugins/_security/health \
    -E plugins.security.ssl.transport.pemcert_filepath=node.pem \
    -E plugins.security.ssl.transport.pemkey_filepath=node.key \
    -E plugins.security.ssl.transport.pemtrustedcas_filepath=ca.pem \
    -E plugins.security.ssl.transport.enforce_hostname_verification=false \
    -E plugins.security.ssl.http.enabled=$tls \
    -E plugins.security.ssl.http.pemcert_filepath=node.pem \
    -E plugins.security.ssl.http.pemkey_filepath=node.key \
    -E plugins.security.ssl.http.pemtrustedcas_filepath=ca.pem \
    -E plugins.security.nodes_dn=CN=node \
    -E plugins.security.authcz.admin_dn=CN=admin \
    -E plugins.security.authcz.rest_impersonation_user.proxy=alice,bob \
    -E plugins.security.allow_default_init_securityindex=true \
    -E plugins.security.system_indices.enabled=true \
    -E plugins.security.restapi.roles_enabled=all_access,security_rest_api_access \
    -E plugins.security.audit.type=noop \
    "$@"
}
