"""What decides a training run: one frozen model, saved with the run; each field is an option of `align-data train`."""

from __future__ import annotations

from types import MappingProxyType
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Whole = Annotated[int, Field(ge=1, le=10**15)]
Number = Annotated[float, Field(allow_inf_nan=False)]

OWNERS = {
    "label_smoothing": "softmax",
    "bias": "sigmoid",
    "margin": "triplet",
    "softmax_share": "triplet",
    "curvature": "hyperbolic",
    "entailment": "hyperbolic",
}
"""Settings that belong to one objective. Label smoothing is in every run: only a command knows whether it was given."""


class TrainSettings(BaseModel):
    """All that decides what a run computes; numbers of the ALIGN paper are in the preset `paper`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: Literal["tiny", "small", "b3-mini", "b7-base"] = Field(
        "tiny", description="the model: tiny (0.26 M parameters), small (5 M), b3-mini, b7-base (as in the paper)"
    )
    init: str | None = Field(
        None, description="start from a trained model: a folder, or a name on the Hugging Face hub"
    )
    image_size: Annotated[int, Field(ge=16, le=1024)] | None = Field(
        None, description="image side in pixels (default: the model's)"
    )
    batch: Annotated[int, Field(ge=2, le=2**24)] = Field(64, description="pairs per step, over all processes")
    accumulate: Annotated[int, Field(ge=1, le=2**20)] = Field(
        1, description="parts in which a batch is embedded, to need less memory; its loss is over all of it"
    )
    samples: Whole = Field(76_800, description="total number of pairs to train on; repeated pairs count each time")
    optimizer: Literal["adamw", "lamb"] = Field("adamw", description="AdamW, or LAMB as in the paper")
    learning_rate: Annotated[float, Field(gt=0, le=1e30)] = Field(
        1e-3, description="peak learning rate, after the warm-up"
    )
    warm_up: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.05, description="share of the steps during which the learning rate rises; it then falls to 0"
    )
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        0.01, description="weight decay; not applied to biases, norms or the temperature"
    )
    clip: Positive = Field(1.0, description="maximum gradient norm")
    objective: Literal["softmax", "sigmoid", "triplet", "hyperbolic"] = Field(
        "softmax",
        description="the loss: ALIGN's normalised softmax, SigLIP's sigmoid, VSE++'s triplets of hardest negatives, or "
        "MERU's hyperbolic distances and cones",
    )
    temperature: Positive = Field(0.1, description="initial temperature of all objectives but triplet; it is learnt")
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.1, description="label smoothing of the softmax; no other objective has it"
    )
    bias: Number | None = Field(
        None, description="initial bias of the sigmoid, which is learnt (default: minus the logarithm of the batch)"
    )
    margin: Positive | None = Field(None, description="margin of the triplets (default: 0.2)")
    softmax_share: Annotated[float, Field(ge=0, lt=1)] | None = Field(
        None, description="share of the steps that have the softmax before the triplets (default: 0.5)"
    )
    curvature: Annotated[float, Field(ge=0.1, le=10)] | None = Field(
        None, description="initial curvature of the hyperbolic space, which is learnt (default: 1)"
    )
    entailment: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = Field(
        None, description="weight of the hyperbolic cones (default: 0.2)"
    )
    vocabulary: Annotated[int, Field(ge=100, le=1_000_000)] = Field(
        1_000, description="size of the WordPiece vocabulary, learnt from the texts"
    )
    max_tokens: Annotated[int, Field(ge=4, le=512)] = Field(64, description="maximum tokens per text")
    flip: bool = Field(True, description="mirror half of the images, except those whose text says left or right")
    seed: Annotated[int, Field(ge=0, lt=2**31)] = Field(
        0, description="random seed; the same seed gives the same model"
    )
    memory: Annotated[int, Field(ge=1, le=10**8)] = Field(
        2_000,
        description="memory for decoded images; if not all fit, they are shuffled in windows of this size",
    )
    checkpoint: Whole = Field(500, description="steps between checkpoints")

    @field_validator(*(name for name in OWNERS if name != "label_smoothing"))
    @classmethod
    def _belongs(cls, value: float | None, info: ValidationInfo) -> float | None:
        owner = OWNERS[str(info.field_name)]
        if value is not None and info.data.get("objective", owner) != owner:
            raise PydanticCustomError("objective", "only --objective {owner} takes it", {"owner": owner})
        return value

    @property
    def steps(self) -> int:
        """Number of steps; the remainder of `samples` after the last full batch is not used."""
        return self.samples // self.batch


OBJECTIVES: tuple[str, ...] = get_args(TrainSettings.model_fields["objective"].annotation)
"""What `--objective` takes."""

PRESETS: MappingProxyType[str, dict[str, Any]] = MappingProxyType(
    {
        "paper": {
            "size": "b7-base",  # section 5.1 trains EfficientNet-L2 + BERT-Large, tables 8 to 10 go down from B7 + base
            "image_size": 289,  # section 5.1, from images resized to 346
            "vocabulary": 100_000,  # section 5.1, WordPiece on the training texts
            "max_tokens": 64,  # section 5.1
            "temperature": 1.0,  # section 5.1, learnt, converges at about 1/64
            "label_smoothing": 0.1,  # section 5.1
            "optimizer": "lamb",  # section 5.1
            "weight_decay": 1e-5,  # section 5.1
            "learning_rate": 1e-3,  # section 5.1
            "warm_up": 10_000 / 1_200_000,  # section 5.1: 10 k of 1.2 M steps, then linearly to 0
            "batch": 16_384,  # section 5.1: 1,024 cores of 16 pairs
            "samples": 16_384 * 1_200_000,  # section 5.1: about 12 epochs
        },
        "paper-ablation": {
            "size": "b3-mini",  # section 6, tables 8 to 10
            "image_size": 289,
            "vocabulary": 100_000,
            "temperature": 1.0,
            "optimizer": "lamb",
            "weight_decay": 1e-5,
            "warm_up": 10_000 / 1_000_000,
            "batch": 16_384,
            "samples": 16_384 * 1_000_000,  # section 6: 1 M steps
        },
    }
)
"""Settings that a paper gives, by name, with where it gives them."""
