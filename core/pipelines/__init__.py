"""One call a task: `pipeline("text-generation", model=…)(…)`."""

from core.pipelines.base import Pipeline, pipeline
from core.pipelines.feature_extraction import FeatureExtractionPipeline
from core.pipelines.text_generation import TextGenerationPipeline

__all__ = ["FeatureExtractionPipeline", "Pipeline", "TextGenerationPipeline", "pipeline"]


def options(task):
    from dataclasses import dataclass, fields, field
    @dataclass
    class O:
        top_k: int | None = field(default=None, metadata=dict(help="How many labels.", min=1, max=100, step=1))
        function_to_apply: str | None = field(default=None, metadata=dict(help="How scores are made of logits.", choices=["softmax","sigmoid","none"]))
        aggregation_strategy: str = field(default="none", metadata=dict(help="How tokens become names.", choices=["none","simple","first","average","max"]))
    class D(dict):
        def __missing__(self, k):
            return next(f for f in fields(O) if f.name=="top_k")
    return D({f.name: f for f in fields(O)})
