"""The types of everything that stands in configs/config.yaml; the values stand there."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from omegaconf import MISSING


class Stage(Enum):
    """What to run; every stage but `all` and `fetch` needs the ones before it in the store."""

    all = "all"
    fetch = "fetch"
    encode = "encode"
    train = "train"
    prune = "prune"
    extract = "extract"
    evaluate = "evaluate"
    estimate = "estimate"
    report = "report"
    export = "export"
    compare = "compare"
    calibrate = "calibrate"


class Endpoints(Enum):
    """Which kind of model gives v(N) and v(empty)."""

    same = "same"
    dense = "dense"


class Device(Enum):
    """Where tensors live."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class Precision(Enum):
    """Arithmetic of training and sampling."""

    fp32 = "fp32"
    bf16 = "bf16"
    fp16 = "fp16"


@dataclass
class Runtime:
    """How things run; see configs/runtime."""

    device: Device = MISSING
    precision: Precision = MISSING
    threads: int = MISSING
    training_processes: int | str = MISSING
    checkpoint_seconds: float = MISSING
    stack: int | str = MISSING
    compile: str | None = MISSING
    cuda_graphs: bool = MISSING
    channels_last: bool = MISSING
    deterministic: bool = MISSING
    gradient_checkpointing: bool = MISSING
    keep_images: bool = MISSING


@dataclass
class Report:
    """What the report shows."""

    top: int = MISSING
    grid: int = MISSING
    interactions: bool = MISSING
    payout: dict[str, float] = MISSING


class Rows(Enum):
    """Which rows of a recorded game are estimated from."""

    all = "all"
    design = "design"


@dataclass
class Stop:
    """When evaluating may end before the design does; None is never."""

    ci_width: float | None = MISSING
    rank_stability: float | None = MISSING
    top_probability: float | None = MISSING
    budget: int | None = MISSING
    hours: float | None = MISSING


@dataclass
class Recorded:
    """A table of utilities that somebody recorded; see +experiment=recorded."""

    path: str | None = MISSING
    properties: list[str] | None = MISSING
    lower_is_better: list[str] = MISSING
    rows: Rows = MISSING


@dataclass
class Axioms:
    """What is known of contributors beforehand, by their names."""

    duplicates: list[Any] = MISSING
    null_players: list[str] = MISSING


@dataclass
class Plan:
    """How large a study is; options take their defaults from here."""

    pruning_ratio: float = MISSING
    recovery_steps: int = MISSING
    finetuning_steps: int = MISSING
    finetuning_rate: float = MISSING
    lora_rate: float = MISSING
    ascent_rate: float = MISSING
    coalitions: int = MISSING


@dataclass
class Compare:
    """What credits are held against, and how."""

    truth: dict[str, Any] = MISSING
    alphas: list[float] = MISSING
    coalitions: int = MISSING
    trainings: int = MISSING
    remove: list[float] = MISSING
    keep: list[float] = MISSING
    removals: list[str] = MISSING
    random: int = MISSING
    agreement: int = MISSING
    fidelity: float = MISSING
    steps: list[int] = MISSING
    credits_of_steps: bool = MISSING
    evaluate: bool = MISSING
    scores: dict[str, Any] = MISSING
    published: Any = MISSING


@dataclass
class Calibrate:
    """Which cheaper settings are tried, and on what."""

    coalitions: int = MISSING
    replicates: int = MISSING
    finetuning_steps: list[float] = MISSING
    generation_steps: list[float] = MISSING
    samplers: dict[str, Any] = MISSING
    sampler_steps: list[float] = MISSING
    images: list[float] = MISSING
    agreement: float = MISSING


@dataclass
class Paths:
    """Where results go."""

    outputs: str = MISSING


@dataclass
class Schema:
    """The whole config; what a group's option may hold is for the class that it names to say."""

    name: str = MISSING
    seed: int = MISSING
    stage: Stage = MISSING
    dry_run: bool = MISSING
    replicates: int = MISSING
    endpoints: Endpoints = MISSING
    allow_missing: bool = MISSING
    plan: Plan = field(default_factory=Plan)
    stop: Stop = field(default_factory=Stop)
    game: Recorded = field(default_factory=Recorded)
    axioms: Axioms = field(default_factory=Axioms)
    compare: Compare = field(default_factory=Compare)
    calibrate: Calibrate = field(default_factory=Calibrate)
    report: Report = field(default_factory=Report)
    paths: Paths = field(default_factory=Paths)
    runtime: Runtime = field(default_factory=Runtime)
    dataset: Any = MISSING
    partition: Any = MISSING
    model: Any = MISSING
    pruning: Any = MISSING
    finetuning: Any = MISSING
    generation: Any = MISSING
    extractor: Any = MISSING
    property: Any = MISSING
    design: Any = MISSING
    estimator: Any = MISSING
    executor: Any = MISSING
    method: Any = field(default_factory=dict)
    baseline: Any = field(default_factory=dict)
