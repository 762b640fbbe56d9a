"""How an image becomes the input of a model: plain values, as cards and processors state them."""
