"""The folder of a run: what it was asked, its metrics, its last checkpoint, and in the end the model."""

from __future__ import annotations

import errno
import json
import os
import re
import tempfile
import zipfile
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from tokenizers import Tokenizer
from torch import nn
from torch.optim import Optimizer
from transformers import AlignModel

from align_data import __version__
from align_data.common.errors import OutputError, TrainError
from align_data.common.secrets import mask
from align_data.models.pytorch.quiet import quiet
from align_data.storage.confined import open_file
from align_data.storage.store import Store, writing
from align_data.train.model import TOKENIZER
from align_data.train.settings import TrainSettings
from align_data.train.shards import Shards

RUN, METRICS, CHECKPOINT, TRAINED = "run.json", "metrics.jsonl", "checkpoint.pt", "trained.json"
_COMPUTES = 2
"""Raised where the same settings come to other numbers, so that no run goes on as it was not begun."""
_SAVING = ".model-"
"""How the folder is called that a model is saved to first."""
VERSION = f"{__version__}+{_COMPUTES}"
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT


class Position(NamedTuple):
    """Where a run is."""

    step: int = 0
    epoch: int = 0
    batch: int = 0
    """Batches of the epoch that have been used."""
    seconds: float = 0.0
    waiting: float = 0.0
    """Seconds of them that were spent waiting for data."""
    first_loss: float = float("nan")


class Folder:
    """Where a run is written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._store = Store(path)

    def begin(self, settings: TrainSettings, shards: Shards, writes: bool) -> dict[str, Any] | None:
        """Return what a run of the same came to, if it has ended; OutputError if the folder is another run's."""
        chosen = settings.model_dump()
        request = {"settings": chosen, "shards": shards.identity, "version": VERSION}
        run = self._json(RUN)
        for name in self._store.names() if writes else ():
            if re.fullmatch(rf"{re.escape(_SAVING)}[a-z0-9_]{{8}}", name):
                self._store.clear(name, re.compile(".+"))  # of a run that was killed at its end
        if run is None and [name for name in self._store.names() if not name.startswith(".")]:
            raise OutputError(f"{self.path} is not empty, and not a training run's folder: choose another --out")
        before = run.get("settings") if run else {}
        if not isinstance(before, dict):
            raise self.broken(RUN, TypeError("its settings are not what a run writes"))
        differs = [key for key in chosen if run and before.get(key) != chosen[key]]
        differs += [key for key in ("shards", "version") if run and run.get(key) != request[key]]
        if differs:
            raise OutputError(
                f"{self.path} holds a run with other {', '.join(differs)}: choose another --out, or remove it "
                "to start over"
            )
        if writes:
            self._store.write_bytes(RUN, json.dumps({**request, "from": mask(shards.store.url)}, indent=1).encode())
        return self._json(TRAINED)

    def lock(self) -> AbstractContextManager[None]:
        """Keep other processes from training here; DatasetError if one does."""
        return self._store.lock()

    def _json(self, name: str) -> dict[str, Any] | None:
        content = self._store.read_bytes(name)
        try:
            return None if content is None else dict(json.loads(content))
        except (ValueError, TypeError, RecursionError) as error:
            raise self.broken(name, error) from error

    def broken(self, name: str, error: Exception) -> TrainError:
        """Return the error for a file that is not as a run writes it."""
        return TrainError(f"{self.path / name} cannot be read: {error}; remove {self.path} to start over")

    def tokenizer(self) -> Tokenizer | None:
        """Return the tokenizer that the run has learnt, if it has."""
        content = self._store.read_bytes(TOKENIZER)
        try:
            return None if content is None else Tokenizer.from_str(content.decode())
        except Exception as error:  # the library has no narrower one
            raise self.broken(TOKENIZER, error) from error

    def save_tokenizer(self, tokenizer: Tokenizer) -> None:
        """Keep the tokenizer."""
        self._store.write_bytes(TOKENIZER, tokenizer.to_str().encode())

    def note(self, line: dict[str, Any]) -> None:
        """Add a line of metrics."""
        path = self.path / METRICS
        with writing(path), os.fdopen(open_file(self._store.root, METRICS, _APPEND), "a") as file:
            if os.fstat(file.fileno()).st_nlink > 1:
                raise OutputError(
                    f"{path} is hard-linked under another name, which would change too: replace it by a copy"
                )
            file.write(json.dumps(line) + "\n")

    def save(self, position: Position, model: nn.Module, objective: nn.Module, steps: Optimizer) -> None:
        """Keep all that the run needs to go on from here."""
        state = {
            "position": tuple(position),
            "model": model.state_dict(),
            "objective": objective.state_dict(),
            "optimizer": steps.state_dict(),
        }
        with self._store.create(CHECKPOINT) as path:
            try:
                torch.save(state, path)
            except RuntimeError as error:  # how PyTorch says that a disk is full
                raise OSError(errno.ENOSPC, str(error)) from error

    def load(self, model: nn.Module, objective: nn.Module, steps: Optimizer) -> Position:
        """Restore model, objective and optimizer from the last checkpoint; start from the beginning without one."""
        path = self.path / CHECKPOINT
        if not self._store.exists(CHECKPOINT):
            self._keep_metrics(0)
            return Position()
        try:
            with zipfile.ZipFile(path) as archive:  # PyTorch does not look at the checksums
                if (broken := archive.testzip()) is not None:
                    raise ValueError(f"{broken} is damaged")
            state = torch.load(path, map_location="cpu", weights_only=True)
            model.load_state_dict(state["model"])
            objective.load_state_dict(state.get("objective", {}))  # not in checkpoints from before there were several
            steps.load_state_dict(state["optimizer"])
            position = Position(*state["position"])
        except Exception as error:  # there is no end to what a damaged file can bring about
            raise TrainError(f"{path} cannot be read: {error}; remove it to start over") from error
        self._keep_metrics(position.step)
        return position

    def _keep_metrics(self, step: int) -> None:
        """Take away lines of steps that will be made again."""
        try:
            lines = (self._store.read_bytes(METRICS) or b"").decode().splitlines(keepends=True)
            past = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise self.broken(METRICS, error) from error
        if len(past) < len(lines):
            self._store.write_bytes(METRICS, "".join(past).encode())

    def finish(self, model: AlignModel, trained: dict[str, Any]) -> None:
        """Write the model and then the run's result, and remove the checkpoint."""
        with writing(self.path), quiet(), tempfile.TemporaryDirectory(prefix=_SAVING, dir=self.path) as folder:
            try:
                model.save_pretrained(folder)
            except SafetensorError as error:  # how it says that a disk is full
                raise OSError(errno.ENOSPC, str(error)) from error
            for file in Path(folder).iterdir():
                with self._store.create(file.name) as place:
                    file.replace(place)
        self._store.write_bytes(TRAINED, (json.dumps(trained, indent=1) + "\n").encode())
        self._store.remove(CHECKPOINT)
