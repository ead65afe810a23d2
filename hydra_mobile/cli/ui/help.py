"""Help as text of at most 80 columns: what a verb is for, its arguments, its options in panels."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import Any

import typer

from hydra_mobile.cli.ui.layout import command_lines, fitted

_WIDEST, _NARROWEST = 79, 59


def _width() -> int:
    """Return the cells of a line: those of the window, from 59 to 79."""
    if not os.environ.get("COLUMNS", "").isdigit() and not sys.stdout.isatty():
        return _WIDEST
    columns = shutil.get_terminal_size((_WIDEST + 1, 24)).columns
    return max(_NARROWEST, min(_WIDEST, columns - 1))


def _wrap(text: str, width: int, subsequent_indent: str = "") -> list[str]:
    return textwrap.wrap(
        text,
        width,
        subsequent_indent=subsequent_indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def group_help(group: Any, context: typer.Context, common: str) -> str:
    """Return the help of a noun, or of the whole command line."""
    lines = _about(group.help or "")
    lines += [f"Usage: {context.command_path} COMMAND [OPTIONS]", ""]
    names = sorted(group.commands, key=lambda n: group.order.index(n) if n in group.order else 99)
    shown = {name: group.commands[name] for name in names if not group.commands[name].hidden}
    room = max(map(len, shown)) + 3
    panels: dict[str, list[str]] = {}
    for name, command in shown.items():
        panel = getattr(command, "rich_help_panel", None) or "Commands"
        text = _wrap(_summary(command.help or ""), _width() - room - 2)
        entry = [f"  {name:<{room}}{text[0]}", *(" " * (room + 2) + each for each in text[1:])]
        panels.setdefault(panel, []).extend(entry)
    for panel, entries in panels.items():
        lines += [panel, *entries, ""]
    if context.parent is None:
        lines += [common, *_rows(_common_rows()), ""]
        lines.append("New here?  hydra-mobile quickstart  (10 minutes, no GPU)")
    else:
        lines.append(f"Help on one of them:  {context.command_path} COMMAND --help")
    return "\n".join(lines).rstrip()


def command_help(command: Any, context: typer.Context, common: str) -> str:
    """Return the help of a verb."""
    parameters = [p for p in command.get_params(context) if not getattr(p, "hidden", False)]
    arguments = [p for p in parameters if p.param_type_name == "argument"]
    lines = _about(command.help or "")
    called = f"Usage: {usage(command, context)}"
    lines += [*fitted(called, _width()), ""]
    if arguments:
        lines += [*_rows([_record(p, context) for p in arguments]), ""]
    panels: dict[str, list[tuple[str, str, str]]] = {}
    for parameter in parameters:
        panel = getattr(parameter, "rich_help_panel", None) or "Options"
        ours = parameter.param_type_name == "option" and panel != common
        if ours and "--help" not in parameter.opts:
            panels.setdefault(panel, []).append(_record(parameter, context))
    for panel, records in panels.items():
        lines += [panel, *_rows(records), ""]
    if command.examples:
        examples = (line for each in command.examples for line in command_lines(each, _width()))
        lines += ["Examples", *examples, ""]
    also = "Also: --json, -q, -v, --color, --progress, --log (hydra-mobile --help)"
    lines += _wrap(also, _width(), subsequent_indent="  ")
    if command.more:
        lines.append(f"More: {command.more}")
    return "\n".join(lines).rstrip()


def usage(command: Any, context: typer.Context) -> str:
    """Return the line that says how a verb is called."""
    parameters = command.get_params(context)
    names = [_usage_name(p) for p in parameters if p.param_type_name == "argument"]
    return " ".join([context.command_path, *names, "[OPTIONS]"])


def _common_rows() -> list[tuple[str, str, str]]:
    return [
        ("--json", "Print one JSON document on stdout", ""),
        ("-q, --quiet", "Print results and errors only", ""),
        ("-v, --verbose", "Print details; the log file always has them", ""),
        ("--color WHEN", "auto, always or never", "[default: auto]"),
        ("--progress HOW", "auto, bar, lines or none", "[default: auto]"),
        ("--log FILE", "Write the log here", ""),
        ("--version", "Print the version; with -v also of packages", ""),
        ("--install-completion", "Complete commands, choices and names in your shell", ""),
        ("-h, --help", "Show this help, or that of a command", ""),
    ]


def _about(text: str) -> list[str]:
    lines: list[str] = []
    for paragraph in text.strip().split("\n\n"):
        if paragraph.strip():
            lines += [*_wrap(" ".join(paragraph.split()), _width()), ""]
    return lines


def _summary(text: str) -> str:
    return " ".join(text.strip().split("\n\n")[0].split()).rstrip(".")


def _usage_name(parameter: Any) -> str:
    name = parameter.metavar or parameter.name.upper()
    if name.startswith("["):
        return str(name)
    name += "..." if parameter.nargs != 1 and not name.endswith("...") else ""
    return name if parameter.required else f"[{name}]"


def _record(parameter: Any, context: typer.Context) -> tuple[str, str, str]:
    """Return the left column, the explanation and the bracket with the default."""
    choices = [str(c) for c in parameter.type_descriptor.choices or ()]
    if parameter.param_type_name == "argument":
        name = parameter.metavar or parameter.name.upper()
        return name, _explained(parameter, choices), "[required]" if parameter.required else ""
    short = [option for option in parameter.opts if not option.startswith("--")]
    long = [option for option in parameter.opts if option.startswith("--")]
    name = ", ".join([*short, *long[:1]])
    if not parameter.is_flag:
        name += f" {parameter.metavar or _value_name(parameter)}"
    return name, _explained(parameter, choices), _bracket(parameter, context)


def _explained(parameter: Any, choices: Sequence[str]) -> str:
    text = (parameter.help or "").strip().rstrip(".")
    if choices and not all(choice in text for choice in choices):
        listed = f"{', '.join(choices[:-1])} or {choices[-1]}"
        text = f"{text}: {listed}" if text else listed
    return text


def _value_name(parameter: Any) -> str:
    annotation = str(parameter.type_descriptor.annotation)
    if parameter.type_descriptor.choices:
        return str(parameter.name).upper()
    for kind, name in (("Path", "PATH"), ("int", "N"), ("float", "X")):
        if kind in annotation:
            return name
    return str(parameter.name).upper()


def _bracket(parameter: Any, context: typer.Context) -> str:
    if parameter.required:
        return "[required]"
    shown = parameter.show_default
    if isinstance(shown, str):
        return f"[default: {shown}]"
    if parameter.is_flag or not shown:
        return ""
    default = parameter.get_default(context, call=False)
    if default in (None, "", [], ()):
        return ""
    return f"[default: {default}]"


def _rows(records: Sequence[tuple[str, str, str]]) -> list[str]:
    """Lay out rows: name, text, and the default at the right edge where it fits."""
    width = _width()
    room = min(max(len(name) for name, _, _ in records) + 2, width // 3)
    lines: list[str] = []
    for name, text, bracket in records:
        wrapped = _wrap(text, width - room - 2) or [""]
        if len(name) + 2 > room:
            lines.append(f"  {name}")
            first = " " * (room + 2)
        else:
            first = f"  {name:<{room}}"
        rows = [first + wrapped[0], *(" " * (room + 2) + each for each in wrapped[1:])]
        if bracket:
            if len(rows[-1]) + 2 + len(bracket) <= width:
                rows[-1] += " " * (width - len(rows[-1]) - len(bracket)) + bracket
            else:
                rows.append(" " * (width - len(bracket)) + bracket)
        lines += [row.rstrip() for row in rows]
    return lines
