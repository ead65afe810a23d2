"""How a function becomes a verb: the options that all have, its result, its errors, its exit code.

    add(app, merge, panel="Export", brief=True)

The function says what it does with the calls of `hydra_mobile.cli.ui` and returns a `Result`.
"""

from __future__ import annotations

import inspect
import shlex
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup

from hydra_mobile.cli.places import FilePlace
from hydra_mobile.cli.ui.faults import code_of, explained, print_error, print_interrupted
from hydra_mobile.cli.ui.help import command_help, group_help, usage
from hydra_mobile.cli.ui.layout import command_lines
from hydra_mobile.cli.ui.screen import How, Screen, Settings, When, show_on
from hydra_mobile.core.errors import HydraError
from hydra_mobile.core.own_files import LOG

COMMON = "Options for every command"
# The version in which old names of commands and options stop working.
_REMOVAL = "0.4"


@dataclass(frozen=True)
class Result:
    """What a verb found or made.

    Attributes:
        data: the same for programs: numbers in base units, paths, no formatted text.
        brief: what `-q` prints, for example the path of what was made; "" prints the tables.
        next: commands that work as printed; at most three are shown.
        failed: the fault that a check found; it ends with exit code 3.
    """

    data: Mapping[str, Any] = field(default_factory=dict)
    brief: str = ""
    next: Sequence[str] = ()
    failed: HydraError | None = None


Verb = Callable[..., Result | None]


def perform(name: str, settings: Settings, brief: bool, call: Callable[[], Result | None]) -> int:
    """Run a verb; print its result or its error; return the exit code."""
    command = list(_typed) if _typed else sys.argv[1:]
    at = Screen(settings, command, brief)
    show_on(at)
    for text in _deprecated:
        at.warnings.append(text)
        at.err(f"note: {text}")
    _deprecated.clear()
    began = time.monotonic()
    result: Result | None = None
    error: HydraError | None = None
    code = 0
    try:
        result = call() or Result()
        if result.failed:
            error, code = result.failed, result.failed.exit_code
    except typer.Exit as end:
        code = end.exit_code
    except KeyboardInterrupt as interrupted:
        code = code_of(interrupted)
    except Exception as raised:
        error, code = explained(raised), code_of(raised)
        at.log.write("".join(traceback.format_exception(raised)))
        if settings.verbose or code == 1:
            at.log.keep(name)
        if settings.verbose:
            for text in "".join(traceback.format_exception(raised)).rstrip().split("\n"):
                at.err(text)
    if code in (130, 143) and error is None:
        error = _interrupted(at, code)
        print_interrupted(code, at, command)
    elif error:
        print_error(error, at, at.log.path)
    _finish(name, at, code, result, error, time.monotonic() - began)
    # What this process prints next, no command of its own, must not be JSON because this one was.
    show_on(None)
    return code


def _interrupted(at: Screen, code: int) -> HydraError:
    fix = at.goes_on or (shlex.join(["hydra-mobile", *at.command]),)
    what = "stopped by SIGTERM" if code == 143 else "interrupted by Ctrl-C"
    return HydraError(what, fix, kept=at.kept, kind="interrupted")


def _finish(
    name: str,
    at: Screen,
    code: int,
    result: Result | None,
    error: HydraError | None,
    seconds: float,
) -> None:
    settings = at.settings
    following = list(result.next)[:3] if result else []
    if settings.json:
        if at.leads:
            from hydra_mobile.cli.ui.envelope import envelope

            data = result.data if result else None
            at.raw(
                envelope(
                    name,
                    at.command,
                    code,
                    data,
                    error,
                    at.warnings,
                    following,
                    at.log.path,
                    seconds,
                )
            )
        return
    if result and settings.quiet and result.brief and at.leads:
        at.raw(result.brief)
    if following and code == 0:
        at.gap("err")
        at.err("Next")
        for each in following:
            limit = at.limit(sys.stderr)
            for text in command_lines(each, limit) if limit else [f"  {each}"]:
                at.err(text)


def refuse(raised: BaseException, command: Sequence[str]) -> int:
    """Print the error of a command line that could not be read; return the exit code."""
    if type(raised).__name__ == "NoArgsIsHelpError":
        # `hydra-mobile data` alone is a question, not a mistake.
        sys.stdout.write(str(raised).rstrip() + "\n")
        return 0

    def again() -> Result | None:
        raise raised

    _deprecated.clear()
    words = [word for word in command if not word.startswith("-")]
    settings = Settings(json="--json" in command, quiet="-q" in command or "--quiet" in command)
    return perform("-".join(words[:1]) or "hydra-mobile", settings, False, again)


# -- the parser's side -----------------------------------------------------------------------

_deprecated: list[str] = []
_typed: list[str] = []


def _deprecate(old: str, new: str) -> None:
    _deprecated.append(f"`{old}` is now `{new}`; the old name goes in version {_REMOVAL}.")


class Command(TyperCommand):
    """A verb on the command line."""

    examples: Sequence[str] = ()
    renamed: Mapping[str, str] = {}
    renamed_values: Mapping[str, Mapping[str, str]] = {}
    more: str = ""

    def get_help(self, ctx: Any) -> str:
        """Return the help as one text."""
        return command_help(self, ctx, COMMON)

    def get_usage(self, ctx: Any) -> str:
        """Return the line that says how it is called."""
        return usage(self, ctx)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read old spellings as the new ones, then parse."""
        if not ctx.resilient_parsing:
            _refuse_json_file(args, ctx.command_path)
            args = self._new_spelling(args)
        return super().parse_args(ctx, args)

    def _new_spelling(self, args: list[str]) -> list[str]:
        made: list[str] = []
        for number, word in enumerate(args):
            if word == "--":
                return [*made, *args[number:]]
            option, equals, value = word.partition("=")
            if option in self.renamed and word.startswith("--"):
                new = self.renamed[option]
                _deprecate(option, new or "its value alone, without an option")
                if not new:
                    made += [value] if equals else []
                    continue
                word = f"{new}{equals}{value}"
            made.append(self._new_value(word, made[-1] if made else ""))
        return made

    def _new_value(self, word: str, before: str) -> str:
        option, equals, value = word.partition("=")
        if option in self.renamed_values and equals:
            new = self.renamed_values[option].get(value)
            if new:
                _deprecate(word, f"{option}={new}")
                return f"{option}={new}"
        new = self.renamed_values.get(before, {}).get(word)
        if new:
            _deprecate(f"{before} {word}", f"{before} {new}")
            return new
        return word


class Group(TyperGroup):
    """A noun with several verbs, or the whole command line.

    `default` is the verb of a noun that stands alone, if any; `order` is that of the help.
    """

    default: str = ""
    order: Sequence[str] = ()

    def get_help(self, ctx: Any) -> str:
        """Return the help as one text."""
        return group_help(self, ctx, COMMON)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the default verb in where none is named."""
        if ctx.parent is None:
            _typed[:] = args
        helps = args[:1] in (["--help"], ["-h"])
        if self.default and (not args or (args[0].startswith("-") and not helps)):
            args = [self.default, *args]
        elif ctx.parent is None:
            # Options of every command may stand before the verb too.
            ours = {"--json", "-q", "--quiet", "-v", "--verbose"}
            verb = next((at for at, word in enumerate(args) if not word.startswith("-")), None)
            early = [word for word in args[:verb] if word in ours]
            rest = [word for word in args[:verb] if word not in ours]
            args = [*rest, *args[verb:], *early] if verb is not None else rest
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Find the verb.

        Raises:
            HydraError: there is none of that name; the nearest is named.
        """
        name = args[0]
        if name in self.commands or ctx.resilient_parsing:
            return super().resolve_command(ctx, args)
        import difflib

        valid = [each for each, command in self.commands.items() if not command.hidden]
        path = ctx.command_path
        if name.startswith("-"):
            raise HydraError(f"unknown option `{name}`", f"all of them: {path} --help")
        close = difflib.get_close_matches(name, valid, n=1, cutoff=0.5)
        fixes = [f"did you mean `{path} {each}`?" for each in close]
        raise HydraError(
            f"unknown command `{name}`",
            fixes or [f"all of them: {path} --help"],
            expected="" if close else ", ".join(valid),
        )


def _refuse_json_file(args: Sequence[str], path: str) -> None:
    """Tell who gives --json a file, as some commands wanted it before, how it goes now."""
    for number, word in enumerate(args):
        file = ""
        if word.startswith("--json="):
            file = word.removeprefix("--json=")
        elif word == "--json" and number + 1 < len(args) and args[number + 1].endswith(".json"):
            file = args[number + 1]
        if file:
            before = [each for each in args if each not in (word, file)]
            raise HydraError(
                "--json takes no file any more: it prints to standard output",
                f"{path} {shlex.join(before)} --json > {shlex.quote(file)}".replace("  ", " "),
                where="--json",
                found=file,
            )


def new_app(help: str = "", default: str = "") -> typer.Typer:
    """Return an empty group.

    Args:
        help: its summary, at most 60 characters.
        default: the verb that it stands for when none is named.
    """
    kind = type("DefaultGroup", (Group,), {"default": default}) if default else Group
    return typer.Typer(
        help=help,
        cls=kind,
        no_args_is_help=not default,
        add_completion=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def add(
    app: typer.Typer,
    function: Verb,
    name: str = "",
    *,
    schema: str = "",
    panel: str | None = None,
    brief: bool = False,
    hidden: bool = False,
    replaced_by: str = "",
    examples: Sequence[str] = (),
    more: str = "",
    renamed: Mapping[str, str] | None = None,
    renamed_values: Mapping[str, Mapping[str, str]] | None = None,
) -> None:
    """Make `function` a verb of `app`.

    Args:
        app: the group.
        function: takes typer's parameters; its docstring's first line is the summary.
        name: of the verb; default: the function's.
        schema: name of its JSON document; default: `name`.
        panel: the heading that the main help lists it under.
        brief: whether `-q` prints the result's one line and nothing else.
        hidden: whether help leaves it out.
        replaced_by: the new name of a verb that is on its way out.
        examples: command lines for its help; also shown where an argument is missing.
        more: the page that says more.
        renamed: old options and their new names; "" for one whose value stands alone now.
        renamed_values: of options, old values and the new ones.
    """
    name = name or function.__name__
    hints = get_type_hints(function, include_extras=True)
    parameters = [
        each.replace(annotation=hints[each.name], kind=inspect.Parameter.KEYWORD_ONLY)
        for each in inspect.signature(function).parameters.values()
    ]
    common = _common_options()

    def run(**given: Any) -> None:
        settings = Settings(**{option.name: given.pop(option.name) for option in common})
        if replaced_by:
            _deprecate(f"hydra-mobile {name}", f"hydra-mobile {replaced_by}")
        code = perform(schema or name, settings, brief, lambda: function(**given))
        if code:
            raise typer.Exit(code)

    run.__doc__ = function.__doc__
    run.__signature__ = inspect.Signature([*parameters, *common])  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in (*parameters, *common)}
    members = {
        "examples": tuple(examples),
        "renamed": dict(renamed or {}),
        "renamed_values": dict(renamed_values or {}),
        "more": more,
    }
    app.command(
        name,
        cls=type("Verb", (Command,), members),
        hidden=hidden or bool(replaced_by),
        rich_help_panel=panel,
        context_settings={"help_option_names": ["-h", "--help"]},
    )(run)


def aliases(app: typer.Typer, *old: tuple[str, Verb, str], **options: Any) -> None:
    """Keep old names of verbs: (old name, function, new name)."""
    for name, function, new in old:
        add(app, function, name, schema=new.replace(" ", "-"), replaced_by=new, **options)


def _common_options() -> list[inspect.Parameter]:
    options: list[tuple[str, Any, Any]] = [
        ("json", bool, typer.Option(False, "--json", help="Print one JSON document on stdout.")),
        (
            "quiet",
            bool,
            typer.Option(False, "--quiet", "-q", help="Print results and errors only."),
        ),
        (
            "verbose",
            bool,
            typer.Option(
                False, "--verbose", "-v", help="Print details; the log file always has them."
            ),
        ),
        ("color", When, typer.Option("auto", "--color", metavar="WHEN", help="")),
        ("progress", How, typer.Option("auto", "--progress", metavar="HOW", help="")),
        (
            "log",
            Path | None,
            typer.Option(
                None,
                "--log",
                metavar="FILE",
                parser=FilePlace(LOG),
                help="Write the log here.",
            ),
        ),
    ]
    for _, _, option in options:
        option.rich_help_panel = COMMON
    return [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=option, annotation=kind)
        for name, kind, option in options
    ]
