"""Pascal VOC's XML: one file an image, read without entities or any other document type."""

from __future__ import annotations

from xml.etree import ElementTree
from xml.parsers import expat

from sparsebench.bench.tasks.detection.annotated import Annotated, Box, Faults
from sparsebench.bench.tasks.detection.layout import EXPECTED, Found
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.images.endings import is_image_name
from sparsebench.models.images.text import printable
from sparsebench.models.images.tree import Tree

MOST_BYTES = 4 * 2**20
LISTED = "listed image(s) without an XML file: left out"


def read_voc(
    tree: Tree, found: Found, faults: Faults
) -> tuple[tuple[str, ...], tuple[list[Annotated], list[Annotated]]]:
    """Class names (sorted), and the annotated images of the train and the test side.

    Raises:
        SparsebenchError: an XML file that cannot be read, or that has a document type; no list of
            a side's images.
    """
    pairs = [_files(tree, found, side, faults) for side in found.sides]
    read = [[(image, _objects(tree, xml)) for image, xml in side] for side in pairs]
    classes = tuple(
        sorted({name for side in read for _, (_, objects) in side for name, *_ in objects})
    )
    label_of = {name: label for label, name in enumerate(classes)}
    sides = [
        [
            Annotated(image, [Box(label_of[name], *box, hard) for name, box, hard in objects], size)
            for image, (size, objects) in side
        ]
        for side in read
    ]
    return classes, (sides[0], sides[1])


def _files(tree: Tree, found: Found, side: str, faults: Faults) -> list[tuple[str, str]]:
    """Image and XML file of each image of a side."""
    prefix = found.prefix
    images = {p.rpartition(".")[0]: p for p in tree.stamps if is_image_name(p)}
    if not any(path.startswith(f"{prefix}Annotations/") for path in tree.stamps):
        xmls = (p for p in tree.stamps if p.startswith(f"{prefix}{side}/") and p.endswith(".xml"))
        return [(images.get(x[:-4], f"{x[:-4]}.jpg"), x) for x in sorted(xmls)]
    listed = f"{prefix}ImageSets/Main/{side}.txt"
    if listed not in tree.stamps:
        raise SparsebenchError(f"'{tree.where}' has no {listed}.", EXPECTED)
    text = tree.read(listed, MOST_BYTES).decode("utf-8", "replace")
    pairs = []
    for name in dict.fromkeys(line.split()[0] for line in text.splitlines() if line.split()):
        xml, stem = f"{prefix}Annotations/{name}.xml", f"{prefix}JPEGImages/{name}"
        if xml in tree.stamps:
            pairs.append((images.get(stem, f"{stem}.jpg"), xml))
        else:
            faults.add(LISTED, f"{side} {name}")
    return pairs


Objects = list[tuple[str, tuple[float, float, float, float], bool]]


def _objects(tree: Tree, path: str) -> tuple[tuple[int, int] | None, Objects]:
    """Size of the image, and name, corners and difficulty of what is on it."""
    data = tree.read(path, MOST_BYTES)
    try:
        _refuse_document_type(data)
        root = ElementTree.fromstring(data)
        size = root.find("size")
        stated = None
        if size is not None:
            stated = (int(_text(size, "width")), int(_text(size, "height")))
        return stated, [_object(one) for one in root.iter("object")]
    except (ElementTree.ParseError, expat.ExpatError, ValueError, LookupError) as error:
        raise SparsebenchError(
            f"'{printable(path)}' of '{tree.where}' is no readable Pascal VOC file ({error}).",
            "Export the annotations again.",
        ) from error


def _object(one: ElementTree.Element) -> tuple[str, tuple[float, float, float, float], bool]:
    box = one.find("bndbox")
    if box is None:
        raise ValueError("an object without a bndbox")
    x1, y1, x2, y2 = (float(_text(box, key)) for key in ("xmin", "ymin", "xmax", "ymax"))
    # Pixels are counted from 1, and the last one belongs to the box.
    hard = (one.findtext("difficult") or "0").strip() == "1"
    return printable(_text(one, "name")), (x1 - 1, y1 - 1, x2, y2), hard


def _text(element: ElementTree.Element, key: str) -> str:
    found = (element.findtext(key) or "").strip()
    if not found:
        raise ValueError(f"<{element.tag}> without <{key}>")
    return found


def _refuse_document_type(data: bytes) -> None:
    """Read on no further than a document type: its entities may grow without end, or name files.

    Raises:
        ValueError: there is one.
    """

    def refuse(*_: object) -> None:
        raise ValueError("it has a document type, which no annotation needs")

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    parser.Parse(data, True)
