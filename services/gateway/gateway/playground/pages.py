"""The playground's routes: each file of ``static`` under /playground/, and its page at /.

The page needs no key to be read: it holds nothing but itself. Its policy lets the browser load nothing from elsewhere
and run nothing inline, so that text of a model or of a file name cannot become code.
"""

from __future__ import annotations

from importlib import resources

from starlette.routing import Route

from trichord.web import files

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' blob: data:; "
    "media-src blob:; base-uri 'none'; frame-ancestors 'none'; form-action 'none'"
)
HEADERS = {
    **files.HEADERS,
    "content-security-policy": POLICY,
    "permissions-policy": "microphone=(self), camera=(), geolocation=()",
}
INDEX = "index.html"


def routes(*, has_traces: bool = False) -> list[Route]:
    """One route for each file, its content read now. None needs a key; each takes GET and HEAD.

    ``has_traces`` says whether the gateway's ``/traces/{trace_id}`` leads somewhere, so that answers link to it.
    """
    own = resources.files(__package__).joinpath("static")
    told = f"export const hasTraces = {'true' if has_traces else 'false'};\n"
    return [
        files.route("/", own.joinpath(INDEX), HEADERS),
        *files.folder("/playground", own, HEADERS),
        *files.folder("/playground", files.SHARED, HEADERS),
        files.content_route("/playground/deployment.js", "deployment.js", told.encode(), HEADERS),
    ]
