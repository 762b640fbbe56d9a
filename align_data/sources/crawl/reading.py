"""An archive read in a child process, so that no page can take the run down: it costs itself, and nothing else.

The process gets the archive's bytes block by block, and says after some records what became of them and where what
follows begins. Where it ends, another one goes on from there, and names each page before it reads it: so we know the
page that ended it, and count it.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import closing
from typing import Any

from align_data.common.errors import AlignDataError, EngineError, InputError
from align_data.common.workers import Child, ChildDiedError
from align_data.common.workers.values import plain
from align_data.sources.crawl.account import CrawlAccount
from align_data.sources.crawl.answers import Answers, InHand, LostRecord, Portion
from align_data.sources.crawl.archive import Archive
from align_data.sources.crawl.blocks import Pause, blocks
from align_data.sources.crawl.children import borrow, give_back
from align_data.sources.crawl.settings import NO_MEMORY, CrawlSettings, Kind, Start
from align_data.sources.crawl.warc.reader import ResumePoint

_SLACK = 30.0
"""Seconds that an answer may take besides those of a page: to inflate, to find a record."""
_DEATHS = 3
"""Processes that end one after another at the same record, and at none of its pages, until we give up."""
_ALL_DEATHS = 1_000
"""Processes that one archive may end: each costs a second."""
_KILLED = 20
"""Processes killed one after another before it is not the pages that are to blame: no page sends SIGKILL."""


class ArchiveReading:
    """Reads one archive from its beginning to its end; `read` says how many of its bytes were read so far."""

    def __init__(self, archive: Archive, settings: CrawlSettings, pause: Pause) -> None:
        self._archive, self._settings, self._pause = archive, settings, pause
        self._position: ResumePoint | None = None
        self._kind: Kind | None = archive.kind
        self._crawl: str | None = None
        self._careful_until = 0
        self._deaths = self._killed = self._all_deaths = 0
        self._hand: InHand | None = None
        self._fed = 0
        self.read = 0
        """Bytes of the archive that were read, however often."""

    def portions(self) -> Iterator[Portion]:
        """Yield what became of the records, in their order.

        Raises InputError where the archive cannot be read, and EngineError where no process can.
        """
        while True:
            child = borrow(self._settings)
            try:
                yield from self._from_position(child)
            except ChildDiedError as died:
                child.close()
                yield from self._bury(died)
            except BaseException:
                child.close()  # what it still says would be taken for answers on another archive
                raise
            else:
                give_back(self._settings, child)
                return

    def _from_position(self, child: Child) -> Iterator[Portion]:
        """Feed the archive from where what is not answered for begins."""
        start: Start | None = Start(
            self._archive.name, self._archive.crawl_file, self._kind, self._position, self._crawl
        )
        self._fed = 0 if self._position is None else self._position.offset
        answers = Answers(self._position, self._kind)
        with closing(blocks(self._archive, self._fed, self._settings.block, self._pause)) as coming:
            block = next(coming, b"")
            while True:
                following = next(coming, b"")
                self._fed += len(block)
                self.read = max(self.read, self._fed)
                careful = self._fed - len(block) < self._careful_until
                task = [plain(start), *child.lend([block]), not following, careful]
                yield from self._answered(child, answers, task)
                if not following:
                    return
                block, start = following, None

    def _answered(self, child: Child, answers: Answers, task: list[Any]) -> Iterator[Portion]:
        """Yield what the process says of a block."""
        finished = False
        try:
            for answer in child.ask(task, self._settings.page_seconds + _SLACK):
                hand = answers.in_hand(answer, self._fed)
                if hand is not None:
                    self._hand = hand
                    continue
                portion = answers.take(answer, self._fed)
                if portion is not None:
                    self._acknowledge(portion)
                    finished = portion.position is None
                    yield portion
        except ValueError:
            raise child.misbehaved() from None
        except InputError:
            raise
        except ChildDiedError:
            raise
        except AlignDataError:
            raise child.misbehaved() from None
        if finished is not task[2]:
            raise child.misbehaved()

    def _acknowledge(self, portion: Portion) -> None:
        """Remember where what follows begins."""
        before, self._position, self._hand = self._position, portion.position, None
        self._kind, self._crawl = portion.kind, portion.crawl
        if portion.position is not None and (before is None or portion.position[:2] > before[:2]):
            self._deaths = self._killed = 0

    def _bury(self, died: ChildDiedError) -> Iterator[Portion]:
        """Yield what the page costs that has ended a process, as far as it is known which one has."""
        self._careful_until = max(self._careful_until, self._fed)
        self._deaths += 1
        self._all_deaths += 1
        self._killed += died.how == signal.SIGKILL.name
        if self._killed >= _KILLED:
            raise EngineError(
                "the child processes that read archives are killed one after another: there may be too little memory "
                "for so many; use fewer --workers"
            )
        hand, self._hand = self._hand, None
        if hand is not None and self._all_deaths <= _ALL_DEATHS:
            self._position = hand.behind
            reason = "page_too_costly" if died.slow or died.how in _COSTLY else "page_crashed"
            account = CrawlAccount(records=1)
            account.skipped[reason] = 1
            self._deaths = 0
            yield Portion([], account, (LostRecord(hand.offset, reason),), hand.behind, self._kind, False, self._crawl)
        elif self._deaths > _DEATHS or self._all_deaths > _ALL_DEATHS:
            at = 0 if self._position is None else self._position.offset
            raise InputError(
                f"cannot read {self._archive.name} behind byte {at:,}: the process that reads it ends with {died.how}"
            )


_COSTLY = (f"exit {NO_MEMORY}", signal.SIGKILL.name)
"""How a process ends that has no memory left."""
