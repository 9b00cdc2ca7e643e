"""The operators in ultralytics' YOLO models, without a fork.

ultralytics is licensed under AGPL-3.0: what is built with it falls under that licence. The rest of
rfaconv works without it. The layers are in :mod:`rfaconv.integrations.ultralytics.layers`;
importing that module, as unpickling a checkpoint or a process of a multi-GPU training does,
registers them.
"""

from rfaconv.integrations.ultralytics.configs import NETWORKS, model_config
from rfaconv.integrations.ultralytics.conversion import convert
from rfaconv.integrations.ultralytics.rows import write_model_yaml
from rfaconv.integrations.ultralytics.version import MINIMUM

__all__ = ["MINIMUM", "NETWORKS", "convert", "model_config", "write_model_yaml"]
