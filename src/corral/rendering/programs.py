"""The programs that services run: image, health, where models are, the settings and secrets that they need.

An image in the cluster file always wins, and so does a setting. Versions are pinned, so that two nodes run the same and
a restart brings no update; they are the newest that were known to work together when this was written.

A service reaches a PostgreSQL in the cluster by a URL without a password, and has the password in a variable: asyncpg
and libpq both read `PGPASSWORD` where the URL has none, so that no URL with a password has to be made up, and a
password can have any characters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from corral import __version__
from corral.cluster.values import Cluster, SecretKey, Service, ServiceKind
from corral.container_images import VLLM, find_image
from corral.engine_kinds import KOKORO, OLLAMA, PIPER, SERVICE_ENGINES, WHISPER

POSTGRESQL = "postgres:18.1"
REDIS = "redis:8.6"
QDRANT = "qdrant/qdrant:v1.18.2"
NGINX = "nginxinc/nginx-unprivileged:1.29.3"
LITELLM = "ghcr.io/berriai/litellm-non_root:v1.85.1"
CURL = "curlimages/curl:8.17.0"
CORRAL = f"corral:{__version__}"
"""The image of `container/Containerfile`, by the name that its first lines give it; people build it themselves."""
CUDA_IMAGE = f"{CORRAL}-cuda"
MAIN_PORT = 7433


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A program, as far as its container depends on it."""

    image: str | None = None
    health_path: str | None = None
    """Answers 200 once it can serve; None: only its port is asked."""
    live_path: str | None = None
    """Answers 200 as long as it need not be started anew, even while what it depends on is away; None: as above."""
    serving_path: str | None = None
    """Answers 200 only while requests can go there: of several servers on one database, the one that leads; None:
    wherever it is healthy."""
    ready_command: tuple[str, ...] = ()
    """Ends with 0 once it can serve, where it does not speak HTTP."""
    data_path: str = "/data"
    """The folder of its data that must last."""
    user: int | None = None
    """The user that its image is made to run as; None: the image decides, which can be root."""
    other_user: int | None = None
    """Another user than root that its image has, and that it can run as."""
    other_data_path: str | None = None
    """The folder of its data as that user."""
    keeps_state: bool = False
    """Whether it must be one process for each volume, with an address of its own (ComfyUI, Ollama, databases)."""
    own_folders: tuple[str, ...] = ()
    """The last part of the paths at which each instance keeps files of its own."""


_UNKNOWN = Program()
_OF_ENGINES = {
    name: Program(
        image=engine.program.image,
        health_path=engine.program.health_path,
        data_path=engine.program.data_path,
        other_user=engine.program.other_user,
        other_data_path=engine.program.other_data_path,
        keeps_state=engine.program.keeps_state,
        own_folders=engine.program.own_folders,
    )
    for name, engine in SERVICE_ENGINES.items()
    if engine.program is not None
}
_OF_KINDS = {
    ServiceKind.LITELLM: Program(
        image=LITELLM,
        health_path="/health/readiness",
        live_path="/health/liveliness",
        data_path="/etc/litellm",
        user=65534,  # BerriAI/litellm#26268
    ),
    ServiceKind.NGINX: Program(image=NGINX, health_path="/healthz", data_path="/usr/share/nginx/html", user=101),
    ServiceKind.POSTGRESQL: Program(
        image=POSTGRESQL,
        # Over TCP: while a new database is set up, the server answers at its socket only.
        ready_command=("pg_isready", "--host=127.0.0.1"),
        data_path="/var/lib/postgresql",
        user=999,
        keeps_state=True,
    ),
    ServiceKind.REDIS: Program(image=REDIS, ready_command=("redis-cli", "ping"), user=999, keeps_state=True),
    ServiceKind.QDRANT: Program(
        image=QDRANT, health_path="/readyz", live_path="/livez", data_path="/qdrant/storage", keeps_state=True
    ),
    ServiceKind.CORRAL: Program(
        image=CORRAL,
        health_path="/health/ready",
        live_path="/health/live",
        serving_path="/health/doors",
        data_path="/var/lib/corral",
        user=1000,
    ),
}
_VOICES = frozenset({WHISPER.name, PIPER.name, KOKORO.name})
"""Engines that Corral's image serves by itself, where no other image is named."""
_VOICE_BACKEND = Program(
    image=CORRAL,
    health_path="/health/ready",
    live_path="/health/live",
    data_path="/models",
    user=1000,
    keeps_state=True,
    own_folders=("models",),  # its database is next to them
)


def program_of(service: Service) -> Program:
    """The program that a service runs, as far as it is known; the first known engine decides, else its image."""
    if service.kind in _OF_KINDS:
        return _OF_KINDS[service.kind]
    if is_voice_backend(service):
        return replace(_VOICE_BACKEND, image=CUDA_IMAGE if service.gpus else CORRAL)
    of_engine = next((_OF_ENGINES[engine] for engine in service.engines if engine in _OF_ENGINES), None)
    return of_engine or _read_image(service.image)


def is_voice_backend(service: Service) -> bool:
    """Whether a service is Corral's image as a voice backend: it names no image, and engines of speech alone."""
    return service.image is None and bool(service.engines) and _VOICES.issuperset(service.engines)


def _read_image(image: str | None) -> Program:
    facts = find_image(image) if image else None
    if facts is None:
        return _UNKNOWN
    return Program(health_path=facts.health_path, data_path=facts.folders[0] if facts.folders else _UNKNOWN.data_path)


def list_image_addresses(service: Service, target: Service, address: str) -> dict[str, str]:
    """List the variables in which a service's image reads the address of what it calls; none for other images."""
    facts = find_image(service.image) if service.image else None
    if facts is None:
        return {}
    if OLLAMA.name in target.engines:
        return {facts.addresses[_OLLAMA_API]: address} if _OLLAMA_API in facts.addresses else {}
    image = find_image(target.image) if target.image else None
    speaks_openai = target.kind is ServiceKind.LITELLM or image is VLLM
    return {facts.addresses[_OPENAI_API]: f"{address}/v1"} if speaks_openai and _OPENAI_API in facts.addresses else {}


_OLLAMA_API, _OPENAI_API = "ollama", "openai"
"""Programs that images read addresses of, by the words of their facts."""


def image_of(service: Service) -> str | None:
    """The image of a service; None when it is neither in the file nor known."""
    return service.image or program_of(service).image


def list_image_notes(services: Mapping[str, Service]) -> list[str]:
    """Name the services (by name) that no target deploys, because the file names no image for them; in one sentence."""
    names = [name for name, service in services.items() if image_of(service) is None]
    return [f"Not deployed, because the file names no image: {', '.join(names)}."] if names else []


def mount_paths(service: Service, volumes: Sequence[str]) -> Mapping[str, str]:
    """The folders of a service's volumes: as the file says, else the first at its program's own place."""
    usual = program_of(service).data_path
    places = [usual, *(f"/data/{name}" for name in volumes[1:])]
    return {name: service.mounts.get(name) or place for name, place in zip(volumes, places, strict=False)}


def list_own_volumes(service: Service, volumes: Sequence[str]) -> frozenset[str]:
    """List the volumes in which each instance of a service has a folder of its own, since it writes there.

    Two instances in one folder lose files: ComfyUI numbers them by listing the folder, so two that save at once take
    the same name.
    """
    facts = find_image(service.image) if service.image else None
    program = program_of(service)
    whole = facts.folders if facts is not None and program.own_folders else ()
    return frozenset(
        name
        for name, path in mount_paths(service, volumes).items()
        if PurePosixPath(path).name in program.own_folders or path in whole
    )


MASTER_KEY = "LITELLM_MASTER_KEY"
"""Without it LiteLLM would serve every caller; newer ones refuse to start."""
_CACHING = frozenset(
    name for name, engine in SERVICE_ENGINES.items() if engine.program is not None and engine.program.caches_models
)
_WORKERS = ("UVICORN_WORKERS", "WEB_CONCURRENCY")


def list_usual_settings(service: Service, volumes: Sequence[str]) -> dict[str, str]:
    """List the settings that a service's program needs; `volumes` are the names of those that it uses."""
    if service.kind is ServiceKind.LITELLM:
        return {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}  # else it fetches a list of prices at each start
    if _CACHING.isdisjoint(service.engines) or not volumes:
        return {}
    if is_voice_backend(service):
        return {"CORRAL_DATA_DIR": mount_paths(service, volumes)[volumes[0]]}
    return _list_caches(mount_paths(service, volumes)[volumes[0]])


def limit_workers(gpus: int, env: Mapping[str, str]) -> dict[str, str]:
    """Keep a GPU service to one process: each further one loads all models once more (pitfall B06)."""
    return {name: "1" if _is_multiplied(gpus, name, value) else value for name, value in env.items()}


def list_worker_notes(name: str, gpus: int, env: Mapping[str, str]) -> list[str]:
    """List the settings of the file that are not followed."""
    return [
        f"{name}: {variable} is 1 instead of {value}, since each process would load its models once more."
        for variable, value in env.items()
        if _is_multiplied(gpus, variable, value)
    ]


def list_secrets(service: Service, name: str) -> dict[str, SecretKey]:
    """List the secret settings of a service; those of LiteLLM that the file leaves open are in a Secret of its name."""
    needed: list[str] = []
    if service.kind is ServiceKind.LITELLM:
        needed = [MASTER_KEY, *(route.key_from for route in service.routes if route.key_from)]
    usual = {key: SecretKey(secret=name, key=key) for key in needed if key not in service.env}
    return usual | dict(service.secrets)


def _list_caches(folder: str) -> dict[str, str]:
    """List the caches of Hugging Face, of PyTorch and of all that follows XDG (openai-whisper), on a volume."""
    return {
        "HF_HOME": f"{folder}/huggingface",
        "TORCH_HOME": f"{folder}/torch",
        "XDG_CACHE_HOME": f"{folder}/cache",
    }


def _is_multiplied(gpus: int, name: str, value: str) -> bool:
    return gpus > 0 and name in _WORKERS and value.strip().isdecimal() and int(value) > 1


SERVER_VARIABLE = "CORRAL_DATABASE_URL"
"""Where Corral's server looks first."""
PASSWORD_OF_CLIENTS = "PGPASSWORD"
PASSWORD_OF_SERVER = "POSTGRES_PASSWORD"
_USER = "POSTGRES_USER"
_DATABASE = "POSTGRES_DB"
_USUAL = "corral"


def list_database_settings(service: Service) -> dict[str, str]:
    """List the settings of a PostgreSQL whose volume is still empty; none for other services."""
    return {_USER: _USUAL, _DATABASE: _USUAL} if service.kind is ServiceKind.POSTGRESQL else {}


def is_database(cluster: Cluster, service: Service, env: Mapping[str, str]) -> bool:
    """Whether a service keeps a PostgreSQL on its volume: Corral's server does where no other is set."""
    if service.kind is ServiceKind.CORRAL:
        return SERVER_VARIABLE not in env and cluster.database_url_env is None
    return service.kind is ServiceKind.POSTGRESQL


def write_database_url(env: Mapping[str, str], host: str) -> str:
    """Write the URL of a database from the settings of its server; `host` has the port."""
    user = env.get(_USER, _USUAL)
    return f"postgresql://{user}@{host}/{env.get(_DATABASE, user)}"


def list_database_secrets(service: Service, name: str) -> dict[str, SecretKey]:
    """List the password of a PostgreSQL, without which its image does not start: in the Secret of its name."""
    if service.kind is not ServiceKind.POSTGRESQL or PASSWORD_OF_SERVER in service.env:
        return {}
    return {PASSWORD_OF_SERVER: SecretKey(secret=name, key=PASSWORD_OF_SERVER)}


def list_client_secrets(called: Iterable[Mapping[str, SecretKey]]) -> dict[str, SecretKey]:
    """List the password for callers of a PostgreSQL; `called` are the secrets of the services that are called."""
    passwords = [secrets[PASSWORD_OF_SERVER] for secrets in called if PASSWORD_OF_SERVER in secrets]
    return {PASSWORD_OF_CLIENTS: passwords[0]} if passwords else {}


def list_corral_secrets(cluster: Cluster, service: Service, name: str) -> dict[str, SecretKey]:
    """List the URL of a database elsewhere, where the file names a variable for it: in the Secret of the server."""
    variable = cluster.database_url_env
    if service.kind is not ServiceKind.CORRAL or variable is None or variable in service.env:
        return {}
    return {variable: SecretKey(secret=name, key=variable)}
