"""What a network costs: parameters and multiply-adds counted, time and memory measured."""

from rfaconv.lab.costs.macs import NetworkCost, network_cost
from rfaconv.lab.costs.measure import Case, measure
from rfaconv.lab.costs.memory import peak_bytes

__all__ = ["Case", "NetworkCost", "measure", "network_cost", "peak_bytes"]
