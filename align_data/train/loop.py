"""The training loop: from shards to a model, going on from where a run was stopped."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional
from transformers import AlignModel

from align_data.common.ahead import ahead
from align_data.common.errors import TrainError
from align_data.common.progress import Progress
from align_data.train.accumulating import backward_in_parts
from align_data.train.batches import Feed, Rank
from align_data.train.model import (
    SIZES,
    Dual,
    build,
    image_features,
    open_checkpoint,
    parameters,
    sized,
    text_features,
)
from align_data.train.objectives.objective import EmbeddedPairs, Objective
from align_data.train.objectives.registry import described, objective_of, recorded
from align_data.train.objectives.softmax import SoftmaxObjective
from align_data.train.optimizers import learning_rate, optimizer
from align_data.train.pixel_tensors import crops, normalised
from align_data.train.placing import PlacedBatch, Placing, peak_memory
from align_data.train.ranks import average_gradients, means, parallel, ranks, wait
from align_data.train.run_folder import TRAINED, Folder, Position
from align_data.train.sanity import Sanity, check
from align_data.train.settings import TrainSettings
from align_data.train.shards import Shards
from align_data.train.tokens import learn

COLDEST = 0.01
"""The lowest temperature: below it the loss is all but a step, and training can break."""
_LINES = 10
"""Steps between lines of metrics, and the most between readings of the loss, each of which waits for the device."""
_REPORTS = 10
"""Number of progress reports of the loss in a run."""


@dataclass(frozen=True)
class Trained:
    """A run that has ended."""

    model: str
    """The folder."""
    parameters: int
    """Weights that were trained."""
    steps: int
    batch: int
    seconds: float
    """Of training alone, with what was done before an interruption."""
    waiting: float
    """Share of it in which training waited for data; a GPU may have been at work meanwhile, so this is the most."""
    first_loss: float
    """Near the logarithm of the batch with the softmax, unless the model knew something before."""
    last_loss: float
    temperature: float | None
    """None where the objective has none."""
    sanity: Sanity
    skipped: dict[str, str]
    """Corrupt shards, and what is wrong with them."""
    undecodable: int
    """Images whose place another pair took."""
    peak_memory: int | None = None
    """Bytes that the process had at most, of a GPU's memory or else of the machine's; not in results of before.

    Of the process that ended the run, where it was stopped in between.
    """
    objective: dict[str, Any] = field(default_factory=lambda: {"name": SoftmaxObjective.name})
    """Its name, the weights that it has learnt beside the towers', and what it was given; before, all had softmax."""


class Towers(nn.Module):
    """Both towers and the loss as one module, since parallel training needs a single call."""

    def __init__(self, model: AlignModel, objective: Objective) -> None:
        super().__init__()
        self.model, self.objective = model, objective
        model.vision_model.to(memory_format=torch.channels_last)  # as `normalised` has the pixels
        model.temperature.requires_grad_(objective.has_temperature)

    def forward(self, pixels: Tensor, ids: Tensor, mask: Tensor, keys: Tensor) -> Tensor:
        """Return the loss of a batch."""
        return self.loss(self.embed(pixels, ids, mask, keys))

    def embed(self, pixels: Tensor, ids: Tensor, mask: Tensor, keys: Tensor) -> EmbeddedPairs:
        """Return what both towers make of pairs."""
        cuda = pixels.device.type == "cuda"
        with torch.autocast("cuda", torch.bfloat16, enabled=cuda and torch.cuda.is_bf16_supported()):
            images, texts = image_features(self.model, pixels), text_features(self.model, ids, mask)
            if self.objective.is_on_sphere:
                images, texts = (functional.normalize(features, dim=-1) for features in (images, texts))
        return EmbeddedPairs(images.float(), texts.float(), keys)

    def loss(self, pairs: EmbeddedPairs) -> Tensor:
        """Return the loss of pairs that are embedded."""
        loss: Tensor = self.objective(pairs, self.model.temperature)
        return loss


def train(
    shards: Shards,
    out: Path,
    settings: TrainSettings,
    progress: Progress,
    *,
    workers: int | None = None,
    threads: int | None = None,
    device: str | None = None,
) -> Trained | None:
    """Train a model on shards and write it to a folder; a run that was stopped goes on, one that has ended is returned.

    On a CPU, PyTorch has `threads`: one for the model `tiny`, for which more gain little on an idle machine and lose a
    lot on a busy one, and else as many as it likes. Returns None in all processes of torchrun but the first.

    Raises TrainError for fewer pairs than a batch, a device that is not there and a loss that is no number; OutputError
    where the folder is another run's, or cannot be written.
    """
    if settings.steps < 1:
        raise TrainError(f"{settings.samples:,} samples are less than one batch of {settings.batch:,}")
    if threads is not None or (settings.size == "tiny" and settings.init is None):
        torch.set_num_threads(threads or 1)
    folder = Folder(out)
    with ranks(device, settings) as (rank, chosen), nullcontext() if rank.number else folder.lock():
        finished = folder.begin(settings, shards, writes=rank.number == 0)
        if finished is not None:
            return _ended_before(folder, finished) if rank.number == 0 else None
        initial = open_checkpoint(settings.init) if settings.init else None
        side = settings.image_size or (initial[2] if initial else SIZES[settings.size].side)
        with closing(Feed(shards, side, settings, workers or min(8, os.cpu_count() or 1), rank)) as feed:
            feed.read(progress)
            tokenizer = _tokenizer(folder, feed, settings, rank, initial[1] if initial else None)
            torch.manual_seed(settings.seed)
            words = tokenizer.get_vocab_size()
            if initial:
                model = sized(initial[0], side)
            else:
                model = build(settings.size, side, words, settings.max_tokens, settings.temperature)
            feed.begin(tokenizer, model.config.text_config.max_position_embeddings)
            towers = Towers(model.train(), objective_of(settings, recorded(model.config), model.config.projection_dim))
            run = _TrainingRun(folder, settings, feed, towers.to(chosen), rank, chosen)
            last_loss = run.go(progress)
        model.config.objective = described(towers.objective)
        trained = run.ended(last_loss, Dual(model, tokenizer, side, chosen)) if rank.number == 0 else None
        wait()
        return trained


def _ended_before(folder: Folder, finished: dict[str, Any]) -> Trained:
    try:
        return Trained(**{**finished, "sanity": Sanity(**finished["sanity"])})
    except (TypeError, KeyError) as error:
        raise folder.broken(TRAINED, error) from error


def _tokenizer(folder: Folder, feed: Feed, settings: TrainSettings, rank: Rank, initial: Tokenizer | None) -> Tokenizer:
    """Return the run's tokenizer: learnt once, by the first process, and kept."""
    if rank.number == 0 and folder.tokenizer() is None:
        folder.save_tokenizer(initial or learn(list(feed.texts), settings.vocabulary))
    wait()
    tokenizer = folder.tokenizer()
    assert tokenizer is not None
    return tokenizer


class _TrainingRun:
    """One process's part of a run."""

    def __init__(
        self, folder: Folder, settings: TrainSettings, feed: Feed, towers: Towers, rank: Rank, device: torch.device
    ) -> None:
        self._folder, self._settings, self._feed, self._rank = folder, settings, feed, rank
        self._device, self._weights = device, towers
        self._model, self._objective = towers.model, towers.objective
        self._at_first = self._objective.at_first(settings.batch)
        self._optimizer = optimizer(towers, settings)
        self._at = folder.load(self._model, self._objective, self._optimizer)
        self._unread: list[Tensor] = []
        self._towers = parallel(towers, device, reduces=settings.accumulate == 1)

    def go(self, progress: Progress) -> float:
        """Make all steps that are left; return the last loss."""
        loss = math.nan
        settings = self._settings
        with progress.step("train", settings.steps * settings.batch, "pairs") as tick:
            tick(self._at.step * settings.batch)
            for batch, waited in self._batches():
                began = time.monotonic()
                self._unread.append(self._step(batch))
                at = self._at
                is_read = self._is_read(at.step + 1)
                if is_read:
                    loss = self._read(at.step + 1)
                spent = waited + time.monotonic() - began
                initial_loss = loss if at.step == 0 else at.first_loss
                self._at = Position(
                    at.step + 1, at.epoch, at.batch, at.seconds + spent, at.waiting + waited, initial_loss
                )
                tick(settings.batch)
                if is_read:
                    self._tell(loss, progress)
        return loss

    def _batches(self) -> Iterator[tuple[PlacedBatch, float]]:
        """Yield the batches of the steps that are left, and how long each was waited for."""
        placing, steps = Placing(self._device), self._settings.steps
        while self._at.step < steps:
            coming = islice(self._feed.epoch(self._at.epoch, self._at.batch), steps - self._at.step)
            began = time.monotonic()
            for batch, copied in ahead(placing.each(coming)):
                self._at = self._at._replace(batch=self._at.batch + 1)
                yield placing.arrived(batch, copied), time.monotonic() - began
                began = time.monotonic()
            if not self._at.batch:  # else epoch would follow empty epoch
                raise TrainError(
                    f"{self._feed.shards.store.url} has no batch left at step {self._at.step + 1:,}: "
                    f"{'; '.join(self._feed.shards.skipped.values())}; run it again where the shards are there"
                )
            self._at = self._at._replace(epoch=self._at.epoch + 1, batch=0)

    def _step(self, batch: PlacedBatch) -> Tensor:
        """Learn from a batch; return its loss, which the device may not have computed yet."""
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate(self._at.step, self._settings)
        self._objective.begin(self._at.step / self._settings.steps)
        self._optimizer.zero_grad()
        loss = self._backward(batch)
        nn.utils.clip_grad_norm_(self._weights.parameters(), self._settings.clip)
        self._optimizer.step()
        with torch.no_grad():
            self._model.temperature.clamp_(min=COLDEST)
        return loss

    def _backward(self, batch: PlacedBatch) -> Tensor:
        """Leave a batch's gradients in the weights; return its loss."""
        # What is dropped out follows from the step and the process, so that a run that goes on drops out the same.
        chance = np.random.default_rng([self._settings.seed, 3, self._at.step, self._rank.number])
        seeds = [int(chance.integers(2**63)) for _ in range(self._settings.accumulate)]
        if len(seeds) == 1:
            torch.manual_seed(seeds[0])
            loss: Tensor = self._towers(*self._inputs(batch))
            loss.backward()  # type: ignore[no-untyped-call]
            return loss.detach()

        def embed(part: PlacedBatch, seed: int) -> EmbeddedPairs:
            torch.manual_seed(seed)
            return self._weights.embed(*self._inputs(part))

        parts = map(PlacedBatch._make, zip(*(numbers.chunk(len(seeds)) for numbers in batch), strict=True))
        embeds = [partial(embed, part, seed) for part, seed in zip(parts, seeds, strict=True)]
        loss = backward_in_parts(embeds, self._weights.loss, self._weights)
        average_gradients(self._weights)
        return loss

    def _inputs(self, batch: PlacedBatch) -> tuple[Tensor, ...]:
        """Return what the towers take of a batch."""
        side = self._model.config.vision_config.image_size
        pixels = normalised(crops(batch.images, side, batch.corners, batch.mirrored))
        return pixels, batch.ids, batch.mask, batch.keys

    def _is_read(self, step: int) -> bool:
        """Tell whether the loss is read after a step: at most `_LINES` later, and before anything is written."""
        settings = self._settings
        often = step % _LINES == 0 or step % self._between_reports == 0 or step % settings.checkpoint == 0
        return step == 1 or often or step == settings.steps

    @property
    def _between_reports(self) -> int:
        return max(1, self._settings.steps // _REPORTS)

    def _read(self, step: int) -> float:
        """Return a step's loss; TrainError if it, or one that has not been read before it, is no number."""
        losses = means(torch.stack(self._unread))
        self._unread.clear()
        for at, loss in enumerate(losses, step - len(losses) + 1):
            if not math.isfinite(loss):
                advice = "a lower --learning-rate, a longer --warm-up or a higher --temperature"
                if not self._objective.has_temperature:
                    advice = "a lower --learning-rate or a longer --warm-up"
                raise TrainError(
                    f"the loss is {loss} at step {at:,}: {advice} may help; the last checkpoint stays in "
                    f"{self._folder.path}"
                )
        return losses[-1]

    def _tell(self, loss: float, progress: Progress) -> None:
        """Write down and say how far the run is."""
        settings, at = self._settings, self._at
        if self._rank.number:
            return
        is_final = at.step == settings.steps
        if at.step == 1 or at.step % _LINES == 0 or is_final:
            line = {"step": at.step, "pairs": at.step * settings.batch, "epoch": at.epoch, "loss": loss}
            rate = learning_rate(at.step - 1, settings)
            spent = {"seconds": round(at.seconds, 3), "waiting": round(at.waiting, 3)}
            self._folder.note({**line, **self._learnt(), "learning_rate": rate, **spent})
        if at.step == 1:
            progress.say(f"the first loss is {loss:.3f}; {self._at_first}")
        elif at.step % self._between_reports == 0:
            learnt = "".join(f", {name} {value:.3f}" for name, value in self._learnt().items())
            pace = f"{at.step * settings.batch / at.seconds:,.0f} pairs/s"
            progress.say(f"step {at.step:,} of {settings.steps:,}: loss {loss:.3f}{learnt}, {pace}")
        if at.step % settings.checkpoint == 0 and not is_final:
            self._folder.save(at, self._model, self._objective, self._optimizer)

    @property
    def _temperature(self) -> float | None:
        return float(self._model.temperature.detach()) if self._objective.has_temperature else None

    def _learnt(self) -> dict[str, float]:
        """Return what is learnt beside the towers."""
        temperature = self._temperature
        return {**({} if temperature is None else {"temperature": temperature}), **self._objective.learnt()}

    def ended(self, last_loss: float, model: Dual) -> Trained:
        """Write the model, and say what the run came to."""
        at, feed = self._at, self._feed
        trained = Trained(
            model=str(self._folder.path),
            parameters=parameters(self._weights),
            steps=at.step,
            batch=self._settings.batch,
            seconds=round(at.seconds, 3),
            waiting=round(at.waiting / at.seconds, 4),
            first_loss=at.first_loss,
            last_loss=last_loss,
            temperature=self._temperature,
            sanity=check(model, feed.shards),
            skipped=dict(feed.shards.skipped),
            undecodable=len(feed.undecodable),
            objective=self._model.config.objective,
            peak_memory=peak_memory(self._device),
        )
        self._folder.finish(self._model, asdict(trained))
        return trained
