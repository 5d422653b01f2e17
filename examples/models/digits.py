"""Train a digit reader with scikit-learn, and leave what `skerry model add` needs beside it.

python digits.py
skerry model add digits.joblib --trust-pickle --card digits.yaml --check digits.npz
"""

import joblib
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

images, digits = load_digits(return_X_y=True)
model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300))
model.fit(images[:1400], digits[:1400])
print(f"accuracy on images it has not seen: {model.score(images[1400:], digits[1400:]):.3f}")

joblib.dump(model, "digits.joblib")
np.savez("digits.npz", input=images[1400:1656].astype(np.float32))  # 256 rows to compare on
eight_bit = np.rint(images[1400] * 255 / 16).astype(np.uint8)
with open("digit.pgm", "wb") as file:  # one image, to send
    file.write(b"P5 8 8 255\n" + eight_bit.tobytes())
