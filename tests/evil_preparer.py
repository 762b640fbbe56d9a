"""What prepares images for a model, and does what a marker in their bytes says: as if a decoder had been taken over."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping, Sequence
from typing import Any

from align_data.common.workers import Handler, Send
from align_data.decoding.preparing.worker import handler as prepares


def handler(setup: Mapping[str, Any]) -> Handler:
    prepare = prepares(setup)
    lies: Mapping[bytes, Any] = {
        b"evil:short": (8, 8, bytes(5)),
        b"evil:other size": (4, 4, bytes(48)),
        b"evil:negative": (-8, -8, bytes(192)),
        b"evil:text": "pixels",
        b"evil:array": [1] * 500,
    }

    def handle(images: Sequence[bytes], send: Send) -> None:
        for content in images:
            if b"evil:crash" in content:
                os.kill(os.getpid(), signal.SIGSEGV)
            if b"evil:slow" in content:
                time.sleep(60)
            lie = next((lie for marker, lie in lies.items() if marker in content), None)
            if lie is not None:
                send(lie)
            else:
                prepare([content], send)

    return handle
