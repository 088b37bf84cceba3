"""A page in a real headless Chromium, driven over its DevTools socket, so that a test sees it as it is shown."""

from __future__ import annotations

import asyncio
import base64
import itertools
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--remote-debugging-port=0",
]
START_S = 60.0


class Page:
    """A tab. ``messages`` collects what the browser logs of it: console output, policy violations, failed loads."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._ids = itertools.count(1)
        self._session = ""
        self.messages: list[str] = []
        self.requests: list[str] = []
        self._loaded = asyncio.Event()

    async def send(self, method: str, **params: Any) -> Any:
        """One command, with its answer; what else arrives meanwhile is kept."""
        number = next(self._ids)
        message = {"id": number, "method": method, "params": params}
        await self._socket.send_json({**message, "sessionId": self._session} if self._session else message)
        while True:
            answer = await self._socket.receive_json()
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]
            self._note(answer)

    def _note(self, event: dict[str, Any]) -> None:
        params = event.get("params", {})
        match event.get("method"):
            case "Log.entryAdded":
                self.messages.append(params["entry"]["text"])
            case "Runtime.consoleAPICalled" | "Runtime.exceptionThrown":
                self.messages.append(str(params))
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
            case "Page.loadEventFired":
                self._loaded.set()

    async def attach(self) -> None:
        target = await self.send("Target.createTarget", url="about:blank")
        session = await self.send("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = session["sessionId"]
        for domain in ("Page", "Log", "Runtime", "Network"):
            await self.send(f"{domain}.enable")

    async def open(self, url: str, width: int, height: int = 900, scheme: str = "light") -> None:
        phone = width < 600
        await self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone
        )
        await self.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self._loaded.clear()
        await self.send("Page.navigate", url=url)
        while not self._loaded.is_set():
            await self.evaluate("0")
            await asyncio.sleep(0.05)

    async def evaluate(self, expression: str) -> Any:
        result = await self.send("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    async def press(self, key: str) -> None:
        text = {"Enter": "\r", " ": " "}.get(key, "")
        code = {"Enter": 13, "Tab": 9}.get(key, 0)
        for kind in ("keyDown", "keyUp"):
            await self.send("Input.dispatchKeyEvent", type=kind, key=key, text=text, windowsVirtualKeyCode=code)

    async def screenshot(self, path: Path) -> None:
        """The whole page as a PNG file."""
        shot = await self.send("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))


@asynccontextmanager
async def chromium(profile: Path) -> AsyncIterator[Page]:
    """A browser of its own on an empty ``profile``. A missing Chromium is a failure, not a skip."""
    program = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
    assert program, "no chromium on PATH: apt-get install chromium"
    browser = await asyncio.create_subprocess_exec(
        program, *FLAGS, f"--user-data-dir={profile}", stderr=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        address = await asyncio.wait_for(_address(browser), START_S)
        async with aiohttp.ClientSession() as client, client.ws_connect(address, max_msg_size=0) as socket:
            page = Page(socket)
            await page.attach()
            yield page
    finally:
        browser.kill()
        await browser.wait()


async def _address(browser: asyncio.subprocess.Process) -> str:
    assert browser.stderr is not None
    async for line in browser.stderr:
        if b"DevTools listening on " in line:
            return line.decode().split(" on ", 1)[1].strip()
    raise AssertionError("chromium ended before it listened")
