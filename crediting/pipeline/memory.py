"""How much memory a study takes: foretold, held against what the device has, and then seen."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import nn

from crediting.errors import ConfigError
from crediting.interfaces import FineTuning
from crediting.multiprocess import forget_allocated, most_allocated_elsewhere, most_resident
from crediting.pipeline.machine import open_machine, release_memory, training_processes
from crediting.pipeline.study import Study
from crediting.progress import say
from crediting.training.footprint import (
    UNFORESEEABLE,
    Arithmetic,
    TrainingMemory,
    of_sampling,
    of_training,
    told,
)
from crediting.training.recipe import BatchGradient, Recipe, Training

_TIGHT = 0.9


class Needs(NamedTuple):
    """What the full model's training takes, a coalition's (None: no training) and drawing."""

    training: TrainingMemory
    coalition: TrainingMemory | None
    drawing: int


def tell_memory(study: Study) -> None:
    """Print what training and drawing images would take, and what a GPU has."""
    try:
        needs = _needs(study)
    except UNFORESEEABLE as error:
        print(f"memory    cannot be estimated: {str(error).splitlines()[0]}")
        return
    print(f"memory    training {_parts(needs.training)}")
    stack = study.runtime["stack"]
    each = "" if stack in (1, "auto") else f", times {stack} in a stack"
    coalition = needs.coalition
    trained = "" if coalition is None else f"a coalition at most {told(coalition.total)}{each}; "
    device = open_machine(study.runtime).device.type
    at_once = study.generation.at_once(device)
    print(f"memory    {trained}drawing {at_once} images at once {told(needs.drawing)}")
    if device == "cuda":
        free, total = torch.cuda.mem_get_info()
        print(f"memory    the GPU has {told(total)}, of which {told(free)} are free")


def check_memory(study: Study, denoiser: nn.Module, device: str) -> None:
    """Say that base training is near what a GPU has free, or refuse what it cannot even hold.

    Raises:
        ConfigError: weights, moments and averaged weights alone are more than that.
    """
    if device != "cuda":
        return
    try:
        needed = _of_base_training(study, denoiser, device)
    except UNFORESEEABLE:
        return
    release_memory()  # what stages before have left to this process counts as taken
    free, _ = torch.cuda.mem_get_info()
    keys = (
        f"lower model.training.batch_size ({study.model.training.batch_size}), or set "
        "runtime.gradient_checkpointing=true, runtime.precision=bf16 or "
        "model.training.optimizer=adamw8bit"
    )
    if needed.lasting > free:
        raise ConfigError(
            f"model.training: {told(needed.lasting)} of weights, moments and averaged weights "
            f"alone do not fit into the {told(free)} that the GPU has free; with a step training "
            f"takes {told(needed.total)}. Use a larger GPU or a smaller model, free this one, or, "
            f"as far as it goes, {keys}"
        )
    if needed.total > _TIGHT * free:
        alone = training_processes(study.runtime) == 1
        then = "gradients of parts of a batch are added up; to keep it whole, " if alone else ""
        say(
            f"train: about {told(needed.total)} of memory are needed and {told(free)} are free on "
            f"the GPU; should they not suffice, {then}{keys}"
        )


def start_watching() -> None:
    """Forget the peak so far on GPUs."""
    forget_allocated()
    if torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()


def peak() -> dict[str, Any]:
    """Return the most memory that was taken, as facts: bytes, and what was looked at.

    On a GPU by the tensors of this process, or of one that it trained with, since
    `start_watching`; else by the largest of this process and those it started, resident, since
    each began.
    """
    if torch.cuda.is_initialized():
        seen = max(torch.cuda.max_memory_allocated(), most_allocated_elsewhere())
        what = "tensors on the GPU"
    else:
        seen, what = most_resident(), "resident in the largest process"
    return {"peak_memory": seen, "peak_memory_of": what}


def say_peak(stage: str) -> dict[str, Any]:
    """Say the peak as `peak` returns it, and return it."""
    facts = peak()
    say(f"{stage}: at most {told(facts['peak_memory'])} of memory ({facts['peak_memory_of']})")
    return facts


class Watch:
    """Says what a process that evaluates takes on a GPU, and again when it is a tenth more."""

    def __init__(self) -> None:
        self._said = 0

    def look(self) -> None:
        """Say it if there is a reason to."""
        if torch.cuda.is_initialized() and torch.cuda.max_memory_allocated() > 1.1 * self._said:
            self._said = say_peak("evaluate")["peak_memory"]


def _needs(study: Study) -> Needs:
    device = open_machine(study.runtime).device.type
    how = _how(study, device)
    denoiser = study.model.untrained(0)
    inputs = study.model.example_inputs(denoiser)
    training = _of_base_training(study, denoiser, device)
    predicted = predictions_per_image(study) * study.generation.at_once(device)
    drawing = of_sampling(denoiser, inputs, predicted, how)
    asked = _coalition(study, study.game.finetuning, lambda: study.model.untrained(0))
    coalition = None
    if asked is not None:
        coalition = of_training(asked.denoiser, inputs, drawable(study, asked.recipe), how)
    return Needs(training, coalition, drawing)


def _of_base_training(study: Study, denoiser: nn.Module, device: str) -> TrainingMemory:
    recipe = drawable(study, study.model.training)
    share = -(-recipe.batch_size // training_processes(study.runtime))
    inputs = study.model.example_inputs(denoiser)
    return of_training(denoiser, inputs, replace(recipe, batch_size=share), _how(study, device))


def _how(study: Study, device: str) -> Arithmetic:
    runtime = study.runtime
    return Arithmetic(device, runtime["precision"], runtime["gradient_checkpointing"])


def _parts(memory: TrainingMemory) -> str:
    return (
        f"{told(memory.total)}: weights {told(memory.weights)}, moments {told(memory.moments)}, "
        f"averaged weights {told(memory.average)}, a step {told(memory.step)} (activations "
        f"{told(memory.activations)}, gradients {told(memory.gradients)})"
    )


def predictions_per_image(study: Study) -> int:
    """Return how many predictions a step of drawing takes for an image: 2 if it is guided.

    Of a generation of one's own that does not say, 2 are assumed where there are prompts.
    """
    guided = study.model.conditional and getattr(study.generation, "guidance", True) is not None
    return 2 if guided else 1


def drawable(study: Study, recipe: Recipe) -> Recipe:
    """Return a recipe whose batches are those that are drawn: at most all examples."""
    return replace(recipe, batch_size=min(recipe.batch_size, study.partition.n_examples))


def typical_steps(study: Study, finetuning: FineTuning) -> int:
    """Return the training steps of a coalition with half of the examples, where steps vary."""
    asked = _coalition(study, finetuning, nn.Identity)
    return 0 if asked is None else asked.recipe.steps


def _coalition(
    study: Study, finetuning: FineTuning, make: Callable[[], nn.Module]
) -> Training | None:
    """Return the training of a coalition with half of the examples, as if nothing were pruned."""
    if finetuning.recipe is None:
        return None
    count = study.partition.n_examples
    kept, removed = torch.arange(count).tensor_split([count // 2])
    asked = finetuning.coalition_model(_Untrained(make), kept, removed)
    return asked if isinstance(asked, Training) else None


@dataclass(frozen=True)
class _Untrained:
    """What a fine-tuning may start from where nothing is trained yet; interfaces.StartingPoint."""

    untrained: Callable[[], nn.Module]

    def trained(self) -> nn.Module:
        return self.untrained()

    def averaged(self) -> nn.Module:
        return self.untrained()

    def gradients(
        self, denoiser: nn.Module, examples: torch.Tensor, batch_size: int, *, draw: int
    ) -> Iterator[BatchGradient]:
        return iter(())
