"""Tasks of a Ray cluster: connecting, a few at a time, errors as they would read without Ray.

Ray is an optional extra: pip install "karel_fast[ray]".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from karel_fast.support.checks import InputError, one_line

Item = TypeVar("Item")


class WorkerLost(RuntimeError):
    """A worker died again and again, or its node did."""


@contextmanager
def connected(address: str | None) -> Iterator[Any]:
    """The `ray` module, connected to a cluster.

    address: of an existing cluster ("auto", or ray://..); without one a local Ray is started, unless this process is
    connected already. What was begun here ends here, with the tasks that still run.

    ModuleNotFoundError where Ray is not installed, InputError where no cluster answers.
    """
    try:
        import ray
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError('the ray engine needs Ray: pip install "karel_fast[ray]"') from error
    ours = not ray.is_initialized()
    if ours:
        try:
            ray.init(address=address, include_dashboard=False, log_to_driver=False, configure_logging=False)
        except (ConnectionError, ValueError) as error:
            if address is None:
                raise
            raise InputError(
                f"--address {address}: no Ray cluster answers there ({one_line(error)}); start one, or leave out --address"
            ) from error
    try:
        yield ray
    finally:
        if ours:
            ray.shutdown()


def task_resources(ray: Any, device: str, threads: int) -> tuple[dict[str, int], str]:
    """What a task with a model takes of a node, as `ray.remote` is told, and the device that it then sees.

    threads: at most so many processors, or all of the largest node. A task sees the GPU it was given as its only one. ValueError for a
    GPU that the cluster lacks.
    """
    gpu = device.startswith("cuda")
    if gpu and not ray.cluster_resources().get("GPU"):
        raise ValueError("the Ray cluster has no GPU: give --device cpu")
    most = max(int(node["Resources"].get("CPU", 1)) for node in ray.nodes())
    return {"num_cpus": min(threads, most), "num_gpus": int(gpu)}, "cuda" if gpu else device


def results(
    ray: Any, start: Callable[[Item], Any], items: Iterable[Item], at_once: int | None = None
) -> Iterator[tuple[Item, Any, Exception | None]]:
    """(item, result, None) or (item, None, what went wrong) of each item's task, in the order in which they end.

    start: begins the item's task and returns its reference. at_once: most tasks begun and not ended; None: two
    for each processor of the cluster. What a task raised comes as itself, a worker that died more often than the task is
    tried again as `WorkerLost`. Left early (an error, Ctrl-C), the tasks that still run are cancelled.
    """
    if at_once is None:
        at_once = 2 * max(1, int(ray.cluster_resources().get("CPU", 1)))
    running: dict[Any, Item] = {}
    todo = iter(items)
    try:
        while True:
            while len(running) < at_once:
                try:
                    item = next(todo)
                except StopIteration:
                    break
                running[start(item)] = item
            if not running:
                return
            ended, _ = ray.wait(list(running), num_returns=1)
            for reference in ended:
                yield running.pop(reference), *_result(ray, reference)
    finally:
        for reference in running:
            ray.cancel(reference)


def _result(ray: Any, reference: Any) -> tuple[Any, Exception | None]:
    try:
        return ray.get(reference), None
    except ray.exceptions.RayTaskError as error:
        return None, error.cause
    except ray.exceptions.RayError as error:
        return None, WorkerLost((str(error) or type(error).__name__).strip().splitlines()[0])
