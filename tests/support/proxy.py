"""A TCP proxy in front of an object store, in its own thread: it adds latency, counts traffic and simulates outages."""

import asyncio
import re
import socket
import threading
import urllib.parse
from collections.abc import Coroutine
from types import TracebackType
from typing import Any

REQUEST = re.compile(rb"([A-Z]+ /\S*) HTTP/1\.1\r\n")
READ_BYTES = 2**16


class SlowStore:
    """`with SlowStore("http://127.0.0.1:9000", latency_s=0.02) as proxy:` serves the same store at `proxy.endpoint`.

    `latency_s` seconds are added once in each direction of an exchange; bandwidth is not limited.
    """

    def __init__(self, endpoint: str, latency_s: float = 0.0) -> None:
        address = urllib.parse.urlsplit(endpoint)
        self._store = (address.hostname, address.port)
        self.latency_s = latency_s
        self.log: list[str] = []
        """Every forwarded HTTP request, as "GET /bucket/key?query"."""
        self.bytes_up = 0
        self.bytes_down = 0
        """Number of bytes that the store sent, HTTP headers included."""
        self._cut_at: int | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._connections: set[asyncio.Task[None]] = set()
        self._socket = _bound(0)
        self.port = self._socket.getsockname()[1]
        self.endpoint = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> "SlowStore":
        self._thread.start()
        self._do(self._open())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._do(self._close())
        self._do(self._emptied())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._socket.close()

    @property
    def requests(self) -> int:
        """The number of HTTP requests forwarded so far."""
        return len(self.log)

    def cut_after(self, bytes_up: int) -> None:
        """Stop for good after `bytes_up` more bytes from clients, in the middle of a transfer."""
        self._cut_at = self.bytes_up + bytes_up

    def down(self, seconds: float) -> None:
        """Drop every connection and refuse new ones for `seconds`; returns at once."""
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.call_later, seconds, lambda: self._loop.create_task(self._open()))

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=30)

    async def _open(self) -> None:
        self._server = await asyncio.start_server(self._connected, sock=self._socket)

    async def _close(self) -> None:
        self._server.close()
        self._socket.close()
        # Bound but not listening: connections are refused, and no other process gets the port.
        self._socket = _bound(self.port)
        for connection in self._connections:
            connection.cancel()

    async def _emptied(self) -> None:
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def count_up(self, count: int) -> None:
        """Count bytes that a client sent; called before they are forwarded."""
        self.bytes_up += count
        if self._cut_at is not None and self.bytes_up >= self._cut_at:
            await self._close()

    async def _connected(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        writers = [to_client]
        try:
            store, to_store = await asyncio.open_connection(*self._store)
            writers.append(to_store)
            exchange = _Exchange(self)
            async with asyncio.TaskGroup() as both:
                both.create_task(exchange.up(client, to_store))
                both.create_task(exchange.down(store, to_client))
        except (OSError, ExceptionGroup, asyncio.CancelledError):
            pass  # a side closed the connection, or this proxy stopped
        finally:
            self._connections.discard(task)
            for writer in writers:
                writer.transport.abort()


class _Exchange:
    """One connection whose two sides send in turn."""

    def __init__(self, proxy: SlowStore) -> None:
        self._proxy = proxy
        self._speaker = ""

    async def up(self, client: asyncio.StreamReader, store: asyncio.StreamWriter) -> None:
        while data := await client.read(READ_BYTES):
            await self._proxy.count_up(len(data))
            if self._speaker != "client" and (request := REQUEST.match(data)):
                self._proxy.log.append(request[1].decode())
            await self._pass("client", data, store)
        raise ConnectionAbortedError

    async def down(self, store: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        while data := await store.read(READ_BYTES):
            self._proxy.bytes_down += len(data)
            await self._pass("store", data, client)
        raise ConnectionAbortedError

    async def _pass(self, speaker: str, data: bytes, to: asyncio.StreamWriter) -> None:
        if self._speaker != speaker:
            self._speaker = speaker
            await asyncio.sleep(self._proxy.latency_s)
        to.write(data)
        await to.drain()


def _bound(port: int) -> socket.socket:
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind(("127.0.0.1", port))
    return made
