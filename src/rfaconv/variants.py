"""The names of the operators, used everywhere: in Python, on the command line, in model names."""

from __future__ import annotations

RECEPTIVE_FIELD_OPERATORS = ("rfa", "rfcbam", "rfca")
"""Operators with attention over the receptive-field feature (paper, section 3)."""

BASELINE_OPERATORS = ("cam", "cbam", "ca")
"""Operators with attention over the feature map in front of a standard convolution."""

OPERATORS = RECEPTIVE_FIELD_OPERATORS + BASELINE_OPERATORS

GATES = (*RECEPTIVE_FIELD_OPERATORS, "none")
"""Gates of the projection op; ``none`` is the ablation: features without attention."""
