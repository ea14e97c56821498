"""Triton adapter of the LLaMA engine: requests to the engine, tokens back as they come."""

import torch
import triton_python_backend_utils as pb_utils

from llm_decoder.engine import Engine
from llm_decoder.loading import EngineSettings, load_engine
from llm_decoder.metrics import EngineMetrics
from llm_decoder.triton_request import TritonSink, parse
from trichord.errors import InternalError


class TritonPythonModel:
    """One engine; ``execute`` only hands over."""

    def initialize(self, args):
        settings = EngineSettings.from_environment()
        torch.set_num_threads(settings.threads)
        self.engine: Engine = load_engine(settings)
        self.metrics = EngineMetrics(pb_utils, self.engine.gauges)

    def execute(self, requests):
        for request in requests:
            sink = TritonSink(pb_utils, request.get_response_sender())
            try:
                for sample in parse(request, sink):
                    self.engine.submit(sample)
            except (KeyError, ValueError) as error:
                sink.fail(InternalError(f"The request is not one of this model's: {error!r}."))

    def finalize(self):
        self.metrics.close()
        self.engine.close()
