"""An OpenID Connect provider on loopback: discovery, codes with PKCE, signed ID tokens and userinfo.

Its user is logged in already, so it sends browsers back at once. It checks what clients send and notes what is wrong.
"""

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

CLIENT_ID, SECRET = "rivulet", "secret-of-the-client"
KEY_ID = "k1"


class OpenIDProvider:
    """One provider; `claims` are those of the user who is logged in there."""

    def __init__(self) -> None:
        self.claims: dict[str, Any] = {}
        self.wrong: list[str] = []
        # Whether each response is a server error.
        self.is_broken = False
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        # Codes and access tokens, with what was asked and the claims at that time.
        self._codes: dict[str, tuple[dict[str, str], dict[str, Any]]] = {}
        self._tokens: dict[str, dict[str, Any]] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.issuer = f"http://127.0.0.1:{self._server.server_port}"

    @contextmanager
    def running(self) -> Iterator["OpenIDProvider"]:
        thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    def get(self, path: str, query: dict[str, str], authorization: str) -> tuple[int, Any]:
        """Return status and JSON, or an address to redirect to."""
        if self.is_broken:
            return 500, {}
        if path == "/.well-known/openid-configuration":
            names = {"authorization": "authorize", "token": "token", "userinfo": "userinfo"}
            endpoints = {f"{name}_endpoint": f"{self.issuer}/{end}" for name, end in names.items()}
            methods = {"token_endpoint_auth_methods_supported": ["client_secret_post"]}
            return 200, {"issuer": self.issuer, "jwks_uri": f"{self.issuer}/jwks", **endpoints, **methods}
        if path == "/jwks":
            public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self._key.public_key()))
            return 200, {"keys": [{**public, "kid": KEY_ID, "alg": "RS256", "use": "sig"}]}
        if path == "/authorize":
            self._check(query, client_id=CLIENT_ID, response_type="code", code_challenge_method="S256")
            code = secrets.token_urlsafe()
            self._codes[code] = (query, dict(self.claims))
            return 302, f"{query['redirect_uri']}?{urlencode({'code': code, 'state': query['state']})}"
        if path == "/userinfo":
            claims = self._tokens.get(authorization.removeprefix("Bearer "))
            return (200, claims) if claims else (401, {"error": "invalid_token"})
        return 404, {}

    def post_token(self, form: dict[str, str]) -> tuple[int, Any]:
        """Exchange a code for tokens, once."""
        asked, claims = self._codes.pop(form.get("code", ""), ({}, {}))
        verifier = form.get("code_verifier", "").encode()
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier).digest()).rstrip(b"=").decode()
        self._check(form, client_id=CLIENT_ID, client_secret=SECRET, redirect_uri=asked.get("redirect_uri", "-"))
        if not claims or challenge != asked["code_challenge"]:
            self.wrong.append("code or verifier")
            return 400, {"error": "invalid_grant"}
        access, now = secrets.token_urlsafe(), int(time.time())
        self._tokens[access] = claims
        standard = {"iss": self.issuer, "aud": CLIENT_ID, "iat": now, "exp": now + 300, "sub": claims["sub"]}
        signed = jwt.encode(standard, self._key, algorithm="RS256", headers={"kid": KEY_ID})
        return 200, {"access_token": access, "token_type": "Bearer", "expires_in": 300, "id_token": signed}

    def _check(self, given: dict[str, str], **expected: str) -> None:
        self.wrong += [f"{name}: {given.get(name)}" for name, value in expected.items() if given.get(name) != value]


def _handler(provider: OpenIDProvider) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            self._reply(*provider.get(parts.path, query, self.headers.get("Authorization", "")))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            self._reply(*provider.post_token({name: values[0] for name, values in parse_qs(body).items()}))

        def _reply(self, status: int, content: Any) -> None:
            self.send_response(status)
            body = b"" if status == 302 else json.dumps(content).encode()
            if status == 302:
                self.send_header("Location", content)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: Any) -> None:
            """Print nothing."""

    return Handler
