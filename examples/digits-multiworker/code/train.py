"""TensorFlow 2 multi-worker: every worker holds all variables and the slopes are averaged.

Keras 3's ``fit`` does not do this over several machines, so the loop is our own.
"""

import argparse
import os
from pathlib import Path

import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

BATCH = 32
RATE = 0.1
SHAPES = ((64, 64), (64,), (64, 10), (10,))


class Network(tf.Module):
    """64 pixels, 64 hidden units, 10 digits."""

    def __init__(self, values: list[np.ndarray]) -> None:
        # Slopes are summed over the workers before they are applied, so all copies stay alike.
        same = tf.VariableAggregation.ONLY_FIRST_REPLICA
        self.parts = [tf.Variable(value, aggregation=same) for value in values]

    @tf.function(input_signature=[tf.TensorSpec((None, 64), tf.float32)])
    def __call__(self, pixels: tf.Tensor) -> tf.Tensor:
        return self.logits(pixels)

    def logits(self, pixels: tf.Tensor) -> tf.Tensor:
        hidden = tf.nn.relu(pixels @ self.parts[0] + self.parts[1])
        return hidden @ self.parts[2] + self.parts[3]


def starting_values(file: Path) -> tuple[int, list[np.ndarray]]:
    """Step and values of the last checkpoint, or the beginning."""
    if file.exists():
        with np.load(file) as kept:
            return int(kept["step"]), [kept[f"part{i}"] for i in range(len(SHAPES))]
    random = np.random.default_rng(0)
    return 0, [random.normal(0, 0.1, shape).astype("float32") for shape in SHAPES]


def keep(file: Path, step: int, network: Network) -> None:
    """Write a checkpoint in one move, so that a kill leaves the old or the new one."""
    parts = {f"part{i}": part.numpy() for i, part in enumerate(network.parts)}
    temporary = file.with_suffix(".tmp.npz")
    np.savez(temporary, step=step, **parts)
    temporary.rename(file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=600)
    steps = parser.parse_args().steps
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    me = strategy.cluster_resolver.task_id
    pixels, digits = load_digits(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(
        (pixels / 16).astype("float32"), digits, test_size=0.25, random_state=0
    )
    file = Path(os.environ["BAROGRAPH_CHECKPOINT_DIR"]) / "digits.npz"
    first, values = starting_values(file)
    with strategy.scope():
        network = Network(values)

    def learn(inputs: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, network.logits(inputs))
            loss = tf.reduce_mean(losses)
        slopes = tape.gradient(loss, network.parts)
        slopes = tf.distribute.get_replica_context().all_reduce("mean", slopes)
        for part, slope in zip(network.parts, slopes, strict=True):
            part.assign_sub(RATE * slope)
        return loss

    @tf.function
    def step(batches: tf.data.Iterator) -> tf.Tensor:
        return strategy.reduce("mean", strategy.run(learn, args=next(batches)), axis=None)

    def batches(context: tf.distribute.InputContext) -> tf.data.Dataset:
        data = tf.data.Dataset.from_tensor_slices((train_x, train_y.astype("int64")))
        mine = data.shard(context.num_input_pipelines, context.input_pipeline_id)
        return mine.shuffle(2000).repeat().batch(BATCH)

    iterator = iter(strategy.distribute_datasets_from_function(batches))
    print(f"worker-{me} trains from step {first} of {steps}")
    for number in range(first + 1, steps + 1):
        loss = step(iterator)
        if number % 100 == 0:
            print(f"step {number}/{steps} loss {loss:.4f}")
            if me == 0:
                keep(file, number, network)
    if me == 0:
        trained = Network([part.numpy() for part in network.parts])
        accuracy = np.mean(np.argmax(trained(test_x), axis=1) == test_y)
        tf.saved_model.save(trained, Path(os.environ["BAROGRAPH_MODEL_DIR"]) / "digits")
        print(f"done: test accuracy {accuracy:.3f}")
    else:
        print("done")


if __name__ == "__main__":
    main()
