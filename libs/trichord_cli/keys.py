"""``trichord keys``: who may call the gateway. Edits its key file; a running gateway reads it again by itself.

Edge only; what is done to the file is ``gateway.identity.key_file``'s. A key is printed once, on stdout, and kept
nowhere; everything done is a line of the audit log.
"""

from __future__ import annotations

import getpass
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from gateway.identity.key_file import KeyRecord
    from gateway.identity.principal import Scope

app = typer.Typer(help="API keys of the gateway.", no_args_is_help=True)

AUDIT_VARIABLE = "TRICHORD_AUTH_AUDIT"

File = Annotated[
    Path | None,
    typer.Option("--file", envvar="TRICHORD_AUTH_KEYS", help="The key file; default: keys.json in $TRICHORD_HOME."),
]
KeyId = Annotated[str, typer.Argument(help="The id, as `trichord keys list` tells it.")]


@app.command()
def create(
    tenant: Annotated[str, typer.Option(help="Whose requests these are.")],
    scopes: Annotated[
        list[str], typer.Option("--scope", help="chat, media, encode, jobs, work or admin; may be repeated.")
    ],
    days: Annotated[int, typer.Option(min=1, max=3650, help="Days until it expires.")] = 365,
    certificate: Annotated[
        str | None, typer.Option(help="Make no key: let in client certificates with this subject alternative name.")
    ] = None,
    file: File = None,
) -> None:
    """Make a key, and print it: it cannot be shown again."""
    from gateway.identity import key_file

    now, life, allowed = _now(), timedelta(days=days), _scopes(scopes)
    if certificate:
        record = key_file.edit(
            _path(file), lambda keys: key_file.with_certificate(keys, tenant, allowed, now, life, certificate), now
        )
        _audit("create", record.id)
        typer.echo(record.id)
    else:
        key = key_file.edit(_path(file), lambda keys: key_file.with_key(keys, tenant, allowed, now, life), now)
        _audit("create", key.id)
        typer.echo(key.text())


@app.command("list")
def list_keys(
    file: File = None,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
) -> None:
    """List the keys, the newest last, and on which day each was last used."""
    from gateway.identity import key_file, last_used

    path, now = _path(file), _now()
    days = last_used.load(last_used.beside(path))
    rows = [_row(record, now) | {"last_used": str(days.get(record.id, "never"))} for record in key_file.load(path).keys]
    typer.echo(json.dumps(rows, indent=2) if as_json else "\n".join(map(_line, rows)))


@app.command()
def rotate(
    key_id: KeyId,
    overlap_h: Annotated[float, typer.Option(min=0, max=24 * 90, help="Hours for which the old key works on.")] = 24,
    file: File = None,
) -> None:
    """Make the successor of a key, and print it; the old one expires after the overlap."""
    from gateway.identity import key_file

    now, overlap = _now(), timedelta(hours=overlap_h)
    key = key_file.edit(_path(file), lambda keys: key_file.rotated(keys, key_id, now, overlap), now)
    _audit("rotate", key_id)
    _audit("create", key.id)
    typer.echo(key.text())


@app.command()
def revoke(key_id: KeyId, file: File = None) -> None:
    """Let a key expire now. Running gateways refuse it within seconds."""
    from gateway.identity import key_file

    now = _now()
    key_file.edit(_path(file), lambda keys: key_file.revoked(keys, key_id, now), now)
    _audit("revoke", key_id)


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def _path(file: Path | None) -> Path:
    from gateway.identity.settings import default_key_file

    return file or default_key_file()


def _scopes(names: list[str]) -> list[Scope]:
    from gateway.identity.principal import Scope

    unknown = [name for name in names if name not in list(Scope)]
    if unknown:
        raise typer.BadParameter(f"{unknown[0]!r} is none of {', '.join(Scope)}.", param_hint="--scope")
    return [Scope(name) for name in names]


def _audit(action: str, key_id: str) -> None:
    from gateway.identity.audit import AuditLog

    file = os.environ.get(AUDIT_VARIABLE)
    AuditLog(Path(file) if file else None).record(f"key {action}", key_id, "OK", actor=f"user:{getpass.getuser()}")


def _row(record: KeyRecord, now: datetime) -> dict[str, str]:
    return {
        "id": record.id,
        "tenant": record.tenant,
        "scopes": ",".join(record.scopes),
        "created": record.created.isoformat(),
        "expires": record.expires.isoformat(),
        "state": "active" if now < record.expires else "expired",
        "certificate": record.certificate or "",
    }


def _line(row: dict[str, str]) -> str:
    shown = f"{row['id']}  {row['state']:7}  until {row['expires'][:10]}  last used {row['last_used']:10}"
    return f"{shown}  {row['tenant']}  {row['scopes']}  {row['certificate']}".rstrip()
