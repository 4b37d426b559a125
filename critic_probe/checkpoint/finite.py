"""Where a value that is NaN or infinite comes from."""

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn


def first_not_finite(backbone: nn.Module, ids: Tensor) -> str | None:
    """The first place of a forward pass where a number is NaN or infinite, in the order of computation.

    Args:
        backbone: The transformer.
        ids: One row of ids (1, T) on its device.

    Returns:
        The module, and the tensor of its weights that is not finite itself; None where all states are finite.
    """
    places: list[str] = []
    names = {module: name for name, module in backbone.named_modules()}

    def entered(module: nn.Module, args: tuple[Any, ...]) -> None:
        if not places and _any_not_finite(args):  # between two modules: a product of attention, a sum
            places.append(names[module].rpartition(".")[0] or "the backbone")

    def left(module: nn.Module, _: tuple[Any, ...], output: Any) -> None:
        if not places and _any_not_finite(output):
            bad = [name for name, tensor in module.named_parameters(recurse=False) if not bool(tensor.isfinite().all())]
            places.append(f"{names[module]}, whose {bad[0]} is not finite" if bad else names[module])

    hooks = [module.register_forward_pre_hook(entered) for module in names]
    hooks += [module.register_forward_hook(left) for module in names]
    try:
        backbone(input_ids=ids, use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    return places[0] if places else None


def _any_not_finite(tree: Any) -> bool:
    return any(not bool(tensor.isfinite().all()) for tensor in _floats(tree))


def _floats(tree: Any) -> Iterator[Tensor]:
    if isinstance(tree, Tensor):
        if tree.is_floating_point():
            yield tree
    elif isinstance(tree, list | tuple):
        for part in tree:
            yield from _floats(part)
    elif isinstance(tree, dict):  # transformers' outputs are dictionaries
        yield from _floats(list(tree.values()))
