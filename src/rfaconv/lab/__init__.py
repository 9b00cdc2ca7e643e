"""The laboratory: training, comparing and looking at networks, whatever the task.

May import: everything below the command line. The library, from ``rfaconv.nn`` to
``rfaconv.export``, imports nothing of it.
"""

from rfaconv.lab.calibration import calibration_pictures
from rfaconv.lab.sources import load_source

__all__ = ["calibration_pictures", "load_source"]
