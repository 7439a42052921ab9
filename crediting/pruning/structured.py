"""Structured pruning: whole channels go, and with them every weight that reads or writes them.

What all such methods share: which channels belong together, how many of them a ratio removes, the
removal itself by torch-pruning, and the size of the result. A method adds its scores.
"""

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import torch
import torch_pruning as tp
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from crediting.errors import ConfigError
from crediting.interfaces import DiffusionModel, Prunable, PruningReport, TimestepLoss
from crediting.training import Recipe

Scores = Callable[[Any], torch.Tensor | None]
"""Maps a torch-pruning group to one score per channel; the lowest go first."""


class ChannelPruning(ABC):
    """Removes the channels that score least, and lets what is left recover.

    Args:
        ratio: share of the channels removed, rounded down to a multiple of the norm groups.
        recovery: the recipe of the fine-tuning on all data afterwards.

    Raises:
        ConfigError: the ratio is not above 0 and below 1.
    """

    removes_channels: ClassVar[bool] = True

    def __init__(self, ratio: float, recovery: Recipe) -> None:
        check_ratio(ratio)
        self.ratio = ratio
        self.recovery = recovery

    @abstractmethod
    def scores(self, denoiser: nn.Module, loss: TimestepLoss) -> Scores:
        """Return the scores of the channels of a denoiser, as `prune_channels` asks for them."""

    def check(self, denoiser: nn.Module, model: DiffusionModel) -> None:
        """Raise ConfigError if the channels cannot be pruned, or not by so small a ratio."""
        check_channels(denoiser, model, self.ratio)

    def prune(
        self, denoiser: nn.Module, model: DiffusionModel, loss: TimestepLoss
    ) -> tuple[nn.Module, PruningReport]:
        """Return a smaller copy of the denoiser, weights inherited, and a report.

        Raises:
            ConfigError: the model's channels cannot be pruned, or not by so small a ratio; the
                loss, where scores need it, is not finite.
        """
        return prune_channels(denoiser, model, self.ratio, lambda copied: self.scores(copied, loss))


class Channels(NamedTuple):
    """Channels that go together, because layers add or normalise each other's outputs.

    They fall into equal blocks, the norm groups or attention heads, which must stay equal.
    """

    layers: list[nn.Module]
    total: int
    norm_groups: int
    heads: int

    @property
    def blocks(self) -> int:
        """Number of the equal blocks."""
        return max(self.norm_groups, self.heads)


def check_ratio(ratio: float, units: str = "channels") -> None:
    """Raise ConfigError unless a ratio, the share of the units removed, lies in (0, 1)."""
    expected = f"pruning.ratio: expected the share of the {units} removed, above 0 and below 1, "
    if ratio == 0:
        raise ConfigError(f"{expected}got 0, which removes none; choose pruning=none for that.")
    if not (isinstance(ratio, int | float) and 0 < ratio < 1):
        raise ConfigError(f"{expected}got {ratio!r}; choose a number in between.")


def check_channels(denoiser: nn.Module, model: DiffusionModel, ratio: float) -> None:
    """Raise ConfigError if `prune_channels` would; tried on a copy that holds no weights."""

    def alike(copied: nn.Module) -> Scores:
        return lambda group: torch.ones(len(group[0].idxs))

    try:
        prune_channels(_without_weights(denoiser), model, ratio, alike)
    except (AssertionError, RuntimeError) as error:
        raise ConfigError(
            f"pruning: the channels of this {type(denoiser).__name__} cannot be pruned (it would "
            f"not run afterwards: {error}); choose other blocks in model.unet, or pruning=none"
        ) from error


def prune_channels(
    denoiser: nn.Module,
    model: DiffusionModel,
    ratio: float,
    scoring: Callable[[nn.Module], Scores],
) -> tuple[nn.Module, PruningReport]:
    """Return a copy without the least important share of every layer's channels, and a report.

    `scoring` is called once, with the copy before anything is removed: in evaluation mode, all
    parameters requiring gradients. What it leaves in their gradients is there when the channels
    are scored, and freed afterwards. Channels are ranked within their layers in one shot; a
    channel goes together with its namesakes in the other blocks.

    Raises:
        ConfigError: the model's channels cannot be pruned, or not by so small a ratio.

    Source: the paper.
    """
    pruned = copy.deepcopy(denoiser).eval().requires_grad_(True)
    with torch.enable_grad():
        prunable = model.prunable(pruned)
        channels = find_channels(pruned, prunable, model.example_inputs(pruned))
        _check_effect(channels, ratio)
        pruner = tp.pruner.BasePruner(
            pruned,
            model.example_inputs(pruned),
            importance=scoring(pruned),
            pruning_ratio_dict=_library_ratios(channels, ratio),
            ignored_layers=prunable.ignored_layers,
            num_heads=dict(prunable.num_heads),
            # The library's own defaults are dictionaries that all pruners share and fill.
            in_channel_groups={},
            out_channel_groups={},
        )
        pruner.step()
    _update_stated_widths(pruned)
    trainable = {name: p.requires_grad for name, p in denoiser.named_parameters()}
    for name, parameter in pruned.named_parameters():
        parameter.grad = None
        parameter.requires_grad_(trainable[name])
    pruned.train(denoiser.training)
    return pruned, compare(denoiser, pruned, model)


def compare(before: nn.Module, after: nn.Module, model: DiffusionModel) -> PruningReport:
    """Return the sizes of a denoiser before and after it was pruned."""
    return PruningReport(
        _parameters(before),
        _parameters(after),
        _multiply_adds(before, model),
        _multiply_adds(after, model),
    )


def _parameters(denoiser: nn.Module) -> int:
    return sum(p.numel() for p in denoiser.parameters() if p.requires_grad)


def _multiply_adds(denoiser: nn.Module, model: DiffusionModel) -> int:
    """Count those for one example on a copy that neither computes nor holds weights."""
    shape = _without_weights(denoiser).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        shape(**model.example_inputs(shape))
    return counter.get_total_flops() // 2


def find_channels(
    denoiser: nn.Module, prunable: Prunable, example_inputs: dict[str, Any]
) -> list[Channels]:
    """Return all channels that may go; the denoiser's parameters must require gradients."""
    graph = tp.DependencyGraph().build_dependency(denoiser, example_inputs)
    found = []
    for group in graph.get_all_groups(prunable.ignored_layers):
        written = [
            dependency.target.module
            for dependency, _ in group
            if graph.is_out_channel_pruning_fn(dependency.handler)
        ]
        norms = [layer.num_groups for layer in written if isinstance(layer, nn.GroupNorm)]
        heads = [prunable.num_heads[layer] for layer in written if layer in prunable.num_heads]
        layers = [layer for layer in written if isinstance(layer, nn.Conv2d | nn.Linear)]
        count = graph.get_out_channels(layers[0])
        found.append(Channels(layers, count, max(norms, default=1), max(heads, default=1)))
    return found


def removed_per_block(channels: Channels, ratio: float) -> int:
    """Return how many channels a ratio removes from each block; one always stays.

    Of C channels, floor(C (1 - ratio)) are meant to stay; the others are dealt evenly to the
    blocks and a remainder is spared. So torch-pruning 1.3.2, the paper's, rounds; 1.6 would keep
    floor(size (1 - ratio)) of each block, which removes more: of 128 channels in 32 groups half
    at ratio 0.3, where the paper removes a quarter.
    """
    # 10 * (1 - 0.9) is 0.9999999999999998 in floating point.
    kept = math.floor(channels.total * (1 - ratio) + 1e-9)
    return min((channels.total - kept) // channels.blocks, channels.total // channels.blocks - 1)


def _without_weights(denoiser: nn.Module) -> nn.Module:
    """Return a copy on the meta device; the weights are not copied on the way."""
    memo: dict[int, Any] = {id(buffer): buffer.to("meta") for buffer in denoiser.buffers()}
    for parameter in denoiser.parameters():
        weightless = parameter.detach().to("meta")
        memo[id(parameter)] = nn.Parameter(weightless, parameter.requires_grad)
    return copy.deepcopy(denoiser, memo)


def _library_ratios(channels: list[Channels], ratio: float) -> dict[nn.Module, float]:
    """Return the ratio per layer at which torch-pruning 1.6 removes what `ratio` stands for."""
    ratios = {}
    for group in channels:
        size, removed = group.total // group.blocks, removed_per_block(group, ratio)
        # The library keeps floor(size (1 - ratio)): half a channel guards it against rounding.
        ratios.update(dict.fromkeys(group.layers, max(removed - 0.5, 0) / size))
    return ratios


def _check_effect(channels: list[Channels], ratio: float) -> None:
    """Refuse a ratio that spares every normalised layer: it would thin the time embedding only."""
    normalised = [group for group in channels if group.norm_groups > 1]
    if not normalised or any(removed_per_block(group, ratio) for group in normalised):
        return
    problem = (
        f"pruning.ratio: {ratio} removes no channel from any convolution, because all norm groups "
        "of a layer must lose equally many; "
    )
    divisible = [group for group in normalised if group.total > group.blocks]
    if not divisible:
        raise ConfigError(
            f"{problem}with {normalised[0].norm_groups} norm groups of one channel each no ratio "
            "would. Lower model.unet.norm_num_groups."
        )
    easiest = min(divisible, key=_least_ratio)
    raise ConfigError(
        f"{problem}a layer of {easiest.total} channels in {easiest.norm_groups} norm groups takes "
        f"a ratio of {_least_ratio(easiest):.4f} or more. Raise pruning.ratio, or lower "
        "model.unet.norm_num_groups."
    )


def _least_ratio(group: Channels) -> float:
    """Return the least ratio, of those with four decimals, that takes a channel of each block."""
    return ((group.blocks - 1) * 10_000 // group.total + 1) / 10_000


def _update_stated_widths(denoiser: nn.Module) -> None:
    """Correct the widths that the blocks of diffusers state of themselves, and check in forward."""
    from diffusers.models.attention_processor import Attention
    from diffusers.models.downsampling import Downsample2D
    from diffusers.models.resnet import ResnetBlock2D
    from diffusers.models.upsampling import Upsample2D

    for module in denoiser.modules():
        if isinstance(module, Upsample2D | Downsample2D):
            if isinstance(module.conv, nn.Conv2d):
                module.channels = module.conv.in_channels
                module.out_channels = module.conv.out_channels
        elif isinstance(module, ResnetBlock2D):
            module.in_channels = module.conv1.in_channels
            module.out_channels = module.conv2.out_channels
            for way in (module.upsample, module.downsample):
                if way is not None:
                    way.channels = way.out_channels = module.conv1.in_channels
        elif isinstance(module, Attention):
            module.query_dim, module.inner_dim = module.to_q.in_features, module.to_q.out_features
            module.cross_attention_dim = module.to_k.in_features
            module.inner_kv_dim = module.to_k.out_features
            module.out_dim = module.to_out[0].out_features
            module.scale = (module.inner_dim // module.heads) ** -0.5
