"""A backbone as an ONNX artifact: export, verification, copies, storage."""
