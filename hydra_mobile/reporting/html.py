"""The report as one HTML file that needs nothing else: no network, no script, no other file.

Text from the report is escaped; the style sheet and the pictures are inside. The sections are in
`hydra_mobile.reporting.page`, in the order of a reader's questions.
"""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from importlib import resources

from hydra_mobile.reporting.page.flips import flips
from hydra_mobile.reporting.page.gallery import gallery
from hydra_mobile.reporting.page.hero import hero
from hydra_mobile.reporting.page.marks import symbols
from hydra_mobile.reporting.page.phone import phone
from hydra_mobile.reporting.page.rank_grid import rank_section
from hydra_mobile.reporting.page.scores import scores
from hydra_mobile.reporting.page.ship import ship
from hydra_mobile.reporting.page.training import training_section
from hydra_mobile.reporting.page.trust import trust
from hydra_mobile.reporting.page.view import View
from hydra_mobile.reporting.schema import Report

_SECTIONS: tuple[tuple[str, str, Callable[[View], str]], ...] = (
    ("scores", "Scores", scores),
    ("ship", "What to ship", ship),
    ("gallery", "Pictures", gallery),
    ("flips", "Changed answers", flips),
    ("phone", "Phone and speed", phone),
    ("ranks", "Ranks and bits", rank_section),
    ("training", "Training", training_section),
    ("trust", "Trust", trust),
)


def render_html(report: Report) -> str:
    """Return the whole report as one HTML document."""
    view = View(report)
    style = resources.files("hydra_mobile.reporting.page").joinpath("page.css").read_text("utf-8")
    made = [(ident, name, draw(view)) for ident, name, draw in _SECTIONS]
    toc = "".join(f'<li><a href="#{ident}">{name}</a></li>' for ident, name, body in made if body)
    sections = "\n".join(body for _, _, body in made if body)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(report.title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        f"{symbols()}\n<main>\n{hero(view)}\n"
        f'<nav aria-label="Contents"><ol>{toc}</ol></nav>\n{sections}\n</main>\n'
        f"<footer><p>Report schema {report.schema}. All numbers are in report.json beside this "
        "page.</p></footer>\n</body>\n</html>\n"
    )
