"""Tasks in processes of their own, and what they have answered so far."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.inference_speed.engines.base import Form
from experiments.inference_speed.protocol import Protocol
from hydra_mobile.core.files import sha256_of, write_json
from hydra_mobile.core.json_text import dumps

#: The merged folder's file that says which model it is.
WEIGHTS = "model.safetensors"
_MEASURED = "measured.jsonl"


class Session:
    """Tasks in processes of their own, and what they have answered so far."""

    def __init__(
        self, merged: Path, work: Path, bundles: list[Path], protocol: Protocol, export: bool
    ) -> None:
        self.work, self._merged, self._bundles = work, merged, bundles
        self._export = export
        self.protocol = protocol
        work.mkdir(parents=True, exist_ok=True)
        self.weights = sha256_of(merged / WEIGHTS)
        identity = [self.weights, protocol.to_dict()]
        #: Answers count for this model and protocol alone.
        self.key = hashlib.sha256(dumps(identity).encode()).hexdigest()[:16]
        self._kept: dict[str, Any] = {}
        file = work / _MEASURED
        for line in file.read_text().splitlines() if file.is_file() else ():
            # A line that a killed process has not finished.
            if line.endswith("}"):
                entry = json.loads(line)
                self._kept[entry["key"]] = entry["result"]

    def known(self, *parts: object) -> dict[str, Any] | None:
        """Return what was kept under these parts; None: nothing."""
        found: dict[str, Any] | None = self._kept.get(self._name(parts))
        return found

    def forget(self, *parts: object) -> None:
        """Let a task be done again."""
        self._kept.pop(self._name(parts), None)

    def ask(self, task: str, form: Form, threads: int, *parts: object) -> dict[str, Any]:
        """Return a task's answer, from an earlier sitting where there is one."""
        name = (task, form.name, threads, *parts)
        kept = self.known(*name)
        if kept is None:
            kept = self._run(task, form, threads)
            if "failed" not in kept:
                self._kept[self._name(name)] = kept
                with (self.work / _MEASURED).open("a") as file:
                    file.write(dumps({"key": self._name(name), "result": kept}) + "\n")
        return kept

    def _name(self, parts: Sequence[object]) -> str:
        return " ".join(map(str, (self.key, *parts)))

    def _run(self, task: str, form: Form, threads: int) -> dict[str, Any]:
        request = self.work / "request.json"
        write_json(
            request,
            {
                "form": form.name,
                "threads": threads,
                "merged": str(self._merged.absolute()),
                "weights_sha256": self.weights,
                "work": str(self.work.absolute()),
                "bundles": [str(folder.absolute()) for folder in self._bundles],
                "export": self._export,
                "protocol": self.protocol.to_dict(),
            },
        )
        command = [sys.executable, "-W", "ignore", "-m", "experiments.inference_speed.measure"]
        done = subprocess.run(
            [*command, task, str(request)],
            capture_output=True,
            text=True,
            env=threads_environment(threads),
        )
        lines = done.stdout.strip().splitlines()
        if done.returncode or not lines or not lines[-1].startswith("{"):
            last = (done.stderr.strip().splitlines() or ["no message"])[-1][:300]
            return {"failed": f"the process ended with code {done.returncode}: {last}"}
        answer: dict[str, Any] = json.loads(lines[-1])
        return answer


def threads_environment(threads: int) -> dict[str, str]:
    """Return an environment in which OpenMP, whoever uses it, has so many threads."""
    return os.environ | {"OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"}
