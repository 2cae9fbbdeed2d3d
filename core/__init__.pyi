from .auto import (
    AutoConfig as AutoConfig,
    AutoModel as AutoModel,
    AutoModelForAudioClassification as AutoModelForAudioClassification,
    AutoModelForCausalLM as AutoModelForCausalLM,
    AutoModelForCTC as AutoModelForCTC,
    AutoModelForImageClassification as AutoModelForImageClassification,
    AutoModelForMaskedLM as AutoModelForMaskedLM,
    AutoModelForMultipleChoice as AutoModelForMultipleChoice,
    AutoModelForNextSentencePrediction as AutoModelForNextSentencePrediction,
    AutoModelForQuestionAnswering as AutoModelForQuestionAnswering,
    AutoModelForSeq2SeqLM as AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification as AutoModelForSequenceClassification,
    AutoModelForSpeechSeq2Seq as AutoModelForSpeechSeq2Seq,
    AutoModelForTokenClassification as AutoModelForTokenClassification,
    AutoModelForZeroShotImageClassification as AutoModelForZeroShotImageClassification,
)
from .generation import (
    GenerationConfig as GenerationConfig,
    TextIteratorStreamer as TextIteratorStreamer,
    TextStreamer as TextStreamer,
)
from .generation.processors import (
    EncoderNoRepeatNGramLogitsProcessor as EncoderNoRepeatNGramLogitsProcessor,
    EncoderRepetitionPenaltyLogitsProcessor as EncoderRepetitionPenaltyLogitsProcessor,
    ExponentialDecayLengthPenalty as ExponentialDecayLengthPenalty,
    ForcedBOSTokenLogitsProcessor as ForcedBOSTokenLogitsProcessor,
    ForcedEOSTokenLogitsProcessor as ForcedEOSTokenLogitsProcessor,
    InfNanRemoveLogitsProcessor as InfNanRemoveLogitsProcessor,
    LogitNormalization as LogitNormalization,
    LogitsProcessor as LogitsProcessor,
    LogitsProcessorList as LogitsProcessorList,
    MinLengthLogitsProcessor as MinLengthLogitsProcessor,
    MinNewTokensLengthLogitsProcessor as MinNewTokensLengthLogitsProcessor,
    NoBadWordsLogitsProcessor as NoBadWordsLogitsProcessor,
    NoRepeatNGramLogitsProcessor as NoRepeatNGramLogitsProcessor,
    PrefixConstrainedLogitsProcessor as PrefixConstrainedLogitsProcessor,
    RepetitionPenaltyLogitsProcessor as RepetitionPenaltyLogitsProcessor,
    SequenceBiasLogitsProcessor as SequenceBiasLogitsProcessor,
    SuppressTokensAtBeginLogitsProcessor as SuppressTokensAtBeginLogitsProcessor,
    SuppressTokensLogitsProcessor as SuppressTokensLogitsProcessor,
)
from .generation.stopping import (
    EosTokenCriteria as EosTokenCriteria,
    MaxLengthCriteria as MaxLengthCriteria,
    MaxTimeCriteria as MaxTimeCriteria,
    StoppingCriteria as StoppingCriteria,
    StoppingCriteriaList as StoppingCriteriaList,
    StopStringCriteria as StopStringCriteria,
)
from .generation.warpers import (
    EpsilonLogitsWarper as EpsilonLogitsWarper,
    EtaLogitsWarper as EtaLogitsWarper,
    MinPLogitsWarper as MinPLogitsWarper,
    TemperatureLogitsWarper as TemperatureLogitsWarper,
    TopHLogitsWarper as TopHLogitsWarper,
    TopKLogitsWarper as TopKLogitsWarper,
    TopPLogitsWarper as TopPLogitsWarper,
    TypicalLogitsWarper as TypicalLogitsWarper,
)
from .modeling.configuration import PreTrainedConfig as PreTrainedConfig
from .modeling.model import PreTrainedModel as PreTrainedModel
from .modeling.taps import Taps as Taps
from .models.albert import (
    AlbertConfig as AlbertConfig,
    AlbertForMaskedLM as AlbertForMaskedLM,
    AlbertForMultipleChoice as AlbertForMultipleChoice,
    AlbertForQuestionAnswering as AlbertForQuestionAnswering,
    AlbertForSequenceClassification as AlbertForSequenceClassification,
    AlbertForTokenClassification as AlbertForTokenClassification,
    AlbertModel as AlbertModel,
)
from .models.bart import (
    BartConfig as BartConfig,
    BartForConditionalGeneration as BartForConditionalGeneration,
    BartForQuestionAnswering as BartForQuestionAnswering,
    BartForSequenceClassification as BartForSequenceClassification,
    BartModel as BartModel,
)
from .models.bert import (
    BertConfig as BertConfig,
    BertForMaskedLM as BertForMaskedLM,
    BertForMultipleChoice as BertForMultipleChoice,
    BertForNextSentencePrediction as BertForNextSentencePrediction,
    BertForPreTraining as BertForPreTraining,
    BertForQuestionAnswering as BertForQuestionAnswering,
    BertForSequenceClassification as BertForSequenceClassification,
    BertForTokenClassification as BertForTokenClassification,
    BertLMHeadModel as BertLMHeadModel,
    BertModel as BertModel,
)
from .models.bloom import (
    BloomConfig as BloomConfig,
    BloomForCausalLM as BloomForCausalLM,
    BloomForSequenceClassification as BloomForSequenceClassification,
    BloomForTokenClassification as BloomForTokenClassification,
    BloomModel as BloomModel,
)
from .models.camembert import (
    CamembertConfig as CamembertConfig,
    CamembertForMaskedLM as CamembertForMaskedLM,
    CamembertForMultipleChoice as CamembertForMultipleChoice,
    CamembertForQuestionAnswering as CamembertForQuestionAnswering,
    CamembertForSequenceClassification as CamembertForSequenceClassification,
    CamembertForTokenClassification as CamembertForTokenClassification,
    CamembertModel as CamembertModel,
)
from .models.clip import (
    CLIPConfig as CLIPConfig,
    CLIPForImageClassification as CLIPForImageClassification,
    CLIPModel as CLIPModel,
    CLIPTextConfig as CLIPTextConfig,
    CLIPTextModel as CLIPTextModel,
    CLIPTextModelWithProjection as CLIPTextModelWithProjection,
    CLIPVisionConfig as CLIPVisionConfig,
    CLIPVisionModel as CLIPVisionModel,
    CLIPVisionModelWithProjection as CLIPVisionModelWithProjection,
)
from .models.deberta_v2 import (
    DebertaV2Config as DebertaV2Config,
    DebertaV2ForMaskedLM as DebertaV2ForMaskedLM,
    DebertaV2ForMultipleChoice as DebertaV2ForMultipleChoice,
    DebertaV2ForQuestionAnswering as DebertaV2ForQuestionAnswering,
    DebertaV2ForSequenceClassification as DebertaV2ForSequenceClassification,
    DebertaV2ForTokenClassification as DebertaV2ForTokenClassification,
    DebertaV2Model as DebertaV2Model,
)
from .models.distilbert import (
    DistilBertConfig as DistilBertConfig,
    DistilBertForMaskedLM as DistilBertForMaskedLM,
    DistilBertForMultipleChoice as DistilBertForMultipleChoice,
    DistilBertForQuestionAnswering as DistilBertForQuestionAnswering,
    DistilBertForSequenceClassification as DistilBertForSequenceClassification,
    DistilBertForTokenClassification as DistilBertForTokenClassification,
    DistilBertModel as DistilBertModel,
)
from .models.electra import (
    ElectraConfig as ElectraConfig,
    ElectraForMaskedLM as ElectraForMaskedLM,
    ElectraForMultipleChoice as ElectraForMultipleChoice,
    ElectraForPreTraining as ElectraForPreTraining,
    ElectraForQuestionAnswering as ElectraForQuestionAnswering,
    ElectraForSequenceClassification as ElectraForSequenceClassification,
    ElectraForTokenClassification as ElectraForTokenClassification,
    ElectraModel as ElectraModel,
)
from .models.gemma import (
    GemmaConfig as GemmaConfig,
    GemmaForCausalLM as GemmaForCausalLM,
    GemmaForSequenceClassification as GemmaForSequenceClassification,
    GemmaForTokenClassification as GemmaForTokenClassification,
    GemmaModel as GemmaModel,
)
from .models.gemma2 import (
    Gemma2Config as Gemma2Config,
    Gemma2ForCausalLM as Gemma2ForCausalLM,
    Gemma2ForSequenceClassification as Gemma2ForSequenceClassification,
    Gemma2ForTokenClassification as Gemma2ForTokenClassification,
    Gemma2Model as Gemma2Model,
)
from .models.gemma3 import (
    Gemma3ForCausalLM as Gemma3ForCausalLM,
    Gemma3TextConfig as Gemma3TextConfig,
    Gemma3TextForSequenceClassification as Gemma3TextForSequenceClassification,
    Gemma3TextForTokenClassification as Gemma3TextForTokenClassification,
    Gemma3TextModel as Gemma3TextModel,
)
from .models.gpt2 import (
    GPT2Config as GPT2Config,
    GPT2ForSequenceClassification as GPT2ForSequenceClassification,
    GPT2ForTokenClassification as GPT2ForTokenClassification,
    GPT2LMHeadModel as GPT2LMHeadModel,
    GPT2Model as GPT2Model,
)
from .models.gpt_bigcode import (
    GPTBigCodeConfig as GPTBigCodeConfig,
    GPTBigCodeForCausalLM as GPTBigCodeForCausalLM,
    GPTBigCodeForSequenceClassification as GPTBigCodeForSequenceClassification,
    GPTBigCodeForTokenClassification as GPTBigCodeForTokenClassification,
    GPTBigCodeModel as GPTBigCodeModel,
)
from .models.gpt_neox import (
    GPTNeoXConfig as GPTNeoXConfig,
    GPTNeoXForCausalLM as GPTNeoXForCausalLM,
    GPTNeoXForSequenceClassification as GPTNeoXForSequenceClassification,
    GPTNeoXForTokenClassification as GPTNeoXForTokenClassification,
    GPTNeoXModel as GPTNeoXModel,
)
from .models.granite import (
    GraniteConfig as GraniteConfig,
    GraniteForCausalLM as GraniteForCausalLM,
    GraniteModel as GraniteModel,
)
from .models.llama import (
    LlamaConfig as LlamaConfig,
    LlamaForCausalLM as LlamaForCausalLM,
    LlamaForSequenceClassification as LlamaForSequenceClassification,
    LlamaForTokenClassification as LlamaForTokenClassification,
    LlamaModel as LlamaModel,
)
from .models.marian import (
    MarianConfig as MarianConfig,
    MarianMTModel as MarianMTModel,
    MarianModel as MarianModel,
)
from .models.mbart import (
    MBartConfig as MBartConfig,
    MBartForConditionalGeneration as MBartForConditionalGeneration,
    MBartForQuestionAnswering as MBartForQuestionAnswering,
    MBartForSequenceClassification as MBartForSequenceClassification,
    MBartModel as MBartModel,
)
from .models.mistral import (
    MistralConfig as MistralConfig,
    MistralForCausalLM as MistralForCausalLM,
    MistralForSequenceClassification as MistralForSequenceClassification,
    MistralForTokenClassification as MistralForTokenClassification,
    MistralModel as MistralModel,
)
from .models.mixtral import (
    MixtralConfig as MixtralConfig,
    MixtralForCausalLM as MixtralForCausalLM,
    MixtralForSequenceClassification as MixtralForSequenceClassification,
    MixtralForTokenClassification as MixtralForTokenClassification,
    MixtralModel as MixtralModel,
)
from .models.opt import (
    OPTConfig as OPTConfig,
    OPTForCausalLM as OPTForCausalLM,
    OPTForSequenceClassification as OPTForSequenceClassification,
    OPTForTokenClassification as OPTForTokenClassification,
    OPTModel as OPTModel,
)
from .models.phi3 import (
    Phi3Config as Phi3Config,
    Phi3ForCausalLM as Phi3ForCausalLM,
    Phi3ForSequenceClassification as Phi3ForSequenceClassification,
    Phi3ForTokenClassification as Phi3ForTokenClassification,
    Phi3Model as Phi3Model,
)
from .models.qwen2 import (
    Qwen2Config as Qwen2Config,
    Qwen2ForCausalLM as Qwen2ForCausalLM,
    Qwen2ForSequenceClassification as Qwen2ForSequenceClassification,
    Qwen2ForTokenClassification as Qwen2ForTokenClassification,
    Qwen2Model as Qwen2Model,
)
from .models.qwen3 import (
    Qwen3Config as Qwen3Config,
    Qwen3ForCausalLM as Qwen3ForCausalLM,
    Qwen3ForSequenceClassification as Qwen3ForSequenceClassification,
    Qwen3ForTokenClassification as Qwen3ForTokenClassification,
    Qwen3Model as Qwen3Model,
)
from .models.roberta import (
    RobertaConfig as RobertaConfig,
    RobertaForMaskedLM as RobertaForMaskedLM,
    RobertaForMultipleChoice as RobertaForMultipleChoice,
    RobertaForQuestionAnswering as RobertaForQuestionAnswering,
    RobertaForSequenceClassification as RobertaForSequenceClassification,
    RobertaForTokenClassification as RobertaForTokenClassification,
    RobertaModel as RobertaModel,
)
from .models.starcoder2 import (
    Starcoder2Config as Starcoder2Config,
    Starcoder2ForCausalLM as Starcoder2ForCausalLM,
    Starcoder2ForSequenceClassification as Starcoder2ForSequenceClassification,
    Starcoder2ForTokenClassification as Starcoder2ForTokenClassification,
    Starcoder2Model as Starcoder2Model,
)
from .models.t5 import (
    MT5Config as MT5Config,
    MT5EncoderModel as MT5EncoderModel,
    MT5ForConditionalGeneration as MT5ForConditionalGeneration,
    MT5ForQuestionAnswering as MT5ForQuestionAnswering,
    MT5ForSequenceClassification as MT5ForSequenceClassification,
    MT5ForTokenClassification as MT5ForTokenClassification,
    MT5Model as MT5Model,
    T5Config as T5Config,
    T5EncoderModel as T5EncoderModel,
    T5ForConditionalGeneration as T5ForConditionalGeneration,
    T5ForQuestionAnswering as T5ForQuestionAnswering,
    T5ForSequenceClassification as T5ForSequenceClassification,
    T5ForTokenClassification as T5ForTokenClassification,
    T5Model as T5Model,
)
from .models.vit import (
    ViTConfig as ViTConfig,
    ViTForImageClassification as ViTForImageClassification,
    ViTModel as ViTModel,
)
from .models.wav2vec2 import (
    Wav2Vec2Config as Wav2Vec2Config,
    Wav2Vec2ForCTC as Wav2Vec2ForCTC,
    Wav2Vec2ForSequenceClassification as Wav2Vec2ForSequenceClassification,
    Wav2Vec2Model as Wav2Vec2Model,
)
from .models.whisper import (
    WhisperConfig as WhisperConfig,
    WhisperForAudioClassification as WhisperForAudioClassification,
    WhisperForConditionalGeneration as WhisperForConditionalGeneration,
    WhisperModel as WhisperModel,
)
from .models.xlm_roberta import (
    XLMRobertaConfig as XLMRobertaConfig,
    XLMRobertaForMaskedLM as XLMRobertaForMaskedLM,
    XLMRobertaForMultipleChoice as XLMRobertaForMultipleChoice,
    XLMRobertaForQuestionAnswering as XLMRobertaForQuestionAnswering,
    XLMRobertaForSequenceClassification as XLMRobertaForSequenceClassification,
    XLMRobertaForTokenClassification as XLMRobertaForTokenClassification,
    XLMRobertaModel as XLMRobertaModel,
)
from .tokenization.auto import AutoTokenizer as AutoTokenizer
from .tokenization.named import (
    AlbertTokenizer as AlbertTokenizer,
    AlbertTokenizerFast as AlbertTokenizerFast,
    BartTokenizer as BartTokenizer,
    BartTokenizerFast as BartTokenizerFast,
    BertTokenizer as BertTokenizer,
    BertTokenizerFast as BertTokenizerFast,
    BloomTokenizer as BloomTokenizer,
    BloomTokenizerFast as BloomTokenizerFast,
    CLIPTokenizer as CLIPTokenizer,
    CLIPTokenizerFast as CLIPTokenizerFast,
    CamembertTokenizer as CamembertTokenizer,
    CamembertTokenizerFast as CamembertTokenizerFast,
    CodeGenTokenizer as CodeGenTokenizer,
    CodeGenTokenizerFast as CodeGenTokenizerFast,
    DebertaV2Tokenizer as DebertaV2Tokenizer,
    DebertaV2TokenizerFast as DebertaV2TokenizerFast,
    DistilBertTokenizer as DistilBertTokenizer,
    DistilBertTokenizerFast as DistilBertTokenizerFast,
    ElectraTokenizer as ElectraTokenizer,
    ElectraTokenizerFast as ElectraTokenizerFast,
    GPT2Tokenizer as GPT2Tokenizer,
    GPT2TokenizerFast as GPT2TokenizerFast,
    GPTNeoXTokenizer as GPTNeoXTokenizer,
    GPTNeoXTokenizerFast as GPTNeoXTokenizerFast,
    GemmaTokenizer as GemmaTokenizer,
    GemmaTokenizerFast as GemmaTokenizerFast,
    LlamaTokenizer as LlamaTokenizer,
    LlamaTokenizerFast as LlamaTokenizerFast,
    PreTrainedTokenizerFast as PreTrainedTokenizerFast,
    Qwen2Tokenizer as Qwen2Tokenizer,
    Qwen2TokenizerFast as Qwen2TokenizerFast,
    RobertaTokenizer as RobertaTokenizer,
    RobertaTokenizerFast as RobertaTokenizerFast,
    T5Tokenizer as T5Tokenizer,
    T5TokenizerFast as T5TokenizerFast,
    XLMRobertaTokenizer as XLMRobertaTokenizer,
    XLMRobertaTokenizerFast as XLMRobertaTokenizerFast,
)
from .tokenization.speech import (
    Wav2Vec2CTCTokenizer as Wav2Vec2CTCTokenizer,
    WhisperTokenizer as WhisperTokenizer,
    WhisperTokenizerFast as WhisperTokenizerFast,
)
from .tokenization.translation import (
    MBart50Tokenizer as MBart50Tokenizer,
    MBart50TokenizerFast as MBart50TokenizerFast,
    MBartTokenizer as MBartTokenizer,
    MBartTokenizerFast as MBartTokenizerFast,
    MarianTokenizer as MarianTokenizer,
)
from .tokenization.base import PreTrainedTokenizer as PreTrainedTokenizer
from .tokenization.batch import BatchEncoding as BatchEncoding
from .peft import (
    AutoPeftModel as AutoPeftModel,
    AutoPeftModelForCausalLM as AutoPeftModelForCausalLM,
    AutoPeftModelForFeatureExtraction as AutoPeftModelForFeatureExtraction,
    AutoPeftModelForQuestionAnswering as AutoPeftModelForQuestionAnswering,
    AutoPeftModelForSeq2SeqLM as AutoPeftModelForSeq2SeqLM,
    AutoPeftModelForSequenceClassification as AutoPeftModelForSequenceClassification,
    AutoPeftModelForTokenClassification as AutoPeftModelForTokenClassification,
    BottleneckConfig as BottleneckConfig,
    IA3Config as IA3Config,
    LoraConfig as LoraConfig,
    PeftConfig as PeftConfig,
    PeftModel as PeftModel,
    PeftModelForCausalLM as PeftModelForCausalLM,
    PeftModelForFeatureExtraction as PeftModelForFeatureExtraction,
    PeftModelForQuestionAnswering as PeftModelForQuestionAnswering,
    PeftModelForSeq2SeqLM as PeftModelForSeq2SeqLM,
    PeftModelForSequenceClassification as PeftModelForSequenceClassification,
    PeftModelForTokenClassification as PeftModelForTokenClassification,
    PrefixTuningConfig as PrefixTuningConfig,
    PromptEncoderConfig as PromptEncoderConfig,
    PromptTuningConfig as PromptTuningConfig,
    TaskType as TaskType,
    get_peft_config as get_peft_config,
    get_peft_model as get_peft_model,
    get_peft_model_state_dict as get_peft_model_state_dict,
    set_peft_model_state_dict as set_peft_model_state_dict,
)
from .pipelines import (
    FeatureExtractionPipeline as FeatureExtractionPipeline,
    KeyDataset as KeyDataset,
    Pipeline as Pipeline,
    TextGenerationPipeline as TextGenerationPipeline,
    pipeline as pipeline,
)
from .pipelines.audio_classification import AudioClassificationPipeline as AudioClassificationPipeline
from .pipelines.automatic_speech_recognition import AutomaticSpeechRecognitionPipeline as AutomaticSpeechRecognitionPipeline
from .pipelines.fill_mask import FillMaskPipeline as FillMaskPipeline
from .pipelines.image_classification import ImageClassificationPipeline as ImageClassificationPipeline
from .pipelines.image_feature_extraction import ImageFeatureExtractionPipeline as ImageFeatureExtractionPipeline
from .pipelines.question_answering import QuestionAnsweringPipeline as QuestionAnsweringPipeline
from .pipelines.sentence_similarity import SentenceSimilarityPipeline as SentenceSimilarityPipeline
from .pipelines.summarization import SummarizationPipeline as SummarizationPipeline
from .pipelines.text2text_generation import Text2TextGenerationPipeline as Text2TextGenerationPipeline
from .pipelines.text_classification import TextClassificationPipeline as TextClassificationPipeline
from .pipelines.token_classification import TokenClassificationPipeline as TokenClassificationPipeline
from .pipelines.translation import TranslationPipeline as TranslationPipeline
from .pipelines.zero_shot_classification import ZeroShotClassificationPipeline as ZeroShotClassificationPipeline
from .pipelines.zero_shot_image_classification import ZeroShotImageClassificationPipeline as ZeroShotImageClassificationPipeline
from .processing import (
    AutoFeatureExtractor as AutoFeatureExtractor,
    AutoImageProcessor as AutoImageProcessor,
    AutoProcessor as AutoProcessor,
    BatchFeature as BatchFeature,
    CLIPImageProcessor as CLIPImageProcessor,
    CLIPProcessor as CLIPProcessor,
    ViTImageProcessor as ViTImageProcessor,
    Wav2Vec2FeatureExtractor as Wav2Vec2FeatureExtractor,
    Wav2Vec2Processor as Wav2Vec2Processor,
    WhisperFeatureExtractor as WhisperFeatureExtractor,
    WhisperProcessor as WhisperProcessor,
)
from .trainer import (
    Adafactor as Adafactor,
    DataCollatorForCompletionOnlyLM as DataCollatorForCompletionOnlyLM,
    DataCollatorForLanguageModeling as DataCollatorForLanguageModeling,
    DataCollatorForSeq2Seq as DataCollatorForSeq2Seq,
    DataCollatorForTokenClassification as DataCollatorForTokenClassification,
    DataCollatorWithPadding as DataCollatorWithPadding,
    DefaultDataCollator as DefaultDataCollator,
    EarlyStoppingCallback as EarlyStoppingCallback,
    EvalPrediction as EvalPrediction,
    PredictionOutput as PredictionOutput,
    ProgressCallback as ProgressCallback,
    Seq2SeqTrainer as Seq2SeqTrainer,
    Seq2SeqTrainingArguments as Seq2SeqTrainingArguments,
    Trainer as Trainer,
    TrainerCallback as TrainerCallback,
    TrainerControl as TrainerControl,
    TrainerState as TrainerState,
    TrainingArguments as TrainingArguments,
    default_data_collator as default_data_collator,
    get_scheduler as get_scheduler,
    set_seed as set_seed,
)
