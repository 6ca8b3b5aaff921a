"""Names people give to models: the catalogue's, an alias, Hugging Face files, URLs, local paths.

A name is resolved without a request: the same name always means the same entry and the same folder in the store.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from corral.errors import suggest
from corral.weights.errors import ModelNameError
from corral.weights.values import Entry, HuggingFaceSource, ModelFile, PathSource, UrlSource, is_plain_name

_SHA256_FRAGMENT = re.compile(r"sha256=([0-9a-fA-F]{64})")
_HUGGING_FACE = re.compile(r"([\w.-]+/[\w.-]+?)(?:@([\w.-]+))?/([^\s?#]+)")
CLOSE = 0.5
"""How alike two names are when one is probably meant by the other: people leave out half of a model's name."""
_FORMS = "a name of `corral models list`, hf:owner/repo/file, a URL, or a path that begins with `./`, `/` or `~`"


def resolve(name: str, catalogue: Sequence[Entry]) -> Entry:
    """Find what a name means.

    Raises: ModelNameError when it is not in the catalogue and has none of the other forms.
    """
    for entry in catalogue:
        if name == entry.name or name in entry.aliases:
            return entry
    if name.startswith("hf:"):
        return _resolve_hugging_face(name.removeprefix("hf:"))
    if name.startswith(("https://", "http://")):
        return _resolve_url(name)
    if name.startswith(("/", "./", "../", "~")):
        return _resolve_path(name)
    if name.count("/") >= 2:
        return _resolve_hugging_face(name)
    raise ModelNameError(
        f"no model is called {name!r}", hint=suggest(name, _list_known(catalogue), cutoff=CLOSE) or f"give {_FORMS}"
    )


def spell_path(name: str) -> str:
    """Spell a name as the local path it would be, whether or not anything is there; unchanged when it cannot be one."""
    try:
        return str(Path(name).expanduser().absolute())
    except (ValueError, RuntimeError):
        return name


def spell_local(name: str) -> str:
    """Spell a relative path absolutely, for a program that runs in another folder; other names are left as they are."""
    return spell_path(name) if name.startswith(("./", "../", "~")) else name


def _list_known(catalogue: Sequence[Entry]) -> list[str]:
    return [known for entry in catalogue for known in (entry.name, *entry.aliases)]


def _resolve_hugging_face(reference: str) -> Entry:
    match = _HUGGING_FACE.fullmatch(reference)
    file = PurePosixPath(reference).name
    if match is None or ".." in PurePosixPath(reference).parts or not is_plain_name(file):
        raise ModelNameError(
            f"not a file of a Hugging Face repository: {reference!r}",
            hint="write hf:owner/repo/file or hf:owner/repo@revision/folder/file",
        )
    repo, revision, path = match.groups()
    name = f"hf:{reference}"
    source = HuggingFaceSource(repo=repo, revision=revision or "main", paths={file: path})
    return Entry(name=name, key=_make_key(name, file), files=(ModelFile(name=file),), opens=file, sources=(source,))


def _resolve_url(url: str) -> Entry:
    """Name a file on the web; its query can be a signature, so that is fetched with and never shown or stored."""
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise ModelNameError(f"not a URL: {error}", hint=f"give {_FORMS}") from error
    if parts.username or parts.password:
        raise ModelNameError(
            f"the URL for {parts.hostname} carries a login, which would be stored with the model",
            hint="put the login for that host into ~/.netrc and leave it out of the URL",
        )
    shown = parts._replace(query="", fragment="").geturl()
    file = unquote(PurePosixPath(parts.path).name)
    if not parts.hostname or not is_plain_name(file):
        raise ModelNameError(
            f"the URL names no file: {shown!r}", hint="give the URL of one file, such as https://host/a.gguf"
        )
    fragment = _SHA256_FRAGMENT.fullmatch(parts.fragment)
    if parts.scheme == "http" and fragment is None and not _is_loopback(parts.hostname):
        raise ModelNameError(
            f"a plain http URL gives whatever a machine on the way makes of it: {shown!r}",
            hint="use https, or append #sha256=<64 hexadecimal digits>",
        )
    known = ModelFile(name=file, sha256=fragment[1].lower() if fragment else None)
    whole = parts._replace(fragment="").geturl()
    source = UrlSource(urls={file: whole})
    return Entry(name=shown, key=_make_key(whole, file), files=(known,), opens=file, sources=(source,))


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _resolve_path(text: str) -> Entry:
    """Name the files at a path: a file, or a folder with all the files directly in it."""
    try:
        path = Path(text).expanduser().absolute()
        places = sorted(path.iterdir()) if path.is_dir() else [path]
        paths = {place.name: place for place in places if is_plain_name(place.name) and place.is_file()}
    except (OSError, RuntimeError, ValueError) as error:
        raise ModelNameError(f"cannot look at {text!r}: {error}", hint="check the path and its permissions") from error
    if not paths:
        raise ModelNameError(f"no model file at {text!r}", hint="give the path of a file, or of a folder with files")
    files = tuple(ModelFile(name=file) for file in paths)
    opens = None if path.is_dir() else path.name
    name = str(path)
    return Entry(
        name=name, key=_make_key(name, path.name), files=files, opens=opens, sources=(PathSource(paths=paths),)
    )


def _make_key(name: str, file: str) -> str:
    """Make a folder name that people recognise and that no other model has."""
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", file).strip(".-")[:80]
    return f"{readable or 'model'}-{hashlib.sha256(name.encode(errors='surrogatepass')).hexdigest()[:12]}"
