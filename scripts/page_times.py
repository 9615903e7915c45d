"""Time the application's pages in Chromium, browser and server on this machine: python scripts/page_times.py --help"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Sequence
from time import perf_counter, sleep
from typing import Any

from screenshots import chromium, server

from apps.command_line import _positive, command

PAUSE = 1500  # ms between two answers
LAST_ON_HOME = "First of the reasons"


class Answers:
    """How long answers take: from what the browser sends to the last thing that the server sends for it, in ms"""

    def __init__(self, page: Any) -> None:
        self.times: list[float] = []
        self._sent = 0.0
        page.on("websocket", self._listen)

    def _listen(self, socket: Any) -> None:
        socket.on("framesent", lambda _: self._begin())
        socket.on("framereceived", lambda _: self._go_on())

    def _begin(self) -> None:
        self._sent = perf_counter()
        self.times.append(0.0)

    def _go_on(self) -> None:
        if self.times:
            self.times[-1] = 1e3 * (perf_counter() - self._sent)


def home(browser: Any, address: str) -> tuple[float, float]:
    """Seconds until Home shows its first words, and until all of it is there, examples included"""
    context = browser.new_context()
    page = context.new_page()
    began = perf_counter()
    page.goto(address)
    page.get_by_text("A zoo of small networks").wait_for()
    words = perf_counter() - began
    page.get_by_text(LAST_ON_HOME).wait_for()
    whole = perf_counter() - began
    context.close()
    return words, whole


def draw(page: Any, k: int) -> None:
    """One more stroke."""
    box = page.locator("canvas[role=img]").bounding_box()
    y = box["y"] + (0.2 + 0.06 * k) * box["height"]
    page.mouse.move(box["x"] + 0.3 * box["width"], y)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.7 * box["width"], y)
    page.mouse.up()


def type_word(page: Any, k: int) -> None:
    """One more word, at once."""
    field = page.locator("textarea").first
    field.focus()
    page.keyboard.press("End")
    page.keyboard.insert_text(f" {('fine', 'weak', 'slow', 'warm', 'dull')[k % 5]}")


def move_slider(page: Any, k: int) -> None:
    """One of the applicant's numbers, a step higher."""
    page.locator("[data-testid=stSlider] input, [role=slider]").nth(k % 3).focus()
    page.keyboard.press("ArrowRight")


ASKED: dict[str, Callable[[Any, int], None]] = {"digits": draw, "sentiment": type_word, "credit": move_slider}


def answers(browser: Any, address: str, ask: Callable[[Any, int], None], count: int) -> list[float]:
    """Milliseconds of each of so many answers of a page, all that it shows included"""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    heard = Answers(page)
    page.goto(address)
    page.wait_for_timeout(4 * PAUSE)
    heard.times.clear()
    for k in range(count):
        ask(page, k)
        page.wait_for_timeout(PAUSE)
    page.close()
    return heard.times


def show(name: str, times: list[float]) -> None:
    print(f"{name}: {len(times)} answers, median {statistics.median(times):.0f} ms, up to {max(times):.0f}", flush=True)


def measure(arguments: argparse.Namespace) -> int:
    from playwright.sync_api import sync_playwright

    path = chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        browser.new_page().close()
        firsts, agains = [], []
        for _ in range(arguments.rounds):
            with server() as address:
                firsts.append(home(browser, address))
                sleep(4)  # in which the server gets ready for the other pages
                agains += [home(browser, address) for _ in range(3)]
        for name, found in (("first visitor of a new server", firsts), ("visitors after", agains)):
            words, whole = (statistics.median(column) for column in zip(*found, strict=True))
            print(f"Home, {name}: words after {words:.2f} s, complete after {whole:.2f} s")
        with server() as address:
            for page, ask in ASKED.items():
                show(f"{page}, in the browser", answers(browser, f"{address}/{page}", ask, arguments.answers))
        browser.close()
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Time the application's pages in Chromium, browser and server on this machine: Home from its"
        " address to the last example, and answers from what the browser sends to the last thing that it gets."
        " Close other programs first."
    )
    parser.add_argument("--rounds", type=_positive, default=3, metavar="N", help="new servers to visit (default: 3)")
    parser.add_argument("--answers", type=_positive, default=8, metavar="N", help="answers of each page (default: 8)")
    return command(measure, parser, argv)


if __name__ == "__main__":
    raise SystemExit(main())
