"""Makes the values of a checked file: what `corral.cluster.shape` read becomes `corral.cluster.values`.

No field is copied by hand. A field of a value is read from the field of the same name in its shape, or from the place
that the value's field names (`written_at`); a key that the file leaves out leaves the value's default. So a new field
is one line in the shape and one in the value. Only what a file does not say literally is computed here, in
`_COMPLETING`: the catalogue's facts about a GPU, the durations of a workload in one table, defaults by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import Field, fields, replace
from datetime import timedelta
from functools import cached_property
from typing import Any, cast, get_origin

from corral.cluster import (
    engine_shapes,
    gateway_shapes,
    gateway_values,
    keeping,
    machine_shapes,
    power_windows,
    prices,
    receiver_shapes,
    receivers,
    run_shapes,
    run_values,
    values,
    yields,
)
from corral.cluster import shape as shapes
from corral.cluster.document import YamlPath
from corral.cluster.fields import FOREVER
from corral.cluster.gpu_facts import GpuFacts
from corral.cluster.machine_shapes import Shape
from corral.cluster.values import WRITTEN_AT, Cluster, LayoutKind, QueueSettings
from corral.engine_kinds import ENGINES
from corral.hours import Hours, find_machine_zone, make_hours

KINDS: Mapping[type[Shape], type] = {
    shapes.ClusterShape: values.Cluster,
    machine_shapes.DiskShape: values.Disk,
    shapes.ElectricityShape: prices.Electricity,
    engine_shapes.EngineShape: values.EngineSettings,
    shapes.ExposureShape: values.Exposure,
    gateway_shapes.CloudModelShape: gateway_values.CloudModel,
    gateway_shapes.FrontendShape: gateway_values.Frontend,
    gateway_shapes.GatewayModelShape: gateway_values.GatewayModel,
    gateway_shapes.GatewayShape: gateway_values.Gateway,
    machine_shapes.GpuShape: values.Gpu,
    machine_shapes.HoursShape: Hours,
    machine_shapes.WeekShape: Hours,
    machine_shapes.PowerWindowShape: power_windows.PowerWindow,
    shapes.TariffShape: prices.TariffWindow,
    engine_shapes.InstanceShape: values.Instance,
    shapes.KubernetesShape: values.Kubernetes,
    shapes.LayoutShape: values.Layout,
    machine_shapes.LineShape: values.Line,
    gateway_shapes.ListenerShape: gateway_values.Listener,
    machine_shapes.NodeShape: values.Node,
    receiver_shapes.NotifyTargetShape: receivers.NotifyTarget,
    machine_shapes.OthersUseShape: yields.OthersUse,
    shapes.OutputFolderShape: keeping.OutputFolder,
    shapes.PlacementShape: values.Placement,
    shapes.QueueShape: values.QueueSettings,
    shapes.RetentionShape: keeping.Retention,
    shapes.RouteShape: values.Route,
    run_shapes.ComposeShape: run_values.Compose,
    run_shapes.ContainerShape: run_values.Container,
    run_shapes.RunShape: run_values.Run,
    shapes.SecretShape: values.SecretKey,
    shapes.ServerShape: values.ServerRules,
    shapes.ServiceShape: values.Service,
    shapes.StorageShape: values.Storage,
    receiver_shapes.WebhookReceiverShape: receivers.WebhookReceiver,
    receiver_shapes.WebhooksShape: receivers.Webhooks,
    shapes.WorkloadShape: values.Workload,
    machine_shapes.YieldToShape: yields.YieldTo,
}
"""The kind of value that each shape becomes; other shapes only group fields of the shape around them."""

COMPUTED = frozenset(
    {
        "EngineSettings.name",
        "GatewayModel.name",
        "Gpu.is_unified",
        "Hours.guests",
        "Hours.interrupt",
        "Hours.spans",
        "Hours.zone",
        "Layout.name",
        "Workload.seconds",
    }
)
"""Fields without a key of their own: they are made in `_COMPLETING`."""

_DEFAULT_QUEUE = "default"
_Fields = Mapping[str, Any]  # by name: values of every field's own type


def build(shape: shapes.ClusterShape, gpu_models: Mapping[YamlPath, GpuFacts]) -> Cluster:
    """Make the cluster of a file without problems; `gpu_models` has the catalogue's answers by path."""
    return cast("Cluster", _Builder(gpu_models, shape.time_zone).make(shape, ()))


class _Builder:
    """Makes values of shapes, each with its path in the file."""

    def __init__(self, gpu_models: Mapping[YamlPath, GpuFacts], time_zone: str | None) -> None:
        self.gpu_models = gpu_models
        self._time_zone = time_zone

    @cached_property
    def zone(self) -> str:
        """The time zone of the file's hours."""
        return self._time_zone or find_machine_zone()

    def make(self, shape: Shape, at: YamlPath) -> Any:  # an instance of `KINDS[type(shape)]`
        """Make the value of a shape."""
        kind = KINDS[type(shape)]
        own: dict[str, Any] = {}
        for field in fields(kind):
            written = read_place(shape, find_place(field))
            if written is not None:
                own[field.name] = self._convert(written, field, (*at, field.name))
        if complete := _COMPLETING.get(type(shape)):
            own.update(complete(self, shape, at))
        return kind(**own)

    def _convert(self, written: Any, field: Field[Any], at: YamlPath) -> Any:  # of the field's own type
        if written == FOREVER:
            return None
        if isinstance(written, timedelta) and field.name.endswith("_s"):
            return written.total_seconds()
        if isinstance(written, Shape):
            return self.make(written, at)
        if isinstance(written, dict):
            entries = cast("dict[str, Any]", written)
            return {key: self._convert(entry, field, (*at, key)) for key, entry in entries.items()}
        if isinstance(written, tuple):
            items = [self._convert(item, field, (*at, index)) for index, item in enumerate(cast("tuple[Any]", written))]
            return {item.name: item for item in items} if get_origin(field.default_factory) is dict else tuple(items)
        return written


def find_place(field: Field[Any]) -> tuple[str, ...]:
    """Return the names of the shape's fields that lead to the one a value's field is read from."""
    return tuple(str(field.metadata.get(WRITTEN_AT, field.name)).split("."))


def read_place(shape: Shape, place: tuple[str, ...]) -> Any:  # of the field's own type
    """Return the shape's field at a place; None where it, or what is around it, is left out or never written."""
    written: Any = shape
    for name in place:
        written = getattr(written, name, None)
    return written


# --- what a file does not say literally -----------------------------------------------------------------------------


def _complete_cluster(builder: _Builder, shape: shapes.ClusterShape, at: YamlPath) -> _Fields:
    """Every engine has settings, and there is a default queue, also where the file names none."""
    unset = engine_shapes.EngineShape.model_validate({})
    engines = {name: builder.make(shape.engines.get(name) or unset, ("engines", name)) for name in ENGINES}
    queues = {queue.name: builder.make(queue, ("queues",)) for queue in shape.queues}
    queues.setdefault(_DEFAULT_QUEUE, QueueSettings(name=_DEFAULT_QUEUE))
    return {"engines": engines, "queues": queues}


def _complete_engine(builder: _Builder, shape: engine_shapes.EngineShape, at: YamlPath) -> _Fields:
    name = str(at[-1])
    enabled = ENGINES[name].on_by_default if shape.enabled is None else shape.enabled
    return {"name": name, "enabled": enabled}


def _complete_gateway_model(builder: _Builder, shape: gateway_shapes.GatewayModelShape, at: YamlPath) -> _Fields:
    return {"name": at[-1]}


def _complete_hours(builder: _Builder, shape: machine_shapes.WeekShape, at: YamlPath) -> _Fields:
    hours = make_hours(shape.days, zone=builder.zone)
    own = {"spans": hours.spans, "zone": hours.zone}
    if not isinstance(shape, machine_shapes.HoursShape):
        return own
    return {**own, "interrupt": shape.interrupt, "guests": shape.guests}


def _complete_target(builder: _Builder, shape: receiver_shapes.NotifyTargetShape, at: YamlPath) -> _Fields:
    if not shape.quiet_hours:
        return {"quiet_hours": None}
    return {"quiet_hours": make_hours({"daily": shape.quiet_hours}, zone=builder.zone)}


def _complete_layout(builder: _Builder, shape: shapes.LayoutShape, at: YamlPath) -> _Fields:
    return {"name": at[-1], "kind": shape.kind or LayoutKind(at[-1])}


def _complete_gpu(builder: _Builder, shape: machine_shapes.GpuShape, at: YamlPath) -> _Fields:
    """The file's index and memory go before the GPU's place in the list and the catalogue's memory."""
    facts = builder.gpu_models.get(at)
    known: dict[str, Any] = {}
    if facts is not None:
        memory = shape.memory or facts.memory or None
        known = {"model": facts.name, "memory": memory, "is_unified": facts.is_unified}
    return {"index": at[-1] if shape.index is None else shape.index} | known


def _complete_node(builder: _Builder, shape: machine_shapes.NodeShape, at: YamlPath) -> _Fields:
    """A GPU without memory of its own has a share of its machine's."""
    if shape.gpus is None:
        return {}
    gpus: list[values.Gpu] = []
    for number, written in enumerate(shape.gpus):
        path = (*at, "gpus", number)
        gpu: values.Gpu = builder.make(written, path)
        facts = builder.gpu_models.get(path)
        if gpu.memory is None and facts is not None:
            gpu = replace(gpu, memory=facts.find_memory(shape.memory))
        gpus.append(gpu)
    return {"gpus": tuple(gpus)}


def _complete_workload(builder: _Builder, shape: shapes.WorkloadShape, at: YamlPath) -> _Fields:
    """One table of seconds by the catalogue's name of the GPU model, with `*` for every other."""
    durations = {model: builder.gpu_models.get((*at, "durations", model)) for model in shape.durations}
    seconds = {
        facts.name if facts else model: shape.durations[model].total_seconds() for model, facts in durations.items()
    }
    if shape.duration is not None:
        seconds["*"] = shape.duration.total_seconds()
    return {"seconds": seconds}


_COMPLETING: Mapping[type[Shape], Callable[[_Builder, Any, YamlPath], _Fields]] = {  # each takes its own kind of shape
    shapes.ClusterShape: _complete_cluster,
    engine_shapes.EngineShape: _complete_engine,
    gateway_shapes.GatewayModelShape: _complete_gateway_model,
    machine_shapes.GpuShape: _complete_gpu,
    machine_shapes.HoursShape: _complete_hours,
    machine_shapes.WeekShape: _complete_hours,
    shapes.LayoutShape: _complete_layout,
    machine_shapes.NodeShape: _complete_node,
    receiver_shapes.NotifyTargetShape: _complete_target,
    shapes.WorkloadShape: _complete_workload,
}
