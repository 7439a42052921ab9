"""CIFAR-100 as published: pickles of Python 2, which Python 3 can read but not write."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .pictures import picture, random

SUPERCLASSES = {
    "aquatic_mammals": "beaver dolphin otter seal whale",
    "fish": "aquarium_fish flatfish ray shark trout",
    "flowers": "orchid poppy rose sunflower tulip",
    "food_containers": "bottle bowl can cup plate",
    "fruit_and_vegetables": "apple mushroom orange pear sweet_pepper",
    "household_electrical_devices": "clock keyboard lamp telephone television",
    "household_furniture": "bed chair couch table wardrobe",
    "insects": "bee beetle butterfly caterpillar cockroach",
    "large_carnivores": "bear leopard lion tiger wolf",
    "large_man-made_outdoor_things": "bridge castle house road skyscraper",
    "large_natural_outdoor_scenes": "cloud forest mountain plain sea",
    "large_omnivores_and_herbivores": "camel cattle chimpanzee elephant kangaroo",
    "medium_mammals": "fox porcupine possum raccoon skunk",
    "non-insect_invertebrates": "crab lobster snail spider worm",
    "people": "baby boy girl man woman",
    "reptiles": "crocodile dinosaur lizard snake turtle",
    "small_mammals": "hamster mouse rabbit shrew squirrel",
    "trees": "maple_tree oak_tree palm_tree pine_tree willow_tree",
    "vehicles_1": "bicycle bus motorcycle pickup_truck train",
    "vehicles_2": "lawn_mower rocket streetcar tank tractor",
}
COARSE = list(SUPERCLASSES)
COARSE_OF = {
    name: index for index, names in enumerate(SUPERCLASSES.values()) for name in names.split()
}
FINE = sorted(COARSE_OF)
KEPT = [FINE[i] for i in (*range(40, 45), *range(55, 65), *range(80, 85))]
"""The 20 classes of the experiment; there are more pictures of them than of the others."""

OF_KEPT = 4
OF_OTHERS = 1
SIZE = 32


def write_cifar(folder: Path) -> None:
    """Write `train`, `test` and `meta`."""
    folder.mkdir(parents=True)
    for part, batch in (("train", "training batch 1 of 1"), ("test", "testing batch 1 of 1")):
        (folder / part).write_bytes(pickled(_examples(part) | {"batch_label": batch}))
    names = {"fine_label_names": FINE, "coarse_label_names": COARSE}
    (folder / "meta").write_bytes(pickled(names))


def _examples(part: str) -> dict[str, object]:
    """Return shuffled examples: rows of 1,024 red, 1,024 green and 1,024 blue values."""
    examples = [(name, n) for name in FINE for n in range(OF_KEPT if name in KEPT else OF_OTHERS)]
    examples = [examples[i] for i in random(part).permutation(len(examples))]
    first = 0 if part == "train" else OF_KEPT
    images = [picture(name, name, first + n, SIZE, SIZE) for name, n in examples]
    return {
        "filenames": [f"{name}_s_{first + n:06d}.png" for name, n in examples],
        "fine_labels": [FINE.index(name) for name, _ in examples],
        "coarse_labels": [COARSE_OF[name] for name, _ in examples],
        "data": np.stack(images).transpose(0, 3, 1, 2).reshape(len(images), -1),
    }


def pickled(value: Mapping[str, object]) -> bytes:
    """Return a mapping as Python 2 pickled it, protocol 2; text becomes its `str`."""
    return b"\x80\x02" + _opcodes(value) + b"."


def _opcodes(value: object) -> bytes:
    match value:
        case str():
            return _string(value.encode("ascii"))
        case int():
            return b"J" + value.to_bytes(4, "little", signed=True)
        case list():
            return b"](" + b"".join(map(_opcodes, value)) + b"e"
        case dict():
            items = (_opcodes(part) for item in value.items() for part in item)
            return b"}(" + b"".join(items) + b"u"
        case np.ndarray():
            return _array(value)
    raise TypeError(f"no opcodes for {type(value).__name__}")


def _string(value: bytes) -> bytes:
    return b"T" + len(value).to_bytes(4, "little") + value


def _array(value: NDArray[np.uint8]) -> bytes:
    """Return the call that makes an empty array, and its state: shape, type, order and bytes."""
    make = b"cnumpy.core.multiarray\n_reconstruct\n"
    empty = make + b"cnumpy\nndarray\n" + b"K\x00\x85" + _string(b"b") + b"\x87R"
    kind = b"cnumpy\ndtype\n" + _string(b"u1") + b"K\x00K\x01\x87R"
    kind_state = b"(K\x03" + _string(b"|") + b"NNN" + 2 * _opcodes(-1) + b"K\x00tb"
    shape = b"(" + b"".join(map(_opcodes, value.shape)) + b"t"
    c_order = b"\x89"
    state = b"K\x01" + shape + kind + kind_state + c_order + _string(value.tobytes())
    return empty + b"(" + state + b"tb"
