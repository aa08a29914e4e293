#!/bin/sh
# Run once by the database image, on an empty volume, after its own scripts: makes the role and the database of emsd.
# The role may make roles (a migration makes emsd_reader) and owns its database; it is no superuser. The extension must
# be there before, because only a superuser may create it.
set -eu
: "${EMSD_DATABASE_PASSWORD:?is not set}"
psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname postgres <<'SQL'
\getenv password EMSD_DATABASE_PASSWORD
CREATE ROLE emsd LOGIN NOSUPERUSER NOCREATEDB CREATEROLE PASSWORD :'password';
CREATE DATABASE emsd OWNER emsd;
\connect emsd
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS timescaledb;
SQL
