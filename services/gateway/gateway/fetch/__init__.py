"""Fetches media that a request names by URL, from hosts that the deployment trusts, and from nowhere inside.

``urls`` says which URLs are allowed, ``addresses`` which IPs, ``guarded`` connects to nothing else, and ``fetcher``
puts them together. The threat is server-side request forgery (OWASP API7:2023).
"""
