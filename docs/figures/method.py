"""How the operators compute: data flow, one window in numbers, shared and own gates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from docs.figures.svg import Sheet

FOUND: dict[str, Any] = json.loads(
    (Path(__file__).parent / "window.json").read_text(encoding="utf-8")
)


def _box(sheet: Sheet, x: float, y: float, w: float, words: str, shape: str, stroke: str = "line", fill: str = "card", h: float = 46) -> None:  # fmt: skip
    """What a step is, above the shape of its result."""
    sheet.rect(x, y, w, h, fill, stroke, 1 if fill == "card" else 0.18)
    sheet.text(x + w / 2, y + h / 2 - (3 if shape else -4), words, 12)
    if shape:
        sheet.text(x + w / 2, y + h / 2 + 14, shape, 11, "muted", mono=True)


def _lane(sheet: Sheet, y: float, name: str, role: str, steps: list[tuple[str, str]], source: str) -> None:  # fmt: skip
    """One gate: its name, where it starts, its steps, and the gate at the end."""
    sheet.text(16, y + 20, name, 13.5, role, "start", bold=True)
    sheet.text(16, y + 38, source, 11.5, "muted", "start")
    left, width, gap = 138.0, 184.0, 24.0
    for i, (words, shape) in enumerate(steps):
        x = left + i * (width + gap)
        sheet.line(x - gap + 2, y + 23, x - 2, y + 23, role, arrow=True)
        _box(sheet, x, y, width, words, shape, role, role)


def operators(scheme: str, language: str) -> Sheet:
    """The computation that the operators share, and the gate of each."""
    sheet = Sheet(760, 536, "", scheme, language)
    say = sheet.say
    sheet.title = say(
        "Data flow of RFAConv, RFCBAMConv and RFCAConv with shapes, and of CBAM in front of a convolution",
        "RFAConv、RFCBAMConv、RFCAConv 的数据流与形状，以及卷积之前的 CBAM",
    )  # fmt: skip
    sheet.text(16, 24, say("What the three share (3×3 kernel: 9 taps)", "三者共有的部分（3×3 卷积核：9 个位置）"), 14, anchor="start", bold=True)  # fmt: skip
    y = 42.0
    boxes = [
        (16, 78, say("input x", "输入 x"), "C,H,W", "line"),
        (118, 112, say("patches u", "感受野块 u"), "C,9,Ho,Wo", "map"),
        (254, 158, say("f = ReLU(BN(G u))", "f = ReLU(BN(G u))"), "C,9,Ho,Wo", "map"),
        (480, 100, say("panel f ⊙ a", "门控 f ⊙ a"), "9C,Ho·Wo", "panel"),
        (604, 140, say("y = K · panel + b", "y = K · 面板 + b"), "O,Ho,Wo", "ink"),
    ]
    for x, w, words, shape, role in boxes:
        fill = "card" if role in ("line", "ink") else role
        _box(sheet, x, y, w, words, shape, role, fill)
    for left, right in ((94, 118), (230, 254), (412, 434), (458, 480), (580, 604)):
        sheet.line(left + 2, y + 23, right - 2, y + 23, "ink", arrow=True)
    sheet.circle(446, y + 23, 11, "paper", "gate")
    sheet.text(446, y + 28, "⊙", 15, "gate")
    sheet.line(446, y + 78, 446, y + 36, "gate", arrow=True)
    sheet.text(446, y + 94, say("gate a  (C,9,Ho,Wo)", "门控 a  (C,9,Ho,Wo)"), 12.5, "gate", bold=True)  # fmt: skip
    sheet.text(173, y + 64, say("G: grouped convolution, groups = C", "G：分组卷积，组数 = C"), 11.5, "muted")  # fmt: skip
    sheet.text(674, y + 64, say("K: the k×k kernel", "K：k×k 卷积核"), 11.5, "muted")

    top = 176.0
    sheet.text(
        16, top, say("Where the gate comes from", "门控从哪里来"), 14, anchor="start", bold=True
    )
    y = top + 16
    _lane(sheet, y, "RFAConv", "rfa", [
        (say("mean of the patch", "感受野块的均值"), "C,1,Ho,Wo"),
        (say("times w, one per tap", "乘以每个位置的权重 w"), "C,9,Ho,Wo"),
        (say("softmax over the 9 taps", "对 9 个位置做 softmax"), "C,9,Ho,Wo"),
    ], say("from u", "由 u 得到"))  # fmt: skip
    y += 62
    _lane(sheet, y, "RFCBAMConv", "rfcbam", [
        (say("max, mean over channels", "沿通道取最大值、均值"), "2,3Ho,3Wo"),
        (say("3×3 convolution, sigmoid", "3×3 卷积，sigmoid"), "1,9,Ho,Wo"),
        (say("times SE(x), per channel", "乘以 SE(x)，每通道一个"), "C,9,Ho,Wo"),
    ], say("from f and x", "由 f 与 x 得到"))  # fmt: skip
    y += 62
    _lane(sheet, y, "RFCAConv", "rfca", [
        (say("means of rows, of columns", "按行、按列取均值"), "C,3Ho + C,3Wo"),
        (say("1×1, BN, h-swish, 1×1, σ", "1×1、BN、h-swish、1×1、σ"), "C,3Ho + C,3Wo"),
        (say("row × column", "行 × 列"), "C,9,Ho,Wo"),
    ], say("from f", "由 f 得到"))  # fmt: skip
    y += 78
    sheet.line(16, y - 6, 744, y - 6, "line", 0.8, dashed=True)
    sheet.text(16, y + 16, say("For comparison: attention on pixels", "对比：作用在像素上的注意力"), 14, anchor="start", bold=True)  # fmt: skip
    y += 32
    _lane(sheet, y, "CBAMConv", "cbam", [
        (say("channel, then 7×7 gate", "通道门控，再 7×7 空间门控"), "C,H,W"),
        (say("x ⊙ A: one gate per pixel", "x ⊙ A：每个像素一个门控"), "C,H,W"),
        (say("ordinary k×k convolution", "普通 k×k 卷积"), "O,Ho,Wo"),
    ], say("from x", "由 x 得到"))  # fmt: skip
    sheet.height = y + 60
    return sheet


def window(scheme: str, language: str) -> Sheet:
    """One channel of one window of a trained layer: patch, feature, gate, panel, projection."""
    one = FOUND["windows"][0]
    panel = [f * a for f, a in zip(one["feature"], one["gate"], strict=True)]
    terms = [k * p for k, p in zip(FOUND["kernel"], panel, strict=True)]
    sheet = Sheet(760, 268, "", scheme, language)
    say = sheet.say
    sheet.title = say(
        "One window of a trained RFAConv layer in numbers: patch, feature, gate, panel, projection",
        "训练好的 RFAConv 层中一个窗口的数值：感受野块、特征、门控、面板、投影",
    )
    size, places = 98.0, FOUND["size"][1]
    sheet.image(16, 44, size, FOUND["jpeg"])
    scale = size / places
    sheet.rect(16 + (one["column"] - 1) * scale, 44 + (one["row"] - 1) * scale, 3 * scale, 3 * scale, "none", "gate", width=2, radius=0)  # fmt: skip
    sheet.text(16, 30, say("image, window", "图像与窗口"), 12.5, anchor="start")
    cell = 34.0
    columns: list[tuple[str, str, list[float], str]] = [
        (say("patch u", "感受野块 u"), say("9 inputs", "9 个输入"), one["patch"], "map"),
        (say("feature f", "特征 f"), "ReLU(BN(G u))", one["feature"], "map"),
        (say("gate a", "门控 a"), say("softmax, sum 1", "softmax，和为 1"), one["gate"], "gate"),
        (say("panel f ⊙ a", "面板 f ⊙ a"), say("feature × gate", "特征 × 门控"), panel, "panel"),
        (say("K ⊙ panel", "K ⊙ 面板"), say("sum: part of y", "求和：y 的一部分"), terms, "ink"),
    ]
    x = 142.0
    for i, (head, below, values, role) in enumerate(columns):
        sheet.text(x + 1.5 * cell, 30, head, 13, bold=True)
        top = max(abs(v) for v in values)
        sheet.grid(x, 44, cell, values, 3, "line" if role == "ink" else role, top, size=11)
        sheet.text(x + 1.5 * cell, 166, below, 12, "muted")
        if i + 1 < len(columns):
            sheet.text(x + 3 * cell + 11, 100, ("→", "⊙", "=", "·")[i], 16, "ink")
        x += 3 * cell + 22
    total = sum(terms)
    sheet.text(16, 202, say(
        f"Σ = {total:.3f}: what channel {FOUND['channel']} adds to output {FOUND['output']} at this place. The patch lies on an edge: bright on the left,",
        f"Σ = {total:.3f}：第 {FOUND['channel']} 通道对该位置第 {FOUND['output']} 个输出的贡献。该块位于一条边缘上：左亮右暗。",
    ), 12.5, anchor="start")  # fmt: skip
    sheet.text(16, 221, say(
        "dark on the right. G makes nine features of it; the gate weighs them by the mean of the patch alone.",
        "G 由它得到九个特征；门控只依据感受野块的均值为这些特征加权。",
    ), 12.5, anchor="start")  # fmt: skip
    sheet.text(16, 250, say(
        f"Layer {FOUND['layer']} of weights/{FOUND['network']}, {Path(FOUND['picture']).name} of EuroSAT, predicted {FOUND['predicted']}.",
        f"weights/{FOUND['network']} 的 {FOUND['layer']} 层，EuroSAT 图像 {Path(FOUND['picture']).name}，预测为 {FOUND['predicted']}。",
    ), 11.5, "muted", "start")  # fmt: skip
    return sheet


def sharing(scheme: str, language: str) -> Sheet:
    """Two neighbouring windows: gates of an attention map over pixels, and gates of their own."""
    sheet = Sheet(760, 470, "", scheme, language)
    say = sheet.say
    sheet.title = say(
        "Neighbouring windows share the gates of an attention map; receptive-field attention gives each its own",
        "注意力图的门控被相邻窗口共享；感受野注意力为每个窗口给出自己的门控",
    )  # fmt: skip
    cell = 38.0
    # left: a map over pixels, 3 x 4, seen by two windows
    sheet.text(190, 24, say("CBAM, CA: one gate per pixel", "CBAM、CA：每个像素一个门控"), 14, "cbam", bold=True)  # fmt: skip
    x, y = 114.0, 46.0
    for i in range(12):
        row, column = divmod(i, 4)
        both = column in (1, 2)
        sheet.rect(x + column * cell, y + row * cell, cell, cell, "cbam", "line", 0.5 if both else 0.14, 0, 0.8)  # fmt: skip
        sheet.text(x + column * cell + cell / 2, y + row * cell + 24, f"p{i + 1}", 12.5)
    sheet.rect(x - 3, y - 3, 3 * cell + 4, 3 * cell + 6, "none", "map", width=2.4)
    sheet.rect(x + cell - 1, y - 7, 3 * cell + 5, 3 * cell + 14, "none", "gate", width=2.4)
    sheet.text(x - 10, y + 62, say("window 1", "窗口 1"), 12, "map", "end")
    sheet.text(x + 4 * cell + 12, y + 62, say("window 2", "窗口 2"), 12, "gate", "start")
    for w, left in ((1, 50.0), (2, 216.0)):
        top = 212.0
        role = "map" if w == 1 else "gate"
        sheet.text(left + 1.5 * cell, top - 10, say(f"gates of window {w}", f"窗口 {w} 的门控"), 12, role)  # fmt: skip
        for tap in range(9):
            row, column = divmod(tap, 3)
            pixel = 4 * row + column + w
            shared = column + w in (2, 3)
            sheet.rect(left + column * cell, top + row * cell, cell, cell, "cbam", "line", 0.5 if shared else 0.14, 0, 0.8)  # fmt: skip
            sheet.text(left + column * cell + cell / 2, top + row * cell + 17, f"A{w}{tap + 1}", 12)
            sheet.text(left + column * cell + cell / 2, top + row * cell + 31, f"p{pixel}", 10.5, "muted")  # fmt: skip
    sheet.text(190, 352, "A12 = A21,  A13 = A22,  A15 = A24", 12.5, mono=True)
    sheet.text(190, 370, "A16 = A25,  A18 = A27,  A19 = A28", 12.5, mono=True)
    sheet.text(190, 398, say("6 of 9 gates are the same numbers.", "9 个门控中有 6 个是同样的数。"), 13, bold=True)  # fmt: skip
    sheet.text(
        190, 418, say("A window cannot choose alone.", "任何窗口都不能单独选择。"), 12.5, "muted"
    )

    # right: measured gates of two windows, next to each other
    sheet.line(380, 16, 380, 430, "line", 0.8, dashed=True)
    sheet.text(570, 24, say("RFAConv: nine gates per window", "RFAConv：每个窗口九个门控"), 14, "rfa", bold=True)  # fmt: skip
    windows = FOUND["windows"]
    top_value = max(v for one in windows for v in one["gate"])
    most = max(v for one in windows for v in one["patch"])
    for w, one in enumerate(windows):
        left = 424.0 + 166 * w
        role = "map" if w == 0 else "gate"
        sheet.text(left + 1.5 * cell, 46, say(f"patch of window {w + 1}", f"窗口 {w + 1} 的感受野块"), 12, role)  # fmt: skip
        sheet.grid(left, 56, cell, one["patch"], 3, "line", most, size=11.5)
        sheet.text(left + 1.5 * cell, 202, say(f"gates of window {w + 1}", f"窗口 {w + 1} 的门控"), 12, role)  # fmt: skip
        sheet.grid(left, 212, cell, one["gate"], 3, "rfa", top_value, size=11.5)
        sheet.line(left + 1.5 * cell, 174, left + 1.5 * cell, 188, "line", arrow=True)
    sheet.text(
        570,
        352,
        say("Same layer, same channel, one pixel apart;", "同一层、同一通道，只差一个像素；"),
        12.5,
    )
    sheet.text(
        570,
        370,
        say("measured in a trained network (EuroSAT).", "在训练好的网络（EuroSAT）中测得。"),
        12.5,
    )
    sheet.text(570, 398, say("No gate of one is a gate of the other.", "一个窗口的门控不是另一个窗口的门控。"), 13, bold=True)  # fmt: skip
    sheet.text(
        570,
        418,
        say("Each window has a kernel of its own.", "每个窗口都有自己的卷积核。"),
        12.5,
        "muted",
    )
    sheet.text(380, 456, say("Numbers p1…p12 are pixels; A12 is the gate of tap 2 in window 1.", "p1…p12 为像素；A12 表示窗口 1 中第 2 个位置的门控。"), 11.5, "muted")  # fmt: skip
    return sheet
