"""How fast each form of training data is read at mix665k's size, and in how much memory.

The same made-up conversations in every form, each read by `hydra-mobile data check` in a process
started for it, at a tenth of the size and at the whole. Image files are neither written nor looked
at: `data_check.py` measures that. The data set of the hub is a local repository in its place.

    python -m experiments.benchmarks.data_forms [--records 66500 665000]

Needs the extra `data` and, at full size, 8 GB of disk while it runs. What is measured already is
not measured again.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Container, Iterator, Mapping
from pathlib import Path
from typing import Any

from experiments.benchmarks.made_mix import MadeMix
from experiments.shared.markdown import table
from hydra_mobile.core.json_text import dumps
from hydra_mobile.data.json_stream import JsonRecords

RESULT = Path(__file__).with_name("data_forms.json")
_ROWS = 2000
#: The command line, for which `made/mix` at the hub is a folder.
_AT_THE_HUB = """
import sys
from pathlib import Path
import datasets
from hydra_mobile.cli.main import main
real, folder = datasets.load_dataset, Path(sys.argv.pop(1))
datasets.load_dataset = lambda name, config, *, split, revision: real(
    str(folder), split=split, cache_dir=str(folder.with_name("cache"))
)
main()
"""


def messages(record: dict[str, Any]) -> dict[str, Any]:
    """Return a LLaVA record as OpenAI's messages."""
    roles = {"human": "user", "gpt": "assistant"}
    turns = [{"role": roles[t["from"]], "content": t["value"]} for t in record["conversations"]]
    images = [record["image"]] if "image" in record else []
    return {"id": record["id"], "messages": turns, "images": images}


def sharegpt(record: dict[str, Any]) -> dict[str, Any]:
    """Return a LLaVA record in ShareGPT's dialect with a list of images."""
    turns = [
        {"from": t["from"].replace("human", "user"), "value": t["value"]}
        for t in record["conversations"]
    ]
    images = {"images": [record["image"]]} if "image" in record else {}
    return {"id": record["id"], "conversations": turns, **images}


def write_lines(path: Path, records: Iterator[dict[str, Any]]) -> None:
    with path.open("w") as handle:
        handle.writelines(dumps(record, ensure_ascii=False) + "\n" for record in records)


def write_parquet(path: Path, records: Iterator[dict[str, Any]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    turn = pa.struct([("role", pa.string()), ("content", pa.string())])
    schema = pa.schema(
        [
            ("id", pa.string()),
            ("messages", pa.list_(turn)),
            ("images", pa.list_(pa.string())),
        ]
    )
    with pq.ParquetWriter(path, schema) as writer:
        rows: list[dict[str, Any]] = []
        for record in records:
            rows.append(record)
            if len(rows) == _ROWS:
                writer.write_table(pa.Table.from_pylist(rows, schema=schema))
                rows = []
        if rows:
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))


def write_tar(path: Path, records: Iterator[dict[str, Any]]) -> None:
    """Write samples of a record and its image of a few bytes, as webdataset does."""
    with tarfile.open(path, "w") as tar:
        for number, record in enumerate(records):
            members = {"json": dumps(record, ensure_ascii=False).encode()}
            if "image" in record:
                # Names of images must not be read as one image.
                members["jpg"] = b"\xff\xd8" + record["image"].encode()
            for kind, data in members.items():
                member = tarfile.TarInfo(f"{number:09d}.{kind}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
            tar.members = []  # type: ignore[attr-defined]


def write_repository(folder: Path, records: Iterator[dict[str, Any]]) -> None:
    """Write what a data set's repository has, and the cache that downloading it leaves."""
    import datasets

    folder.mkdir()
    write_lines(folder / "train.jsonl", records)
    datasets.load_dataset(str(folder), split="train", cache_dir=str(folder.with_name("cache")))


def check(path: Path) -> dict[str, Any]:
    """Run `data check` on one form in a process started for it."""
    command = [sys.executable, "-W", "ignore", "-m", "hydra_mobile"]
    named = str(path)
    if path.is_dir():
        command = [sys.executable, "-W", "ignore", "-c", _AT_THE_HUB, str(path)]
        named = "made/mix"
    command += ["data", "check", named, "--pictures", "none", "--json"]
    # Where `made/mix` is no path.
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=path.parent)
    result: dict[str, Any] = json.loads(done.stdout)["result"]
    kept = ("form", "records", "bytes_read", "seconds", "records_per_second", "peak_memory_bytes")
    return {name: result[name] for name in kept}


def measure(folder: Path, records: int, done: Container[str]) -> Iterator[tuple[str, Any]]:
    """Yield what reading each form took, but those that are done; forms are removed again."""
    made = MadeMix(folder, records, {}, words_of_a_long_sample=3000, with_pictures=False)
    if all(name in done for name in FORMS):
        return
    made.write()

    def read() -> Iterator[dict[str, Any]]:
        return (place.value for place in JsonRecords(made.file))

    for name in (name for name in FORMS if name not in done):
        suffix, shape, write = FORMS[name]
        path = made.file
        if write is not None:
            path = folder / f"form{suffix}"
            write(path, map(shape, read()))
        result = check(path)
        if result["records"] != records:
            raise SystemExit(f"{name}: {result['records']} of {records} records read")
        yield name, result
        for other in (folder / "form", folder / "cache"):
            shutil.rmtree(other, ignore_errors=True)
        if path.is_file() and path != made.file:
            path.unlink()


Shape = Callable[[dict[str, Any]], dict[str, Any]]
Write = Callable[[Path, Iterator[dict[str, Any]]], None]
#: Form -> ending of the file, what a record becomes, what writes it; None: as it is made.
FORMS: dict[str, tuple[str, Shape, Write | None]] = {
    "LLaVA json": (".json", dict, None),
    "LLaVA jsonl": (".jsonl", dict, write_lines),
    "messages jsonl": (".jsonl", messages, write_lines),
    "ShareGPT jsonl": (".jsonl", sharegpt, write_lines),
    "messages parquet": (".parquet", messages, write_parquet),
    "ShareGPT webdataset tar": (".tar", dict, write_tar),
    "messages hub data set": ("", messages, write_repository),
}


def render(value: Mapping[str, Any]) -> str:
    """Return rate and memory of each form, at every size that was measured."""
    sizes = [str(size) for size in value["sizes"]]
    titles = ["form", "MB", "records/s", *(f"MiB at {int(size):,} records" for size in sizes)]
    lines = []
    for name, by_size in value["forms"].items():
        last = by_size[max(by_size, key=int)]
        peaks = [
            f"{by_size[size]['peak_memory_bytes'] / 2**20:.0f}" if size in by_size else ""
            for size in sizes
        ]
        megabytes = f"{last['bytes_read'] / 1e6:,.0f}"
        lines.append([name, megabytes, f"{last['records_per_second']:,.0f}", *peaks])
    return table(titles, lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, nargs="+", default=[66_500, 665_000])
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args()
    value: dict[str, Any] = {
        "sizes": sorted(arguments.records),
        "forms": {},
        "machine": {"processor": platform.machine(), "cores": os.cpu_count()},
    }
    if arguments.out.is_file():
        value["forms"] = json.loads(arguments.out.read_text())["forms"]
    for records in value["sizes"]:
        done = {name for name, sizes in value["forms"].items() if str(records) in sizes}
        with tempfile.TemporaryDirectory() as folder:
            for name, result in measure(Path(folder), records, done):
                value["forms"].setdefault(name, {})[str(records)] = result
                arguments.out.write_text(dumps(value, indent=2) + "\n")
    print(render(value))
    print(arguments.out)


if __name__ == "__main__":
    main()
