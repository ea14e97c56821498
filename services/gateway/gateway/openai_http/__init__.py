"""The OpenAI HTTP face of the gateway: chat completions over JSON and server-sent events, files and batches.

Shapes are those of the OpenAI API (https://platform.openai.com/docs/api-reference/chat). ``answering`` alone knows how
an answer is made, ``batch_work`` alone how jobs are; everything else here knows HTTP, JSON and the contract.

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
    files.py           /v1/files
      multipart.py     a form with a file, taken apart as it arrives
      file_records.py  files in the object store
    batches.py         /v1/batches
      file_shapes.py   what is asked and told, of files too; listing.py: pages of them
      batch_records.py batches in the object store
      batch_keeper.py  open batches kept going, by one gateway at a time
      batch_work.py    a batch's steps: its lines become a job, its results become files
      batch_lines.py   lines to items of the job; line_splitter.py: bytes to lines
      batch_output.py  results to lines; line_file.py: lines to pieces of a file
      batch_view.py    a batch as it is told
      job_desk.py      what the handlers of files and batches have at hand
    replies.py         JSON as a whole, a file as it is read
    responses.py       the shapes of answers; refusals.py: those of errors
    documentation.py   /openapi.json and /docs; job_documentation.py: files and batches in it
"""
