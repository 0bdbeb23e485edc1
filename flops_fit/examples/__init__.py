"Models and data to start from. Nothing here imports torch until one of these names is used."
from ..lazy import lazily

__getattr__, __dir__, __all__ = lazily(__name__, {
    "gpt": "GPT GPTConfig byte_gpt gpt_loss_fn create_model_for_scaling",
    "corpus": "PythonCorpus",
    "tinystories": "TinyStoriesDataset",
    "vit": "VisionTransformer vit_loss_fn",
    "cifar": "CIFAR10Dataset",
})
