"""Names that DNS and Kubernetes take: of 63 characters at most, in lower case, beginning with a letter (RFC 1035).

A cluster file can use more: capitals, underscores, dots, a digit first. What has to change gets the same name in every
target, since this is a function of the name alone.
"""

from __future__ import annotations

import hashlib
import re

LONGEST = 63
LONGEST_WORKLOAD = 52
"""A StatefulSet's pods carry its name, a dash and ten characters of a revision as a label, of 63 at most."""
_DIGEST = 8
_FIRST = "n-"
"""Goes before a name that begins with a digit: a Service cannot have such a name."""


def dns_name(text: str, *, longest: int = LONGEST) -> str:
    """The name as DNS takes it; one that was cut ends in a digest of the whole, so that two names differ."""
    plain = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    if not plain[:1].isalpha():
        plain = f"{_FIRST}{plain}".strip("-")
    if len(plain) <= longest:
        return plain
    return f"{plain[: longest - _DIGEST - 1].rstrip('-')}-{hash_text(text)}"


def add_suffix(name: str, suffix: str, *, longest: int = LONGEST) -> str:
    """The name of something that belongs to what has this name: `comfyui`, `config` is `comfyui-config`."""
    return f"{dns_name(name, longest=longest - len(suffix) - 1)}-{suffix}"


def hash_text(text: str) -> str:
    """Make a few characters from a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGEST]
