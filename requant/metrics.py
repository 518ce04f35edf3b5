"""Metrics: figures of a model's outputs, of which larger is better, that a caller may judge plans by.

kl      − Σ p log(p / q), the mean over all rows of the last axis       p: softmax of the float model's logits, q: ours
top1    share of rows whose largest element is where the label says, or the float model
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .choices import require_choice
from .errors import DataError, RequantError
from .imported import imported
from .ir.load import reason
from .runtime.outputs import arrays

Outputs = Mapping[str, Any]  # callers' functions say what they expect
"""The outputs of a model by name, each an array with all samples along the first axis; where they differ in shape, or
that axis is none of samples, a list with one array a batch."""

Labels = NDArray[Any]
"""What is right for each sample, along the first axis."""

Function = Callable[[Outputs, Any], float]  # labels are whatever the caller's function takes
"""A caller's function of outputs, and of the labels, or of the float model's outputs where there are none."""


@dataclass(frozen=True)
class Metric:
    """A ``function`` of a model's outputs and of ``labels``, or of the float model's outputs where these are None.

    Larger is better. ``labels`` belong to all calibration samples, in their order.
    """

    name: str
    function: Function
    labels: Labels | None = None

    def score(self, outputs: Outputs, expected: Outputs | Labels) -> float:
        """Return the figure for ``outputs``, which may be NaN.

        Raises:
            RequantError: the function raises an error, or returns something else than a number.
        """
        try:
            return float(self.function(outputs, expected))
        except RequantError:
            raise
        except Exception as error:  # the caller's code raises whatever it likes
            raise RequantError(f"metric {self.name}: {type(error).__name__}: {reason(error)}") from error


def find_metric(metric: str | Function, labels: Labels | None) -> Metric | None:
    """Return the metric that is called ``metric``, or that the caller gives as a function; None for the SQNR.

    Args:
        metric: a key of `METRICS`, ``module:function`` of the caller's own, or the function.
        labels: what is right for each calibration sample.

    Raises:
        RequantError: there is no such metric, or it takes no labels.
    """
    if isinstance(metric, str) and ":" in metric:
        function = imported("metric", metric)
        if not callable(function):
            raise RequantError(f"metric {metric!r}: is {type(function).__name__}, which is no function")
        return Metric(metric, function, labels)
    if not isinstance(metric, str):
        if not callable(metric):
            raise RequantError(f"metric takes {', '.join(METRICS)} or a function, not {metric!r}")
        return Metric(getattr(metric, "__name__", type(metric).__name__), metric, labels)
    require_choice("metric", metric, METRICS)
    named = METRICS[metric]
    if labels is not None and metric == "sqnr":
        raise RequantError(f"labels need a metric: {WITH_DROP}")
    if labels is not None and metric not in _LABELLED:
        raise RequantError(f"metric {metric} takes no labels: it compares with the float model")
    return None if named is None else Metric(metric, named, labels)


def kl(outputs: Outputs, expected: Outputs) -> float:
    """Return minus the mean Kullback-Leibler divergence from the float model's distributions, in nats.

    Args:
        outputs: logits along the last axis of each output of floats.
        expected: those of the float model.
    """
    pairs = zip(_rows(outputs), _rows(expected), strict=True)
    divergences = [_divergence(_log_softmax(p), _log_softmax(q)) for q, p in pairs]
    return -float(np.concatenate(divergences).mean())


def top1(outputs: Outputs, expected: Outputs | Labels) -> float:
    """Return the share of rows whose largest element is the right one: the accuracy, or the agreement with float.

    Args:
        outputs: scores along the last axis.
        expected: labels, of the shape of one output without its last axis; or the outputs of the float model.

    Raises:
        DataError: no output, or more than one, has rows for the labels.
    """
    if isinstance(expected, Mapping):
        pairs = zip(_rows(outputs), _rows(expected), strict=True)
        return float(np.concatenate([y.argmax(-1) == z.argmax(-1) for y, z in pairs]).mean())
    fitting = [one for one in outputs.values() if isinstance(one, np.ndarray) and one.shape[:-1] == expected.shape]
    if len(fitting) != 1:
        shapes = ", ".join(f"{name!r} {_shape(one)}" for name, one in outputs.items())
        raise DataError(f"labels of shape {expected.shape} fit {len(fitting)} outputs, of {shapes}: top1 needs one")
    return float((fitting[0].argmax(-1) == expected).mean())


METRICS: Mapping[str, Function | None] = {"sqnr": None, "kl": kl, "top1": top1}
"""Metrics by name; the SQNR has no drop, since that of the float model is infinite."""

_LABELLED = {"top1"}

WITH_DROP = (
    f"{', '.join(name for name, function in METRICS.items() if function is not None)}, or a function of your own"
)
"""The metrics that a drop may be of, in words."""


def joined(names: Sequence[str], batches: Sequence[Sequence[object]], counts: Sequence[int]) -> Outputs:
    """Return the outputs of all batches by name.

    Args:
        names: of the outputs.
        batches: the outputs of each batch, in the order of the names.
        counts: the number of samples in each batch.
    """
    return {name: _joined([batch[place] for batch in batches], counts) for place, name in enumerate(names)}


def _joined(parts: list[object], counts: Sequence[int]) -> NDArray[Any] | list[object]:
    """Join ``parts`` along the first axis, where that is one of samples and the others are alike."""
    joint = [part for part in parts if isinstance(part, np.ndarray) and part.ndim]
    if len(joint) < len(parts) or any(part.shape[0] != count for part, count in zip(joint, counts, strict=True)):
        return parts
    return np.concatenate(joint) if len({part.shape[1:] for part in joint}) == 1 else parts


def _rows(outputs: Outputs) -> Iterator[NDArray[np.float64]]:
    """Yield the rows of each array of floats, [R, C]."""
    for samples in outputs.values():
        for array in arrays(samples):
            if np.issubdtype(array.dtype, np.floating) and array.ndim and array.size:
                yield array.reshape(-1, array.shape[-1]).astype(np.float64)


def _log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    normalized: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return normalized


def _divergence(p: NDArray[np.float64], q: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Σ p log(p / q) of each row; the arguments are logarithms."""
    is_possible = p > -np.inf
    logarithms = np.where(is_possible, p, 0.0) - np.where(is_possible, q, 0.0)
    sums: NDArray[np.float64] = (np.exp(p) * logarithms).sum(axis=-1)
    return sums


def _shape(samples: object) -> str:
    return str(samples.shape) if isinstance(samples, np.ndarray) else "of several shapes"
