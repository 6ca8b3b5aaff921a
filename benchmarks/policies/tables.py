"""Runs every policy on every workload and prints a table for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.policies.bound import longest_wait_bound, makespan_bound
from benchmarks.policies.measures import CRITERIA, INTERACTIVE, Measures, measure
from benchmarks.policies.one_gpu import FifoOnOneGpu, OneBackend, share, swap_by_matrix
from benchmarks.policies.rivals import InvokeAI, RandomChoice, fifo, llama_swap
from benchmarks.policies.swarmui import WAKE_EVERY_S, SwarmUI
from benchmarks.policies.traces import Workload
from benchmarks.table import show
from corral.scheduling.policy import decide
from corral.scheduling.simulator import simulate
from corral.scheduling.simulator.values import Policy, Run, Trace


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """A policy by name; some keep state, so each run makes its own."""

    name: str
    make: Callable[[], Policy]
    wake_every_s: float | None = None
    arrange: Callable[[Trace], Trace] = lambda trace: trace
    """How it has the slots, where not as the trace has them."""

    def run(self, trace: Trace) -> Run:
        """Play a trace."""
        return simulate(self.arrange(trace), self.make(), wake_every_s=self.wake_every_s)


AS_GOOD, AS_GOOD_S = 1.01, 1.0
"""Figures within one per cent, or a second, of the lowest count as the best too: what one task's luck does."""

CORRAL = Contender(name="Corral", make=lambda: decide)
RIVALS = (
    Contender(name="FIFO", make=lambda: fifo),
    Contender(name="random", make=RandomChoice),
    Contender(name="SwarmUI", make=SwarmUI, wake_every_s=WAKE_EVERY_S),
    Contender(name="llama-swap", make=lambda: llama_swap),
    Contender(name="InvokeAI", make=InvokeAI),
    Contender(name="InvokeAI, users in turn", make=lambda: InvokeAI(users="in turn")),
)
CONTENDERS = (CORRAL, *RIVALS)
ON_ONE_GPU = (
    CORRAL,
    Contender(name="Corral, no engine exclusive", make=lambda: decide, arrange=share),
    Contender(name="FIFO", make=FifoOnOneGpu),
    Contender(name="SwarmUI", make=OneBackend),
    Contender(name="llama-swap, matrix", make=lambda: swap_by_matrix, arrange=share),
)


def list_contenders(workload: Workload) -> tuple[Contender, ...]:
    """List who plays a workload."""
    return ON_ONE_GPU if workload.has_one_gpu else CONTENDERS


def print_tables(workloads: Sequence[Workload], size: float) -> None:
    """Play and print workload after workload."""
    for workload in workloads:
        trace = workload.build(size)
        figures = {
            contender.name: measure(trace, contender.run(trace), workload.kind)
            for contender in list_contenders(workload)
        }
        print_table(workload, trace, figures)


def print_table(workload: Workload, trace: Trace, figures: Mapping[str, Measures]) -> None:
    """Print the figures of every policy on one workload."""
    bound = makespan_bound(trace)
    kinds = sorted({kind for measures in figures.values() for kind in measures.waits})
    owners = len({arrival.owner for arrival in trace.arrivals})
    head = ["", "makespan", "x bound", "loads"]
    head += [f"{kind} wait {part}" for kind in kinds for part in ("p50", "p99")]
    responses = [INTERACTIVE] if workload.has_one_gpu else []
    head += [f"{kind} response {part}" for kind in responses for part in ("p50", "p99")]
    has_lag = owners > 1 and not workload.has_one_gpu
    head += ["longest wait", *(["lag"] if has_lag else [])]
    rows = [
        _row(name, measures, bound.seconds, kinds, responses, has_lag=has_lag) for name, measures in figures.items()
    ]
    notes = [
        (workload.build.__doc__ or "").strip(),
        f"{len(trace.arrivals):,} tasks, {len(trace.places)} slots. Bound: {bound.seconds:,.0f} s ({bound.because});"
        f" longest wait at least {longest_wait_bound(trace):,.0f} s.",
        *(f"Best by {criterion}: {', '.join(best(criterion, figures))}." for criterion in workload.judged_by),
    ]
    show(f"{workload.name[0].upper()}{workload.name[1:]}", head, rows, notes)


def best(criterion: str, figures: Mapping[str, Measures]) -> list[str]:
    """Who has the lowest figure, and who is as good."""
    figure = {name: CRITERIA[criterion](measures) for name, measures in figures.items()}
    lowest = min(figure.values())
    return [name for name, value in figure.items() if value <= max(lowest * AS_GOOD, lowest + AS_GOOD_S)]


def _row(
    name: str,
    measures: Measures,
    bound_s: float,
    kinds: Sequence[str],
    responses: Sequence[str],
    *,
    has_lag: bool,
) -> tuple[str, ...]:
    waits = [f"{measures.wait(kind, part):,.0f}" for kind in kinds for part in (0.5, 0.99)]
    waits += [f"{measures.response(kind, part):,.0f}" for kind in responses for part in (0.5, 0.99)]
    lag = [f"{measures.largest_lag_s:,.0f}"] if has_lag else []
    makespan = f"{measures.makespan_s:,.0f}", f"{measures.makespan_s / bound_s:.3f}"
    return (name, *makespan, f"{measures.loads:,}", *waits, f"{measures.longest_wait_s:,.0f}", *lag)
