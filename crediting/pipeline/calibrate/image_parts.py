"""Properties of a part of the images that a study generates: no model is trained for them again."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from crediting.game.coalition import CoalitionMatrix
from crediting.pipeline.address import GameSpec, addressed
from crediting.pipeline.evaluate.diffusion_game import DiffusionGame, Drawn, GameFactory
from crediting.pipeline.evaluate.stage import evaluate_coalitions
from crediting.pipeline.study import Study


class SomeImages(DiffusionGame):
    """Evaluates coalitions by some of the images of a game: those kept, or generated anew."""

    def __init__(self, study: Study, spec: GameSpec, first: int, last: int) -> None:
        super().__init__(study, spec)
        self._part = slice(first, last)

    def draw(self, coalitions: Sequence[str], replicate: int) -> Iterator[Drawn]:
        """Yield the images of each coalition that are among those, or what failed, in order."""
        for drawn in super().draw(coalitions, replicate):
            images = drawn.images
            yield drawn._replace(images=None if images is None else images[self._part])


@dataclass(frozen=True)
class PartFactory(GameFactory):
    """Makes the evaluator of the images `first` up to `last` of a game of a study."""

    first: int
    last: int

    @property
    def identity(self) -> str:
        """What outcomes depend on besides their tasks: the game, its measures, and the images."""
        return f"{super().identity}-{self.first}-{self.last}"

    def __call__(self) -> SomeImages:
        """Return the evaluator."""
        return SomeImages(self.study, self.spec, self.first, self.last)


@dataclass(frozen=True)
class ImagePart:
    """The images `first` up to but not including `last` of every model of a study.

    As image i starts from the same noise however many there are, the first k are those that
    generation.images=k would give. Their utilities lie in a ledger of their own, because what is
    recorded there as seconds is not the time that such an evaluation takes.
    """

    whole: Study
    first: int
    last: int

    @cached_property
    def study(self) -> Study:
        """The study whose utilities are those of the part."""
        whole = self.whole
        game = self._addressed(whole.game)
        same = whole.endpoints is whole.game
        return replace(
            whole, game=game, endpoints=game if same else self._addressed(whole.endpoints)
        )

    def evaluate(self) -> None:
        """Evaluate all that the ledgers of the part lack.

        Raises:
            EvaluationError: coalitions failed, and allow_missing is off or one of them is an end.
        """
        for spec in self.whole.games:
            self.evaluate_coalitions(spec, self.whole.coalitions(spec))

    def evaluate_coalitions(self, spec: GameSpec, coalitions: CoalitionMatrix) -> None:
        """Evaluate what one of the ledgers lacks of these; `spec` is of the whole images."""
        own = self.study.game if spec is self.whole.game else self.study.endpoints
        evaluator = PartFactory(self.whole, spec, self.first, self.last)
        runtime = {**self.study.runtime, "stack": 1}  # how many to train at once is no question
        evaluate_coalitions(self.study.configured(runtime=runtime), own, coalitions, evaluator)

    def _addressed(self, spec: GameSpec) -> GameSpec:
        content = {"images": [self.first, self.last]}
        return replace(spec, address=addressed("game", content, spec.address.fingerprint))
