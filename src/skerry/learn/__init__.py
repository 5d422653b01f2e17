"""Models from what people have: ONNX, scikit-learn, PyTorch, checked against their own output.

Takes a trained model; gives a checked, content-addressed model with its card.
"""
