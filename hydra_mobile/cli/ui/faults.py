"""Any exception as an error with fields, and how an error is printed."""

from __future__ import annotations

import contextlib
import errno
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import typer

from hydra_mobile.cli.ui.layout import named, plain, wrapped
from hydra_mobile.cli.ui.screen import MARKS, Screen
from hydra_mobile.core.errors import HydraError
from hydra_mobile.core.registry import missing_extra

# What other tools call what we call something else.
_KNOWN_ELSEWHERE = {
    "--preset": {
        "bf16": ("a number format of torch", "--preset fp16 has the same size"),
        "bfloat16": ("a number format of torch", "--preset fp16 has the same size"),
        "gguf": (
            "a file format of llama.cpp",
            "hydra-mobile convert MODEL --layout llama.cpp",
        ),
        "q4": ("a name of llama.cpp", "--preset int4 is the nearest"),
        "q8": ("a name of llama.cpp", "--preset int8 is the nearest"),
        "4bit": ("a name of bitsandbytes", "--preset int4 is the nearest"),
        "8bit": ("a name of bitsandbytes", "--preset int8 is the nearest"),
        "w4a16": ("a name of other exporters", "--preset int4 is the nearest"),
        "w8a8": ("a name of other exporters", "--preset int8 is the nearest"),
    },
    "--target": {
        "iphone": ("a device", "--target ios"),
        "apple": ("a maker of devices", "--target ios"),
        "coreml": ("a runtime", "--target ios --runtime coreml"),
        "executorch": ("a runtime", "--target android --runtime executorch"),
        "gguf": (
            "a file format of llama.cpp",
            "hydra-mobile convert MODEL --layout llama.cpp",
        ),
    },
}
# Values of the user's in messages are cut here.
_LONGEST = 60
_MOST_NAMES = 12
# Exceptions of these packages mean that the network, not the program, has a fault.
_NETWORK = ("huggingface_hub", "httpx", "httpcore", "requests", "urllib3", "urllib")


class Terminated(KeyboardInterrupt):
    """SIGTERM: the same as Ctrl-C, with an exit code of its own."""


class _Signals:
    terminated = False


def on_sigterm(number: int, frame: FrameType | None) -> None:
    """Handle SIGTERM."""
    _Signals.terminated = True
    raise Terminated


def interruption() -> KeyboardInterrupt:
    """Return what ended a step that took it as the end of its work, and said so in its result."""
    return Terminated() if _Signals.terminated else KeyboardInterrupt()


def shown(value: object) -> str:
    """Return a value of the user's as messages show it: one line, cut, without control bytes."""
    text = plain(str(value)).replace("\n", "\\n")
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def some(names: Sequence[str]) -> str:
    """Return at most twelve names, and how many more there are."""
    more = len(names) - _MOST_NAMES
    listed = ", ".join(names[:_MOST_NAMES])
    return f"{listed} and {more} more" if more > 0 else listed


def unknown(
    what: str, name: str, valid: Sequence[str], where: str, listing: str = "", prefix: str = ""
) -> HydraError:
    """Return the error for a name that is none of `valid`.

    Args:
        what: for example "target".
        name: what the user gave.
        valid: the right names.
        where: for example "--target".
        listing: the command that lists them all.
        prefix: stands before the nearest name in `fix`, for example "--target ".
    """
    import difflib

    key = re.sub(r"^(q\d).*", r"\1", name.lower())
    elsewhere = _KNOWN_ELSEWHERE.get(where, {}).get(key)
    close = difflib.get_close_matches(name, valid, n=1, cutoff=0.5)
    fixes = []
    if elsewhere:
        fixes.append(elsewhere[1])
        if key[0] == "q" and where == "--preset":
            fixes.append("For llama.cpp itself: hydra-mobile convert MODEL --layout llama.cpp")
    elif close:
        fixes.append(f"did you mean `{prefix}{close[0]}`?")
    if listing:
        fixes.append(f"all of them: {listing}")
    return HydraError(
        f"`{shown(name)}` is not a {what}"
        if what[0] not in "aeiou"
        else f"`{shown(name)}` is not an {what}",
        fixes,
        where=where,
        found=f"{shown(name)}, {elsewhere[0]}" if elsewhere else shown(name),
        expected=some(list(valid)),
    )


def code_of(error: BaseException) -> int:
    """Return the exit code of a command that ended with `error`."""
    if isinstance(error, Terminated):
        return 143
    if isinstance(error, KeyboardInterrupt):
        return 130
    return explained(error).exit_code


class InternalError(HydraError):
    """A defect of ours."""

    exit_code = 1
    default_kind = "internal"


def explained(error: BaseException) -> HydraError:
    """Return `error` as one with fields."""
    if isinstance(error, HydraError):
        return error
    if isinstance(error, typer.TyperException):
        return _usage(error)
    if isinstance(error, MemoryError):
        return HydraError(
            "the memory is full",
            "Close other programs, or use a smaller batch, limit or model.",
            kind="memory",
        )
    if isinstance(error, ModuleNotFoundError):
        # Of a package that no extra brings it raises the error again.
        with contextlib.suppress(ModuleNotFoundError):
            return missing_extra(error)
    elif isinstance(error, OSError) and (found := _system(error)):
        return found
    return InternalError(
        f"a fault in hydra-mobile: {type(error).__name__}: {shown(error)}",
        "Please report it with the log; it has the trace and the versions.",
    )


def _system(error: OSError) -> HydraError | None:
    """Return what the system refused, if the user can do something about it."""
    file = str(error.filename or "")
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return HydraError(
            "the disk is full",
            "Free some space, then the same command again.",
            where=file,
            kind="disk",
        )
    if type(error).__module__.split(".")[0] in _NETWORK or isinstance(error, ConnectionError):
        return HydraError(
            "the network did not answer",
            "Try again; what was downloaded whole stays.",
            found=shown(error),
            kind="network",
        )
    reason = (error.strerror or "").lower()
    if file and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG):
        return HydraError(
            "a file cannot be used",
            "Name another place, or change its permissions.",
            where=file,
            found=reason,
            kind="artifact",
        )
    # Any other file that is not there is our doing, unless the user named it.
    if file and any(Path(word) in (Path(file), *Path(file).parents) for word in _paths()):
        return HydraError(
            "a file cannot be read",
            sibling(Path(file)),
            where=file,
            found=reason,
            kind="artifact",
        )
    return None


def _paths() -> list[str]:
    words = [word.partition("=")[2] or word for word in sys.argv[1:]]
    return [word for word in words if word not in ("", ".", "/")]


def sibling(path: Path) -> str:
    """Return a hint at the nearest name beside a path that does not exist, "" without one."""
    import difflib

    if path.exists() or not path.parent.is_dir():
        return ""
    names = [each.name for each in path.parent.iterdir()]
    close = difflib.get_close_matches(path.name, names, n=1, cutoff=0.6)
    return f"did you mean {path.parent / close[0]}?" if close else ""


# -- typing mistakes -------------------------------------------------------------------------


def _usage(error: typer.TyperException) -> HydraError:
    """Return the parser's complaint as an error with fields."""
    message = error.format_message()
    context: Any = getattr(error, "ctx", None)
    usage = context.get_usage().removeprefix("Usage: ").strip() if context else ""
    seen_in = context.command_path if context else ""
    if name := getattr(error, "option_name", ""):
        if not message.startswith("No such option"):
            return HydraError(_sentence(message), f"{seen_in} --help", where=name)
        valid = (
            sorted(
                option
                for parameter in context.command.get_params(context)
                for option in parameter.opts
                if option.startswith("--") and not getattr(parameter, "hidden", False)
            )
            if context
            else []
        )
        import difflib

        close = difflib.get_close_matches(name, valid, n=1, cutoff=0.5)
        return HydraError(
            f"unknown option `{shown(name)}`",
            [
                *_after_command(context, name),
                *(f"did you mean `{each}`?" for each in close),
                f"all of them: {seen_in} --help",
            ],
            where=seen_in,
        )
    parameter: Any = getattr(error, "param", None)
    if parameter is None:
        return HydraError(_sentence(message), f"usage: {usage}" if usage else "")
    argument = parameter.param_type_name == "argument"
    where = parameter.display_name_raw if argument else max(parameter.opts, key=len)
    if type(error).__name__ == "MissingParameter":
        return HydraError(
            f"{where} is missing",
            [*_example(context), f"usage: {usage}"],
            where=seen_in,
            expected=(parameter.help or "").split(". ")[0].rstrip("."),
        )
    choices = parameter.type_descriptor.choices
    given = _given(error)
    if choices:
        what = where.lstrip("-").replace("-", " ")
        found = given or re.sub(r"^'?(.*?)'? is not one of.*", r"\1", error.message)
        return unknown(
            what, found, [str(c) for c in choices], where, prefix="" if argument else f"{where} "
        )
    return HydraError(f"{where}: {_sentence(error.message)}", f"{seen_in} --help", where=where)


def _after_command(context: Any, option: str) -> list[str]:
    """Say where an option belongs that was written before the command."""
    commands = getattr(getattr(context, "command", None), "commands", {})
    found = any(option in parameter.opts for each in commands.values() for parameter in each.params)
    return [f"write {option} after the command"] if found else []


def _example(context: Any) -> list[str]:
    examples = getattr(context.command, "examples", ())
    return [f"for example: {examples[0]}"] if examples else []


def _given(error: typer.TyperException) -> str:
    found = re.search(r"'(.*?)' is not", error.message, re.DOTALL)
    return found.group(1) if found else ""


def _sentence(message: str) -> str:
    text = message.strip().rstrip(".")
    return text[:1].lower() + text[1:]


# -- printing --------------------------------------------------------------------------------


def print_error(error: HydraError, at: Screen, log: Path | None) -> None:
    """Print an error on standard error: what, then its fields, each on lines of its own."""
    at.gap("err")
    failed = error.kind == "check_failed"
    head = f"{MARKS['bad']} {error.what}" if failed else f"error: {error.what}"
    at.err(head, "bad" if failed else "", always=True)
    fields = error.fields()
    for name, text in fields.items():
        _field(name, text, at)
    if error.fixes:
        _field("fix", "\n".join(error.fixes), at)
    if error.kept:
        _field("kept", error.kept, at)
    if log:
        _field("log", str(log), at)


def _field(name: str, text: str, at: Screen) -> None:
    for each in named(name, text, at.width, name_width=10):
        at.err(each, always=True)


def print_interrupted(code: int, at: Screen, command: Sequence[str]) -> None:
    """Say what was kept, and what to type to go on."""
    at.gap("err")
    kept = at.kept or "Nothing half-written was kept."
    word = "Stopped by SIGTERM." if code == 143 else "Interrupted."
    for text in wrapped(f"{word} {kept}", at.width):
        at.err(text, always=True)
    going_on = at.goes_on or (shlex.join(["hydra-mobile", *command]),)
    at.err("To go on:", always=True)
    for each in going_on:
        at.err(f"  {each}", always=True)
