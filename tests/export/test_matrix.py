"""Every operator in every runtime, at sizes that the export did not see."""

import pytest
import torch
from conftest_export import LAYERS, assert_equal, block, pictures
from torch import nn
