"""Who may reach what: the page and every route, over real sockets."""

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from serving import start_server

from app.guard import Credentials, Guard

PATHS = [
    ("GET", "/"),
    ("GET", "/config"),
    ("GET", "/gradio_api/info"),
    ("GET", "/theme.css"),
    ("GET", "/manifest.json"),
    ("POST", "/gradio_api/queue/join"),
    ("POST", "/gradio_api/upload"),
    ("GET", "/runs"),
    ("GET", "/runs/x"),
    ("POST", "/runs/x/stop"),
    ("POST", "/runs/x/delete"),
    ("GET", "/attention/x/lod"),
    ("GET", "/attention/x/head/0/0"),
    ("GET", "/attention/x/mean"),
    ("GET", "/attention/x/mean/0"),
    ("GET", "/attention/x/hidden"),
    ("GET", "/models"),
    ("POST", "/models/fetch"),
    ("POST", "/models/stop"),
    ("GET", "/nothing"),
]


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A server for others: it makes its password."""
    server = start_server(tmp_path_factory.mktemp("locked"), "--listen", "0.0.0.0", "--port", "7930", "--offline")
    yield server
    server.stop()


def password(server: Any) -> str:
    end = 50
    while end and not (found := re.search(r"password (\S+)", "".join(server.output))):
        import time

        time.sleep(0.1)
        end -= 1
    assert found
    return found[1]


@pytest.mark.parametrize(("method", "path"), PATHS)
def test_strangers_are_refused(server: Any, method: str, path: str) -> None:
    url = server.url.rstrip("/") + path
    right = f"127.0.0.1:{server.port}"
    wrong = [
        {"Host": "evil.example"},
        {"Host": f"evil.example:{server.port}"},
        {"Host": "127.0.0.1:1"},
        {"Host": f"127.0.0.1.evil.example:{server.port}"},
        {"Host": ""},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": f"http://localhost:{server.port + 1}"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
    ]
    for headers in wrong:
        assert httpx.request(method, url, headers={"Host": right, **headers}).status_code == 403, headers
    answer = httpx.request(method, url, headers={"Host": right, "Origin": f"http://{right}", "Sec-Fetch-Site": "same-origin"})
    assert answer.status_code not in (401, 403)
    assert "default-src 'self'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize(("method", "path"), PATHS)
def test_without_the_password(locked: Any, method: str, path: str) -> None:
    url = f"http://127.0.0.1:{locked.port}{path}"
    secret = password(locked)
    for headers in (
        {},
        {"Authorization": "Bearer wrong"},
        {"Cookie": f"vitrine_{locked.port}=9999999999.abc"},
        {"Authorization": "Basic !"},
    ):
        assert httpx.request(method, url, headers=headers).status_code == 401, headers
    assert httpx.request(method, f"{url}?password={secret}").status_code == 401
    basic = base64.b64encode(f"vitrine:{secret}".encode()).decode()
    for headers in ({"Authorization": f"Bearer {secret}"}, {"Authorization": f"Basic {basic}"}):
        assert httpx.request(method, url, headers=headers).status_code not in (401, 403), headers


def test_logging_in(locked: Any, chromium: Any) -> None:
    page = chromium.new_page()
    page.goto(f"http://127.0.0.1:{locked.port}/")
    page.fill("#password", "wrong")
    page.click("button")
    page.wait_for_selector("text=The name or the password is wrong.")
    page.fill("#password", password(locked))
    page.click("button")
    page.wait_for_selector("#chat-box textarea", timeout=60_000)
    cookie = page.context.cookies()[0]
    assert cookie["httpOnly"] and cookie["sameSite"] == "Strict"
    page.close()


def test_a_page_of_another_site(server: Any, chromium: Any, tmp_path: Path) -> None:
    """A real page of another origin: no frame, no picture, no form, no fetch reaches us."""
    import functools
    import http.server
    import threading

    (tmp_path / "index.html").write_text("<title>evil</title>")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    other = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=other.serve_forever, daemon=True).start()
    page = chromium.new_page()
    seen: dict[str, int] = {}
    page.on("response", lambda r: seen.__setitem__(r.url, r.status) if r.url.startswith(server.url) else None)
    page.goto(f"http://127.0.0.1:{other.server_port}/index.html")
    page.evaluate(
        """async (url) => {
          const tries = ['runs', 'config', 'gradio_api/info'].map((p) => fetch(url + p, {mode: 'no-cors'}).catch(() => 0));
          await Promise.all(tries);
          await fetch(url + 'runs/x/delete', {method: 'POST', mode: 'no-cors'}).catch(() => 0);
          const image = new Image(); image.src = url + 'attention/x/lod';
          const frame = document.createElement('iframe'); frame.src = url; document.body.append(frame);
          await new Promise((r) => setTimeout(r, 1500));
        }""",
        server.url,
    )
    page.close()
    other.shutdown()
    assert seen and all(status == 403 for status in seen.values()), seen


def test_sessions_are_signed_and_end() -> None:
    credentials = Credentials("a", "b")
    assert credentials.is_session(credentials.session())
    assert not credentials.is_session(credentials.session(lasts=-1))
    assert not Credentials("a", "b").is_session(credentials.session())
    ends, _, signature = credentials.session().partition(".")
    assert not credentials.is_session(f"{int(ends) + 1}.{signature}")


@pytest.mark.parametrize(
    ("bound", "shared", "host", "ours"),
    [
        ("127.0.0.1", False, "127.0.0.1:7860", True),
        ("127.0.0.1", False, "localhost:7860", True),
        ("127.0.0.1", False, "[::1]:7860", True),
        ("127.0.0.1", False, "192.168.0.5:7860", False),
        ("127.0.0.1", False, "localhost:7861", False),
        ("127.0.0.1", False, "localhost", False),
        ("127.0.0.1", False, "x.gradio.live", False),
        ("127.0.0.1", True, "x.gradio.live", True),
        ("127.0.0.1", True, "gradio.live.evil.example", False),
        ("0.0.0.0", False, "192.168.0.5:7860", True),
        ("0.0.0.0", False, "evil.example:7860", False),
        ("box.lan", False, "box.lan:7860", True),
        ("127.0.0.1", False, "a@127.0.0.1:99999999", False),
    ],
)
def test_hosts(bound: str, shared: bool, host: str, ours: bool) -> None:
    assert Guard(None, bound, shared=shared)._is_ours(host, 7860) is ours
