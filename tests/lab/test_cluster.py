"""A grid on a Ray cluster of two nodes on this machine, one of which is lost on the way."""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from pathlib import Path

import pytest

from rfaconv.lab.cluster import run_on_ray
from rfaconv.lab.pool import train_cell
from rfaconv.lab.study import Grid, Study

pytestmark = pytest.mark.skipif(find_spec("ray") is None, reason="needs ray, an extra")


@pytest.mark.filterwarnings("ignore")  # of ray's own parts
def test_two_nodes_and_one_that_is_lost(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import ray
        from ray.cluster_utils import Cluster

    overrides = ("data.limit=64", "epochs=30")
    study = Study(recipes=("digits",), operators=("conv", "ca"), seeds=(0, 1), set=overrides)
    grid = Grid(study)
    recipe = grid.recipes["digits"]

    def job(cell, folder: str) -> dict:
        values = recipe.model_copy(update={"seed": cell.seed}).model_dump(mode="json")
        return {"recipe": values, "out": str(tmp_path / folder / str(cell)), "accelerator": "cpu"}

    options = {"num_cpus": 1, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=options)
    node = cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False)
    found, lost = {}, False
    try:
        assert sum(one["Alive"] for one in ray.nodes()) == 2
        for event in run_on_ray({cell: job(cell, "ray") for cell in grid.cells}, threads=1):
            if event is not None:
                found[event[0]] = event[1]["result"]
            elif not lost and len(list((tmp_path / "ray").glob("*/metrics.csv"))) > 1:
                cluster.remove_node(node)
                lost = True
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert lost and set(found) == set(grid.cells)
    alone = train_cell(job(grid.cells[0], "alone"))["result"]
    assert found[grid.cells[0]] == alone
