"""HTTP connections that do not wait for ever."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol


class PatientProtocol(H11Protocol):
    """uvicorn's HTTP/1.1, closing connections that are open for long without a request.

    uvicorn waits without end for the headers of a request, and for the rest of a body that has
    been refused. Here both have ``seconds``; a request that is being worked on is not limited.
    """

    seconds = 10.0

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._arm()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._timer is None and (self.cycle is None or self.cycle.response_complete):
            self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def _arm(self) -> None:
        self._timer = self.loop.call_later(self.seconds, self._close_if_still, self.cycle)

    def _close_if_still(self, cycle: Any) -> None:
        self._timer = None
        if self.cycle is cycle:  # no request has begun since
            self.transport.abort()
