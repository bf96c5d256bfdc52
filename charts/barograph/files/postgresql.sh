#!/bin/sh
# PostgreSQL of the quickstart: makes its cluster once, then is the server.
#
# PGDATA is where the data lies, SECRETS where `password` and `init.sql` are mounted.
set -eu
# Debian keeps the programs off PATH.
PATH=$(echo /usr/lib/postgresql/*/bin):$PATH

if [ ! -s "$PGDATA/PG_VERSION" ]; then
  # Made beside it and then renamed: there is a whole one or none, whenever this is interrupted.
  rm -rf "$PGDATA.new"
  initdb --pgdata="$PGDATA.new" --username=barograph --pwfile="$SECRETS/password" \
    --auth=scram-sha-256 --encoding=UTF8 --no-locale --no-instructions
  echo 'host all all all scram-sha-256' >>"$PGDATA.new/pg_hba.conf"
  postgres --single -c exit_on_error=true -D "$PGDATA.new" postgres <"$SECRETS/init.sql"
  mv "$PGDATA.new" "$PGDATA"
fi
exec postgres -D "$PGDATA" -c listen_addresses="${LISTEN:-*}" -c unix_socket_directories=/tmp
