# One image for the API and the workers; the command says which.
ARG RUST_IMAGE=rust:1.95-bookworm
ARG RUNTIME_IMAGE=debian:bookworm-slim

FROM ${RUST_IMAGE} AS build
WORKDIR /src
# The image's own toolchain is the pinned one; asking rustup for it would need the network.
ENV RUSTUP_TOOLCHAIN=1.95.0
COPY . .
RUN rustup target list --installed | grep -q wasm32-wasip2 || rustup target add wasm32-wasip2
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build \
    cd plugins && CARGO_TARGET_DIR=/build/guests \
    RUSTFLAGS="--remap-path-prefix=/usr/local/cargo=/cargo" \
    cargo build --release --locked --target wasm32-wasip2 \
        -p example-task -p resize-image -p count-primes -p noop \
    && mkdir -p /out/plugins \
    && for job in example_task resize_image count_primes noop; do \
        cp "/build/guests/wasm32-wasip2/release/$job.wasm" "/out/plugins/$(echo "$job" | tr _ -).wasm"; \
    done
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build \
    CARGO_TARGET_DIR=/build/host cargo build --release --locked --package sentinel \
    && cp /build/host/release/sentinel /out/sentinel

FROM ${RUNTIME_IMAGE}
RUN useradd --system --uid 10001 --home-dir /var/lib/sentinel --create-home sentinel
COPY --from=build /out/sentinel /usr/local/bin/sentinel
COPY --from=build /out/plugins /usr/share/sentinel/plugins
USER sentinel
WORKDIR /var/lib/sentinel
# The mounted plugins come first, so that a job of one's own wins over a bundled one.
ENV SENTINEL_PLUGINS=/plugins,/usr/share/sentinel/plugins \
    SENTINEL_DATA_DIR=/var/lib/sentinel/data \
    SENTINEL_LOG=json
VOLUME /var/lib/sentinel
EXPOSE 8000
STOPSIGNAL SIGTERM
ENTRYPOINT ["sentinel"]
CMD ["dev", "--listen", "0.0.0.0:8000", "--auth", "none"]
