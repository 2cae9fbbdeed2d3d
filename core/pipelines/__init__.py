"""One call a task: `pipeline("text-generation", model=…)(…)`."""

from core.pipelines.base import Pipeline, pipeline
from core.pipelines.feature_extraction import FeatureExtractionPipeline
from core.pipelines.text_generation import TextGenerationPipeline

__all__ = ["FeatureExtractionPipeline", "Pipeline", "TextGenerationPipeline", "pipeline"]
