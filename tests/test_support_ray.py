"""Connecting to a Ray cluster, where there is none."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from karel_fast.support.checks import InputError
from karel_fast.support.ray import connected


def ray_that_fails(error: Exception) -> SimpleNamespace:
    """In place of the module `ray`: no cluster is there."""

    def init(**given: object) -> None:
        raise error

    return SimpleNamespace(is_initialized=lambda: False, init=init, shutdown=lambda: None)


@pytest.mark.parametrize("error", [ConnectionError("no running instance"), ValueError("not an address")])
def test_an_address_where_no_cluster_is(monkeypatch, error):
    monkeypatch.setitem(sys.modules, "ray", ray_that_fails(error))
    with (
        pytest.raises(InputError, match=rf"--address here:1: no Ray cluster answers there \({error}\)"),
        connected("here:1"),
    ):
        pass
    with pytest.raises(type(error)) as ours, connected(None):  # a local Ray that does not start is no wrong input
        pass
    assert ours.value is error
