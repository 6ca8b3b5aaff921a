"""PostgreSQL in the cluster, and how those that call it get in: a URL without a password, and the password beside it.

asyncpg and libpq both read `PGPASSWORD` where the URL has none, so that no URL with a password has to be made up, and a
password may have any characters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from corral.cluster.values import Cluster, SecretKey, Service, ServiceKind

SERVER_VARIABLE = "CORRAL_DATABASE_URL"
"""Where Corral's server looks first."""
PASSWORD_OF_CLIENTS = "PGPASSWORD"
PASSWORD_OF_SERVER = "POSTGRES_PASSWORD"
_USER = "POSTGRES_USER"
_DATABASE = "POSTGRES_DB"
_USUAL = "corral"


def settings_of_server(service: Service) -> dict[str, str]:
    """What a PostgreSQL is told when its volume is still empty; nothing for other services."""
    return {_USER: _USUAL, _DATABASE: _USUAL} if service.kind is ServiceKind.POSTGRESQL else {}


def is_database(cluster: Cluster, service: Service, env: Mapping[str, str]) -> bool:
    """Tell whether a service keeps a PostgreSQL on its volume: Corral's server does where it is told of none."""
    if service.kind is ServiceKind.CORRAL:
        return SERVER_VARIABLE not in env and cluster.database_url_env is None
    return service.kind is ServiceKind.POSTGRESQL


def url_of(env: Mapping[str, str], host: str) -> str:
    """The URL of a database by the settings of its server; `host` has the port."""
    user = env.get(_USER, _USUAL)
    return f"postgresql://{user}@{host}/{env.get(_DATABASE, user)}"


def secrets_of_server(service: Service, name: str) -> dict[str, SecretKey]:
    """The password of a PostgreSQL, without which its image does not start: in the Secret of its name."""
    if service.kind is not ServiceKind.POSTGRESQL or PASSWORD_OF_SERVER in service.env:
        return {}
    return {PASSWORD_OF_SERVER: SecretKey(secret=name, key=PASSWORD_OF_SERVER)}


def secrets_of_clients(called: Iterable[Mapping[str, SecretKey]]) -> dict[str, SecretKey]:
    """The password for whoever calls a PostgreSQL; `called` are the secrets of what is called."""
    passwords = [secrets[PASSWORD_OF_SERVER] for secrets in called if PASSWORD_OF_SERVER in secrets]
    return {PASSWORD_OF_CLIENTS: passwords[0]} if passwords else {}


def secrets_of_corral(cluster: Cluster, service: Service, name: str) -> dict[str, SecretKey]:
    """The URL of a database elsewhere, where the cluster file names a variable for it: in the Secret of the server."""
    variable = cluster.database_url_env
    if service.kind is not ServiceKind.CORRAL or variable is None or variable in service.env:
        return {}
    return {variable: SecretKey(secret=name, key=variable)}
