"""Triton adapter of the LLaMA engine: requests to the engine, tokens back as they come."""

import torch
import triton_python_backend_utils as pb_utils

from llm_decoder import simulated
from llm_decoder.grammar.constraint import Grammars
from llm_decoder.loading import EngineSettings, load_engine
from llm_decoder.metrics import EngineMetrics
from llm_decoder.triton_request import TritonRequests
from trichord.logs import configure
from trichord.settings import ModelSettings
from trichord.triton import adapter
from trichord.triton.model_tracing import ModelTracing


class TritonPythonModel:
    """One engine; ``execute`` only hands over."""

    def initialize(self, args):
        configure("llm-decoder-triton", "info")
        told, settings = ModelSettings.from_environment(), EngineSettings.from_environment()
        torch.set_num_threads(told.threads)
        self.tracing = ModelTracing("llm-decoder-model", adapter.device(args), told.backend)
        if told.backend == "simulated":
            self.engine = simulated.load_engine(told, settings)
        else:
            self.engine = load_engine(told, settings, adapter.device(args))
        grammars = Grammars.read(told.checkpoint)
        self.requests = TritonRequests(pb_utils, self.engine, told.backend, settings.max_hold_ms, grammars)
        self.metrics = EngineMetrics(pb_utils, self.engine.gauges)

    def execute(self, requests):
        for request in requests:
            self.requests.take(request)

    def finalize(self):
        self.metrics.close()
        self.engine.close()
        self.requests.close()
        self.tracing.close()
