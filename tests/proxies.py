"""A fake proxy on a loopback socket: HTTP, HTTPS and SOCKS5, with and without credentials."""

import asyncio
import base64
import ssl


class FakeProxy:
    """An HTTP proxy (CONNECT and absolute URLs) and SOCKS5 proxy; `targets` are the requested addresses."""

    def __init__(self, credentials: str | None = None, tls: ssl.SSLContext | None = None) -> None:
        self.targets: list[str] = []
        self._credentials = credentials
        self._tls = tls
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "FakeProxy":
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._tls)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            first = await reader.readexactly(1)
            await (self._socks if first == b"\x05" else self._http)(first, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    async def _http(self, first: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = first + await reader.readuntil(b"\r\n\r\n")
        method, target, rest = head.split(b" ", 2)
        self.targets.append(target.decode())
        if self._credentials is not None:
            wanted = b"Basic " + base64.b64encode(self._credentials.encode())
            if wanted not in head:
                writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n")
                return
        if method == b"CONNECT":
            host, port = target.decode().split(":")
            await self._pipe(host, int(port), reader, writer, b"HTTP/1.1 200 OK\r\n\r\n", b"")
        else:
            host, _, path = target.removeprefix(b"http://").partition(b"/")
            name, port = host.decode().split(":")
            await self._pipe(name, int(port), reader, writer, b"", b" ".join([method, b"/" + path, rest]))

    async def _socks(self, first: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        methods = await reader.readexactly((await reader.readexactly(1))[0])
        if self._credentials is not None:
            if 2 not in methods:
                writer.write(b"\x05\xff")
                return
            writer.write(b"\x05\x02")
            await reader.readexactly(1)
            user = await reader.readexactly((await reader.readexactly(1))[0])
            password = await reader.readexactly((await reader.readexactly(1))[0])
            if f"{user.decode()}:{password.decode()}" != self._credentials:
                writer.write(b"\x01\x01")
                return
            writer.write(b"\x01\x00")
        else:
            writer.write(b"\x05\x00")
        _, _, _, kind = await reader.readexactly(4)
        raw = await reader.readexactly(4 if kind == 1 else (await reader.readexactly(1))[0])
        host = ".".join(map(str, raw)) if kind == 1 else raw.decode()
        port = int.from_bytes(await reader.readexactly(2))
        self.targets.append(f"{host}:{port}")
        await self._pipe(host, port, reader, writer, b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x00", b"")

    async def _pipe(
        self,
        host: str,
        port: int,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        greeting: bytes,
        request: bytes,
    ) -> None:
        far_reader, far_writer = await asyncio.open_connection(host, port)
        writer.write(greeting)
        far_writer.write(request)
        await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        return
    finally:
        writer.close()
