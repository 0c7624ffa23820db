"""The two networks of the sample models, both for 8x8 grey images of digits."""

from __future__ import annotations

import torch
from torch import Tensor, nn

CLASSES = 10
IMAGE_SIZE = 8


def conv_bn(inputs: int, outputs: int, *, kernel: int, stride: int = 1) -> nn.Sequential:
    """Stack a convolution without bias and a BatchNorm (which the export folds into the convolution)."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut: the basic block of He et al. (2015), figure 2."""

    def __init__(self, inputs: int, outputs: int, *, stride: int) -> None:
        super().__init__()
        self.first = conv_bn(inputs, outputs, kernel=3, stride=stride)
        self.second = conv_bn(outputs, outputs, kernel=3)
        self.relu = nn.ReLU()
        keeps_shape = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if keeps_shape else conv_bn(inputs, outputs, kernel=1, stride=stride)

    def forward(self, features: Tensor) -> Tensor:
        """Map (batch, inputs, h, w) to (batch, outputs, h / stride, w / stride)."""
        out: Tensor = self.second(self.relu(self.first(features)))
        result: Tensor = self.relu(out + self.shortcut(features))
        return result


class DigitsResNet(nn.Module):
    """A residual CNN: a stem, stages of 32, 64 and 128 channels, average pooling, one linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv_bn(1, 32, kernel=3), nn.ReLU())
        self.stages = nn.Sequential(
            ResidualBlock(32, 32, stride=1),
            ResidualBlock(32, 32, stride=1),
            ResidualBlock(32, 64, stride=2),
            ResidualBlock(64, 64, stride=1),
            ResidualBlock(64, 128, stride=2),
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(128, CLASSES)

    def forward(self, image: Tensor) -> Tensor:
        """Map images (batch, 1, 8, 8) to logits (batch, 10)."""
        features: Tensor = self.pool(self.stages(self.stem(image)))
        logits: Tensor = self.classifier(features.flatten(1))
        return logits


class SelfAttention(nn.Module):
    """Multi-head self-attention with plain products, so that each projection is exported as a MatMul."""

    def __init__(self, width: int, *, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = (width // heads) ** -0.5
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)

    def split_heads(self, tokens: Tensor) -> Tensor:
        """Map (batch, tokens, width) to (batch, heads, tokens, width / heads)."""
        _, count, width = tokens.shape
        return tokens.reshape(-1, count, self.heads, width // self.heads).transpose(1, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (batch, tokens, width) to the same shape."""
        query = self.split_heads(self.query(tokens))
        key = self.split_heads(self.key(tokens))
        value = self.split_heads(self.value(tokens))
        weights = ((query * self.scale) @ key.transpose(-2, -1)).softmax(dim=-1)
        mixed: Tensor = self.output((weights @ value).transpose(1, 2).flatten(2))
        return mixed


class EncoderBlock(nn.Module):
    """Attention and a GELU MLP, each after its LayerNorm and beside a shortcut."""

    def __init__(self, width: int, *, heads: int, hidden: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = SelfAttention(width, heads=heads)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (batch, tokens, width) to the same shape."""
        tokens = tokens + self.attention(self.attention_norm(tokens))
        result: Tensor = tokens + self.mlp(self.mlp_norm(tokens))
        return result


class DigitsTransformer(nn.Module):
    """A small vision transformer over the 16 patches of 2x2 pixels."""

    def __init__(self, *, width: int = 64, depth: int = 3, heads: int = 4, patch: int = 2) -> None:
        super().__init__()
        self.patch = patch
        self.embedding = nn.Linear(patch * patch, width)
        self.positions = nn.Parameter(0.02 * torch.randn((IMAGE_SIZE // patch) ** 2, width))
        blocks = (EncoderBlock(width, heads=heads, hidden=4 * width) for _ in range(depth))
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.LayerNorm(width)
        # The pooled tokens have two axes, so both layers of the head are exported as Gemm.
        self.pooler = nn.Linear(width, width)
        self.gelu = nn.GELU()
        self.classifier = nn.Linear(width, CLASSES)

    def patches(self, image: Tensor) -> Tensor:
        """Cut images (batch, 1, 8, 8) into (batch, 16, 4), patch by patch in reading order."""
        side = IMAGE_SIZE // self.patch
        numbers = image.reshape(-1, side, self.patch, side, self.patch)
        return numbers.transpose(2, 3).reshape(-1, side * side, self.patch * self.patch)

    def forward(self, image: Tensor) -> Tensor:
        """Map images (batch, 1, 8, 8) to logits (batch, 10)."""
        tokens: Tensor = self.embedding(self.patches(image)) + self.positions
        pooled = self.norm(self.blocks(tokens)).mean(dim=1)
        logits: Tensor = self.classifier(self.gelu(self.pooler(pooled)))
        return logits
