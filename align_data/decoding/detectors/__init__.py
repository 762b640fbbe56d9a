"""What models of pictures say of an image: `nsfw`, text in the picture, faces."""
