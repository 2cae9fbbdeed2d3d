"""One call a task: `pipeline("text-generation", model=…)(…)`."""

from core.pipelines.base import KeyDataset, Pipeline, Progress, Result
from core.pipelines.feature_extraction import FeatureExtractionPipeline
from core.pipelines.loading import TASKS, pipeline, pipeline_class
from core.pipelines.options import Option
from core.pipelines.text_generation import TextGenerationPipeline

__all__ = [
    "TASKS",
    "FeatureExtractionPipeline",
    "KeyDataset",
    "Option",
    "Pipeline",
    "Progress",
    "Result",
    "TextGenerationPipeline",
    "pipeline",
    "pipeline_class",
]
