"""The data of a run: token rows, vision features, batches and the loss of each stage.

Stages may differ in template and in how a picture is fitted; what they have in common they share.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from hydra_mobile.config import StageConfig, TrainConfig
from hydra_mobile.core.errors import ConfigError, DataError
from hydra_mobile.core.progress import Log, Progress, Stage
from hydra_mobile.data.check_pictures import unusable
from hydra_mobile.data.llava import iter_llava
from hydra_mobile.models.preprocessing import ImagePreprocessing
from hydra_mobile.models.processor import MobileVLMProcessor
from hydra_mobile.training.batch_stream import BatchStream
from hydra_mobile.training.data.packing import Rows
from hydra_mobile.training.data.token_cache import open_rows
from hydra_mobile.training.features import VisionFeatures
from hydra_mobile.training.loop import Objective
from hydra_mobile.training.machine import peak_memory_bytes
from hydra_mobile.training.setup import TrainingModel

#: The rows that are held out, among those of the stages.
VALIDATION = "validation"


def stage_files(config: TrainConfig) -> dict[str, Path]:
    """Return the data file of each stage that has one, and that of the validation.

    Raises:
        ConfigError: stage II has none.
    """
    if not config.data.stage2:
        raise ConfigError(
            "`data.stage2` is empty.", "Name training data, for example data.stage2=train.json"
        )
    files = {"stage1": config.data.stage1, "stage2": config.data.stage2}
    if isinstance(config.data.validation, str):
        files[VALIDATION] = config.data.validation
    return {name: Path(file) for name, file in files.items() if file}


class RunData:
    """Rows, features, batches and losses of a run's stages.

    Args:
        setup: the model on its device, the processors of the stages.
        progress: shows what takes long.
        log: receives a line on what was left out.

    Raises:
        DataError: a data file or a record in it is not as expected.
    """

    def __init__(self, setup: TrainingModel, progress: Progress, log: Log) -> None:
        self._setup = setup
        self._config = setup.config
        self._progress = progress
        self._files = stage_files(self._config)
        # The first process tokenizes, the others find the rows on disk.
        self.rows: dict[str, Rows] = {}
        setup.processes.first_alone(self._open)
        self._left_out: set[Path] = set()
        for name in self.rows:
            self._look_for_pictures(name)
        if isinstance(self._config.data.validation, int | float):
            self.rows["stage2"], self.rows[VALIDATION] = self._held_out(self.rows["stage2"])
        for name, rows in self.rows.items():
            _say_what_is_missing(name, rows, log)
        setup.fit_attention(max(int(rows.lengths.max()) for rows in self.rows.values()))
        self._features: dict[ImagePreprocessing, VisionFeatures] = {}

    def _held_out(self, rows: Rows) -> tuple[Rows, Rows]:
        if len(rows) < 2:
            raise DataError(
                f"{self._files['stage2']} has {len(rows)} row: none can be held out.",
                "Leave data.validation out, or name a file for it.",
            )
        return rows.split(float(self._config.data.validation), self._config.seed)

    def _processor(self, name: str) -> MobileVLMProcessor:
        return self._setup.processors["stage2" if name == VALIDATION else name]

    def _open(self) -> None:
        for name, file in self._files.items():
            self._open_stage(name, file)

    def _open_stage(self, name: str, file: Path) -> None:
        data = self._config.data
        device = self._setup.accelerator.device
        with contextlib.ExitStack() as stack:
            bar: Stage | None = None
            last = 0

            def show(done: int, total: int, what: str) -> None:
                nonlocal bar, last
                if bar is None:
                    # Only now: rows that are on disk already need no bar.
                    bar = stack.enter_context(self._progress.stage(what, total, 0, "MB"))
                bar.advance(done, done - last, "", peak_memory_bytes(device))
                last = done

            self.rows[name] = open_rows(
                file,
                Path(data.images) if data.images else None,
                self._processor(name),
                share_prefix=data.share_prefix,
                questions_per_row=data.questions_per_row,
                max_length=data.max_length,
                over_length=data.over_length,
                bad_records=data.bad_records,
                columns=data.columns,
                progress=show,
            )

    def _look_for_pictures(self, name: str) -> None:
        """Find the pictures of a stage that are missing or damaged, before a step is taken.

        Raises:
            DataError: there are some, and `data.bad_pictures` is "stop"; or all are.
        """
        rows, processes = self.rows[name], self._setup.processes
        # One process looks: what others see of a shared disk may lag behind.
        found = self._decode_all(rows.images()) if processes.main else None
        bad: dict[int, str] = processes.gather_objects(found)[0]
        if not bad:
            return
        images = rows.images()
        left = rows.without([rows.numbers[place] for place in bad])
        if self._config.data.bad_pictures == "stop" or not len(left):
            shown = [
                f"{why.rstrip('.')} (record {rows.record_of(images[place])!r})"
                for place, why in list(bad.items())[:3]
            ]
            raise DataError(
                f"{self._files[name]}: {len(bad):,} of {len(images):,} images cannot be used: "
                f"{'; '.join(shown)}{'; ...' if len(bad) > 3 else ''}.",
                "Check data.images, the folder that the paths are relative to, or leave the "
                "conversations about them out with data.bad_pictures=drop.",
            )
        self.rows[name] = left
        self._left_out.update(images[place] for place in bad)

    def _decode_all(self, images: Sequence[Path]) -> dict[int, str]:
        with contextlib.ExitStack() as stack:
            bar: Stage | None = None
            last = 0

            def show(done: int, total: int) -> None:
                nonlocal bar, last
                if bar is None:
                    # Only now: what is remembered needs no bar.
                    what = "checking images"
                    bar = stack.enter_context(self._progress.stage(what, total, 0, "images"))
                bar.advance(done, done - last, "")
                last = done

            return unusable(images, self._config.runtime.workers, show)

    def prepare(self) -> None:
        """Compute the vision features that are not on disk, if they are kept there.

        Raises:
            DataError: a picture is missing or corrupt.
        """
        for name, rows in self.rows.items():
            # The first process computes, the others find everything on disk.
            work = partial(self._compute, self.features(name), rows)
            self._setup.processes.first_alone(work)

    def _compute(self, features: VisionFeatures, rows: Rows) -> None:
        if not self._config.runtime.vision_cache:
            return
        pictures = rows.images()
        device = self._setup.accelerator.device
        with self._progress.stage("vision features", len(pictures), 0, "images") as bar:
            last = 0

            def advance(done: int, total: int) -> None:
                nonlocal last
                bar.advance(done, done - last, "", peak_memory_bytes(device))
                last = done

            features.prepare(pictures, advance)

    def features(self, stage: str) -> VisionFeatures:
        """Return the features of a stage's pictures."""
        recipe = self._processor(stage).image
        if recipe not in self._features:
            runtime = self._config.runtime
            self._features[recipe] = VisionFeatures(
                self._setup.model,
                recipe,
                runtime.vision_cache,
                runtime.workers,
                self.rows[stage].record_of,
            )
        return self._features[recipe]

    def objective(self, stage: str) -> Objective:
        """Return the loss of a stage's rows."""
        return Objective(self._setup.accelerator, self.features(stage))

    def stream(self, stage: str) -> BatchStream:
        """Return this process's micro-batches of a stage."""
        config: StageConfig = getattr(self._config, stage)
        processes = self._setup.processes
        return BatchStream(
            self.rows[stage],
            config,
            self._config.seed,
            processes.index,
            processes.count,
            self._config.data.group_by_modality,
        )

    def captions(self) -> Sequence[tuple[Path, str]]:
        """Return pictures and captions of stage I, read again from its file.

        Raises:
            DataError: no record has one picture.
        """
        images = Path(self._config.data.images) if self._config.data.images else None
        found = [
            (record.image, record.turns[0].answer)
            for record in iter_llava(self._files["stage1"], images, self._config.data.columns)
            if record.image is not None and record.image not in self._left_out
        ]
        if not found:
            raise DataError(
                f"{self._files['stage1']} has no record with one image to align the projector on.",
                "Leave the alignment out with stage1.align_steps=0, or give data with captions.",
                where="data.stage1",
            )
        return found


def _say_what_is_missing(stage: str, rows: Rows, log: Log) -> None:
    """Log how many conversations of a stage are not trained as they are in the file."""
    counts = {
        "cut at data.max_length": rows.truncated,
        "longer than data.max_length and left out": rows.dropped,
        "malformed and left out (`hydra-mobile data check` names them)": rows.malformed,
        "left out because their image is missing or damaged": rows.pictureless,
        "left out because LLaVA's mask leaves nothing of them to learn": rows.unmatched,
    }
    said = [f"{count:,} {what}" for what, count in counts.items() if count]
    if said:
        log(f"{stage}: of the conversations {', '.join(said)}")
