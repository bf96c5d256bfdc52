"""The generated page is what the classes say."""

from services.detector.detectors import registered
from services.detector.documents import PAGE, page


def test_the_reference_page_is_fresh() -> None:
    assert PAGE.read_text() == page(), "run python -m services.detector.documents"


def test_every_detector_is_on_the_page() -> None:
    assert all(f"## {name}\n" in page() for name in registered())
