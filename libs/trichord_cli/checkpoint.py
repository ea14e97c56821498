"""``trichord checkpoint``: pull, init, verify and show checkpoints.

Edge only: options in, the work of ``trichord.checkpoint``, text or JSON out. Progress goes to stderr.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trichord_cli.progress_bar import progress_bar

if TYPE_CHECKING:
    from trichord.checkpoint.describe import Description

app = typer.Typer(help="Get, make and check the files of a model.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Name of a checkpoint or preset, or a path (with a slash).")]
AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable.")]


@app.command()
def pull(
    name: Annotated[str, typer.Argument(help="demo, smol, tiny, or a Hugging Face repository (org/name).")],
    config: Annotated[
        str, typer.Option(help="For a repository: preset, or path of a directory, whose config.json its weights get.")
    ] = "megrez-3b-omni",
) -> None:
    """Download a checkpoint; nothing happens if it is there and whole. Prints its directory."""
    from trichord.checkpoint.locate import config_of
    from trichord.checkpoint.pull import pull as pull_checkpoint

    typer.echo(pull_checkpoint(name, config_of(config), progress_bar))


@app.command()
def init(
    preset: Annotated[str, typer.Argument(help="Preset whose architecture the checkpoint gets.")],
    to: Annotated[Path | None, typer.Option(help="Directory to make; by default the preset's own place.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same weights.")] = 0,
) -> None:
    """Make a checkpoint of seeded random weights. Prints its directory."""
    from trichord.checkpoint.initialize import init as init_checkpoint
    from trichord.checkpoint.layout import num_stored_bytes
    from trichord.checkpoint.locate import directory_of
    from trichord.checkpoint.presets import preset as preset_named

    config = preset_named(preset)
    directory = to or directory_of(preset)
    with progress_bar("write", num_stored_bytes(config)) as advance:
        init_checkpoint(config, directory, seed, advance)
    typer.echo(directory)


@app.command()
def verify(name: Name) -> None:
    """Check that every tensor, special token and file is as it must be."""
    from trichord.checkpoint.locate import directory_of
    from trichord.checkpoint.manifest import num_bytes
    from trichord.checkpoint.verify import verify as verify_checkpoint

    directory = directory_of(name)
    with progress_bar("verify", num_bytes(directory)) as advance:
        verify_checkpoint(directory, advance)
    typer.echo(f"{name} is whole.")


@app.command()
def show(name: Name, as_json: AsJson = False) -> None:
    """Tell parameters by part, tensors, digest and fingerprints. A preset need not be pulled to be sized."""
    from trichord.checkpoint.describe import describe_checkpoint, describe_config
    from trichord.checkpoint.layout import num_stored_bytes
    from trichord.checkpoint.locate import config_of, directory_of

    config = config_of(name)
    if directory_of(name).is_dir():
        with progress_bar("digest", num_stored_bytes(config)) as advance:
            description = describe_checkpoint(directory_of(name), advance)
    else:
        description = describe_config(config)
    typer.echo(description.model_dump_json(indent=2) if as_json else _text(description))


def _text(description: Description) -> str:
    lines = [f"{description.model} ({description.dtype}): {description.note}", ""]
    lines += [f"{count:>15,}  {part}" for part, count in description.parameters_by_part.items()]
    lines += [f"{description.parameters:>15,}  parameters in {description.tensors:,} tensors", ""]
    if description.digest is None:
        return "\n".join([*lines, "Not pulled."])
    lines += [f"directory             {description.directory}", f"digest                {description.digest}"]
    lines += [f"{tower + ' fingerprint':<22}{value}" for tower, value in (description.fingerprint or {}).items()]
    return "\n".join(lines)
