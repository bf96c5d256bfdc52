"""TensorFlow 2 parameter servers: the chief hands out steps, workers compute, ps hold variables.

Keras 3 has no parameter-server training, so the loop is our own. After a member was replaced
every member starts this program again, and the chief continues from the last checkpoint.
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


class Network(tf.Module):
    """64 pixels, 64 hidden units, 10 digits."""

    def __init__(self) -> None:
        random = np.random.default_rng(0)
        shapes = ((64, 64), (64,), (64, 10), (10,))
        self.parts = [
            tf.Variable(random.normal(0, 0.1, shape).astype("float32")) for shape in shapes
        ]

    @tf.function(input_signature=[tf.TensorSpec((None, 64), tf.float32)])
    def __call__(self, pixels: tf.Tensor) -> tf.Tensor:
        return self.logits(pixels)

    def logits(self, pixels: tf.Tensor) -> tf.Tensor:
        hidden = tf.nn.relu(pixels @ self.parts[0] + self.parts[1])
        return hidden @ self.parts[2] + self.parts[3]


def serve(resolver: tf.distribute.cluster_resolver.ClusterResolver) -> None:
    """The work of ps and workers: wait for the chief, forever. The platform ends them."""
    server = tf.distribute.Server(
        resolver.cluster_spec(),
        job_name=resolver.task_type,
        task_index=resolver.task_id,
        protocol="grpc",
    )
    print(f"{resolver.task_type}-{resolver.task_id} serves")
    server.join()


def train(resolver: tf.distribute.cluster_resolver.ClusterResolver, steps: int) -> None:
    """The work of the chief."""
    pixels, digits = load_digits(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(
        (pixels / 16).astype("float32"), digits, test_size=0.25, random_state=0
    )
    strategy = tf.distribute.ParameterServerStrategy(resolver)
    coordinator = tf.distribute.coordinator.ClusterCoordinator(strategy)
    with strategy.scope():
        network = Network()

    @tf.function
    def step(batches: tf.data.Iterator) -> tf.Tensor:
        inputs, labels = next(batches)
        with tf.GradientTape() as tape:
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, network.logits(inputs))
            loss = tf.reduce_mean(losses)
        for part, slope in zip(network.parts, tape.gradient(loss, network.parts), strict=True):
            part.assign_sub(RATE * slope)
        return loss

    def batches() -> tf.data.Dataset:
        data = tf.data.Dataset.from_tensor_slices((train_x, train_y.astype("int64")))
        return data.shuffle(2000).repeat().batch(BATCH)

    iterator = iter(coordinator.create_per_worker_dataset(batches))
    # A copy that the chief has by itself is what it stores: TensorFlow traces a new function each
    # time it stores variables that lie with several members, who need not share a file system.
    kept, done = Network(), tf.Variable(0, dtype=tf.int64)
    checkpoint = tf.train.Checkpoint(network=kept, done=done)
    keeper = tf.train.CheckpointManager(checkpoint, os.environ["BAROGRAPH_CHECKPOINT_DIR"], 2)
    if keeper.restore_or_initialize():
        copy(kept, network)
    first = int(done.numpy())
    print(f"training from step {first} of {steps}")
    for begin in range(first, steps, 100):
        losses = [coordinator.schedule(step, args=(iterator,)) for _ in range(100)]
        coordinator.join()
        copy(network, kept)
        done.assign(begin + 100)
        keeper.save()
        print(f"step {begin + 100}/{steps} loss {np.mean(coordinator.fetch(losses)):.4f}")
    accuracy = np.mean(np.argmax(kept(test_x), axis=1) == test_y)
    tf.saved_model.save(kept, Path(os.environ["BAROGRAPH_MODEL_DIR"]) / "digits")
    print(f"done: test accuracy {accuracy:.3f}")


def copy(source: Network, target: Network) -> None:
    for value, variable in zip(source.parts, target.parts, strict=True):
        variable.assign(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=600)
    steps = parser.parse_args().steps
    resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
    if resolver.task_type in ("worker", "ps"):
        serve(resolver)
    else:
        train(resolver, steps)


if __name__ == "__main__":
    main()
