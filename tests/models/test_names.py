import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsebench.models.errors import SparsebenchError
from sparsebench.models.names import BackboneName, format_percent

words = st.from_regex(r"[a-z][a-z0-9_]{0,11}", fullmatch=True)
percents = st.integers(100, 10_000).map(lambda hundredths: hundredths / 10_000)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("resnet18/dense", ("resnet18", "dense", 0.0, None)),
        ("resnet18/acdc-90", ("resnet18", "acdc", 0.9, None)),
        ("resnet50/str-97.5", ("resnet50", "str", 0.975, None)),
        ("resnet50/woodfisher-95@paper", ("resnet50", "woodfisher", 0.95, "paper")),
        ("mobilenet_v2/magnitude_uniform-50", ("mobilenet_v2", "magnitude_uniform", 0.5, None)),
        ("resnet18/mine-90@/a/b@2/c-d.pth", ("resnet18", "mine", 0.9, "/a/b@2/c-d.pth")),
        ("resnet18/dense@generated", ("resnet18", "dense", 0.0, "generated")),
    ],
)
def test_a_name_is_taken_apart(text: str, parts: tuple[str, str, float, str | None]) -> None:
    name = BackboneName.parse(text)
    assert (name.arch, name.method, name.sparsity, name.source) == parts
    assert str(name) == text


@given(words, words.filter(lambda w: w != "dense"), percents, st.none() | words)
def test_a_name_survives_being_written_and_read(
    arch: str, method: str, sparsity: float, source: str | None
) -> None:
    name = BackboneName(arch, method, sparsity, source)
    assert BackboneName.parse(str(name)) == name


@pytest.mark.parametrize(
    "text",
    [
        "",
        "resnet18",
        "resnet18/",
        "/dense",
        "resnet18/acdc-",
        "resnet18/acdc-ninety",
        "resnet18/acdc-nan",
        "resnet18/acdc-1e1",
        "resnet18/acdc-90@",
        "resnet18/acdc 2-90",
        "../etc/passwd",
    ],
)
def test_what_is_no_name_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(SparsebenchError, match="resnet18"):
        BackboneName.parse(text)


@pytest.mark.parametrize("percent", ["100.1", "120", "-1", "-0.5", "1000000"])
def test_sparsity_outside_the_range_is_refused(percent: str) -> None:
    with pytest.raises(SparsebenchError, match="outside 0 to 100"):
        BackboneName.parse(f"resnet18/acdc-{percent}")


def test_a_fraction_instead_of_percent_is_noticed() -> None:
    with pytest.raises(SparsebenchError, match="did you mean acdc-90"):
        BackboneName.parse("resnet18/acdc-0.9")


def test_a_sparse_name_needs_its_sparsity_and_a_dense_one_has_none() -> None:
    with pytest.raises(SparsebenchError, match="acdc-90"):
        BackboneName.parse("resnet18/acdc")
    with pytest.raises(SparsebenchError, match="just dense"):
        BackboneName.parse("resnet18/dense-50")


def test_percent_has_no_float_noise() -> None:
    assert [format_percent(s) for s in (0.29, 0.07, 0.975, 1.0, 0.0)] == [
        "29",
        "7",
        "97.5",
        "100",
        "0",
    ]
