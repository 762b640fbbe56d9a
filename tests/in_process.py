"""Stand-ins for child processes, in this one: they take as long to start as many images to be looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import pytest

from align_data.common.workers import Child, frames, trial
from align_data.decoding import decoder, worker
from align_data.decoding.augmenting import augmenter
from align_data.decoding.augmenting import worker as augmenting
from align_data.decoding.preparing import preparer
from align_data.decoding.preparing import worker as preparing
from align_data.models.onnx import folder
from align_data.models.onnx import trial as encoder_trial


def wired(value: Any) -> Any:
    """Return a value as it is on the other side of a pipe."""
    return frames.value(frames.frame(value)[frames.LENGTH.size :], bounded=False)


def child_of(handler: Callable[[Any], Any]) -> type:
    """Return what stands for `Child` and does in this process what `handler` does in another."""

    class Here:
        def __init__(self, _: str, setup: Any, **options: Any) -> None:
            self._setup, self._handle = wired(setup), None

        def begin(self, seconds: float | None = None) -> None:
            self._handle = self._handle or handler(self._setup)

        def ask(self, task: Any, seconds: float | None = None) -> Iterator[Any]:
            self.begin()
            sent: list[Any] = []
            self._handle(wired(task), sent.append)
            yield from map(wired, sent)

        def ask_once(self, task: Any, make: Callable[[Any], Any], seconds: float) -> Any:
            (said,) = self.ask(task)
            return make(said)

        def ask_each(self, task: Any, makers: Sequence[Callable[[Any], Any]], seconds: float) -> Iterator[Any]:
            for make, said in zip(makers, self.ask(task), strict=True):
                yield make(said)

        def lend(self, contents: Sequence[bytes]) -> Sequence[bytes]:
            return contents

        def close(self) -> None:
            pass

    return Here


def _tried_here(handler: str, setup: Any) -> Any:
    """Return the child of a trial: that of a model which looks at images in this process, any other as it is."""
    module, _, function = handler.partition(":")
    return child_of(getattr(worker, function))(handler, setup) if module == worker.__name__ else Child(handler, setup)


def decode_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let images be decoded, and models be tried, in this process, which is not confined."""
    monkeypatch.setattr(decoder, "Child", child_of(worker.handler))
    monkeypatch.setattr(trial, "Child", _tried_here)
    for name in ("confine", "limit_memory"):
        monkeypatch.setattr(worker, name, lambda memory: None)
    monkeypatch.setattr(worker, "at_most", nullcontext)


def prepare_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let encoders be tried, and images be prepared and changed for them, in this process, which is not confined."""
    others = trial.Child

    def tried(handler: str, setup: Any) -> Any:
        return (child_of(encoder_trial.handler) if handler == folder.TRIAL else others)(handler, setup)

    monkeypatch.setattr(trial, "Child", tried)
    for asking, answering in ((preparer, preparing), (augmenter, augmenting)):
        monkeypatch.setattr(asking, "Child", child_of(answering.handler))
    for answering in (encoder_trial, preparing, augmenting):
        monkeypatch.setattr(answering, "confine", lambda memory: None)
        monkeypatch.setattr(answering, "at_most", nullcontext)
