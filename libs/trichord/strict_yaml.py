"""YAML files that people write for us: bounded, plain values only, and no key given twice.

Knows nothing of what the values mean.
"""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from trichord.errors import SettingsError

MAX_FILE_BYTES = 64 * 1024


def read(path: Path, what: str, max_bytes: int = MAX_FILE_BYTES) -> Any:
    """The file's values. Raises SettingsError that calls the file ``what`` and says why it cannot be read."""
    try:
        if path.stat().st_size > max_bytes:
            raise SettingsError(f"{what} {path.name} is larger than {max_bytes} bytes.")
        return yaml.load(path.read_bytes(), _StrictLoader)  # noqa: S506 - a SafeLoader
    except OSError as error:
        raise SettingsError(f"{what} {path.name} cannot be read: {error.strerror}.") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        raise SettingsError(f"{what} {path.name} is not YAML{where}, or has a key twice.") from error


class _StrictLoader(yaml.SafeLoader):
    """Refuses a key that is given twice, of which PyYAML would silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [key.value for key, _ in node.value]
        if len(keys) != len({str(key) for key in keys}):
            raise yaml.constructor.ConstructorError(problem="a key is given twice", problem_mark=node.start_mark)
        return super().construct_mapping(node, deep)
