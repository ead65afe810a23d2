"""How fast each form of training data is read at mix665k's size, and in how much memory.

The same made-up conversations in every form, each read by `hydra-mobile data check` in a process
started for it. Image files are neither written nor looked at: `data_check.py` measures that.

    python -m experiments.benchmarks.data_forms [--records 665000]

Needs the extra `data` and, at full size, 6 GB of disk while it runs.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from experiments.benchmarks.made_mix import MadeMix
from hydra_mobile.core.json_text import dumps
from hydra_mobile.data.json_stream import JsonRecords

RESULT = Path(__file__).with_name("data_forms.json")
_ROWS = 2000


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


def check(path: str) -> dict[str, Any]:
    """Run `data check` on one form in a process started for it."""
    command = [sys.executable, "-W", "ignore", "-m", "hydra_mobile", "data", "check", path]
    done = subprocess.run(
        [*command, "--pictures", "none", "--json"], check=True, stdout=subprocess.PIPE, text=True
    )
    result: dict[str, Any] = json.loads(done.stdout)["result"]
    kept = ("form", "records", "bytes_read", "seconds", "records_per_second", "peak_memory_bytes")
    return {name: result[name] for name in kept}


def measure(folder: Path, records: int) -> dict[str, Any]:
    """Return what reading each form took; forms are removed as they have been read."""
    made = MadeMix(folder, records, {}, words_of_a_long_sample=3000, with_pictures=False)
    made.write()

    def read() -> Iterator[dict[str, Any]]:
        return (place.value for place in JsonRecords(made.file))

    forms = {
        "LLaVA json": lambda path: made.file,
        "LLaVA jsonl": lambda path: write_lines(path.with_suffix(".jsonl"), read()),
        "messages jsonl": lambda path: write_lines(
            path.with_suffix(".jsonl"), map(messages, read())
        ),
        "ShareGPT jsonl": lambda path: write_lines(
            path.with_suffix(".jsonl"), map(sharegpt, read())
        ),
        "messages parquet": lambda path: write_parquet(
            path.with_suffix(".parquet"), map(messages, read())
        ),
        "webdataset tar": lambda path: write_tar(path.with_suffix(".tar"), read()),
    }
    measured = {}
    for name, write in forms.items():
        path = write(folder / "form") or next(folder.glob("form.*"))
        measured[name] = check(str(path))
        print(f"{name}: {measured[name]}", flush=True)
        if path != made.file:
            path.unlink()
    return measured


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=665_000)
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measured = measure(Path(folder), arguments.records)
    for name, result in measured.items():
        if result["records"] != arguments.records:
            raise SystemExit(f"{name}: {result['records']} of {arguments.records} records read")
    value = {
        "records": arguments.records,
        "forms": measured,
        "machine": {"processor": platform.machine(), "cores": os.cpu_count()},
    }
    arguments.out.write_text(dumps(value, indent=2) + "\n")
    for name, result in measured.items():
        print(
            f"{name}: {result['records_per_second']:,.0f} records/s, "
            f"{result['peak_memory_bytes'] / 2**20:,.0f} MiB at the peak"
        )
    print(arguments.out)


if __name__ == "__main__":
    main()
