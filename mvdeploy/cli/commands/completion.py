"""``mvdeploy completion``."""

from __future__ import annotations

import click

from mvdeploy.cli import completion, options


@click.command("completion")
@click.argument("shell", type=click.Choice(completion.SHELLS))
@options.debug
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print the script with which a shell completes commands, options and names.

    Models, exported files, devices, formats, engines, precisions, studies and the folders of runs
    are completed. In ~/.bashrc: eval "$(mvdeploy completion bash)"; in ~/.zshrc, after compinit:
    eval "$(mvdeploy completion zsh)"; once for fish: mvdeploy completion fish >
    ~/.config/fish/completions/mvdeploy.fish
    """
    click.echo(completion.script(context.find_root().command, shell))
