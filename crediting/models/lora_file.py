"""Published adapters, folded into the U-Net that they were made for."""

from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from crediting.errors import ConfigError, DataError

FILE = "pytorch_lora_weights.safetensors"


def fold(unet: Any, folder: Path) -> None:
    """Add the adapters in a folder, as diffusers writes it, to the weights of a U-Net in place.

    The folder holds `pytorch_lora_weights.safetensors` in the names of diffusers, peft or kohya.
    Where it states alphas, each product B A is scaled by alpha / rank, otherwise by 1.

    Raises:
        ConfigError: it holds adapters of the text encoder, too, or magnitudes (DoRA).
        DataError: it cannot be read, or was made for another U-Net.
    """
    from diffusers import StableDiffusionPipeline
    from peft.utils import get_peft_model_state_dict

    path = folder / FILE
    _check_names(path)
    weights, alphas, metadata = StableDiffusionPipeline.lora_state_dict(
        str(folder),
        weight_name=FILE,
        use_safetensors=True,  # or it would fall back to pickled files
        local_files_only=True,
        unet_config=unet.config,
        return_lora_metadata=True,
    )
    prefix = "unet" if all(name.startswith("unet.") for name in weights) else None
    try:
        unet.load_lora_adapter(
            weights, prefix=prefix, network_alphas=alphas, metadata=metadata, adapter_name="folded"
        )
    except (RuntimeError, ValueError, TypeError, KeyError) as error:
        raise DataError(f"model.lora: {path} does not fit model.pretrained: {error}") from error
    loaded, held = len(get_peft_model_state_dict(unet, adapter_name="folded")), len(weights)
    if loaded != held:
        raise DataError(
            f"model.lora: {path} does not fit model.pretrained: {held - loaded} of its {held} "
            "tensors belong to no layer of the U-Net; name the model it was made for."
        )
    unet.fuse_lora(adapter_names=["folded"])
    unet.unload_lora()


def _check_names(path: Path) -> None:
    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
    except (OSError, SafetensorError) as error:
        raise DataError(
            f"model.lora: {path} cannot be read ({error}); name a folder that "
            "`save_lora_weights` or `save_lora_adapter` wrote."
        ) from error
    for sign, what in (
        ("text_encoder", "of the text encoder"),
        ("lora_te", "of the text encoder"),
        ("dora", "with magnitudes (DoRA)"),
        ("magnitude", "with magnitudes (DoRA)"),
    ):
        found = [name for name in names if sign in name]
        if found:
            raise ConfigError(
                f"model.lora: expected adapters of the U-Net, {path} has some {what}, which cannot "
                f"be folded into it, such as {found[0]}; name another one."
            )
