# syntax=docker/dockerfile:1

# docker buildx build --platform linux/amd64,linux/arm64 .
#
# It is compiled on the machine's own architecture, for each that is asked for: emulated, it would take hours.
# Both bases go by tag here, so that fixes come in, and by digest in a release: --build-arg BASE=...@sha256:...
# The bytes are then the same each time, with `--output type=image,rewrite-timestamp=true` and SOURCE_DATE_EPOCH.

# What runs: glibc, certificates and nothing else; no shell, no package manager.
ARG BASE=gcr.io/distroless/cc-debian12:nonroot
# The compilers, on the Debian of the base: no newer glibc is linked than runs there.
ARG RUST=rust:1.95.0-bookworm

FROM --platform=$BUILDPLATFORM ${RUST} AS build
ARG BUILDARCH
ARG TARGETARCH
# Debian stable has one version of these, and the image of Rust the same one for its own architecture.
# hadolint ignore=DL3008
RUN set --; \
    case "$BUILDARCH/$TARGETARCH" in \
    amd64/amd64 | arm64/arm64) exit ;; \
    amd64/arm64) set -- gcc-aarch64-linux-gnu g++-aarch64-linux-gnu libc6-dev-arm64-cross ;; \
    arm64/amd64) set -- gcc-x86-64-linux-gnu g++-x86-64-linux-gnu libc6-dev-amd64-cross ;; \
    *) echo "there is no recipe for $TARGETARCH" >&2; exit 1 ;; \
    esac; \
    apt-get update && apt-get install -y --no-install-recommends "$@" && rm -rf /var/lib/apt/lists/*
WORKDIR /sidespan
COPY .ci/tools .ci/
RUN .ci/tools /usr/local/cargo auditable cyclonedx
COPY . .
ARG SOURCE_DATE_EPOCH=0
# What Cargo fetched and compiled stays with the builder, and not in a layer: the next build compiles what changed.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/sidespan/target,id=sidespan-$TARGETARCH,sharing=locked \
    .ci/stage "$TARGETARCH" /out

FROM ${BASE}
ARG VERSION=0.1.0
ARG REVISION=
ARG CREATED=
LABEL org.opencontainers.image.title="sidespan" \
      org.opencontainers.image.description="Publish and subscribe over plain HTTP, beside your service, to any broker" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
COPY --from=build /out/sidespan /usr/local/bin/sidespan
COPY --from=build /out/doc/ /usr/share/doc/sidespan/
COPY --from=build --chown=65532:65532 /out/data/ /var/lib/sidespan/
ENV SIDESPAN_CONFIG=/etc/sidespan/config.yaml
# All that is ever written is here: the embedded log. The rest may be read-only.
WORKDIR /var/lib/sidespan
VOLUME /var/lib/sidespan
# Services, and the kubelet; operators are on loopback.
EXPOSE 7400 7402
USER 65532:65532
# Drains; so does SIGINT.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/sidespan"]
CMD ["serve"]
