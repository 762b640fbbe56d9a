"""The bundled trainer: a small dual encoder, to see whether a filter pays. Its modules are imported late."""
