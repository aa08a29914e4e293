-- What a new private cluster gets, run by psql as its superuser; running it again changes nothing.
--
-- The role emsd owns the database emsd and may create roles (a migration makes emsd_reader) and databases (the tests make
-- one each), and nothing more. The extension comes with template1, so every database made here has it.

\set ON_ERROR_STOP on
\getenv emsd_password EMSD_PASSWORD

SELECT 'CREATE ROLE emsd' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'emsd') \gexec
ALTER ROLE emsd LOGIN CREATEROLE CREATEDB PASSWORD :'emsd_password';

\connect template1
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS timescaledb;

\connect postgres
SELECT 'CREATE DATABASE emsd OWNER emsd' WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'emsd') \gexec
