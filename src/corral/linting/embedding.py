"""Documents in texts of others: settings of the device plugin and of LiteLLM in a ConfigMap or the values of a chart.

Only texts whose format is known by its first keys are read; each has its place in the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from corral.linting.documents import Document, read_documents
from corral.linting.tree import Tree

_HOLDERS = frozenset({"ConfigMap", "HelmRelease", "HelmChart", "HelmChartConfig", "Application", "ClusterPolicy"})
"""Kinds; a file of values, which has none, is known by the section that the device plugin's chart reads."""
_KNOWN = re.compile(r"^(?:sharing|model_list):", re.MULTILINE)
"""The settings of NVIDIA's device plugin, and those of LiteLLM."""


def read_embedded(document: Document) -> Iterator[tuple[Tree, Document]]:
    """Yield the documents in the texts of a document, each with the value that has the text."""
    is_values = not document.tree["kind"] and bool(document.tree.follow("config", "map").keys)
    if not (is_values or document.tree["kind"].raw in _HOLDERS) or not _KNOWN_ANYWHERE.search(document.text):
        return
    for _, tree in document.tree.walk():
        raw = tree.raw or ""
        if "\n" not in raw or not _KNOWN.search(raw):
            continue
        place = tree.place
        for read in read_documents(place.file, raw, line=place.line + 1, start=None):
            if isinstance(read, Document) and read.tree.is_mapping:
                yield tree, read


_KNOWN_ANYWHERE = re.compile(r"^\s*(?:sharing|model_list):", re.MULTILINE)
