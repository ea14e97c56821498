"""The background supervisor: ``python -m local_cluster '{"name": ...}'``, a ClusterSpec as JSON. Logs to stderr."""

from __future__ import annotations

import asyncio
import sys

from local_cluster.cluster import Cluster
from local_cluster.state import RunDirectory
from local_cluster.topology import ClusterSpec
from trichord.errors import TrichordError
from trichord.home import home
from trichord.logs import configure


def main() -> None:
    """Runs one cluster until it is told to stop."""
    configure("supervisor", "info")
    spec = ClusterSpec.model_validate_json(sys.argv[1])
    try:
        asyncio.run(Cluster(spec, RunDirectory(home(), spec.name), lambda state: None).run())
    except TrichordError as error:
        raise SystemExit(f"cannot start: {error}") from error


if __name__ == "__main__":
    main()
