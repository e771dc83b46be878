"""SOCKS5: RFC 1928 with the username and password of RFC 1929.

Names go to the proxy as they are, so that it resolves them where it stands.
"""

import ipaddress

from providers.wire.net.negotiation import Negotiation, ProxyRefusedError

DEFAULT_PORT = 1080

_NO_AUTHENTICATION, _PASSWORD = 0, 2
_BOUND_ADDRESS_BYTES = {1: 4, 4: 16}


async def open_tunnel(proxy: Negotiation, host: str, port: int, username: bytes, password: bytes) -> None:
    """Ask the proxy for a connection to `host`; empty credentials mean none."""
    offered = [_NO_AUTHENTICATION, _PASSWORD] if username else [_NO_AUTHENTICATION]
    proxy.write(bytes([5, len(offered), *offered]))
    _, chosen = await proxy.read(2)
    if chosen not in offered:
        raise ProxyRefusedError("the proxy refused our ways to authenticate")
    if chosen == _PASSWORD:
        proxy.write(b"\1" + _counted(username) + _counted(password))
        _, status = await proxy.read(2)
        if status != 0:
            raise ProxyRefusedError("the proxy refused our credentials")
    proxy.write(b"\5\1\0" + _address(host) + port.to_bytes(2))
    _, reply, _, kind = await proxy.read(4)
    if reply != 0:
        raise OSError(f"the proxy could not connect (reply {reply})")
    size = _BOUND_ADDRESS_BYTES.get(kind) or (await proxy.read(1))[0]
    await proxy.read(size + 2)


def _address(host: str) -> bytes:
    try:
        literal = ipaddress.ip_address(host)
    except ValueError:
        return b"\3" + _counted(host.encode("idna"))
    return (b"\1" if literal.version == 4 else b"\4") + literal.packed


def _counted(value: bytes) -> bytes:
    return bytes([len(value)]) + value
