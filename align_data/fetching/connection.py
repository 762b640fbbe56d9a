"""A connection that reads heads and chunks with patience: what comes is made plain before aiohttp's parser sees it."""

from __future__ import annotations

from functools import partial
from typing import Any, cast

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import BadHttpMessage

from align_data.fetching.chunked_body import NoChunkError
from align_data.fetching.response_head import Head, NoHeadError


class _Handler(ResponseHandler):
    """Hands on a plain head, then the body: by itself, so that what follows a whole body does not spoil it."""

    _head: Head | None = None
    """Of the answer that is waited for; None before anything is asked."""

    def set_response_params(self, **options: Any) -> None:
        """Begin with another answer."""
        self._head = Head()
        super().set_response_params(**options)

    def data_received(self, data: bytes) -> None:
        """Take what comes."""
        if self._head is None:
            super().data_received(data)
            return
        try:
            head, body = self._head.take(data)
        except (NoHeadError, NoChunkError) as error:
            if self.transport is not None:
                self.transport.close()
            bad_message = BadHttpMessage(str(error))
            self.set_exception(bad_message)
            if self._payload is not None:  # else a body that ends here would only be too short
                self._payload.set_exception(bad_message)
            return
        for piece in (head, body):
            if piece:
                super().data_received(piece)


class Connector(aiohttp.TCPConnector):
    """Makes such connections."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._factory = cast("partial[ResponseHandler]", partial(_Handler, loop=self._loop))
