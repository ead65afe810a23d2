"""Pictures and tables for notebooks: what `_repr_html_` of a result returns.

A picture is shown as an image of its own document, so its style sheet never meets the notebook's
and it follows a dark theme by itself. Tables are plain HTML that takes the notebook's own style.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources
from pathlib import Path

from hydra_mobile.core.own_files import PLOT, own_file_atomically

_OPENING = re.compile(r'<svg viewBox="0 0 (?P<width>[\d.]+) (?P<height>[\d.]+)"[^>]*>')
_FONT = 'svg{min-width:0}text{font-family:Inter,system-ui,"Segoe UI",Roboto,sans-serif}'


@dataclass(frozen=True)
class Svg:
    """A picture as SVG; a notebook displays it, `save` writes it to a file.

    Attributes:
        markup: a whole SVG document with its style sheet.
    """

    markup: str

    @classmethod
    def of(cls, pictures: Sequence[str]) -> Svg:
        """Return the pictures that `svg.picture` made, one below the other, as one document.

        Raises:
            ValueError: there is no picture.
        """
        # Some pictures come wrapped for the page.
        found = [match for match in map(_OPENING.search, pictures) if match]
        if not found:
            raise ValueError("no image to show")
        width = max(float(match["width"]) for match in found)
        height = 0.0
        groups = []
        for match in found:
            inner = match.string[match.end() : match.string.rindex("</svg>")]
            groups.append(f'<g transform="translate(0 {height:g})">{inner}</g>')
            height += float(match["height"]) + 24
        style = resources.files(__package__).joinpath("pictures.css").read_text("utf-8")
        # The class of the first is what the style sheet knows the kind of picture by.
        kind = re.search(r'class="([^"]*)"', found[0][0])
        return cls(
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
            f'width="{width:g}" height="{height:g}" class="{kind[1] if kind else ""}">'
            f"<style>{escape(style + _FONT, quote=False)}</style>{''.join(groups)}</svg>"
        )

    def save(self, path: str | Path) -> Path:
        """Write the document and return its path; an older plot there is replaced.

        Raises:
            ArtifactError: another file is there; it is not touched.
        """
        path = Path(path)
        with own_file_atomically(path, PLOT) as temporary:
            temporary.write_text(self.markup, encoding="utf-8")
        return path

    def __str__(self) -> str:
        return self.markup

    def _repr_html_(self) -> str:
        data = base64.b64encode(self.markup.encode()).decode()
        return f'<img style="width:100%;max-width:1000px" src="data:image/svg+xml;base64,{data}">'


def html_table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Return an HTML table; every cell is text and is escaped."""
    top = "".join(f"<th>{escape(title)}</th>" for title in head)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in row)}</tr>" for row in rows
    )
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def html_facts(title: str, facts: Iterable[tuple[str, object]]) -> str:
    """Return a heading and a table of names and values."""
    rows = "".join(
        f"<tr><th>{escape(name)}</th><td>{escape(str(value))}</td></tr>" for name, value in facts
    )
    return f"<div><b>{escape(title)}</b><table><tbody>{rows}</tbody></table></div>"
