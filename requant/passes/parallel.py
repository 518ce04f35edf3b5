"""Work side by side with one BLAS thread each, so that no result depends on the number of cores.

BLAS splits a product by the threads that it has, and rounds each way of splitting it differently: choices that are
nearly equal would flip. Independent pieces keep all cores busy instead.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import TypeVar

from threadpoolctl import ThreadpoolController

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Return a context in which products of numpy and scipy are computed by one thread each."""
    with _controller().limit(limits=1, user_api="blas"):
        yield


def side_by_side(function: Callable[[_Item], _Result], items: Iterable[_Item]) -> list[_Result]:
    """Apply ``function`` to each of ``items`` in threads, and return the results in their order."""
    with one_blas_thread(), ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(function, items))


@cache
def _controller() -> ThreadpoolController:
    import scipy.linalg  # noqa: F401  its BLAS is not numpy's, and is to be limited as well

    return ThreadpoolController()
