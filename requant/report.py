"""The report: what was done to a model, site by site and layer by layer, with measured errors."""

import json
import os
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from io import StringIO
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType

from .build_tables import build_tables
from .check_build import BuildCheck
from .deprecation import deprecated
from .finding_tables import findings
from .ir.destination import appearing
from .limits import LimitRecord
from .outputs import refuse_overwrite, require_report
from .passes.records import LayerRecord, PrecisionRecord, SiteRecord
from .plain import dumps
from .runtime.distance import Distance
from .tables import DISTANCE, distances, line, table, unmeasured

_PACKAGES = ("requant", "onnx", "onnx-ir", "onnxscript", "numpy", "onnxruntime", "onnxruntime-gpu")


@dataclass
class Report:
    """The record of a run of `requant.optimize`: sites, layers, and measured accuracy.

    Distances compare the float model with the lowered one, both run as written, over ``measured_samples`` of what
    ``measured_on`` says. A model in bfloat16, for which ONNX Runtime's CPU has no kernels, is measured in float32: see
    ``measured_in``. ``unmeasured`` says of the other outputs and layers why their values cannot be compared. ``notes``
    are what a user should know of the data and of choices; ``inputs`` the files that were read; ``build`` what the
    engine's builder makes of the model, where that was asked for. ``limits`` are what was reached of each limit, and of
    the metric, on the samples that judge.
    """

    model: str
    recipe: str
    target: str
    precision: str = "float32"
    measured_in: str = "float32"
    message: str = ""
    notes: list[str] = field(default_factory=list)
    measured_on: str = ""
    measured_samples: int = 0
    calibration: dict[str, str | int] = field(default_factory=dict)
    sites: list[SiteRecord] = field(default_factory=list)
    layers: list[LayerRecord] = field(default_factory=list)
    wide: list[PrecisionRecord] = field(default_factory=list)
    outputs: dict[str, Distance] = field(default_factory=dict)
    layer_distances: dict[str, Distance] = field(default_factory=dict)
    unmeasured: dict[str, str] = field(default_factory=dict)
    verification: float = 0.0
    bytes_before: int = 0
    bytes_after: int = 0
    times: dict[str, float] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=lambda: dict(_versions()))
    inputs: frozenset[Path] = frozenset()
    build: BuildCheck | None = None
    limits: list[LimitRecord] = field(default_factory=list)

    def copied(self) -> "Report":
        """Return a copy whose lists and dictionaries are its own."""
        return deepcopy(self)

    @property
    def rebased(self) -> list[SiteRecord]:
        """The old name of `transformed`."""
        deprecated("Report.rebased", "transformed")
        return self.transformed

    @property
    def transformed(self) -> list[SiteRecord]:
        """The sites whose channels were transformed."""
        return [site for site in self.sites if not site.reason]

    @property
    def added_nodes(self) -> int:
        """Nodes that the exact rewrites added to what runs at inference; Q/DQ pairs are not counted."""
        return sum(site.added_nodes for site in self.sites)

    def to_dict(self) -> dict[str, Any]:  # JSON: values of any plain type
        """The whole report as plain dictionaries, lists and numbers, as `save` writes it to JSON."""
        content: dict[str, Any] = asdict(replace(self, build=None))
        content["layers"] = [
            {**asdict(layer), "coded": layer.format, "sqnr": self._sqnr(layer)} for layer in self.layers
        ]
        content["refused"] = [asdict(site) for site in self.sites if site.reason]
        content["sites"] = [asdict(site) | {"readers": site.consumers} for site in self.transformed]  # the old name too
        content["added_nodes"] = self.added_nodes
        content["build"] = self.build.to_dict() if self.build is not None else None
        del content["layer_distances"], content["inputs"]
        return dict(json.loads(dumps(content)))  # tuples become lists

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the report as ``.json`` or as ``.html``, never over a file that was read.

        Raises:
            OutputError: the path is one of ``inputs``, has another ending, or cannot be written.
        """
        require_report(path)
        refuse_overwrite(self.inputs, path)
        text = self._json() if Path(path).suffix == ".json" else self._html()
        with appearing(Path(path)) as temporary:
            temporary.write_text(text, encoding="utf-8", errors="backslashreplace")

    def render(self) -> Group:
        """The report as rich tables, for a terminal."""
        return Group(*self._parts())

    def _sqnr(self, layer: LayerRecord) -> float | None:
        distance = self.layer_distances.get(layer.output)
        return distance.sqnr if distance else None

    @property
    def _calibrated_on(self) -> str:
        data = self.calibration
        held_out = f", {data['held_out']} of them held out" if data.get("held_out") else ""
        return f"{data.get('source', 'none')}, {data.get('samples', 0)} samples{held_out}"

    def _json(self) -> str:
        return dumps(self.to_dict()) + "\n"

    def _html(self) -> str:
        console = Console(record=True, width=160, file=StringIO())
        console.print(self.render())
        return console.export_html(inline_styles=True)

    def _parts(self) -> Iterator[RenderableType]:
        half = "" if self.precision == "float32" else f", {self.precision}"
        yield line(f"{self.model} → {self.target} ({self.recipe}{half})", style="bold")
        if self.message:
            yield line(self.message, style="yellow")
        yield from (line(f"note: {note}", style="yellow") for note in self.notes)
        yield line(
            f"calibration: {self._calibrated_on}; "
            f"{self.bytes_before / 1e6:.1f} MB → {self.bytes_after / 1e6:.1f} MB; "
            f"{len(self.transformed)} sites transformed, {self.added_nodes} nodes added"
        )
        yield table("Limits", ("limit", "asked for", "reached", "at least", "unit"), map(_limit_row, self.limits))
        if drops := self.calibration.get("dropped"):
            yield line(str(drops))
        titles = ("site", "kind", "solver", "nodes added", "error before", "after")
        yield table("Sites", titles, map(_site_row, self.sites))
        float_layers = [(layer.name, layer.op_type, layer.reason) for layer in self.layers if not layer.quantized]
        yield table("Left in float", ("layer", "op", "reason"), float_layers)
        float32_nodes = [(record.name, record.op_type, record.reason) for record in self.wide]
        yield table("Left in float32", ("node", "op", "reason"), float32_nodes)
        note = "" if self.measured_in == self.precision else f", computed in {self.measured_in}"
        yield table(f"Against the float model{note}", ("output", *DISTANCE), distances(self.outputs))
        if self.outputs:
            yield line(f"measured on {self.measured_samples} {self.measured_on}")
        yield unmeasured(self.unmeasured)
        if self.build is not None:
            yield build_tables(self.build)
            yield findings(self.build.findings, self.target)


def _site_row(site: SiteRecord) -> tuple[str, ...]:
    errors = [f"{error:.2e}" if error is not None else "" for error in (site.error_before, site.error_after)]
    nodes = str(site.added_nodes) if not site.reason else ""
    return (site.name, site.kind, site.reason or site.solver, nodes, *errors)


def _limit_row(record: LimitRecord) -> tuple[str, ...]:
    numbers = (f"{number:.6g}" if number is not None else "" for number in (record.limit, record.value, record.bound))
    return (record.name, *numbers, record.unit)


def _versions() -> Iterator[tuple[str, str]]:
    for package in _PACKAGES:
        try:
            yield package, version(package)
        except PackageNotFoundError:
            continue
