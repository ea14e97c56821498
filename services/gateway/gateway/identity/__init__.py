"""Who calls, and what they may do: API keys, OIDC tokens and client certificates become one ``Principal``.

::

    principal.py      who: the tenant, the key, the scopes
    scopes.py         which scope each gRPC method needs
    api_key.py        the text of an API key
    key_file.py       the file of keys, and what an operator does to it
    key_ring.py       the same file as a running gateway knows it
    last_used.py      on which day each key was last used
    jwks.py, oidc.py  an identity provider's keys, and its tokens
    audit.py          who did what, and was it allowed
    settings.py       which of these a gateway takes
    guard.py          the one place where a call is let in or refused
    interceptor.py    the guard before every gRPC method
    opening.py        a guard as settings say

Knows nothing of what callers are let in to do.
"""
