"""Encoders in a folder of ONNX files: read, tried in a child process, and run."""
