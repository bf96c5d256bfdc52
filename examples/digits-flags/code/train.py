"""TensorFlow 1 style: ps and workers named by flags, a graph per worker, a monitored session."""

import argparse
import os
from pathlib import Path

import numpy as np
import tensorflow.compat.v1 as tf
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

BATCH = 32


def network(pixels: tf.Tensor) -> tf.Tensor:
    """64 pixels, 64 hidden units, 10 digits."""
    random = tf.random_normal_initializer(stddev=0.1, seed=0)
    zeros = tf.zeros_initializer()
    hidden = tf.nn.relu(
        pixels @ tf.get_variable("w1", (64, 64), initializer=random)
        + tf.get_variable("b1", (64,), initializer=zeros)
    )
    return hidden @ tf.get_variable("w2", (64, 10), initializer=random) + tf.get_variable(
        "b2", (10,), initializer=zeros
    )


def train(server: tf.train.Server, cluster: tf.train.ClusterSpec, index: int, steps: int) -> None:
    """Each worker's own loop; worker 0 initialises and keeps the checkpoint."""
    pixels, digits = load_digits(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(
        (pixels / 16).astype("float32"), digits, test_size=0.25, random_state=0
    )
    me = f"/job:worker/task:{index}"
    with tf.device(tf.train.replica_device_setter(worker_device=me, cluster=cluster)):
        step = tf.train.get_or_create_global_step()
        inputs = tf.placeholder(tf.float32, (None, 64))
        labels = tf.placeholder(tf.int64, (None,))
        logits = network(inputs)
        loss = tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
        )
        learn = tf.train.GradientDescentOptimizer(0.1).minimize(loss, global_step=step)
    # A worker needs the ps only: it must not wait for the other workers.
    config = tf.ConfigProto(device_filters=["/job:ps", me])
    places = os.environ["BAROGRAPH_CHECKPOINT_DIR"]
    random = np.random.default_rng(index)
    with tf.train.MonitoredTrainingSession(
        master=server.target,
        is_chief=index == 0,
        checkpoint_dir=places if index == 0 else None,
        hooks=[tf.train.StopAtStepHook(last_step=steps)],
        save_checkpoint_secs=5,
        config=config,
    ) as session:
        while not session.should_stop():
            chosen = random.integers(0, len(train_x), BATCH)
            batch = {inputs: train_x[chosen], labels: train_y[chosen]}
            _, now, value = session.run([learn, step, loss], batch)
            if now % 100 < 2:
                print(f"step {now}/{steps} loss {value:.4f}")
    if index == 0:
        save(test_x, test_y, tf.train.latest_checkpoint(places))


def save(test_x: np.ndarray, test_y: np.ndarray, checkpoint: str) -> None:
    """Export the last checkpoint as a model that needs no cluster."""
    with tf.Graph().as_default(), tf.Session() as session:
        inputs = tf.placeholder(tf.float32, (None, 64))
        logits = network(inputs)
        tf.train.Saver().restore(session, checkpoint)
        accuracy = np.mean(np.argmax(session.run(logits, {inputs: test_x}), axis=1) == test_y)
        target = Path(os.environ["BAROGRAPH_MODEL_DIR"]) / "digits"
        tf.saved_model.simple_save(session, str(target), {"pixels": inputs}, {"logits": logits})
    print(f"done: test accuracy {accuracy:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ps_hosts", required=True)
    parser.add_argument("--worker_hosts", required=True)
    parser.add_argument("--job_name", choices=("ps", "worker"), required=True)
    parser.add_argument("--task_index", type=int, required=True)
    parser.add_argument("--steps", type=int, default=600)
    flags = parser.parse_args()
    tf.disable_v2_behavior()
    cluster = tf.train.ClusterSpec(
        {"ps": flags.ps_hosts.split(","), "worker": flags.worker_hosts.split(",")}
    )
    server = tf.train.Server(cluster, job_name=flags.job_name, task_index=flags.task_index)
    if flags.job_name == "ps":
        print(f"ps-{flags.task_index} serves")
        server.join()
    train(server, cluster, flags.task_index, flags.steps)


if __name__ == "__main__":
    main()
