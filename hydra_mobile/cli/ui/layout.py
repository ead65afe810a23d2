"""Text in columns: facts as name and value, and tables that fit the width."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

# Where values of facts and fields begin, and the least width of a column of prose.
NAME_WIDTH = 11
_PROSE = 20
_GAP = 3


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        title: its heading.
        right: whether it holds numbers, which stand at its right edge.
        drop: 0 for a column that is always shown; of the others the highest goes first where the
            window is too narrow.
        prose: whether its text may break into lines.
        least: cells that prose keeps before other columns are dropped for it.
    """

    title: str
    right: bool = False
    drop: int = 0
    prose: bool = False
    least: int = 20


def width_of(text: str) -> int:
    """Return how many cells of a terminal `text` takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def plain(text: str) -> str:
    r"""Return `text` with control characters written out, for example `\x1b`; lines stay."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else _written(c) for c in text)


def _written(character: str) -> str:
    return character.encode("unicode_escape").decode()


def wrapped(text: str, width: int) -> list[str]:
    """Break `text` at blanks so that lines have at most `width` cells; words stay whole."""
    lines = []
    for part in text.split("\n"):
        broken = textwrap.wrap(part, max(width, 10), break_long_words=False, break_on_hyphens=False)
        lines += broken or [""]
    return lines


def fitted(text: str, width: int) -> list[str]:
    """Break a line at blanks so that each part has at most `width` cells; the rest is indented."""
    if width_of(text) <= width:
        return [text]
    indent = " " * (len(text) - len(text.lstrip()))
    return [
        line
        for part in text.split("\n")
        for line in textwrap.wrap(
            part,
            width,
            initial_indent="",
            subsequent_indent=f"{indent}  ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        or [""]
    ]


def command_lines(command: str, width: int) -> list[str]:
    """Return a command to copy, two cells in; a long one goes on behind a backslash."""
    words, lines = command.split(" "), [""]
    for word in words:
        start = "  " if len(lines) == 1 else "      "
        if not lines[-1]:
            lines[-1] = f"{start}{word}"
        elif width_of(f"{lines[-1]} {word}") + 2 <= width or word.startswith("#"):
            lines[-1] += f" {word}"
        else:
            lines[-1] += " \\"
            lines.append(f"      {word}")
    return lines


def named(name: str, value: str, width: int, name_width: int = NAME_WIDTH) -> list[str]:
    """Return `name` and `value` in two columns; a long value goes on below its beginning."""
    first, *rest = wrapped(value, width - name_width - 2)
    room = max(name_width, width_of(name) + 1)
    return [f"  {_padded(name, room)}{first}".rstrip(), *(" " * (name_width + 2) + r for r in rest)]


def table_lines(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int, indent: int = 2
) -> list[str]:
    """Lay out a table: heading, one rule, rows.

    Too wide, it breaks prose into lines, then loses columns in the order of `Column.drop`, and
    at last turns into name and value.

    Args:
        columns: the columns.
        rows: a text for each column; "" or a dash where there is none.
        width: cells that a line may have.
        indent: blanks before each line.
    """
    shown = list(range(len(columns)))

    def widths() -> list[int]:
        return [
            max(width_of(columns[i].title), *(width_of(row[i]) for row in rows), 0)
            if rows
            else width_of(columns[i].title)
            for i in shown
        ]

    def needed() -> int:
        return indent + sum(widths()) + _GAP * (len(shown) - 1)

    def spare() -> int:
        """Cells that the columns of prose can give away."""
        pairs = zip(shown, widths(), strict=True)
        return sum(max(0, size - columns[i].least) for i, size in pairs if columns[i].prose)

    while needed() - spare() > width and any(columns[i].drop for i in shown):
        shown.remove(max(shown, key=lambda i: columns[i].drop))
    sizes = widths()
    for _ in range(needed() - width):
        # The widest column of prose gives a cell away.
        prose = [at for at, i in enumerate(shown) if columns[i].prose]
        widest = max(prose, key=lambda at: sizes[at], default=None)
        if widest is None or sizes[widest] <= _PROSE:
            return _as_names(
                [columns[i] for i in shown], [[r[i] for i in shown] for r in rows], width
            )
        sizes[widest] -= 1
    chosen = [columns[i] for i in shown]
    lines = _row([c.title for c in chosen], chosen, sizes, indent)
    lines.append(" " * indent + "\u2500" * (sum(sizes) + _GAP * (len(sizes) - 1)))
    for row in rows:
        lines += _row([row[i] for i in shown], chosen, sizes, indent)
    return lines


def _row(
    cells: Sequence[str], columns: Sequence[Column], sizes: Sequence[int], indent: int
) -> list[str]:
    broken = [
        wrapped(cell, size) if column.prose else [cell]
        for cell, column, size in zip(cells, columns, sizes, strict=True)
    ]
    lines = []
    for number in range(max(map(len, broken))):
        parts = [
            _padded(cell[number] if number < len(cell) else "", size, column.right)
            for cell, column, size in zip(broken, columns, sizes, strict=True)
        ]
        lines.append((" " * indent + (" " * _GAP).join(parts)).rstrip())
    return lines


def _as_names(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int) -> list[str]:
    room = max(width_of(column.title) for column in columns[1:]) + 2 if columns[1:] else 0
    lines = []
    for first, *rest in rows:
        lines.append(f"  {first}")
        for column, cell in zip(columns[1:], rest, strict=True):
            if cell:
                begun, *more = wrapped(cell, width - room - 4)
                lines.append(f"    {_padded(column.title, room)}{begun}".rstrip())
                lines += [" " * (room + 4) + line for line in more]
    return lines


def _padded(text: str, size: int, right: bool = False) -> str:
    blanks = " " * max(0, size - width_of(text))
    return blanks + text if right else text + blanks
