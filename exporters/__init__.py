"""How a backbone is made executable: ONNX export, verification, engines, workers."""
