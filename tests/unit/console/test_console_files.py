"""The files of the page: what is vendored is what npm has, nothing is loaded from elsewhere, caches mix no versions."""

from __future__ import annotations

import base64
import hashlib
import re

import pytest

from corral.console.files import FOR_EVER, IMPORTS, PAGE, make_console, read_console

VENDORED = {
    "preact.mjs": "bdcbd9abdf2c77c5c45326eab42191e949222d479d0d5f69467387a77040cb55",
    "hooks.mjs": "e862ab2973aa6455eaa0f77c5d832d2157d6be59a17c8ba546550a575b58c6b4",
    "signals.mjs": "ba8177597f45acaca4d05dcf3966b527d0a8264cfa2b0a87ace92dff324217f8",
    "signals-core.mjs": "0c80bc127d72ecb1496ef116ffddae75079829a3af01e7f417c8e5a6474c68b6",
    "htm.mjs": "ab33dd3f38059b9be4d5f5350128eefb2356639c4e0bbe9d9e8b3ba75847e9e4",
    "marked.mjs": "5371fea86fd0656b4fc7bea7c94c663109d82789b69433eeee78d42895aa44de",
    "purify.mjs": "5e8c53cd086a012531fc754ee6a7ad7a02e8a06fc4dadd805b912e128c3f6c58",
}
"""SHA-256 of the files in the tarballs of npm: preact 11.2.0, @preact/signals 2.11.4 and -core 1.14.5, htm 3.1.1,
marked 18.2.1 (`lib/marked.esm.js`), dompurify 3.5.0 (`dist/purify.es.mjs`)."""
MOST_LINES = 300
OWN = [path for path in sorted(PAGE.rglob("*")) if path.suffix in (".js", ".css", ".html")]
MODULES = [path for path in OWN if path.suffix == ".js"]
TEXTS = {"index.html": b"{{base}} {{imports}} {{preloads}}", "main.js": b"1", "style.css": b"2"}


def test_vendored_files_are_those_of_the_pinned_packages_with_their_licences() -> None:
    folder = PAGE / "vendor"
    hashes = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.mjs")}
    assert hashes == VENDORED
    licences = (folder / "LICENSES").read_text(encoding="utf-8")
    assert all(name in licences for name in VENDORED)


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.relative_to(PAGE).as_posix())
def test_no_file_is_longer_than_a_reader_can_follow_or_names_another_host(path: object) -> None:
    text = PAGE.joinpath(str(path)).read_text(encoding="utf-8")
    assert text.count("\n") <= MOST_LINES
    code = re.sub(r"^\s*(?://|/?\*).*$", "", text, flags=re.MULTILINE)
    addresses = re.findall(r"""["'(`]((?:https?:)?//[^"')`]+)""", code)
    assert addresses == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PAGE).as_posix())
def test_a_module_says_what_it_is_for_and_imports_what_is_there(path: object) -> None:
    module = PAGE.joinpath(str(path))
    text = module.read_text(encoding="utf-8")
    assert text.startswith("// ")
    for name in re.findall(r'^import .*? from "([^"]+)";', text, re.MULTILINE | re.DOTALL):
        assert name in IMPORTS or (module.parent / name).resolve().is_file(), name


def test_the_policy_allows_the_import_map_and_no_other_script_in_the_page() -> None:
    console = read_console()
    scripts = re.findall(r"<script([^>]*)>(.*?)</script>", console.html.body.decode(), re.DOTALL)
    inline = [body for attributes, body in scripts if body]
    assert len(inline) == 1
    digest = base64.b64encode(hashlib.sha256(inline[0].encode()).digest()).decode()
    assert f"script-src 'self' 'sha256-{digest}'" in console.policy
    assert "unsafe" not in console.policy
    assert all("src=" in attributes for attributes, body in scripts if not body)


def test_every_address_in_the_page_is_relative_and_leads_to_a_file() -> None:
    console = read_console()
    html = console.html.body.decode()
    addresses = re.findall(r'(?:href|src)="([^"]+)"', html) + re.findall(r'": "\./([^"]+)"', html)
    assert len(addresses) > len(MODULES)
    assert [address for address in addresses if address not in console.files] == []


def test_a_changed_file_changes_every_address_and_only_the_page_is_asked_for_anew() -> None:
    before, after = make_console(TEXTS), make_console({**TEXTS, "main.js": b"3"})
    assert before.files.keys().isdisjoint(after.files.keys())
    assert before.html.etag != after.html.etag
    assert {file.caching for file in before.files.values()} == {FOR_EVER}
    assert before.html.caching == "no-cache"
