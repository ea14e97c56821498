"""The ``trichord`` command: mounts the sub-commands and turns an error of ours into one sentence.

Sub-commands import what they need when they run, so that ``--help`` is quick. Knows none of their work.
"""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from trichord.errors import TrichordError
from trichord_cli import chat, checkpoint, cluster, evaluate, jobs, keys, scaling, simulate, tokens, top, trace, triton


class Sentences(TyperGroup):
    """Commands whose errors are for people: one sentence on stderr and exit status 1, no traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Runs the command; a TrichordError and a failing file system become sentences, a bug stays a traceback."""
        try:
            return super().invoke(ctx)
        except TrichordError as error:
            sentence = ": ".join(filter(None, (error.field, error.message)))
        except OSError as error:
            sentence = ": ".join(str(part) for part in (error.strerror, error.filename) if part) or type(error).__name__
        typer.echo(sentence, err=True)
        raise typer.Exit(1)


app = typer.Typer(
    cls=Sentences,
    help="Serves an omni-modal language model: image, audio and text in, streamed text out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(checkpoint.app, name="checkpoint")
app.add_typer(triton.app, name="triton")
app.add_typer(keys.app, name="keys")
app.add_typer(scaling.app, name="scaling")
app.add_typer(jobs.app, name="jobs")
app.command()(tokens.tokens)
app.command()(simulate.simulate)
app.command("eval")(evaluate.evaluate)
for command in (cluster.up, cluster.down, cluster.status, cluster.logs, chat.chat, trace.trace, top.top):
    app.command()(command)
