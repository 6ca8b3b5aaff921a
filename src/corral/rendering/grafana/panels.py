"""Panels and dashboards in the few shapes that ours have, on top of Grafana's foundation SDK."""

from __future__ import annotations

from dataclasses import dataclass

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import prometheus, stat, timeseries
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models import dashboard as models

from corral.rendering.documents import write_header
from corral.rendering.installation import Installation

SOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
_WIDTH = 24
"""Columns of Grafana's grid."""
_GRAPHS_ABREAST = 2
_STAT_HEIGHT = 4
_GRAPH_HEIGHT = 8
_GOOD = "green"
_BAD = "red"


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A line, or several, of a panel."""

    expression: str
    legend: str = ""
    """`{{node}}` is replaced by the label."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stat:
    """One number, or one for each series; red from `bad_from` on."""

    title: str
    queries: tuple[Query, ...]
    unit: str = "short"
    explains: str = ""
    bad_from: float | None = None
    bad_below: float | None = None
    decimals: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """Lines over time."""

    title: str
    queries: tuple[Query, ...]
    unit: str = "short"
    explains: str = ""
    is_stacked: bool = False
    highest: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Panels under one title: graphs two abreast, numbers as many as `columns` says."""

    title: str
    panels: tuple[Stat | Graph, ...]
    columns: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """A choice above the panels: values of a label."""

    name: str
    label: str
    query: str
    """`label_values(metric, label)`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """A dashboard."""

    name: str
    title: str
    rows: tuple[Row, ...]
    variables: tuple[Variable, ...] = ()

    def build(self, installation: Installation) -> models.Dashboard:
        """Make it with Grafana's SDK; the uid is the same each time, so that links to it and edits of it last."""
        cluster = installation.cluster.name
        built = (
            builders.Dashboard(f"{cluster}: {self.title}")
            .uid(f"corral-{self.name}-{cluster}"[:_UID_LENGTH])
            .description(" ".join(write_header(installation, comment="").split()))
            .tags(["corral", cluster])
            .editable()
            .time("now-6h", "now")
            .refresh("30s")
            .tooltip(models.DashboardCursorSync.CROSSHAIR)
            .with_variable(builders.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
            .link(_link_others(cluster))
        )
        for variable in self.variables:
            built = built.with_variable(_build_variable(variable))
        for row in self.rows:
            built = built.with_row(builders.Row(row.title))
            for panel in row.panels:
                built = built.with_panel(
                    _build_panel(panel, row.columns if isinstance(panel, Stat) else _GRAPHS_ABREAST)
                )
        return _number_panels(built.build())


_UID_LENGTH = 40
"""The longest uid that Grafana takes."""


def _link_others(cluster: str) -> builders.DashboardLink:
    link = builders.DashboardLink(f"{cluster}'s dashboards").type(models.DashboardLinkType.DASHBOARDS)
    return link.tags(["corral", cluster]).as_dropdown(True).keep_time(True)


def _build_variable(variable: Variable) -> builders.QueryVariable:
    return (
        builders.QueryVariable(variable.name)
        .label(variable.label)
        .datasource(SOURCE)
        .query(variable.query)
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
    )


def _build_panel(panel: Stat | Graph, abreast: int) -> stat.Panel | timeseries.Panel:
    built = _build_stat(panel) if isinstance(panel, Stat) else _build_graph(panel)
    for index, query in enumerate(panel.queries):
        built = built.with_target(_build_query(query, chr(ord("A") + index)))
    return (
        built.title(panel.title).description(panel.explains).unit(panel.unit).datasource(SOURCE).span(_WIDTH // abreast)
    )


def _build_stat(panel: Stat) -> stat.Panel:
    built = stat.Panel().height(_STAT_HEIGHT).no_value("–").graph_mode(common.BigValueGraphMode.NONE)
    built = built.reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]))
    if panel.decimals is not None:
        built = built.decimals(panel.decimals)
    steps = [models.Threshold(value=None, color=_GOOD)]
    if panel.bad_from is not None:
        steps.append(models.Threshold(value=panel.bad_from, color=_BAD))
    if panel.bad_below is not None:
        steps = [models.Threshold(value=None, color=_BAD), models.Threshold(value=panel.bad_below, color=_GOOD)]
    thresholds = builders.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps)
    return built.thresholds(thresholds).color_mode(common.BigValueColorMode.VALUE)


def _build_graph(panel: Graph) -> timeseries.Panel:
    legend = common_builders.VizLegendOptions().display_mode(common.LegendDisplayMode.LIST)
    legend = legend.placement(common.LegendPlacement.BOTTOM).show_legend(True)
    built = timeseries.Panel().height(_GRAPH_HEIGHT).min(0).legend(legend).fill_opacity(10)
    built = built.tooltip(common_builders.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI))
    if panel.highest is not None:
        built = built.max(panel.highest)
    if panel.is_stacked:
        built = built.stacking(common_builders.StackingConfig().mode(common.StackingMode.NORMAL).group("A"))
    return built


def _build_query(query: Query, name: str) -> prometheus.Dataquery:
    built = prometheus.Dataquery().expr(query.expression).ref_id(name).datasource(SOURCE).range()
    return built.legend_format(query.legend or "__auto")


def _number_panels(board: models.Dashboard) -> models.Dashboard:
    """Give every panel a number of its own, in order: Grafana needs one, and would choose it by chance."""
    for number, panel in enumerate(board.panels or (), start=1):
        panel.id_val = number
    return board
