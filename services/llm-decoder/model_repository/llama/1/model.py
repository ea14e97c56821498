"""Triton adapter of the LLaMA engine: requests to the engine, tokens back as they come."""

import torch
import triton_python_backend_utils as pb_utils

from llm_decoder import simulated
from llm_decoder.loading import EngineSettings, load_engine
from llm_decoder.metrics import EngineMetrics
from llm_decoder.triton_request import TritonRequests
from trichord.logs import configure
from trichord.triton import adapter


class TritonPythonModel:
    """One engine; ``execute`` only hands over."""

    def initialize(self, args):
        configure("info")
        settings = EngineSettings.from_environment()
        torch.set_num_threads(settings.threads)
        if settings.backend == "simulated":
            self.engine = simulated.load_engine(settings)
        else:
            self.engine = load_engine(settings, adapter.device(args))
        self.requests = TritonRequests(pb_utils, self.engine, settings.backend)
        self.metrics = EngineMetrics(pb_utils, self.engine.gauges)

    def execute(self, requests):
        for request in requests:
            self.requests.take(request)

    def finalize(self):
        self.metrics.close()
        self.engine.close()
