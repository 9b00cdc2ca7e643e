"""The inspector in a real browser: clicks, keys, touch, a small screen, and its numbers."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from test_explain import classifier
from test_inspector import values_of

from rfaconv.effective import EffectiveKernels, effective_kernels
from rfaconv.lab.explain.views import View, open_view, view_of
from rfaconv.lab.inspector import inspector_page

pytestmark = pytest.mark.nightly
pytest.importorskip("pytorch_grad_cam")
pytest.importorskip("selenium")
BROWSERS, DRIVERS = ("chromium", "chromium-browser", "google-chrome"), ("chromedriver",)


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Any]:
    from selenium import webdriver

    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    driver = next(filter(None, map(shutil.which, DRIVERS)), None)
    if program is None or driver is None:
        pytest.skip("needs chromium and its driver (chromium, chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    profile = tmp_path_factory.mktemp("profile")
    for word in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--lang=en",
                 "--disable-gpu", f"--user-data-dir={profile}"):  # fmt: skip
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    started = webdriver.Chrome(options, webdriver.ChromeService(driver))
    started.get("about:blank")  # the browser's own first page asks for pictures of its own
    yield started
    started.quit()


class Opened:
    """A page in the browser."""

    def __init__(
        self, browser: Any, page: str, folder: Path, width: int = 1400, mark: str = ""
    ) -> None:
        file = folder / "page.html"
        file.write_text(page, encoding="utf-8")
        self.browser, self.values = browser, values_of(page)
        browser.get_log("browser")
        browser.get_log("performance")
        self.resize(width)
        browser.get(file.as_uri() + mark)
        self.run("return new Promise(done => { const look = () => document.querySelector("
                 "'#own span') ? done() : setTimeout(look, 20); look(); })")  # fmt: skip

    def resize(self, width: int) -> None:
        sizes = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": width < 600}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", sizes)

    def run(self, script: str, *arguments: Any) -> Any:
        return self.browser.execute_script(script, *arguments)

    def window(self) -> tuple[int, int]:
        i, j = self.run("return document.getElementById('place').dataset.window").split(",")
        return int(i), int(j)

    def cells(self, place: str) -> list[float]:
        script = "const found = document.querySelectorAll(arguments[0] + ' span');"
        return self.run(script + "return [...found].map(n => +n.dataset.value)", place)

    def text(self, place: str) -> str:
        return self.run("return document.querySelector(arguments[0]).textContent", place)

    def choose(self, name: str, value: Any) -> None:
        self.run("const n = document.getElementById(arguments[0]); n.value = arguments[1];"
                 "n.dispatchEvent(new Event('change'))", name, str(value))  # fmt: skip

    def click(self, y: float, x: float) -> None:
        """At a place of the canvas, both from 0 to 1."""
        from selenium.webdriver import ActionChains

        canvas = self.browser.find_element("id", "canvas")
        self.run("arguments[0].scrollIntoView({block: 'center'})", canvas)
        wide, high = canvas.size["width"], canvas.size["height"]
        chain = ActionChains(self.browser, duration=10)
        chain.move_to_element_with_offset(
            canvas, round((x - 0.5) * wide), round((y - 0.5) * high)
        ).click().perform()

    def keys(self, *keys: str) -> None:
        from selenium.webdriver import ActionChains

        ActionChains(self.browser, duration=10).send_keys(*keys).perform()

    def check_quiet(self) -> None:
        """Nothing in the console, and nothing asked of a network."""
        assert self.browser.get_log("browser") == []
        for line in self.browser.get_log("performance"):
            message = json.loads(line["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                assert message["params"]["request"]["url"].startswith(("file:", "data:"))


def kernels_of(view: View, name: str, image: torch.Tensor) -> EffectiveKernels:
    layer = next(m for n, m in view.network.named_modules() if n.removeprefix("network.") == name)
    inputs = view.inputs(view.shown(image), [layer])
    return effective_kernels(layer, inputs[0][:1])


def close(found: list[float], wanted: torch.Tensor, packed: dict[str, Any], channel: int) -> None:
    """Equal but for the rounding to 256 levels."""
    limit = packed["step"][channel] / 2 * 1.01 + 1e-7
    gap = (torch.tensor(found, dtype=torch.float64) - wanted.flatten().double()).abs().max()
    assert len(found) == wanted.numel() and float(gap) <= limit


def check_numbers(opened: Opened, view: View, image: torch.Tensor, places: Any) -> None:
    """Every layer, at several places: gates, kernel, neighbour."""
    for number, (own, *_) in enumerate(opened.values["layers"]):
        opened.choose("layer", number)
        found = kernels_of(view, own["name"], image)
        gate = found.gate[0]
        for y, x in places:
            opened.click(y, x)
            i, j = opened.window()
            opened.choose("mode", "mean")
            close(opened.cells("#own .gates"), gate[:, :, i, j].mean(0), own["mean"], 0)
            opened.choose("mode", "channel")
            kept = len(own["kept"]) // 2
            opened.choose("channel", kept)
            channel = own["kept"][kept]
            close(opened.cells("#own .gates"), gate[channel, :, i, j], own["gates"], kept)
            opened.choose("neighbour", "left" if j else "right")
            side = j - 1 if j else j + 1
            close(opened.cells("#own .neighbour"), gate[channel, :, i, side], own["gates"], kept)
            output = own["weight"]["outputs"][-1]
            opened.choose("output", len(own["weight"]["outputs"]) - 1)
            group = output // (found.weight.shape[0] // found.groups)
            inside = channel - group * found.weight.shape[1]
            weight = found.weight[output, inside].flatten()
            expected = weight * gate[channel, :, i, j]
            limit = own["gates"]["step"][kept] / 2 * 1.01 * float(weight.abs().max()) + 1e-6
            shown = torch.tensor(opened.cells("#own .kernel"))
            if 0 <= inside < found.weight.shape[1]:
                assert float((shown - expected).abs().max()) <= limit


@pytest.mark.parametrize("operator", ["rfa", "rfcbam", "rfca"])
def test_numbers_of_operators(operator: str, browser: Any, tmp_path: Path) -> None:
    view, image = view_of(classifier(operator)), torch.randint(0, 255, (3, 32, 32)).byte()
    page = inspector_page(view, image, title=operator)
    opened = Opened(browser, page, tmp_path)
    check_numbers(opened, view, image, [(0.02, 0.03), (0.5, 0.4), (0.97, 0.99)])
    opened.check_quiet()


def test_clicks_keys_and_languages(browser: Any, tmp_path: Path) -> None:
    from selenium.webdriver import Keys

    view, image = view_of(classifier()), torch.randint(0, 255, (3, 32, 32)).byte()
    opened = Opened(browser, inspector_page(view, image, title="net"), tmp_path)
    first = opened.values["layers"][0][0]
    high, wide = first["output"]
    opened.click(0.52, 0.27)
    assert opened.window() == (high // 2, wide // 4)
    opened.keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_UP)
    assert opened.window() == (high // 2 - 1, wide // 4 + 2)
    opened.keys(*[Keys.ARROW_LEFT] * (wide + 3))
    assert opened.window()[1] == 0
    opened.choose("neighbour", "left")
    assert "no neighbour" in opened.text("#own .shared-line")
    opened.keys("n")
    assert opened.run("return document.getElementById('neighbour').value") != "left"
    opened.choose("neighbour", "right")
    # windows of attention over pixels share all gates of the pixels that both see
    script = "const n = document.querySelector(arguments[0] + ' .shared-line').dataset;"
    script += "return [+n.equal, +n.count]"
    opened.click(0.5, 0.5)
    assert opened.run(script, "#other") == [6, 6]
    equal, count = opened.run(script, "#own")
    assert count == 6 and equal < 6
    assert len(browser.find_elements("css selector", "#own .gates .shared")) == 6
    opened.keys("c")
    assert opened.run("return document.querySelector('#other h2').textContent").startswith("CA ")
    opened.keys("m")
    gates = kernels_of(view, first["name"], image).gate[0]
    i, j = opened.window()
    spread = gates[:, :, i, j].amax(1) - gates[:, :, i, j].amin(1)
    shown = int(opened.text("#own .gates p").rstrip(".").split()[-1])
    assert float(spread[shown]) >= float(spread.max()) - 3 * max(first["gates"]["step"])
    opened.keys("]")
    mode = (
        "return [document.getElementById('mode').value, document.getElementById('channel').value]"
    )
    assert opened.run(mode) == ["channel", "1"]
    opened.keys("[", "[")
    assert opened.run(mode)[1] == str(len(first["kept"]) - 1) and len(gates) == first["channels"]
    picture = "return document.getElementById('canvas').toDataURL()"
    pictures = {opened.run(picture)}
    for _ in range(2):
        opened.keys("o")
        pictures.add(opened.run(picture))
    assert len(pictures) == 3
    opened.keys("l")
    assert opened.run("return document.getElementById('layer').value") == "1"
    english = opened.text("#intro")
    browser.find_element("id", "language").click()
    assert opened.run("return document.documentElement.lang") == "zh-CN"
    assert "窗口" in opened.text("#intro") != english
    opened.check_quiet()


@pytest.mark.parametrize(
    ("mark", "language"), [("?lang=zh", "zh-CN"), ("?lang=en", "en"), ("?lang=xx", "en")]
)
def test_the_address_names_the_language(
    browser: Any, tmp_path: Path, mark: str, language: str
) -> None:
    view, image = view_of(classifier()), torch.randint(0, 255, (3, 32, 32)).byte()
    page = inspector_page(view, image, title="net")
    opened = Opened(browser, page, tmp_path, width=400, mark=mark)
    assert opened.run("return document.documentElement.lang") == language
    # one line, also where two characters could stand below each other
    box = "return document.getElementById('language').getBoundingClientRect()"
    assert opened.run(box)["height"] < opened.run(box)["width"]
    opened.check_quiet()


def test_a_small_screen_with_fingers(browser: Any, tmp_path: Path) -> None:
    view, image = view_of(classifier()), torch.randint(0, 255, (3, 32, 32)).byte()
    opened = Opened(browser, inspector_page(view, image, title="net"), tmp_path, width=400)
    assert opened.run("return document.documentElement.scrollWidth") <= 400
    cell = opened.run(
        "return document.querySelector('#own .gates span').getBoundingClientRect().width"
    )
    assert cell >= 30
    box = opened.run("const b = document.getElementById('canvas').getBoundingClientRect();"
                     "return [b.left, b.top, b.width, b.height]")  # fmt: skip
    before = opened.window()
    for kind, part in (("touchStart", 0.2), ("touchMove", 0.8), ("touchEnd", None)):
        points = [] if part is None else [
            {"x": box[0] + part * box[2], "y": box[1] + 0.3 * box[3]}
        ]  # fmt: skip
        browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        if kind == "touchStart":
            assert opened.window()[1] < before[1]
    high, _ = opened.values["layers"][0][0]["output"]
    assert opened.window()[0] == int(0.3 * high)
    browser.find_element("id", "language").click()
    assert opened.run("return document.documentElement.scrollWidth") <= 400
    opened.check_quiet()
    opened.resize(1400)


@pytest.mark.parametrize("name", ["weights/eurosat-rfa", "yolo11n-rfa.yaml"])
def test_published_weights_and_a_yolo(name: str, browser: Any, tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    model = root / name
    if name.endswith(".yaml"):
        pytest.importorskip("ultralytics")
        os.environ.setdefault("YOLO_AUTOINSTALL", "false")
        from ultralytics import YOLO

        from rfaconv import register

        register("ultralytics")
        model = tmp_path / "net.pt"
        YOLO(name, verbose=False).save(model)
    elif not model.is_dir():
        pytest.skip(f"needs {name}, which is not in the sdist")
    view = open_view(model, threshold=0.0)
    image = torch.randint(0, 255, (3, 240, 320)).byte()
    page = inspector_page(view, image, title=name)
    assert len(page.encode()) < 5_000_000
    opened = Opened(browser, page, tmp_path)
    check_numbers(opened, view, image, [(0.4, 0.6)])
    opened.check_quiet()
