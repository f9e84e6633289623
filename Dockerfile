# The edge. Built once, it serves any tenants: they are named in proxy.toml alone.
FROM rust:1.95-slim-bookworm AS build

# The allocator is C, and has a makefile.
RUN apt-get update -qq \
 && apt-get install -y -qq --no-install-recommends make \
 && rm -rf /var/lib/apt/lists/*

WORKDIR /build

# The dependencies before the code, compiled against an empty crate, so that an edit of the code
# does not compile them again.
COPY .cargo .cargo
COPY Cargo.toml Cargo.lock ./
RUN mkdir src && echo 'fn main() {}' >src/main.rs && touch src/lib.rs \
 && cargo build --release --locked \
 && rm -r src

COPY src src
# Cargo goes by modification times, and the sources' are older than those of the empty crate.
# Symbols stay, for a readable panic; the line tables are three quarters of the file.
RUN touch src/main.rs src/lib.rs \
 && cargo build --release --locked \
 && strip --strip-debug -o /usr/local/bin/hostler target/release/hostler


FROM debian:bookworm-slim

COPY --from=build /usr/local/bin/hostler /usr/local/bin/hostler

ENV HOSTLER_CONFIG=/etc/hostler/proxy.toml
# A number, since the engine can tell only from a number that it is not root.
USER 10001:10001
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=3s --start-period=5s CMD ["hostler", "healthcheck"]
CMD ["hostler", "run"]
