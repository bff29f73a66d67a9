# syntax=docker/dockerfile:1

# What runs: glibc, certificates and nothing else; no shell, no package manager.
ARG BASE=gcr.io/distroless/cc-debian12:nonroot

FROM rust:1.95-bookworm AS build
WORKDIR /sidespan
COPY . .
# The image has the compilers, make and perl that librdkafka and OpenSSL are built with.
RUN cargo build --release --locked --bin sidespan

FROM ${BASE}
COPY --from=build /sidespan/target/release/sidespan /usr/local/bin/sidespan
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/sidespan"]
CMD ["serve"]
