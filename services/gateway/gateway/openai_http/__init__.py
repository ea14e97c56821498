"""The OpenAI HTTP face of the gateway: chat completions over JSON and server-sent events.

Shapes are those of the OpenAI API (https://platform.openai.com/docs/api-reference/chat). ``answering`` alone knows how
an answer is made; everything else here knows HTTP, JSON and the contract of OmniService.

::

    serving.py         uvicorn in this process; http1.py: its connections, with limits of their own
    routes.py          which path is answered by what
    traced.py          around every route: its span
    middleware.py      around every route: request id, errors, keys
    desk.py            what handlers have at hand
    connection.py      work that ends when its client leaves or the process drains
    completions.py     POST /v1/chat/completions, in its order of work
      body.py          bytes, bounded in number and time
      strict_json.py   bytes to an object
      schema.py        what a request is (the OpenAPI document's source)
      parameters.py    an object to a checked request
      translation.py   a request to the contract's; media.py, paths.py: its parts and where they came from
      answering.py     the contract's request to its events
      completion.py, chunks.py   events to a whole answer, or to stream chunks; answer.py: what both are made of
      event_stream.py  chunks to server-sent events
      idempotency.py   responses kept for repeated requests
    responses.py       the shapes of answers; refusals.py: those of errors
    documentation.py   /openapi.json and /docs
"""
