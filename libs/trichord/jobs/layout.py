"""Names of objects in the store: where a job, its items and its results are. Pure.

::

    jobs/<tenant>/<job id>/spec                    JobRecord; with it there is a job
                          /items/<upload>/000064   items 64 to 127, length-delimited; larger ones by name
                          /items/<upload>/000070.lone   such a larger one
                          /results/000070          ItemResult
                          /cancelled               empty; with it no item begins any more
                          /end                     Job as it ended
    open/<tenant>/<job id>                         the tenant; a job that has no end, or is just being taken
    index/<tenant>/<newest first>-<job id>         empty; a tenant's jobs in the order of ListJobs
    files/<tenant>/<file id>/{content,about}       of the OpenAI API
    batches/<tenant>/<batch id>                    of the OpenAI API
"""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime

PACK_ITEMS = 64
"""Items in one object: a job of 50 000 small ones is 782 objects."""
LONE_BYTES = 65_536
"""An item larger than this is an object of its own: so a pack has at most 64 * 64 KiB = 4 MiB."""

_JOB_ID = re.compile(r"job_[0-9a-f]{32}")
_LAST_MS = 10**13 - 1
"""Milliseconds of the year 2286: what times are counted down from, so that the newest comes first."""


def tenant_hash(tenant: str) -> str:
    """What stands for a tenant in names: 32 hex digits, the same length and alphabet whatever its name is."""
    return hashlib.sha256(tenant.encode()).hexdigest()[:32]


def job_id(tenant: str, request_id: str) -> str:
    """The id of the job submitted as ``request_id``: the same each time, which is what makes submitting idempotent."""
    return "job_" + hashlib.sha256(f"{tenant}\0{request_id}".encode()).hexdigest()[:32]


def is_job_id(text: str) -> bool:
    """Whether it could be a job's: what may be put into a name."""
    return bool(_JOB_ID.fullmatch(text))


def job_prefix(tenant: str, job: str) -> str:
    """All of a job's objects begin so. ``job`` is its id."""
    return f"jobs/{tenant_hash(tenant)}/{job}/"


def spec(tenant: str, job: str) -> str:
    """Of the JobRecord."""
    return job_prefix(tenant, job) + "spec"


def items_prefix(tenant: str, job: str, upload: str) -> str:
    """The items of one submission begin so."""
    return job_prefix(tenant, job) + f"items/{upload}/"


def pack(tenant: str, job: str, upload: str, index: int) -> str:
    """Of the object that item ``index`` is in, with its neighbours."""
    return items_prefix(tenant, job, upload) + f"{index - index % PACK_ITEMS:06}"


def lone_item(tenant: str, job: str, upload: str, index: int) -> str:
    """Of the object that an item larger than LONE_BYTES is."""
    return items_prefix(tenant, job, upload) + f"{index:06}.lone"


def results_prefix(tenant: str, job: str) -> str:
    """A job's results begin so."""
    return job_prefix(tenant, job) + "results/"


def result(tenant: str, job: str, index: int) -> str:
    """Of the ItemResult of item ``index``."""
    return results_prefix(tenant, job) + f"{index:06}"


def result_index(key: str) -> int:
    """Back from the name of a result."""
    return int(key.rpartition("/")[2])


def cancelled(tenant: str, job: str) -> str:
    """Of the mark that a job is cancelled."""
    return job_prefix(tenant, job) + "cancelled"


def end(tenant: str, job: str) -> str:
    """Of the job as it ended."""
    return job_prefix(tenant, job) + "end"


OPEN_PREFIX = "open/"


def open_prefix(tenant: str) -> str:
    """The marks of a tenant's jobs begin so."""
    return f"{OPEN_PREFIX}{tenant_hash(tenant)}/"


def open_mark(tenant: str, job: str) -> str:
    """Of the mark of a job without an end, or one that is just being taken."""
    return open_prefix(tenant) + job


INDEX_PREFIX = "index/"


def index_prefix(tenant: str) -> str:
    """A tenant's jobs, newest first, begin so."""
    return f"{INDEX_PREFIX}{tenant_hash(tenant)}/"


def index_entry(tenant: str, job: str, created: datetime) -> str:
    """Of a job's place among its tenant's."""
    return index_prefix(tenant) + f"{_LAST_MS - int(created.timestamp() * 1e3):013}-{job}"


def indexed(key: str) -> tuple[str, datetime]:
    """Back from a job's place among its tenant's: the name of its spec, and when it was taken."""
    hashed, _, place = key.removeprefix(INDEX_PREFIX).partition("/")
    countdown, _, job = place.partition("-")
    return f"jobs/{hashed}/{job}/spec", datetime.fromtimestamp((_LAST_MS - int(countdown)) / 1e3, UTC)


def files_prefix(tenant: str) -> str:
    """A tenant's files begin so."""
    return f"files/{tenant_hash(tenant)}/"


def file_content(tenant: str, file_id: str) -> str:
    """Of a file's bytes."""
    return files_prefix(tenant) + f"{file_id}/content"


def file_about(tenant: str, file_id: str) -> str:
    """Of what is known of a file."""
    return files_prefix(tenant) + f"{file_id}/about"


def batches_prefix(tenant: str) -> str:
    """A tenant's batches begin so."""
    return f"batches/{tenant_hash(tenant)}/"


def batch(tenant: str, batch_id: str) -> str:
    """Of what is known of a batch."""
    return batches_prefix(tenant) + batch_id
