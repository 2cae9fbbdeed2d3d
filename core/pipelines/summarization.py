"""A long text in few words."""

from core.pipelines.text2text_generation import Text2TextGenerationPipeline


class SummarizationPipeline(Text2TextGenerationPipeline):
    """`summarizer("a long text")` -> [{"summary_text": …}]."""

    task = "summarization"
    name = "summary"
