"""One container: a Keras network learns scikit-learn's handwritten digits."""

import argparse
import os
from pathlib import Path

import tensorflow as tf
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=8)
    epochs = parser.parse_args().epochs
    pixels, digits = load_digits(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(
        (pixels / 16).astype("float32"), digits, test_size=0.25, random_state=0
    )
    tf.keras.utils.set_random_seed(0)
    model = tf.keras.Sequential(
        [
            tf.keras.layers.Input((64,)),
            tf.keras.layers.Dense(64, activation="relu"),
            tf.keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    for epoch in range(1, epochs + 1):
        history = model.fit(train_x, train_y, batch_size=32, verbose=0)
        print(f"epoch {epoch}/{epochs} loss {history.history['loss'][0]:.4f}")
    accuracy = model.evaluate(test_x, test_y, verbose=0)[1]
    model.save(Path(os.environ["BAROGRAPH_MODEL_DIR"]) / "digits.keras")
    print(f"done: test accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main()
