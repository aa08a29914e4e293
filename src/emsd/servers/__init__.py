"""A private TimescaleDB and Mosquitto without Docker and without root, for the demo, the tests and a first look.

    from emsd.servers import PrivateMosquitto, PrivatePostgres, temporary_folder

    with temporary_folder() as here, PrivatePostgres(here / "db") as postgres, PrivateMosquitto(here / "mq") as broker:
        postgres.url    # postgresql://emsd:...@127.0.0.1:PORT/emsd
        broker.url      # mqtt://127.0.0.1:PORT

The way there, each step in a module of its own:

    places      the folders, and the unprivileged account when this is root
    packages    signed packages through a private apt                     (first time only)
    unpack      whole-or-nothing unpacking, recorded in manifest.json     (first time only)
    programs    install(): this machine's own servers, else those
    postgres (cluster), mosquitto (handshake)     start, stop, url of one server in one folder
    server_set  both of them in the background, for `emsd servers`

Everything here blocks; from asyncio use `asyncio.to_thread`.
"""

from emsd.servers.mosquitto import PrivateMosquitto
from emsd.servers.packages import Progress
from emsd.servers.places import Account, Places, find_places, run_as, temporary_folder
from emsd.servers.postgres import PrivatePostgres
from emsd.servers.programs import Installation, MosquittoPrograms, PostgresPrograms, ServerName, install
from emsd.servers.server_set import DATABASE_VARIABLE, MQTT_VARIABLE, ServerSet, ServerStatus, database_url

__all__ = [
    "Account",
    "DATABASE_VARIABLE",
    "Installation",
    "MQTT_VARIABLE",
    "MosquittoPrograms",
    "Places",
    "PostgresPrograms",
    "PrivateMosquitto",
    "PrivatePostgres",
    "Progress",
    "ServerName",
    "ServerSet",
    "ServerStatus",
    "database_url",
    "find_places",
    "install",
    "run_as",
    "temporary_folder",
]
