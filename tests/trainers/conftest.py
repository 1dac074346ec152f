"""One Ray for all tests of this folder: starting it takes longer than most of them."""

import pytest


@pytest.fixture(scope="session")
def local_ray():
    from palaestra.trainers import cluster

    with cluster.connected(processes=6):
        yield
