from pathlib import Path

import pytest

from bench.peers.peer import Contestant, Peer, PeerError

ECHO = """
import os
from bench.peers.worker import claim_stdout, serve

answers = claim_stdout()
print("a library greets")
serve(answers, "echo 1", echo=lambda **arguments: arguments, die=lambda: os._exit(3))
"""


@pytest.fixture
def echo(tmp_path: Path) -> Contestant:
    (tmp_path / "echo_peer.py").write_text(ECHO)
    return Contestant("echo", "echo_peer", (), variables={"PYTHONPATH": str(tmp_path)})


def test_a_peer_tells_its_version_and_answers_whatever_its_libraries_print(echo: Contestant, tmp_path: Path):
    with Peer(echo, tmp_path / "log") as peer:
        assert peer.version == "echo 1"
        assert peer.ask("echo", numbers=[1, 2]) == {"numbers": [1, 2]}
    assert "a library greets" in (tmp_path / "log").read_text()


def test_a_peer_that_dies_says_so(echo: Contestant, tmp_path: Path):
    with Peer(echo, tmp_path / "log") as peer:
        with pytest.raises(PeerError, match="echo does not answer: a library greets"):
            peer.ask("die")
        with pytest.raises(PeerError):
            peer.ask("echo")


def test_a_peer_that_does_not_start_says_why(tmp_path: Path):
    with pytest.raises(PeerError, match="No module named"), Peer(Contestant("no", "no_such", ()), tmp_path / "log"):
        pass
