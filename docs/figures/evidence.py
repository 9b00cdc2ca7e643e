"""Sections that follow from the judged grid of EuroSAT, and what to use, by rule.

``<!-- table NAME -->…<!-- end -->`` in a page holds what :func:`blocks` gives for the name; with
``_zh`` behind the name in Chinese. Where results are not there yet the page keeps its text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from docs.figures import results
from docs.figures.results import Difference

FILE = "eurosat-converged-evidence"
BLOCK = re.compile(r"<!-- table (?P<name>\w+) -->\n.*?<!-- end -->", re.DOTALL)
NAMES = {
    "conv": "Conv2d", "cam": "CAMConv", "cbam": "CBAMConv", "ca": "CAConv", "rfa": "RFAConv",
    "rfcbam": "RFCBAMConv", "rfca": "RFCAConv", "features": "features",
    "rfa-values": "rfa-values", "unfold": "unfold", "wide-rfa": "wide-rfa", "long-rfa": "long-rfa",
}  # fmt: skip
OPERATORS = ("rfa", "rfcbam", "rfca")
KINDS = {
    "noise": ("noise", "噪声"), "blur": ("blur", "模糊"), "contrast": ("contrast", "低对比度"),
    "bright": ("brighter", "变亮"), "dark": ("darker", "变暗"), "jpeg": ("JPEG", "JPEG"),
}  # fmt: skip
Row = tuple[str, Mapping[str, Difference], bool]


def grid() -> dict[str, Any] | None:
    """What ``benchmarks/evidence.py`` found, if it is committed."""
    path = results.RESULTS / f"{FILE}.json"
    return results.load(FILE) if path.exists() else None


def missing() -> list[str]:
    """Sentences about what the pages wait for."""
    value = grid()
    if value is None:
        return [f"benchmarks/results/{FILE}.json: python benchmarks/evidence.py GRID --json it"]
    return [f"{FILE}: {sentence}" for sentence in value["missing"]]


def compared(value: Mapping[str, Any], table: str) -> dict[str, Difference]:
    """The differences of a table of the grid by operator, in points."""
    return {
        row["operator"]: Difference(
            100 * row["mean"],
            None if row["half_width"] is None else 100 * row["half_width"],
            len(row["seeds"]),
            None if row["half_width"] is None else 100 * row["corrected_half_width"],
        )
        for row in value["differences"]
        if row["table"] == table
    }


def verdict(one: Difference, less_is_better: bool = False) -> str:
    """``gains`` or ``loses`` where the corrected interval excludes zero, else ``none``.

    With one seed there is no interval: ``one seed``.
    """
    if one.corrected is None:
        return "one seed"
    if abs(one.mean) <= one.corrected:
        return "none"
    return "gains" if (one.mean > 0) != less_is_better else "loses"


def advice(verdicts: Sequence[str]) -> str:
    """What follows for a setting from the verdicts on the operators."""
    if "gains" in verdicts:
        return "try"
    return "leave" if "loses" in verdicts else "measure"


def settings(language: str, every: bool = True) -> list[Row]:
    """What was trained: what it is, the differences, whether less is better.

    Without ``every`` those of a front page: of EuroSAT the long schedule alone where that has all
    operators, and without equal time and calibration; of the detectors the longest training.
    """

    def say(english: str, chinese: str) -> str:
        return chinese if language == "zh" else english

    found: list[Row] = []
    value = grid()
    long = {} if value is None else compared(value, "top1")
    whole = all(operator in long for operator in OPERATORS)
    for name, (differences, epochs) in (
        ("EuroSAT", results.classification("eurosat")),
        ("Fashion-MNIST", results.classification("fashion-mnist")),
    ):
        if every or name != "EuroSAT" or not whole:
            label = say(f"classify {name}, {epochs} epochs", f"分类 {name}，{epochs} 轮")
            found.append((label, differences, False))
    if value is not None:
        epochs = value["settings"][f"recipes.{value['recipe']}.epochs"]
        for table, english, chinese, less in (
            ("top1", "", "", False),
            ("long", ", the convolution trained for as long", "，普通卷积训练同样时长", False),
            ("top1_equal_time", ", in the time of the convolution", "，与卷积同时长", False),
            ("corrupted_top1", ", corrupted images", "，受损图像", False),
            ("ece", ", calibration error", "，校准误差", True),
        ):
            differences = compared(value, table)
            if differences and (every or table in ("top1", "long", "corrupted_top1")):
                label = f"classify EuroSAT, {epochs} epochs{english}"
                found.append((say(label, f"分类 EuroSAT，{epochs} 轮{chinese}"), differences, less))
    for folder, score, english, chinese in (
        ("yolov8n-bccd", "map", "detect blood cells, YOLOv8n", "检测血细胞，YOLOv8n"),
        ("bccd-yolo", "", "detect blood cells, YOLOv8n", "检测血细胞，YOLOv8n"),
        ("fcos-bccd", "map", "detect blood cells, FCOS", "检测血细胞，FCOS"),
        ("unet-camvid-120x90", "miou", "segment streets, Unet", "分割街景，Unet"),
    ):
        if every or folder not in ("yolov8n-bccd", "fcos-bccd"):
            differences, epochs = results.task(folder, score) if score else results.compared(folder)
            if any(operator in differences for operator in OPERATORS):
                label = say(f"{english}, {epochs} epochs", f"{chinese}，{epochs} 轮")
                found.append((label, differences, False))
    return found


WORDS = {
    "gains": ("**gains**", "**提升**"), "loses": ("**loses**", "**下降**"),
    "none": ("no difference shown", "未见差异"), "one seed": ("one seed", "仅一个种子"),
    "try": ("try it", "可以试"), "leave": ("leave it", "不要用"),
    "measure": ("measure first", "先测量"),
}  # fmt: skip


def decision(language: str, numbers: bool) -> list[str]:
    """Setting by setting what each operator was shown to do, and what follows."""
    zh = language == "zh"
    heads = ["", *(NAMES[operator] for operator in OPERATORS), "因此" if zh else "so"]
    rows = []
    for label, differences, less in settings(language, every=numbers):
        cells, verdicts = [], []
        for operator in OPERATORS:
            one = differences.get(operator)
            if one is None:
                cells.append("")
                continue
            verdicts.append(verdict(one, less))
            word = WORDS[verdicts[-1]][zh]
            short = "–" if verdicts[-1] == "none" else word
            cells.append(f"{word} {corrected(one)}" if numbers else short)
        rows.append([label, *cells, WORDS[advice(verdicts)][zh]])
    return table(heads, rows)


def signed(value: float) -> str:
    """With a sign, and the minus that is as wide as a plus."""
    return f"{value:+.2f}".replace("-", "−")


def plain(one: Difference) -> str:
    """Mean and half the interval of one comparison alone."""
    return signed(one.mean) + ("" if one.half is None else f" ± {one.half:.2f}")


def corrected(one: Difference) -> str:
    """Mean and half the interval that shares the error with its table."""
    return signed(one.mean) + ("" if one.corrected is None else f" ± {one.corrected:.2f}")


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table."""
    lines = [
        "|" + "".join(f" {cell} |" if cell else " |" for cell in row) for row in (heads, *rows)
    ]
    return [lines[0], "|---" * len(heads) + "|", *lines[1:]]


def _mean(value: Mapping[str, Any], operator: str, key: str) -> str:
    one = value["operators"][operator]["scores"].get(key)
    return "" if one is None else f"{100 * one['mean']:.2f}"


def _difference(
    found: Mapping[str, Difference], operator: str, zh: bool, less: bool = False
) -> str:
    one = found.get(operator)
    return "" if one is None else f"{plain(one)} ({WORDS[verdict(one, less)][zh].strip('*')})"


def _left(value: Mapping[str, Any], zh: bool) -> list[str]:
    if not value["missing"]:
        return []
    listed = "; ".join(value["missing"])
    return ["", f"尚缺：{listed}。" if zh else f"Not there yet: {listed}."]


def accuracy(value: Mapping[str, Any], zh: bool) -> list[str]:
    """Accuracy after the long schedule beside the short one."""
    short, short_epochs = results.classification("eurosat")
    gains, equal = compared(value, "top1"), compared(value, "top1_equal_time")
    epochs = value["settings"][f"recipes.{value['recipe']}.epochs"]
    heads = (
        ["", f"{short_epochs} 轮：与卷积之差", f"{epochs} 轮：top-1 %", "与卷积之差", "多重比较校正后", "同时长之差"]
        if zh else
        ["", f"{short_epochs} epochs: less conv", f"{epochs} epochs: top-1 %", "less conv", "corrected", "at equal time"]
    )  # fmt: skip
    rows = []
    for operator in value["operators"]:
        earlier = short.get(operator)
        if operator == "features":
            earlier = results.ablation("features-only", "conv")
        one = gains.get(operator)
        rows.append([
            NAMES[operator], "" if earlier is None else plain(earlier),
            _mean(value, operator, "top1"), _difference(gains, operator, zh),
            "" if one is None else corrected(one),
            "" if operator not in equal else corrected(equal[operator]),
        ])  # fmt: skip
    late = max(abs(one["last_tenth"]) for one in value["operators"].values())
    seeds = max(len(one["seeds"]) for one in value["operators"].values())
    count = max((row["comparisons"] for row in value["differences"] if row["table"] == "top1"), default=1)  # fmt: skip
    said = (
        f"{seeds} 个种子。在最后十分之一的轮数里，精度的平均变化不超过 {100 * late:.2f} 个百分点。校正（Bonferroni）使"
        f"表中 {count} 个比较同时以 95% 成立；判断按校正后的区间。同时长：普通卷积训练结束之时，其他网络此时学习率尚未降完。"
        if zh else
        f"{seeds} seeds. Over the last tenth of the epochs the mean accuracy moved by at most {100 * late:.2f} points. "
        f"Corrected intervals (Bonferroni) hold for all {count} comparisons at once in 95% of cases; the verdicts go by them."
        " At equal time: when the convolution's training ends; the others are then within their schedules, before their learning rates have come down."
    )  # fmt: skip
    picture = (
        "各算子的学习曲线，按轮数与按时间"
        if zh
        else "Learning curves at equal epochs and at equal time"
    )
    return [
        *table(heads, rows), "", said, *_left(value, zh), "", '<div class="wide" markdown>', "",
        f"![{picture}](../figures/curves-light.svg)", "", "</div>",
    ]  # fmt: skip


def attention(value: Mapping[str, Any], zh: bool) -> list[str]:
    """What the gates do in the trained networks, and what the networks are without them."""
    heads = (
        ["", "熵", "窗口间", "图像间", "训练后 top-1 %", "门控取均值", "门控取 1/k²"] if zh else
        ["", "entropy", "between windows", "between images", "top-1 % as trained", "gates at their means", "gates at 1/k²"]
    )  # fmt: skip
    rows = []
    for operator, one in value["operators"].items():
        if "gates" not in one:
            continue
        gates = one["gates"]
        shown = [f"{100 * gates[key]:.1f}%" for key in ("between_windows", "between_images")]
        entropy = "" if gates["entropy"] is None else f"{100 * gates['entropy']:.2f}%"
        scores = [_mean(value, operator, f"gates_{k}") for k in ("trained", "constant", "uniform")]
        rows.append([NAMES[operator], entropy, *shown, *scores])
    lines = []
    for operator, one in compared(value, "attention").items():
        words = WORDS[verdict(one)][zh].strip("*")
        lines.append(
            f"* {NAMES[operator]} 减去只有特征：{plain(one)}，校正后 {corrected(one)}：{words}。" if zh else
            f"* {NAMES[operator]} less features only: {plain(one)}, corrected {corrected(one)}: {words}."
        )  # fmt: skip
    for operator, one in compared(value, "constant").items():
        words = WORDS[verdict(one)][zh].strip("*")
        lines.append(
            f"* {NAMES[operator]} 把门控固定为均值（不再训练）：{plain(one)}，校正后 {corrected(one)}：{words}。" if zh else
            f"* {NAMES[operator]} with its gates frozen at their means, not retrained: {plain(one)}, corrected {corrected(one)}: {words}."
        )  # fmt: skip
    said = (
        "熵：softmax 门控相对 log k² 的平均熵，100% 即均匀。“窗口间”和“图像间”：每个位置的门控在一幅图像各窗口之间、在各图像均值之间的"
        "标准差，除以门控均值，对各层取平均。" if zh else
        "Entropy: of the softmax gates relative to log k²; 100% is uniform. Between windows and images: the standard deviation of "
        "each tap's gate over the windows of an image, and of its means over the images, divided by the mean gate, averaged over the layers."
    )  # fmt: skip
    return [*table(heads, rows), "", said, *(["", *lines] if lines else [])]


def corruptions(value: Mapping[str, Any], zh: bool) -> list[str]:
    """Accuracy and calibration on corrupted images."""
    heads = ["", "清晰" if zh else "clean", *(names[zh] for names in KINDS.values())]
    heads += ["平均", "与卷积之差", "ECE", "受损 ECE", "ECE 之差"] if zh else ["mean", "less conv", "ECE", "ECE corrupted", "ECE less conv"]  # fmt: skip
    less, error = compared(value, "corrupted_top1"), compared(value, "ece")
    rows = []
    for operator in value["operators"]:
        if not _mean(value, operator, "ece"):
            continue
        keys = ("top1", *(f"top1_{kind}" for kind in KINDS), "corrupted_top1")
        rows.append([
            NAMES[operator], *(_mean(value, operator, key) for key in keys),
            _difference(less, operator, zh), _mean(value, operator, "ece"),
            _mean(value, operator, "corrupted_ece"), _difference(error, operator, zh, True),
        ])  # fmt: skip
    first = next((row["corrupted"] for row in value["runs"] if row.get("corrupted")), None)
    if first is None:
        return []
    listed = "; ".join(
        f"{one['meaning']} {', '.join(f'{s:g}' for s in one['strengths'])}"
        for one in first["kinds"].values()
    )
    said = (
        f"每种五个强度的平均（{listed}）。所有网络看到同样的受损图像。" if zh else
        f"Each the mean of five strengths: {listed}. All networks see the same corrupted images."
    )  # fmt: skip
    return [*table(heads, rows), "", said]


_OF_GRID: dict[str, Callable[[Mapping[str, Any], bool], list[str]]] = {
    "evidence_accuracy": accuracy,
    "evidence_attention": attention,
    "evidence_corrupted": corruptions,
}


def block(name: str) -> list[str] | None:
    """The lines of a block; None where it is no block of these, or its results are not there."""
    zh = name.endswith("_zh")
    name = name.removesuffix("_zh")
    if name in ("decision", "decision_numbers"):
        return decision("zh" if zh else "en", numbers=name == "decision_numbers")
    value = grid()
    if name not in _OF_GRID or value is None:
        return None
    return _OF_GRID[name](value, zh) or None


def with_blocks(text: str) -> str:
    """The text with every block made anew whose results are there."""

    def made(match: re.Match[str]) -> str:
        lines = block(match["name"])
        if lines is None:
            return match[0]
        return "\n".join([f"<!-- table {match['name']} -->", *lines, "<!-- end -->"])

    return BLOCK.sub(made, text)
