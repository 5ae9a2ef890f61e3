"""The nouns: frozen dataclasses that every room reads and writes, JSON both ways.

=========================  ==========================================================
`ModelSpec`                which network
`Artifact`                 an exported model and its manifest
`Parity`                   whether it still computes the same
`Device`, `DeviceState`    where it runs, and in what condition
`Plan`                     how to measure
`Job`, `JobResult`         what a runner is to do, and what it saw
`Measurement`              every sample of one case
`Sustained`                one case under load that does not end, interval by interval
`SessionOrder`             in which order the inferences of a session ran
`Trace`, `Breakdown`       operator times, and where the latency goes
`Stages`                   what an app waits for, from a picture to an answer
`FirstRun`                 what the first answer after a start takes
`Comparison`               two cases that took turns
`Rates`                    how fast this machine multiplies, at best
`Energy`                   what a meter told while cases ran (`records.energy`)
`Run`, `Case`              one call of ``mvdeploy bench``, as it is saved
`Study`, `StudyRun`        a table of a paper, and what was measured of it (`records.study`)
`SweepRun`                 networks over sizes and ways, and which runs there are (`records.sweep`)
`Task`, `FleetRun`         what is done on one of many devices (`records.fleet`)
`Baseline`                 what later runs are held against
`Evaluation`               how often files and networks are right on a data set
=========================  ==========================================================
"""

from mvdeploy.records.artifact import (
    Artifact,
    Delegation,
    ModuleInfo,
    Operator,
    PassReport,
    PlacementRisk,
    Preprocessing,
    Undelegated,
    same_release,
)
from mvdeploy.records.baseline import Baseline, BaselineCase
from mvdeploy.records.category import Category, OperatorKind
from mvdeploy.records.comparison import (
    Comparison,
    OutputComparison,
    OutputDifference,
    PairGroup,
    SessionPair,
)
from mvdeploy.records.device import (
    UNAVAILABLE,
    Cluster,
    CoolDown,
    Device,
    DeviceProfile,
    DeviceState,
    Reading,
)
from mvdeploy.records.evaluation import Evaluation
from mvdeploy.records.first_run import FirstRun, Start, StartJob
from mvdeploy.records.job import Job, JobModel, JobResult, ModelResult, Samples
from mvdeploy.records.measurement import Finding, Level, Measurement, Session, SessionOrder
from mvdeploy.records.parity import (
    Answers,
    ModuleParity,
    OutputError,
    OutputParity,
    Parity,
    ParityInput,
    PrecisionLoss,
    Verified,
)
from mvdeploy.records.plan import Plan, Warmup
from mvdeploy.records.profiler_cost import ChainTimes, Excess, ProfilerCost
from mvdeploy.records.quantized import CalibrationSet, Quantized, Scale
from mvdeploy.records.rates import Rate, Rates
from mvdeploy.records.run import Case, Failure, Run, SavedRun
from mvdeploy.records.sensitivity import ModuleNoise, Sensitivity
from mvdeploy.records.spec import (
    Arguments,
    FileInputs,
    ImageRule,
    ModelSpec,
    PatchSize,
    WeightsFile,
)
from mvdeploy.records.stages import Said, Stages, StagesJob, StagesSession
from mvdeploy.records.sustained import Gap, Interval, Moment, Sustained
from mvdeploy.records.tensor import Quantization, TensorInfo
from mvdeploy.records.trace import (
    Breakdown,
    BreakdownRow,
    OperatorTimes,
    TimeKind,
    Trace,
    TraceEvent,
)

__all__ = [
    "UNAVAILABLE",
    "Answers",
    "Arguments",
    "Artifact",
    "Baseline",
    "BaselineCase",
    "Breakdown",
    "BreakdownRow",
    "CalibrationSet",
    "Case",
    "Category",
    "ChainTimes",
    "Cluster",
    "Comparison",
    "CoolDown",
    "Delegation",
    "Device",
    "DeviceProfile",
    "DeviceState",
    "Evaluation",
    "Excess",
    "Failure",
    "FileInputs",
    "Finding",
    "FirstRun",
    "Gap",
    "ImageRule",
    "Interval",
    "Job",
    "JobModel",
    "JobResult",
    "Level",
    "Measurement",
    "ModelResult",
    "ModelSpec",
    "ModuleInfo",
    "ModuleNoise",
    "ModuleParity",
    "Moment",
    "Operator",
    "OperatorKind",
    "OperatorTimes",
    "OutputComparison",
    "OutputDifference",
    "OutputError",
    "OutputParity",
    "PairGroup",
    "Parity",
    "ParityInput",
    "PassReport",
    "PatchSize",
    "PlacementRisk",
    "Plan",
    "PrecisionLoss",
    "Preprocessing",
    "ProfilerCost",
    "Quantization",
    "Quantized",
    "Rate",
    "Rates",
    "Reading",
    "Run",
    "Said",
    "Samples",
    "SavedRun",
    "Scale",
    "Sensitivity",
    "Session",
    "SessionOrder",
    "SessionPair",
    "Stages",
    "StagesJob",
    "StagesSession",
    "Start",
    "StartJob",
    "Sustained",
    "TensorInfo",
    "TimeKind",
    "Trace",
    "TraceEvent",
    "Undelegated",
    "Verified",
    "Warmup",
    "WeightsFile",
    "same_release",
]
