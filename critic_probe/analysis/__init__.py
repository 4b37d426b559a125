"""Values become scores, scores become figures with intervals: the results of the commands."""

from critic_probe.analysis.compare import compare
from critic_probe.analysis.doctor import doctor
from critic_probe.analysis.measure import Settings
from critic_probe.analysis.perturb import Plan, edited_responses, perturb
from critic_probe.analysis.price import price
from critic_probe.analysis.results import CompareResult, DoctorResult, PerturbResult, TraceResult
from critic_probe.analysis.trace import trace

__all__ = [
    "CompareResult",
    "DoctorResult",
    "PerturbResult",
    "Plan",
    "Settings",
    "TraceResult",
    "compare",
    "doctor",
    "edited_responses",
    "perturb",
    "price",
    "trace",
]
