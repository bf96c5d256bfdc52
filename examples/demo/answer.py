"""Loads a model with TensorFlow and prints the shape of its answer to three pictures, as JSON.

A process of its own, so that TensorFlow's notes about its start are not the demonstration's.

``python -m examples.demo.answer MODEL``
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import tensorflow as tf


def main(model: Path) -> None:
    load = tf.keras.models.load_model if model.is_file() else tf.saved_model.load
    print(json.dumps(list(load(str(model))(tf.zeros((3, 64))).shape)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
