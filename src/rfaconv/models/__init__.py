"""Networks with the operators in them, registered with timm on import.

May import: surgery and everything below it. Needs timm (extra ``models``).

Example:
    >>> import timm, torch
    >>> import rfaconv.models
    >>> timm.list_models("rf*_resnet18")
    ['rfa_resnet18', 'rfca_resnet18', 'rfcbam_resnet18']
    >>> model = timm.create_model("rfa_resnet18", num_classes=10)
    >>> model(torch.randn(2, 3, 64, 64)).shape
    torch.Size([2, 10])
"""

from rfaconv.complexity import register_thop
from rfaconv.models.fitted import FittedResNet
from rfaconv.models.resnet import MODEL_NAMES, AttentionResNet, initialize_

register_thop()

__all__ = ["MODEL_NAMES", "AttentionResNet", "FittedResNet", "initialize_"]
