"""nginx's configuration: the page, and behind it, at `/api/`, the services that a service of kind nginx calls.

One `nginx.conf` as a whole: files of the page, `/healthz`, and `/api/` for the services that are called. It works as a
user without rights on a read-only file system: everything that is written goes to `/tmp`. Answers of language models
come word by word, so nothing is buffered, and a request can be silent for minutes while a model loads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from corral.cluster.values import ServiceKind
from corral.rendering.documents import write_header
from corral.rendering.installation import Deployed, Installation, list_reached

FILE = "nginx.conf"
Reach = Callable[[Deployed], str | None]
"""The address of a service, as nginx reaches it."""

_LARGEST_BODY = "200m"
"""An hour of speech as 16 kHz WAV is 115 MB."""
_READ_TIMEOUT = "600s"
"""As long as LiteLLM waits for an answer."""

_CONFIGURATION = """\
worker_processes auto;
pid /tmp/nginx.pid;
error_log /dev/stderr warn;

events {{
    worker_connections 1024;
}}

http {{
    include /etc/nginx/mime.types;
    default_type application/octet-stream;
    access_log /dev/stdout;
    server_tokens off;
    sendfile on;
    keepalive_timeout 65s;

    client_body_temp_path /tmp/client_body;
    proxy_temp_path /tmp/proxy;
    fastcgi_temp_path /tmp/fastcgi;
    uwsgi_temp_path /tmp/uwsgi;
    scgi_temp_path /tmp/scgi;

    client_max_body_size {body};

    map $http_upgrade $connection_upgrade {{
        default upgrade;
        "" "";
    }}

    server {{
        listen {port};
        server_name _;
        root /usr/share/nginx/html;
{resolver}
        add_header X-Content-Type-Options nosniff always;
        add_header X-Frame-Options SAMEORIGIN always;
        add_header Referrer-Policy strict-origin-when-cross-origin always;

        proxy_http_version 1.1;
        proxy_set_header Host $http_host;
        proxy_set_header X-Real-IP $remote_addr;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Forwarded-Proto $scheme;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection $connection_upgrade;
        proxy_buffering off;
        proxy_request_buffering off;
        proxy_connect_timeout 5s;
        proxy_read_timeout {timeout};
        proxy_send_timeout {timeout};

        location = /healthz {{
            access_log off;
            default_type text/plain;
            return 200 "ok\\n";
        }}
{locations}
        location / {{
            try_files $uri $uri/ /index.html =404;
        }}
    }}
}}
"""
_LOCATION = """
        location {path} {{{rewrite}
            {target}
        }}
"""


def render_nginx(installation: Installation) -> Mapping[str, str]:
    """Render the configuration of each nginx of a layout."""
    return {
        f"nginx/{installation.name}/{proxy.service.name}.conf": render_proxy(installation, proxy)
        for proxy in installation.deployed
        if proxy.service.kind is ServiceKind.NGINX
    }


def render_proxy(
    installation: Installation, proxy: Deployed, reach: Reach | None = None, *, resolver: str | None = None
) -> str:
    """Render the whole `nginx.conf` of a service.

    `reach` gives the address at which nginx reaches a service; that of the cluster unless it is given. With a
    `resolver`, a DNS server, addresses are looked up while nginx runs, for networks in which they change.
    """
    if reach is None:
        return render_proxy(
            installation, proxy, lambda target: _find_address(installation, target, proxy), resolver=resolver
        )
    targets, notes = _list_targets(installation, proxy, reach)
    locations = "".join(
        _render_location(index, name, address, is_looked_up=resolver is not None)
        for index, (name, address) in enumerate(targets)
    )
    text = _CONFIGURATION.format(
        body=_LARGEST_BODY,
        timeout=_READ_TIMEOUT,
        port=proxy.port,
        resolver=f"        resolver {resolver} valid=10s;\n" if resolver else "",
        locations=locations,
    )
    return write_header(installation, *notes) + text


def _find_address(installation: Installation, target: Deployed, caller: Deployed) -> str | None:
    return next(iter(list_reached(installation, target, caller=caller)), None)


def _list_targets(installation: Installation, proxy: Deployed, reach: Reach) -> tuple[list[tuple[str, str]], list[str]]:
    """Name and address of each service that is called, in the order of the file; and what is left out."""
    targets: list[tuple[str, str]] = []
    notes: list[str] = []
    for name in proxy.service.calls:
        target = installation.find_service(name)
        address = reach(target) if target is not None else None
        if address is None:
            notes.append(f"Nothing is sent to {name}: {_explain_absence(target)}.")
        else:
            targets.append((name, address))
    return targets, notes + list(_explain_paths(targets))


def _explain_absence(target: Deployed | None) -> str:
    return "this layout does not deploy it" if target is None else "its address is not known"


def _explain_paths(targets: list[tuple[str, str]]) -> Iterator[str]:
    for index, (name, _) in enumerate(targets):
        yield f"/api/ goes to {name} as it is." if not index else f"/api/{name}/ goes to {name}, without this start."


def _render_location(index: int, name: str, address: str, *, is_looked_up: bool) -> str:
    """The first service gets `/api/` with the path as it came; each further one `/api/<name>/`, which is removed."""
    start = f"/api/{name}/"
    rewrite = "\n            rewrite ^/api/[^/]+(/.*)$ $1 break;" if index else ""
    target = f"set $target {address};\n            proxy_pass $target;" if is_looked_up else f"proxy_pass {address};"
    return _LOCATION.format(path=start if index else "/api/", rewrite=rewrite, target=target)
