"""`hydra-mobile config ...`: lists, shows, checks, copies and explains training configs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from hydra_mobile.cli import ui
from hydra_mobile.cli.options import Overrides, complete_configs, complete_keys
from hydra_mobile.cli.ui.faults import unknown
from hydra_mobile.core.errors import CheckFailed, ConfigError, HydraError

app = ui.new_app("List, show, check or copy training configs.", default="list")

Source = Annotated[
    str,
    typer.Argument(
        metavar="NAME|FILE",
        help="Training config, built in or a file",
        autocompletion=complete_configs,
    ),
]


def list_() -> ui.Result:
    """List the built-in training configs."""
    from hydra_mobile.config import load_config
    from hydra_mobile.configs import config_names, config_summary

    rows, data = [], []
    for name in config_names():
        settings = load_config(name)
        about = config_summary(name)
        rows.append((name, settings.base, settings.ranks.policy, about))
        data.append(
            {"name": name, "base": settings.base, "ranks": settings.ranks.policy, "about": about}
        )
    columns = [ui.Column("name"), ui.Column("base", drop=1), ui.Column("ranks")]
    ui.table([*columns, ui.Column("what it is", prose=True, least=48)], rows)
    return ui.Result(
        {"configs": data},
        next=[
            "hydra-mobile config show emojiqa-smol",
            "hydra-mobile config copy emojiqa-smol my.yaml",
        ],
    )


def show(
    source: Source,
    overrides: Overrides = None,
    sources: Annotated[
        bool, typer.Option("--sources", help="Say where each value comes from")
    ] = False,
    all_keys: Annotated[
        bool, typer.Option("--all", help="Every key, also those at their default")
    ] = False,
) -> ui.Result:
    """Show a config as training would use it."""
    import yaml

    from hydra_mobile.cli.config_keys import keys, settings_of
    from hydra_mobile.configs import find_config

    settings = settings_of(source, overrides or ()).to_dict()
    origins = _origins(find_config(source), overrides or [])
    shown: dict[str, Any] = {}
    left_out = 0
    lines = []
    section = ""
    for key in keys():
        value: Any = settings
        for part in key.name.split("."):
            value = value[part]
        origin = origins.get(key.name, "default")
        if not all_keys and origin == "default":
            left_out += 1
            continue
        shown[key.name] = {"value": value, "from": origin}
        *parents, last = key.name.split(".")
        if parents and ".".join(parents) != section:
            section = ".".join(parents)
            lines += [
                f"{'  ' * at}{name}:"
                for at, name in enumerate(parents)
                if f"{'  ' * at}{name}:" not in lines
            ]
        text = yaml.safe_dump(value, default_flow_style=True).split("\n")[0]
        indented = f"{'  ' * len(parents)}{last}: {text}"
        lines.append(f"{indented:<40} # {origin}" if sources else indented)
    for text in lines:
        ui.line(text)
    if left_out:
        ui.note(f"{left_out} more keys have their defaults: --all")
    ui.note("What a key means: hydra-mobile config explain ranks.policy")
    return ui.Result({"source": source, "settings": shown, "resolved": settings})


def _origins(file: Path, overrides: list[str]) -> dict[str, str]:
    """Return where each key that is set gets its value."""
    import yaml

    from hydra_mobile.configs import FOLDER, find_config

    chain: list[Path] = []
    while True:
        chain.append(file)
        values = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
        other = values.get("extends", "")
        if not other:
            break
        beside = file.parent / str(other)
        file = beside if beside.is_file() else find_config(str(other))
    found: dict[str, str] = {}
    for each in reversed(chain):
        values = yaml.safe_load(each.read_text(encoding="utf-8")) or {}
        values.pop("extends", "")
        name = each.stem if each.parent == FOLDER else str(each)
        found |= dict.fromkeys(_flat(values), name)
    found |= {override.partition("=")[0]: "command line" for override in overrides}
    return found


def _flat(values: dict[str, Any], prefix: str = "") -> list[str]:
    names: list[str] = []
    for key, value in values.items():
        inside = isinstance(value, dict)
        names += _flat(value, f"{prefix}{key}.") if inside else [f"{prefix}{key}"]
    return names


def check(source: Source, overrides: Overrides = None) -> ui.Result:
    """Check a config without training.

    The exit code is 3 for a fault.
    """
    from hydra_mobile.cli.config_keys import settings_of
    from hydra_mobile.configs import find_config

    find_config(source)  # a name that is none is a mistake on the command line, no finding
    try:
        settings = settings_of(source, overrides or ())
    except HydraError as error:
        failed = CheckFailed(
            error.what,
            error.fixes,
            where=error.where or source,
            found=error.found,
            expected=error.expected,
        )
        return ui.Result({"source": source, "passed": False}, failed=failed)
    missing = [
        f"data.{key}: {file} does not exist"
        for key in ("stage1", "stage2")
        if (file := getattr(settings.data, key)) and not Path(file).is_file()
    ]
    for text in missing:
        ui.warn(text)
    ui.verdict(
        True,
        f"{source} is a training config: base {settings.base}, "
        f"ranks {settings.ranks.policy}, output {settings.output}.",
    )
    return ui.Result(
        {"source": source, "passed": True, "missing": missing},
        next=[f"hydra-mobile train --config {source} --dry-run"],
    )


def copy(
    source: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="Built-in training config", autocompletion=complete_configs
        ),
    ],
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="Where to; default: NAME.yaml")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there")] = False,
) -> ui.Result:
    """Copy a built-in config to start your own from."""
    from hydra_mobile.configs import config_file
    from hydra_mobile.core.files import write_atomically

    original = config_file(source)
    made = file or Path(f"{original.stem}.yaml")
    if made.exists() and not force:
        raise ConfigError(
            f"{made} is there already",
            ["another name: hydra-mobile config copy " + f"{source} FILE", "--force replaces it"],
            where="FILE",
            found=str(made),
            expected="a new file",
        )
    with write_atomically(made) as temporary:
        temporary.write_text(original.read_text(encoding="utf-8"), encoding="utf-8")
    ui.line(str(made))
    return ui.Result(
        {"path": made, "source": source},
        brief=str(made),
        next=[f"hydra-mobile config check {made}", f"hydra-mobile train --config {made} --dry-run"],
    )


def explain(
    key: Annotated[
        str,
        typer.Argument(
            metavar="[KEY]",
            help="Key or section, for example stage2.learning_rate; without one: all",
            autocompletion=complete_keys,
        ),
    ] = "",
) -> ui.Result:
    """Say what the keys of a config mean, and their defaults."""
    from hydra_mobile.cli.config_keys import keys

    asked = key.rstrip("=.")
    found = [
        each
        for each in keys()
        if not asked
        or each.name == asked
        or each.name.startswith(f"{asked}.")
        or each.name.endswith(f".{asked}")
    ]
    if not found:
        raise unknown(
            "key", key, [each.name for each in keys()], "KEY", "hydra-mobile config explain"
        )
    for each in found:
        ui.line(f"{each.name}   {each.kind}; default {each.default!r}")
        if len(found) < 20 or ui.screen().settings.verbose:
            ui.text(each.meaning)
    return ui.Result(
        {
            "keys": [
                {"name": k.name, "type": k.kind, "default": k.default, "meaning": k.meaning}
                for k in found
            ]
        }
    )


ui.add(app, list_, "list", schema="config-list")
ui.add(
    app, show, schema="config-show", examples=["hydra-mobile config show emojiqa-smol --sources"]
)
ui.add(app, check, schema="config-check", examples=["hydra-mobile config check my.yaml"])
ui.add(app, copy, schema="config-copy", brief=True)
ui.add(app, explain, schema="config-explain")
