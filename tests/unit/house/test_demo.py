"""What `make demo` shows: a job's lines without TensorFlow's notes, and links that are whole."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from examples.demo import summary
from examples.demo.noise import WithoutNotes
from examples.demo.summary import Chapter
from shared.embedded.stackfile import StackFile

_NOTES = [
    "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\n",
    "I0000 00:00:1795945873.191225   22217 port.cc:153] oneDNN custom operations are on.\n",
    "worker-0  WARNING: All log messages before absl::InitializeLog() is called are written\n",
    "ps-1/2  I0000 00:00:1795945912.374231   22405 port.cc:153] oneDNN custom operations are on.\n",
]
_LINES = [
    "epoch 1/8 loss 2.0790\n",
    "chief-0  WARNING: the learning rate is high\n",
    "worker-0  E0000 00:00:1795945912.374231   22405 rpc.cc:12] connection lost\n",
    "WARNING:tensorflow:5 out of the last 5 calls triggered tf.function retracing\n",
]


def test_notes_of_tensorflow_about_its_start_are_left_out_and_counted_and_nothing_else() -> None:
    shown = WithoutNotes([line for pair in zip(_NOTES, _LINES, strict=True) for line in pair])
    assert list(shown) == _LINES
    assert shown.left_out == len(_NOTES)


@pytest.mark.parametrize("width", [40, 80, 120])
def test_the_summary_fits_its_width_and_leaves_links_and_tokens_whole(width: int) -> None:
    out = StringIO()
    page = "http://127.0.0.1:19623/alerts/006da105-dc6f-5bbb-86e1-5f252564747b"
    sentences, mail = (
        "Predicted, cleaned, verified. " * 9,
        "[critical] handled: [x] is out of danger",
    )
    chapters = [Chapter("Logs fill a volume", sentences, mail, page), Chapter("Job", sentences)]
    file = StackFile.model_construct(client_url="http://127.0.0.1:19623", client_token="t" * 60)

    summary.show(Console(file=out, width=width), chapters, file)

    lines = out.getvalue().splitlines()
    addresses = {f"  {page}", f"  {file.client_url}", f"  {file.client_token}"}
    assert addresses <= set(lines)
    assert max(len(line) for line in lines if line not in addresses) <= width
    words = " ".join(out.getvalue().split())
    assert sentences.strip() in words
    assert f"Mail: {mail}" in words
