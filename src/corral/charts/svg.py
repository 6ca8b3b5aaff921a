"""The shared parts of all charts: colours for light and dark, and the frame that makes an SVG stand alone.

Colours are set once, as custom properties on the root, and follow the reader's scheme; so a chart is as readable by
itself as inside a page. The palette is that of Okabe and Ito (2008), which people with any colour vision can
distinguish; its yellow is darker here, so that it shows on white.
"""

from __future__ import annotations

from xml.etree.ElementTree import Element, SubElement, fromstring, indent, tostring

NAMESPACE = "http://www.w3.org/2000/svg"
"""The one address in a chart: the name of the format, which nothing is fetched from."""

PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#b8a800", "#7f7f7f")

_LOOK = """
.corral-chart{--ink:#1b1f24;--faint:#8c959f;--paper:#ffffff;background:var(--paper);
font-family:system-ui,sans-serif;font-variant-numeric:tabular-nums}
.corral-chart text{fill:var(--ink)}
@media (prefers-color-scheme:dark){.corral-chart{--ink:#e6edf3;--faint:#768390;--paper:#161b22}}
"""


def begin_sheet(width: int, height: int, title: str, description: str) -> Element:
    """Begin a chart: its size, what it is called and what it shows for those who cannot see it."""
    root = Element("svg", {"xmlns": NAMESPACE, "viewBox": f"0 0 {width} {height}"})
    return frame(root, title, description)


def frame(root: Element, title: str, description: str) -> Element:
    """Give a chart its class, its title and its description, and return it."""
    root.set("class", "corral-chart")
    root.set("role", "img")
    root.set("aria-label", f"{title}. {description}")
    parts = {"title": title, "desc": description, "style": _LOOK}
    for index, (tag, text) in enumerate(parts.items()):
        part = Element(tag)
        part.text = text
        root.insert(index, part)
    return root


def add(parent: Element, tag: str, text: str | None = None, /, **attributes: str | float) -> Element:
    """Put an element into another; numbers are written with at most two decimals, `_` in names becomes `-`."""
    written = {name.rstrip("_").replace("_", "-"): _write_value(value) for name, value in attributes.items()}
    element = SubElement(parent, tag, written)
    element.text = text
    return element


def as_text(root: Element) -> str:
    """The chart as it is written to a file, or into a page."""
    indent(root, space=" ")
    return tostring(root, encoding="unicode") + "\n"


def without_scripts(svg: str) -> Element:
    """Read a chart and leave out its scripts, and the names that scripts find parts by: pages hold several charts."""
    root = fromstring(svg)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.rpartition("}")[2] == "script":
                parent.remove(child)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        if element.get("id", "").startswith("activate-"):
            del element.attrib["id"]
    root.set("xmlns", NAMESPACE)
    return root


def _write_value(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.2f}".rstrip("0").rstrip(".")
