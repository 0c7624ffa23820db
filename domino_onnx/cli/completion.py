"""`domino-onnx completion`."""

from __future__ import annotations

import click
import cloup
from click.shell_completion import get_completion_class

__all__ = ["VARIABLE", "command"]

VARIABLE = "_DOMINO_ONNX_COMPLETE"
"""The environment variable by which the script asks for what may come next."""
_NAME = "domino-onnx"


@cloup.command("completion", short_help="Print what makes your shell complete commands and options.")
@cloup.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print a script for SHELL, which completes commands, options, choices and files.

    \b
    domino-onnx completion bash >> ~/.bashrc
    domino-onnx completion zsh >> ~/.zshrc
    domino-onnx completion fish > ~/.config/fish/completions/domino-onnx.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None
    completion = kind(context.find_root().command, {}, _NAME, VARIABLE)
    click.echo(completion.source_template % completion.source_vars())
