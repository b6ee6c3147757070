# syntax=docker/dockerfile:1
# docker build -t escache . && docker run --read-only -p 9280:9280 -e ESCACHE_UPSTREAM_HOSTS=http://elasticsearch:9200 escache

FROM rust:1.95-bookworm AS build
WORKDIR /build
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --release --locked --bin escache \
    && strip -o /escache target/release/escache

# glibc and nothing else: no shell, no package manager. escache writes no files, so that the root may be read-only.
FROM gcr.io/distroless/cc-debian12:nonroot
LABEL org.opencontainers.image.title="escache" \
      org.opencontainers.image.description="An exact HTTP cache in front of Elasticsearch and OpenSearch" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /escache /usr/local/bin/escache
COPY config/escache.yml /etc/escache/escache.yml

# Clients come from outside the container; the admin listener stays inside it, for the health check.
ENV ESCACHE_CONFIG=/etc/escache/escache.yml \
    ESCACHE_LISTEN=0.0.0.0:9280
EXPOSE 9280
USER 65532:65532
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=6s --start-period=5s CMD ["/usr/local/bin/escache", "health"]
ENTRYPOINT ["/usr/local/bin/escache"]
