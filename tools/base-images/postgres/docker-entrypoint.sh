#!/usr/bin/env bash
# Makes the database on the first start, then becomes the server.
#
# Honours POSTGRES_USER ["postgres"], POSTGRES_PASSWORD (required) and POSTGRES_DB [the user].
set -euo pipefail

if [ "$1" != postgres ]; then exec "$@"; fi

if [ "$(id -u)" = 0 ]; then
  chown -R postgres: "$PGDATA" /var/run/postgresql
  exec gosu postgres "$0" "$@"
fi

if [ ! -s "$PGDATA/PG_VERSION" ]; then
  : "${POSTGRES_PASSWORD:?set it to the password that the database shall have}"
  export PGUSER=${POSTGRES_USER:-postgres} PGDATABASE=postgres
  initdb --username="$PGUSER" --pwfile=<(printf '%s\n' "$POSTGRES_PASSWORD")
  printf 'host all all all scram-sha-256\n' >>"$PGDATA/pg_hba.conf"
  # On the unix socket alone: nobody who asks over TCP may take this one for the server.
  pg_ctl --pgdata="$PGDATA" --options="-c listen_addresses=''" --wait start
  database=${POSTGRES_DB:-$PGUSER}
  [ "$database" = postgres ] || createdb "$database"
  pg_ctl --pgdata="$PGDATA" --mode=fast --wait stop
  unset PGUSER PGDATABASE
fi
unset POSTGRES_PASSWORD
exec "$@"
