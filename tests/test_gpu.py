"""On a GPU: values, gradients, memory and noise floors are right, by the checks of `benchmarks.gpu` at a tiny size."""

import pytest
import torch

from benchmarks.gpu.right import DTYPES, in_blocks, on_its_own, values_of

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="gpu: there is none"),
    pytest.mark.filterwarnings("default"),  # compilers warn of themselves
]
GPU = torch.device("cuda")


@pytest.mark.parametrize("name", ["Qwen3 0.6B", "sliding window", "softcap", "mixture of experts"])
def test_every_kernel_in_every_precision_gives_the_values_of_float32_on_a_cpu(name):
    precisions = ("float32",) if name == "mixture of experts" else tuple(DTYPES)
    wrong = {step: run()["wrong"] for step, run in values_of(name, GPU, True, precisions)}
    assert not any(wrong.values()), wrong


def test_checkpoints_floors_memory_and_training_are_right():
    wrong = {step: run()["wrong"] for step, run in on_its_own(GPU, True)}
    assert not any(wrong.values()), wrong


def test_long_texts_are_attended_to_in_blocks():
    wrong = {step: run()["wrong"] for step, run in in_blocks(GPU, True)}
    assert not any(wrong.values()), wrong
