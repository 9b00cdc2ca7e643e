"""What was measured: cost against the published code, accuracy against the convolution."""

from __future__ import annotations

from docs.figures import results
from docs.figures.svg import Sheet

NAMES = {
    "cam": "CAMConv", "cbam": "CBAMConv", "ca": "CAConv",
    "rfa": "RFAConv", "rfcbam": "RFCBAMConv", "rfca": "RFCAConv",
}  # fmt: skip


def cost(scheme: str, language: str) -> Sheet:
    """Times relative to the convolution, ours and as published, in the same runtime."""
    rows: list[tuple[str, str, str, float, float]] = []
    one = "cpu-rfa-inference-batch8-1thread"
    for name, mode, english, chinese in (
        (one, "inference", "eight layers, inference", "八个层，推理"),
        ("cpu-networks-inference-batch8-1thread", "inference", "ResNet-18, inference", "ResNet-18，推理"),
        ("cpu-networks-training-batch8-1thread", "training", "ResNet-18, training step", "ResNet-18，训练一步"),
    ):  # fmt: skip
        ours, theirs = (results.layers(name, "rfa", s, mode) for s in ("fused", "published"))
        rows.append(("PyTorch", "rfa", english if language == "en" else chinese, ours, theirs))
    for target, runtime in (("onnx", "ONNX Runtime"), ("openvino", "OpenVINO")):
        found = results.load(f"export-{target}-8")["networks"]
        for operator in ("rfa", "rfcbam", "rfca"):
            pair = (found[f"{operator}_{side}"]["ratio"] for side in ("resnet18", "published"))
            label = "ResNet-18, inference" if language == "en" else "ResNet-18，推理"
            rows.append((runtime, operator, label, *pair))
    left, step, top = 268.0, 42.0, 58.0
    groups = len({runtime for runtime, *_ in rows})
    sheet = Sheet(760, top + step * len(rows) + 30 * groups + 36, "", scheme, language)
    sheet.title = sheet.say(
        "Time relative to the plain convolution: this library and the published formulation",
        "相对普通卷积的耗时：本库与论文公开代码",
    )
    most = max(theirs for *_, theirs in rows)
    scale = (760 - left - 60) / most
    sheet.rect(left, 14, 14, 14, "rfa", radius=2)
    sheet.text(left + 20, 26, "rfaconv", 12.5, anchor="start")
    sheet.rect(left + 100, 14, 14, 14, "published", radius=2)
    sheet.text(left + 120, 26, sheet.say("as published", "公开代码的写法"), 12.5, anchor="start")
    sheet.text(left + 230, 26, sheet.say("lower is better; 1 = convolution", "越低越好；1 = 普通卷积"), 12.5, "muted", "start")  # fmt: skip
    y, last = top - 8, ""
    for runtime, operator, label, ours, theirs in rows:
        if runtime != last:
            y += 26
            sheet.text(16, y, runtime, 13.5, anchor="start", bold=True)
            y, last = y + 10, runtime
        sheet.text(left - 12, y + 14, NAMES[operator], 13, anchor="end")
        sheet.text(left - 12, y + 29, label, 11, "muted", "end")
        for i, (value, fill) in enumerate(((ours, operator), (theirs, "published"))):
            sheet.rect(left, y + 2 + 15 * i, value * scale, 13, fill, radius=2)
            sheet.text(left + value * scale + 6, y + 13 + 15 * i, f"{value:.2f}", 11.5, anchor="start")  # fmt: skip
        y += step
    sheet.line(left + scale, top, left + scale, y, "ink", 1, dashed=True)
    note = sheet.say(
        "Batch 8, 224 pixels, float32, AMD EPYC (Zen 4). PyTorch: one thread. Others: two threads, exported files.",
        "批量 8，224 像素，float32，AMD EPYC（Zen 4）。PyTorch 为单线程，其余为双线程下的导出文件。",
    )  # fmt: skip
    sheet.text(16, y + 24, note, 11, "muted", "start")
    sheet.height = y + 38
    return sheet


def accuracy(scheme: str, language: str) -> Sheet:
    """Score less that of the convolution, with intervals, on every set that was trained."""
    sheet = Sheet(760, 10, "", scheme, language)
    sheet.title = sheet.say(
        "Score of each operator less that of the convolution, with 95% intervals",
        "各算子与普通卷积的得分之差及 95% 置信区间",
    )
    panels = [
        ("EuroSAT", sheet.say("top-1", "top-1"), *results.classification("eurosat")),
        ("Fashion-MNIST", "top-1", *results.classification("fashion-mnist")),
        ("BCCD, YOLOv8n", "mAP", *results.task("yolov8n-bccd", "map")),
        ("BCCD, YOLOv8n", "mAP", *results.compared("bccd-yolo")),
        ("BCCD, FCOS", "mAP", *results.task("fcos-bccd", "map")),
        ("CamVid, Unet", "mIoU", *results.task("unet-camvid-120x90", "miou")),
    ]
    panels = [panel for panel in panels if panel[2]]
    # one scale for all, to the nearest five points
    most = max(abs(d.mean) + (d.half or 0) for *_, found, _ in panels for d in found.values())
    most = 5 * -(-most // 5)
    left, right = 250.0, 740.0
    middle = (left + right) / 2
    scale = (right - left) / 2 / most
    y = 30.0
    sheet.text(left, y, sheet.say("← convolution better", "← 普通卷积更好"), 12, "muted", "start")
    sheet.text(right, y, sheet.say("operator better →", "算子更好 →"), 12, "muted", "end")
    top = y + 12
    y = top + 6
    for name, score, found, epochs in panels:
        y += 18
        sheet.text(16, y + 2, name, 13.5, anchor="start", bold=True)
        seeds = max(one.seeds for one in found.values())
        told = sheet.say(
            f"{score}, {epochs} epochs, {seeds} seeds", f"{score}，{epochs} 轮，{seeds} 个种子"
        )
        sheet.text(16, y + 19, told, 11, "muted", "start")
        for operator, one in found.items():
            sheet.text(left - 8, y + 4, NAMES[operator], 12, anchor="end")
            x = middle + one.mean * scale
            if one.half is not None:
                sheet.line(x - one.half * scale, y, x + one.half * scale, y, operator, 2)
                for end in (-1, 1):
                    at = x + end * one.half * scale
                    sheet.line(at, y - 4, at, y + 4, operator, 2)
            sheet.circle(x, y, 4.2, operator)
            y += 19
        if len(found) == 1:
            y += 12
        y += 6
    for tick in range(-int(most), int(most) + 1, 5):
        x = middle + tick * scale
        sheet.line(x, top, x, y, "ink" if tick == 0 else "line", 1 if tick == 0 else 0.5, dashed=tick != 0)  # fmt: skip
        sheet.text(x, y + 16, f"{tick:+d}" if tick else "0", 11, "muted")
    sheet.text(middle, y + 34, sheet.say("points; bars are 95% intervals over paired seeds", "百分点；横线为成对种子的 95% 置信区间"), 11.5, "muted")  # fmt: skip
    sheet.text(middle, y + 52, sheet.say("Up to 15 epochs no network has converged.", "15 轮以内的训练没有一个收敛。"), 12.5, bold=True)  # fmt: skip
    sheet.height = y + 64
    return sheet
