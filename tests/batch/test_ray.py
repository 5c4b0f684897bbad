"""Ray Data on a real cluster of several node processes, one of them killed on the way."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import ROOT
from folioscope.batch.begin import begin
from folioscope.batch.ray_data import run_on_ray
from folioscope.batch.settings import Here
from piles import merged, pile, quiet_run, results, settings

ray = pytest.importorskip("ray")

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head without work and two nodes of one CPU each."""
    from ray.cluster_utils import Cluster

    for name in ("src", "tests"):  # the actors find the package as this process does
        monkeypatch.syspath_prepend(str(ROOT / name))
    monkeypatch.setenv("PYTHONPATH", f"{ROOT / 'src'}:{ROOT / 'tests'}")
    monkeypatch.setenv("RAY_raylet_start_wait_time_s", "300")  # on a busy machine
    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": 80 * 2**20})
    for _ in range(2):
        found.add_node(num_cpus=1, object_store_memory=80 * 2**20)
    ray.init(address=found.address, log_to_driver=False)
    yield found
    ray.shutdown()
    found.shutdown()


def kill_a_node(cluster: Any, out: Path, killed: list[int]) -> None:
    """Kill a node's processes, as SIGKILL does, once something has been read; note how much was read by then."""
    while len(list((out / "parts").glob("*"))) < 2:
        time.sleep(0.05)
    cluster.remove_node(cluster.list_all_nodes()[-1], allow_graceful=False)
    killed.append(len(list((out / "parts").glob("*"))))


def through_ray(cluster: Any, tmp_path: Path, checkpoint: Path, documents: int, longest: int) -> None:
    broken = pile(tmp_path / "pile", documents, seed=documents, longest=longest)
    quiet_run(tmp_path / "pile", tmp_path / "quiet", checkpoint)
    out, killed = tmp_path / "out", list[int]()
    run = begin([str(tmp_path / "pile")], str(out), settings(checkpoint))
    thread = threading.Thread(target=kill_a_node, args=(cluster, out, killed), daemon=True)
    thread.start()
    run_on_ray(run, Here(str(out), threads=1), workers=2)
    thread.join()
    assert killed
    assert killed[0] < run.groups  # on the way
    assert merged(out) == merged(tmp_path / "quiet")
    assert {name for name, line in results(out).items() if line["status"] == "failed"} == broken.keys()


@pytest.mark.parametrize(("documents", "longest"), [(24, 20), (200, 40)])
def test_a_node_killed_on_the_way(
    cluster: Any, tmp_path: Path, pile_checkpoint: Path, documents: int, longest: int
) -> None:
    through_ray(cluster, tmp_path, pile_checkpoint, documents, longest)
