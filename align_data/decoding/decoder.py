"""Images decoded in a child process, so that no image can take the run down.

Each image has some seconds, and then the system ends the child, whatever a decoder is doing; memory is limited by the
system too. We see which image it was, try it once more alone, and go on behind it.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from align_data.children import Child, ChildDiedError
from align_data.decoding.nsfw import Choice
from align_data.decoding.seen import MAX_PIXELS, Looks, Seen
from align_data.errors import EngineError
from align_data.store import Store
from align_data.tars import Place

HANDLER = "align_data.decoding.worker:handler"
SECONDS = 30.0
MEMORY = 2 * 2**30
_STARTS = 3
"""Children that end before they have done anything, one after another, until we give up."""
_KILLED = 20
"""Children killed one after another before it is no longer the images that are to blame: no image sends SIGKILL."""


@dataclass(frozen=True)
class Decoding:
    """How images are decoded: what one may cost, and what scores it."""

    store: Store
    nsfw: Choice | None = None
    max_pixels: int = MAX_PIXELS
    seconds: float = SECONDS
    """What one image may take, before the process is ended."""
    memory: int = MEMORY
    """Bytes of data that a child may hold for one image."""


Item = tuple[Place, Looks]


class Decoder:
    """Looks at images in a child process, and starts another where one ends by what it was given."""

    def __init__(self, decoding: Decoding) -> None:
        self._decoding = decoding
        self._child: Child | None = None
        self._killed = 0

    def look(self, items: Sequence[Item], check: Callable[[], None] = lambda: None) -> Iterator[Seen]:
        """Yield what is seen of each item, in their order."""
        done, alone = 0, False
        try:
            while done < len(items):
                try:
                    for seen in self._started().ask(items[done : done + 1] if alone else items[done:]):
                        self._killed = 0
                        yield seen
                        check()
                        done, alone = done + 1, False
                except ChildDiedError as died:
                    self._bury(died)
                    if alone:  # twice, and alone the second time: it is this image
                        yield self._less(items[done], died.how)
                        check()
                        done += 1
                    alone = not alone
        except BaseException:
            self.close()  # what it still says would be taken for answers to the next question
            raise

    def _less(self, item: Item, how: str) -> Seen:
        """Return what can be seen of an image that ended two children: as much as does not end a third."""
        place, looks = item
        status, reason = self._verdict(how)
        header = Looks(header=looks.header, pixels=False)
        for less in [replace(looks, nsfw=False), header] if looks.nsfw else [header]:
            try:
                (seen,) = self._started().ask([(place, less)])
            except ChildDiedError as died:
                self._bury(died)
                continue
            if less is not header and seen.decodable:
                return seen._replace(status="unscored", reason=f"no score: {reason}")  # type: ignore[no-any-return]
            if seen.decodable is None:
                return seen._replace(status=status, reason=reason, decodable=False)  # type: ignore[no-any-return]
            return seen  # type: ignore[no-any-return]
        return Seen(status, reason, bytes=place.size, decodable=False)

    def _verdict(self, how: str) -> tuple[str, str]:
        if how == signal.SIGALRM.name:
            return "hung", f"not done after {self._decoding.seconds:g} s"
        return "crashed", f"the decoder ended by {how}"

    def _started(self) -> Child:
        """Return a child that works; EngineError if there is none to be had."""
        for _ in range(_STARTS):
            if self._child is not None:
                return self._child
            try:
                self._child = Child(HANDLER, self._decoding)
                for _ in self._child.ask([]):
                    pass
            except ChildDiedError as died:
                how = died.how
                self.close()
        if self._child is not None:
            return self._child
        raise EngineError(f"no child process can decode images here: each ends by {how}")

    def _bury(self, died: ChildDiedError) -> None:
        self.close()
        self._killed += died.how == signal.SIGKILL.name
        if self._killed >= _KILLED:
            raise EngineError(
                "the child processes that decode images are killed, one after another: there may be too little memory "
                "here for so many; give fewer --workers"
            ) from None

    def close(self) -> None:
        """End the child."""
        if self._child is not None:
            self._child.close()
            self._child = None
