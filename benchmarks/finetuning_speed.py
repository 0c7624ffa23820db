"""Samples a second of the finetuning, compared with a loop written by hand for the same network in torch.

usage: DOMINO_ONNX_SHARED=FOLDER python benchmarks/finetuning_speed.py --cache CACHE [--steps 60] [--rounds 5]

ResNet-20 as a torch class with the file's weights, masks, AdamW, clipping and the same distillation loss; both from the
same batches, by turns, several rounds, so that a shared machine slows both. Printed: the median of the rounds, and the
median of the ratios; for samples as they are, whose answers are known from before, and for mixtures, which both ask the
dense network for.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from networks import prepare
from resnet20 import ResNet20, read_weights
from torch import Tensor, nn
from torch.nn import functional

from domino_onnx.data import Split, load_data
from domino_onnx.finetuning import Distillation, open_distillation
from domino_onnx.finetuning.trainer import Trainer
from domino_onnx.graph import read_model, stored_tensors, take_inventory
from domino_onnx.options import FinetuneOptions
from domino_onnx.scheme import NMScheme, SchemePool
from domino_onnx.solve import PrunedWeights

NAME = "resnet20_cifar10jpg"
TEMPERATURE = 2.0


def steps_by_hand(
    network: ResNet20, images: Tensor, dense: ResNet20, batches: Iterator[Any], mix: bool
) -> Iterator[float]:
    """Masked finetuning as a script would do it."""
    with torch.no_grad():
        teacher = torch.cat([dense(part) for part in images.split(128)])
    masks = {name: (p != 0).float() for name, p in network.named_parameters() if p.ndim > 1}
    trained = [p for p in network.parameters() if p.ndim > 1]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, weight_decay=0.0)
    network.requires_grad_(False)
    for parameter in trained:
        parameter.requires_grad_(True)
    for batch in batches:
        chosen = torch.from_numpy(batch)
        given, answers = images[chosen], teacher[chosen]
        if mix:
            shares = torch.rand(len(chosen), 1, 1, 1)
            given = shares * given + (1 - shares) * given[torch.randperm(len(chosen))]
            with torch.no_grad():
                answers = dense(given)
        student = functional.log_softmax(network(given) / TEMPERATURE, dim=-1)
        wanted = functional.log_softmax(answers / TEMPERATURE, dim=-1)
        loss = functional.kl_div(student, wanted, reduction="batchmean", log_target=True) * TEMPERATURE**2
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                if name in masks:
                    parameter.mul_(masks[name])
        yield float(loss.detach())


def seconds(steps: int, step: Any) -> float:
    start = time.perf_counter()
    for _ in range(steps):
        step()
    return time.perf_counter() - start


def opened(model: Path, data: Path, threads: int, mix: bool) -> tuple[Distillation, Trainer]:
    file = read_model(model)
    tensors = stored_tensors(file.proto)
    inventory = take_inventory(file, SchemePool.fixed_m(), {})
    schemes = {site.key: NMScheme(2, 16) for site in inventory.sites}
    weights = PrunedWeights(schemes, inventory.sites, lambda key: file.array(tensors[key]))
    split = Split.of(load_data(data, file.proto), evaluation=None, seed=0)
    distillation = open_distillation(file, model, split, FinetuneOptions(mix=mix), device="cpu", threads=threads)
    return distillation, Trainer(distillation, dict(weights), {}, {})


@click.command()
@click.option("--cache", type=click.Path(path_type=Path), required=True)
@click.option("--steps", type=int, default=60, show_default=True)
@click.option("--rounds", type=int, default=5, show_default=True)
@click.option("--threads", type=int, default=1, show_default=True)
def main(cache: Path, steps: int, rounds: int, threads: int) -> None:
    prepared = prepare(NAME, Path(os.environ["DOMINO_ONNX_SHARED"]), cache)
    torch.set_num_threads(threads)
    with np.load(prepared.data) as archive:
        images = torch.from_numpy(archive["input"])
    for mix in (False, True):
        distillation, trainer = opened(prepared.model, prepared.data, threads, mix)
        mine = distillation.shuffled(32, 0)
        batches = distillation.shuffled(32, 0)
        manual = steps_by_hand(read_weights(prepared.model), images, read_weights(prepared.model), batches, mix)
        ours, theirs = [], []
        for number in range(rounds + 1):
            one = seconds(steps, lambda: trainer.step(1e-4, next(mine), draw=1))  # noqa: B023  (called at once)
            other = seconds(steps, lambda: next(manual))  # noqa: B023
            if number:  # the first warms up
                ours.append(32 * steps / one)
                theirs.append(32 * steps / other)
        ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
        what = "mixtures" if mix else "samples as they are"
        print(f"{what}: {statistics.median(ours):.0f}/s, by hand {statistics.median(theirs):.0f}, ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
