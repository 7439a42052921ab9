"""Low-rank adapters on a U-Net, by peft: attach, look at, thin out, merge.

A module with an adapter computes W x + scale * B A x, where W stays as it is. Every adapter has a
rank of its own, but the scale is common to all: peft's alpha is always scale * rank. Source: Hu et
al. 2022; the paper (fine-tuning by LoRA, Stable Diffusion).
"""

import copy
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from crediting.randomness import derive_seed

_ADAPTER = "default"  # peft's own name for an adapter nobody names
_TRAINABLE = "_trainable_without_lora"


def target_names(unet: nn.Module, suffixes: Sequence[str]) -> list[str]:
    """Return the full names of the linear modules whose name ends with one of the suffixes.

    A suffix consists of whole parts of a name: `to_q`, `to_out.0`.
    """
    endings = tuple(f".{suffix}" for suffix in suffixes)
    return [
        name
        for name, module in unet.named_modules()
        if isinstance(module, nn.Linear) and f".{name}".endswith(endings)
    ]


def attach(
    unet: nn.Module, ranks: Mapping[str, int], scale: float, dropout: float, seed: int
) -> None:
    """Add adapters to the named linear modules in place, and freeze everything else.

    A ~ N(0, 1 / r^2) depends on the seed, the name and the shape only; B = 0, so that the function
    does not change. Both are float32 on the device of the module and require gradients.

    Raises:
        KeyError: a name is not that of a linear module.
    """
    assert not _layers(unet), "there are adapters already"
    linear = {name for name, module in unet.named_modules() if isinstance(module, nn.Linear)}
    if unknown := sorted(ranks.keys() - linear):
        raise KeyError(f"no linear modules: {', '.join(unknown)}")
    trainable = [name for name, parameter in unet.named_parameters() if parameter.requires_grad]
    setattr(unet, _TRAINABLE, frozenset(trainable))
    unet.requires_grad_(False)
    if ranks:
        _inject(unet, ranks, scale, dropout)
    reinitialise(unet, seed)
    for layer in _layers(unet).values():
        layer.train(layer.get_base_layer().training)  # a fresh dropout would start in training


def reinitialise(unet: nn.Module, seed: int) -> None:
    """Give all adapters new weights, in place, as `attach` gives them their first."""
    for name, layer in _layers(unet).items():
        down, up, device = layer.lora_A[_ADAPTER], layer.lora_B[_ADAPTER], layer.weight.device
        generator = torch.Generator().manual_seed(derive_seed("lora", seed, name))
        noise = torch.randn(down.out_features, down.in_features, generator=generator)
        zeros = torch.zeros(up.out_features, up.in_features)
        down.weight = nn.Parameter((noise / down.out_features).to(device))
        up.weight = nn.Parameter(zeros.to(device))


def ranks(unet: nn.Module) -> dict[str, int]:
    """Return the rank of every adapter by module name; none without adapters."""
    return {name: layer.r[_ADAPTER] for name, layer in _layers(unet).items()}


def scale(unet: nn.Module) -> float:
    """Return the common scale of all adapters, of which there must be one."""
    return float(next(iter(_layers(unet).values())).scaling[_ADAPTER])


def factors(unet: nn.Module) -> dict[str, tuple[nn.Parameter, nn.Parameter]]:
    """Return A (r, inputs) and B (outputs, r) of every adapter by module name."""
    return {
        name: (layer.lora_A[_ADAPTER].weight, layer.lora_B[_ADAPTER].weight)
        for name, layer in _layers(unet).items()
    }


def keep(unet: nn.Module, kept: Mapping[str, Tensor]) -> None:
    """Drop, in place, all pairs (row of A, column of B) but those at the indices given.

    A module of which nothing is kept, or that is not named, loses its adapter. The scale stays.
    """
    remaining = {name: index for name, index in kept.items() if len(index)}
    pairs, factor = factors(unet), scale(unet)
    dropout = next(iter(_layers(unet).values())).lora_dropout[_ADAPTER]
    _detach(unet)
    new_ranks = {name: len(index) for name, index in remaining.items()}
    attach(unet, new_ranks, factor, getattr(dropout, "p", 0.0), seed=0)
    with torch.no_grad():
        for name, (down, up) in factors(unet).items():
            index = remaining[name].to(down.device)
            down.copy_(pairs[name][0][index])
            up.copy_(pairs[name][1][:, index])


def merge(unet: nn.Module) -> None:
    """Fold scale * B A into the weights and remove the adapters, in place.

    What remains is a plain U-Net, whose parameters require gradients as before `attach`. The
    folded weights are new tensors: other U-Nets that share the old ones do not notice.
    """
    for layer in _layers(unet).values():
        down, up = layer.lora_A[_ADAPTER].weight, layer.lora_B[_ADAPTER].weight
        base = layer.get_base_layer()
        with torch.no_grad():
            delta = layer.scaling[_ADAPTER] * (up @ down)
            weight = (base.weight.float() + delta).to(base.weight.dtype)
        base.weight = nn.Parameter(weight, requires_grad=base.weight.requires_grad)
    _detach(unet)


def clone(unet: nn.Module) -> nn.Module:
    """Return a copy with adapters of its own, whose frozen parameters share memory with these.

    A base of gigabytes is thereby held once per device, as long as nobody writes to it.
    """
    frozen = [parameter for parameter in unet.parameters() if not parameter.requires_grad]
    # parameters are wrapped anew: `.to(device)` replaces the memory inside the parameter itself
    memo = {id(p): nn.Parameter(p.detach(), requires_grad=False) for p in frozen}
    return copy.deepcopy(unet, memo)


def _inject(unet: nn.Module, ranks: Mapping[str, int], scale: float, dropout: float) -> None:
    from peft import LoraConfig, inject_adapter_in_model

    # peft searches modules by patterns of the end of their names
    exact = {f"^{re.escape(name)}": rank for name, rank in ranks.items()}
    config = LoraConfig(
        target_modules="|".join(re.escape(name) for name in ranks),
        rank_pattern=exact,
        alpha_pattern={pattern: scale * rank for pattern, rank in exact.items()},
        lora_dropout=dropout,
    )
    # the library would draw weights that are replaced at once; they stay without memory
    with torch.random.fork_rng(devices=[]):
        inject_adapter_in_model(config, unet, _ADAPTER, low_cpu_mem_usage=True)


def _detach(unet: nn.Module) -> None:
    for name, layer in _layers(unet).items():
        parent, _, child = name.rpartition(".")
        setattr(unet.get_submodule(parent), child, layer.get_base_layer())
    if hasattr(unet, "peft_config"):
        del unet.peft_config
    trainable = getattr(unet, _TRAINABLE)
    delattr(unet, _TRAINABLE)
    for name, parameter in unet.named_parameters():
        parameter.requires_grad_(name in trainable)


def _layers(unet: nn.Module) -> dict[str, Any]:
    """Return the modules that peft put in the place of linear ones, by name."""
    if not hasattr(unet, "peft_config"):
        return {}
    from peft.tuners.lora import LoraLayer

    return {name: m for name, m in unet.named_modules() if isinstance(m, LoraLayer)}
