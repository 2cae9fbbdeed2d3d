"""One check in front of everything that is served: the address, the origin, the password. Pure ASGI middleware.

- Host: a name under which this server is reached, with its port; else 403. (A page of another site cannot reach us by letting its own
  name point at 127.0.0.1: DNS rebinding.)
- Origin and Sec-Fetch-Site: a request begun by another site's page is refused with 403, other than following a link to the page.
- Password, where there is one: a signed cookie (from the login page), `Authorization: Bearer PASSWORD` or Basic; else 401.
- Content-Security-Policy on every answer: the page can neither load from nor send to any other place, whatever a model writes into it.
"""

import asyncio
import base64
import hashlib
import hmac
import html
import ipaddress
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

LOOPBACK = ("127.0.0.1", "localhost", "::1")
WEEK = 7 * 24 * 3600
POLICY = (
    "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "connect-src 'self' data: blob:; frame-ancestors 'none'; form-action 'self'; base-uri 'self'; object-src 'none'"
)
# Gradio's own call to itself when it starts; it tells nothing and changes nothing.
STARTUP = "/gradio_api/startup-events"


@dataclass(frozen=True)
class Credentials:
    """A name, a password, and a key that signs sessions for as long as the process lives."""

    user: str
    password: str
    key: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)

    def fits(self, user: str, password: str) -> bool:
        """In constant time."""
        right = secrets.compare_digest(user.encode(), self.user.encode())
        return secrets.compare_digest(password.encode(), self.password.encode()) and right

    def session(self, lasts: int = WEEK) -> str:
        """A cookie's value: when it ends, and a signature."""
        ends = str(int(time.time()) + lasts)
        return f"{ends}.{self._sign(ends)}"

    def is_session(self, value: str) -> bool:
        """Whether this is a session of ours that has not ended."""
        ends, _, signature = value.partition(".")
        right = secrets.compare_digest(signature.encode(), self._sign(ends).encode())
        return right and ends.isdigit() and int(ends) > time.time()

    def _sign(self, text: str) -> str:
        return hmac.new(self.key, text.encode(), hashlib.sha256).hexdigest()


class Guard:
    """`Guard(app, host=…)`: host is the address bound to; credentials None asks for no password; shared also allows the share link."""

    def __init__(self, app: Any, host: str = "127.0.0.1", credentials: Credentials | None = None, shared: bool = False) -> None:
        self.app, self.host, self.credentials, self.shared = app, host, credentials, shared

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if reason := self._foreign(scope, headers):
            await _refuse(scope, send, 403, reason)
        elif self.credentials is None or self._knows(scope, headers):
            await self.app(scope, receive, _with_policy(send))
        elif scope["type"] == "http" and scope["path"] == "/login" and scope["method"] == "POST":
            await self._login(scope, receive, send, headers)
        elif scope["type"] == "http" and "text/html" in headers.get("accept", "") and scope["method"] == "GET":
            await _answer(send, 401, _login_page(), "text/html; charset=utf-8")
        else:
            await _refuse(scope, send, 401, "This server asks for its password.")

    # ------------------------------------------------------------------ where a request comes from

    def _foreign(self, scope: Scope, headers: dict[str, str]) -> str | None:
        """Why a request is not for us, or not from our page."""
        host = headers.get("host", "")
        if not self._is_ours(host, (scope.get("server") or ("", 0))[1] or 0):
            return "The Host header is not this server's address."
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return "A page of another site may not use this server."
        if headers.get("sec-fetch-site", "none") in ("cross-site", "same-site"):
            link = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
            if not (link and scope.get("method") == "GET" and scope["path"] == "/"):
                return "A page of another site may not use this server."
        return None

    def _is_ours(self, host: str, port: int) -> bool:
        try:
            parts = urlsplit(f"//{host}")
            name, named_port = (parts.hostname or "").lower(), parts.port
        except ValueError:
            return False
        if self.shared and name.endswith(".gradio.live"):
            return True
        if (named_port or 80) != port:
            return False
        if name in LOOPBACK or name == self.host.lower():
            return True
        return self.host in ("0.0.0.0", "::") and (_is_address(name) or name == _own_name())

    # ------------------------------------------------------------------ who sends it

    def _knows(self, scope: Scope, headers: dict[str, str]) -> bool:
        assert self.credentials is not None
        if scope["path"] == STARTUP and (scope.get("client") or ("",))[0] in LOOPBACK:
            return True
        for cookie in headers.get("cookie", "").split(";"):
            name, _, value = cookie.strip().partition("=")
            if name == _cookie_name(scope) and self.credentials.is_session(value):
                return True
        kind, _, value = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer":
            return secrets.compare_digest(value.strip().encode(), self.credentials.password.encode())
        if kind.lower() == "basic":
            try:
                user, _, password = base64.b64decode(value, validate=True).decode().partition(":")
            except ValueError:
                return False
            return self.credentials.fits(user, password)
        return False

    async def _login(self, scope: Scope, receive: Receive, send: Send, headers: dict[str, str]) -> None:
        assert self.credentials is not None
        body = b""
        while len(body) < 4096:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        form = parse_qs(body[:4096].decode("utf-8", "replace"))
        if not self.credentials.fits(form.get("user", [""])[0], form.get("password", [""])[0]):
            await asyncio.sleep(1)
            await _answer(send, 401, _login_page("The name or the password is wrong."), "text/html; charset=utf-8")
            return
        cookie = f"{_cookie_name(scope)}={self.credentials.session()}; Path=/; Max-Age={WEEK}; HttpOnly; SameSite=Strict"
        if headers.get("x-forwarded-proto") == "https":
            cookie += "; Secure"
        await _answer(send, 303, "", "text/plain", [(b"location", b"/"), (b"set-cookie", cookie.encode())])


def _cookie_name(scope: Scope) -> str:
    """Cookies do not know ports: servers on one machine need names of their own."""
    return f"vitrine_{(scope.get('server') or ('', 0))[1]}"


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _own_name() -> str:
    import socket

    return socket.gethostname().lower()


def _with_policy(send: Send) -> Send:
    async def sending(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", []), *_HEADERS]
        await send(message)

    return sending


_HEADERS = [
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
]


async def _refuse(scope: Scope, send: Send, status: int, reason: str) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": reason})
        return
    more = [(b"www-authenticate", b"Bearer")] if status == 401 else []
    await _answer(send, status, f'{{"error": "{reason}"}}', "application/json", more)


async def _answer(send: Send, status: int, body: str, kind: str, more: list[tuple[bytes, bytes]] | None = None) -> None:
    data = body.encode()
    headers = [(b"content-type", kind.encode()), (b"content-length", str(len(data)).encode()), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": status, "headers": [*headers, *_HEADERS, *(more or [])]})
    await send({"type": "http.response.body", "body": data})


def _login_page(error: str = "") -> str:
    said = f'<p role="alert">{html.escape(error)}</p>' if error else ""
    return f"""<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Vitrine</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>
:root {{ color-scheme: light dark; }} body {{ font: 16px/1.5 system-ui, sans-serif; display: grid; place-items: center; min-height: 90vh; }}
form {{ width: min(320px, 90vw); display: grid; gap: 8px; }} input, button {{ font: inherit; padding: 8px; }} h1 {{ font-size: 20px; margin: 0; }}
button {{ background: #0f6b78; color: #fff; border: 0; border-radius: 6px; cursor: pointer; margin-top: 8px; }}
</style></head><body><form method="post" action="/login"><h1>Vitrine</h1>{said}
<label for="user">Name</label><input id="user" name="user" value="vitrine" autocomplete="username">
<label for="password">Password, as printed where the server was started</label>
<input id="password" name="password" type="password" autocomplete="current-password" autofocus>
<button>Open</button></form></body></html>"""
