"""The table `content`: what is measured of images' bytes, as they are fetched or from the tars."""
