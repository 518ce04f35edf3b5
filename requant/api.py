"""The functions beside `optimize`, from `inspect` to `benchmark`. Each loads, calls a subpackage, returns."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import onnx_ir as ir

from .calib.sources import RANDOM, Data, batches
from .errors import DataError
from .ir.canonical.canonicalize import canonicalize
from .ir.channels.find import Site, find_sites
from .ir.float_types import to_float32
from .ir.load import Source, describe, load
from .ir.refusal import Refusal
from .ir.save import save
from .ir.unsupported import find_unsupported
from .outputs import files, refuse_overwrite, require_outputs
from .runtime.benchmark import Latency
from .runtime.benchmark import benchmark as measure_latencies
from .runtime.check import Finding
from .runtime.check import check as run_rules
from .runtime.compare import Comparison
from .runtime.compare import compare as measure_distances
from .runtime.fix import FixResult
from .runtime.fix import fix as apply_fixes
from .runtime.targets import target as find_target


@dataclass(frozen=True)
class Inspection:
    """The sites of a model: found, refused and why; and the linear layers that no site feeds, each with the reason.

    Layers that no engine has an integer kernel for are among the ``refused``.
    """

    sites: tuple[Site, ...]
    refused: tuple[Refusal, ...]

    @property
    def outside(self) -> tuple[tuple[str, str], ...]:
        """Linear layers whose input belongs to no site, and why."""
        return tuple((layer, refusal.reason) for refusal in self.refused for layer in refusal.layers)

    def to_dict(self) -> dict[str, Any]:  # JSON: values of any plain type
        """Return plain dictionaries, lists and numbers; "readers" is the old name of "consumers"."""
        return {
            "sites": [_site_entry(site) for site in self.sites],
            "refused": [vars(refusal) for refusal in self.refused],
            "outside": [list(pair) for pair in self.outside],
        }


def inspect(source: Source) -> Inspection:
    """Find every site of the model; needs no data and no engine.

    Raises:
        SourceError: the model cannot be read.
    """
    model = load(source)
    to_float32(model)
    canonicalize(model)
    results = find_sites(model)
    sites = tuple(item for item in results if isinstance(item, Site))
    refused = [item for item in results if isinstance(item, Refusal)]
    return Inspection(sites, (*refused, *(layer.refusal for layer in find_unsupported(model.graph))))


def check(source: Source, target: str = "tensorrt", *, version: str | None = None) -> list[Finding]:
    """List what ``target`` would refuse, run in float or run slowly in a Q/DQ graph; empty when it runs as intended.

    Args:
        source: as `optimize` takes it.
        target: the engine that will run it.
        version: of the engine, such as "1.32"; None is the installed one, or else the newest known.

    Raises:
        SourceError: the model cannot be read.
        TargetError: the target is unknown, or ``version`` is malformed.
    """
    find_target(target, version)
    return run_rules(load(source), target, version=version)


def fix(source: Source, target: str = "tensorrt", output: str | os.PathLike[str] | None = None) -> FixResult:
    """Apply all safe fixes of what `requant.check` finds; the source is never modified.

    A fix is safe when it needs no calibration data and no decision.

    Args:
        source: as `requant.check` takes it.
        target: the engine that will run it.
        output: where to write the new model, if anywhere.

    Returns:
        The new model, the fixes that were applied (and whether the numbers stay the same), the findings that remain.

    Raises:
        SourceError: the model cannot be read.
        TargetError: the target is unknown.
        OutputError: nothing can be written at ``output``, or it is the source.
    """
    find_target(target)
    require_outputs(output)
    model = load(source)
    refuse_overwrite(files(source, model), output)
    result = apply_fixes(model, target)
    if output is not None:
        save(result.model, output)
    return result


def compare(
    reference: Source, candidate: Source, data: Data | None = None, *, samples: int | None = None
) -> Comparison:
    """Measure how far ``candidate`` is from ``reference``: SQNR in dB, cosine and largest error, both run as written.

    Args:
        reference: the model to measure from, usually the float one.
        candidate: a model with the same inputs and outputs.
        data: as `optimize` takes it; None uses seeded synthetic inputs, which tell no distance: see `Comparison`.
        samples: use only so many feeds.

    Raises:
        SourceError, DataError: a model or the data cannot be used.
    """
    models = load(reference), load(candidate)
    feeds = batches(data, models[0])
    comparison = measure_distances(*models, islice(feeds, samples))
    if not comparison.outputs:
        raise DataError(f"no output can be compared: {'; '.join(comparison.unmeasured.values())}")
    return replace(comparison, outputs={}, layers={}, message=RANDOM) if feeds.random else comparison


def benchmark(
    models: Sequence[Source] | Mapping[str, Source],
    data: Data | None = None,
    target: str = "cpu",
    *,
    runs: int = 30,
    threads: int = 2,
) -> list[Latency]:
    """Time models side by side on the target's engine, interleaved in one process.

    Args:
        models: speedups are relative to the first.
        data: one feed or more; None uses seeded synthetic inputs.
        target: the engine to time on.
        runs: turns that count.
        threads: intra-op threads of each session.

    Raises:
        TargetError: the target is unknown, not installed, or not on this machine.
    """
    find_target(target)
    sources = dict(models) if isinstance(models, Mapping) else _by_name(models)
    if not sources:
        raise DataError("no models to time")
    loaded: dict[str, ir.Model] = {name: load(source) for name, source in sources.items()}
    feeds = list(islice(batches(data, next(iter(loaded.values()))), 16))
    return measure_latencies(loaded, feeds, target, runs=runs, threads=threads)


def _by_name(models: Sequence[Source]) -> dict[str, Source]:
    """Map the names of ``models`` in messages to them, with a number where one is given twice."""
    names = [describe(source) for source in models]
    return {
        name if names.count(name) == 1 else f"{name} ({names[:index].count(name) + 1})": source
        for index, (name, source) in enumerate(zip(names, models, strict=True))
    }


def _site_entry(site: Site) -> dict[str, Any]:
    return {
        "kind": site.kind,
        "name": site.name,
        "values": [value.name for value in site.values],
        "channels": site.channels,
        "consumers": [consumer.linear.name for consumer in site.consumers],
        "readers": [consumer.linear.name for consumer in site.consumers],
        "restored": [edge.slot[0].name or edge.slot[0].op_type for edge in site.inverse_edges],
        "shift_blocked": site.shift_blocked,
    }
