"""The card of an encoder in ONNX: how an image becomes its input, how a text does, and what comes out."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, StrictBool, StrictInt, model_validator

from align_data.decoding.inputs.card import InputCard, read_card_of
from align_data.models.vectors import MAX_DIM, MAX_PIXELS

Name = Annotated[str, Field(min_length=1, max_length=1000)]
MAX_TOKENS = 8_192


class EncoderCard(InputCard):
    """How image.onnx and text.onnx are used; each description completes the sentence 'KEY takes …'."""

    dim: Annotated[StrictInt, Field(ge=1, le=MAX_DIM)] = Field(description="the length of the embeddings")
    normalise: StrictBool = Field(
        default=True, description="true, or false where the model's embeddings are of unit length already"
    )
    max_tokens: Annotated[StrictInt, Field(ge=2, le=MAX_TOKENS)] | None = Field(
        default=None, description="the most tokens that a text may have, those that begin and end it included"
    )
    padding: Literal["max", "longest"] = Field(
        default="max", description="max (every text has max_tokens) or longest (as far as a text needs)"
    )
    pad_token: Name | None = Field(default=None, description="the token that a text is filled up with")
    lower_case: StrictBool = Field(default=False, description="true or false: texts are lower-cased first")
    image_input: Name | None = Field(default=None, description="the name of an input of image.onnx")
    image_output: Name | None = Field(default=None, description="the name of an output of image.onnx")
    text_input: Name | None = Field(default=None, description="the name of an input of text.onnx, for the tokens' ids")
    text_mask: Name | None = Field(
        default=None, description="the name of an input of text.onnx that has 1 for each token and 0 for padding"
    )
    text_output: Name | None = Field(default=None, description="the name of an output of text.onnx")

    @model_validator(mode="after")
    def _fits_a_batch(self) -> Self:
        if self.size[0] * self.size[1] > MAX_PIXELS:
            raise ValueError(f"size has more than the {MAX_PIXELS:,} pixels that an encoder may see")
        if self.resize == "shortest" and self.resize_to is not None and self.resize_to[0] != self.resize_to[1]:
            raise ValueError("resize_to takes one side where resize is shortest: it is that of the shorter side")
        return self


def read_encoder_card(path: str) -> EncoderCard:
    """Read an encoder's card from a file; InputError says what is wrong with it."""
    return read_card_of(EncoderCard, path)
