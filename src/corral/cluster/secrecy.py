"""Recognises secrets that are written out: by the name of the setting, and by the look of its value.

Source: OWASP's cheat sheet on secrets management; the exceptions were collected from charts and Compose files.
"""

from __future__ import annotations

import re

_SECRET_NAME = re.compile(
    r"(?<!INITIAL_CLUSTER_)(?<!FORGOT_)(?<!RESET_)(?<!TLS_)(?<!PULL_)(?<!STOP_)(?<!EOS_)(?<!BOS_)(?<!PAD_)"
    r"(?:PASSWORD|PASSWD|SECRET|TOKEN|API_?KEY|PRIVATE_KEY)$",
    re.IGNORECASE,
)
_REFERENCE = re.compile(
    r"^\$|^os\.environ/|^[./~]|^$|^(?:vault|ref\+|op|file|arn|projects|secret|ENC|env)[:/\[+]|^<.*>$|^[A-Z]+(?:_[A-Z0-9]+)+$"
)
"""A reference to a secret: a variable, a file, an entry of a store, a value that is encrypted, a blank to fill."""
_NO_SECRET = frozenset({"true", "false", "yes", "no", "on", "off", "none", "null", "empty", "dummy", "not-needed",
                        "unused", "ollama", "no-key", "sk-no-key-required", "x", "xxx", "...", "vllm", "tei", "tgi",
                        "sglang", "llamacpp", "llama.cpp", "llama-cpp", "localai", "lmstudio", "lm-studio",
                        "local", "fake", "placeholder", "notneeded", "not_needed", "anything", "na",
                        "n/a"})  # fmt: skip
"""Switches, and keys that clients send to servers without keys: the servers' names, and words for nothing."""
_NO_KEY = re.compile(
    r"(?:sk-)?(?:(?P<same>[\w*])(?P=same){2,}|dummy|fake|none|local|placeholder|anything)", re.IGNORECASE
)
"""Keys that no service issues: one character again and again, and words for nothing after the usual prefix."""
_URL_WITH_PASSWORD = re.compile(r"^[a-z+]+://[^:/@\s]+:[^@/\s$]+@")
_SHORT = 7
"""Digits; shorter numbers are limits and intervals."""


def is_secret(name: str, value: str) -> bool:
    """Whether a setting gives a secret away: a variable with the name of one, or a URL with a password."""
    if _URL_WITH_PASSWORD.match(value):
        return True
    return _SECRET_NAME.search(name) is not None and not _is_open(value) and value != name


def _is_open(value: str) -> bool:
    """Whether a value of a secret's name gives nothing away."""
    is_word = value.lower() in _NO_SECRET or _NO_KEY.fullmatch(value) is not None
    return bool(_REFERENCE.match(value)) or is_word or (value.isdigit() and len(value) < _SHORT)
