"""Train, export and score the sample models: ``python sample_models/train.py``.

Writes ``digits_resnet.onnx``, ``digits_transformer.onnx``, ``digits_calibration.npz`` and
``digits_evaluation.npz`` beside this file. Every seed is fixed, and torch runs on one thread, so that
the same versions of the libraries on the same kind of processor write the same files.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import torch
from networks import IMAGE_SIZE, DigitsResNet, DigitsTransformer
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn import functional

FOLDER = Path(__file__).parent
SPLIT_SEED = 20
TRAINING_IMAGES = 1100
CALIBRATION_IMAGES = 512

Images = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
Export = Callable[[nn.Module, Path], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Digits:
    """The digits dataset, split once: images (n, 1, 8, 8) in [0, 1], labels (n,)."""

    training_images: Images
    training_labels: Labels
    evaluation_images: Images
    evaluation_labels: Labels


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How one network is trained."""

    epochs: int
    peak_rate: float
    weight_decay: float
    seed: int
    batch_size: int = 100
    label_smoothing: float = 0.05
    warmup: float = 0.1


RESNET_RECIPE = Recipe(epochs=60, peak_rate=3e-3, weight_decay=0.02, seed=1)
TRANSFORMER_RECIPE = Recipe(epochs=200, peak_rate=2e-3, weight_decay=0.05, seed=2)


def load_split() -> Digits:
    """Load the images as pixels / 16, without further normalisation, in a fixed, stratified split."""
    pixels, labels = load_digits(return_X_y=True)
    images = (pixels / 16.0).astype(np.float32).reshape(-1, 1, IMAGE_SIZE, IMAGE_SIZE)
    labels = labels.astype(np.int64)
    training_x, evaluation_x, training_y, evaluation_y = train_test_split(
        images, labels, train_size=TRAINING_IMAGES, stratify=labels, random_state=SPLIT_SEED
    )
    return Digits(
        training_images=training_x,
        training_labels=training_y,
        evaluation_images=evaluation_x,
        evaluation_labels=evaluation_y,
    )


def save_arrays(digits: Digits) -> None:
    """Write the unlabelled calibration images (of the training part) and the evaluation set."""
    calibration = digits.training_images[:CALIBRATION_IMAGES]
    np.savez_compressed(FOLDER / "digits_calibration.npz", image=calibration)
    np.savez_compressed(
        FOLDER / "digits_evaluation.npz", image=digits.evaluation_images, labels=digits.evaluation_labels
    )


def uniform(count: int, limit: float, generator: torch.Generator) -> Tensor:
    """Draw (count,) numbers between -limit and limit."""
    return limit * (2 * torch.rand(count, generator=generator) - 1)


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Turn by up to 12 degrees, scale by up to 8 %, shift by up to one pixel, add a little noise."""
    count = len(images)
    angle = uniform(count, math.radians(12), generator)
    scale = 1 + uniform(count, 0.08, generator)
    # affine_grid counts in half images: one pixel of eight is 0.25.
    shift_x, shift_y = uniform(count, 0.25, generator), uniform(count, 0.25, generator)
    cos, sin = scale * angle.cos(), scale * angle.sin()
    rows = (torch.stack((cos, -sin, shift_x), dim=1), torch.stack((sin, cos, shift_y), dim=1))
    numbers = functional.affine_grid(torch.stack(rows, dim=1), list(images.shape), align_corners=False)
    moved = functional.grid_sample(images, numbers, align_corners=False)
    return moved + 0.03 * torch.randn(moved.shape, generator=generator)


def rate_factor(progress: float, warmup: float) -> float:
    """Rise linearly to one during `warmup`, then fall as a cosine to zero; `progress` is in [0, 1]."""
    if progress < warmup:
        return progress / warmup
    return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))


def train(model: nn.Module, digits: Digits, recipe: Recipe) -> None:
    """Train `model` in place with AdamW on augmented images, and leave it in evaluation mode."""
    images, labels = torch.from_numpy(digits.training_images), torch.from_numpy(digits.training_labels)
    generator = torch.Generator().manual_seed(recipe.seed)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=recipe.weight_decay)
    loss_function = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
    model.train()
    for epoch in range(recipe.epochs):
        batches = torch.split(torch.randperm(len(images), generator=generator), recipe.batch_size)
        for index, batch in enumerate(batches):
            progress = (epoch + (index + 1) / len(batches)) / recipe.epochs
            optimizer.param_groups[0]["lr"] = recipe.peak_rate * rate_factor(progress, recipe.warmup)
            optimizer.zero_grad()
            loss = loss_function(model(augment(images[batch], generator)), labels[batch])
            loss.backward()
            optimizer.step()
    model.eval()


def export_torchscript(model: nn.Module, path: Path) -> None:
    """Export with the TorchScript exporter, which folds BatchNorm into the convolutions."""
    torch.onnx.export(
        model,
        (torch.zeros(2, 1, IMAGE_SIZE, IMAGE_SIZE),),
        path,
        dynamo=False,
        opset_version=17,
        do_constant_folding=True,
        input_names=["image"],
        output_names=["logits"],
        dynamic_axes={"image": {0: "batch"}, "logits": {0: "batch"}},
    )


def export_dynamo(model: nn.Module, path: Path) -> None:
    """Export with the exporter on top of torch.export, in one file."""
    torch.onnx.export(
        model,
        (torch.zeros(2, 1, IMAGE_SIZE, IMAGE_SIZE),),
        path,
        dynamo=True,
        opset_version=18,
        external_data=False,
        input_names=["image"],
        output_names=["logits"],
        dynamic_shapes={"image": {0: torch.export.Dim("batch")}},
        verbose=False,
    )


def clean(path: Path) -> None:
    """Drop the exporter's notes (they hold stack traces with local paths), and check the model."""
    model = onnx.load(path)
    graph = model.graph
    values = (*graph.input, *graph.output, *graph.value_info)
    for noted in (model, graph, *graph.node, *graph.initializer, *values):
        noted.ClearField("metadata_props")
        noted.ClearField("doc_string")
    onnx.checker.check_model(model, full_check=True)
    if any(node.op_type == "BatchNormalization" for node in graph.node):
        raise RuntimeError(f"{path.name} still holds a BatchNormalization node")
    path.write_bytes(model.SerializeToString(deterministic=True))


def top1(path: Path, images: Images, labels: Labels) -> float:
    """Return the share of images that the model at `path` labels rightly in ONNX Runtime."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"image": images})
    return float((logits.argmax(axis=1) == labels).mean())


def report(path: Path, model: nn.Module, digits: Digits, seconds: float) -> None:
    """Print one line: parameters as trained, top-1 on the evaluation set, size, training time."""
    parameters = sum(parameter.numel() for parameter in model.parameters())
    accuracy = top1(path, digits.evaluation_images, digits.evaluation_labels)
    size = path.stat().st_size
    print(f"{path.name}: {parameters:,} parameters, top-1 {accuracy:.4f}, {size:,} bytes, {seconds:.0f} s")


def make(path: Path, network: type[nn.Module], export: Export, recipe: Recipe, digits: Digits) -> None:
    """Train, export and score one network."""
    start = time.perf_counter()
    torch.manual_seed(recipe.seed)
    model = network()
    train(model, digits, recipe)
    export(model, path)
    clean(path)
    report(path, model, digits, time.perf_counter() - start)


def main() -> None:
    """Make all four files."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(mode=True)
    digits = load_split()
    save_arrays(digits)
    make(FOLDER / "digits_resnet.onnx", DigitsResNet, export_torchscript, RESNET_RECIPE, digits)
    make(FOLDER / "digits_transformer.onnx", DigitsTransformer, export_dynamo, TRANSFORMER_RECIPE, digits)


if __name__ == "__main__":
    main()
