"""The web playground: a chat page of the gateway's own, made of static files that load nothing from elsewhere.

Knows HTTP only as far as serving files goes; the page itself talks to the gateway's OpenAI HTTP API like any client.
"""
