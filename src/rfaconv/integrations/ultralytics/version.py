"""Which ultralytics is there, and whether it is new enough."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, version

from rfaconv.integrations import IntegrationError

MINIMUM = (8, 3, 0)
"""The oldest ultralytics to be tried; the self-test of the registration has the last word."""

INSTALL = "pip install 'rfaconv[ultralytics]' (ultralytics is licensed under AGPL-3.0)"


def check_version() -> str:
    """Returns the installed version of ultralytics.

    Raises:
        IntegrationError: it is missing or older than :data:`MINIMUM`.
    """
    try:
        found = version("ultralytics")
    except PackageNotFoundError as error:
        raise IntegrationError(f"ultralytics is not installed: {INSTALL}") from error
    numbers = tuple(int(n) for n in re.findall(r"\d+", found)[:3])
    if numbers < MINIMUM:
        wanted = ".".join(map(str, MINIMUM))
        raise IntegrationError(
            f"ultralytics {found} is too old, {wanted} or newer is needed: "
            "pip install --upgrade ultralytics"
        )
    return found
