"""Take the pictures of the application's pages in docs: python scripts/screenshots.py --help"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from apps.command_line import command
from apps.errors import InputError
from apps.mnist.pad import A_THREE, GRID
from core import write_atomically

ROOT = Path(__file__).parent.parent
COLOURS = 128  # of a picture, so that it stays small
PATIENCE = 180.0  # seconds


@contextmanager
def server() -> Iterator[str]:
    """The address of an application of its own, with the sample of the data and a folder for its runs."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = [sys.executable, "-m", "streamlit", "run", "apps/home.py", "--server.port", str(port)]
    with tempfile.TemporaryDirectory() as runs:
        environment = os.environ | {"ZOO_RUNS": runs, "ZOO_DATA": "sample"}
        environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        process = subprocess.Popen(words, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
        try:
            end = monotonic() + PATIENCE
            while monotonic() < end:
                with suppress(OSError), urllib.request.urlopen(f"http://localhost:{port}/_stcore/health", timeout=5):
                    break
                sleep(0.3)
            yield f"http://localhost:{port}"
        finally:
            process.terminate()
            process.wait()


def chromium() -> str:
    """Where Chromium is. Raises InputError where there is none."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        raise InputError("There is no Chromium on this machine: install it, with apt-get install chromium say.")
    return found


def draw_three(page: Any) -> None:
    """Draw the pad's own 3 with the mouse, and wait until it is read."""
    box = page.locator("canvas[role=img]").bounding_box()
    for _, *numbers in A_THREE:
        places = zip(numbers[::2], numbers[1::2], strict=True)
        at = [(box["x"] + x / GRID * box["width"], box["y"] + y / GRID * box["height"]) for x, y in places]
        page.mouse.move(*at[0])
        page.mouse.down()
        for place in at:
            page.mouse.move(*place, steps=4)
        page.mouse.up()
    page.wait_for_function("document.querySelector('[data-testid=stMetricValue]')?.innerText.trim() === '3'")


def run_lesson(page: Any) -> None:
    """Run the first lesson, and wait until all its trainings have ended."""
    page.get_by_role("button", name="Run the lesson").first.click()
    page.wait_for_url("**/train?runs=*")
    page.wait_for_function(
        "[...document.querySelectorAll('p')].filter((p) => /— (finished|failed)/.test(p.innerText)).length >= 3"
    )


def choose_word(page: Any) -> None:
    """Choose a word of the sentence, and put another in its place."""
    page.locator(".words button", has_text="wonderful").click()
    page.get_by_label("Instead of “wonderful”").fill("dreadful")


def step_inside(page: Any) -> None:
    """Go to the first layer with weights."""
    for number in (2, 3):
        page.get_by_role("button", name="Next").click()
        page.get_by_text(f"{number} of ").first.wait_for()


def nothing(page: Any) -> None:
    """The page as it opens."""


PAGES: tuple[tuple[str, str, Callable[[Any], None], int], ...] = (  # name, address, what is done, height in pixels
    ("home", "", nothing, 940),
    ("digits", "digits", draw_three, 1360),
    ("sentiment", "sentiment", choose_word, 1180),
    ("credit", "credit", nothing, 1400),
    ("inside", "inside", step_inside, 1900),
    ("models", "models", nothing, 900),
    ("train", "lessons", run_lesson, 1100),
    ("lessons", "lessons", nothing, 900),
)


def take(browser: Any, address: str, act: Callable[[Any], None], height: int, dark: bool) -> bytes:
    """A page as a PNG file of few colours."""
    from PIL import Image

    size = {"width": 1120, "height": height}
    context = browser.new_context(viewport=size, color_scheme="dark" if dark else "light")
    context.set_default_timeout(PATIENCE * 1000)
    page = context.new_page()
    page.goto(address)
    page.wait_for_selector("h1")
    page.wait_for_timeout(3000)
    act(page)
    page.wait_for_timeout(3000)
    with Image.open(io.BytesIO(page.screenshot())) as image:
        few = image.convert("RGB").quantize(COLOURS)
    context.close()
    file = io.BytesIO()
    few.save(file, "PNG", optimize=True)
    return file.getvalue()


def take_all(arguments: argparse.Namespace) -> int:
    from playwright.sync_api import sync_playwright

    path = chromium()
    with server() as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        for name, place, act, height in PAGES:
            if arguments.page in (None, name):
                dark = name == "train"  # one of them shows the dark theme
                picture = take(browser, f"{address}/{place}", act, height, dark)
                write_atomically(arguments.out.absolute() / f"app-{name}.png", picture)
        browser.close()
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Take the pictures of the application's pages, docs/app-PAGE.png.")
    parser.add_argument("--out", type=Path, default=ROOT / "docs", metavar="DIR", help="where to (default: docs)")
    parser.add_argument("--page", choices=[name for name, *_ in PAGES], help="one page only (default: all)")
    return command(take_all, parser, argv)


if __name__ == "__main__":
    raise SystemExit(main())
