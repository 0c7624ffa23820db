"""Channels that may be permuted without changing what a model computes, and weights with their channels permuted."""

from domino_onnx.graph.channels.groups import ChannelGroup, channel_groups
from domino_onnx.graph.channels.permute import permuted_values

__all__ = ["ChannelGroup", "channel_groups", "permuted_values"]
