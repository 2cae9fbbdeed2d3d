"""Images and audio to tensors, as the files of a model say."""

from core.processing.audio import load_audio, resample
from core.processing.auto import AutoFeatureExtractor, AutoImageProcessor, AutoProcessor
from core.processing.batch import BatchFeature
from core.processing.feature_extractors import Wav2Vec2FeatureExtractor, WhisperFeatureExtractor
from core.processing.image_processors import CLIPImageProcessor, ViTImageProcessor
from core.processing.images import load_image
from core.processing.processors import CLIPProcessor, Wav2Vec2Processor, WhisperProcessor

__all__ = [
    "AutoFeatureExtractor",
    "AutoImageProcessor",
    "AutoProcessor",
    "BatchFeature",
    "CLIPImageProcessor",
    "CLIPProcessor",
    "ViTImageProcessor",
    "Wav2Vec2FeatureExtractor",
    "Wav2Vec2Processor",
    "WhisperFeatureExtractor",
    "WhisperProcessor",
    "load_audio",
    "load_image",
    "resample",
]
